//! The lines of conntrack(8) 1.4.7 with libnetfilter_conntrack 1.0.9: `-L -o extended,id`,
//! `-E -o extended,id`, `-L expect` and `-E expect`, byte for byte.
//!
//! Deviations: with several nodes the node's name leads the line; the name of the process
//! behind an event is not known here (`progname=`); control characters in a helper's name or
//! in a security context are escaped; the states of DCCP bear their own names, where
//! conntrack(8) writes SCTP's by mistake.

use std::time::{SystemTime, UNIX_EPOCH};

use super::classic::Clock;
use super::emit;
use super::report::{Report, Value};
use super::{EventOrigin, Formatter, Origin};
use crate::ctctl::connlabel::LabelNames;
use crate::flow::{
    Counters, EXPECT_FLAG_NAMES, EventType, Expectation, Family, Flow, L4, Labels, ProtoInfo,
    Protocol, Status, Timestamps, Tuple, ZoneDirection,
};

/// The format `conntrack`.
pub(super) struct Conntrack;

impl Formatter for Conntrack {
    fn flow(&mut self, out: &mut Vec<u8>, origin: Origin<'_>, flow: &Flow) {
        node(out, origin);
        event(out, origin);
        flow_fields(out, flow, &Shown::EXTENDED_ID);
        close(out, origin);
    }

    fn expectation(&mut self, out: &mut Vec<u8>, origin: Origin<'_>, expectation: &Expectation) {
        node(out, origin);
        event(out, origin);
        expectation_fields(out, expectation);
        // libnetfilter_conntrack's expectations lose the port id.
        out.push(b'\n');
    }

    /// `name=value` in the manner of `conntrack -S`.
    fn report(&mut self, out: &mut Vec<u8>, report: &Report) {
        for row in report.rows() {
            for (name, value) in report.columns().zip(row) {
                if matches!(value, Value::None) {
                    continue;
                }
                let start = out.len();
                out.extend_from_slice(match name {
                    // conntrack(8) writes this one without the kernel's underscore.
                    "chain_toolong" => b"chaintoolong",
                    name => name.as_bytes(),
                });
                out.push(b'=');
                value.write(out);
                if name == "cpu" {
                    let width = out.len() - start;
                    out.extend(std::iter::repeat_n(b' ', 8usize.saturating_sub(width)));
                    out.push(b'\t');
                } else {
                    out.push(b' ');
                }
            }
            out.push(b'\n');
        }
    }
}

/// What conntrack(8) shows of a flow on request only.
pub(super) struct Shown<'a> {
    /// The family.
    pub(super) layer3: bool,
    /// The id.
    pub(super) id: bool,
    /// Start and stop as dates.
    pub(super) dates: Option<&'a Clock>,
    /// Labels, by these names.
    pub(super) labels: Option<&'a LabelNames>,
}

impl Shown<'_> {
    /// What `-o extended,id` asks for.
    const EXTENDED_ID: Self = Self {
        layer3: true,
        id: true,
        dates: None,
        labels: None,
    };
}

/// The node's name.
pub(super) fn node(out: &mut Vec<u8>, origin: Origin<'_>) {
    if let Some(node) = origin.node {
        emit::text(out, node);
        out.push(b' ');
    }
}

/// The kind of the event.
pub(super) fn event(out: &mut Vec<u8>, origin: Origin<'_>) {
    if let Some(EventOrigin::Event { kind, .. }) = origin.event {
        out.extend_from_slice(match kind {
            EventType::New => b"    [NEW] ",
            EventType::Update => b" [UPDATE] ",
            EventType::Destroy => b"[DESTROY] ",
        });
    }
}

/// The end of a flow's line: who asked for the change.
pub(super) fn close(out: &mut Vec<u8>, origin: Origin<'_>) {
    if let Some(EventOrigin::Event { port_id, .. }) = origin.event
        && port_id != 0
    {
        out.extend_from_slice(b" [USERSPACE] portid=");
        emit::number(out, port_id);
    }
    out.push(b'\n');
}

/// The fields of a flow, each with a space behind it but the last.
pub(super) fn flow_fields(out: &mut Vec<u8>, flow: &Flow, shown: &Shown<'_>) {
    if shown.layer3 {
        out.extend_from_slice(match flow.family() {
            Family::V4 => b"ipv4     2 ",
            Family::V6 => b"ipv6     10 ",
        });
    }
    protocol(out, flow.orig.protocol);
    if let Some(timeout) = flow.timeout {
        emit::number(out, timeout);
        out.push(b' ');
    }
    if let Some(state) = flow.protoinfo.as_ref().and_then(state) {
        out.extend_from_slice(state.as_bytes());
        out.push(b' ');
    }
    tuple(out, b"", &flow.orig);
    zone(out, flow, ZoneDirection::Orig, b"zone-orig=");
    counters(out, flow.counters_orig);
    if flow.status.is_some_and(|s| !s.contains(Status::SEEN_REPLY)) {
        out.extend_from_slice(b"[UNREPLIED] ");
    }
    tuple(out, b"", &flow.reply);
    zone(out, flow, ZoneDirection::Reply, b"zone-reply=");
    counters(out, flow.counters_reply);
    out.extend_from_slice(flow.status.map_or(b"", assured));
    pair(out, b"mark=", flow.mark);
    if let Some(context) = &flow.secctx {
        out.extend_from_slice(b"secctx=");
        emit::text(out, context);
        out.push(b' ');
    }
    zone(out, flow, ZoneDirection::Both, b"zone=");
    pair(out, b"delta-time=", lifetime(&flow.timestamps));
    if let Some(clock) = shown.dates {
        date(out, b"[start=", flow.timestamps.start, clock);
        date(out, b"[stop=", flow.timestamps.stop, clock);
    }
    if let Some(helper) = &flow.helper {
        out.extend_from_slice(b"helper=");
        emit::text(out, helper.name.as_str());
        out.push(b' ');
    }
    pair(out, b"use=", flow.use_count);
    if shown.id {
        pair(out, b"id=", flow.id);
    }
    if let (Some(names), Some(set)) = (shown.labels, flow.labels) {
        labels(out, set, names);
    }
    // Every field ends in a space.
    out.pop();
}

/// The labels that have a name.
fn labels(out: &mut Vec<u8>, set: Labels, names: &LabelNames) {
    out.extend_from_slice(b"labels=");
    for name in set.iter().filter_map(|number| names.name(number)) {
        out.extend_from_slice(name.as_bytes());
        out.push(b',');
    }
    // conntrack(8) cuts the last comma off; where no label has a name, the equals sign.
    out.pop();
    out.push(b' ');
}

fn date(out: &mut Vec<u8>, name: &[u8], ns: Option<u64>, clock: &Clock) {
    if let Some(ns) = ns {
        out.extend_from_slice(name);
        clock.date(out, ns);
        out.extend_from_slice(b"] ");
    }
}

/// The fields of an expectation, each with a space behind it but the last.
pub(super) fn expectation_fields(out: &mut Vec<u8>, expectation: &Expectation) {
    if let Some(timeout) = expectation.timeout {
        emit::number(out, timeout);
        out.push(b' ');
    }
    out.extend_from_slice(b"proto=");
    emit::number(out, expectation.tuple.protocol.0);
    out.push(b' ');
    tuple(out, b"", &expectation.tuple);
    tuple(out, b"mask-", &expectation.mask);
    tuple(out, b"master-", &expectation.master);
    // conntrack(8) shows the zone if the kernel sends one; no kernel does.
    if expectation.zone != 0 {
        pair(out, b"zone=", Some(expectation.zone));
    }
    let flags = expectation.flags.unwrap_or(0);
    let mut separator: &[u8] = b"";
    for (bit, name) in EXPECT_FLAG_NAMES {
        if flags & bit != 0 {
            out.extend_from_slice(separator);
            out.extend_from_slice(name.as_bytes());
            separator = b",";
        }
    }
    if flags != 0 {
        out.push(b' ');
    }
    pair(out, b"class=", expectation.class);
    if let Some(helper) = &expectation.helper {
        out.extend_from_slice(b"helper=");
        emit::text(out, helper.as_str());
        out.push(b' ');
    }
    out.pop();
}

/// `%-8s %u `.
fn protocol(out: &mut Vec<u8>, protocol: Protocol) {
    let name = protocol.name().unwrap_or("unknown");
    out.extend_from_slice(name.as_bytes());
    out.extend(std::iter::repeat_n(b' ', 9usize.saturating_sub(name.len())));
    emit::number(out, protocol.0);
    out.push(b' ');
}

/// The name of the state; "NONE" for one that this list does not know.
fn state(info: &ProtoInfo) -> Option<&'static str> {
    match info {
        ProtoInfo::Tcp(tcp) => tcp.state.map(|s| s.name().unwrap_or("NONE")),
        ProtoInfo::Sctp(sctp) => sctp.state.map(|s| s.name().unwrap_or("NONE")),
        ProtoInfo::Dccp(dccp) => dccp.state.map(|s| s.name().unwrap_or("NONE")),
    }
}

fn tuple(out: &mut Vec<u8>, prefix: &[u8], tuple: &Tuple) {
    out.extend_from_slice(prefix);
    out.extend_from_slice(b"src=");
    emit::address(out, tuple.src);
    out.push(b' ');
    out.extend_from_slice(prefix);
    out.extend_from_slice(b"dst=");
    emit::address(out, tuple.dst);
    out.push(b' ');
    match tuple.l4 {
        L4::None => {}
        L4::Ports { src, dst } => {
            pair(out, b"sport=", Some(src));
            pair(out, b"dport=", Some(dst));
        }
        L4::Icmp { kind, code, id } => {
            pair(out, b"type=", Some(kind));
            pair(out, b"code=", Some(code));
            pair(out, b"id=", Some(id));
        }
        L4::Gre { src, dst } => {
            out.extend_from_slice(b"srckey=0x");
            emit::hex(out, src.into());
            out.extend_from_slice(b" dstkey=0x");
            emit::hex(out, dst.into());
            out.push(b' ');
        }
    }
}

/// The zone, where it applies to this direction; the kernel does not send zone 0.
fn zone(out: &mut Vec<u8>, flow: &Flow, direction: ZoneDirection, name: &[u8]) {
    if flow.zone.id != 0 && flow.zone.direction == direction {
        pair(out, name, Some(flow.zone.id));
    }
}

fn counters(out: &mut Vec<u8>, counters: Option<Counters>) {
    pair(out, b"packets=", counters.map(|c| c.packets));
    pair(out, b"bytes=", counters.map(|c| c.bytes));
}

fn assured(status: Status) -> &'static [u8] {
    if status.contains(Status::HW_OFFLOAD) {
        b"[HW_OFFLOAD] "
    } else if status.contains(Status::OFFLOAD) {
        b"[OFFLOAD] "
    } else if status.contains(Status::ASSURED) {
        b"[ASSURED] "
    } else {
        b""
    }
}

/// Seconds from the start to the stop, or until now.
pub(super) fn lifetime(timestamps: &Timestamps) -> Option<u64> {
    const NS: u64 = 1_000_000_000;
    let start = timestamps.start? / NS;
    let stop = match timestamps.stop {
        Some(stop) if stop != 0 => stop / NS,
        _ => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs()),
    };
    // conntrack(8) prints the difference as unsigned, even when clocks were set back.
    Some(stop.wrapping_sub(start))
}

pub(super) fn pair<N: itoa::Integer>(out: &mut Vec<u8>, name: &[u8], value: Option<N>) {
    if let Some(value) = value {
        out.extend_from_slice(name);
        emit::number(out, value);
        out.push(b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Layout, formatter};
    use super::*;
    use crate::flow::{Helper, TcpInfo, TcpState, Zone};

    fn tuple(src: &str, dst: &str, protocol: Protocol, l4: L4) -> Tuple {
        Tuple {
            src: src.parse().expect("an address"),
            dst: dst.parse().expect("an address"),
            protocol,
            l4,
        }
    }

    fn line(origin: Origin<'_>, flow: &Flow) -> String {
        let mut out = Vec::new();
        formatter(Format::Conntrack, Layout::default()).flow(&mut out, origin, flow);
        String::from_utf8(out).expect("UTF-8")
    }

    fn tcp_flow() -> Flow {
        let orig = tuple(
            "10.0.0.1",
            "10.0.0.2",
            Protocol::TCP,
            L4::Ports { src: 1, dst: 2 },
        );
        Flow {
            timeout: Some(999),
            status: Some(Status::ASSURED | Status::SEEN_REPLY),
            mark: Some(7),
            zone: Zone::both(3),
            use_count: Some(1),
            id: Some(4_000_619_100),
            protoinfo: Some(ProtoInfo::Tcp(TcpInfo {
                state: Some(TcpState(3)),
                ..TcpInfo::default()
            })),
            ..Flow::new(orig, orig.inverse())
        }
    }

    // Every expected line was printed by conntrack(8) 1.4.7.

    #[test]
    fn tcp_in_a_zone() {
        assert_eq!(
            line(Origin::default(), &tcp_flow()),
            "ipv4     2 tcp      6 999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 \
             src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 [ASSURED] mark=7 zone=3 use=1 id=4000619100\n"
        );
    }

    #[test]
    fn icmpv6_without_a_reply() {
        let orig = tuple(
            "fe80::1",
            "::ffff:1.2.3.4",
            Protocol::ICMPV6,
            L4::Icmp {
                kind: 128,
                code: 0,
                id: 77,
            },
        );
        let flow = Flow {
            timeout: Some(999),
            status: Some(Status::CONFIRMED),
            mark: Some(0),
            use_count: Some(1),
            id: Some(2_711_337_555),
            ..Flow::new(orig, orig.inverse())
        };
        assert_eq!(
            line(Origin::default(), &flow),
            "ipv6     10 icmpv6   58 999 src=fe80::1 dst=::ffff:1.2.3.4 type=128 code=0 id=77 \
             [UNREPLIED] src=::ffff:1.2.3.4 dst=fe80::1 type=129 code=0 id=77 mark=0 use=1 id=2711337555\n"
        );
    }

    #[test]
    fn gre_and_a_protocol_without_a_name() {
        let keys = L4::Gre { src: 0x11, dst: 22 };
        let orig = tuple("10.0.0.1", "10.0.0.2", Protocol::GRE, keys);
        assert_eq!(
            line(Origin::default(), &Flow::new(orig, orig.inverse())),
            "ipv4     2 gre      47 src=10.0.0.1 dst=10.0.0.2 srckey=0x11 dstkey=0x16 \
             src=10.0.0.2 dst=10.0.0.1 srckey=0x16 dstkey=0x11\n"
        );
        let orig = tuple("10.0.0.1", "10.0.0.2", Protocol(89), L4::None);
        assert_eq!(
            line(Origin::default(), &Flow::new(orig, orig.inverse())),
            "ipv4     2 unknown  89 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1\n"
        );
    }

    #[test]
    fn one_directional_zones() {
        let orig = tuple(
            "10.0.0.1",
            "10.0.0.2",
            Protocol::UDP,
            L4::Ports { src: 1, dst: 3 },
        );
        let mut flow = Flow::new(orig, orig.inverse());
        flow.zone = Zone {
            id: 3,
            direction: ZoneDirection::Reply,
        };
        assert_eq!(
            line(Origin::default(), &flow),
            "ipv4     2 udp      17 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=3 \
             src=10.0.0.2 dst=10.0.0.1 sport=3 dport=1 zone-reply=3\n"
        );
    }

    #[test]
    fn an_event_names_its_cause_and_its_node() {
        let mut flow = tcp_flow();
        flow.zone = Zone::default();
        flow.mark = None;
        flow.use_count = None;
        flow.counters_orig = Some(Counters::default());
        flow.counters_reply = Some(Counters::default());
        flow.timestamps.start = Some(5_900_000_000);
        flow.timestamps.stop = Some(7_100_000_000);
        let origin = Origin {
            node: Some("fw1"),
            event: Some(EventOrigin::Event {
                kind: EventType::Destroy,
                sequence: 9,
                port_id: 2_756_740_100,
            }),
        };
        assert_eq!(
            line(origin, &flow),
            "fw1 [DESTROY] ipv4     2 tcp      6 999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 \
             sport=1 dport=2 packets=0 bytes=0 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 \
             packets=0 bytes=0 [ASSURED] delta-time=2 id=4000619100 [USERSPACE] portid=2756740100\n"
        );
    }

    #[test]
    fn an_offloaded_flow_says_so_in_the_place_of_assured() {
        // __snprintf_status_assured of libnetfilter_conntrack 1.0.9.
        let mut flow = tcp_flow();
        for (bits, word) in [
            (Status::OFFLOAD | Status::ASSURED, "dport=1 [OFFLOAD] mark"),
            (
                Status::OFFLOAD | Status::HW_OFFLOAD,
                "dport=1 [HW_OFFLOAD] mark",
            ),
            (Status::EXPECTED, "dport=1 mark"),
        ] {
            flow.status = Some(bits | Status::SEEN_REPLY);
            let line = line(Origin::default(), &flow);
            assert!(line.contains(word), "{line}");
        }
    }

    #[test]
    fn a_hostile_helper_cannot_add_a_line() {
        let mut flow = tcp_flow();
        flow.helper = Some(Helper {
            name: "x\nipv4".parse().expect("a name"),
            info: None,
        });
        assert!(line(Origin::default(), &flow).contains(" helper=x\\u{a}ipv4 "));
    }

    #[test]
    fn statistics_are_those_of_conntrack_s() {
        let mut report = Report::new(["cpu", "found", "chain_toolong", "ignore"]);
        report.push([0u32.into(), 5u32.into(), 6u32.into(), Value::None]);
        let mut out = Vec::new();
        Conntrack.report(&mut out, &report);
        assert_eq!(out, b"cpu=0   \tfound=5 chaintoolong=6 \n");
    }
}
