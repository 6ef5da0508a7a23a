//! Flows to write.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ctfleet::flow::{
    Expectation, Family, Flow, Helper, L4, ProtoInfo, Protocol, SctpInfo, SctpState, Status,
    TcpInfo, Tuple,
};

/// Both families.
pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The protocols that this kernel tracks in a way of their own, and one that it does not.
pub(crate) fn protocols(family: Family) -> [Protocol; 7] {
    let icmp = match family {
        Family::V4 => Protocol::ICMP,
        Family::V6 => Protocol::ICMPV6,
    };
    let ospf = Protocol(89);
    [
        Protocol::TCP,
        Protocol::UDP,
        Protocol::UDPLITE,
        Protocol::SCTP,
        Protocol::GRE,
        icmp,
        ospf,
    ]
}

/// A host of the test: 10.0.0.0 plus n, 2001:db8:: plus n.
pub(crate) fn host(family: Family, n: u32) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(0x0a00_0000 + n).into(),
        Family::V6 => Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(n)).into(),
    }
}

/// A tuple from host 1 to host 2.
pub(crate) fn tuple(family: Family, protocol: Protocol, port: u16) -> Tuple {
    let l4 = if protocol.has_ports() {
        L4::Ports { src: port, dst: 80 }
    } else if protocol.is_icmp() {
        let kind = if family == Family::V4 { 8 } else { 128 };
        L4::Icmp {
            kind,
            code: 0,
            id: port,
        }
    } else if protocol == Protocol::GRE {
        L4::Gre { src: port, dst: 80 }
    } else {
        L4::None
    };
    Tuple {
        src: host(family, 1),
        dst: host(family, 2),
        protocol,
        l4,
    }
}

/// A flow without translation that the kernel takes: 5000 seconds to live, and a state
/// where the protocol has one.
pub(crate) fn flow(family: Family, protocol: Protocol, port: u16) -> Flow {
    let orig = tuple(family, protocol, port);
    let mut flow = Flow::new(orig, orig.inverse());
    flow.timeout = Some(5000);
    flow.protoinfo = match protocol {
        Protocol::TCP => Some(ProtoInfo::Tcp(TcpInfo {
            state: ctfleet::flow::TcpState::from_name("ESTABLISHED"),
            ..TcpInfo::default()
        })),
        Protocol::SCTP => Some(ProtoInfo::Sctp(SctpInfo {
            state: SctpState::from_name("ESTABLISHED"),
            vtag_orig: Some(0x0a0b_0c0d),
            vtag_reply: Some(0x0102_0304),
        })),
        _ => None,
    };
    flow
}

/// The flow, translated: the source to host 9 and the destination to host 8, each also in
/// its port.
pub(crate) fn translated(mut flow: Flow, source: bool, destination: bool) -> Flow {
    let family = flow.family();
    let (mut sport, mut dport) = flow.orig.ports().unwrap_or_default();
    let mut status = Status::SRC_NAT_DONE | Status::DST_NAT_DONE | Status::SEEN_REPLY;
    if source {
        flow.reply.dst = host(family, 9);
        sport += 40_000;
        status = status | Status::SRC_NAT;
    }
    if destination {
        flow.reply.src = host(family, 8);
        dport += 8_000;
        status = status | Status::DST_NAT;
    }
    if flow.orig.protocol.has_ports() {
        flow.reply.l4 = L4::Ports {
            src: dport,
            dst: sport,
        };
    }
    flow.status = Some(status);
    flow
}

/// The flow, followed by this helper.
pub(crate) fn helped(mut flow: Flow, helper: &str) -> Flow {
    flow.helper = Some(Helper {
        name: helper.parse().expect("a name"),
        info: None,
    });
    flow
}

/// What the master's server may open towards its client, from any port to this one.
pub(crate) fn expectation(master: &Flow, port: u16) -> Expectation {
    let family = master.family();
    let any = match family {
        Family::V4 => IpAddr::from([0xff; 4]),
        Family::V6 => IpAddr::from([0xff; 16]),
    };
    Expectation {
        id: None,
        tuple: Tuple {
            src: host(family, 2),
            dst: host(family, 1),
            protocol: Protocol::TCP,
            l4: L4::Ports { src: 0, dst: port },
        },
        mask: Tuple {
            src: any,
            dst: any,
            protocol: Protocol::TCP,
            l4: L4::Ports {
                src: 0,
                dst: 0xffff,
            },
        },
        master: master.orig,
        zone: 0,
        timeout: Some(100),
        flags: None,
        class: None,
        helper: None,
        function: None,
        nat: None,
    }
}
