//! The one evaluation of a filter. It allocates nothing: it runs once for each entry of a
//! table that may have a million.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use ipnet::IpNet;

use super::{
    AddressField, Filter, NumberField, NumberRange, Predicate, PresenceField, TextField,
    Translation,
};
use crate::flow::Labels;

/// What a filter can be evaluated on: it answers what its fields hold. A field that it does
/// not have holds nothing.
pub trait Subject {
    /// The addresses of a field: one, or more of a field that looks at several.
    fn addresses(&self, field: AddressField) -> ArrayVec<IpAddr, 4>;

    /// The numbers of a field: one, or more of a field that looks at several; each fits the
    /// field's [`NumberType`](super::NumberType). `now_ns` is the time in nanoseconds since
    /// the Unix epoch, for [`NumberField::Age`].
    fn numbers(&self, field: NumberField, now_ns: u64) -> ArrayVec<i128, 4>;

    /// The labels, all 0 when there are none; `None` when such a thing never has labels.
    fn labels(&self) -> Option<Labels>;

    /// The text of a field.
    fn text(&self, field: TextField) -> Option<&str>;

    /// Whether it has such a part.
    fn has(&self, field: PresenceField) -> bool;

    /// Whether it is translated so.
    fn is_translated(&self, how: Translation) -> bool;
}

impl Filter {
    /// Whether the filter holds. `now_ns` is the time in nanoseconds since the Unix epoch;
    /// [`NumberField::Age`] needs it.
    pub fn matches(&self, subject: &impl Subject, now_ns: u64) -> bool {
        match self {
            Self::And(filters) => filters.iter().all(|f| f.matches(subject, now_ns)),
            Self::Or(filters) => filters.iter().any(|f| f.matches(subject, now_ns)),
            Self::Not(filter) => !filter.matches(subject, now_ns),
            Self::Is(predicate) => predicate.matches(subject, now_ns),
        }
    }
}

impl Predicate {
    /// Whether the condition holds.
    fn matches(&self, subject: &impl Subject, now_ns: u64) -> bool {
        match self {
            Self::Address(field, networks) => subject
                .addresses(*field)
                .iter()
                .any(|address| contain(networks, address)),
            Self::Number(field, mask, ranges) => subject
                .numbers(*field, now_ns)
                .iter()
                .any(|&number| lies_in(number, *mask, ranges)),
            Self::Labels { value, mask } => subject
                .labels()
                .is_some_and(|labels| labels.0 & mask.0 == value.0),
            Self::Text(field, values) => subject
                .text(*field)
                .is_some_and(|text| values.iter().any(|value| **value == *text)),
            Self::Present(field) => subject.has(*field),
            Self::Translated(how) => subject.is_translated(*how),
        }
    }
}

/// Whether the address lies in one of the networks. An address of one family never lies in
/// a network of the other.
fn contain(networks: &[IpNet], address: &IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// Whether the number, after the mask, lies in one of the ranges. The mask looks at the 64
/// bits of the two's complement; what is above `i64::MAX` counts as `i64::MAX`.
fn lies_in(number: i128, mask: Option<u64>, ranges: &[NumberRange]) -> bool {
    let masked = match mask {
        // A negative number keeps its lower 64 bits, as its field in the kernel has them.
        Some(mask) => i128::from(number as u64 & mask),
        None => number,
    };
    let clamped = masked.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    ranges
        .iter()
        .any(|range| (range.min..=range.max).contains(&clamped))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(min: i64, max: i64) -> [NumberRange; 1] {
        [NumberRange { min, max }]
    }

    #[test]
    fn ranges_include_both_ends() {
        for (number, expected) in [(9, false), (10, true), (20, true), (21, false)] {
            assert_eq!(
                lies_in(number, None, &between(10, 20)),
                expected,
                "{number}"
            );
        }
        assert!(lies_in(5, None, &[between(1, 2)[0], between(5, 5)[0]]));
        assert!(!lies_in(5, None, &[]));
    }

    #[test]
    fn a_mask_selects_bits() {
        assert!(lies_in(0xabc, Some(0xf0), &between(0xb0, 0xb0)));
        assert!(!lies_in(0xabc, Some(0xf0), &between(0xabc, 0xabc)));
        assert!(lies_in(-1, Some(0xff), &between(255, 255)));
    }

    #[test]
    fn numbers_beyond_the_range_of_a_filter_saturate() {
        let huge = i128::from(u64::MAX);
        assert!(lies_in(huge, None, &between(i64::MAX, i64::MAX)));
        assert!(!lies_in(huge, None, &between(0, i64::MAX - 1)));
        // The mask comes first: the lower byte of 2^64-1 is 255, that of 2^63-1 as well, but
        // the lower byte of 2^63 is 0.
        assert!(lies_in(1 << 63, Some(0xff), &between(0, 0)));
        assert!(lies_in(huge, Some(1 << 63), &between(i64::MAX, i64::MAX)));
    }

    #[test]
    fn negative_numbers_compare_as_such() {
        assert!(lies_in(-5, None, &between(i64::MIN, -1)));
        assert!(!lies_in(-5, None, &between(0, i64::MAX)));
    }

    #[test]
    fn families_do_not_mix() {
        let all_v4: IpNet = "0.0.0.0/0".parse().unwrap();
        let all_v6: IpNet = "::/0".parse().unwrap();
        let v4: IpAddr = "10.0.0.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert!(contain(&[all_v4], &v4) && !contain(&[all_v6], &v4));
        assert!(contain(&[all_v6], &mapped) && !contain(&[all_v4], &mapped));
        assert!(contain(&[all_v6, all_v4], &v4));
    }

    #[test]
    fn a_network_ignores_bits_beyond_its_prefix() {
        let network: IpNet = "10.1.2.3/8".parse().unwrap();
        assert!(contain(&[network], &"10.200.0.1".parse().unwrap()));
        assert!(!contain(&[network], &"11.1.2.3".parse().unwrap()));
    }
}
