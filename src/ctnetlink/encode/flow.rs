//! The attributes of a conntrack entry, for creation and for updates.

use std::net::IpAddr;

use super::super::Error;
use super::super::uapi::nfnetlink_conntrack::*;
use super::tuple::tuple;
use super::writer::Writer;
use crate::flow::{
    DccpInfo, Direction, Flow, FlowChanges, FlowKey, Helper, L4, Labels, Masked, ProtoInfo,
    SctpInfo, SeqAdj, Status, Synproxy, TcpFlags, TcpInfo, Tuple, Zone, ZoneDirection,
};

/// What a caller may decide of the status: all other bits are the kernel's, which ignores
/// them or refuses a difference with EBUSY.
const WRITABLE_STATUS: u32 =
    Status::SEEN_REPLY.0 | Status::ASSURED.0 | Status::FIXED_TIMEOUT.0 | Status::HELPER.0;

/// Appends all that names an entry: a tuple and the zone. Never without the tuple.
pub(super) fn key(writer: &mut Writer<'_>, key: &FlowKey) -> Result<(), Error> {
    let (kind, direction) = match key.direction {
        Direction::Orig => (CTA_TUPLE_ORIG, ZoneDirection::Orig),
        Direction::Reply => (CTA_TUPLE_REPLY, ZoneDirection::Reply),
    };
    tuple(writer, kind, &key.tuple, tuple_zone(key.zone, direction))?;
    both_zone(writer, key.zone);
    Ok(())
}

/// The zone of one tuple. A zone of the other direction does not take part in looking this
/// one up, and a zone of both stands outside.
fn tuple_zone(zone: Zone, direction: ZoneDirection) -> Option<u16> {
    (zone.direction == direction && zone.id != 0).then_some(zone.id)
}

fn both_zone(writer: &mut Writer<'_>, zone: Zone) {
    if zone.direction == ZoneDirection::Both && zone.id != 0 {
        writer.be16(CTA_ZONE, zone.id);
    }
}

/// Whether the kernel has to set up address translation for this flow: only at creation,
/// never in an update.
pub(crate) fn needs_nat(flow: &Flow) -> bool {
    flow.status.is_some_and(|status| status.0 & NAT_STATUS != 0)
}

const NAT_STATUS: u32 =
    Status::SRC_NAT.0 | Status::DST_NAT.0 | Status::SRC_NAT_DONE.0 | Status::DST_NAT_DONE.0;

/// Appends what creates a flow. id, use count, counters and timestamps are the kernel's
/// own; the security context cannot be written.
pub(super) fn create(writer: &mut Writer<'_>, flow: &Flow) -> Result<(), Error> {
    let nat = Nat::of(flow);
    tuple(
        writer,
        CTA_TUPLE_ORIG,
        &flow.orig,
        tuple_zone(flow.zone, ZoneDirection::Orig),
    )?;
    tuple(
        writer,
        CTA_TUPLE_REPLY,
        &nat.reply,
        tuple_zone(flow.zone, ZoneDirection::Reply),
    )?;
    both_zone(writer, flow.zone);
    nat.write(writer)?;
    if let Some(master) = &flow.master {
        tuple(writer, CTA_TUPLE_MASTER, master, None)?;
    }
    // The kernel refuses a new entry whose status lacks CONFIRMED (EBUSY).
    let status = flow.status.unwrap_or_default().0 & WRITABLE_STATUS | Status::CONFIRMED.0;
    writer.be32(CTA_STATUS, status);
    attributes(writer, flow)
}

/// Appends what makes an existing entry like this flow: as [`create`], without what an
/// update may not carry (translation, master).
pub(super) fn replace(writer: &mut Writer<'_>, flow: &Flow) -> Result<(), Error> {
    tuple(
        writer,
        CTA_TUPLE_ORIG,
        &flow.orig,
        tuple_zone(flow.zone, ZoneDirection::Orig),
    )?;
    both_zone(writer, flow.zone);
    if let Some(status) = flow.status {
        // EXPECTED must be as it is in the entry, or the kernel answers EBUSY.
        let kept = WRITABLE_STATUS | Status::EXPECTED.0;
        writer.be32(CTA_STATUS, status.0 & kept | Status::CONFIRMED.0);
    }
    attributes(writer, flow)
}

fn attributes(writer: &mut Writer<'_>, flow: &Flow) -> Result<(), Error> {
    if let Some(timeout) = flow.timeout {
        writer.be32(CTA_TIMEOUT, timeout);
    }
    if let Some(mark) = flow.mark {
        writer.be32(CTA_MARK, mark);
    }
    if let Some(info) = &flow.protoinfo {
        protoinfo(writer, &with_all_flags(info))?;
    }
    if let Some(bits) = flow.labels {
        labels(
            writer,
            Masked {
                value: bits,
                mask: Labels(u128::MAX),
            },
        );
    }
    if let Some(given) = &flow.helper {
        helper(writer, given)?;
    }
    seqadj(writer, CTA_SEQ_ADJ_ORIG, flow.seqadj_orig)?;
    seqadj(writer, CTA_SEQ_ADJ_REPLY, flow.seqadj_reply)?;
    synproxy(writer, flow.synproxy)
}

/// Appends changes to the entry that `current` was read from. The status and SCTP's and
/// DCCP's information are whole in the kernel's protocol; what does not change in them is
/// taken from `current`.
pub(super) fn update(
    writer: &mut Writer<'_>,
    current: &Flow,
    changes: &FlowChanges,
) -> Result<(), Error> {
    key(writer, &current.key())?;
    if let Some(timeout) = changes.timeout {
        writer.be32(CTA_TIMEOUT, timeout);
    }
    if let Some(bits) = changes.status_set {
        let status = current.status.unwrap_or(Status::CONFIRMED);
        writer.be32(CTA_STATUS, status.0 | bits.0);
    }
    if let Some(info) = &changes.protoinfo {
        protoinfo(writer, &completed(info, current.protoinfo.as_ref()))?;
    }
    if let Some(mark) = changes.mark {
        writer.be32(CTA_MARK, mark.value & mark.mask);
        writer.be32(CTA_MARK_MASK, mark.mask);
    }
    if let Some(change) = changes.labels {
        labels(writer, change);
    }
    if let Some(name) = changes.helper {
        helper(writer, &Helper { name, info: None })?;
    }
    seqadj(writer, CTA_SEQ_ADJ_ORIG, changes.seqadj_orig)?;
    seqadj(writer, CTA_SEQ_ADJ_REPLY, changes.seqadj_reply)?;
    synproxy(writer, changes.synproxy)
}

/// How the kernel is told of a translation: it wants the reply tuple as it would be without,
/// and what to translate to. From a reply that is translated already it would conclude
/// that there is nothing to do, and never set the status bits.
struct Nat {
    reply: Tuple,
    source: Option<Target>,
    destination: Option<Target>,
    /// A binding to nothing: both DONE bits, no translation.
    null_binding: bool,
}

#[derive(Clone, Copy)]
struct Target {
    address: IpAddr,
    /// The port, the GRE key or the ICMP id, where it differs.
    port: Option<u16>,
}

impl Nat {
    fn of(flow: &Flow) -> Self {
        let status = flow.status.unwrap_or_default();
        let plain = flow.orig.inverse();
        let mut nat = Self {
            reply: flow.reply,
            source: None,
            destination: None,
            null_binding: false,
        };
        if status.contains(Status::SRC_NAT) {
            let (_, translated) = l4_ends(flow.reply.l4);
            let (_, untranslated) = l4_ends(plain.l4);
            nat.source = Some(Target {
                address: flow.reply.dst,
                port: translated.filter(|_| translated != untranslated),
            });
            nat.reply.dst = plain.dst;
            nat.reply.l4 = with_l4_ends(nat.reply.l4, None, untranslated);
        }
        if status.contains(Status::DST_NAT) {
            let (translated, _) = l4_ends(flow.reply.l4);
            let (untranslated, _) = l4_ends(plain.l4);
            nat.destination = Some(Target {
                address: flow.reply.src,
                port: translated.filter(|_| translated != untranslated),
            });
            nat.reply.src = plain.src;
            nat.reply.l4 = with_l4_ends(nat.reply.l4, untranslated, None);
        }
        nat.null_binding =
            nat.source.is_none() && nat.destination.is_none() && status.0 & NAT_STATUS != 0;
        nat
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), Error> {
        if let Some(target) = self.destination {
            target.write(writer, CTA_NAT_DST)?;
        }
        if let Some(target) = self.source {
            target.write(writer, CTA_NAT_SRC)?;
        }
        if self.null_binding {
            // Without a range the kernel keeps the tuple; the other direction follows.
            writer.nest(CTA_NAT_SRC, |_| Ok(()))?;
        }
        Ok(())
    }
}

impl Target {
    fn write(self, writer: &mut Writer<'_>, kind: u16) -> Result<(), Error> {
        writer.nest(kind, |writer| {
            match self.address {
                IpAddr::V4(address) => {
                    writer.put(CTA_NAT_V4_MINIP, address.octets());
                    writer.put(CTA_NAT_V4_MAXIP, address.octets());
                }
                IpAddr::V6(address) => {
                    writer.put(CTA_NAT_V6_MINIP, address.octets());
                    writer.put(CTA_NAT_V6_MAXIP, address.octets());
                }
            }
            let Some(port) = self.port else {
                return Ok(());
            };
            writer.nest(CTA_NAT_PROTO, |writer| {
                writer.be16(CTA_PROTONAT_PORT_MIN, port);
                writer.be16(CTA_PROTONAT_PORT_MAX, port);
                Ok(())
            })
        })
    }
}

/// What NAT rewrites at the source and at the destination of a tuple. An ICMP id is both.
fn l4_ends(l4: L4) -> (Option<u16>, Option<u16>) {
    match l4 {
        L4::None => (None, None),
        L4::Ports { src, dst } | L4::Gre { src, dst } => (Some(src), Some(dst)),
        L4::Icmp { id, .. } => (Some(id), Some(id)),
    }
}

fn with_l4_ends(l4: L4, new_src: Option<u16>, new_dst: Option<u16>) -> L4 {
    match l4 {
        L4::None => L4::None,
        L4::Ports { src, dst } => L4::Ports {
            src: new_src.unwrap_or(src),
            dst: new_dst.unwrap_or(dst),
        },
        L4::Gre { src, dst } => L4::Gre {
            src: new_src.unwrap_or(src),
            dst: new_dst.unwrap_or(dst),
        },
        L4::Icmp { kind, code, id } => L4::Icmp {
            kind,
            code,
            id: new_src.or(new_dst).unwrap_or(id),
        },
    }
}

/// In what the kernel reports, TCP flags have the mask 0, which would set none of them.
fn with_all_flags(info: &ProtoInfo) -> ProtoInfo {
    let all = |flags: TcpFlags| match flags.mask {
        0 => TcpFlags {
            mask: 0xff,
            ..flags
        },
        _ => flags,
    };
    match *info {
        ProtoInfo::Tcp(tcp) => ProtoInfo::Tcp(TcpInfo {
            flags_orig: tcp.flags_orig.map(all),
            flags_reply: tcp.flags_reply.map(all),
            ..tcp
        }),
        other => other,
    }
}

/// Fills in what the kernel demands of SCTP and DCCP and the change leaves as it is.
fn completed(change: &ProtoInfo, current: Option<&ProtoInfo>) -> ProtoInfo {
    match (*change, current) {
        (ProtoInfo::Sctp(new), Some(ProtoInfo::Sctp(old))) => ProtoInfo::Sctp(SctpInfo {
            state: new.state.or(old.state),
            vtag_orig: new.vtag_orig.or(old.vtag_orig),
            vtag_reply: new.vtag_reply.or(old.vtag_reply),
        }),
        (ProtoInfo::Dccp(new), Some(ProtoInfo::Dccp(old))) => ProtoInfo::Dccp(DccpInfo {
            state: new.state.or(old.state),
            role: new.role.or(old.role),
            handshake_seq: new.handshake_seq.or(old.handshake_seq),
        }),
        (other, _) => other,
    }
}

fn protoinfo(writer: &mut Writer<'_>, info: &ProtoInfo) -> Result<(), Error> {
    writer.nest(CTA_PROTOINFO, |writer| match info {
        ProtoInfo::Tcp(tcp) => writer.nest(CTA_PROTOINFO_TCP, |writer| {
            if let Some(state) = tcp.state {
                writer.u8(CTA_PROTOINFO_TCP_STATE, state.0);
            }
            if let Some(scale) = tcp.window_scale_orig {
                writer.u8(CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, scale);
            }
            if let Some(scale) = tcp.window_scale_reply {
                writer.u8(CTA_PROTOINFO_TCP_WSCALE_REPLY, scale);
            }
            if let Some(flags) = tcp.flags_orig {
                writer.put(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, [flags.flags, flags.mask]);
            }
            if let Some(flags) = tcp.flags_reply {
                writer.put(CTA_PROTOINFO_TCP_FLAGS_REPLY, [flags.flags, flags.mask]);
            }
            Ok(())
        }),
        ProtoInfo::Sctp(sctp) => writer.nest(CTA_PROTOINFO_SCTP, |writer| {
            if let Some(state) = sctp.state {
                writer.u8(CTA_PROTOINFO_SCTP_STATE, state.0);
            }
            if let Some(vtag) = sctp.vtag_orig {
                writer.be32(CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, vtag);
            }
            if let Some(vtag) = sctp.vtag_reply {
                writer.be32(CTA_PROTOINFO_SCTP_VTAG_REPLY, vtag);
            }
            Ok(())
        }),
        ProtoInfo::Dccp(dccp) => writer.nest(CTA_PROTOINFO_DCCP, |writer| {
            if let Some(state) = dccp.state {
                writer.u8(CTA_PROTOINFO_DCCP_STATE, state.0);
            }
            if let Some(role) = dccp.role {
                writer.u8(CTA_PROTOINFO_DCCP_ROLE, role);
            }
            if let Some(sequence) = dccp.handshake_seq {
                writer.be64(CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ, sequence);
            }
            Ok(())
        }),
    })
}

fn labels(writer: &mut Writer<'_>, change: Masked<Labels>) {
    let value = Labels(change.value.0 & change.mask.0);
    writer.put(CTA_LABELS, label_words(value));
    // The kernel computes (old & !mask) ^ value.
    writer.put(CTA_LABELS_MASK, label_words(change.mask));
}

/// Labels as an array of unsigned long in the kernel's own byte order.
fn label_words(labels: Labels) -> [u8; 16] {
    if cfg!(target_endian = "little") {
        return labels.to_le_bytes();
    }
    let word = size_of::<std::ffi::c_ulong>();
    let mut bytes = labels.to_le_bytes();
    bytes.chunks_mut(word).for_each(<[u8]>::reverse);
    bytes
}

fn helper(writer: &mut Writer<'_>, helper: &Helper) -> Result<(), Error> {
    writer.nest(CTA_HELP, |writer| {
        writer.text(CTA_HELP_NAME, helper.name.as_str())?;
        match &helper.info {
            Some(info) => writer.bytes(CTA_HELP_INFO, info),
            None => Ok(()),
        }
    })
}

fn seqadj(writer: &mut Writer<'_>, kind: u16, seqadj: Option<SeqAdj>) -> Result<(), Error> {
    let Some(seqadj) = seqadj else {
        return Ok(());
    };
    writer.nest(kind, |writer| {
        writer.be32(CTA_SEQADJ_CORRECTION_POS, seqadj.correction_pos);
        writer.be32(
            CTA_SEQADJ_OFFSET_BEFORE,
            seqadj.offset_before.cast_unsigned(),
        );
        writer.be32(CTA_SEQADJ_OFFSET_AFTER, seqadj.offset_after.cast_unsigned());
        Ok(())
    })
}

fn synproxy(writer: &mut Writer<'_>, synproxy: Option<Synproxy>) -> Result<(), Error> {
    let Some(synproxy) = synproxy else {
        return Ok(());
    };
    writer.nest(CTA_SYNPROXY, |writer| {
        writer.be32(CTA_SYNPROXY_ISN, synproxy.isn);
        writer.be32(CTA_SYNPROXY_ITS, synproxy.its);
        writer.be32(CTA_SYNPROXY_TSOFF, synproxy.tsoff);
        Ok(())
    })
}
