//! Filters: a tree from outside, so its size is bounded before it is walked.

use ipnet::IpNet;

use crate::flow::Labels;
pub use crate::flow::filter::MAX_DEPTH as MAX_FILTER_DEPTH;
use crate::flow::filter::{AddressField, Filter, NumberField, NumberRange, Predicate, TextField};
use crate::pb::{self, preflight};

use super::flow::{labels, labels_bytes};
use super::tuple::{address, address_bytes};
use super::{At as _, FieldError, known, required};

/// How many nodes a filter may have: each may be evaluated on every entry.
pub const MAX_FILTER_NODES: usize = preflight::MAX_CONDITIONS;
/// How many networks, ranges and texts a filter's predicates may have together.
pub const MAX_FILTER_VALUES: usize = preflight::MAX_VALUES;

/// What is left of the limits.
struct Budget {
    nodes: usize,
    values: usize,
}

impl Budget {
    fn node(&mut self) -> Result<(), FieldError> {
        self.nodes = self.nodes.checked_sub(1).ok_or_else(|| {
            FieldError::new(
                "",
                format!("is one condition too many: a filter has at most {MAX_FILTER_NODES}"),
            )
        })?;
        Ok(())
    }

    /// Takes the values of one predicate, which must have some.
    fn values(&mut self, count: usize, field: &str) -> Result<(), FieldError> {
        if count == 0 {
            return Err(FieldError::new(field, "is empty, must have at least one"));
        }
        self.values = self.values.checked_sub(count).ok_or_else(|| {
            FieldError::new(
                field,
                format!("has too many values: a filter has at most {MAX_FILTER_VALUES} together"),
            )
        })?;
        Ok(())
    }
}

impl TryFrom<pb::Filter> for Filter {
    type Error = FieldError;

    fn try_from(message: pb::Filter) -> Result<Self, FieldError> {
        let mut budget = Budget {
            nodes: MAX_FILTER_NODES,
            values: MAX_FILTER_VALUES,
        };
        node(message, MAX_FILTER_DEPTH, &mut budget)
    }
}

fn node(message: pb::Filter, depth: usize, budget: &mut Budget) -> Result<Filter, FieldError> {
    use pb::filter::Node;
    budget.node()?;
    let Some(depth) = depth.checked_sub(1) else {
        return Err(FieldError::new(
            "",
            format!("is nested too deeply: a filter has at most {MAX_FILTER_DEPTH} levels"),
        ));
    };
    Ok(match required(message.node, "node")? {
        Node::And(children) => Filter::And(list(children, depth, budget).at("and")?),
        Node::Or(children) => Filter::Or(list(children, depth, budget).at("or")?),
        Node::Not(child) => Filter::Not(Box::new(node(*child, depth, budget).at("not")?)),
        Node::Address(message) => Filter::Is(address_predicate(message, budget).at("address")?),
        Node::Number(message) => Filter::Is(number_predicate(message, budget).at("number")?),
        Node::Labels(message) => Filter::Is(labels_predicate(&message).at("labels")?),
        Node::Text(message) => Filter::Is(text_predicate(message, budget).at("text")?),
        Node::Present(field) => Filter::Is(Predicate::Present(
            known::<pb::PresenceField, _>(field).at("present")?,
        )),
        Node::Translated(kind) => Filter::Is(Predicate::Translated(
            known::<pb::Translation, _>(kind).at("translated")?,
        )),
    })
}

fn list(
    message: pb::FilterList,
    depth: usize,
    budget: &mut Budget,
) -> Result<Vec<Filter>, FieldError> {
    // An empty "and" would mean every entry, by leaving something out.
    if message.filters.is_empty() {
        return Err(FieldError::new(
            "filters",
            "is empty, must have at least one",
        ));
    }
    message
        .filters
        .into_iter()
        .enumerate()
        .map(|(index, child)| node(child, depth, budget).at_item("filters", index))
        .collect()
}

fn address_predicate(
    message: pb::AddressPredicate,
    budget: &mut Budget,
) -> Result<Predicate, FieldError> {
    let field: AddressField = known::<pb::AddressField, _>(message.field).at("field")?;
    budget.values(message.networks.len(), "networks")?;
    let networks = message
        .networks
        .iter()
        .enumerate()
        .map(|(index, message)| network(message).at_item("networks", index))
        .collect::<Result<_, _>>()?;
    Ok(Predicate::Address(field, networks))
}

fn network(message: &pb::Network) -> Result<IpNet, FieldError> {
    let address = address(&message.address).at("address")?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    u8::try_from(message.prefix_length)
        .ok()
        .and_then(|length| IpNet::new(address, length).ok())
        .map(|network| network.trunc())
        .ok_or_else(|| {
            FieldError::new(
                "prefix_length",
                format!("is {}, must be at most {max}", message.prefix_length),
            )
        })
}

fn number_predicate(
    message: pb::NumberPredicate,
    budget: &mut Budget,
) -> Result<Predicate, FieldError> {
    let field: NumberField = known::<pb::NumberField, _>(message.field).at("field")?;
    if message.mask == Some(0) {
        return Err(FieldError::new(
            "mask",
            "is 0, so that no number would count",
        ));
    }
    budget.values(message.ranges.len(), "ranges")?;
    let ranges = message
        .ranges
        .iter()
        .enumerate()
        .map(|(index, range)| number_range(*range).at_item("ranges", index))
        .collect::<Result<_, _>>()?;
    Ok(Predicate::Number(field, message.mask, ranges))
}

fn number_range(message: pb::NumberRange) -> Result<NumberRange, FieldError> {
    let pb::NumberRange { min, max } = message;
    if max < min {
        return Err(FieldError::new("max", format!("is {max}, below min {min}")));
    }
    Ok(NumberRange { min, max })
}

fn labels_predicate(message: &pb::LabelsPredicate) -> Result<Predicate, FieldError> {
    let value = labels(&message.value).at("value")?;
    let mask = labels(&message.mask).at("mask")?;
    if mask == Labels(0) {
        return Err(FieldError::new(
            "mask",
            "is 0, so that no label would count",
        ));
    }
    if value.0 & !mask.0 != 0 {
        return Err(FieldError::new("value", "has a label outside the mask"));
    }
    Ok(Predicate::Labels { value, mask })
}

fn text_predicate(
    message: pb::TextPredicate,
    budget: &mut Budget,
) -> Result<Predicate, FieldError> {
    let field: TextField = known::<pb::TextField, _>(message.field).at("field")?;
    budget.values(message.values.len(), "values")?;
    let values = message.values.into_iter().map(Into::into).collect();
    Ok(Predicate::Text(field, values))
}

impl From<&Filter> for pb::Filter {
    fn from(filter: &Filter) -> Self {
        use pb::filter::Node;
        let list = |children: &[Filter]| pb::FilterList {
            filters: children.iter().map(Into::into).collect(),
        };
        let node = match filter {
            Filter::And(children) => Node::And(list(children)),
            Filter::Or(children) => Node::Or(list(children)),
            Filter::Not(child) => Node::Not(Box::new(pb::Filter::from(child.as_ref()))),
            Filter::Is(predicate) => predicate.into(),
        };
        Self { node: Some(node) }
    }
}

impl From<&Predicate> for pb::filter::Node {
    fn from(predicate: &Predicate) -> Self {
        match predicate {
            Predicate::Address(field, networks) => Self::Address(pb::AddressPredicate {
                field: pb::AddressField::from(*field).into(),
                networks: networks
                    .iter()
                    .map(|network| pb::Network {
                        address: address_bytes(network.addr()),
                        prefix_length: network.prefix_len().into(),
                    })
                    .collect(),
            }),
            Predicate::Number(field, mask, ranges) => Self::Number(pb::NumberPredicate {
                field: pb::NumberField::from(*field).into(),
                mask: *mask,
                ranges: ranges
                    .iter()
                    .map(|&NumberRange { min, max }| pb::NumberRange { min, max })
                    .collect(),
            }),
            Predicate::Labels { value, mask } => Self::Labels(pb::LabelsPredicate {
                value: labels_bytes(*value),
                mask: labels_bytes(*mask),
            }),
            Predicate::Text(field, values) => Self::Text(pb::TextPredicate {
                field: pb::TextField::from(*field).into(),
                values: values.iter().map(|value| value.to_string()).collect(),
            }),
            Predicate::Present(field) => Self::Present(pb::PresenceField::from(*field).into()),
            Predicate::Translated(kind) => Self::Translated(pb::Translation::from(*kind).into()),
        }
    }
}
