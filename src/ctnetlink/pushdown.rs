//! The part of a filter that the kernel can pre-select in a dump, and only that.
//!
//! A preselection may let through too much, never too little: the whole filter is evaluated
//! again on every entry. Kernels ignore what they do not know, so no version has to be
//! asked for.

use std::net::IpAddr;

use ipnet::IpNet;

use super::encode::TupleFilter;
use crate::flow::filter::{AddressField, NumberField, NumberRange, Predicate};
use crate::flow::{Family, Filter, Protocol};

/// What a dump request says to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preselection {
    pub(super) family: Option<Family>,
    /// `mark & mask == value` (Linux 2.6.39).
    pub(super) mark: Option<(u32, u32)>,
    /// `status & mask == value` (Linux 5.15); the mask is not 0.
    pub(super) status: Option<(u32, u32)>,
    /// The zone of either direction (Linux 6.8); not 0.
    pub(super) zone: Option<u16>,
    /// The original tuple (Linux 5.8).
    pub(super) orig: TupleFilter,
}

impl Preselection {
    /// What the filter demands of every entry that it lets through.
    pub fn of(filter: &Filter) -> Self {
        let mut preselection = Self::default();
        preselection.narrow(filter);
        preselection.make_sendable();
        preselection
    }

    /// Whether the kernel sends everything.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    fn narrow(&mut self, filter: &Filter) {
        match filter {
            Filter::And(filters) => filters.iter().for_each(|filter| self.narrow(filter)),
            Filter::Or(filters) => {
                if let [only] = &filters[..] {
                    self.narrow(only);
                }
            }
            Filter::Not(filter) => {
                // "not SEEN_REPLY": one bit that must be 0. Of several bits, at least one is
                // 0, which cannot be said.
                if let Filter::Is(Predicate::Number(NumberField::Status, Some(mask), ranges)) =
                    &**filter
                    && let (Ok(mask), Some(value)) = (u32::try_from(*mask), single(ranges))
                    && mask.is_power_of_two()
                    && value == i64::from(mask)
                {
                    self.status(0, mask);
                }
            }
            Filter::Is(Predicate::Number(field, mask, ranges)) => {
                self.number(*field, *mask, ranges);
            }
            Filter::Is(Predicate::Address(field, networks)) => self.address(*field, networks),
            Filter::Is(_) => {}
        }
    }

    fn number(&mut self, field: NumberField, mask: Option<u64>, ranges: &[NumberRange]) {
        let Some(value) = single(ranges) else {
            return;
        };
        match field {
            NumberField::Mark | NumberField::Status => {
                // Bits above 32 are 0 in the entry, so a value that has some matches nothing:
                // nothing to gain.
                let (Ok(value), Ok(mask)) = (
                    u32::try_from(value),
                    u32::try_from(mask.unwrap_or(u32::MAX.into()) & u64::from(u32::MAX)),
                ) else {
                    return;
                };
                if mask == 0 || value & !mask != 0 {
                    return;
                }
                match field {
                    NumberField::Mark => {
                        self.mark.get_or_insert((value, mask));
                    }
                    _ => self.status(value, mask),
                }
            }
            // A mask on the others is legal, rare, and not worth the risk.
            _ if mask.is_some() => {}
            NumberField::Family => match value {
                4 => self.set_family(Family::V4),
                6 => self.set_family(Family::V6),
                _ => {}
            },
            NumberField::Zone => {
                if let Ok(zone @ 1..) = u16::try_from(value) {
                    self.zone.get_or_insert(zone);
                }
            }
            NumberField::Protocol => {
                if let Ok(protocol) = u8::try_from(value) {
                    self.orig.protocol.get_or_insert(Protocol(protocol));
                }
            }
            NumberField::SrcPort => {
                if let Ok(port) = u16::try_from(value) {
                    self.orig.src_port.get_or_insert(port);
                }
            }
            NumberField::DstPort => {
                if let Ok(port) = u16::try_from(value) {
                    self.orig.dst_port.get_or_insert(port);
                }
            }
            _ => {}
        }
    }

    fn address(&mut self, field: AddressField, networks: &[IpNet]) {
        // Wherever the address is, it decides the family of a flow.
        if networks
            .iter()
            .all(|network| matches!(network, IpNet::V4(_)))
        {
            self.set_family(Family::V4);
        } else if networks
            .iter()
            .all(|network| matches!(network, IpNet::V6(_)))
        {
            self.set_family(Family::V6);
        }
        let [network] = networks else {
            return;
        };
        // The kernel compares whole addresses, and IPv6 ones the wrong way round.
        let (IpAddr::V4(address), 32) = (network.addr(), network.prefix_len()) else {
            return;
        };
        match field {
            AddressField::Src => {
                self.orig.src.get_or_insert(address);
            }
            AddressField::Dst => {
                self.orig.dst.get_or_insert(address);
            }
            _ => {}
        }
    }

    fn set_family(&mut self, family: Family) {
        self.family.get_or_insert(family);
    }

    /// Adds bits, unless they contradict those that are there: then nothing matches, and
    /// the evaluation will say so.
    fn status(&mut self, value: u32, mask: u32) {
        let (old_value, old_mask) = self.status.unwrap_or_default();
        if (old_value ^ value) & old_mask & mask == 0 {
            self.status = Some((old_value | value, old_mask | mask));
        }
    }

    /// Takes out what the kernel would refuse or misunderstand.
    fn make_sendable(&mut self) {
        let protocol = self.orig.protocol;
        // Ports need a protocol, and only those of TCP and UDP are compared.
        if !matches!(protocol, Some(Protocol::TCP | Protocol::UDP)) {
            self.orig.src_port = None;
            self.orig.dst_port = None;
        }
        // CTA_FILTER needs a family, and IPv4 addresses the right one. A contradiction
        // matches nothing; the evaluation will say so.
        match self.family {
            None => self.orig = TupleFilter::default(),
            Some(Family::V6) => {
                self.orig.src = None;
                self.orig.dst = None;
            }
            Some(Family::V4) => {}
        }
        if self.family == Some(Family::V4) && protocol == Some(Protocol::ICMPV6)
            || self.family == Some(Family::V6) && protocol == Some(Protocol::ICMP)
        {
            self.orig.protocol = None;
        }
    }
}

/// The only number that the ranges let through.
fn single(ranges: &[NumberRange]) -> Option<i64> {
    match ranges {
        [range] if range.min == range.max => Some(range.min),
        _ => None,
    }
}
