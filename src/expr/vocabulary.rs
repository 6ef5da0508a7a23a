//! The words of the language: fields, conditions of one word, the names of values, units.

use crate::flow::filter::{
    AddressField, Filter, NumberField, PresenceField, TextField, Translation,
};
use crate::flow::{DccpState, EXPECT_FLAG_NAMES, Labels, Protocol, SctpState, Status, TcpState};

/// What a condition with a value is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// `src`, `addr`, ...
    Address(AddressField),
    /// `dport`, `bytes`, ...
    Number(NumberField),
    /// `helper`, ...
    Text(TextField),
    /// `label`: labels by their numbers.
    Label,
    /// `labels`: all 128 bits.
    Labels,
    /// `state`: that of whichever protocol has one.
    State,
}

/// Other names of fields: those of conntrack(8), and the full words.
const ALIASES: &[(&str, &str)] = &[
    ("source", "src"),
    ("destination", "dst"),
    ("address", "addr"),
    ("orig-src", "src"),
    ("orig-dst", "dst"),
    ("protocol", "proto"),
    ("orig-port-src", "sport"),
    ("orig-port-dst", "dport"),
    ("reply-port-src", "reply-sport"),
    ("reply-port-dst", "reply-dport"),
];

/// The field of a name, in any case.
pub(super) fn field(name: &str) -> Option<Field> {
    let name = name.to_ascii_lowercase();
    let name = ALIASES
        .iter()
        .find(|(alias, _)| *alias == name)
        .map_or(name.as_str(), |(_, name)| name);
    match name {
        "label" => Some(Field::Label),
        "labels" => Some(Field::Labels),
        "state" => Some(Field::State),
        _ => AddressField::from_name(name)
            .map(Field::Address)
            .or_else(|| NumberField::from_name(name).map(Field::Number))
            .or_else(|| TextField::from_name(name).map(Field::Text)),
    }
}

/// The condition of a single word, in any case.
pub(super) fn condition(word: &str) -> Option<Filter> {
    let word = word.to_ascii_lowercase();
    Some(match word.as_str() {
        "all" => Filter::everything(),
        "none" => Filter::nothing(),
        "ipv4" => Filter::number(NumberField::Family, [4]),
        "ipv6" => Filter::number(NumberField::Family, [6]),
        "assured" => Filter::status(Status::ASSURED),
        "replied" => Filter::status(Status::SEEN_REPLY),
        "unreplied" => !Filter::status(Status::SEEN_REPLY),
        "offload" => Filter::status(Status::OFFLOAD),
        _ => match Translation::from_name(&word) {
            Some(how) => Filter::translated(how),
            None => Filter::protocol(protocol_name(&word)?),
        },
    })
}

/// Every word that can begin a condition, for suggestions.
pub(super) fn beginnings() -> impl Iterator<Item = &'static str> {
    let words = [
        "all",
        "none",
        "ipv4",
        "ipv6",
        "icmp6",
        "assured",
        "replied",
        "unreplied",
        "offload",
        "label",
        "labels",
        "state",
        "not",
        "has",
    ];
    words
        .into_iter()
        .chain(AddressField::ALL.iter().map(|f| f.name()))
        .chain(NumberField::ALL.iter().map(|f| f.name()))
        .chain(TextField::ALL.iter().map(|f| f.name()))
        .chain(Translation::ALL.iter().map(|t| t.name()))
        .chain(Protocol::NAMES.iter().map(|(_, name)| *name))
        .chain(ALIASES.iter().map(|(alias, _)| *alias))
}

/// Every part that `has` can ask for.
pub(super) fn parts() -> impl Iterator<Item = &'static str> {
    PresenceField::ALL.iter().map(|part| part.name())
}

/// The protocol of a name, not of a number.
fn protocol_name(name: &str) -> Option<Protocol> {
    match name {
        "icmp6" | "ipv6-icmp" => Some(Protocol::ICMPV6),
        _ => Protocol::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(protocol, _)| *protocol),
    }
}

/// What the values of a number field are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// They are numbers only.
    None,
    /// Some have a name.
    Values,
    /// Bits have names.
    Bits,
}

/// What the values of the field are called.
pub(super) fn names(field: NumberField) -> Names {
    match field {
        NumberField::Family
        | NumberField::Protocol
        | NumberField::MasterProtocol
        | NumberField::ZoneDirection
        | NumberField::TcpState
        | NumberField::SctpState
        | NumberField::DccpState
        | NumberField::DccpRole => Names::Values,
        NumberField::Status | NumberField::ExpectFlags => Names::Bits,
        _ => Names::None,
    }
}

/// Values, or bits, of the field and their names, as they are printed.
pub(super) fn named(field: NumberField) -> Vec<(i64, &'static str)> {
    match field {
        NumberField::Family => vec![(4, "ipv4"), (6, "ipv6")],
        NumberField::Protocol | NumberField::MasterProtocol => Protocol::NAMES
            .iter()
            .map(|(p, n)| (p.0.into(), *n))
            .collect(),
        NumberField::ZoneDirection => vec![(0, "both"), (1, "orig"), (2, "reply")],
        NumberField::TcpState => TcpState::NAMES
            .iter()
            .map(|(s, n)| (s.0.into(), *n))
            .collect(),
        NumberField::SctpState => SctpState::NAMES
            .iter()
            .map(|(s, n)| (s.0.into(), *n))
            .collect(),
        NumberField::DccpState => DccpState::NAMES
            .iter()
            .map(|(s, n)| (s.0.into(), *n))
            .collect(),
        NumberField::DccpRole => vec![(0, "client"), (1, "server")],
        NumberField::Status => Status::NAMES
            .iter()
            .map(|(b, n)| (b.0.into(), *n))
            .collect(),
        NumberField::ExpectFlags => EXPECT_FLAG_NAMES
            .iter()
            .map(|(b, n)| ((*b).into(), *n))
            .collect(),
        _ => Vec::new(),
    }
}

/// The value, or bit, of a name, in any case.
pub(super) fn value_of_name(field: NumberField, name: &str) -> Option<i64> {
    let name = name.to_ascii_lowercase();
    match field {
        NumberField::Protocol | NumberField::MasterProtocol => {
            protocol_name(&name).map(|protocol| protocol.0.into())
        }
        _ => named(field)
            .into_iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(&name))
            .map(|(value, _)| value),
    }
}

/// The fields that hold a protocol's state, in the order in which `state` asks for them.
pub(super) const STATE_FIELDS: [NumberField; 3] = [
    NumberField::TcpState,
    NumberField::SctpState,
    NumberField::DccpState,
];

/// The condition that a flow is in one of the states, of whichever protocol has a state of
/// that name; `None` when a name is of no protocol.
pub(super) fn state<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Filter> {
    let mut found: [Vec<i64>; 3] = Default::default();
    for name in names {
        let mut known = false;
        for (field, values) in STATE_FIELDS.into_iter().zip(&mut found) {
            if let Some(value) = value_of_name(field, name) {
                values.push(value);
                known = true;
            }
        }
        if !known {
            return None;
        }
    }
    let conditions = STATE_FIELDS
        .into_iter()
        .zip(found)
        .filter(|(_, values)| !values.is_empty())
        .map(|(field, values)| Filter::number(field, values));
    Some(Filter::Or(conditions.collect()))
}

/// What is counted, and so which suffixes a number may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// No suffix.
    Plain,
    /// K, M, G, T, Ki, Mi, Gi, Ti.
    Packets,
    /// The same, also with B.
    Bytes,
    /// s, m, h, d, one after the other; seconds without.
    Seconds,
    /// ns, us, ms, s; nanoseconds without.
    Nanoseconds,
}

/// What the field counts.
pub(super) fn unit(field: NumberField) -> Unit {
    match field {
        NumberField::Packets | NumberField::PacketsOrig | NumberField::PacketsReply => {
            Unit::Packets
        }
        NumberField::Bytes | NumberField::BytesOrig | NumberField::BytesReply => Unit::Bytes,
        NumberField::Timeout | NumberField::Age => Unit::Seconds,
        NumberField::Start | NumberField::Stop | NumberField::Event => Unit::Nanoseconds,
        _ => Unit::Plain,
    }
}

/// Whether numbers of the field are printed in hexadecimal.
pub(super) fn is_hexadecimal(field: NumberField) -> bool {
    matches!(
        field,
        NumberField::Id
            | NumberField::Status
            | NumberField::Mark
            | NumberField::TcpFlagsOrig
            | NumberField::TcpFlagsReply
            | NumberField::SctpVtagOrig
            | NumberField::SctpVtagReply
            | NumberField::ExpectFlags
    )
}

/// What a value of the field looks like.
pub(super) fn expected(field: NumberField) -> String {
    let range = field.number_type().range();
    let number = match unit(field) {
        Unit::Plain => format!("a number from {} to {}", range.min, range.max),
        Unit::Packets => "a number such as 500, 10K or 2Gi".to_owned(),
        Unit::Bytes => "a number of bytes such as 500, 10K or 2GiB".to_owned(),
        Unit::Seconds => "a time such as 90, 30s, 5m or 1h30m".to_owned(),
        Unit::Nanoseconds => "nanoseconds since 1970, or seconds such as 1767225600s".to_owned(),
    };
    let names: Vec<&str> = named(field).into_iter().map(|(_, name)| name).collect();
    if names.is_empty() {
        number
    } else {
        format!("{} or {number}", names.join(", "))
    }
}

/// Labels where these are set.
pub(super) fn labels(numbers: impl IntoIterator<Item = u8>) -> Labels {
    Labels(
        numbers
            .into_iter()
            .fold(0, |bits, n| bits | 1u128.checked_shl(n.into()).unwrap_or(0)),
    )
}
