//! The JSON object of an entry, written by hand: a list of a million flows takes about a
//! second. docs/json.md describes every key.

use std::net::IpAddr;

use super::{EventOrigin, Origin, emit};
use crate::flow::{
    Counters, DccpInfo, Direction, EXPECT_FLAG_NAMES, EventType, Expectation, Family, Flow, L4,
    Labels, ProtoInfo, Protocol, SctpInfo, SeqAdj, Status, Synproxy, TcpFlags, TcpInfo, Tuple,
    ZoneDirection,
};

/// An object that is being written.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens it.
    pub(super) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Whether nothing was written into it.
    pub(super) fn is_empty(&self) -> bool {
        self.empty
    }

    /// Closes it.
    pub(super) fn close(self) {
        self.out.push(b'}');
    }

    /// Keys are the program's own and need no escape.
    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(super) fn number(&mut self, key: &str, n: impl itoa::Integer) {
        emit::number(self.key(key), n);
    }

    pub(super) fn number_if(&mut self, key: &str, n: Option<impl itoa::Integer>) {
        if let Some(n) = n {
            self.number(key, n);
        }
    }

    pub(super) fn boolean(&mut self, key: &str, b: bool) {
        self.key(key)
            .extend_from_slice(if b { b"true" } else { b"false" });
    }

    pub(super) fn null(&mut self, key: &str) {
        self.key(key).extend_from_slice(b"null");
    }

    pub(super) fn text(&mut self, key: &str, text: &str) {
        string(self.key(key), text);
    }

    pub(super) fn texts<'t>(&mut self, key: &str, texts: impl Iterator<Item = &'t str>) {
        self.array(key, texts, string);
    }

    /// Bytes as hexadecimal digits.
    pub(super) fn hex(&mut self, key: &str, bytes: &[u8]) {
        let out = self.key(key);
        out.push(b'"');
        emit::hex_bytes(out, bytes);
        out.push(b'"');
    }

    fn time_if(&mut self, key: &str, ns: Option<u64>) {
        if let Some(ns) = ns {
            let out = self.key(key);
            out.push(b'"');
            emit::time(out, ns);
            out.push(b'"');
        }
    }

    /// The name; the number of a value that has none.
    fn name_or_number(&mut self, key: &str, name: Option<&str>, n: u8) {
        match name {
            Some(name) => self.text(key, name),
            None => self.number(key, n),
        }
    }

    fn array<T>(
        &mut self,
        key: &str,
        items: impl Iterator<Item = T>,
        write: impl Fn(&mut Vec<u8>, T),
    ) {
        let out = self.key(key);
        out.push(b'[');
        for (i, item) in items.enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write(out, item);
        }
        out.push(b']');
    }

    pub(super) fn object(&mut self, key: &str, write: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::open(self.key(key));
        write(&mut object);
        object.close();
    }
}

/// Writes a JSON string. What could steer a terminal is escaped, too.
fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if text
        .bytes()
        .all(|b| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\')
    {
        out.extend_from_slice(text.as_bytes());
    } else {
        let mut utf8 = [0; 4];
        for c in text.chars() {
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                c if emit::steers(c) => {
                    out.extend_from_slice(b"\\u");
                    emit::hex_bytes(out, &(c as u16).to_be_bytes());
                }
                c => out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes()),
            }
        }
    }
    out.push(b'"');
}

/// The node, and what a watch says of the entry.
pub(super) fn origin(object: &mut Object<'_>, origin: Origin<'_>) {
    if let Some(node) = origin.node {
        object.text("node", node);
    }
    match origin.event {
        None => {}
        Some(EventOrigin::Snapshot) => object.text("event", "SNAPSHOT"),
        Some(EventOrigin::Event {
            kind,
            sequence,
            port_id,
        }) => {
            object.text(
                "event",
                match kind {
                    EventType::New => "NEW",
                    EventType::Update => "UPDATE",
                    EventType::Destroy => "DESTROY",
                },
            );
            object.number("sequence", sequence);
            if port_id != 0 {
                object.number("port_id", port_id);
            }
        }
    }
}

/// Every field of a flow.
pub(super) fn flow(object: &mut Object<'_>, flow: &Flow) {
    object.text(
        "family",
        match flow.family() {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        },
    );
    protocol(object, flow.orig.protocol);
    object.object("orig", |o| tuple(o, &flow.orig, Some(flow.orig.protocol)));
    object.object("reply", |o| tuple(o, &flow.reply, Some(flow.orig.protocol)));
    object.number("zone", flow.zone.id);
    zone_direction(object, flow.zone.direction);
    if let Some(bits) = flow.status {
        status(object, bits);
    }
    object.number_if("timeout", flow.timeout);
    object.number_if("mark", flow.mark);
    match &flow.protoinfo {
        None => {}
        Some(info) => protoinfo(object, info),
    }
    beyond_the_line(object, flow);
}

/// The fields that the options of conntrack(8) cannot express at all; the format `save`
/// needs them apart from the others.
pub(super) fn beyond_the_line(object: &mut Object<'_>, flow: &Flow) {
    counters(object, "counters_orig", flow.counters_orig);
    counters(object, "counters_reply", flow.counters_reply);
    object.number_if("use", flow.use_count);
    object.number_if("id", flow.id);
    if let Some(labels) = flow.labels {
        self::labels(object, labels);
    }
    object.time_if("start", flow.timestamps.start);
    object.time_if("stop", flow.timestamps.stop);
    object.time_if("event_time", flow.timestamps.event);
    if let Some(helper) = &flow.helper {
        object.text("helper", helper.name.as_str());
        if let Some(info) = &helper.info {
            object.hex("helper_info", info);
        }
    }
    if let Some(context) = &flow.secctx {
        object.text("secctx", context);
    }
    seqadj(object, "seqadj_orig", flow.seqadj_orig);
    seqadj(object, "seqadj_reply", flow.seqadj_reply);
    if let Some(Synproxy { isn, its, tsoff }) = flow.synproxy {
        object.object("synproxy", |o| {
            o.number("isn", isn);
            o.number("its", its);
            o.number("tsoff", tsoff);
        });
    }
    if let Some(master) = &flow.master {
        object.object("master", |o| tuple(o, master, None));
    }
}

/// Every field of an expectation.
pub(super) fn expectation(object: &mut Object<'_>, expectation: &Expectation) {
    object.number_if("id", expectation.id);
    object.object("tuple", |o| tuple(o, &expectation.tuple, None));
    object.object("mask", |o| tuple(o, &expectation.mask, None));
    object.object("master", |o| tuple(o, &expectation.master, None));
    object.number("zone", expectation.zone);
    object.number_if("timeout", expectation.timeout);
    expectation_beyond_the_line(object, expectation);
}

/// As [`beyond_the_line`], of an expectation.
pub(super) fn expectation_beyond_the_line(object: &mut Object<'_>, expectation: &Expectation) {
    if let Some(flags) = expectation.flags {
        let named = EXPECT_FLAG_NAMES.into_iter();
        bits(object, "flags", flags, named);
    }
    object.number_if("class", expectation.class);
    if let Some(helper) = &expectation.helper {
        object.text("helper", helper.as_str());
    }
    if let Some(function) = &expectation.function {
        object.text("function", function);
    }
    if let Some(nat) = &expectation.nat {
        object.object("nat", |o| {
            o.text(
                "direction",
                match nat.direction {
                    Direction::Orig => "orig",
                    Direction::Reply => "reply",
                },
            );
            o.object("tuple", |o| tuple(o, &nat.tuple, None));
        });
    }
}

/// The end points; the protocol unless it is the one that the reader expects.
pub(super) fn tuple(object: &mut Object<'_>, tuple: &Tuple, expected: Option<Protocol>) {
    if expected != Some(tuple.protocol) {
        protocol(object, tuple.protocol);
    }
    address(object, "src", tuple.src);
    address(object, "dst", tuple.dst);
    match tuple.l4 {
        L4::None => {}
        L4::Ports { src, dst } => {
            object.number("sport", src);
            object.number("dport", dst);
        }
        L4::Icmp { kind, code, id } => {
            object.number("type", kind);
            object.number("code", code);
            object.number("id", id);
        }
        L4::Gre { src, dst } => {
            object.number("srckey", src);
            object.number("dstkey", dst);
        }
    }
}

fn address(object: &mut Object<'_>, key: &str, address: IpAddr) {
    let out = object.key(key);
    out.push(b'"');
    emit::address(out, address);
    out.push(b'"');
}

/// The name, or the number as text.
fn protocol(object: &mut Object<'_>, protocol: Protocol) {
    let out = object.key("protocol");
    out.push(b'"');
    match protocol.name() {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => emit::number(out, protocol.0),
    }
    out.push(b'"');
}

pub(super) fn zone_direction(object: &mut Object<'_>, direction: ZoneDirection) {
    match direction {
        ZoneDirection::Both => {}
        ZoneDirection::Orig => object.text("zone_direction", "orig"),
        ZoneDirection::Reply => object.text("zone_direction", "reply"),
    }
}

/// The names of the bits that are set; one without a name is `BIT_n`.
pub(super) fn status(object: &mut Object<'_>, status: Status) {
    let named = Status::NAMES.into_iter().map(|(bit, name)| (bit.0, name));
    bits(object, "status", status.0, named);
}

fn bits(
    object: &mut Object<'_>,
    key: &str,
    bits: u32,
    named: impl Iterator<Item = (u32, &'static str)>,
) {
    let out = object.key(key);
    out.push(b'[');
    let start = out.len();
    let mut rest = bits;
    for (bit, name) in named {
        if bits & bit != 0 {
            rest &= !bit;
            separate(out, start);
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
        }
    }
    while rest != 0 {
        let n = rest.trailing_zeros();
        rest &= rest - 1;
        separate(out, start);
        out.extend_from_slice(b"\"BIT_");
        emit::number(out, n);
        out.push(b'"');
    }
    out.push(b']');
}

fn separate(out: &mut Vec<u8>, start: usize) {
    if out.len() > start {
        out.push(b',');
    }
}

/// Under the name of its protocol.
pub(super) fn protoinfo(object: &mut Object<'_>, info: &ProtoInfo) {
    match info {
        ProtoInfo::Tcp(info) => tcp(object, info),
        ProtoInfo::Sctp(info) => sctp(object, info),
        ProtoInfo::Dccp(info) => dccp(object, info),
    }
}

fn tcp(object: &mut Object<'_>, tcp: &TcpInfo) {
    object.object("tcp", |o| {
        if let Some(state) = tcp.state {
            o.name_or_number("state", state.name(), state.0);
        }
        o.number_if("wscale_orig", tcp.window_scale_orig);
        o.number_if("wscale_reply", tcp.window_scale_reply);
        tcp_flags(o, "flags_orig", "flags_mask_orig", tcp.flags_orig);
        tcp_flags(o, "flags_reply", "flags_mask_reply", tcp.flags_reply);
    });
}

/// The mask is 0 in all that the kernel reports, and left out then.
fn tcp_flags(object: &mut Object<'_>, key: &str, mask_key: &str, flags: Option<TcpFlags>) {
    if let Some(TcpFlags { flags, mask }) = flags {
        object.texts(key, tcp_flag_names(flags));
        if mask != 0 {
            object.texts(mask_key, tcp_flag_names(mask));
        }
    }
}

fn tcp_flag_names(flags: u8) -> impl Iterator<Item = &'static str> {
    TcpFlags::NAMES
        .into_iter()
        .enumerate()
        .filter(move |(bit, _)| flags >> bit & 1 == 1)
        .map(|(_, name)| name)
}

fn sctp(object: &mut Object<'_>, sctp: &SctpInfo) {
    object.object("sctp", |o| {
        if let Some(state) = sctp.state {
            o.name_or_number("state", state.name(), state.0);
        }
        o.number_if("vtag_orig", sctp.vtag_orig);
        o.number_if("vtag_reply", sctp.vtag_reply);
    });
}

fn dccp(object: &mut Object<'_>, dccp: &DccpInfo) {
    object.object("dccp", |o| {
        if let Some(state) = dccp.state {
            o.name_or_number("state", state.name(), state.0);
        }
        if let Some(role) = dccp.role {
            let name = match role {
                0 => Some("client"),
                1 => Some("server"),
                _ => None,
            };
            o.name_or_number("role", name, role);
        }
        o.number_if("handshake_seq", dccp.handshake_seq);
    });
}

fn counters(object: &mut Object<'_>, key: &str, counters: Option<Counters>) {
    if let Some(Counters { packets, bytes }) = counters {
        object.object(key, |o| {
            o.number("packets", packets);
            o.number("bytes", bytes);
        });
    }
}

/// The numbers of the labels that are set.
fn labels(object: &mut Object<'_>, labels: Labels) {
    let out = object.key("labels");
    out.push(b'[');
    let start = out.len();
    let mut rest = labels.0;
    while rest != 0 {
        separate(out, start);
        emit::number(out, rest.trailing_zeros());
        rest &= rest - 1;
    }
    out.push(b']');
}

fn seqadj(object: &mut Object<'_>, key: &str, seqadj: Option<SeqAdj>) {
    if let Some(seqadj) = seqadj {
        object.object(key, |o| {
            o.number("correction_pos", seqadj.correction_pos);
            o.number("offset_before", seqadj.offset_before);
            o.number("offset_after", seqadj.offset_after);
        });
    }
}
