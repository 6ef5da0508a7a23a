//! One flow of a line: a new one, the key of one that is there, and what becomes of those that
//! are selected.

use std::net::IpAddr;

use super::error::LineError;
use super::line::{Line, Nat};
use super::protocol::Part;
use super::vocabulary::Opt;
use crate::ctctl::output::RESTORED_TCP_FLAGS;
use crate::flow::{
    DccpInfo, DccpState, Direction, Flow, FlowChanges, FlowKey, L4, Labels, Masked, ProtoInfo,
    Protocol, SctpInfo, SctpState, Status, TcpInfo, TcpState, Tuple, Zone, ZoneDirection,
};

/// The kernel's answer to a flow without all its ends.
const INVALID: LineError = LineError::Kernel("invalid parameters");

impl Line {
    /// The flow that `-I` and `-A` describe.
    pub fn flow(&self) -> Result<Flow, LineError> {
        let protocol = self.protocol.unwrap_or_default();
        let (orig, reply) = self.tuples(protocol)?;
        let mut flow = Flow::new(orig, reply);
        flow.timeout = self.timeout;
        flow.status = Some(self.new_status());
        flow.mark = self.mark.map(|mark| mark.value);
        flow.labels = self.has(Opt::LabelAdd).then_some(self.labels_changed);
        flow.zone = self.one_zone()?;
        flow.protoinfo = self.protoinfo(protocol);
        Ok(flow)
    }

    /// The flow that `-G` names.
    pub fn key(&self) -> Result<FlowKey, LineError> {
        let protocol = self.protocol.unwrap_or_default();
        let orig = self.src.zip(self.dst);
        let reply = self.reply_src.zip(self.reply_dst);
        let (tuple, direction) = match (orig, reply) {
            (Some(ends), _) => (self.orig(protocol, ends)?, Direction::Orig),
            (None, Some(ends)) => (self.reply(protocol, ends)?, Direction::Reply),
            (None, None) => return Err(INVALID),
        };
        Ok(FlowKey {
            tuple,
            direction,
            zone: Zone::default(),
            id: None,
        })
    }

    /// What `-U` makes of a flow; nothing when the flow is so already.
    pub fn changes(&self, flow: &Flow) -> FlowChanges {
        let mut changes = FlowChanges {
            timeout: self.timeout,
            ..FlowChanges::default()
        };
        if let Some(mark) = self.mark {
            let before = flow.mark.unwrap_or(0);
            let after = (before & !mark.mask) ^ mark.value;
            if after != before {
                changes.mark = Some(Masked {
                    value: after,
                    // Bits beside the mask are turned over, not set.
                    mask: match mark.value & !mark.mask {
                        0 => mark.mask,
                        _ => u32::MAX,
                    },
                });
            }
        }
        if let Some(status) = self.status {
            let before = flow.status.unwrap_or_default();
            changes.status_set = Some(status.set).filter(|set| !before.contains(*set));
        }
        changes.labels = self.label_changes(flow);
        changes.protoinfo = self
            .protoinfo(flow.orig.protocol)
            .filter(|info| !is_so(info, flow.protoinfo.as_ref()));
        changes
    }

    fn label_changes(&self, flow: &Flow) -> Option<Masked<Labels>> {
        let before = flow.labels.unwrap_or_default();
        let after = if self.has(Opt::LabelAdd) {
            Labels(before.0 | self.labels_changed.0)
        } else if self.no_labels {
            Labels(0)
        } else {
            Labels(before.0 & !self.labels_changed.0)
        };
        let mask = Labels(before.0 ^ after.0);
        (mask.0 != 0).then_some(Masked {
            value: Labels(after.0 & mask.0),
            mask,
        })
    }

    /// Both directions. One may be left out; it is then the other one, inverted and translated,
    /// whatever ports are given of it.
    fn tuples(&self, protocol: Protocol) -> Result<(Tuple, Tuple), LineError> {
        let Some(ends) = self.src.zip(self.dst) else {
            let ends = self.reply_src.zip(self.reply_dst).ok_or(INVALID)?;
            let reply = self.reply(protocol, ends)?;
            return Ok((reply.inverse(), reply));
        };
        let orig = self.orig(protocol, ends)?;
        let mut reply = orig.inverse();
        let place = |nat: Option<Nat>| nat.and_then(|nat| nat.address);
        let (to, from) = (place(self.dst_nat), place(self.src_nat));
        let given = (to.or(self.reply_src), from.or(self.reply_dst));
        if self.reply_src.is_some() || self.reply_dst.is_some() {
            // Half a direction, or one without its ports, is none.
            let (Some(src), Some(dst)) = given else {
                return Err(INVALID);
            };
            let needs_ends = matches!(reply.l4, L4::Ports { .. } | L4::Gre { .. });
            if needs_ends && !self.parts.any(&[Part::ReplySrc, Part::ReplyDst]) {
                return Err(INVALID);
            }
            (reply.src, reply.dst) = (src, dst);
        } else {
            reply.src = given.0.unwrap_or(reply.src);
            reply.dst = given.1.unwrap_or(reply.dst);
        }
        let has_reply = self.reply_src.is_some() || self.reply_dst.is_some();
        let part = |part| self.parts.u16(part).filter(|_| has_reply);
        if let L4::Ports { src, dst } | L4::Gre { src, dst } = &mut reply.l4 {
            let port = |nat: Option<Nat>| nat.and_then(|nat| nat.port);
            let given = (
                port(self.dst_nat).or(part(Part::ReplySrc)),
                port(self.src_nat).or(part(Part::ReplyDst)),
            );
            *src = given.0.unwrap_or(*src);
            *dst = given.1.unwrap_or(*dst);
        }
        Ok((orig, reply))
    }

    fn orig(&self, protocol: Protocol, ends: (IpAddr, IpAddr)) -> Result<Tuple, LineError> {
        self.tuple(protocol, ends, (Part::Src, Part::Dst))
    }

    fn reply(&self, protocol: Protocol, ends: (IpAddr, IpAddr)) -> Result<Tuple, LineError> {
        if protocol.is_icmp() {
            // The options of ICMP are those of the original direction.
            let (src, dst) = ends;
            return Ok(self.orig(protocol, (dst, src))?.inverse());
        }
        self.tuple(protocol, ends, (Part::ReplySrc, Part::ReplyDst))
    }

    pub(super) fn tuple(
        &self,
        protocol: Protocol,
        (src, dst): (IpAddr, IpAddr),
        (src_part, dst_part): (Part, Part),
    ) -> Result<Tuple, LineError> {
        let ends = || {
            let src = self.parts.u16(src_part).ok_or(INVALID)?;
            let dst = self.parts.u16(dst_part).ok_or(INVALID)?;
            Ok((src, dst))
        };
        let l4 = if protocol.has_ports() {
            let (src, dst) = ends()?;
            L4::Ports { src, dst }
        } else if protocol == Protocol::GRE {
            let (src, dst) = ends()?;
            L4::Gre { src, dst }
        } else if protocol.is_icmp() {
            // Each family has its own.
            if (protocol == Protocol::ICMP) != src.is_ipv4() {
                return Err(INVALID);
            }
            L4::Icmp {
                kind: self.parts.u8(Part::IcmpType).unwrap_or(0),
                code: self.parts.u8(Part::IcmpCode).unwrap_or(0),
                id: self.parts.u16(Part::IcmpId).unwrap_or(0),
            }
        } else {
            L4::None
        };
        Ok(Tuple {
            src,
            dst,
            protocol,
            l4,
        })
    }

    /// The bits that were given, and those that the kernel sets for a translation.
    fn new_status(&self) -> Status {
        let mut status = self.status.unwrap_or_default().set | Status::CONFIRMED;
        let mut translated = false;
        for (nat, bit) in [
            (self.src_nat, Status::SRC_NAT),
            (self.dst_nat, Status::DST_NAT),
        ] {
            if nat.is_some_and(|nat| nat.address.is_some()) {
                status = status | bit;
                translated = true;
            }
        }
        if translated {
            status = status | Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
        }
        status
    }

    fn one_zone(&self) -> Result<Zone, LineError> {
        let zones = [
            (self.zone, ZoneDirection::Both),
            (self.orig_zone, ZoneDirection::Orig),
            (self.reply_zone, ZoneDirection::Reply),
        ];
        let mut given = zones
            .into_iter()
            .filter_map(|(zone, direction)| Some((zone.filter(|id| *id != 0)?, direction)));
        let zone = given.next();
        if given.next().is_some() {
            return Err(INVALID);
        }
        Ok(zone.map_or_else(Zone::default, |(id, direction)| Zone { id, direction }))
    }

    fn protoinfo(&self, protocol: Protocol) -> Option<ProtoInfo> {
        let state = self.parts.u8(Part::State);
        match protocol {
            Protocol::TCP => state.map(|state| {
                ProtoInfo::Tcp(TcpInfo {
                    state: Some(TcpState(state)),
                    flags_orig: Some(RESTORED_TCP_FLAGS),
                    flags_reply: Some(RESTORED_TCP_FLAGS),
                    ..TcpInfo::default()
                })
            }),
            Protocol::SCTP
                if self
                    .parts
                    .any(&[Part::State, Part::OrigVtag, Part::ReplyVtag]) =>
            {
                Some(ProtoInfo::Sctp(SctpInfo {
                    state: state.map(SctpState),
                    vtag_orig: self.parts.get(Part::OrigVtag),
                    vtag_reply: self.parts.get(Part::ReplyVtag),
                }))
            }
            Protocol::DCCP if self.parts.any(&[Part::State, Part::Role]) => {
                Some(ProtoInfo::Dccp(DccpInfo {
                    state: state.map(DccpState),
                    role: self.parts.u8(Part::Role),
                    handshake_seq: None,
                }))
            }
            _ => None,
        }
    }
}

/// Whether the flow's state is what an update asks for.
fn is_so(info: &ProtoInfo, known: Option<&ProtoInfo>) -> bool {
    match (info, known) {
        (ProtoInfo::Tcp(asked), Some(ProtoInfo::Tcp(tcp))) => asked.state == tcp.state,
        (ProtoInfo::Sctp(asked), Some(ProtoInfo::Sctp(sctp))) => {
            let same = |asked: Option<u32>, is: Option<u32>| asked.is_none() || asked == is;
            (asked.state.is_none() || asked.state == sctp.state)
                && same(asked.vtag_orig, sctp.vtag_orig)
                && same(asked.vtag_reply, sctp.vtag_reply)
        }
        (ProtoInfo::Dccp(asked), Some(ProtoInfo::Dccp(dccp))) => asked.state == dccp.state,
        _ => false,
    }
}
