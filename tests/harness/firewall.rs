//! A firewall with a client in front and a server behind it, each in its own network
//! namespace, joined by veth pairs. Both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ctfleet::flow::Family;

use super::{Netns, until};

/// Three namespaces in a row.
pub(crate) struct Firewall {
    /// The client's: 10.0.1.2 and fd00:1::2.
    pub(crate) client: Netns,
    /// The firewall's: .1 and ::1 on both sides. It tracks what it forwards.
    pub(crate) router: Netns,
    /// The server's: 10.0.2.2 and fd00:2::2.
    pub(crate) server: Netns,
}

impl Firewall {
    /// A new one, ready for packets.
    pub(crate) fn new() -> Self {
        let firewall = Self {
            client: Netns::new(),
            router: Netns::tracking(),
            server: Netns::new(),
        };
        let Self {
            client,
            router,
            server,
        } = &firewall;
        router.set_sysctl("net/ipv4/ip_forward", "1");
        router.set_sysctl("net/ipv6/conf/all/forwarding", "1");
        join(router, "left", client, 1);
        join(router, "right", server, 2);
        firewall
    }

    /// The client's address.
    pub(crate) fn client_address(family: Family) -> IpAddr {
        address(family, 1, 2)
    }

    /// The firewall's address on the server's side.
    pub(crate) fn outside_address(family: Family) -> IpAddr {
        address(family, 2, 1)
    }

    /// The server's address.
    pub(crate) fn server_address(family: Family) -> IpAddr {
        address(family, 2, 2)
    }
}

fn address(family: Family, net: u8, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 0, net, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, net.into(), 0, 0, 0, 0, 0, host.into()).into(),
    }
}

/// Joins a host to the router over a veth pair, with addresses and default routes.
fn join(router: &Netns, port: &str, host: &Netns, net: u8) {
    let peer = host.name();
    router.run([
        "ip", "link", "add", port, "type", "veth", "peer", "name", "uplink", "netns", peer,
    ]);
    for (ns, link, end) in [(router, port, 1), (host, "uplink", 2)] {
        // Duplicate address detection would keep the addresses unusable for seconds.
        ns.set_sysctl(&format!("net/ipv6/conf/{link}/accept_dad"), "0");
        for (family, length) in [(Family::V4, 24), (Family::V6, 64)] {
            let own = format!("{}/{length}", address(family, net, end));
            ns.run(["ip", "addr", "add", &own, "dev", link]);
        }
        ns.run(["ip", "link", "set", link, "up"]);
    }
    for family in [Family::V4, Family::V6] {
        let gateway = address(family, net, 1).to_string();
        host.run(["ip", "route", "add", "default", "via", &gateway]);
    }
    until("the veth pair to be up and its addresses usable", || {
        let up = |ns: &Netns, link| {
            ns.run(["ip", "link", "show", link]).contains("state UP")
                && ns
                    .run(["ip", "addr", "show", "dev", link, "tentative"])
                    .is_empty()
        };
        (up(router, port) && up(host, "uplink")).then_some(())
    });
}
