//! What the transport protocols' trackers know.

use crate::flow::{
    DccpInfo, DccpState, ProtoInfo, Protocol, SctpInfo, SctpState, TcpFlags, TcpInfo, TcpState,
};
use crate::pb;

use super::{At as _, FieldError, to_u8};

/// The largest window scale of RFC 7323; the kernel shifts by it unchecked.
const MAX_WINDOW_SCALE: u8 = 14;
/// DCCP sequence numbers have 48 bits (RFC 4340).
const MAX_HANDSHAKE_SEQ: u64 = (1 << 48) - 1;

fn optional_u8(value: Option<u32>, field: &str) -> Result<Option<u8>, FieldError> {
    value.map(|value| to_u8(value, field)).transpose()
}

impl TryFrom<pb::TcpFlags> for TcpFlags {
    type Error = FieldError;

    fn try_from(message: pb::TcpFlags) -> Result<Self, FieldError> {
        Ok(Self {
            flags: to_u8(message.flags, "flags")?,
            mask: to_u8(message.mask, "mask")?,
        })
    }
}

impl From<TcpFlags> for pb::TcpFlags {
    fn from(flags: TcpFlags) -> Self {
        Self {
            flags: flags.flags.into(),
            mask: flags.mask.into(),
        }
    }
}

impl TryFrom<pb::TcpInfo> for TcpInfo {
    type Error = FieldError;

    fn try_from(message: pb::TcpInfo) -> Result<Self, FieldError> {
        let flags = |flags: Option<pb::TcpFlags>, field: &str| {
            flags.map(TcpFlags::try_from).transpose().at(field)
        };
        Ok(Self {
            state: optional_u8(message.state, "state")?.map(TcpState),
            window_scale_orig: optional_u8(message.window_scale_orig, "window_scale_orig")?,
            window_scale_reply: optional_u8(message.window_scale_reply, "window_scale_reply")?,
            flags_orig: flags(message.flags_orig, "flags_orig")?,
            flags_reply: flags(message.flags_reply, "flags_reply")?,
        })
    }
}

impl From<&TcpInfo> for pb::TcpInfo {
    fn from(info: &TcpInfo) -> Self {
        Self {
            state: info.state.map(|state| state.0.into()),
            window_scale_orig: info.window_scale_orig.map(Into::into),
            window_scale_reply: info.window_scale_reply.map(Into::into),
            flags_orig: info.flags_orig.map(Into::into),
            flags_reply: info.flags_reply.map(Into::into),
        }
    }
}

impl TryFrom<pb::SctpInfo> for SctpInfo {
    type Error = FieldError;

    fn try_from(message: pb::SctpInfo) -> Result<Self, FieldError> {
        Ok(Self {
            state: optional_u8(message.state, "state")?.map(SctpState),
            vtag_orig: message.vtag_orig,
            vtag_reply: message.vtag_reply,
        })
    }
}

impl From<&SctpInfo> for pb::SctpInfo {
    fn from(info: &SctpInfo) -> Self {
        Self {
            state: info.state.map(|state| state.0.into()),
            vtag_orig: info.vtag_orig,
            vtag_reply: info.vtag_reply,
        }
    }
}

impl TryFrom<pb::DccpInfo> for DccpInfo {
    type Error = FieldError;

    fn try_from(message: pb::DccpInfo) -> Result<Self, FieldError> {
        Ok(Self {
            state: optional_u8(message.state, "state")?.map(DccpState),
            role: optional_u8(message.role, "role")?,
            handshake_seq: message.handshake_seq,
        })
    }
}

impl From<&DccpInfo> for pb::DccpInfo {
    fn from(info: &DccpInfo) -> Self {
        Self {
            state: info.state.map(|state| state.0.into()),
            role: info.role.map(Into::into),
            handshake_seq: info.handshake_seq,
        }
    }
}

/// A flow and its changes each have a oneof of their own with the same three messages.
macro_rules! oneof {
    ($message:path) => {
        impl TryFrom<$message> for ProtoInfo {
            type Error = FieldError;

            fn try_from(message: $message) -> Result<Self, FieldError> {
                use $message as Message;
                Ok(match message {
                    Message::Tcp(info) => Self::Tcp(info.try_into().at("tcp")?),
                    Message::Sctp(info) => Self::Sctp(info.try_into().at("sctp")?),
                    Message::Dccp(info) => Self::Dccp(info.try_into().at("dccp")?),
                })
            }
        }

        impl From<&ProtoInfo> for $message {
            fn from(info: &ProtoInfo) -> Self {
                match info {
                    ProtoInfo::Tcp(info) => Self::Tcp(info.into()),
                    ProtoInfo::Sctp(info) => Self::Sctp(info.into()),
                    ProtoInfo::Dccp(info) => Self::Dccp(info.into()),
                }
            }
        }
    };
}

oneof!(pb::flow::Protoinfo);
oneof!(pb::flow_changes::Protoinfo);

/// The field's name and the protocol that it is of.
fn name(info: &ProtoInfo) -> &'static str {
    match info {
        ProtoInfo::Tcp(_) => "tcp",
        ProtoInfo::Sctp(_) => "sctp",
        ProtoInfo::Dccp(_) => "dccp",
    }
}

/// Refuses information of another protocol than the flow's.
pub fn protoinfo_fits(info: &ProtoInfo, protocol: Protocol) -> Result<(), FieldError> {
    if info.protocol() == protocol {
        return Ok(());
    }
    Err(FieldError::new(
        name(info),
        format!("does not fit protocol {protocol}"),
    ))
}

/// Refuses what the kernel would take but not survive, or cannot mean.
pub(super) fn writable(info: &ProtoInfo) -> Result<(), FieldError> {
    match info {
        ProtoInfo::Tcp(info) => {
            for (scale, field) in [
                (info.window_scale_orig, "tcp.window_scale_orig"),
                (info.window_scale_reply, "tcp.window_scale_reply"),
            ] {
                at_most(scale.map(u64::from), MAX_WINDOW_SCALE.into(), field)?;
            }
            let last = TcpState::NAMES.len() as u64 - 1;
            at_most(info.state.map(|state| state.0.into()), last, "tcp.state")
        }
        ProtoInfo::Sctp(info) => {
            let last = SctpState::NAMES.len() as u64 - 1;
            at_most(info.state.map(|state| state.0.into()), last, "sctp.state")
        }
        ProtoInfo::Dccp(info) => {
            let last = DccpState::NAMES.len() as u64 - 1;
            at_most(info.state.map(|state| state.0.into()), last, "dccp.state")?;
            at_most(info.role.map(u64::from), 1, "dccp.role")?;
            at_most(info.handshake_seq, MAX_HANDSHAKE_SEQ, "dccp.handshake_seq")
        }
    }
}

fn at_most(value: Option<u64>, max: u64, field: &str) -> Result<(), FieldError> {
    match value {
        Some(value) if value > max => Err(FieldError::new(
            field,
            format!("is {value}, must be at most {max}"),
        )),
        _ => Ok(()),
    }
}
