//! The types of the number fields: what a value can be.

use super::{NumberField, NumberRange};

/// The type that a number has in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NumberType {
    /// 0 to 255.
    U8,
    /// 0 to 65535.
    U16,
    /// 0 to 4294967295.
    U32,
    /// 0 to 18446744073709551615, of which a filter tells those up to 2^63-2 apart.
    U64,
    /// -2147483648 to 2147483647.
    I32,
}

impl NumberType {
    /// Its name in Rust.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::I32 => "i32",
        }
    }

    /// The values that a filter can compare it with.
    pub fn range(self) -> NumberRange {
        let (min, max) = match self {
            Self::U8 => (0, u8::MAX.into()),
            Self::U16 => (0, u16::MAX.into()),
            Self::U32 => (0, u32::MAX.into()),
            Self::U64 => (0, i64::MAX),
            Self::I32 => (i32::MIN.into(), i32::MAX.into()),
        };
        NumberRange { min, max }
    }

    /// The bits that can be set, of the 64 that a mask looks at. A negative number has its
    /// sign in all the upper ones.
    pub fn bits(self) -> u64 {
        match self {
            Self::U8 => u8::MAX.into(),
            Self::U16 => u16::MAX.into(),
            Self::U32 => u32::MAX.into(),
            Self::U64 | Self::I32 => u64::MAX,
        }
    }
}

impl NumberField {
    /// What its values can be.
    pub fn number_type(self) -> NumberType {
        match self {
            Self::Family
            | Self::Protocol
            | Self::ZoneDirection
            | Self::IcmpType
            | Self::IcmpCode
            | Self::TcpState
            | Self::TcpWindowScaleOrig
            | Self::TcpWindowScaleReply
            | Self::TcpFlagsOrig
            | Self::TcpFlagsReply
            | Self::SctpState
            | Self::DccpState
            | Self::DccpRole
            | Self::MasterProtocol => NumberType::U8,
            Self::Zone
            | Self::SrcPort
            | Self::DstPort
            | Self::ReplySrcPort
            | Self::ReplyDstPort
            | Self::Port
            | Self::IcmpId
            | Self::GreReplySrcKey
            | Self::GreReplyDstKey
            | Self::GreSrcKey
            | Self::GreDstKey
            | Self::MasterSrcPort
            | Self::MasterDstPort => NumberType::U16,
            Self::Id
            | Self::Status
            | Self::Timeout
            | Self::Mark
            | Self::Use
            | Self::SctpVtagOrig
            | Self::SctpVtagReply
            | Self::SeqAdjOrigCorrectionPos
            | Self::SeqAdjReplyCorrectionPos
            | Self::SynproxyIsn
            | Self::SynproxyIts
            | Self::SynproxyTsoff
            | Self::ExpectFlags
            | Self::ExpectClass => NumberType::U32,
            Self::DccpHandshakeSeq
            | Self::PacketsOrig
            | Self::PacketsReply
            | Self::Packets
            | Self::BytesOrig
            | Self::BytesReply
            | Self::Bytes
            | Self::Start
            | Self::Stop
            | Self::Event
            | Self::Age => NumberType::U64,
            Self::SeqAdjOrigOffsetBefore
            | Self::SeqAdjOrigOffsetAfter
            | Self::SeqAdjReplyOffsetBefore
            | Self::SeqAdjReplyOffsetAfter => NumberType::I32,
        }
    }
}
