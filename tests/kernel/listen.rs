//! Events: everything that happens is heard in the order of the kernel, or counted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ctfleet::ctnetlink::{Batch, CreateMode, Group, Heard, ListenOptions, Listener, Received};
use ctfleet::flow::{
    Event, EventType, Family, Flow, FlowChanges, FlowEvent, Masked, Protocol, Status,
};

use crate::harness::Netns;
use crate::harness::ear::Ear;
use crate::harness::flows::{expectation, flow, helped};
use crate::harness::traffic::{Tcp, udp};

const FLOWS: [Group; 3] = [Group::FlowNew, Group::FlowUpdate, Group::FlowDestroy];

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn next_flow(ear: &Ear) -> FlowEvent {
    match ear.event() {
        Event::Flow(event) => event,
        other => panic!("{other:?}"),
    }
}

fn udp_flow(port: u16) -> Flow {
    flow(Family::V4, Protocol::UDP, port)
}

fn batch(ns: &Netns, add: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::open(&ns.namespace()).expect("a socket");
    add(&mut batch);
    assert_eq!(batch.commit().expect("an answer").failures, []);
}

#[test]
fn a_tcp_connection_is_heard_from_its_first_packet_to_its_last() {
    let ns = Netns::tracking();
    let ear = Ear::open(&ns, &FLOWS);
    let tcp = Tcp::open(&ns, &ns, LOOPBACK);
    let born = next_flow(&ear);
    let port = tcp.client.local_addr().expect("bound").port();
    assert_eq!(born.kind, EventType::New);
    assert_eq!(born.flow.orig.ports().map(|(src, _)| src), Some(port));
    assert_eq!(born.port_id, 0, "a packet caused it");
    assert!(
        !born
            .flow
            .status
            .unwrap_or_default()
            .contains(Status::SEEN_REPLY)
    );
    drop(tcp);
    let mut last = born.flow;
    loop {
        let FlowEvent { kind, flow, .. } = next_flow(&ear);
        assert_eq!(kind, EventType::Update);
        assert_eq!((flow.id, flow.orig), (last.id, last.orig));
        last = flow;
        let state = match last.protoinfo {
            Some(ctfleet::flow::ProtoInfo::Tcp(info)) => info.state.and_then(|s| s.name()),
            _ => None,
        };
        if state == Some("TIME_WAIT") {
            break;
        }
    }
    assert!(last.status.unwrap_or_default().contains(Status::ASSURED));
    ns.conntrack("-F");
    let gone = next_flow(&ear);
    assert_eq!((gone.kind, gone.flow.id), (EventType::Destroy, last.id));
    assert_ne!(gone.port_id, 0, "a program caused it");
}

#[test]
fn changes_over_netlink_are_heard_with_who_asked() {
    let ns = Netns::new();
    let ear = Ear::open(&ns, &FLOWS);
    let mut batch = Batch::open(&ns.namespace()).expect("a socket");
    batch
        .create(&udp_flow(1), CreateMode::Create)
        .expect("encoded");
    assert_eq!(batch.commit().expect("an answer").failures, []);
    let [current] = &ns.flows(None)[..] else {
        panic!("one")
    };
    let changes = FlowChanges {
        mark: Some(Masked {
            value: 5,
            mask: u32::MAX,
        }),
        ..FlowChanges::default()
    };
    batch.update(current, &changes).expect("encoded");
    batch.delete(&current.key()).expect("encoded");
    assert_eq!(batch.commit().expect("an answer").failures, []);
    let events = [(); 3].map(|()| next_flow(&ear));
    let kinds = events.each_ref().map(|event| event.kind);
    assert_eq!(
        kinds,
        [EventType::New, EventType::Update, EventType::Destroy]
    );
    let askers = events.each_ref().map(|event| event.port_id);
    assert_ne!(askers[0], 0);
    assert_eq!(askers, [askers[0]; 3]);
    assert_eq!(events[1].flow.mark, Some(5));
    assert!(events.iter().all(|event| event.flow.id == current.id));
}

#[test]
fn a_flush_is_heard_entry_by_entry() {
    let ns = Netns::new();
    let ear = Ear::open(&ns, &[Group::FlowDestroy]);
    ns.create(&(1..=300).map(udp_flow).collect::<Vec<_>>());
    ns.conntrack("-F");
    let mut ports: Vec<_> = (0..300)
        .map(|_| {
            let event = next_flow(&ear);
            assert_eq!(event.kind, EventType::Destroy);
            event.flow.orig.ports().map_or(0, |(src, _)| src)
        })
        .collect();
    ports.sort();
    assert_eq!(ports, (1..=300).collect::<Vec<_>>());
}

/// An entry made after those that a test asks about: its event comes after theirs.
fn mark_the_end(ns: &Netns) {
    ns.create(&[udp_flow(9999)]);
}

fn is_the_end(event: &FlowEvent) -> bool {
    event.flow.orig.ports().is_some_and(|(src, _)| src == 9999)
}

#[test]
fn only_the_groups_that_were_joined_are_heard() {
    let ns = Netns::new();
    let ear = Ear::open(&ns, &[Group::FlowDestroy]);
    ns.create(&[udp_flow(1)]);
    ns.conntrack("-D -p udp --sport 1");
    assert_eq!(next_flow(&ear).kind, EventType::Destroy);
    ear.handle().leave(Group::FlowDestroy).expect("left");
    ear.handle().join(Group::FlowNew).expect("joined");
    ns.create(&[udp_flow(2)]);
    ns.conntrack("-D -p udp --sport 2");
    mark_the_end(&ns);
    assert_eq!(next_flow(&ear).kind, EventType::New);
    assert!(is_the_end(&next_flow(&ear)));
}

/// With nf_conntrack_events = 2, its default, the kernel prepares an entry for events only if
/// somebody listens when it is made. That somebody may be in another network namespace: the
/// kernel has one flag for the whole machine, so that a test cannot show the silence while
/// others run beside it.
#[test]
fn an_entry_older_than_its_listener_is_heard_to_end_where_it_was_prepared() {
    for (setting, elsewhere) in [("1", false), ("2", true)] {
        let other = Netns::new();
        let listener = elsewhere.then(|| Ear::open(&other, &FLOWS));
        let ns = Netns::new();
        ns.set_sysctl("net/netfilter/nf_conntrack_events", setting);
        ns.create(&[udp_flow(1)]);
        let ear = Ear::open(&ns, &FLOWS);
        ns.conntrack("-D -p udp --sport 1");
        let event = next_flow(&ear);
        assert_eq!(
            event.kind,
            EventType::Destroy,
            "nf_conntrack_events = {setting}"
        );
        drop(listener);
    }
}

#[test]
fn without_events_nothing_is_heard() {
    let ns = Netns::new();
    let ear = Ear::open(&ns, &FLOWS);
    ns.set_sysctl("net/netfilter/nf_conntrack_events", "0");
    ns.create(&[udp_flow(1)]);
    ns.conntrack("-D -p udp --sport 1");
    ns.set_sysctl("net/netfilter/nf_conntrack_events", "1");
    mark_the_end(&ns);
    assert!(is_the_end(&next_flow(&ear)));
}

#[test]
fn what_the_kernel_could_not_deliver_is_counted_exactly() {
    const EVENTS: u64 = 3000;
    let ns = Netns::new();
    let options = ListenOptions {
        receive_buffer: 16 * 1024,
    };
    let mut listener = Listener::open(&ns.namespace(), options).expect("a listener");
    listener.handle().join(Group::FlowNew).expect("joined");
    let (mut heard, mut lost, mut gaps) = (0, 0, 0);
    for round in 0..3u16 {
        // Nobody reads meanwhile.
        let first = 1 + round * 1000;
        ns.create(&(first..first + 1000).map(udp_flow).collect::<Vec<_>>());
        while heard + lost < u64::from(round + 1) * EVENTS / 3 {
            let mut take = |what| match what {
                Heard::Event(Event::Flow(event)) => {
                    assert_eq!(event.kind, EventType::New);
                    heard += 1;
                }
                Heard::Lost(count) => {
                    lost += count;
                    gaps += 1;
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(
                listener.receive(&mut take).expect("a datagram"),
                Received::Events
            );
        }
    }
    assert_eq!(heard + lost, EVENTS);
    assert!(lost > EVENTS / 2 && gaps >= 3, "{lost} in {gaps} gaps");
    assert!(heard > 10, "{heard}");
    // The listener itself is what the kernel's own table counted.
    let drops: u64 = ns
        .proc_net("netlink")
        .iter()
        .filter_map(|row| row["Drops"].parse::<u64>().ok())
        .sum();
    assert_eq!(drops, lost);
}

#[test]
fn a_large_buffer_loses_nothing_of_a_burst() {
    let ns = Netns::new();
    let options = ListenOptions {
        receive_buffer: 64 * 1024 * 1024,
    };
    let mut listener = Listener::open(&ns.namespace(), options).expect("a listener");
    listener.handle().join(Group::FlowNew).expect("joined");
    // In a user namespace rmem_max caps the buffer, and each event takes about a kilobyte.
    let burst = (listener.receive_buffer() / 4096).min(5000) as u16;
    ns.create(&(1..=burst).map(udp_flow).collect::<Vec<_>>());
    let mut ports = Vec::new();
    while ports.len() < burst.into() {
        let mut take = |what| match what {
            Heard::Event(Event::Flow(event)) => {
                ports.extend(event.flow.orig.ports().map(|(src, _)| src));
            }
            other => panic!("{other:?}"),
        };
        listener.receive(&mut take).expect("a datagram");
    }
    assert_eq!(
        ports,
        (1..=burst).collect::<Vec<_>>(),
        "in the order of the kernel"
    );
}

#[test]
fn an_interrupt_ends_the_wait_once() {
    let ns = Netns::new();
    let mut listener =
        Listener::open(&ns.namespace(), ListenOptions::default()).expect("a listener");
    let handle = listener.handle();
    handle.join(Group::FlowNew).expect("joined");
    let mut nothing = |heard| panic!("{heard:?}");
    std::thread::scope(|scope| {
        let wait = scope.spawn(|| listener.receive(&mut nothing));
        handle.interrupt().expect("interrupted");
        let received = wait.join().expect("no panic").expect("no error");
        assert_eq!(received, Received::Interrupted);
    });
    ns.create(&[udp_flow(1)]);
    let mut heard = 0;
    let received = listener.receive(&mut |_| heard += 1).expect("no error");
    assert_eq!((received, heard), (Received::Events, 1));
}

#[test]
fn one_namespace_does_not_hear_another() {
    let (one, other) = (Netns::tracking(), Netns::tracking());
    let ear = Ear::open(&one, &FLOWS);
    udp(&other, &other, LOOPBACK);
    mark_the_end(&one);
    assert!(is_the_end(&next_flow(&ear)));
}

#[test]
fn expectations_are_heard_when_they_come_and_go() {
    let ns = Netns::new();
    let master = helped(flow(Family::V4, Protocol::TCP, 4000), "ftp");
    let ear = Ear::open(&ns, &[Group::ExpectationNew, Group::ExpectationDestroy]);
    ns.create(std::slice::from_ref(&master));
    batch(&ns, |batch| {
        let expectation = expectation(&master, 4001);
        batch
            .create_expectation(&expectation, CreateMode::Create)
            .expect("encoded");
    });
    let come = ear.event();
    ns.conntrack("-F expect");
    let gone = ear.event();
    let (Event::Expectation(come), Event::Expectation(gone)) = (come, gone) else {
        panic!("events of expectations");
    };
    assert_eq!((come.kind, gone.kind), (EventType::New, EventType::Destroy));
    assert_eq!(come.expectation.tuple.ports(), Some((0, 4001)));
    assert_eq!(come.expectation.master, master.orig);
    assert_eq!(gone.expectation.id, come.expectation.id);
    assert!(come.port_id != 0 && gone.port_id != 0);
}

#[test]
fn a_batch_that_fails_in_part_is_heard_in_part() {
    let ns = Netns::new();
    let ear = Ear::open(&ns, &[Group::FlowNew]);
    batch(&ns, |batch| {
        batch
            .create(&udp_flow(2), CreateMode::Create)
            .expect("encoded")
    });
    let mut again = Batch::open(&ns.namespace()).expect("a socket");
    for port in 1..=3 {
        again
            .create(&udp_flow(port), CreateMode::Create)
            .expect("encoded");
    }
    let failures = again.commit().expect("an answer").failures;
    assert_eq!(
        failures.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
        [1]
    );
    let ports = [(); 3].map(|()| next_flow(&ear).flow.orig.ports().map(|(src, _)| src));
    assert_eq!(ports, [Some(2), Some(1), Some(3)]);
}
