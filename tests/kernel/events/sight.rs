//! The watcher sees what `conntrack -E` sees, of packets and of ctnetlink.

use std::net::SocketAddr;
use std::process::Command;

use ctfleet::ctnetlink::CreateMode;
use ctfleet::events::{Config, Delivery};
use ctfleet::flow::{EventType, Expectation, ExpectationEvent, Family, Zone};

use super::*;
use crate::harness::Firewall;
use crate::harness::flows::{self, helped};
use crate::harness::process::Process;
use crate::harness::traffic::{Tcp, ping, udp};
use crate::harness::witness::Row;

/// The last thing that happens in a test.
const MARKER: u16 = 9999;

/// What `conntrack -E` calls each kind.
const TAGS: [(&str, EventType); 3] = [
    ("[NEW]", EventType::New),
    ("[UPDATE]", EventType::Update),
    ("[DESTROY]", EventType::Destroy),
];

/// An event: what happened, to what, and the port id of who did it.
type Told = (EventType, Row, u32);

/// The events as conntrack(8) tells them.
fn told(said: &str) -> Vec<Told> {
    said.lines()
        .filter_map(|line| {
            let (tag, row) = line.trim_start().split_once(' ')?;
            let (_, kind) = TAGS.iter().find(|(known, _)| *known == tag)?;
            let (row, by) = match row.split_once("[USERSPACE] portid=") {
                // After it, sometimes, the name of the program.
                Some((row, by)) => (row, by.split(' ').next()?.parse().expect("a port id")),
                None => (row, 0),
            };
            let words = row
                .split(' ')
                .filter(|word| !word.starts_with("delta-time="));
            Some((*kind, Row::parse(&words.collect::<Vec<_>>().join(" ")), by))
        })
        .collect()
}

/// Events of one entry in their order; two processors may tell two listeners of two entries
/// in different order.
fn by_entry(mut events: Vec<Told>) -> Vec<Told> {
    events.sort_by_key(|(_, row, _)| row.id);
    events
}

/// Makes the marker come and go, and reads all events until then.
fn until_marker(watched: &Watched, watcher: &mut Watcher<'_>) -> Vec<FlowEvent> {
    let marker = format!("-p udp -s 192.0.2.1 -d 192.0.2.2 --sport {MARKER} --dport {MARKER}");
    watched.ns.conntrack(&format!("-I -t 100 {marker}"));
    watched.ns.conntrack(&format!("-D {marker}"));
    let mut got = Vec::new();
    loop {
        match watcher.next().expect("an open listener") {
            Delivery::Gap(gap) => panic!("{gap:?}"),
            Delivery::Events(mut events) => {
                while let Some((_, event)) = events.take_next() {
                    let Event::Flow(event) = event else {
                        panic!("{event:?}")
                    };
                    let ended = event.kind == EventType::Destroy
                        && event.flow.orig.ports() == Some((MARKER, MARKER));
                    got.push(event.clone());
                    if ended {
                        return got;
                    }
                }
            }
        }
    }
}

#[test]
fn events_are_those_of_conntrack_8() {
    let Firewall {
        client,
        router,
        server,
    } = Firewall::new();
    for sysctl in ["acct", "timestamp"] {
        router.set_sysctl(&format!("net/netfilter/nf_conntrack_{sysctl}"), "1");
    }
    let mut witness = Process::spawn(
        &router,
        Command::new("conntrack").args(["-E", "-o", "extended,id"]),
    );
    until("the witness to listen", || {
        let rows = router.proc_net("netlink");
        rows.iter()
            .find(|row| row["Groups"] == "00000007")
            .map(|_| ())
    });
    let watched = Watched::on(router, Config::default());
    let mut watcher = watched.watch(FLOWS);

    for family in [Family::V4, Family::V6] {
        let at = SocketAddr::new(Firewall::server_address(family), 0);
        drop(Tcp::open(&client, &server, at));
        udp(&client, &server, at);
        ping(&client, at.ip());
    }
    let mut seven = flow(7);
    seven.zone = Zone::both(3);
    seven.mark = Some(1);
    watched.ns.create(std::slice::from_ref(&seven));
    set_mark(&watched.ns, &seven, 2);
    watched.ns.conntrack("-D -p udp --sport 7 -w 3");

    let seen = until_marker(&watched, &mut watcher);
    // Counters stand in its last event only.
    witness.wait_for(&format!("dport={MARKER} packets="));
    let ours = seen
        .iter()
        .map(|event| (event.kind, Row::of(&event.flow), event.port_id))
        .collect();
    assert_eq!(by_entry(ours), by_entry(told(&witness.said())));

    for kind in [EventType::New, EventType::Update, EventType::Destroy] {
        assert!(seen.iter().any(|event| event.kind == kind), "{kind:?}");
    }
    // Who did it: packets are nobody, conntrack(8) is somebody.
    let by_packets =
        |event: &&FlowEvent| event.flow.orig.src == Firewall::client_address(event.flow.family());
    assert!(
        seen.iter()
            .filter(by_packets)
            .all(|event| event.port_id == 0)
    );
    let of_seven = |event: &&FlowEvent| event.flow.orig.ports() == seven.orig.ports();
    let of_seven: Vec<_> = seen.iter().filter(of_seven).collect();
    assert_eq!(of_seven.len(), 3, "{of_seven:#?}");
    assert!(of_seven.iter().all(|event| event.port_id != 0));
    assert_eq!(of_seven[1].flow.mark, Some(2));
    assert_eq!(of_seven[2].flow.zone.id, 3);
}

#[test]
fn events_of_expectations_are_those_of_conntrack_8() {
    let ns = Netns::new();
    let mut witness = Process::spawn(&ns, Command::new("conntrack").args(["-E", "expect"]));
    until("the witness to listen", || {
        let rows = ns.proc_net("netlink");
        rows.iter()
            .find(|row| row["Groups"] != "00000000")
            .map(|_| ())
    });
    let watched = Watched::on(ns, Config::default());
    let mut watcher = watched.watch([Group::ExpectationNew, Group::ExpectationDestroy]);

    let master = helped(flows::flow(Family::V4, Protocol::TCP, 21), "ftp");
    watched.ns.create(std::slice::from_ref(&master));
    let mut batch = Batch::open(&watched.ns.namespace()).expect("a connection");
    for port in [7000, 7001] {
        let expectation = flows::expectation(&master, port);
        batch
            .create_expectation(&expectation, CreateMode::Create)
            .expect("encoded");
        assert_eq!(batch.commit().expect("an answer").failures, []);
        batch
            .delete_expectation(&expectation.key())
            .expect("encoded");
        assert_eq!(batch.commit().expect("an answer").failures, []);
    }

    let ours: Vec<_> = watcher
        .events(4)
        .into_iter()
        .map(|(_, event)| match event {
            Event::Expectation(event) => line(&event),
            Event::Flow(event) => panic!("{event:?}"),
        })
        .collect();
    for line in &ours {
        witness.wait_for(line);
    }
    let said = witness.said();
    let theirs: Vec<_> = said
        .lines()
        .filter(|line| line.contains("proto="))
        .collect();
    assert_eq!(theirs, ours);
}

/// An event as `conntrack -E expect` writes it.
fn line(event: &ExpectationEvent) -> String {
    let (tag, _) = TAGS
        .iter()
        .find(|(_, kind)| *kind == event.kind)
        .expect("a kind");
    let Expectation {
        tuple,
        mask,
        master,
        timeout,
        class,
        helper,
        ..
    } = &event.expectation;
    let side = |prefix: &str, tuple: &Tuple| {
        let (sport, dport) = tuple.ports().expect("ports");
        let Tuple { src, dst, .. } = tuple;
        format!("{prefix}src={src} {prefix}dst={dst} sport={sport} dport={dport}")
    };
    assert!(event.port_id != 0, "{event:?}");
    format!(
        "{tag:>9} {} proto={} {} {} {} class={} helper={}",
        timeout.expect("a time-out"),
        tuple.protocol.0,
        side("", tuple),
        side("mask-", mask),
        side("master-", master),
        class.expect("a class"),
        helper.expect("a helper"),
    )
}
