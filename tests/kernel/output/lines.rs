//! The format `conntrack` against conntrack(8) itself.

use std::process::Command;

use ctfleet::ctctl::output::EventOrigin;
use ctfleet::ctnetlink::{ExpectationDumpRequest, Group, Heard, ListenOptions, Listener, Received};
use ctfleet::flow::Event;
use rustix::process::Signal;

use super::*;
use crate::harness::process::Process;
use crate::harness::until;

/// The lines without what the clock changes, sorted.
fn timeless(lines: &str) -> Vec<String> {
    let mut lines: Vec<_> = lines.lines().map(without_time).collect();
    lines.sort();
    lines
}

/// The timeout is the only word that is a bare number besides those of the protocols.
fn without_time(line: &str) -> String {
    let (head, fields) = line.split_once(" src=").expect("a tuple");
    let numbers = head.split(' ').filter(|w| w.parse::<u32>().is_ok()).count();
    // "ipv4 2 udp 17 TIMEOUT", or "TIMEOUT proto=17".
    let at_front = head.starts_with(|c: char| c.is_ascii_digit());
    let head = match (at_front, numbers) {
        (true, _) => format!("T {}", head.split_once(' ').expect("a timeout").1),
        (false, 3) => {
            let mut words: Vec<_> = head.split(' ').collect();
            let last = words.iter().rposition(|w| w.parse::<u32>().is_ok());
            words[last.expect("a timeout")] = "T";
            words.join(" ")
        }
        (false, _) => head.to_owned(),
    };
    let fields: Vec<_> = fields
        .split(' ')
        .filter(|field| !field.starts_with("delta-time="))
        .collect();
    format!("{head} src={}", fields.join(" "))
}

/// Compares both listings of a table at rest.
fn assert_same_lines(ns: &Netns) -> usize {
    until("the table to be at rest", || {
        let before = timeless(&ns.conntrack("-L -o extended,id"));
        let own = timeless(&printed_flows(Format::Conntrack, &ns.flows(None)));
        let after = timeless(&ns.conntrack("-L -o extended,id"));
        (before == after).then(|| {
            assert_eq!(own, before, "ctctl, conntrack(8)");
            before.len()
        })
    })
}

#[test]
fn the_mask_of_the_clock_hides_nothing_else() {
    assert_eq!(
        without_time("ipv4     2 tcp      6 431999 ESTABLISHED src=1.1.1.1 delta-time=3 use=1"),
        "ipv4     2 tcp      6 T ESTABLISHED src=1.1.1.1 use=1"
    );
    assert_eq!(
        without_time("ipv4     2 tcp      6 src=1.1.1.1 [OFFLOAD] mark=0"),
        "ipv4     2 tcp      6 src=1.1.1.1 [OFFLOAD] mark=0"
    );
    assert_eq!(
        without_time("297 proto=6 src=1.1.1.1"),
        "T proto=6 src=1.1.1.1"
    );
}

#[test]
fn written_entries_are_listed_as_conntrack_lists_them() {
    let ns = seeded();
    assert_eq!(assert_same_lines(&ns), entries().len());
}

#[test]
fn entries_of_packets_are_listed_as_conntrack_lists_them() {
    let (firewall, _held) = busy();
    assert!(assert_same_lines(&firewall.router) >= 8);
    let lines = printed_flows(Format::Conntrack, &firewall.router.flows(None));
    for word in ["packets=", "delta-time=", "[ASSURED]", "mark=9"] {
        assert!(lines.contains(word), "{word}: {lines}");
    }
}

#[test]
fn expectations_are_listed_as_conntrack_lists_them() {
    for family in [Family::V4, Family::V6] {
        let ns = with_an_expectation(family);
        let found = ns.expectations(ExpectationDumpRequest::default());
        assert_eq!(found.len(), 1);
        let own = printed_expectations(Format::Conntrack, &found);
        let witness = match family {
            Family::V4 => ns.conntrack("-L expect"),
            Family::V6 => ns.conntrack("-L expect -f ipv6"),
        };
        assert_eq!(timeless(&own), timeless(&witness));
    }
}

#[test]
fn events_are_printed_as_conntrack_prints_them() {
    let ns = labelling();
    ns.set_sysctl("net/netfilter/nf_conntrack_acct", "1");
    ns.set_sysctl("net/netfilter/nf_conntrack_timestamp", "1");
    let mut listener = Listener::open(&ns.namespace(), ListenOptions::default()).expect("a socket");
    let handle = listener.handle();
    for group in [Group::FlowNew, Group::FlowUpdate, Group::FlowDestroy] {
        handle.join(group).expect("joined");
    }
    let listeners = || {
        let rows = ns.proc_net("netlink").into_iter();
        rows.filter(|row| row["Groups"] != "00000000").count()
    };
    let before = listeners();
    let mut witness = Process::spawn(
        &ns,
        Command::new("conntrack").args(["-E", "-o", "extended,id"]),
    );
    until("conntrack -E to listen", || {
        (listeners() > before).then_some(())
    });

    let flows = entries();
    ns.create(&flows);
    ns.conntrack("-U -p tcp -s 10.0.0.1 --sport 1003 -m 77");
    ns.conntrack("-F");
    let mut own = String::new();
    let mut destroyed = 0;
    while destroyed < flows.len() {
        let received = listener.receive(&mut |heard| {
            let Heard::Event(Event::Flow(event)) = heard else {
                panic!("{heard:?}")
            };
            destroyed += usize::from(event.kind == ctfleet::flow::EventType::Destroy);
            let origin = Origin {
                node: None,
                event: Some(EventOrigin::Event {
                    kind: event.kind,
                    sequence: 0,
                    port_id: event.port_id,
                }),
            };
            own += &printed(Format::Conntrack, |f, out| f.flow(out, origin, &event.flow));
        });
        assert_eq!(received.expect("events"), Received::Events);
    }
    until("conntrack -E to have seen the end", || {
        let seen = witness.said().matches("[DESTROY]").count();
        (seen == flows.len()).then_some(())
    });
    witness.signal(Signal::TERM);
    witness.wait();

    let said = witness.said();
    let lines = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.contains(" src="))
            // Who the port belongs to is known on that host alone.
            .map(|line| line.split(" progname=").next().unwrap_or(line).to_owned())
            .map(|line| without_delta(&line))
            .collect()
    };
    let (own, witnessed) = (lines(&own), lines(&said));
    assert!(
        own.iter().any(|line| line.starts_with(" [UPDATE]")),
        "{own:#?}"
    );
    assert_eq!(own, witnessed);
}

/// The lifetime of a flow that still lives depends on when it is printed.
fn without_delta(line: &str) -> String {
    let words = line.split(' ').filter(|w| !w.starts_with("delta-time="));
    words.collect::<Vec<_>>().join(" ")
}
