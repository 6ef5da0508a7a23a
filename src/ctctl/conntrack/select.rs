//! Which entries a line is about: its options as a filter.
//!
//! The filter is exact where conntrack(8) is not: an IPv6 address behind `-n`, `-g` or `-j`
//! counts, `-n` of ICMP is about the source, and `UNREPLIED` and `!ASSURED` count for every
//! command, not for `-L` alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::error::LineError;
use super::line::{Line, Nat};
use super::protocol::Part;
use super::vocabulary::Action;
use crate::ctctl::args::select::Selection;
use crate::flow::filter::{AddressField, Kind, NumberField, Translation};
use crate::flow::{Family, Filter, Protocol};

/// A mask with holes is as many networks as its holes have values; more are refused.
const MOST_NETWORKS: u32 = 10;

impl Line {
    /// The flows that the line is about.
    pub fn flows(&self) -> Result<Filter, LineError> {
        let mut all = self.ends()?;
        if self.action != Some(Action::Update) {
            self.add_conditions(&mut all);
        }
        Ok(Filter::And(all))
    }

    /// The same as part of a request that reads.
    pub fn selection(&self) -> Result<Selection, LineError> {
        let Filter::And(all) = self.flows()? else {
            return Ok(Selection::Unsaid);
        };
        Selection::new(all, Kind::Flow)
            .map_err(|_| LineError::Unfit("flows have no such field to select by"))
    }

    /// The expectations that the line is about: those of one family.
    pub fn expectations(&self) -> Filter {
        Filter::And(self.family.map(of_family).into_iter().collect())
    }

    /// Whether no entry can be meant: the kernel refuses a mask of nothing.
    pub fn asks_for_no_status(&self) -> bool {
        self.action == Some(Action::List)
            && self
                .status
                .is_some_and(|status| (status.set | status.clear).0 == 0)
    }

    /// End points, translations, labels and the id: what an update selects by, too.
    fn ends(&self) -> Result<Vec<Filter>, LineError> {
        let mut all: Vec<Filter> = self.family.map(of_family).into_iter().collect();
        let addresses = [
            (AddressField::Src, self.src, self.mask_src),
            (AddressField::Dst, self.dst, self.mask_dst),
            (AddressField::ReplySrc, self.reply_src, None),
            (AddressField::ReplyDst, self.reply_dst, None),
        ];
        for (field, address, mask) in addresses {
            let Some(address) = address else { continue };
            all.push(Filter::address(field, networks(address, mask)?));
        }
        if let Some(protocol) = self.protocol {
            all.push(Filter::protocol(protocol));
            all.extend(self.parts_of(protocol));
        }
        if let Some(nat) = self.src_nat {
            all.push(translated(Translation::Src, nat));
        }
        if let Some(nat) = self.dst_nat {
            all.push(translated(Translation::Dst, nat));
        }
        if let Some(nat) = self.any_nat {
            all.push(translated(Translation::Src, nat) | translated(Translation::Dst, nat));
        }
        if self.labels.0 != 0 {
            all.push(Filter::labels(self.labels));
        }
        all.extend(
            self.id
                .map(|id| Filter::number(NumberField::Id, [i64::from(id)])),
        );
        Ok(all)
    }

    /// What an update changes, and every other command selects by.
    fn add_conditions(&self, all: &mut Vec<Filter>) {
        if let Some(status) = self.status {
            let mask = status.set | status.clear;
            if mask.0 != 0 {
                all.push(Filter::masked(NumberField::Status, status.set.0, mask.0));
            }
        }
        if let Some(mark) = self.mark {
            all.push(match (mark.mask, mark.value) {
                (0, 0) => Filter::everything(),
                // conntrack(8) does not mask what it compares with.
                (mask, value) if value & !mask != 0 => Filter::nothing(),
                (mask, value) => Filter::masked(NumberField::Mark, value, mask),
            });
        }
        // Of the commands that get here only a deletion may have one: what is left, to the second.
        all.extend(
            self.timeout
                .map(|left| Filter::number(NumberField::Timeout, [i64::from(left)])),
        );
        for (zone, direction) in [(self.zone, 0), (self.orig_zone, 1), (self.reply_zone, 2)] {
            all.extend(zone.map(|zone| in_zone(zone, direction)));
        }
        let state = match self.protocol {
            Some(Protocol::SCTP) => NumberField::SctpState,
            Some(Protocol::DCCP) => NumberField::DccpState,
            _ => NumberField::TcpState,
        };
        let numbers = [
            (state, Part::State),
            (NumberField::SctpVtagOrig, Part::OrigVtag),
            (NumberField::SctpVtagReply, Part::ReplyVtag),
        ];
        for (field, part) in numbers {
            let number = self.parts.get(part);
            all.extend(number.map(|number| Filter::number(field, [i64::from(number)])));
        }
    }

    /// Ports, keys, types, codes and ids.
    fn parts_of(&self, protocol: Protocol) -> impl Iterator<Item = Filter> {
        let ends = match protocol {
            Protocol::GRE => [
                NumberField::GreSrcKey,
                NumberField::GreDstKey,
                NumberField::GreReplySrcKey,
                NumberField::GreReplyDstKey,
            ],
            _ => [
                NumberField::SrcPort,
                NumberField::DstPort,
                NumberField::ReplySrcPort,
                NumberField::ReplyDstPort,
            ],
        };
        let parts = [Part::Src, Part::Dst, Part::ReplySrc, Part::ReplyDst];
        let icmp = [
            (NumberField::IcmpType, Part::IcmpType),
            (NumberField::IcmpCode, Part::IcmpCode),
            (NumberField::IcmpId, Part::IcmpId),
        ];
        ends.into_iter()
            .zip(parts)
            .chain(icmp)
            .filter_map(|(field, part)| {
                let number = self.parts.get(part)?;
                Some(Filter::number(field, [i64::from(number)]))
            })
    }
}

fn of_family(family: Family) -> Filter {
    let number = match family {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    Filter::number(NumberField::Family, [number])
}

/// Zone 0 is that of every entry which has no zone in this direction.
fn in_zone(zone: u16, direction: i64) -> Filter {
    let direction = Filter::number(NumberField::ZoneDirection, [direction]);
    match zone {
        0 => !(Filter::number(NumberField::Zone, [1..=i64::from(u16::MAX)]) & direction),
        zone => Filter::number(NumberField::Zone, [i64::from(zone)]) & direction,
    }
}

/// A flow whose source is translated gets its replies at the translated address; one whose
/// destination is translated, from it.
fn translated(translation: Translation, nat: Nat) -> Filter {
    let (address, port) = match translation {
        Translation::Dst => (AddressField::ReplySrc, NumberField::ReplySrcPort),
        Translation::Src | Translation::Any => (AddressField::ReplyDst, NumberField::ReplyDstPort),
    };
    let mut filter = Filter::translated(translation);
    if let Some(place) = nat.address {
        filter = filter & Filter::address(address, [place]);
    }
    if let Some(number) = nat.port {
        filter = filter & Filter::number(port, [i64::from(number)]);
    }
    filter
}

/// The networks that an address and a mask mean.
fn networks(address: IpAddr, mask: Option<IpAddr>) -> Result<Vec<IpNet>, LineError> {
    const HOLES: LineError =
        LineError::Unfit("a mask with so many holes is more than agents can be asked for");
    let Some(mask) = mask else {
        return Ok(vec![address.into()]);
    };
    // Both families in 128 bits, from the left.
    let (bits, mask, width) = match (address, mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => {
            let left = |bits: u32| u128::from(bits) << 96;
            (left(address.to_bits()), left(mask.to_bits()), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(mask)) => (address.to_bits(), mask.to_bits(), 128),
        _ => return Err(LineError::Families),
    };
    let length = if mask == 0 {
        0
    } else {
        128 - mask.trailing_zeros()
    };
    let holes: Vec<u32> = (128 - length..128)
        .filter(|bit| mask >> bit & 1 == 0)
        .collect();
    if holes.len() > MOST_NETWORKS as usize {
        return Err(HOLES);
    }
    let length = u8::try_from(length).map_err(|_| HOLES)?;
    let network = |filling: u32| {
        let filled = holes
            .iter()
            .enumerate()
            .fold(bits & mask, |bits, (place, hole)| {
                bits | u128::from(filling >> place & 1) << hole
            });
        let address: IpAddr = match width {
            // The upper half holds all of it.
            32 => Ipv4Addr::from_bits((filled >> 96) as u32).into(),
            _ => Ipv6Addr::from_bits(filled).into(),
        };
        IpNet::new(address, length).map_err(|_| HOLES)
    };
    (0..1u32 << holes.len()).map(network).collect()
}
