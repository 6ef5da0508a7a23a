//! The options of `conntrack -A`, `-I` and `-I expect`, by their short and long names.

/// An option that takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opt {
    Src,
    Dst,
    ReplySrc,
    ReplyDst,
    Protocol,
    Family,
    Timeout,
    Status,
    Mark,
    Label,
    Zone,
    OrigZone,
    ReplyZone,
    SrcNat,
    DstNat,
    OrigPortSrc,
    OrigPortDst,
    ReplyPortSrc,
    ReplyPortDst,
    State,
    IcmpType,
    IcmpCode,
    IcmpId,
    OrigKeySrc,
    OrigKeyDst,
    ReplyKeySrc,
    ReplyKeyDst,
    OrigVtag,
    ReplyVtag,
    Role,
    TupleSrc,
    TupleDst,
    MaskSrc,
    MaskDst,
    TuplePortSrc,
    TuplePortDst,
    MaskPortSrc,
    MaskPortDst,
    TupleKeySrc,
    TupleKeyDst,
    MaskKeySrc,
    MaskKeyDst,
}

impl Opt {
    /// How many there are.
    pub(super) const COUNT: usize = Self::MaskKeyDst as usize + 1;

    /// The option of a letter.
    pub(super) fn short(letter: char) -> Option<Self> {
        Some(match letter {
            's' => Self::Src,
            'd' => Self::Dst,
            'r' => Self::ReplySrc,
            'q' => Self::ReplyDst,
            'p' => Self::Protocol,
            'f' => Self::Family,
            't' => Self::Timeout,
            'u' => Self::Status,
            'm' => Self::Mark,
            'l' => Self::Label,
            'w' => Self::Zone,
            'n' => Self::SrcNat,
            'g' => Self::DstNat,
            _ => return None,
        })
    }

    /// The option of a name. Those of ICMP and ICMPv6 are the same.
    pub(super) fn long(name: &str) -> Option<Self> {
        Some(match name {
            "src" | "orig-src" => Self::Src,
            "dst" | "orig-dst" => Self::Dst,
            "reply-src" => Self::ReplySrc,
            "reply-dst" => Self::ReplyDst,
            "protonum" | "proto" => Self::Protocol,
            "family" => Self::Family,
            "timeout" => Self::Timeout,
            "status" => Self::Status,
            "mark" => Self::Mark,
            "label" | "label-add" => Self::Label,
            "zone" => Self::Zone,
            "orig-zone" => Self::OrigZone,
            "reply-zone" => Self::ReplyZone,
            "src-nat" => Self::SrcNat,
            "dst-nat" => Self::DstNat,
            "sport" | "orig-port-src" => Self::OrigPortSrc,
            "dport" | "orig-port-dst" => Self::OrigPortDst,
            "reply-port-src" => Self::ReplyPortSrc,
            "reply-port-dst" => Self::ReplyPortDst,
            "state" => Self::State,
            "icmp-type" | "icmpv6-type" => Self::IcmpType,
            "icmp-code" | "icmpv6-code" => Self::IcmpCode,
            "icmp-id" | "icmpv6-id" => Self::IcmpId,
            "srckey" | "orig-key-src" => Self::OrigKeySrc,
            "dstkey" | "orig-key-dst" => Self::OrigKeyDst,
            "reply-key-src" => Self::ReplyKeySrc,
            "reply-key-dst" => Self::ReplyKeyDst,
            "orig-vtag" => Self::OrigVtag,
            "reply-vtag" => Self::ReplyVtag,
            "role" => Self::Role,
            "tuple-src" => Self::TupleSrc,
            "tuple-dst" => Self::TupleDst,
            "mask-src" => Self::MaskSrc,
            "mask-dst" => Self::MaskDst,
            "tuple-port-src" => Self::TuplePortSrc,
            "tuple-port-dst" => Self::TuplePortDst,
            "mask-port-src" => Self::MaskPortSrc,
            "mask-port-dst" => Self::MaskPortDst,
            "tuple-key-src" => Self::TupleKeySrc,
            "tuple-key-dst" => Self::TupleKeyDst,
            "mask-key-src" => Self::MaskKeySrc,
            "mask-key-dst" => Self::MaskKeyDst,
            _ => return None,
        })
    }
}

/// A command of conntrack(8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `-A` and `-I`.
    Create,
    /// Any other.
    Other,
}

impl Command {
    /// The command of an option, if it is one.
    pub(super) fn of(option: &str) -> Option<Self> {
        match option {
            "-A" | "--add" | "-I" | "--create" => Some(Self::Create),
            "-L" | "--dump" | "-D" | "--delete" | "-U" | "--update" | "-G" | "--get" | "-F"
            | "--flush" | "-E" | "--event" | "-C" | "--count" | "-S" | "--stats" => {
                Some(Self::Other)
            }
            _ => None,
        }
    }
}
