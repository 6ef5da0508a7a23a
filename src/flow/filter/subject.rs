//! What the fields of a filter hold in a flow and in an expectation.

use std::net::IpAddr;

use arrayvec::ArrayVec;

use super::{AddressField, NumberField, PresenceField, Subject, TextField, Translation};
use crate::flow::{
    DccpInfo, Expectation, Family, Flow, L4, Labels, ProtoInfo, SctpInfo, TcpInfo, Tuple,
    ZoneDirection,
};

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

impl Subject for Flow {
    fn addresses(&self, field: AddressField) -> ArrayVec<IpAddr, 4> {
        let (orig, reply) = (&self.orig, &self.reply);
        let one = match field {
            AddressField::Src => Some(orig.src),
            AddressField::Dst => Some(orig.dst),
            AddressField::ReplySrc => Some(reply.src),
            AddressField::ReplyDst => Some(reply.dst),
            AddressField::Any => {
                return ArrayVec::from([orig.src, orig.dst, reply.src, reply.dst]);
            }
            AddressField::MasterSrc => self.master.map(|master| master.src),
            AddressField::MasterDst => self.master.map(|master| master.dst),
            AddressField::MaskSrc | AddressField::MaskDst => None,
        };
        one.into_iter().collect()
    }

    fn numbers(&self, field: NumberField, now_ns: u64) -> ArrayVec<i128, 4> {
        use NumberField as N;
        let (orig, reply) = (&self.orig, &self.reply);
        let (adj_orig, adj_reply) = (self.seqadj_orig, self.seqadj_reply);
        let (counted_orig, counted_reply) = (self.counters_orig, self.counters_reply);
        let one = match field {
            N::Port => return ports(orig).chain(ports(reply)).collect(),
            N::Id => self.id.map(i128::from),
            N::Zone => Some(self.zone.id.into()),
            N::ZoneDirection => Some(match self.zone.direction {
                ZoneDirection::Both => 0,
                ZoneDirection::Orig => 1,
                ZoneDirection::Reply => 2,
            }),
            N::Status => self.status.map(|status| status.0.into()),
            N::Timeout => self.timeout.map(i128::from),
            // The kernel leaves out a mark of 0.
            N::Mark => Some(self.mark.unwrap_or(0).into()),
            N::Use => self.use_count.map(i128::from),
            N::ReplySrcPort => reply.ports().map(|(src, _)| src.into()),
            N::ReplyDstPort => reply.ports().map(|(_, dst)| dst.into()),
            N::GreReplySrcKey => of_tuple(reply, N::GreSrcKey),
            N::GreReplyDstKey => of_tuple(reply, N::GreDstKey),
            N::PacketsOrig => counted_orig.map(|c| c.packets.into()),
            N::PacketsReply => counted_reply.map(|c| c.packets.into()),
            N::Packets => sum(
                counted_orig.map(|c| c.packets),
                counted_reply.map(|c| c.packets),
            ),
            N::BytesOrig => counted_orig.map(|c| c.bytes.into()),
            N::BytesReply => counted_reply.map(|c| c.bytes.into()),
            N::Bytes => sum(
                counted_orig.map(|c| c.bytes),
                counted_reply.map(|c| c.bytes),
            ),
            N::Start => self.timestamps.start.map(i128::from),
            N::Stop => self.timestamps.stop.map(i128::from),
            N::Event => self.timestamps.event.map(i128::from),
            N::Age => self.timestamps.start.map(|start| {
                // A clock that was set back makes no flow of a negative age.
                let end = self.timestamps.stop.unwrap_or(now_ns);
                (end.saturating_sub(start) / SECOND_NS).into()
            }),
            N::SeqAdjOrigCorrectionPos => adj_orig.map(|a| a.correction_pos.into()),
            N::SeqAdjOrigOffsetBefore => adj_orig.map(|a| a.offset_before.into()),
            N::SeqAdjOrigOffsetAfter => adj_orig.map(|a| a.offset_after.into()),
            N::SeqAdjReplyCorrectionPos => adj_reply.map(|a| a.correction_pos.into()),
            N::SeqAdjReplyOffsetBefore => adj_reply.map(|a| a.offset_before.into()),
            N::SeqAdjReplyOffsetAfter => adj_reply.map(|a| a.offset_after.into()),
            N::SynproxyIsn => self.synproxy.map(|s| s.isn.into()),
            N::SynproxyIts => self.synproxy.map(|s| s.its.into()),
            N::SynproxyTsoff => self.synproxy.map(|s| s.tsoff.into()),
            N::TcpState
            | N::TcpWindowScaleOrig
            | N::TcpWindowScaleReply
            | N::TcpFlagsOrig
            | N::TcpFlagsReply
            | N::SctpState
            | N::SctpVtagOrig
            | N::SctpVtagReply
            | N::DccpState
            | N::DccpRole
            | N::DccpHandshakeSeq => self.protoinfo.and_then(|info| of_protoinfo(info, field)),
            N::MasterProtocol | N::MasterSrcPort | N::MasterDstPort => self
                .master
                .as_ref()
                .and_then(|master| of_master(master, field)),
            N::ExpectFlags | N::ExpectClass => None,
            N::Family
            | N::Protocol
            | N::SrcPort
            | N::DstPort
            | N::IcmpType
            | N::IcmpCode
            | N::IcmpId
            | N::GreSrcKey
            | N::GreDstKey => of_tuple(orig, field),
        };
        one.into_iter().collect()
    }

    fn labels(&self) -> Option<Labels> {
        Some(self.labels.unwrap_or_default())
    }

    fn text(&self, field: TextField) -> Option<&str> {
        match field {
            TextField::Helper => self.helper.as_ref().map(|helper| helper.name.as_str()),
            TextField::SecCtx => self.secctx.as_deref(),
            TextField::ExpectFunction => None,
        }
    }

    fn has(&self, field: PresenceField) -> bool {
        match field {
            PresenceField::Helper => self.helper.is_some(),
            PresenceField::HelperInfo => self.helper.as_ref().is_some_and(|h| h.info.is_some()),
            PresenceField::Master => self.master.is_some(),
            PresenceField::Labels => self.labels.is_some(),
            PresenceField::SecCtx => self.secctx.is_some(),
            PresenceField::SeqAdj => self.seqadj_orig.is_some() || self.seqadj_reply.is_some(),
            PresenceField::Synproxy => self.synproxy.is_some(),
            PresenceField::Counters => {
                self.counters_orig.is_some() || self.counters_reply.is_some()
            }
            PresenceField::Timestamps => !self.timestamps.is_empty(),
            PresenceField::ProtoInfo => self.protoinfo.is_some(),
            PresenceField::ExpectNat => false,
        }
    }

    /// The ICMP id is not compared: the kernel keeps one for both ends, and changes it under
    /// either translation, so that it cannot tell which one happened.
    fn is_translated(&self, how: Translation) -> bool {
        let (orig, reply) = (&self.orig, &self.reply);
        let src = || (orig.src, source_part(orig)) != (reply.dst, destination_part(reply));
        let dst = || (orig.dst, destination_part(orig)) != (reply.src, source_part(reply));
        match how {
            Translation::Src => src(),
            Translation::Dst => dst(),
            Translation::Any => src() || dst(),
        }
    }
}

impl Subject for Expectation {
    fn addresses(&self, field: AddressField) -> ArrayVec<IpAddr, 4> {
        let one = match field {
            AddressField::Src => Some(self.tuple.src),
            AddressField::Dst => Some(self.tuple.dst),
            AddressField::Any => {
                return [self.tuple.src, self.tuple.dst].into_iter().collect();
            }
            AddressField::MasterSrc => Some(self.master.src),
            AddressField::MasterDst => Some(self.master.dst),
            AddressField::MaskSrc => Some(self.mask.src),
            AddressField::MaskDst => Some(self.mask.dst),
            AddressField::ReplySrc | AddressField::ReplyDst => None,
        };
        one.into_iter().collect()
    }

    fn numbers(&self, field: NumberField, _now_ns: u64) -> ArrayVec<i128, 4> {
        use NumberField as N;
        let one = match field {
            N::Port => return ports(&self.tuple).collect(),
            N::Id => self.id.map(i128::from),
            N::Timeout => self.timeout.map(i128::from),
            N::ExpectFlags => self.flags.map(i128::from),
            N::ExpectClass => self.class.map(i128::from),
            N::MasterProtocol | N::MasterSrcPort | N::MasterDstPort => {
                of_master(&self.master, field)
            }
            _ => of_tuple(&self.tuple, field),
        };
        one.into_iter().collect()
    }

    fn labels(&self) -> Option<Labels> {
        None
    }

    fn text(&self, field: TextField) -> Option<&str> {
        match field {
            TextField::Helper => self.helper.as_ref().map(|name| name.as_str()),
            TextField::ExpectFunction => self.function.as_deref(),
            TextField::SecCtx => None,
        }
    }

    fn has(&self, field: PresenceField) -> bool {
        match field {
            PresenceField::Helper => self.helper.is_some(),
            PresenceField::Master => true,
            PresenceField::ExpectNat => self.nat.is_some(),
            _ => false,
        }
    }

    fn is_translated(&self, _how: Translation) -> bool {
        false
    }
}

/// The numbers of a tuple; of a flow, those of its original direction.
fn of_tuple(tuple: &Tuple, field: NumberField) -> Option<i128> {
    let number = match (field, tuple.l4) {
        (NumberField::Family, _) => match tuple.family() {
            Family::V4 => 4,
            Family::V6 => 6,
        },
        (NumberField::Protocol, _) => tuple.protocol.0.into(),
        (NumberField::SrcPort, L4::Ports { src, .. }) => src,
        (NumberField::DstPort, L4::Ports { dst, .. }) => dst,
        (NumberField::IcmpType, L4::Icmp { kind, .. }) => kind.into(),
        (NumberField::IcmpCode, L4::Icmp { code, .. }) => code.into(),
        (NumberField::IcmpId, L4::Icmp { id, .. }) => id,
        (NumberField::GreSrcKey, L4::Gre { src, .. }) => src,
        (NumberField::GreDstKey, L4::Gre { dst, .. }) => dst,
        _ => return None,
    };
    Some(number.into())
}

/// The numbers of a master's tuple.
fn of_master(master: &Tuple, field: NumberField) -> Option<i128> {
    let field = match field {
        NumberField::MasterProtocol => NumberField::Protocol,
        NumberField::MasterSrcPort => NumberField::SrcPort,
        NumberField::MasterDstPort => NumberField::DstPort,
        _ => return None,
    };
    of_tuple(master, field)
}

/// The numbers of the protocol information.
fn of_protoinfo(info: ProtoInfo, field: NumberField) -> Option<i128> {
    match info {
        ProtoInfo::Tcp(info) => of_tcp(info, field),
        ProtoInfo::Sctp(info) => of_sctp(info, field),
        ProtoInfo::Dccp(info) => of_dccp(info, field),
    }
}

fn of_tcp(info: TcpInfo, field: NumberField) -> Option<i128> {
    match field {
        NumberField::TcpState => info.state.map(|state| state.0),
        NumberField::TcpWindowScaleOrig => info.window_scale_orig,
        NumberField::TcpWindowScaleReply => info.window_scale_reply,
        NumberField::TcpFlagsOrig => info.flags_orig.map(|flags| flags.flags),
        NumberField::TcpFlagsReply => info.flags_reply.map(|flags| flags.flags),
        _ => None,
    }
    .map(i128::from)
}

fn of_sctp(info: SctpInfo, field: NumberField) -> Option<i128> {
    match field {
        NumberField::SctpState => info.state.map(|state| state.0.into()),
        NumberField::SctpVtagOrig => info.vtag_orig.map(i128::from),
        NumberField::SctpVtagReply => info.vtag_reply.map(i128::from),
        _ => None,
    }
}

fn of_dccp(info: DccpInfo, field: NumberField) -> Option<i128> {
    match field {
        NumberField::DccpState => info.state.map(|state| state.0.into()),
        NumberField::DccpRole => info.role.map(i128::from),
        NumberField::DccpHandshakeSeq => info.handshake_seq.map(i128::from),
        _ => None,
    }
}

/// Both ports of a tuple that has some.
fn ports(tuple: &Tuple) -> impl Iterator<Item = i128> {
    let numbers = tuple.ports().map(|(src, dst)| [src.into(), dst.into()]);
    numbers.into_iter().flatten()
}

/// The source port or GRE key.
fn source_part(tuple: &Tuple) -> Option<u16> {
    match tuple.l4 {
        L4::Ports { src, .. } | L4::Gre { src, .. } => Some(src),
        L4::Icmp { .. } | L4::None => None,
    }
}

/// The destination port or GRE key.
fn destination_part(tuple: &Tuple) -> Option<u16> {
    match tuple.l4 {
        L4::Ports { dst, .. } | L4::Gre { dst, .. } => Some(dst),
        L4::Icmp { .. } | L4::None => None,
    }
}

/// What both directions counted together, if one of them counted; at most `u64::MAX`.
fn sum(orig: Option<u64>, reply: Option<u64>) -> Option<i128> {
    match (orig, reply) {
        (None, None) => None,
        _ => Some(orig.unwrap_or(0).saturating_add(reply.unwrap_or(0)).into()),
    }
}
