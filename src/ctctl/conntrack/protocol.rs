//! The options of the protocols, and which goes with which command.

use super::vocabulary::{Action, Rule, Table};
use crate::flow::Protocol;

/// A value that a protocol adds. GRE keys stand in the place of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Src,
    Dst,
    ReplySrc,
    ReplyDst,
    MaskSrc,
    MaskDst,
    State,
    TupleSrc,
    TupleDst,
    OrigVtag,
    ReplyVtag,
    Role,
    IcmpType,
    IcmpCode,
    IcmpId,
}

/// A protocol's options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    /// What it calls them, in the order in which a missing or a wrong one is reported.
    pub(super) parts: &'static [(Part, &'static str)],
    /// Other names for them.
    pub(super) aliases: &'static [(&'static str, Part)],
    /// How the two ends of the original direction are called when one is missing, and those
    /// of the reply direction.
    pub(super) pairs: [(&'static str, &'static str); 2],
}

/// The options of a protocol with ports: between those for masks and those for expected flows
/// may stand a state, and behind them more.
macro_rules! ports {
    ([$($state:ident)?], [$($more:ident $name:literal),*]) => {
        Dialect {
            parts: &[
                (Part::Src, "sport"),
                (Part::Dst, "dport"),
                (Part::ReplySrc, "reply-port-src"),
                (Part::ReplyDst, "reply-port-dst"),
                (Part::MaskSrc, "mask-port-src"),
                (Part::MaskDst, "mask-port-dst"),
                $((Part::$state, "state"),)?
                (Part::TupleSrc, "tuple-port-src"),
                (Part::TupleDst, "tuple-port-dst"),
                $((Part::$more, $name),)*
            ],
            aliases: &[("orig-port-src", Part::Src), ("orig-port-dst", Part::Dst)],
            pairs: [("sport", "dport"), ("reply-src-port", "reply-dst-port")],
        }
    };
}

const TCP: Dialect = ports!([State], []);
const UDP: Dialect = ports!([], []);
const SCTP: Dialect = ports!([State], [OrigVtag "orig-vtag", ReplyVtag "reply-vtag"]);
const DCCP: Dialect = ports!([State], [Role "role"]);

const ICMP: Dialect = Dialect {
    parts: &[
        (Part::IcmpType, "icmp-type"),
        (Part::IcmpCode, "icmp-code"),
        (Part::IcmpId, "icmp-id"),
    ],
    aliases: &[],
    pairs: [("icmp-type", "icmp-code"); 2],
};

const ICMPV6: Dialect = Dialect {
    parts: &[
        (Part::IcmpType, "icmpv6-type"),
        (Part::IcmpCode, "icmpv6-code"),
        (Part::IcmpId, "icmpv6-id"),
    ],
    aliases: &[],
    pairs: [("icmpv6-type", "icmpv6-code"); 2],
};

const GRE: Dialect = Dialect {
    parts: &[
        (Part::Src, "srckey"),
        (Part::Dst, "dstkey"),
        (Part::ReplySrc, "reply-key-src"),
        (Part::ReplyDst, "reply-key-dst"),
        (Part::MaskSrc, "mask-key-src"),
        (Part::MaskDst, "mask-key-dst"),
        (Part::TupleSrc, "tuple-key-src"),
        (Part::TupleDst, "tuple-key-dst"),
    ],
    aliases: &[("orig-key-src", Part::Src), ("orig-key-dst", Part::Dst)],
    pairs: [("srckey", "dstkey"), ("reply-src-key", "reply-dst-key")],
};

const OTHER: Dialect = Dialect {
    parts: &[],
    aliases: &[],
    pairs: [("", ""); 2],
};

/// The options of a protocol; none when conntrack has no tracker for it.
pub(super) fn dialect(protocol: Protocol) -> Dialect {
    match protocol {
        Protocol::TCP => TCP,
        Protocol::UDP | Protocol::UDPLITE => UDP,
        Protocol::SCTP => SCTP,
        Protocol::DCCP => DCCP,
        Protocol::ICMP => ICMP,
        Protocol::ICMPV6 => ICMPV6,
        Protocol::GRE => GRE,
        _ => OTHER,
    }
}

/// How this part goes with this command.
pub(super) fn rule(protocol: Protocol, action: Action, table: Table, part: Part) -> Rule {
    if table == Table::Expect {
        return of_expectations(protocol, action, part);
    }
    let creates = matches!(action, Action::Create | Action::Add);
    let selects = matches!(
        action,
        Action::List | Action::Update | Action::Delete | Action::Event
    );
    match part {
        Part::Src | Part::Dst | Part::ReplySrc | Part::ReplyDst => {
            if selects {
                Rule::Allowed
            } else {
                Rule::Paired
            }
        }
        Part::State if creates => Rule::Required,
        Part::State => Rule::Allowed,
        Part::OrigVtag | Part::ReplyVtag | Part::Role if creates => Rule::Required,
        Part::OrigVtag | Part::ReplyVtag if matches!(action, Action::Update | Action::Get) => {
            Rule::Allowed
        }
        Part::IcmpType | Part::IcmpCode if !selects => Rule::Required,
        Part::IcmpType | Part::IcmpCode | Part::IcmpId => Rule::Allowed,
        _ => Rule::Illegal,
    }
}

fn of_expectations(protocol: Protocol, action: Action, part: Part) -> Rule {
    let creates = action == Action::Create;
    match part {
        Part::Src | Part::Dst => Rule::Required,
        Part::ReplySrc | Part::ReplyDst if !creates || protocol == Protocol::GRE => Rule::Required,
        Part::MaskSrc
        | Part::MaskDst
        | Part::TupleSrc
        | Part::TupleDst
        | Part::OrigVtag
        | Part::ReplyVtag
        | Part::Role
            if creates =>
        {
            Rule::Required
        }
        _ => Rule::Illegal,
    }
}
