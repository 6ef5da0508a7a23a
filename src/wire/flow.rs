//! The connection tracking entry.

use bytes::Bytes;

use crate::flow::{
    Counters, Flow, Helper, HelperName, Labels, ProtoInfo, SeqAdj, Status, Synproxy, Timestamps,
    Tuple, Zone,
};
use crate::pb;

use super::tuple::{optional_tuple, required_tuple, same_family, same_protocol};
use super::{At as _, FieldError, known, protoinfo, to_u16};

/// A zone's number and direction.
pub(super) fn zone(id: u32, direction: i32) -> Result<Zone, FieldError> {
    Ok(Zone {
        id: to_u16(id, "zone")?,
        direction: known::<pb::ZoneDirection, _>(direction).at("zone_direction")?,
    })
}

/// Labels of exactly 16 bytes.
pub(super) fn labels(bytes: &[u8]) -> Result<Labels, FieldError> {
    <[u8; 16]>::try_from(bytes)
        .map(|bytes| Labels(u128::from_le_bytes(bytes)))
        .map_err(|_| FieldError::new("", format!("has {} bytes, must have 16", bytes.len())))
}

/// The bytes of labels.
pub(super) fn labels_bytes(labels: Labels) -> Bytes {
    Bytes::copy_from_slice(&labels.to_le_bytes())
}

/// A helper's name.
pub(super) fn helper_name(name: &str) -> Result<HelperName, FieldError> {
    name.parse().map_err(|_| {
        FieldError::new(
            "",
            format!("is {name:?}, must have 1 to 15 bytes, none of them NUL"),
        )
    })
}

impl TryFrom<pb::Flow> for Flow {
    type Error = FieldError;

    fn try_from(message: pb::Flow) -> Result<Self, FieldError> {
        let orig = required_tuple(message.orig, "orig")?;
        let reply = match optional_tuple(message.reply, "reply")? {
            Some(reply) => reply,
            // No address translation.
            None => orig.inverse(),
        };
        same_family(&orig, &reply, "reply")?;
        same_protocol(&orig, &reply, "reply")?;
        let master = optional_tuple(message.master, "master")?;
        if let Some(master) = &master {
            same_family(&orig, master, "master")?;
        }
        let protoinfo = message.protoinfo.map(ProtoInfo::try_from).transpose()?;
        if let Some(info) = &protoinfo {
            protoinfo::protoinfo_fits(info, orig.protocol)?;
        }
        Ok(Self {
            id: message.id,
            orig,
            reply,
            zone: zone(message.zone, message.zone_direction)?,
            status: message.status.map(Status),
            timeout: message.timeout_seconds,
            mark: message.mark,
            protoinfo,
            counters_orig: message.counters_orig.map(Into::into),
            counters_reply: message.counters_reply.map(Into::into),
            use_count: message.r#use,
            labels: message
                .labels
                .map(|bytes| labels(&bytes))
                .transpose()
                .at("labels")?,
            timestamps: message.timestamps.map(Into::into).unwrap_or_default(),
            helper: message
                .helper
                .map(Helper::try_from)
                .transpose()
                .at("helper")?,
            secctx: message.secctx.map(String::into_boxed_str),
            seqadj_orig: message.seqadj_orig.map(Into::into),
            seqadj_reply: message.seqadj_reply.map(Into::into),
            synproxy: message.synproxy.map(Into::into),
            master,
        })
    }
}

/// Reads a flow that is to be written into the kernel: refuses also values that the kernel
/// would take but that no flow can have. `creates` demands what a new entry needs.
pub fn writable_flow(message: pb::Flow, creates: bool) -> Result<Flow, FieldError> {
    let flow = Flow::try_from(message)?;
    check_writable(&flow, creates)?;
    Ok(flow)
}

/// The part of [`writable_flow`] that looks at the flow.
pub(super) fn check_writable(flow: &Flow, creates: bool) -> Result<(), FieldError> {
    if creates && flow.timeout.is_none() {
        return Err(FieldError::new(
            "timeout_seconds",
            "is required to create a flow",
        ));
    }
    if let Some(info) = &flow.protoinfo {
        protoinfo::writable(info)?;
    }
    Ok(())
}

impl From<&Flow> for pb::Flow {
    fn from(flow: &Flow) -> Self {
        let tuple = |tuple: &Tuple| Some(pb::Tuple::from(tuple));
        Self {
            id: flow.id,
            orig: tuple(&flow.orig),
            reply: tuple(&flow.reply),
            status: flow.status.map(|status| status.0),
            timeout_seconds: flow.timeout,
            mark: flow.mark,
            zone: flow.zone.id.into(),
            zone_direction: pb::ZoneDirection::from(flow.zone.direction).into(),
            counters_orig: flow.counters_orig.map(Into::into),
            counters_reply: flow.counters_reply.map(Into::into),
            r#use: flow.use_count,
            labels: flow.labels.map(labels_bytes),
            timestamps: (!flow.timestamps.is_empty()).then(|| flow.timestamps.into()),
            helper: flow.helper.as_ref().map(Into::into),
            secctx: flow.secctx.as_deref().map(Into::into),
            seqadj_orig: flow.seqadj_orig.map(Into::into),
            seqadj_reply: flow.seqadj_reply.map(Into::into),
            synproxy: flow.synproxy.map(Into::into),
            master: flow.master.as_ref().and_then(tuple),
            protoinfo: flow.protoinfo.as_ref().map(Into::into),
        }
    }
}

impl From<pb::Counters> for Counters {
    fn from(message: pb::Counters) -> Self {
        Self {
            packets: message.packets,
            bytes: message.bytes,
        }
    }
}

impl From<Counters> for pb::Counters {
    fn from(counters: Counters) -> Self {
        Self {
            packets: counters.packets,
            bytes: counters.bytes,
        }
    }
}

impl From<pb::Timestamps> for Timestamps {
    fn from(message: pb::Timestamps) -> Self {
        Self {
            start: message.start_ns,
            stop: message.stop_ns,
            event: message.event_ns,
        }
    }
}

impl From<Timestamps> for pb::Timestamps {
    fn from(timestamps: Timestamps) -> Self {
        Self {
            start_ns: timestamps.start,
            stop_ns: timestamps.stop,
            event_ns: timestamps.event,
        }
    }
}

impl TryFrom<pb::Helper> for Helper {
    type Error = FieldError;

    fn try_from(message: pb::Helper) -> Result<Self, FieldError> {
        Ok(Self {
            name: helper_name(&message.name).at("name")?,
            info: (!message.info.is_empty()).then(|| message.info.as_ref().into()),
        })
    }
}

impl From<&Helper> for pb::Helper {
    fn from(helper: &Helper) -> Self {
        Self {
            name: helper.name.as_str().to_owned(),
            info: helper
                .info
                .as_deref()
                .map(Bytes::copy_from_slice)
                .unwrap_or_default(),
        }
    }
}

impl From<pb::SeqAdj> for SeqAdj {
    fn from(message: pb::SeqAdj) -> Self {
        Self {
            correction_pos: message.correction_pos,
            offset_before: message.offset_before,
            offset_after: message.offset_after,
        }
    }
}

impl From<SeqAdj> for pb::SeqAdj {
    fn from(seqadj: SeqAdj) -> Self {
        Self {
            correction_pos: seqadj.correction_pos,
            offset_before: seqadj.offset_before,
            offset_after: seqadj.offset_after,
        }
    }
}

impl From<pb::Synproxy> for Synproxy {
    fn from(message: pb::Synproxy) -> Self {
        Self {
            isn: message.isn,
            its: message.its,
            tsoff: message.tsoff,
        }
    }
}

impl From<Synproxy> for pb::Synproxy {
    fn from(synproxy: Synproxy) -> Self {
        Self {
            isn: synproxy.isn,
            its: synproxy.its,
            tsoff: synproxy.tsoff,
        }
    }
}
