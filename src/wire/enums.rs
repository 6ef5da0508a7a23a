//! The enumerations: one table each, read in both directions.

use crate::{flow, pb};

use super::FieldError;

/// Declares the counterparts of an enumeration's values. `absent` is what the message's
/// `_UNSPECIFIED` reads as; without it, that value is refused.
macro_rules! counterparts {
    ($domain:path, $message:path, absent $default:ident, { $($variant:ident = $value:ident),* $(,)? }) => {
        counterparts!(@out $domain, $message, { $($variant = $value),* });
        impl TryFrom<$message> for $domain {
            type Error = FieldError;

            fn try_from(value: $message) -> Result<Self, FieldError> {
                Ok(match value {
                    <$message>::Unspecified => Self::$default,
                    $(<$message>::$value => Self::$variant,)*
                })
            }
        }
    };
    ($domain:path, $message:path, { $($variant:ident = $value:ident),* $(,)? }) => {
        counterparts!(@out $domain, $message, { $($variant = $value),* });
        impl TryFrom<$message> for $domain {
            type Error = FieldError;

            fn try_from(value: $message) -> Result<Self, FieldError> {
                Ok(match value {
                    <$message>::Unspecified => return Err(FieldError::new("", "is required")),
                    $(<$message>::$value => Self::$variant,)*
                })
            }
        }
    };
    (@out $domain:path, $message:path, { $($variant:ident = $value:ident),* }) => {
        impl From<$domain> for $message {
            fn from(value: $domain) -> Self {
                match value {
                    $(<$domain>::$variant => Self::$value,)*
                }
            }
        }
    };
}

counterparts!(flow::Family, pb::Family, { V4 = Ipv4, V6 = Ipv6 });
counterparts!(flow::Direction, pb::Direction, absent Orig, { Orig = Orig, Reply = Reply });
counterparts!(flow::EventType, pb::EventType, {
    New = New, Update = Update, Destroy = Destroy,
});
counterparts!(flow::filter::AddressField, pb::AddressField, {
    Src = Src, Dst = Dst, ReplySrc = ReplySrc, ReplyDst = ReplyDst, Any = Any,
    MasterSrc = MasterSrc, MasterDst = MasterDst, MaskSrc = MaskSrc, MaskDst = MaskDst,
});
counterparts!(flow::filter::NumberField, pb::NumberField, {
    Family = Family, Protocol = Protocol, Id = Id, Zone = Zone, ZoneDirection = ZoneDirection,
    Status = Status, Timeout = Timeout, Mark = Mark, Use = Use, SrcPort = SrcPort,
    DstPort = DstPort, ReplySrcPort = ReplySrcPort, ReplyDstPort = ReplyDstPort, Port = Port,
    IcmpType = IcmpType, IcmpCode = IcmpCode, IcmpId = IcmpId, GreSrcKey = GreSrcKey,
    GreDstKey = GreDstKey, TcpState = TcpState, TcpWindowScaleOrig = TcpWindowScaleOrig,
    TcpWindowScaleReply = TcpWindowScaleReply, TcpFlagsOrig = TcpFlagsOrig,
    TcpFlagsReply = TcpFlagsReply, SctpState = SctpState, SctpVtagOrig = SctpVtagOrig,
    SctpVtagReply = SctpVtagReply, DccpState = DccpState, DccpRole = DccpRole,
    DccpHandshakeSeq = DccpHandshakeSeq, PacketsOrig = PacketsOrig, PacketsReply = PacketsReply,
    Packets = Packets, BytesOrig = BytesOrig, BytesReply = BytesReply, Bytes = Bytes,
    Start = StartNs, Stop = StopNs, Event = EventNs, Age = Age,
    SeqAdjOrigCorrectionPos = SeqadjOrigCorrectionPos,
    SeqAdjOrigOffsetBefore = SeqadjOrigOffsetBefore,
    SeqAdjOrigOffsetAfter = SeqadjOrigOffsetAfter,
    SeqAdjReplyCorrectionPos = SeqadjReplyCorrectionPos,
    SeqAdjReplyOffsetBefore = SeqadjReplyOffsetBefore,
    SeqAdjReplyOffsetAfter = SeqadjReplyOffsetAfter,
    SynproxyIsn = SynproxyIsn, SynproxyIts = SynproxyIts, SynproxyTsoff = SynproxyTsoff,
    MasterProtocol = MasterProtocol, MasterSrcPort = MasterSrcPort,
    MasterDstPort = MasterDstPort, ExpectFlags = ExpectFlags, ExpectClass = ExpectClass,
    GreReplySrcKey = GreReplySrcKey, GreReplyDstKey = GreReplyDstKey,
});
counterparts!(flow::filter::TextField, pb::TextField, {
    Helper = Helper, SecCtx = Secctx, ExpectFunction = ExpectFunction,
});
counterparts!(flow::filter::PresenceField, pb::PresenceField, {
    Helper = Helper, HelperInfo = HelperInfo, Master = Master, Labels = Labels, SecCtx = Secctx,
    SeqAdj = Seqadj, Synproxy = Synproxy, Counters = Counters, Timestamps = Timestamps,
    ProtoInfo = Protoinfo, ExpectNat = ExpectNat,
});
counterparts!(flow::filter::Translation, pb::Translation, {
    Src = Src, Dst = Dst, Any = Any,
});

impl From<flow::ZoneDirection> for pb::ZoneDirection {
    fn from(value: flow::ZoneDirection) -> Self {
        match value {
            flow::ZoneDirection::Both => Self::Unspecified,
            flow::ZoneDirection::Orig => Self::Orig,
            flow::ZoneDirection::Reply => Self::Reply,
        }
    }
}

impl TryFrom<pb::ZoneDirection> for flow::ZoneDirection {
    type Error = FieldError;

    fn try_from(value: pb::ZoneDirection) -> Result<Self, FieldError> {
        Ok(match value {
            pb::ZoneDirection::Unspecified => Self::Both,
            pb::ZoneDirection::Orig => Self::Orig,
            pb::ZoneDirection::Reply => Self::Reply,
        })
    }
}

/// Reads an enumeration's number: `P` is the message's type, `D` its counterpart.
pub(super) fn known<P, D>(number: i32) -> Result<D, FieldError>
where
    P: TryFrom<i32>,
    D: TryFrom<P, Error = FieldError>,
{
    let value = P::try_from(number)
        .map_err(|_| FieldError::new("", format!("has the unknown value {number}")))?;
    D::try_from(value)
}
