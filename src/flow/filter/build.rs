//! Filters in Rust: constructors, and `&`, `|`, `!` between filters.

use std::ops::{BitAnd, BitOr, Not, RangeInclusive};

use ipnet::IpNet;

use super::{
    AddressField, Filter, NumberField, NumberRange, Predicate, PresenceField, TextField,
    Translation,
};
use crate::flow::{Labels, Protocol, Status};

/// Bytes of a text that count as one value.
const TEXT: usize = 32;

impl Filter {
    /// The filter that every entry passes.
    pub fn everything() -> Self {
        Self::And(Vec::new())
    }

    /// The filter that no entry passes.
    pub fn nothing() -> Self {
        Self::Or(Vec::new())
    }

    /// How many levels the tree has; a condition is one.
    pub fn depth(&self) -> usize {
        match self {
            Self::And(filters) | Self::Or(filters) => {
                1 + filters.iter().map(Self::depth).max().unwrap_or(0)
            }
            Self::Not(filter) => 1 + filter.depth(),
            Self::Is(_) => 1,
        }
    }

    /// How many nodes the tree has: conditions, and what combines them.
    pub fn conditions(&self) -> usize {
        match self {
            Self::And(filters) | Self::Or(filters) => {
                1 + filters.iter().map(Self::conditions).sum::<usize>()
            }
            Self::Not(filter) => 1 + filter.conditions(),
            Self::Is(_) => 1,
        }
    }

    /// How many values its conditions have, together: networks, ranges and texts. A long text
    /// counts as several, of 32 bytes each.
    pub fn values(&self) -> usize {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().map(Self::values).sum(),
            Self::Not(filter) => filter.values(),
            Self::Is(Predicate::Address(_, networks)) => networks.len(),
            Self::Is(Predicate::Number(_, _, ranges)) => ranges.len(),
            Self::Is(Predicate::Text(_, texts)) => {
                texts.iter().map(|text| 1 + text.len() / TEXT).sum()
            }
            Self::Is(_) => 0,
        }
    }

    /// The address lies in one of the networks; an address is a network of its own.
    pub fn address<T: Into<IpNet>>(
        field: AddressField,
        networks: impl IntoIterator<Item = T>,
    ) -> Self {
        let networks = networks.into_iter().map(Into::into).collect();
        Self::Is(Predicate::Address(field, networks))
    }

    /// The number lies in one of the ranges; a number is a range of its own.
    pub fn number<T: Into<NumberRange>>(
        field: NumberField,
        ranges: impl IntoIterator<Item = T>,
    ) -> Self {
        let ranges = ranges.into_iter().map(Into::into).collect();
        Self::Is(Predicate::Number(field, None, ranges))
    }

    /// The number's bits in `mask` are those of `value`.
    pub fn masked(field: NumberField, value: u32, mask: u32) -> Self {
        let ranges = vec![i64::from(value).into()];
        Self::Is(Predicate::Number(field, Some(mask.into()), ranges))
    }

    /// The IP protocol.
    pub fn protocol(protocol: Protocol) -> Self {
        Self::number(NumberField::Protocol, [i64::from(protocol.0)])
    }

    /// All these status bits are set.
    pub fn status(bits: Status) -> Self {
        Self::masked(NumberField::Status, bits.0, bits.0)
    }

    /// All these labels are set.
    pub fn labels(labels: Labels) -> Self {
        Self::Is(Predicate::Labels {
            value: labels,
            mask: labels,
        })
    }

    /// The text is one of the values, to the letter.
    pub fn text<T: Into<Box<str>>>(field: TextField, values: impl IntoIterator<Item = T>) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self::Is(Predicate::Text(field, values))
    }

    /// The entry has such a part.
    pub fn has(part: PresenceField) -> Self {
        Self::Is(Predicate::Present(part))
    }

    /// The entry is translated.
    pub fn translated(how: Translation) -> Self {
        Self::Is(Predicate::Translated(how))
    }
}

/// Both hold.
impl BitAnd for Filter {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        match self {
            Self::And(mut list) => {
                list.push(other);
                Self::And(list)
            }
            first => Self::And(vec![first, other]),
        }
    }
}

/// At least one holds.
impl BitOr for Filter {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        match self {
            Self::Or(mut list) => {
                list.push(other);
                Self::Or(list)
            }
            first => Self::Or(vec![first, other]),
        }
    }
}

/// It does not hold.
impl Not for Filter {
    type Output = Self;

    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}

/// One number.
impl From<i64> for NumberRange {
    fn from(number: i64) -> Self {
        Self {
            min: number,
            max: number,
        }
    }
}

impl From<RangeInclusive<i64>> for NumberRange {
    fn from(range: RangeInclusive<i64>) -> Self {
        Self {
            min: *range.start(),
            max: *range.end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Flow, L4, Tuple};
    use std::net::IpAddr;

    #[test]
    fn filters_read_as_they_select() {
        let orig = Tuple {
            src: "10.0.0.1".parse().unwrap(),
            dst: "192.0.2.1".parse().unwrap(),
            protocol: Protocol::TCP,
            l4: L4::Ports {
                src: 4000,
                dst: 443,
            },
        };
        let mut flow = Flow::new(orig, orig.inverse());
        flow.status = Some(Status::ASSURED | Status::SEEN_REPLY);
        flow.labels = Some(Labels(6));
        let inside: IpNet = "10.0.0.0/8".parse().unwrap();
        let server: IpAddr = "192.0.2.1".parse().unwrap();
        let web = Filter::address(AddressField::Src, [inside])
            & Filter::address(AddressField::Dst, [server])
            & Filter::protocol(Protocol::TCP)
            & Filter::number(NumberField::DstPort, [80, 443]);
        assert!(web.matches(&flow, 0));
        assert!(!(!web.clone()).matches(&flow, 0));
        let high = Filter::number(NumberField::SrcPort, [1024..=65535_i64]);
        assert!((web & high.clone()).matches(&flow, 0));
        let nat = Filter::translated(Translation::Any);
        assert!((nat.clone() | Filter::status(Status::ASSURED)).matches(&flow, 0));
        assert!(!(nat | Filter::has(PresenceField::Helper)).matches(&flow, 0));
        assert!(Filter::labels(Labels(2)).matches(&flow, 0));
        assert!(!Filter::labels(Labels(3)).matches(&flow, 0));
        assert!(Filter::masked(NumberField::Mark, 0, 0xf0).matches(&flow, 0));
        assert!(!Filter::text(TextField::Helper, ["ftp"]).matches(&flow, 0));
        assert!(!Filter::nothing().matches(&flow, 0) && Filter::everything().matches(&flow, 0));
    }
}
