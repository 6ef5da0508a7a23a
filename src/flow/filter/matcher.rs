//! Filters made ready to be asked of many entries, and their one evaluation. A list of values
//! becomes a sorted one, so that one of 65,536 networks is found in 16 steps; nothing is
//! allocated while it is asked: it runs once for each entry of a table that may have a million.

use std::net::IpAddr;

use ipnet::IpNet;

use super::spans::Spans;
use super::{
    AddressField, Filter, NumberField, Predicate, PresenceField, Subject, TextField, Translation,
};
use crate::flow::Labels;

/// A [`Filter`] that is ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher(Node);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    And(Box<[Node]>),
    Or(Box<[Node]>),
    Not(Box<Node>),
    Address(AddressField, Networks),
    Number(NumberField, Option<u64>, Spans<i64>),
    Labels {
        value: Labels,
        mask: Labels,
    },
    /// Sorted.
    Text(TextField, Box<[Box<str>]>),
    Present(PresenceField),
    Translated(Translation),
}

impl Matcher {
    /// Makes a filter ready.
    pub fn of(filter: &Filter) -> Self {
        Self(Node::of(filter))
    }

    /// Whether the filter holds. `now_ns` is the time in nanoseconds since the Unix epoch;
    /// [`NumberField::Age`] needs it.
    pub fn matches(&self, subject: &impl Subject, now_ns: u64) -> bool {
        self.0.matches(subject, now_ns)
    }
}

impl Node {
    fn of(filter: &Filter) -> Self {
        let all = |filters: &[Filter]| filters.iter().map(Self::of).collect();
        match filter {
            Filter::And(filters) => Self::And(all(filters)),
            Filter::Or(filters) => Self::Or(all(filters)),
            Filter::Not(filter) => Self::Not(Box::new(Self::of(filter))),
            Filter::Is(predicate) => Self::of_predicate(predicate),
        }
    }

    fn of_predicate(predicate: &Predicate) -> Self {
        match predicate {
            Predicate::Address(field, networks) => Self::Address(*field, Networks::of(networks)),
            Predicate::Number(field, mask, ranges) => {
                let spans = ranges.iter().map(|range| (range.min, range.max));
                Self::Number(*field, *mask, spans.collect())
            }
            &Predicate::Labels { value, mask } => Self::Labels { value, mask },
            Predicate::Text(field, values) => {
                let mut values = values.clone();
                values.sort_unstable();
                Self::Text(*field, values.into_boxed_slice())
            }
            Predicate::Present(field) => Self::Present(*field),
            Predicate::Translated(how) => Self::Translated(*how),
        }
    }

    fn matches(&self, subject: &impl Subject, now_ns: u64) -> bool {
        match self {
            Self::And(nodes) => nodes.iter().all(|node| node.matches(subject, now_ns)),
            Self::Or(nodes) => nodes.iter().any(|node| node.matches(subject, now_ns)),
            Self::Not(node) => !node.matches(subject, now_ns),
            Self::Address(field, networks) => subject
                .addresses(*field)
                .iter()
                .any(|address| networks.contain(address)),
            Self::Number(field, mask, spans) => subject
                .numbers(*field, now_ns)
                .iter()
                .any(|&number| spans.contain(comparable(number, *mask))),
            Self::Labels { value, mask } => subject
                .labels()
                .is_some_and(|labels| labels.0 & mask.0 == value.0),
            Self::Text(field, values) => subject
                .text(*field)
                .is_some_and(|text| values.binary_search_by(|value| (**value).cmp(text)).is_ok()),
            Self::Present(field) => subject.has(*field),
            Self::Translated(how) => subject.is_translated(*how),
        }
    }
}

/// Networks of both families. An address of one never lies in a network of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Networks {
    v4: Spans<u32>,
    v6: Spans<u128>,
}

impl Networks {
    fn of(networks: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => {
                    v4.push((u32::from(network.network()), u32::from(network.broadcast())))
                }
                IpNet::V6(network) => v6.push((
                    u128::from(network.network()),
                    u128::from(network.broadcast()),
                )),
            }
        }
        Self {
            v4: v4.into_iter().collect(),
            v6: v6.into_iter().collect(),
        }
    }

    fn contain(&self, address: &IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contain((*address).into()),
            IpAddr::V6(address) => self.v6.contain((*address).into()),
        }
    }
}

/// What of a number is compared: that which the mask leaves. It looks at the 64 bits of the two's
/// complement; what is above `i64::MAX` counts as `i64::MAX`.
fn comparable(number: i128, mask: Option<u64>) -> i64 {
    let masked = match mask {
        // A negative number keeps its lower 64 bits, as its field in the kernel has them.
        Some(mask) => i128::from(number as u64 & mask),
        None => number,
    };
    masked.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lies_in(number: i128, mask: Option<u64>, ranges: &[(i64, i64)]) -> bool {
        let spans: Spans<i64> = ranges.iter().copied().collect();
        spans.contain(comparable(number, mask))
    }

    fn contain(networks: &[IpNet], address: &IpAddr) -> bool {
        Networks::of(networks).contain(address)
    }

    #[test]
    fn ranges_include_both_ends() {
        for (number, expected) in [(9, false), (10, true), (20, true), (21, false)] {
            assert_eq!(lies_in(number, None, &[(10, 20)]), expected, "{number}");
        }
        assert!(lies_in(5, None, &[(1, 2), (5, 5)]));
        assert!(!lies_in(5, None, &[]));
    }

    #[test]
    fn a_mask_selects_bits() {
        assert!(lies_in(0xabc, Some(0xf0), &[(0xb0, 0xb0)]));
        assert!(!lies_in(0xabc, Some(0xf0), &[(0xabc, 0xabc)]));
        assert!(lies_in(-1, Some(0xff), &[(255, 255)]));
    }

    #[test]
    fn numbers_beyond_the_range_of_a_filter_saturate() {
        let huge = i128::from(u64::MAX);
        assert!(lies_in(huge, None, &[(i64::MAX, i64::MAX)]));
        assert!(!lies_in(huge, None, &[(0, i64::MAX - 1)]));
        // The mask comes first: the lower byte of 2^64-1 is 255, that of 2^63-1 as well, but
        // the lower byte of 2^63 is 0.
        assert!(lies_in(1 << 63, Some(0xff), &[(0, 0)]));
        assert!(lies_in(huge, Some(1 << 63), &[(i64::MAX, i64::MAX)]));
    }

    #[test]
    fn negative_numbers_compare_as_such() {
        assert!(lies_in(-5, None, &[(i64::MIN, -1)]));
        assert!(!lies_in(-5, None, &[(0, i64::MAX)]));
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

    #[test]
    fn a_text_is_found_to_the_letter_wherever_it_stands() {
        let helpers = Filter::text(TextField::Helper, ["tftp", "ftp", "sip"]);
        let matcher = Matcher::of(&helpers);
        let mut flow = crate::flow::Flow::new(tuple(), tuple().inverse());
        for (name, expected) in [("ftp", true), ("sip", true), ("tftp", true), ("tft", false)] {
            flow.helper = Some(crate::flow::Helper {
                name: name.parse().unwrap(),
                info: None,
            });
            assert_eq!(matcher.matches(&flow, 0), expected, "{name}");
        }
    }

    fn tuple() -> crate::flow::Tuple {
        crate::flow::Tuple {
            src: "10.0.0.1".parse().unwrap(),
            dst: "10.0.0.2".parse().unwrap(),
            protocol: crate::flow::Protocol::UDP,
            l4: crate::flow::L4::Ports { src: 1, dst: 2 },
        }
    }

    fn network() -> impl Strategy<Value = IpNet> {
        let near = |bits: u8, length: u8| {
            let v4 = std::net::Ipv4Addr::new(10, 0, bits % 4, bits);
            IpNet::new(v4.into(), length % 33).unwrap()
        };
        let near6 = |bits: u8, length: u8| {
            let v6 = std::net::Ipv6Addr::from(u128::from(bits) << 1);
            IpNet::new(v6.into(), length % 129).unwrap()
        };
        prop_oneof![
            (any::<u8>(), any::<u8>()).prop_map(move |(bits, length)| near(bits, length)),
            (any::<u8>(), any::<u8>()).prop_map(move |(bits, length)| near6(bits, length)),
        ]
    }

    proptest! {
        /// As one after the other would find it.
        #[test]
        fn networks_contain_what_one_of_them_contains(
            networks in proptest::collection::vec(network(), 0..12),
            address in network(),
        ) {
            let address = address.addr();
            let expected = networks.iter().any(|network| network.contains(&address));
            prop_assert_eq!(contain(&networks, &address), expected);
        }
    }
}
