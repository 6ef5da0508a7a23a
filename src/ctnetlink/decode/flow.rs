//! The conntrack entry: enum ctattr_type.

use super::super::error::{DecodeError, DecodeReason};
use super::super::uapi::nfnetlink_conntrack::*;
use super::tuple::{same_family, same_protocol, tuple};
use super::{Attribute, attributes};
use crate::flow::{
    Counters, DccpInfo, DccpState, Flow, Helper, HelperName, Labels, ProtoInfo, SctpInfo,
    SctpState, SeqAdj, Status, Synproxy, TcpFlags, TcpInfo, TcpState, Timestamps, Tuple, Zone,
    ZoneDirection,
};

/// Decodes an entry from the attributes that follow `struct nfgenmsg`. Attributes that this
/// version does not know are skipped.
pub fn flow(bytes: &[u8]) -> Result<Flow, DecodeError> {
    // Both tuples come first in what the kernel sends; until they are seen, the rest waits
    // in a flow without them.
    let mut orig: Option<Tuple> = None;
    let mut reply: Option<Tuple> = None;
    let mut flow = Flow::new(PLACEHOLDER, PLACEHOLDER);
    for attribute in attributes(bytes) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_TUPLE_ORIG => {
                let (tuple, zone) = tuple(&attribute, "CTA_TUPLE_ORIG")?;
                orig = Some(tuple);
                set_zone(&mut flow.zone, zone, ZoneDirection::Orig);
            }
            CTA_TUPLE_REPLY => {
                let (tuple, zone) = tuple(&attribute, "CTA_TUPLE_REPLY")?;
                reply = Some(tuple);
                set_zone(&mut flow.zone, zone, ZoneDirection::Reply);
            }
            CTA_TUPLE_MASTER => flow.master = Some(tuple(&attribute, "CTA_TUPLE_MASTER")?.0),
            CTA_STATUS => flow.status = Some(Status(attribute.be32("CTA_STATUS")?)),
            CTA_PROTOINFO => flow.protoinfo = protoinfo(&attribute)?,
            CTA_HELP => flow.helper = Some(helper(&attribute)?),
            CTA_TIMEOUT => flow.timeout = Some(attribute.be32("CTA_TIMEOUT")?),
            CTA_MARK => flow.mark = Some(attribute.be32("CTA_MARK")?),
            CTA_COUNTERS_ORIG => flow.counters_orig = Some(counters(&attribute)?),
            CTA_COUNTERS_REPLY => flow.counters_reply = Some(counters(&attribute)?),
            CTA_USE => flow.use_count = Some(attribute.be32("CTA_USE")?),
            CTA_ID => flow.id = Some(attribute.be32("CTA_ID")?),
            CTA_SEQ_ADJ_ORIG => flow.seqadj_orig = Some(seqadj(&attribute)?),
            CTA_SEQ_ADJ_REPLY => flow.seqadj_reply = Some(seqadj(&attribute)?),
            CTA_ZONE => flow.zone = Zone::both(attribute.be16("CTA_ZONE")?),
            CTA_SECCTX => flow.secctx = secctx(&attribute)?,
            CTA_TIMESTAMP => timestamps(&attribute, &mut flow.timestamps)?,
            CTA_TIMESTAMP_EVENT => {
                flow.timestamps.event = Some(attribute.be64("CTA_TIMESTAMP_EVENT")?);
            }
            CTA_LABELS => flow.labels = Some(labels(&attribute)?),
            CTA_SYNPROXY => flow.synproxy = Some(synproxy(&attribute)?),
            _ => {}
        }
    }
    flow.orig = orig.ok_or_else(|| DecodeError::missing("CTA_TUPLE_ORIG"))?;
    flow.reply = reply.ok_or_else(|| DecodeError::missing("CTA_TUPLE_REPLY"))?;
    // No kernel mixes them; whoever reads on may rely on it.
    same_family(&flow.orig, &flow.reply, "CTA_TUPLE_REPLY")?;
    same_protocol(&flow.orig, &flow.reply, "CTA_TUPLE_REPLY")?;
    if let Some(master) = &flow.master {
        same_family(&flow.orig, master, "CTA_TUPLE_MASTER")?;
    }
    if let Some(info) = &flow.protoinfo
        && info.protocol() != flow.orig.protocol
    {
        return Err(DecodeError::new("CTA_PROTOINFO", DecodeReason::Protocols));
    }
    Ok(flow)
}

const PLACEHOLDER: Tuple = Tuple {
    src: std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    dst: std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    protocol: crate::flow::Protocol(0),
    l4: crate::flow::L4::None,
};

/// A zone inside a tuple applies to that tuple's direction only.
fn set_zone(zone: &mut Zone, id: Option<u16>, direction: ZoneDirection) {
    if let Some(id) = id {
        *zone = Zone { id, direction };
    }
}

fn counters(nest: &Attribute<'_>) -> Result<Counters, DecodeError> {
    let mut counters = Counters::default();
    for attribute in attributes(nest.value) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_COUNTERS_PACKETS => counters.packets = attribute.be64("CTA_COUNTERS_PACKETS")?,
            CTA_COUNTERS_BYTES => counters.bytes = attribute.be64("CTA_COUNTERS_BYTES")?,
            _ => {}
        }
    }
    Ok(counters)
}

fn timestamps(nest: &Attribute<'_>, timestamps: &mut Timestamps) -> Result<(), DecodeError> {
    for attribute in attributes(nest.value) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_TIMESTAMP_START => timestamps.start = Some(attribute.be64("CTA_TIMESTAMP_START")?),
            CTA_TIMESTAMP_STOP => timestamps.stop = Some(attribute.be64("CTA_TIMESTAMP_STOP")?),
            _ => {}
        }
    }
    Ok(())
}

fn helper(nest: &Attribute<'_>) -> Result<Helper, DecodeError> {
    let mut name = None;
    let mut info = None;
    for attribute in attributes(nest.value) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_HELP_NAME => name = Some(helper_name(&attribute, "CTA_HELP_NAME")?),
            CTA_HELP_INFO => info = Some(attribute.value.into()),
            _ => {}
        }
    }
    Ok(Helper {
        name: name.ok_or_else(|| DecodeError::missing("CTA_HELP_NAME"))?,
        info,
    })
}

pub(super) fn helper_name(
    attribute: &Attribute<'_>,
    name: &'static str,
) -> Result<HelperName, DecodeError> {
    attribute
        .text(name)?
        .parse()
        .map_err(|_| DecodeError::new(name, DecodeReason::Text))
}

fn secctx(nest: &Attribute<'_>) -> Result<Option<Box<str>>, DecodeError> {
    for attribute in attributes(nest.value) {
        let attribute = attribute?;
        if attribute.kind == CTA_SECCTX_NAME {
            return Ok(Some(attribute.text("CTA_SECCTX_NAME")?.into()));
        }
    }
    Ok(None)
}

/// The kernel's labels are an array of unsigned long in its own byte order
/// (include/linux/bitmap.h), which on a little-endian machine is plain bytes.
fn labels(attribute: &Attribute<'_>) -> Result<Labels, DecodeError> {
    let word = size_of::<std::ffi::c_ulong>();
    if attribute.value.len() > 16 {
        return Err(DecodeError::new(
            "CTA_LABELS",
            DecodeReason::Length {
                expected: 16,
                found: attribute.value.len(),
            },
        ));
    }
    let mut bits = 0u128;
    for (n, chunk) in attribute.value.chunks(word).enumerate() {
        let mut bytes = [0u8; 8];
        let value = if cfg!(target_endian = "big") {
            bytes[8 - chunk.len()..].copy_from_slice(chunk);
            u64::from_be_bytes(bytes)
        } else {
            bytes[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(bytes)
        };
        bits |= u128::from(value) << (n * word * 8);
    }
    Ok(Labels(bits))
}

fn seqadj(nest: &Attribute<'_>) -> Result<SeqAdj, DecodeError> {
    let mut seqadj = SeqAdj::default();
    for attribute in attributes(nest.value) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_SEQADJ_CORRECTION_POS => {
                seqadj.correction_pos = attribute.be32("CTA_SEQADJ_CORRECTION_POS")?;
            }
            CTA_SEQADJ_OFFSET_BEFORE => {
                seqadj.offset_before = attribute.be32("CTA_SEQADJ_OFFSET_BEFORE")?.cast_signed();
            }
            CTA_SEQADJ_OFFSET_AFTER => {
                seqadj.offset_after = attribute.be32("CTA_SEQADJ_OFFSET_AFTER")?.cast_signed();
            }
            _ => {}
        }
    }
    Ok(seqadj)
}

fn synproxy(nest: &Attribute<'_>) -> Result<Synproxy, DecodeError> {
    let mut synproxy = Synproxy::default();
    for attribute in attributes(nest.value) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_SYNPROXY_ISN => synproxy.isn = attribute.be32("CTA_SYNPROXY_ISN")?,
            CTA_SYNPROXY_ITS => synproxy.its = attribute.be32("CTA_SYNPROXY_ITS")?,
            CTA_SYNPROXY_TSOFF => synproxy.tsoff = attribute.be32("CTA_SYNPROXY_TSOFF")?,
            _ => {}
        }
    }
    Ok(synproxy)
}

fn protoinfo(nest: &Attribute<'_>) -> Result<Option<ProtoInfo>, DecodeError> {
    for attribute in attributes(nest.value) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_PROTOINFO_TCP => return tcp(&attribute).map(ProtoInfo::Tcp).map(Some),
            CTA_PROTOINFO_SCTP => return sctp(&attribute).map(ProtoInfo::Sctp).map(Some),
            CTA_PROTOINFO_DCCP => return dccp(&attribute).map(ProtoInfo::Dccp).map(Some),
            _ => {}
        }
    }
    Ok(None)
}

fn tcp(nest: &Attribute<'_>) -> Result<TcpInfo, DecodeError> {
    let mut tcp = TcpInfo::default();
    for attribute in attributes(nest.value) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_PROTOINFO_TCP_STATE => {
                tcp.state = Some(TcpState(attribute.u8("CTA_PROTOINFO_TCP_STATE")?));
            }
            CTA_PROTOINFO_TCP_WSCALE_ORIGINAL => {
                tcp.window_scale_orig = Some(attribute.u8("CTA_PROTOINFO_TCP_WSCALE_ORIGINAL")?);
            }
            CTA_PROTOINFO_TCP_WSCALE_REPLY => {
                tcp.window_scale_reply = Some(attribute.u8("CTA_PROTOINFO_TCP_WSCALE_REPLY")?);
            }
            CTA_PROTOINFO_TCP_FLAGS_ORIGINAL => {
                tcp.flags_orig = Some(tcp_flags(&attribute, "CTA_PROTOINFO_TCP_FLAGS_ORIGINAL")?);
            }
            CTA_PROTOINFO_TCP_FLAGS_REPLY => {
                tcp.flags_reply = Some(tcp_flags(&attribute, "CTA_PROTOINFO_TCP_FLAGS_REPLY")?);
            }
            _ => {}
        }
    }
    Ok(tcp)
}

fn tcp_flags(attribute: &Attribute<'_>, name: &'static str) -> Result<TcpFlags, DecodeError> {
    let [flags, mask] = attribute.array(name)?;
    Ok(TcpFlags { flags, mask })
}

fn sctp(nest: &Attribute<'_>) -> Result<SctpInfo, DecodeError> {
    let mut sctp = SctpInfo::default();
    for attribute in attributes(nest.value) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_PROTOINFO_SCTP_STATE => {
                sctp.state = Some(SctpState(attribute.u8("CTA_PROTOINFO_SCTP_STATE")?));
            }
            CTA_PROTOINFO_SCTP_VTAG_ORIGINAL => {
                sctp.vtag_orig = Some(attribute.be32("CTA_PROTOINFO_SCTP_VTAG_ORIGINAL")?);
            }
            CTA_PROTOINFO_SCTP_VTAG_REPLY => {
                sctp.vtag_reply = Some(attribute.be32("CTA_PROTOINFO_SCTP_VTAG_REPLY")?);
            }
            _ => {}
        }
    }
    Ok(sctp)
}

fn dccp(nest: &Attribute<'_>) -> Result<DccpInfo, DecodeError> {
    let mut dccp = DccpInfo::default();
    for attribute in attributes(nest.value) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_PROTOINFO_DCCP_STATE => {
                dccp.state = Some(DccpState(attribute.u8("CTA_PROTOINFO_DCCP_STATE")?));
            }
            CTA_PROTOINFO_DCCP_ROLE => {
                dccp.role = Some(attribute.u8("CTA_PROTOINFO_DCCP_ROLE")?);
            }
            CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ => {
                dccp.handshake_seq = Some(attribute.be64("CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ")?);
            }
            _ => {}
        }
    }
    Ok(dccp)
}
