//! Looks through the bytes of a request before they are decoded. A message of 4 MiB can hold
//! two million empty filters or keys, each of which would be a value of some hundred bytes: so the
//! items are counted first, which takes no memory, and too many are never made.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// Items that a request can name one by one: keys and ids.
pub const MAX_NAMED: usize = 100_000;
/// Expectations that a request can make.
pub const MAX_EXPECTATIONS: usize = 10_000;
/// Conditions of a filter, `and`, `or` and `not` among them.
pub const MAX_CONDITIONS: usize = 4096;
/// Networks, ranges and texts in the conditions of a filter, together.
pub const MAX_VALUES: usize = 65_536;
/// Of everything else that can be repeated: settings, names, types of events.
pub const MAX_OTHERS: usize = 1000;
/// Messages inside one another. prost has the same limit; a filter that is accepted needs
/// two for each of its 32 levels.
pub const MAX_NESTING: usize = 100;

/// Whose messages are requests.
const PACKAGE: &str = "ctfleet.v1";

/// Why a request is not decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too much of something.
    #[error("{field}: has more than {max} {what}")]
    TooMany {
        /// The field of the request.
        field: String,
        /// What there is too much of.
        what: &'static str,
        /// The most.
        max: usize,
    },
    /// Messages in messages in messages.
    #[error("{field}: is nested too deeply, at most {MAX_NESTING} messages inside one another")]
    TooDeep {
        /// The field of the request.
        field: String,
    },
    /// It is no protobuf.
    #[error("failed to decode Protobuf message: {0}")]
    Malformed(&'static str),
}

const TRUNCATED: Refusal = Refusal::Malformed("it ends in the middle of a field");

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Named,
    Expectations,
    Conditions,
    Values,
    Others,
}

impl Count {
    const ALL: usize = 5;

    fn max(self) -> usize {
        match self {
            Self::Named => MAX_NAMED,
            Self::Expectations => MAX_EXPECTATIONS,
            Self::Conditions => MAX_CONDITIONS,
            Self::Values => MAX_VALUES,
            Self::Others => MAX_OTHERS,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Conditions => "conditions",
            Self::Values => "values in its conditions",
            Self::Named | Self::Expectations | Self::Others => "items",
        }
    }

    /// How a field counts; `None` when there is at most one of it.
    fn of(message: &str, field: &FieldDescriptorProto) -> Option<Self> {
        // The conditions themselves, whatever field they stand in.
        if field.type_name() == ".ctfleet.v1.Filter" {
            return Some(Self::Conditions);
        }
        if field.label() != Label::Repeated {
            return None;
        }
        Some(match message {
            "FlowKeys" | "FlowIds" | "ExpectationKeys" | "ExpectationIds" => Self::Named,
            "CreateExpectationsRequest" => Self::Expectations,
            _ if message.ends_with("Predicate") => Self::Values,
            _ => Self::Others,
        })
    }
}

/// What a field of a message holds.
#[derive(Clone, Copy, Debug)]
enum Holds {
    /// A message: its place in the schema.
    Message(usize),
    /// Numbers of a fixed size, in bytes, that may be packed.
    Fixed(usize),
    /// Numbers of a varying size that may be packed.
    Varint,
    /// Text or bytes.
    Bytes,
}

struct Field {
    name: String,
    holds: Holds,
    count: Option<Count>,
}

/// The messages of the API: the fields of each, at the place of their number.
struct Schema {
    messages: Vec<Vec<Option<Field>>>,
    /// The requests, by their name.
    requests: HashMap<String, usize>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    // What was built in can be read; a test says so.
    let set = FileDescriptorSet::decode(super::FILE_DESCRIPTOR_SET).unwrap_or_default();
    Schema::of(&set)
});

impl Schema {
    fn of(set: &FileDescriptorSet) -> Self {
        let all: Vec<(String, &DescriptorProto)> = set
            .file
            .iter()
            .flat_map(|file| {
                let name =
                    |message: &DescriptorProto| format!(".{}.{}", file.package(), message.name());
                file.message_type
                    .iter()
                    .map(move |message| (name(message), message))
            })
            .collect();
        let places: HashMap<&str, usize> = all
            .iter()
            .enumerate()
            .map(|(place, (name, _))| (&**name, place))
            .collect();
        let field = |message: &DescriptorProto, field: &FieldDescriptorProto| {
            let holds = match field.r#type() {
                Type::Message => places
                    .get(field.type_name())
                    .map(|place| Holds::Message(*place)),
                Type::Fixed32 | Type::Sfixed32 | Type::Float => Some(Holds::Fixed(4)),
                Type::Fixed64 | Type::Sfixed64 | Type::Double => Some(Holds::Fixed(8)),
                Type::String | Type::Bytes => Some(Holds::Bytes),
                _ => Some(Holds::Varint),
            };
            let known = Field {
                name: field.name().to_owned(),
                holds: holds.unwrap_or(Holds::Bytes),
                count: Count::of(message.name(), field),
            };
            (usize::try_from(field.number()).unwrap_or(0), known)
        };
        let messages = all
            .iter()
            .map(|(_, message)| {
                let mut fields = Vec::new();
                for (number, known) in message.field.iter().map(|f| field(message, f)) {
                    if fields.len() <= number {
                        fields.resize_with(number + 1, || None);
                    }
                    fields[number] = Some(known);
                }
                fields
            })
            .collect();
        let requests = set
            .file
            .iter()
            .flat_map(|file| &file.service)
            .flat_map(|service| &service.method)
            .filter_map(|method| {
                let name = method.input_type();
                let place = places.get(name)?;
                let name = name.strip_prefix('.')?.strip_prefix(PACKAGE)?;
                Some((name.strip_prefix('.')?.to_owned(), *place))
            })
            .collect();
        Self { messages, requests }
    }
}

/// Looks through a message of this name; whatever is no request passes.
pub(super) fn check(package: &str, name: &str, bytes: &[u8]) -> Result<(), Refusal> {
    let schema = &*SCHEMA;
    match schema.requests.get(name) {
        Some(&message) if package == PACKAGE => Walk::new(schema, bytes).run(message),
        _ => Ok(()),
    }
}

/// A message that the walk is in.
#[derive(Clone, Copy, Default)]
struct Level {
    message: usize,
    /// Where it ends.
    end: usize,
}

struct Walk<'a> {
    schema: &'a Schema,
    bytes: &'a [u8],
    at: usize,
    counted: [usize; Count::ALL],
}

impl<'a> Walk<'a> {
    fn new(schema: &'a Schema, bytes: &'a [u8]) -> Self {
        Self {
            schema,
            bytes,
            at: 0,
            counted: [0; Count::ALL],
        }
    }

    fn run(mut self, request: usize) -> Result<(), Refusal> {
        let mut levels = [Level::default(); MAX_NESTING];
        levels[0] = Level {
            message: request,
            end: self.bytes.len(),
        };
        let mut depth = 0;
        // The field of the request that the walk is in.
        let mut outermost = "";
        loop {
            let Level { message, end } = levels[depth];
            if self.at == end {
                match depth.checked_sub(1) {
                    Some(outer) => depth = outer,
                    None => return Ok(()),
                }
                continue;
            }
            let tag = self.varint(end)?;
            let number = usize::try_from(tag >> 3).unwrap_or(0);
            let field = self.schema.messages[message].get(number);
            let field = field.and_then(Option::as_ref);
            if let Some(field) = field.filter(|_| depth == 0) {
                outermost = &field.name;
            }
            let count = field.and_then(|field| field.count);
            match tag & 7 {
                0 => {
                    self.count(count, 1, outermost)?;
                    self.varint(end)?;
                }
                1 => {
                    self.count(count, 1, outermost)?;
                    self.skip(8, end)?;
                }
                5 => {
                    self.count(count, 1, outermost)?;
                    self.skip(4, end)?;
                }
                2 => {
                    let length = usize::try_from(self.varint(end)?).unwrap_or(usize::MAX);
                    let begin = self.at;
                    self.skip(length, end)?;
                    let content = &self.bytes[begin..self.at];
                    let by = match field.map(|field| field.holds) {
                        Some(Holds::Fixed(size)) => content.len() / size,
                        Some(Holds::Varint) => content.iter().filter(|byte| **byte < 0x80).count(),
                        Some(Holds::Message(_) | Holds::Bytes) | None => 1,
                    };
                    self.count(count, by, outermost)?;
                    if let Some(Holds::Message(message)) = field.map(|field| field.holds) {
                        depth += 1;
                        let Some(level) = levels.get_mut(depth) else {
                            let field = outermost.to_owned();
                            return Err(Refusal::TooDeep { field });
                        };
                        *level = Level {
                            message,
                            end: self.at,
                        };
                        self.at = begin;
                    }
                }
                _ => {
                    return Err(Refusal::Malformed(
                        "it has a group, or an unknown wire type",
                    ));
                }
            }
        }
    }

    fn count(&mut self, count: Option<Count>, by: usize, field: &str) -> Result<(), Refusal> {
        let Some(count) = count else { return Ok(()) };
        let total = &mut self.counted[count as usize];
        *total += by;
        if *total > count.max() {
            return Err(Refusal::TooMany {
                field: field.to_owned(),
                what: count.what(),
                max: count.max(),
            });
        }
        Ok(())
    }

    fn skip(&mut self, length: usize, end: usize) -> Result<(), Refusal> {
        if length > end - self.at {
            return Err(TRUNCATED);
        }
        self.at += length;
        Ok(())
    }

    fn varint(&mut self, end: usize) -> Result<u64, Refusal> {
        let mut value = 0;
        for (shift, byte) in (0..64).step_by(7).zip(&self.bytes[self.at..end]) {
            value |= u64::from(byte & 0x7f) << shift;
            self.at += 1;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(TRUNCATED)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pb;

    fn refusal(name: &str, bytes: &[u8]) -> String {
        let error = check(PACKAGE, name, bytes).expect_err("refused");
        error.to_string()
    }

    fn fine(name: &str, message: &impl prost::Message) {
        check(PACKAGE, name, &message.encode_to_vec()).expect("fine");
    }

    /// A field of this number that holds this.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        prost::encode_length_delimiter(content.len(), &mut bytes).expect("room");
        bytes.extend(content);
        bytes
    }

    #[test]
    fn the_requests_are_known() {
        let methods = super::super::FILE_DESCRIPTOR_SET;
        let set = FileDescriptorSet::decode(methods).expect("descriptors");
        let services = set.file.iter().flat_map(|file| &file.service);
        let methods: usize = services.map(|service| service.method.len()).sum();
        assert!(methods >= 19);
        // Several may take the same.
        assert!(SCHEMA.requests.len() > 15 && SCHEMA.requests.len() <= methods);
    }

    #[test]
    fn items_are_counted_however_they_are_written() {
        let keys = |count| field(2, &[0x0a, 0].repeat(count));
        check(PACKAGE, "DeleteFlowsRequest", &keys(MAX_NAMED)).expect("fine");
        let error = refusal("DeleteFlowsRequest", &keys(MAX_NAMED + 1));
        assert_eq!(error, "keys: has more than 100000 items");
        // In two parts.
        let half = keys(MAX_NAMED / 2 + 1);
        refusal("DeleteFlowsRequest", &[half.clone(), half].concat());

        let ids = |count: usize| pb::DeleteFlowsRequest {
            target: Some(pb::delete_flows_request::Target::Ids(pb::FlowIds {
                ids: vec![7; count],
            })),
            ..Default::default()
        };
        fine("DeleteFlowsRequest", &ids(MAX_NAMED));
        let packed = ids(MAX_NAMED + 1).encode_to_vec();
        assert_eq!(
            refusal("DeleteFlowsRequest", &packed),
            "ids: has more than 100000 items"
        );
        let unpacked = [0x0d, 1, 2, 3, 4].repeat(MAX_NAMED + 1);
        refusal("DeleteFlowsRequest", &field(4, &unpacked));

        let watch = |count| pb::WatchFlowsRequest {
            event_types: vec![300; count],
            ..Default::default()
        };
        fine("WatchFlowsRequest", &watch(MAX_OTHERS));
        let error = refusal("WatchFlowsRequest", &watch(MAX_OTHERS + 1).encode_to_vec());
        assert_eq!(error, "event_types: has more than 1000 items");
        let expectations = [0x12, 0].repeat(MAX_EXPECTATIONS + 1);
        let error = refusal("CreateExpectationsRequest", &expectations);
        assert_eq!(error, "expectations: has more than 10000 items");
    }

    #[test]
    fn filters_are_counted_wherever_they_stand() {
        let conditions = |count| field(3, &field(1, &[0x0a, 0].repeat(count)));
        check(PACKAGE, "DumpFlowsRequest", &conditions(MAX_CONDITIONS - 1)).expect("fine");
        let error = refusal("DumpFlowsRequest", &conditions(MAX_CONDITIONS));
        assert_eq!(error, "filter: has more than 4096 conditions");
        let values = |count| field(3, &field(5, &[0x1a, 0].repeat(count)));
        check(PACKAGE, "DumpFlowsRequest", &values(MAX_VALUES)).expect("fine");
        let error = refusal("DumpFlowsRequest", &values(MAX_VALUES + 1));
        assert_eq!(
            error,
            "filter: has more than 65536 values in its conditions"
        );
    }

    #[test]
    fn depth_has_an_end() {
        let nested = |levels| (0..levels).fold(Vec::new(), |inner, _| field(3, &inner));
        check(PACKAGE, "DumpFlowsRequest", &nested(MAX_NESTING - 1)).expect("fine");
        let error = refusal("DumpFlowsRequest", &nested(MAX_NESTING));
        assert!(error.starts_with("filter: is nested too deeply"), "{error}");
        refusal("DumpFlowsRequest", &nested(10_000));
    }

    #[test]
    fn what_is_no_request_passes() {
        check(PACKAGE, "DumpFlowsResponse", &[0x0a, 0].repeat(1_000_000)).expect("fine");
        check("other.v1", "DumpFlowsRequest", b"\xff").expect("fine");
    }

    fn filter() -> impl Strategy<Value = pb::Filter> {
        use pb::filter::Node;
        let range =
            (any::<i64>(), any::<i64>()).prop_map(|(min, max)| pb::NumberRange { min, max });
        let number = (
            any::<i32>(),
            any::<Option<u64>>(),
            prop::collection::vec(range, 0..4),
        )
            .prop_map(|(field, mask, ranges)| {
                Node::Number(pb::NumberPredicate {
                    field,
                    mask,
                    ranges,
                })
            });
        let text = prop::collection::vec(".*", 0..3)
            .prop_map(|values| Node::Text(pb::TextPredicate { field: 1, values }));
        let leaf = prop_oneof![number, text, any::<i32>().prop_map(Node::Present)];
        let leaf = leaf.prop_map(|node| pb::Filter { node: Some(node) });
        leaf.prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(|child| Node::Not(Box::new(child))),
                prop::collection::vec(inner, 0..4)
                    .prop_map(|filters| Node::And(pb::FilterList { filters })),
            ]
            .prop_map(|node| pb::Filter { node: Some(node) })
        })
    }

    proptest! {
        #[test]
        fn good_requests_pass(filter in filter(), ids in prop::collection::vec(any::<u32>(), 0..50)) {
            let filter = Some(filter);
            fine("DumpFlowsRequest", &pb::DumpFlowsRequest { filter: filter.clone(), ..Default::default() });
            fine("WatchFlowsRequest", &pb::WatchFlowsRequest { filter, ..Default::default() });
            let target = Some(pb::delete_flows_request::Target::Ids(pb::FlowIds { ids }));
            fine("DeleteFlowsRequest", &pb::DeleteFlowsRequest { target, ..Default::default() });
        }

        /// What prost decodes passes here, unless there is too much of it; nothing panics.
        #[test]
        fn bytes_pass_when_prost_takes_them(bytes in prop::collection::vec(
            prop_oneof![4 => 0..0x30u8, 1 => any::<u8>()], 0..60)
        ) {
            let here = check(PACKAGE, "DeleteFlowsRequest", &bytes);
            // A group is skipped by prost, and refused here.
            if let Err(refusal) = here && !refusal.to_string().contains("group") {
                prop_assert!(pb::DeleteFlowsRequest::decode(&bytes[..]).is_err(), "{refusal}");
            }
        }
    }
}
