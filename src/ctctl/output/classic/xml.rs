//! `-o xml`: flows and expectations as libnetfilter_conntrack 1.0.9 writes them.
//!
//! Two things are told as it tells them although they are odd: the zone of one direction
//! stands in that direction's part, and the states of SCTP and DCCP bear TCP's names.
//! Unlike there, foreign text is escaped, and with several nodes an attribute names the
//! node: words before the tag would not be XML.

use super::super::conntrack::lifetime;
use super::super::{EventOrigin, Origin, emit};
use super::clock::{self, Clock};
use crate::ctctl::connlabel::LabelNames;
use crate::flow::{
    Counters, EventType, Expectation, Family, Flow, L4, Labels, ProtoInfo, Protocol, Status,
    TcpState, Tuple, ZoneDirection,
};

/// What is shown on request only.
pub(super) struct Shown<'a> {
    /// Start and stop.
    pub(super) timestamps: bool,
    /// The date of now, by this clock.
    pub(super) when: Option<&'a Clock>,
    /// Labels, by these names.
    pub(super) labels: Option<&'a LabelNames>,
}

/// The beginning of a document of so-called elements.
pub(super) fn header(out: &mut Vec<u8>, root: &str) {
    out.extend_from_slice(b"<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<");
    out.extend_from_slice(root.as_bytes());
    out.extend_from_slice(b">\n");
}

/// Its end.
pub(super) fn trailer(out: &mut Vec<u8>, root: &str) {
    out.extend_from_slice(b"</");
    out.extend_from_slice(root.as_bytes());
    out.extend_from_slice(b">\n");
}

/// A flow, without the end of its line.
pub(super) fn flow(out: &mut Vec<u8>, origin: Origin<'_>, flow: &Flow, shown: &Shown<'_>) {
    open(out, origin);
    for (direction, tuple, zone, counters) in [
        (
            "original",
            &flow.orig,
            ZoneDirection::Orig,
            flow.counters_orig,
        ),
        (
            "reply",
            &flow.reply,
            ZoneDirection::Reply,
            flow.counters_reply,
        ),
    ] {
        put(out, &["<meta direction=\"", direction, "\">"]);
        side(out, tuple);
        if flow.zone.id != 0 && flow.zone.direction == zone {
            number(out, "zone", flow.zone.id);
        }
        if let Some(Counters { packets, bytes }) = counters {
            put(out, &["<counters>"]);
            number(out, "packets", packets);
            number(out, "bytes", bytes);
            put(out, &["</counters>"]);
        }
        put(out, &["</meta>"]);
    }
    independent(out, flow, shown);
    if let Some(clock) = shown.when {
        clock.when(out, clock::now());
    }
    if let Some(helper) = &flow.helper {
        text(out, "helper", helper.name.as_str());
    }
    put(out, &["</flow>"]);
}

/// What belongs to no direction.
fn independent(out: &mut Vec<u8>, flow: &Flow, shown: &Shown<'_>) {
    put(out, &["<meta direction=\"independent\">"]);
    if let Some(state) = flow.protoinfo.as_ref().and_then(state) {
        put(out, &["<state>", state, "</state>"]);
    }
    number_if(out, "timeout", flow.timeout);
    number_if(out, "mark", flow.mark);
    if let (Some(names), Some(set)) = (shown.labels, flow.labels) {
        labels(out, set, names);
    }
    if let Some(context) = &flow.secctx {
        text(out, "secctx", context);
    }
    if flow.zone.id != 0 && flow.zone.direction == ZoneDirection::Both {
        number(out, "zone", flow.zone.id);
    }
    number_if(out, "use", flow.use_count);
    number_if(out, "id", flow.id);
    if let Some(status) = flow.status {
        if status.contains(Status::ASSURED) {
            put(out, &["<assured/>"]);
        }
        if !status.contains(Status::SEEN_REPLY) {
            put(out, &["<unreplied/>"]);
        }
    }
    let (start, stop) = (flow.timestamps.start, flow.timestamps.stop);
    if shown.timestamps && (start.is_some() || stop.is_some()) {
        put(out, &["<timestamp>"]);
        number_if(out, "start", start);
        number_if(out, "stop", stop);
        put(out, &["</timestamp>"]);
    }
    number_if(out, "deltatime", lifetime(&flow.timestamps));
    put(out, &["</meta>"]);
}

/// An expectation, without the end of its line.
pub(super) fn expectation(
    out: &mut Vec<u8>,
    origin: Origin<'_>,
    expectation: &Expectation,
    shown: &Shown<'_>,
) {
    open(out, origin);
    let parts = [
        ("expected", &expectation.tuple),
        ("mask", &expectation.mask),
        ("master", &expectation.master),
    ];
    layer3(out, expectation.tuple.family());
    for (part, tuple) in parts {
        put(out, &["<", part, ">"]);
        addresses(out, tuple);
        put(out, &["</", part, ">"]);
    }
    put(out, &["</layer3>"]);
    layer4(out, expectation.tuple.protocol);
    for (part, tuple) in parts {
        put(out, &["<", part, ">"]);
        ports(out, tuple);
        put(out, &["</", part, ">"]);
    }
    put(out, &["</layer4><meta>"]);
    if let Some(helper) = &expectation.helper {
        text(out, "helper-name", helper.as_str());
    }
    number_if(out, "timeout", expectation.timeout);
    number_if(out, "class", expectation.class);
    if let Some(clock) = shown.when {
        clock.when(out, clock::now());
    }
    let flags = expectation.flags.unwrap_or(0);
    for (bit, tag) in [(1, "<permanent/>"), (2, "<inactive/>"), (4, "<userspace/>")] {
        if flags & bit != 0 {
            put(out, &[tag]);
        }
    }
    put(out, &["</meta></flow>"]);
}

/// The opening tag; events say what they are.
fn open(out: &mut Vec<u8>, origin: Origin<'_>) {
    put(out, &["<flow"]);
    if let Some(EventOrigin::Event { kind, .. }) = origin.event {
        let kind = match kind {
            EventType::New => "new",
            EventType::Update => "update",
            EventType::Destroy => "destroy",
        };
        put(out, &[" type=\"", kind, "\""]);
    }
    if let Some(node) = origin.node {
        put(out, &[" node=\""]);
        escaped(out, node);
        put(out, &["\""]);
    }
    put(out, &[">"]);
}

fn side(out: &mut Vec<u8>, tuple: &Tuple) {
    layer3(out, tuple.family());
    addresses(out, tuple);
    put(out, &["</layer3>"]);
    layer4(out, tuple.protocol);
    ports(out, tuple);
    put(out, &["</layer4>"]);
}

fn layer3(out: &mut Vec<u8>, family: Family) {
    put(
        out,
        &[match family {
            Family::V4 => "<layer3 protonum=\"2\" protoname=\"ipv4\">",
            Family::V6 => "<layer3 protonum=\"10\" protoname=\"ipv6\">",
        }],
    );
}

fn layer4(out: &mut Vec<u8>, protocol: Protocol) {
    put(out, &["<layer4 protonum=\""]);
    emit::number(out, protocol.0);
    let name = protocol.name().unwrap_or("unknown");
    put(out, &["\" protoname=\"", name, "\">"]);
}

fn addresses(out: &mut Vec<u8>, tuple: &Tuple) {
    for (tag, address) in [("src", tuple.src), ("dst", tuple.dst)] {
        put(out, &["<", tag, ">"]);
        emit::address(out, address);
        put(out, &["</", tag, ">"]);
    }
}

/// Ports and keys; of ICMP nothing is written.
fn ports(out: &mut Vec<u8>, tuple: &Tuple) {
    match tuple.l4 {
        L4::Ports { src, dst } => {
            number(out, "sport", src);
            number(out, "dport", dst);
        }
        L4::Gre { src, dst } => {
            for (tag, key) in [("srckey", src), ("dstkey", dst)] {
                put(out, &["<", tag, ">0x"]);
                emit::hex(out, key.into());
                put(out, &["</", tag, ">"]);
            }
        }
        L4::None | L4::Icmp { .. } => {}
    }
}

/// The state by TCP's names, whatever the protocol.
fn state(info: &ProtoInfo) -> Option<&'static str> {
    let number = match info {
        ProtoInfo::Tcp(tcp) => tcp.state?.0,
        ProtoInfo::Sctp(sctp) => sctp.state?.0,
        ProtoInfo::Dccp(dccp) => dccp.state?.0,
    };
    Some(TcpState(number).name().unwrap_or("NONE"))
}

fn labels(out: &mut Vec<u8>, set: Labels, names: &LabelNames) {
    put(out, &["<labels>"]);
    for name in set.iter().filter_map(|number| names.name(number)) {
        put(out, &["<label>", name, "</label>"]);
    }
    put(out, &["</labels>"]);
}

fn number<N: itoa::Integer>(out: &mut Vec<u8>, tag: &str, n: N) {
    put(out, &["<", tag, ">"]);
    emit::number(out, n);
    put(out, &["</", tag, ">"]);
}

fn number_if<N: itoa::Integer>(out: &mut Vec<u8>, tag: &str, n: Option<N>) {
    if let Some(n) = n {
        number(out, tag, n);
    }
}

fn text(out: &mut Vec<u8>, tag: &str, words: &str) {
    put(out, &["<", tag, ">"]);
    escaped(out, words);
    put(out, &["</", tag, ">"]);
}

/// Text that somebody else chose, so that it can end neither the line nor the element.
fn escaped(out: &mut Vec<u8>, words: &str) {
    let start = out.len();
    emit::text(out, words);
    if !out[start..].iter().any(|b| b"&<>\"".contains(b)) {
        return;
    }
    for byte in out.split_off(start) {
        match byte {
            b'&' => put(out, &["&amp;"]),
            b'<' => put(out, &["&lt;"]),
            b'>' => put(out, &["&gt;"]),
            b'"' => put(out, &["&quot;"]),
            byte => out.push(byte),
        }
    }
}

fn put(out: &mut Vec<u8>, words: &[&str]) {
    for word in words {
        out.extend_from_slice(word.as_bytes());
    }
}
