//! WatchFlows and WatchExpectations: subscribed, snapshots, events, gaps.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ctfleet::events::Config;
use ctfleet::flow::{EventType, Family, Protocol};
use ctfleet::pb::watch_expectations_response::Message as ExpectationMessage;
use ctfleet::pb::watch_flows_response::Message;
use ctfleet::pb::{self, WatchExpectationsRequest, WatchFlowsRequest};
use tonic::Code;

use super::client::{Agent, Copy, all, comparable};
use super::*;
use crate::harness::flows;
use crate::harness::witness::Row;

const EVENTS: &str = "net/netfilter/nf_conntrack_events";

fn filtered(ns: &Netns, filter: &str) -> WatchFlowsRequest {
    let filter = ctfleet::expr::parse(filter).expect("a filter");
    WatchFlowsRequest {
        filter: Some((&filter).into()),
        ..all(ns)
    }
}

#[test]
fn the_first_message_says_that_the_watch_is_live() {
    let (ns, agent) = (Netns::new(), Agent::new(Config::default()));
    let mut watch = agent.watch(all(&ns));
    create(&ns, 0..1);
    let subscribed = watch.subscribed();
    assert!(!subscribed.destroy_events_complete);
    let cursor = subscribed.cursor.expect("a cursor");
    let events = watch.events();
    assert_eq!(events[0].0, cursor.sequence + 1);
    assert_eq!(events[0].1.flow.orig, flow(0).orig);
    ns.set_sysctl(EVENTS, "1");
    assert!(agent.watch(all(&ns)).subscribed().destroy_events_complete);
}

#[test]
fn a_snapshot_comes_before_the_events_also_of_an_empty_table() {
    let (ns, agent) = (Netns::new(), Agent::new(Config::default()));
    let request = WatchFlowsRequest {
        snapshot: true,
        ..all(&ns)
    };
    let mut empty = agent.watch(request.clone());
    empty.subscribed();
    assert_eq!(empty.snapshot(), []);
    create(&ns, 0..1000);
    let mut full = agent.watch(request);
    create(&ns, 1000..1001);
    full.subscribed();
    let mut ports: Vec<_> = full
        .snapshot()
        .iter()
        .filter_map(|flow| flow.orig.ports())
        .map(|(src, _)| src)
        .collect();
    ports.sort_unstable();
    // What happened between the subscription and the dump is in both.
    assert!(ports.into_iter().eq(0..1001));
    assert_eq!(full.events()[0].1.flow.orig, flow(1000).orig);
}

#[test]
fn the_filter_holds_for_snapshot_and_events() {
    let (ns, agent) = (Netns::new(), Agent::new(Config::default()));
    create(&ns, 0..10);
    let request = WatchFlowsRequest {
        snapshot: true,
        event_types: vec![pb::EventType::New.into()],
        ..filtered(&ns, "sport 3,4,13,14")
    };
    let mut watch = agent.watch(request);
    watch.subscribed();
    assert_eq!(watch.snapshot().len(), 2);
    create(&ns, 10..20);
    ns.conntrack("-D -p udp --sport 3");
    create(&ns, 20..21);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(watch.events());
    }
    let seen: Vec<_> = seen
        .iter()
        .map(|(sequence, event)| (*sequence, event.kind, event.flow.orig.ports()))
        .collect();
    // Numbers count what was heard, not what passed.
    assert_eq!(
        seen,
        [
            (4, EventType::New, Some((13, 53))),
            (5, EventType::New, Some((14, 53)))
        ]
    );
}

/// Creates, changes and deletes entries; the last to go is the marker.
fn churn(ns: &Netns, rounds: u32) -> Flow {
    for round in 0..rounds {
        let begin = round * 50;
        create(ns, begin..begin + 100);
        for n in (begin..begin + 100).step_by(3) {
            set_mark(ns, &flow(n), n);
        }
        let mut batch = Batch::open(&ns.namespace()).expect("a connection");
        for n in begin..begin + 50 {
            batch.delete(&flow(n).key()).expect("encoded");
        }
        for n in begin + 50..begin + 100 {
            // Made anew by the next round, with another id.
            if round + 1 < rounds {
                batch.delete(&flow(n).key()).expect("encoded");
            }
        }
        assert_eq!(batch.commit().expect("an answer").failures, []);
    }
    let marker = flow(0xffff);
    ns.create(std::slice::from_ref(&marker));
    ns.conntrack("-D -p udp --sport 65535");
    marker
}

/// Whatever happens between the messages, and however slow the client is: in the end its
/// copy is the table.
fn copy_of_the_churned(ring_events: usize, patient: bool) -> Copy {
    let agent = Agent::new(Config {
        ring_events,
        ..Config::default()
    });
    let ns = Netns::new();
    // Entries that are older than the listener end with an event, too.
    ns.set_sysctl(EVENTS, "1");
    create(&ns, 10_000..13_000);
    let mut watch = agent.watch(WatchFlowsRequest {
        snapshot: true,
        resync_after_gap: true,
        ..all(&ns)
    });
    let mut copy = Copy::default();
    let marker = flow(0xffff);
    std::thread::scope(|scope| {
        let churning = scope.spawn(|| churn(&ns, 60));
        if patient {
            // Reads only when all is over.
            churning.join().expect("no panic");
        }
        while !copy.apply(watch.next(), marker.clone()) {}
    });
    let (copied, table) = (copy.rows(), comparable(ns.witness("")));
    let only_in = |one: &[Row], other: &[Row]| -> Vec<Row> {
        let other: BTreeSet<_> = other.iter().collect();
        one.iter()
            .filter(|row| !other.contains(row))
            .cloned()
            .collect()
    };
    assert_eq!(
        (only_in(&copied, &table), only_in(&table, &copied)),
        (Vec::new(), Vec::new()),
        "only in the copy, only in the table"
    );
    assert!(copy.rows().len() >= 3050, "{}", copy.rows().len());
    copy
}

#[test]
fn snapshot_and_events_are_the_table() {
    let copy = copy_of_the_churned(1 << 20, false);
    assert_eq!((copy.gaps, copy.snapshots), (0, 1));
}

#[test]
fn a_client_that_was_too_slow_is_repaired_by_a_fresh_snapshot() {
    let copy = copy_of_the_churned(1000, true);
    assert_eq!((copy.gaps, copy.snapshots), (1, 2));
}

#[test]
fn a_gap_is_exact_and_a_snapshot_follows_on_request_only() {
    let ns = Netns::new();
    let agent = Agent::new(Config {
        ring_events: 100,
        ..Config::default()
    });
    let mut repaired = agent.watch(WatchFlowsRequest {
        resync_after_gap: true,
        ..all(&ns)
    });
    let mut told = agent.watch(all(&ns));
    let mut quick = agent.watch(all(&ns));
    for watch in [&mut repaired, &mut told, &mut quick] {
        assert_eq!(watch.subscribed().cursor.expect("a cursor").sequence, 0);
    }
    for start in (0..1000).step_by(50) {
        create(&ns, start..start + 50);
        let mut heard = 0;
        while heard < 50 {
            heard += quick.events().len();
        }
    }
    let gap = told.gap();
    assert_eq!(gap.source(), pb::GapSource::Subscriber);
    assert!(gap.lost >= 900);
    assert_eq!(gap.next_sequence, gap.lost + 1);
    let mut left = Vec::new();
    while left.len() as u64 + gap.lost < 1000 {
        left.extend(told.events());
    }
    assert_eq!(left[0].0, gap.next_sequence);
    assert_eq!(left[left.len() - 1].0, 1000);

    assert_eq!(repaired.gap(), gap);
    assert_eq!(repaired.snapshot().len(), 1000);
    assert_eq!(repaired.events()[0].0, gap.next_sequence);
}

#[test]
fn snapshots_come_at_an_interval() {
    let (ns, agent) = (Netns::new(), Agent::new(Config::default()));
    let begun = Instant::now();
    let mut watch = agent.watch(WatchFlowsRequest {
        snapshot: true,
        resync_interval: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..all(&ns)
    });
    watch.subscribed();
    assert_eq!(watch.snapshot(), []);
    create(&ns, 0..1);
    let (mut snapshots, mut heard) = (0, 0);
    while snapshots < 2 || heard == 0 {
        match watch.next() {
            Message::Events(events) => heard += events.events.len(),
            Message::Snapshot(chunk) => assert_eq!((chunk.first, chunk.flows.len()), (true, 1)),
            Message::SnapshotEnd(_) => {
                snapshots += 1;
                assert!(begun.elapsed() >= Duration::from_secs(snapshots));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, 1);
}

#[test]
fn a_cursor_continues_a_broken_stream_or_is_too_old() {
    let ns = Netns::new();
    let agent = Agent::new(Config {
        ring_events: 100,
        ..Config::default()
    });
    let mut watch = agent.watch(all(&ns));
    let mut cursor = watch.subscribed().cursor.expect("a cursor");
    create(&ns, 0..5);
    let mut last = Vec::new();
    while last.len() < 5 {
        last.extend(watch.events());
    }
    drop(watch);
    create(&ns, 5..8);
    cursor.sequence = last[4].0;
    let resume = |cursor| WatchFlowsRequest {
        resume_after: Some(cursor),
        ..all(&ns)
    };
    let mut again = agent.watch(resume(cursor));
    assert_eq!(again.subscribed().cursor, Some(cursor));
    assert_eq!(again.events()[0].0, cursor.sequence + 1);
    drop(again);
    create(&ns, 8..500);
    until("the ring to turn over", || {
        let refused = agent.try_watch(resume(cursor)).err()?;
        assert_eq!(refused.code(), Code::OutOfRange);
        Some(())
    });
}

#[test]
fn a_drain_ends_watches_that_wait_and_those_in_a_snapshot() {
    let (ns, agent) = (Netns::new(), Agent::new(Config::default()));
    create(&ns, 0..5000);
    let mut waiting = agent.watch(all(&ns));
    waiting.subscribed();
    let mut dumping = agent.watch(WatchFlowsRequest {
        snapshot: true,
        ..all(&ns)
    });
    dumping.subscribed();
    assert!(matches!(dumping.next(), Message::Snapshot(_)));
    agent.trigger.start();
    for watch in [&mut waiting, &mut dumping] {
        let status = watch.try_next().expect_err("the end");
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "agent is stopping");
    }
}

#[test]
fn leaving_a_watch_leaves_its_groups() {
    let ns = Netns::new();
    let agent = Agent::new(Config {
        grace: Duration::ZERO,
        ..Config::default()
    });
    let groups = |expected: usize| {
        until("the groups to be joined or left", || {
            let rows = ns.proc_net("netlink");
            let joined = rows.iter().filter(|row| row["Groups"] != "00000000");
            (joined.count() == expected).then_some(())
        });
    };
    let watch = agent.watch(all(&ns));
    groups(1);
    drop(watch);
    groups(0);
}

#[test]
fn requests_that_cannot_be_are_refused_with_the_field() {
    let (ns, agent) = (Netns::new(), Agent::new(Config::default()));
    let invalid = |request: WatchFlowsRequest| {
        let (code, message) = agent.refusal(request);
        assert_eq!(code, Code::InvalidArgument, "{message}");
        message
    };
    for (number, why) in [
        (0, "event_types[1]: is required"),
        (9, "event_types[1]: has the unknown value 9"),
    ] {
        let event_types = vec![1, number];
        let request = WatchFlowsRequest {
            event_types,
            ..all(&ns)
        };
        assert_eq!(invalid(request), why);
    }
    for (seconds, nanos) in [(0, 999_999_999), (-5, 0), (0, 0)] {
        let request = WatchFlowsRequest {
            resync_interval: Some(prost_types::Duration { seconds, nanos }),
            ..all(&ns)
        };
        assert_eq!(invalid(request), "resync_interval: must be at least 1 s");
    }
    let of_expectations = filtered(&ns, "expect-class 0");
    let message = invalid(of_expectations);
    assert!(message.starts_with("filter"), "{message}");
    let nowhere = WatchFlowsRequest {
        network_namespace: "no-such-namespace".to_owned(),
        ..all(&ns)
    };
    assert_eq!(agent.refusal(nowhere).0, Code::NotFound);
    let outside = WatchFlowsRequest {
        network_namespace: "../../proc/1/ns/net".to_owned(),
        ..all(&ns)
    };
    assert!(invalid(outside).starts_with("network_namespace: "));

    let update = WatchExpectationsRequest {
        network_namespace: ns.name().to_owned(),
        event_types: vec![pb::EventType::Update.into()],
        ..WatchExpectationsRequest::default()
    };
    let refused = agent.watch_expectations(update).err().expect("a refusal");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("event_types[0]: "));
}

#[test]
fn what_the_agent_or_the_kernel_cannot_do_has_a_code_of_its_own() {
    let ns = Netns::new();
    let agent = Agent::new(Config {
        max_watchers: 1,
        ..Config::default()
    });
    ns.set_sysctl(EVENTS, "0");
    let (code, message) = agent.refusal(all(&ns));
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains("nf_conntrack_events"), "{message}");
    ns.set_sysctl(EVENTS, "2");
    let first = agent.watch(all(&ns));
    assert_eq!(agent.refusal(all(&ns)).0, Code::ResourceExhausted);
    drop(first);
    agent.watch(all(&ns)).subscribed();
}

#[test]
fn expectations_are_watched_like_flows() {
    let (ns, agent) = (Netns::new(), Agent::new(Config::default()));
    let master = flows::helped(flows::flow(Family::V4, Protocol::TCP, 21), "ftp");
    let mut watch = agent
        .watch_expectations(WatchExpectationsRequest {
            network_namespace: ns.name().to_owned(),
            snapshot: true,
            ..WatchExpectationsRequest::default()
        })
        .expect("a watch");
    let mut next = || {
        let response = watch.try_next().expect("no error");
        response.message.expect("a message")
    };
    assert!(matches!(next(), ExpectationMessage::Subscribed(_)));
    let ExpectationMessage::Snapshot(chunk) = next() else {
        panic!("no snapshot");
    };
    assert!(chunk.first && chunk.expectations.is_empty());
    let ExpectationMessage::SnapshotEnd(end) = next() else {
        panic!("no end");
    };
    assert_eq!(end.entries, 0);

    ns.create(std::slice::from_ref(&master));
    let expectation = flows::expectation(&master, 7000);
    let mut batch = Batch::open(&ns.namespace()).expect("a connection");
    batch
        .create_expectation(&expectation, CreateMode::Create)
        .expect("encoded");
    assert_eq!(batch.commit().expect("an answer").failures, []);
    batch
        .delete_expectation(&expectation.key())
        .expect("encoded");
    assert_eq!(batch.commit().expect("an answer").failures, []);
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let ExpectationMessage::Events(events) = next() else {
            panic!("no events");
        };
        for event in events.events {
            let tuple = event.expectation.clone().and_then(|e| e.tuple);
            let expected = pb::Expectation::from(&expectation).tuple;
            assert_eq!(tuple, expected);
            kinds.push(event.r#type());
        }
    }
    assert_eq!(kinds, [pb::EventType::New, pb::EventType::Destroy]);
}
