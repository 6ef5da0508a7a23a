//! What ctctl prints is what conntrack(8) prints, byte for byte; what it saves comes back
//! into a kernel whole, and as far as conntrack(8) can, also by conntrack -R.

mod lines;
mod restore;

use std::net::{IpAddr, SocketAddr};

use ctfleet::ctctl::output::{Format, Formatter, Layout, Origin, formatter};
use ctfleet::ctnetlink::{Batch, CreateMode};
use ctfleet::flow::{
    Expectation, Family, Flow, Helper, L4, Labels, ProtoInfo, Protocol, SctpInfo, SctpState,
    SeqAdj, Status, TcpFlags, TcpInfo, TcpState, Tuple, Zone, ZoneDirection,
};

use crate::harness::traffic::{Tcp, ping, udp};
use crate::harness::{Firewall, Netns};

/// What a formatter makes of it.
fn printed(format: Format, print: impl FnOnce(&mut dyn Formatter, &mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    let mut formatter = formatter(format, Layout::default());
    print(&mut *formatter, &mut out);
    formatter.end(&mut out);
    String::from_utf8(out).expect("UTF-8")
}

fn printed_flows(format: Format, flows: &[Flow]) -> String {
    printed(format, |formatter, out| {
        for flow in flows {
            formatter.flow(out, Origin::default(), flow);
        }
    })
}

fn tuple(family: Family, protocol: Protocol, l4: L4) -> Tuple {
    let (src, dst) = match family {
        Family::V4 => ("10.0.0.1", "192.0.2.80"),
        Family::V6 => ("2001:db8::1", "::5:0:0"),
    };
    Tuple {
        src: address(src),
        dst: address(dst),
        protocol,
        l4,
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A flow that answered, of a tuple that nothing translates.
fn flow(orig: Tuple) -> Flow {
    Flow {
        timeout: Some(5000),
        status: Some(Status::SEEN_REPLY),
        mark: Some(0),
        ..Flow::new(orig, orig.inverse())
    }
}

fn ports(src: u16, dst: u16) -> L4 {
    L4::Ports { src, dst }
}

fn tcp(state: u8) -> Option<ProtoInfo> {
    let flags = TcpFlags {
        flags: 0x23,
        mask: 0,
    };
    Some(ProtoInfo::Tcp(TcpInfo {
        state: Some(TcpState(state)),
        window_scale_orig: Some(7),
        window_scale_reply: Some(9),
        flags_orig: Some(flags),
        flags_reply: Some(TcpFlags {
            flags: 0x07,
            ..flags
        }),
    }))
}

/// Entries of every protocol, in both families, with everything that the kernel lets a
/// program write.
fn entries() -> Vec<Flow> {
    let mut flows = Vec::new();
    for family in [Family::V4, Family::V6] {
        flows.extend(plain(family));
        flows.extend(translated(family));
    }
    flows.extend(decorated());
    flows
}

/// One of each protocol.
fn plain(family: Family) -> Vec<Flow> {
    let (icmp, kind) = match family {
        Family::V4 => (Protocol::ICMP, 8),
        Family::V6 => (Protocol::ICMPV6, 128),
    };
    let echo = L4::Icmp {
        kind,
        code: 0,
        id: 4242,
    };
    let mut flows: Vec<_> = [
        (Protocol::UDP, ports(53, 5353)),
        (Protocol::UDPLITE, ports(0, 65535)),
        (Protocol::GRE, L4::Gre { src: 0xabc, dst: 0 }),
        (icmp, echo),
        (Protocol(89), L4::None),
    ]
    .into_iter()
    .map(|(protocol, l4)| flow(tuple(family, protocol, l4)))
    .collect();
    for state in 1..=9 {
        let mut one = flow(tuple(
            family,
            Protocol::TCP,
            ports(1000 + u16::from(state), 80),
        ));
        one.protoinfo = tcp(state);
        flows.push(one);
    }
    // The ninth of SCTP is gone from newer kernels.
    for state in 1..=8 {
        let mut one = flow(tuple(family, Protocol::SCTP, ports(state.into(), 3868)));
        one.protoinfo = Some(ProtoInfo::Sctp(SctpInfo {
            state: Some(SctpState(state)),
            vtag_orig: Some(u32::MAX - u32::from(state)),
            vtag_reply: Some(state.into()),
        }));
        flows.push(one);
    }
    flows
}

/// Source, destination, both; with and without another port.
fn translated(family: Family) -> Vec<Flow> {
    let (outside, inside) = match family {
        Family::V4 => ("203.0.113.7", "10.1.0.80"),
        Family::V6 => ("2001:db8:ffff::7", "fd00::80"),
    };
    let mut flows = Vec::new();
    for (n, (source, destination)) in [(true, false), (false, true), (true, true)]
        .into_iter()
        .enumerate()
    {
        for (other_port, protocol) in [
            (false, Protocol::TCP),
            (true, Protocol::TCP),
            (true, Protocol::UDP),
        ] {
            let port = 2000 + 10 * n as u16 + u16::from(other_port);
            let mut one = flow(tuple(family, protocol, ports(port, 80)));
            let (mut from, mut to) = (80, port);
            let mut status = Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
            if source {
                status = status | Status::SRC_NAT;
                one.reply.dst = address(outside);
                to += if other_port { 40_000 } else { 0 };
            }
            if destination {
                status = status | Status::DST_NAT;
                one.reply.src = address(inside);
                from += if other_port { 8000 } else { 0 };
            }
            one.reply.l4 = ports(from, to);
            one.status = Some(status | Status::SEEN_REPLY | Status::ASSURED);
            if protocol == Protocol::TCP {
                one.protoinfo = tcp(3);
            }
            flows.push(one);
        }
    }
    flows
}

/// Zones, marks, labels, a helper, a master and the one that it expected, a reply that is
/// not the inverse, sequence adjustment, a fixed timeout.
fn decorated() -> Vec<Flow> {
    let v4 = |l4| flow(tuple(Family::V4, Protocol::UDP, l4));
    let mut flows: Vec<Flow> = [
        (11, ZoneDirection::Both),
        (12, ZoneDirection::Orig),
        (13, ZoneDirection::Reply),
    ]
    .into_iter()
    .map(|(port, direction)| Flow {
        zone: Zone { id: 7, direction },
        ..v4(ports(port, 2))
    })
    .collect();
    let mut labelled = v4(ports(3, 4));
    labelled.labels = Some(Labels(1 << 127 | 1 << 64 | 1));
    labelled.mark = Some(u32::MAX);
    labelled.status = Some(Status(0));
    let mut fixed = v4(ports(5, 6));
    fixed.status = Some(Status::FIXED_TIMEOUT | Status::ASSURED);
    let mut odd = v4(ports(7, 8));
    odd.reply.dst = address("198.51.100.1");
    let mut control = flow(tuple(Family::V4, Protocol::TCP, ports(3021, 21)));
    control.protoinfo = tcp(3);
    control.helper = Some(Helper {
        name: "ftp".parse().expect("a name"),
        info: None,
    });
    control.seqadj_orig = Some(SeqAdj {
        correction_pos: 1000,
        offset_before: -3,
        offset_after: 12,
    });
    let mut data = flow(tuple(Family::V4, Protocol::TCP, ports(3022, 20)));
    data.protoinfo = tcp(3);
    data.master = Some(control.orig);
    flows.extend([labelled, fixed, odd, control, data]);
    flows
}

/// A namespace whose rules use labels; without, the kernel keeps none.
fn labelling() -> Netns {
    let ns = Netns::new();
    ns.nft(
        "table inet labels {
            chain in { ct label set 1; }
        }",
    );
    ns
}

/// A namespace with the entries.
fn seeded() -> Netns {
    let ns = labelling();
    ns.create(&entries());
    ns
}

/// A router whose entries packets made, translated, forwarded, answered and not, counted
/// and timed; with the ends of the connections, that they stay.
pub(crate) fn busy() -> (Firewall, Vec<Tcp>) {
    let firewall = Firewall::new();
    let Firewall {
        client,
        router,
        server,
    } = &firewall;
    router.set_sysctl("net/netfilter/nf_conntrack_acct", "1");
    router.set_sysctl("net/netfilter/nf_conntrack_timestamp", "1");
    let mut held = Vec::new();
    for family in [Family::V4, Family::V6] {
        let table = match family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        };
        let at = SocketAddr::new(Firewall::server_address(family), 0);
        held.push(Tcp::open(client, server, at));
        // From here on the source is translated.
        router.nft(&format!(
            "table {table} nat {{
                chain post {{
                    type nat hook postrouting priority 100;
                    oifname right ct mark set 9 ct label set 5 masquerade;
                }}
            }}"
        ));
        held.push(Tcp::open(client, server, at));
        udp(client, server, at);
        ping(client, at.ip());
    }
    (firewall, held)
}

/// A control connection and an expectation of it.
fn with_an_expectation(family: Family) -> Netns {
    let ns = labelling();
    let mut control = flow(tuple(family, Protocol::TCP, ports(3021, 21)));
    control.protoinfo = tcp(3);
    control.helper = Some(Helper {
        name: "ftp".parse().expect("a name"),
        info: None,
    });
    ns.create(std::slice::from_ref(&control));
    let expected = Expectation {
        id: None,
        tuple: Tuple {
            l4: ports(0, 40_000),
            ..control.orig.inverse()
        },
        mask: Tuple {
            src: match family {
                Family::V4 => address("255.255.255.0"),
                Family::V6 => address("ffff:ffff:ffff:ffff::"),
            },
            dst: match family {
                Family::V4 => address("255.255.255.255"),
                Family::V6 => address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            },
            l4: ports(0, 65_535),
            ..control.orig
        },
        master: control.orig,
        zone: 0,
        timeout: Some(200),
        flags: Some(1),
        class: None,
        helper: None,
        function: None,
        nat: None,
    };
    expect(&ns, &[expected]);
    ns
}

fn expect(ns: &Netns, expectations: &[Expectation]) {
    let mut batch = Batch::open(&ns.namespace()).expect("a socket");
    for expectation in expectations {
        batch
            .create_expectation(expectation, CreateMode::Create)
            .expect("encoded");
    }
    assert_eq!(batch.commit().expect("an answer").failures, []);
}

fn printed_expectations(format: Format, expectations: &[Expectation]) -> String {
    printed(format, |formatter, out| {
        for expectation in expectations {
            formatter.expectation(out, Origin::default(), expectation);
        }
    })
}
