//! Which entries: a tree of conditions, and its one evaluation, by a [`Matcher`].

mod build;
mod check;
mod eval;
mod matcher;
mod normal;
mod number;
mod spans;
mod subject;
#[cfg(test)]
mod tests;

pub use check::{Kind, UnfitField};
pub use eval::Subject;
pub use matcher::Matcher;
pub use number::NumberType;

use ipnet::IpNet;

use super::Labels;

/// How many levels a filter may have when it comes from outside, the conditions themselves
/// being one: a level of `and` or `or` is two messages of protobuf, of which no more than 100
/// may be inside one another.
pub const MAX_DEPTH: usize = 32;

/// A tree of conditions. A predicate on something that an entry does not have is false;
/// [`Filter::Not`] of it is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All of them hold; true when empty.
    And(Vec<Filter>),
    /// At least one holds; false when empty.
    Or(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// One condition.
    Is(Predicate),
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// The address lies in one of the networks.
    Address(AddressField, Vec<IpNet>),
    /// The number, after the mask, lies in one of the ranges.
    Number(NumberField, Option<u64>, Vec<NumberRange>),
    /// The labels, after the mask, are the value.
    Labels {
        /// The bits that they must have.
        value: Labels,
        /// The bits that count.
        mask: Labels,
    },
    /// The text is one of the values, to the letter.
    Text(TextField, Vec<Box<str>>),
    /// The entry has such a part.
    Present(PresenceField),
    /// The entry is translated.
    Translated(Translation),
}

/// Numbers from `min` to `max`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberRange {
    /// The smallest.
    pub min: i64,
    /// The largest.
    pub max: i64,
}

/// Declares the names of fields: the variant, its documentation and its name in the filter
/// language.
macro_rules! fields {
    ($(#[$doc:meta])* $name:ident { $($variant:ident $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "` in the filter language.")] $variant,)*
        }

        impl $name {
            /// Every field.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// Its name in the filter language.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }

            /// The field of a name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some($name::$variant),)* _ => None }
            }
        }
    };
}

fields! {
    /// Which address a predicate looks at.
    AddressField {
        Src "src",
        Dst "dst",
        ReplySrc "reply-src",
        ReplyDst "reply-dst",
        Any "addr",
        MasterSrc "master-src",
        MasterDst "master-dst",
        MaskSrc "mask-src",
        MaskDst "mask-dst",
    }
}

fields! {
    /// Which number a predicate looks at; what each means stands in docs/filter.md and in
    /// `NumberField` of the API.
    NumberField {
        Family "family",
        Protocol "proto",
        Id "id",
        Zone "zone",
        ZoneDirection "zone-direction",
        Status "status",
        Timeout "timeout",
        Mark "mark",
        Use "use",
        SrcPort "sport",
        DstPort "dport",
        ReplySrcPort "reply-sport",
        ReplyDstPort "reply-dport",
        Port "port",
        IcmpType "icmp-type",
        IcmpCode "icmp-code",
        IcmpId "icmp-id",
        GreSrcKey "gre-src-key",
        GreDstKey "gre-dst-key",
        GreReplySrcKey "gre-reply-src-key",
        GreReplyDstKey "gre-reply-dst-key",
        TcpState "tcp-state",
        TcpWindowScaleOrig "wscale-orig",
        TcpWindowScaleReply "wscale-reply",
        TcpFlagsOrig "tcp-flags-orig",
        TcpFlagsReply "tcp-flags-reply",
        SctpState "sctp-state",
        SctpVtagOrig "vtag-orig",
        SctpVtagReply "vtag-reply",
        DccpState "dccp-state",
        DccpRole "dccp-role",
        DccpHandshakeSeq "dccp-handshake-seq",
        PacketsOrig "packets-orig",
        PacketsReply "packets-reply",
        Packets "packets",
        BytesOrig "bytes-orig",
        BytesReply "bytes-reply",
        Bytes "bytes",
        Start "start",
        Stop "stop",
        Event "event-time",
        Age "age",
        SeqAdjOrigCorrectionPos "seqadj-orig-pos",
        SeqAdjOrigOffsetBefore "seqadj-orig-before",
        SeqAdjOrigOffsetAfter "seqadj-orig-after",
        SeqAdjReplyCorrectionPos "seqadj-reply-pos",
        SeqAdjReplyOffsetBefore "seqadj-reply-before",
        SeqAdjReplyOffsetAfter "seqadj-reply-after",
        SynproxyIsn "synproxy-isn",
        SynproxyIts "synproxy-its",
        SynproxyTsoff "synproxy-tsoff",
        MasterProtocol "master-proto",
        MasterSrcPort "master-sport",
        MasterDstPort "master-dport",
        ExpectFlags "expect-flags",
        ExpectClass "expect-class",
    }
}

fields! {
    /// Which text a predicate looks at.
    TextField {
        Helper "helper",
        SecCtx "secctx",
        ExpectFunction "expect-fn",
    }
}

fields! {
    /// Which part of an entry a predicate asks for.
    PresenceField {
        Helper "helper",
        HelperInfo "helper-info",
        Master "master",
        Labels "labels",
        SecCtx "secctx",
        SeqAdj "seqadj",
        Synproxy "synproxy",
        Counters "counters",
        Timestamps "timestamps",
        ProtoInfo "protoinfo",
        ExpectNat "expect-nat",
    }
}

fields! {
    /// How an entry's tuples differ.
    Translation {
        Src "snat",
        Dst "dnat",
        Any "nat",
    }
}
