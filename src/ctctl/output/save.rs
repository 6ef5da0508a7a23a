//! The format `save`: what `ctctl create --file` and `conntrack -R` take back.
//!
//! An entry is a line of options as conntrack(8) 1.4.7 writes and reads it. What those
//! cannot carry (labels, helper, TCP flags and window scales, ...) stands in a comment
//! directly before the line, which conntrack(8) skips and [`crate::ctctl::saved`] reads:
//! together they are the whole entry. docs/json.md describes the comment.

use super::emit;
use super::json_entry::{self, Object};
use super::report::Report;
use super::{Formatter, Origin, save_change, save_expectation};
use crate::ctctl::saved::{COMMENT, CONTINUED, NODE};
use crate::flow::{
    DccpInfo, DccpState, Expectation, Flow, L4, ProtoInfo, Protocol, SctpInfo, SctpState, Status,
    TcpFlags, TcpInfo, TcpState, Tuple, Zone, ZoneDirection,
};

/// `conntrack -R` reads lines into 10240 bytes and takes what is beyond for a line of its
/// own.
const LONGEST_LINE: usize = 8192;

/// The last state of SCTP and of DCCP that conntrack(8) 1.4.7 knows by name. It crashes on
/// the names of later ones.
const LAST_NAMED_STATE: u8 = 7;

/// What `conntrack -A --state` sends for TCP, so that restored connections pass the window
/// check: SACK_PERM and BE_LIBERAL.
pub(in crate::ctctl) const RESTORED_TCP_FLAGS: TcpFlags = TcpFlags {
    flags: 0x0a,
    mask: 0x0a,
};

/// The status words that conntrack(8) can set.
const STATUS_WORDS: [(Status, &[u8]); 3] = [
    (Status::SEEN_REPLY, b"SEEN_REPLY"),
    (Status::ASSURED, b"ASSURED"),
    (Status::FIXED_TIMEOUT, b"FIXED_TIMEOUT"),
];

/// The format `save`.
#[derive(Default)]
pub(super) struct Save {
    /// The node of the row before.
    node: String,
}

/// What a saved line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// It brings the entry back.
    Add,
    /// It changes the entry to what it is now.
    Update,
    /// It deletes the entry.
    Delete,
}

impl Save {
    /// A flow, without the end of its line.
    pub(super) fn flow_with(
        &mut self,
        out: &mut Vec<u8>,
        origin: Origin<'_>,
        flow: &Flow,
        verb: Verb,
    ) {
        self.node(out, origin);
        if verb != Verb::Add {
            save_change::write(out, verb, flow);
            return;
        }
        let line = Line::of(flow);
        comment(out, |object| line.rest(object, flow));
        line.write(out, flow);
    }

    fn node(&mut self, out: &mut Vec<u8>, origin: Origin<'_>) {
        if let Some(node) = origin.node
            && node != self.node
        {
            node.clone_into(&mut self.node);
            out.extend_from_slice(NODE.as_bytes());
            emit::text(out, node);
            out.push(b'\n');
        }
    }
}

impl Formatter for Save {
    fn flow(&mut self, out: &mut Vec<u8>, origin: Origin<'_>, flow: &Flow) {
        self.flow_with(out, origin, flow, Verb::Add);
        out.push(b'\n');
    }

    fn expectation(&mut self, out: &mut Vec<u8>, origin: Origin<'_>, expectation: &Expectation) {
        self.node(out, origin);
        save_expectation::write(out, expectation);
    }

    fn report(&mut self, out: &mut Vec<u8>, report: &Report) {
        report.draw(out, None);
    }
}

/// Writes the comment that carries what `write` puts into its object; none when that is
/// nothing.
pub(super) fn comment(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    let start = out.len();
    out.extend_from_slice(COMMENT.as_bytes());
    let mut object = Object::open(out);
    write(&mut object);
    let empty = object.is_empty();
    object.close();
    if empty {
        out.truncate(start);
        return;
    }
    if out.len() - start > LONGEST_LINE {
        wrap(out, start);
    }
    out.push(b'\n');
}

/// Breaks the text from `start` on into comments of which the later continue the first.
fn wrap(out: &mut Vec<u8>, start: usize) {
    let text = out.split_off(start);
    let mut rest = &text[..];
    while rest.len() > LONGEST_LINE {
        let mut end = LONGEST_LINE;
        // Not within a character.
        while rest[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        out.extend_from_slice(&rest[..end]);
        out.push(b'\n');
        out.extend_from_slice(CONTINUED.as_bytes());
        rest = &rest[end..];
    }
    out.extend_from_slice(rest);
}

/// What a line carries of a flow.
struct Line {
    orig: Tuple,
    reply: Tuple,
    /// The translations that it asks for.
    nat: Status,
    protoinfo: Option<ProtoInfo>,
}

impl Line {
    fn of(flow: &Flow) -> Self {
        let orig = fitting(&flow.orig);
        let nat = flow.status.map_or(0, |s| s.0) & (Status::SRC_NAT | Status::DST_NAT).0;
        let nat = Status(nat);
        let mut reply = orig.inverse();
        let same_family = flow.reply.src.is_ipv4() == orig.src.is_ipv4()
            && flow.reply.dst.is_ipv4() == orig.src.is_ipv4();
        if same_family && nat.0 != 0 {
            if nat.contains(Status::SRC_NAT) {
                reply.dst = flow.reply.dst;
            }
            if nat.contains(Status::DST_NAT) {
                reply.src = flow.reply.src;
            }
            if let (L4::Ports { src, dst }, L4::Ports { src: s, dst: d }) =
                (&mut reply.l4, flow.reply.l4)
            {
                *dst = if nat.contains(Status::SRC_NAT) {
                    d
                } else {
                    *dst
                };
                *src = if nat.contains(Status::DST_NAT) {
                    s
                } else {
                    *src
                };
            }
        } else if same_family {
            reply.src = flow.reply.src;
            reply.dst = flow.reply.dst;
            if matches!(
                (reply.l4, flow.reply.l4),
                (L4::Ports { .. }, L4::Ports { .. }) | (L4::Gre { .. }, L4::Gre { .. })
            ) {
                reply.l4 = flow.reply.l4;
            }
        }
        Self {
            orig,
            reply,
            nat,
            protoinfo: protoinfo(flow),
        }
    }

    /// The status that the reader concludes from the line.
    fn status(&self, flow: &Flow) -> Status {
        let words = STATUS_WORDS.iter().fold(0, |bits, (bit, _)| bits | bit.0);
        let mut status = Status(flow.status.map_or(0, |s| s.0) & words) | Status::CONFIRMED;
        if self.nat.0 != 0 {
            status = status | self.nat | Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
        }
        status
    }

    /// What the line does not carry.
    fn rest(&self, object: &mut Object<'_>, flow: &Flow) {
        let protocol = flow.orig.protocol;
        if self.orig != flow.orig {
            object.object("orig", |o| json_entry::tuple(o, &flow.orig, Some(protocol)));
        }
        if self.reply != flow.reply {
            object.object("reply", |o| {
                json_entry::tuple(o, &flow.reply, Some(protocol));
            });
        }
        if flow.zone.id == 0 {
            json_entry::zone_direction(object, flow.zone.direction);
        }
        match flow.status {
            None => object.null("status"),
            Some(status) if status != self.status(flow) => json_entry::status(object, status),
            Some(_) => {}
        }
        if flow.timeout.is_none() {
            object.null("timeout");
        }
        match &flow.protoinfo {
            info if *info == self.protoinfo => {}
            Some(info) => json_entry::protoinfo(object, info),
            // The line had to have one.
            None => object.null("protoinfo"),
        }
        json_entry::beyond_the_line(object, flow);
    }

    fn write(&self, out: &mut Vec<u8>, flow: &Flow) {
        out.extend_from_slice(b"-A -t ");
        emit::number(out, flow.timeout.unwrap_or(0));
        status_words(out, flow.status.unwrap_or_default());
        if let Some(mark) = flow.mark {
            out.extend_from_slice(b" -m ");
            emit::number(out, mark);
        }
        zone(out, flow.zone);
        out.extend_from_slice(b" -s ");
        emit::address(out, self.orig.src);
        out.extend_from_slice(b" -d ");
        emit::address(out, self.orig.dst);
        if self.nat.0 == 0 {
            out.extend_from_slice(b" -r ");
            emit::address(out, self.reply.src);
            out.extend_from_slice(b" -q ");
            emit::address(out, self.reply.dst);
        } else {
            self.translations(out);
        }
        protocol(out, self.orig.protocol);
        self.l4(out);
        self.state(out);
    }

    /// The kernel translates when it is told so by `-n` and `-g`; a reply that is
    /// translated already would leave it idle.
    fn translations(&self, out: &mut Vec<u8>) {
        let plain = self.orig.inverse();
        let (plain_ports, ports) = (plain.ports(), self.reply.ports());
        if self.nat.contains(Status::DST_NAT) {
            let port = ports
                .map(|p| p.0)
                .filter(|p| Some(*p) != plain_ports.map(|p| p.0));
            translation(out, b" -g ", self.reply.src, port);
        }
        if self.nat.contains(Status::SRC_NAT) {
            let port = ports
                .map(|p| p.1)
                .filter(|p| Some(*p) != plain_ports.map(|p| p.1));
            translation(out, b" -n ", self.reply.dst, port);
        }
    }

    fn l4(&self, out: &mut Vec<u8>) {
        match (self.orig.l4, self.reply.l4) {
            (L4::Ports { src, dst }, reply) => {
                option(out, b" --sport ", src);
                option(out, b" --dport ", dst);
                if let (L4::Ports { src, dst }, 0) = (reply, self.nat.0) {
                    option(out, b" --reply-port-src ", src);
                    option(out, b" --reply-port-dst ", dst);
                }
            }
            (L4::Gre { src, dst }, reply) => {
                option(out, b" --srckey ", src);
                option(out, b" --dstkey ", dst);
                if let (L4::Gre { src, dst }, 0) = (reply, self.nat.0) {
                    option(out, b" --reply-key-src ", src);
                    option(out, b" --reply-key-dst ", dst);
                }
            }
            (L4::Icmp { kind, code, id }, _) => {
                let v6 = self.orig.protocol == Protocol::ICMPV6;
                let name: &[u8] = if v6 { b" --icmpv6-" } else { b" --icmp-" };
                for (field, n) in [
                    (&b"type "[..], kind.into()),
                    (b"code ", code.into()),
                    (b"id ", id),
                ] {
                    out.extend_from_slice(name);
                    option(out, field, n);
                }
            }
            (L4::None, _) => {}
        }
    }

    fn state(&self, out: &mut Vec<u8>) {
        match &self.protoinfo {
            Some(ProtoInfo::Tcp(tcp)) => state(out, tcp.state.and_then(TcpState::name)),
            Some(ProtoInfo::Sctp(sctp)) => {
                state(out, sctp.state.and_then(SctpState::name));
                option(out, b" --orig-vtag ", vtag(sctp.vtag_orig.unwrap_or(0)));
                option(out, b" --reply-vtag ", vtag(sctp.vtag_reply.unwrap_or(0)));
            }
            Some(ProtoInfo::Dccp(dccp)) => {
                state(out, dccp.state.and_then(DccpState::name));
                out.extend_from_slice(match dccp.role {
                    Some(1) => b" --role server",
                    _ => b" --role client",
                });
            }
            None => {}
        }
    }
}

/// The protocol information of a line. conntrack(8) refuses a whole file for a line
/// without it, so what is missing or has no name is made up.
fn protoinfo(flow: &Flow) -> Option<ProtoInfo> {
    match flow.orig.protocol {
        Protocol::TCP => {
            let state = match flow.protoinfo {
                Some(ProtoInfo::Tcp(tcp)) => tcp.state.filter(|s| s.name().is_some()),
                _ => None,
            };
            Some(ProtoInfo::Tcp(TcpInfo {
                state: Some(state.unwrap_or_default()),
                flags_orig: Some(RESTORED_TCP_FLAGS),
                flags_reply: Some(RESTORED_TCP_FLAGS),
                ..TcpInfo::default()
            }))
        }
        Protocol::SCTP => {
            let sctp = match flow.protoinfo {
                Some(ProtoInfo::Sctp(sctp)) => sctp,
                _ => SctpInfo::default(),
            };
            let state = sctp.state.filter(|s| s.0 <= LAST_NAMED_STATE);
            Some(ProtoInfo::Sctp(SctpInfo {
                state: Some(state.unwrap_or_default()),
                vtag_orig: Some(sctp.vtag_orig.unwrap_or(0)),
                vtag_reply: Some(sctp.vtag_reply.unwrap_or(0)),
            }))
        }
        Protocol::DCCP => {
            let dccp = match flow.protoinfo {
                Some(ProtoInfo::Dccp(dccp)) => dccp,
                _ => DccpInfo::default(),
            };
            let state = dccp.state.filter(|s| s.0 <= LAST_NAMED_STATE);
            Some(ProtoInfo::Dccp(DccpInfo {
                state: Some(state.unwrap_or_default()),
                role: Some(dccp.role.filter(|r| *r <= 1).unwrap_or(0)),
                handshake_seq: None,
            }))
        }
        _ => None,
    }
}

/// The tuple with the kind of layer 4 part that its protocol has.
pub(super) fn fitting(tuple: &Tuple) -> Tuple {
    if tuple.l4_fits_protocol() {
        return *tuple;
    }
    let l4 = if tuple.protocol.has_ports() {
        L4::Ports { src: 0, dst: 0 }
    } else if tuple.protocol.is_icmp() {
        L4::Icmp {
            kind: 0,
            code: 0,
            id: 0,
        }
    } else {
        L4::None
    };
    Tuple { l4, ..*tuple }
}

/// The zone, unless it is the default one.
pub(super) fn zone(out: &mut Vec<u8>, zone: Zone) {
    if zone.id != 0 {
        let name: &[u8] = match zone.direction {
            ZoneDirection::Both => b" -w ",
            ZoneDirection::Orig => b" --orig-zone ",
            ZoneDirection::Reply => b" --reply-zone ",
        };
        option(out, name, zone.id);
    }
}

pub(super) fn status_words(out: &mut Vec<u8>, status: Status) {
    out.extend_from_slice(b" -u ");
    let start = out.len();
    for (bit, word) in STATUS_WORDS {
        if status.contains(bit) {
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(word);
        }
    }
    if out.len() == start {
        out.extend_from_slice(b"UNSET");
    }
}

fn translation(out: &mut Vec<u8>, name: &[u8], address: std::net::IpAddr, port: Option<u16>) {
    out.extend_from_slice(name);
    match port {
        None => emit::address(out, address),
        Some(port) => {
            let brackets = address.is_ipv6();
            if brackets {
                out.push(b'[');
            }
            emit::address(out, address);
            if brackets {
                out.push(b']');
            }
            out.push(b':');
            emit::number(out, port);
        }
    }
}

pub(super) fn protocol(out: &mut Vec<u8>, protocol: Protocol) {
    out.extend_from_slice(b" -p ");
    match protocol.name() {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => emit::number(out, protocol.0),
    }
}

/// A verification tag as conntrack(8) writes and reads it: the four bytes of the wire, taken
/// for a number in the byte order of the machine.
pub(super) fn vtag(tag: u32) -> u32 {
    tag.to_be()
}

pub(super) fn option(out: &mut Vec<u8>, name: &[u8], n: impl itoa::Integer) {
    out.extend_from_slice(name);
    emit::number(out, n);
}

pub(super) fn state(out: &mut Vec<u8>, name: Option<&str>) {
    out.extend_from_slice(b" --state ");
    out.extend_from_slice(name.unwrap_or("NONE").as_bytes());
}
