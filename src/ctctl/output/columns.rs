//! The columns of the tables: what each is called and how its cells are written.

use std::time::{SystemTime, UNIX_EPOCH};

use super::emit;
use super::{EventOrigin, Origin};
use crate::flow::{
    Counters, EXPECT_FLAG_NAMES, EventType, Expectation, Flow, L4, ProtoInfo, Protocol, SeqAdj,
    Status, TcpFlags, TcpInfo, Tuple, ZoneDirection,
};

/// A column. A cell that has nothing to say writes nothing.
pub(super) struct Column<R: 'static> {
    /// Its header.
    pub(super) name: &'static str,
    /// Its importance where the terminal is narrow: the lowest first; 0 is always shown.
    pub(super) rank: u8,
    /// Numbers stand to the right.
    pub(super) right: bool,
    /// Left out when no row of the sample has anything in it.
    pub(super) may_be_empty: bool,
    /// The width that its cells usually have.
    pub(super) usual: usize,
    /// Writes a cell.
    pub(super) write: fn(&mut Vec<u8>, Origin<'_>, &R),
}

const fn left<R>(
    name: &'static str,
    rank: u8,
    usual: usize,
    write: fn(&mut Vec<u8>, Origin<'_>, &R),
) -> Column<R> {
    Column {
        name,
        rank,
        right: false,
        may_be_empty: false,
        usual,
        write,
    }
}

const fn right<R>(
    name: &'static str,
    rank: u8,
    usual: usize,
    write: fn(&mut Vec<u8>, Origin<'_>, &R),
) -> Column<R> {
    Column {
        right: true,
        ..left(name, rank, usual, write)
    }
}

const fn rare<R: 'static>(column: Column<R>) -> Column<R> {
    Column {
        may_be_empty: true,
        ..column
    }
}

/// Flows in the format `table`.
pub(super) const FLOW: &[Column<Flow>] = &[
    left("NODE", 0, 4, |o, origin, _| node(o, origin)),
    left("EVENT", 0, 8, |o, origin, _| event(o, origin)),
    left("PROTO", 0, 5, |o, _, f| protocol_and_type(o, &f.orig)),
    left("SOURCE", 0, 21, |o, _, f| source(o, &f.orig)),
    left("DESTINATION", 0, 21, |o, _, f| {
        short_destination(o, &f.orig)
    }),
    rare(left("NAT", 2, 0, |o, _, f| translation(o, f))),
    left("STATE", 1, 11, |o, _, f| state(o, f)),
    left("STATUS", 3, 9, |o, _, f| short_status(o, f)),
    right("TIMEOUT", 4, 7, |o, _, f| optional(o, f.timeout)),
    rare(right("PACKETS", 7, 0, |o, _, f| {
        optional(o, total(f, |c| c.packets))
    })),
    rare(right("BYTES", 6, 0, |o, _, f| {
        optional(o, total(f, |c| c.bytes))
    })),
    rare(right("AGE", 8, 0, |o, _, f| age(o, f))),
    rare(left("MARK", 5, 0, |o, _, f| {
        mark(o, f.mark.filter(|m| *m != 0))
    })),
    rare(left("ZONE", 3, 0, |o, _, f| {
        if f.zone.id != 0 {
            zone(o, f);
        }
    })),
    rare(left("HELPER", 5, 0, |o, _, f| helper(o, f))),
    rare(left("LABELS", 9, 0, |o, _, f| labels(o, f))),
];

/// Flows in the format `wide`: everything that a flow carries.
pub(super) const FLOW_WIDE: &[Column<Flow>] = &[
    left("NODE", 0, 4, |o, origin, _| node(o, origin)),
    left("EVENT", 0, 8, |o, origin, _| event(o, origin)),
    right("SEQUENCE", 0, 10, |o, origin, _| sequence(o, origin)),
    right("PORTID", 0, 10, |o, origin, _| port_id(o, origin)),
    right("ID", 0, 10, |o, _, f| optional(o, f.id)),
    left("PROTO", 0, 5, |o, _, f| protocol(o, f.orig.protocol)),
    left("SOURCE", 0, 21, |o, _, f| source(o, &f.orig)),
    left("DESTINATION", 0, 21, |o, _, f| destination(o, &f.orig)),
    left("REPLY-SOURCE", 0, 21, |o, _, f| source(o, &f.reply)),
    left("REPLY-DESTINATION", 0, 21, |o, _, f| {
        destination(o, &f.reply)
    }),
    left("STATE", 0, 11, |o, _, f| state(o, f)),
    left("STATUS", 0, 30, |o, _, f| status(o, f)),
    right("TIMEOUT", 0, 7, |o, _, f| optional(o, f.timeout)),
    right("PACKETS", 0, 7, |o, _, f| {
        optional(o, f.counters_orig.map(|c| c.packets))
    }),
    right("BYTES", 0, 9, |o, _, f| {
        optional(o, f.counters_orig.map(|c| c.bytes))
    }),
    right("REPLY-PACKETS", 0, 7, |o, _, f| {
        optional(o, f.counters_reply.map(|c| c.packets))
    }),
    right("REPLY-BYTES", 0, 9, |o, _, f| {
        optional(o, f.counters_reply.map(|c| c.bytes))
    }),
    left("MARK", 0, 4, |o, _, f| mark(o, f.mark)),
    left("ZONE", 0, 4, |o, _, f| zone(o, f)),
    left("LABELS", 0, 6, |o, _, f| labels(o, f)),
    left("HELPER", 0, 6, |o, _, f| helper(o, f)),
    left("HELPER-INFO", 0, 0, |o, _, f| helper_info(o, f)),
    left("SECCTX", 0, 6, |o, _, f| {
        emit::text(o, f.secctx.as_deref().unwrap_or(""))
    }),
    left("START", 0, 30, |o, _, f| time(o, f.timestamps.start)),
    left("STOP", 0, 30, |o, _, f| time(o, f.timestamps.stop)),
    left("EVENT-TIME", 0, 30, |o, _, f| time(o, f.timestamps.event)),
    left("WSCALE", 0, 6, |o, _, f| window_scales(o, f)),
    left("TCP-FLAGS", 0, 0, |o, _, f| {
        tcp_flags(o, tcp(f).and_then(|t| t.flags_orig))
    }),
    left("REPLY-TCP-FLAGS", 0, 0, |o, _, f| {
        tcp_flags(o, tcp(f).and_then(|t| t.flags_reply))
    }),
    left("VTAGS", 0, 0, |o, _, f| vtags(o, f)),
    left("DCCP", 0, 0, |o, _, f| dccp(o, f)),
    left("SEQADJ", 0, 0, |o, _, f| seqadj(o, f.seqadj_orig)),
    left("REPLY-SEQADJ", 0, 0, |o, _, f| seqadj(o, f.seqadj_reply)),
    left("SYNPROXY", 0, 0, |o, _, f| synproxy(o, f)),
    left("MASTER", 0, 0, |o, _, f| {
        if let Some(master) = &f.master {
            tuple(o, master);
        }
    }),
    right("USE", 0, 3, |o, _, f| optional(o, f.use_count)),
];

/// Expectations in the format `table`.
pub(super) const EXPECTATION: &[Column<Expectation>] = &[
    left("NODE", 0, 4, |o, origin, _| node(o, origin)),
    left("EVENT", 0, 8, |o, origin, _| event(o, origin)),
    left("PROTO", 0, 5, |o, _, e| protocol(o, e.tuple.protocol)),
    left("SOURCE", 0, 21, |o, _, e| source(o, &e.tuple)),
    left("SOURCE-MASK", 3, 21, |o, _, e| source(o, &e.mask)),
    left("DESTINATION", 0, 21, |o, _, e| destination(o, &e.tuple)),
    left("MASTER", 1, 46, |o, _, e| tuple(o, &e.master)),
    rare(left("HELPER", 1, 6, |o, _, e| expectation_helper(o, e))),
    right("TIMEOUT", 2, 7, |o, _, e| optional(o, e.timeout)),
    rare(left("FLAGS", 4, 9, |o, _, e| expectation_flags(o, e))),
];

/// Expectations in the format `wide`: everything that an expectation carries.
pub(super) const EXPECTATION_WIDE: &[Column<Expectation>] = &[
    left("NODE", 0, 4, |o, origin, _| node(o, origin)),
    left("EVENT", 0, 8, |o, origin, _| event(o, origin)),
    right("SEQUENCE", 0, 10, |o, origin, _| sequence(o, origin)),
    right("PORTID", 0, 10, |o, origin, _| port_id(o, origin)),
    right("ID", 0, 10, |o, _, e| optional(o, e.id)),
    left("PROTO", 0, 5, |o, _, e| protocol(o, e.tuple.protocol)),
    left("SOURCE", 0, 21, |o, _, e| source(o, &e.tuple)),
    left("DESTINATION", 0, 21, |o, _, e| destination(o, &e.tuple)),
    left("SOURCE-MASK", 0, 21, |o, _, e| source(o, &e.mask)),
    left("DESTINATION-MASK", 0, 21, |o, _, e| destination(o, &e.mask)),
    left("MASTER", 0, 46, |o, _, e| tuple(o, &e.master)),
    right("ZONE", 0, 4, |o, _, e| emit::number(o, e.zone)),
    right("TIMEOUT", 0, 7, |o, _, e| optional(o, e.timeout)),
    left("FLAGS", 0, 9, |o, _, e| expectation_flags(o, e)),
    right("CLASS", 0, 5, |o, _, e| optional(o, e.class)),
    left("HELPER", 0, 6, |o, _, e| expectation_helper(o, e)),
    left("FUNCTION", 0, 8, |o, _, e| {
        emit::text(o, e.function.as_deref().unwrap_or(""))
    }),
    left("NAT", 0, 0, |o, _, e| {
        if let Some(nat) = &e.nat {
            tuple(o, &nat.tuple);
        }
    }),
];

fn node(out: &mut Vec<u8>, origin: Origin<'_>) {
    emit::text(out, origin.node.unwrap_or(""));
}

fn event(out: &mut Vec<u8>, origin: Origin<'_>) {
    out.extend_from_slice(match origin.event {
        None => b"",
        Some(EventOrigin::Snapshot) => b"SNAPSHOT",
        Some(EventOrigin::Event { kind, .. }) => match kind {
            EventType::New => b"NEW",
            EventType::Update => b"UPDATE",
            EventType::Destroy => b"DESTROY",
        },
    });
}

fn sequence(out: &mut Vec<u8>, origin: Origin<'_>) {
    if let Some(EventOrigin::Event { sequence, .. }) = origin.event {
        emit::number(out, sequence);
    }
}

fn port_id(out: &mut Vec<u8>, origin: Origin<'_>) {
    if let Some(EventOrigin::Event { port_id, .. }) = origin.event
        && port_id != 0
    {
        emit::number(out, port_id);
    }
}

fn optional(out: &mut Vec<u8>, n: Option<impl itoa::Integer>) {
    if let Some(n) = n {
        emit::number(out, n);
    }
}

fn protocol(out: &mut Vec<u8>, protocol: Protocol) {
    match protocol.name() {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => emit::number(out, protocol.0),
    }
}

fn source(out: &mut Vec<u8>, tuple: &Tuple) {
    match tuple.l4 {
        L4::None | L4::Icmp { .. } => emit::address(out, tuple.src),
        L4::Ports { src, .. } => {
            host(out, tuple.src);
            emit::number(out, src);
        }
        L4::Gre { src, .. } => {
            host(out, tuple.src);
            out.extend_from_slice(b"0x");
            emit::hex(out, src.into());
        }
    }
}

fn destination(out: &mut Vec<u8>, tuple: &Tuple) {
    match tuple.l4 {
        L4::None => emit::address(out, tuple.dst),
        L4::Ports { dst, .. } => {
            host(out, tuple.dst);
            emit::number(out, dst);
        }
        L4::Gre { dst, .. } => {
            host(out, tuple.dst);
            out.extend_from_slice(b"0x");
            emit::hex(out, dst.into());
        }
        L4::Icmp { kind, code, id } => {
            emit::address(out, tuple.dst);
            out.extend_from_slice(b" type ");
            emit::number(out, kind);
            out.extend_from_slice(b" code ");
            emit::number(out, code);
            out.extend_from_slice(b" id ");
            emit::number(out, id);
        }
    }
}

/// An ICMP message's type and code beside the protocol: "icmp 8/0".
fn protocol_and_type(out: &mut Vec<u8>, tuple: &Tuple) {
    protocol(out, tuple.protocol);
    if let L4::Icmp { kind, code, .. } = tuple.l4 {
        out.push(b' ');
        emit::number(out, kind);
        out.push(b'/');
        emit::number(out, code);
    }
}

/// Of an ICMP message only the id.
fn short_destination(out: &mut Vec<u8>, tuple: &Tuple) {
    match tuple.l4 {
        L4::Icmp { id, .. } => {
            emit::address(out, tuple.dst);
            out.extend_from_slice(b" id ");
            emit::number(out, id);
        }
        _ => destination(out, tuple),
    }
}

/// The address before a port.
fn host(out: &mut Vec<u8>, address: std::net::IpAddr) {
    if address.is_ipv6() {
        out.push(b'[');
        emit::address(out, address);
        out.extend_from_slice(b"]:");
    } else {
        emit::address(out, address);
        out.push(b':');
    }
}

fn tuple(out: &mut Vec<u8>, tuple: &Tuple) {
    protocol(out, tuple.protocol);
    out.push(b' ');
    source(out, tuple);
    out.extend_from_slice(b" > ");
    destination(out, tuple);
}

/// What the other side sees in place of source and destination.
fn translation(out: &mut Vec<u8>, flow: &Flow) {
    // As the original direction would look behind the translation.
    let (inner, outer) = (&flow.orig, flow.reply.inverse());
    let start = out.len();
    let (inner_ports, outer_ports) = (inner.ports(), outer.ports());
    if inner.src != outer.src || inner_ports.map(|p| p.0) != outer_ports.map(|p| p.0) {
        out.extend_from_slice(b"src ");
        source(out, &outer);
    }
    if inner.dst != outer.dst || inner_ports.map(|p| p.1) != outer_ports.map(|p| p.1) {
        if out.len() > start {
            out.push(b' ');
        }
        out.extend_from_slice(b"dst ");
        match outer.l4 {
            L4::Icmp { .. } => emit::address(out, outer.dst),
            _ => destination(out, &outer),
        }
    }
}

fn tcp(flow: &Flow) -> Option<&TcpInfo> {
    match &flow.protoinfo {
        Some(ProtoInfo::Tcp(tcp)) => Some(tcp),
        _ => None,
    }
}

fn state(out: &mut Vec<u8>, flow: &Flow) {
    let (name, number) = match &flow.protoinfo {
        Some(ProtoInfo::Tcp(tcp)) => (tcp.state.and_then(|s| s.name()), tcp.state.map(|s| s.0)),
        Some(ProtoInfo::Sctp(s)) => (s.state.and_then(|s| s.name()), s.state.map(|s| s.0)),
        Some(ProtoInfo::Dccp(d)) => (d.state.and_then(|s| s.name()), d.state.map(|s| s.0)),
        None => (None, None),
    };
    match name {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => optional(out, number),
    }
}

/// How far the flow has come: a word of conntrack(8), or REPLIED where that has none.
fn short_status(out: &mut Vec<u8>, flow: &Flow) {
    let Some(status) = flow.status else { return };
    let words = [
        (Status::HW_OFFLOAD, "HW_OFFLOAD"),
        (Status::OFFLOAD, "OFFLOAD"),
        (Status::ASSURED, "ASSURED"),
        (Status::SEEN_REPLY, "REPLIED"),
    ];
    let word = words.into_iter().find(|(bit, _)| status.contains(*bit));
    let word = word.map_or("UNREPLIED", |(_, word)| word);
    out.extend_from_slice(word.as_bytes());
}

fn status(out: &mut Vec<u8>, flow: &Flow) {
    let Some(status) = flow.status else { return };
    list(out, status.names());
    let known = Status::NAMES.iter().fold(0, |bits, (bit, _)| bits | bit.0);
    if status.0 & !known != 0 {
        out.extend_from_slice(b"+0x");
        emit::hex(out, (status.0 & !known).into());
    }
}

fn list<'w>(out: &mut Vec<u8>, words: impl Iterator<Item = &'w str>) {
    for (i, word) in words.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(word.as_bytes());
    }
}

fn total(flow: &Flow, of: fn(Counters) -> u64) -> Option<u64> {
    match (flow.counters_orig, flow.counters_reply) {
        (None, None) => None,
        (orig, reply) => Some(orig.map_or(0, of).saturating_add(reply.map_or(0, of))),
    }
}

/// How long the flow has lived, or lived, in its two largest units.
fn age(out: &mut Vec<u8>, flow: &Flow) {
    let Some(start) = flow.timestamps.start else {
        return;
    };
    let end = flow.timestamps.stop.unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
    });
    let seconds = end.saturating_sub(start) / 1_000_000_000;
    let (first, unit, second, rest) = match seconds {
        0..60 => (seconds, b's', 0, b's'),
        60..3_600 => (seconds / 60, b'm', seconds % 60, b's'),
        3_600..86_400 => (seconds / 3_600, b'h', seconds / 60 % 60, b'm'),
        _ => (seconds / 86_400, b'd', seconds / 3_600 % 24, b'h'),
    };
    emit::number(out, first);
    out.push(unit);
    if second != 0 {
        emit::number(out, second);
        out.push(rest);
    }
}

fn mark(out: &mut Vec<u8>, mark: Option<u32>) {
    if let Some(mark) = mark {
        out.extend_from_slice(b"0x");
        emit::hex(out, mark.into());
    }
}

fn zone(out: &mut Vec<u8>, flow: &Flow) {
    emit::number(out, flow.zone.id);
    out.extend_from_slice(match flow.zone.direction {
        ZoneDirection::Both => b"",
        ZoneDirection::Orig => b" orig",
        ZoneDirection::Reply => b" reply",
    });
}

fn labels(out: &mut Vec<u8>, flow: &Flow) {
    for (i, label) in flow.labels.into_iter().flat_map(|l| l.iter()).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        emit::number(out, label);
    }
}

fn helper(out: &mut Vec<u8>, flow: &Flow) {
    if let Some(helper) = &flow.helper {
        emit::text(out, helper.name.as_str());
    }
}

fn helper_info(out: &mut Vec<u8>, flow: &Flow) {
    if let Some(info) = flow.helper.as_ref().and_then(|h| h.info.as_ref()) {
        emit::hex_bytes(out, info);
    }
}

fn time(out: &mut Vec<u8>, ns: Option<u64>) {
    if let Some(ns) = ns {
        emit::time(out, ns);
    }
}

/// "orig/reply", with "?" for the one that is unknown.
fn both(out: &mut Vec<u8>, orig: Option<u32>, reply: Option<u32>) {
    if orig.is_none() && reply.is_none() {
        return;
    }
    for (separator, value) in [(&b""[..], orig), (b"/", reply)] {
        out.extend_from_slice(separator);
        match value {
            Some(n) => emit::number(out, n),
            None => out.push(b'?'),
        }
    }
}

fn window_scales(out: &mut Vec<u8>, flow: &Flow) {
    if let Some(tcp) = tcp(flow) {
        both(
            out,
            tcp.window_scale_orig.map(u32::from),
            tcp.window_scale_reply.map(u32::from),
        );
    }
}

fn tcp_flags(out: &mut Vec<u8>, flags: Option<TcpFlags>) {
    let flags = flags.map_or(0, |f| f.flags);
    let names = TcpFlags::NAMES.into_iter().enumerate();
    list(
        out,
        names
            .filter(|(bit, _)| flags >> bit & 1 == 1)
            .map(|(_, name)| name),
    );
}

fn vtags(out: &mut Vec<u8>, flow: &Flow) {
    if let Some(ProtoInfo::Sctp(sctp)) = &flow.protoinfo {
        both(out, sctp.vtag_orig, sctp.vtag_reply);
    }
}

fn dccp(out: &mut Vec<u8>, flow: &Flow) {
    let Some(ProtoInfo::Dccp(dccp)) = &flow.protoinfo else {
        return;
    };
    let start = out.len();
    match dccp.role {
        Some(0) => out.extend_from_slice(b"client"),
        Some(1) => out.extend_from_slice(b"server"),
        role => optional(out, role),
    }
    if let Some(sequence) = dccp.handshake_seq {
        if out.len() > start {
            out.push(b' ');
        }
        out.extend_from_slice(b"seq ");
        emit::number(out, sequence);
    }
}

/// "before/after@position".
fn seqadj(out: &mut Vec<u8>, seqadj: Option<SeqAdj>) {
    if let Some(seqadj) = seqadj {
        emit::number(out, seqadj.offset_before);
        out.push(b'/');
        emit::number(out, seqadj.offset_after);
        out.push(b'@');
        emit::number(out, seqadj.correction_pos);
    }
}

/// "isn/its/tsoff".
fn synproxy(out: &mut Vec<u8>, flow: &Flow) {
    if let Some(synproxy) = flow.synproxy {
        emit::number(out, synproxy.isn);
        out.push(b'/');
        emit::number(out, synproxy.its);
        out.push(b'/');
        emit::number(out, synproxy.tsoff);
    }
}

fn expectation_helper(out: &mut Vec<u8>, expectation: &Expectation) {
    if let Some(helper) = &expectation.helper {
        emit::text(out, helper.as_str());
    }
}

fn expectation_flags(out: &mut Vec<u8>, expectation: &Expectation) {
    let flags = expectation.flags.unwrap_or(0);
    list(
        out,
        EXPECT_FLAG_NAMES
            .into_iter()
            .filter(|(bit, _)| flags & bit != 0)
            .map(|(_, name)| name),
    );
}
