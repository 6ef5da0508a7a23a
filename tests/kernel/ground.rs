//! The ground that the other tests stand on holds: namespaces are fresh and go, packets
//! are real and tracked, and the witness reads every kind of line.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use ctfleet::flow::{Family, Flow, L4, Protocol, Status, Tuple, Zone};
use rustix::process::Signal;

use crate::harness::process::Process;
use crate::harness::traffic::{Tcp, listen, ping, send, udp};
use crate::harness::witness::{Row, of_protocols};
use crate::harness::{Firewall, Netns};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

#[test]
fn a_namespace_is_fresh_and_goes_with_the_test_also_after_a_panic() {
    let mut name = String::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let ns = Netns::new();
        name = ns.name().to_owned();
        assert_eq!(ns.entries(), 0);
        assert_eq!(ns.proc_net("dev").len(), 2, "a second header line and lo");
        ns.enter(|| panic!("from inside"));
    }));
    let panic = outcome.expect_err("the panic comes through");
    assert_eq!(panic.downcast_ref(), Some(&"from inside"));
    assert!(name.starts_with("ct-"));
    assert!(!Path::new("/run/netns").join(&name).exists());
}

#[test]
fn a_sysctl_is_the_namespace_s_own() {
    let (one, other) = (Netns::new(), Netns::new());
    one.set_sysctl("net/netfilter/nf_conntrack_acct", "1");
    assert_eq!(one.sysctl("net/netfilter/nf_conntrack_acct"), "1");
    assert_eq!(other.sysctl("net/netfilter/nf_conntrack_acct"), "0");
}

#[test]
fn a_program_beside_the_test_is_heard_and_stopped() {
    let ns = Netns::new();
    let mut events = Process::spawn(&ns, Command::new("conntrack").args(["-E", "-o", "id"]));
    // It says nothing when it is ready: the socket in the table of the kernel tells.
    crate::harness::until("the listener", || {
        ns.proc_net("netlink")
            .into_iter()
            .find(|row| row["Groups"] != "00000000")
    });
    ns.conntrack("-I -p udp -s 192.0.2.1 -d 192.0.2.2 --sport 1 --dport 2 -t 100");
    events.wait_for("[NEW]");
    events.signal(Signal::TERM);
    events.wait();
}

#[test]
fn packets_of_both_families_pass_the_firewall_and_are_tracked() {
    let firewall = Firewall::new();
    let Firewall {
        client,
        router,
        server,
    } = &firewall;
    router.set_sysctl("net/netfilter/nf_conntrack_acct", "1");
    let mut held = Vec::new();
    for family in FAMILIES {
        let at = SocketAddr::new(Firewall::server_address(family), 0);
        held.push(Tcp::open(client, server, at));
        udp(client, server, at);
        ping(client, at.ip());
    }
    for family in FAMILIES {
        let icmp = match family {
            Family::V4 => Protocol::ICMP,
            Family::V6 => Protocol::ICMPV6,
        };
        let rows = router.witness(&format!("-s {}", Firewall::client_address(family)));
        for protocol in [Protocol::TCP, Protocol::UDP, icmp] {
            let [row] = &of_protocols(rows.clone(), &[protocol])[..] else {
                panic!("one row of {protocol}: {rows:#?}");
            };
            assert_eq!(row.orig.dst, Some(Firewall::server_address(family)));
            assert!(row.reply.number("packets") >= Some(1), "{row:?}");
            assert!(!row.flags.contains("UNREPLIED"), "{row:?}");
        }
    }
}

#[test]
fn a_port_forward_and_masquerading_translate_both_ends() {
    let firewall = Firewall::new();
    let Firewall {
        client,
        router,
        server,
    } = &firewall;
    for family in FAMILIES {
        let (table, to) = match family {
            Family::V4 => ("ip", "10.0.2.2:8000"),
            Family::V6 => ("ip6", "[fd00:2::2]:8000"),
        };
        router.nft(&format!(
            "table {table} nat {{
                chain pre {{ type nat hook prerouting priority -100; tcp dport 80 dnat to {to}; }}
                chain post {{ type nat hook postrouting priority 100; oifname right masquerade; }}
            }}"
        ));
        let listener = listen(
            server,
            SocketAddr::new(Firewall::server_address(family), 8000),
        );
        let outside = SocketAddr::new(Firewall::outside_address(family), 80);
        let mut tcp = Tcp::through(client, &listener, outside);
        send(&mut tcp.client, &mut tcp.server, b"more");
        let rows = router.witness("-p tcp -j");
        let rows: Vec<_> = rows
            .into_iter()
            .filter(|row| row.orig.dst == Some(outside.ip()))
            .collect();
        let [row] = &rows[..] else {
            panic!("{rows:#?}")
        };
        assert_eq!(row.orig.number("dport"), Some(80));
        assert_eq!(row.reply.src, Some(Firewall::server_address(family)));
        assert_eq!(row.reply.number("sport"), Some(8000));
        assert_eq!(row.reply.dst, Some(outside.ip()));
        assert_eq!(row.state.as_deref(), Some("ESTABLISHED"));
    }
}

#[test]
fn the_witness_reads_what_was_seeded() {
    let ns = Netns::new();
    ns.conntrack(
        "-I -p udp -s 2001:db8::1 -d 2001:db8::2 --sport 53 --dport 5353 -t 500 -m 7 -w 5",
    );
    let [row] = &ns.witness("")[..] else {
        panic!("one row")
    };
    let tuple = Tuple {
        src: "2001:db8::1".parse().expect("an address"),
        dst: "2001:db8::2".parse().expect("an address"),
        protocol: Protocol::UDP,
        l4: L4::Ports { src: 53, dst: 5353 },
    };
    let mut flow = Flow::new(tuple, tuple.inverse());
    flow.zone = Zone::both(5);
    flow.status = Some(Status::CONFIRMED);
    flow.mark = Some(7);
    flow.use_count = Some(1);
    // What the kernel chose, and what the clock changed.
    flow.id = row.id;
    flow.timeout = row.timeout;
    assert!(row.id.is_some() && (Some(490)..=Some(500)).contains(&row.timeout));
    assert_eq!(*row, Row::of(&flow));
}

#[test]
fn the_witness_reads_every_kind_of_line() {
    let row = Row::parse(
        "ipv4     2 icmp     1 29 src=10.0.0.1 dst=10.0.0.9 type=8 code=0 id=77 packets=3 \
         bytes=252 src=10.0.0.9 dst=10.0.0.1 type=0 code=0 id=77 packets=2 bytes=168 mark=0 \
         zone-orig=4 use=1 id=1500209062 labels=bit3,bit127",
    );
    assert_eq!(row.orig.number("id"), Some(77));
    assert_eq!(row.reply.number("bytes"), Some(168));
    assert_eq!((row.id, row.zones), (Some(1_500_209_062), [0, 4, 0]));
    assert_eq!(row.labels.into_iter().collect::<Vec<_>>(), [3, 127]);
    let row = Row::parse(
        "ipv4     2 tcp      6 431999 ESTABLISHED src=127.0.0.1 dst=127.0.0.1 sport=37478 \
         dport=21 src=127.0.0.1 dst=127.0.0.1 sport=21 dport=37478 [ASSURED] mark=0 helper=ftp \
         use=2 id=1262216765",
    );
    assert_eq!(row.state.as_deref(), Some("ESTABLISHED"));
    assert_eq!(row.helper.as_deref(), Some("ftp"));
    assert!(row.flags.contains("ASSURED") && !row.flags.contains("UNREPLIED"));
    let row = Row::parse(
        "ipv4     2 gre      47 29 src=10.0.0.1 dst=10.0.0.2 srckey=0x0 dstkey=0x1234 \
         [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 srckey=0x1234 dstkey=0x0 mark=0 use=1 id=5",
    );
    assert_eq!(row.orig.number("dstkey"), Some(0x1234));
}
