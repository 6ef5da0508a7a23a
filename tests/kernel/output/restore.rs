//! The format `save`, emptied tables, and what comes back.

use std::collections::BTreeMap;

use ctfleet::ctctl::saved::Reader;
use ctfleet::ctnetlink::ExpectationDumpRequest;
use ctfleet::flow::Synproxy;

use super::*;
use crate::harness::until;

/// Everything of a flow that is not the kernel's own to choose.
fn lasting(flow: &Flow) -> Flow {
    let mut flow = flow.clone();
    flow.id = None;
    flow.use_count = None;
    flow.counters_orig = None;
    flow.counters_reply = None;
    flow.timestamps = Default::default();
    flow.timeout = None;
    // What ctnetlink creates gets the extension, empty; what packets create has none.
    flow.synproxy = flow.synproxy.filter(|s| *s != Synproxy::default());
    flow
}

/// Timeouts by the text of their flow.
type Table = BTreeMap<String, Option<u32>>;

fn lasting_table(flows: &[Flow]) -> Table {
    flows
        .iter()
        .map(|flow| (format!("{:?}", lasting(flow)), flow.timeout))
        .collect()
}

#[track_caller]
fn assert_same_table(after: &[Flow], before: &[Flow]) {
    assert_eq!(after.len(), before.len());
    let (after, before) = (lasting_table(after), lasting_table(before));
    let only = |one: &Table, other: &Table| -> Vec<String> {
        let missing = one.keys().filter(|flow| !other.contains_key(*flow));
        missing.cloned().collect()
    };
    assert_eq!(
        only(&after, &before),
        only(&before, &after),
        "after, before"
    );
    for (flow, timeout) in &after {
        let saved = before[flow].expect("a timeout");
        let restored = timeout.expect("a timeout");
        // The clock went on; a restored entry of the same age would be a coincidence.
        assert!(
            (saved.saturating_sub(20)..=saved).contains(&restored),
            "{flow}"
        );
    }
}

/// The flows of a saved text.
fn read_back(saved: &str) -> Vec<Flow> {
    Reader::<_, Flow>::new(saved.as_bytes())
        .masters_first()
        .map(|saved| saved.unwrap_or_else(|e| panic!("{e}")).entry)
        .collect()
}

#[test]
fn a_saved_table_comes_back_exactly() {
    let ns = seeded();
    let before = ns.flows(None);
    assert_eq!(before.len(), entries().len());
    let saved = printed_flows(Format::Save, &before);
    ns.conntrack("-F");
    assert_eq!(ns.entries(), 0);
    ns.create(&read_back(&saved));
    assert_same_table(&ns.flows(None), &before);
}

#[test]
fn a_table_comes_back_exactly_from_its_json_lines() {
    let ns = seeded();
    let before = ns.flows(None);
    let saved = printed_flows(Format::Jsonl, &before);
    ns.conntrack("-F");
    ns.create(&read_back(&saved));
    assert_same_table(&ns.flows(None), &before);
}

#[test]
fn what_packets_made_comes_back_and_the_connections_live_on() {
    let (firewall, mut held) = busy();
    let router = &firewall.router;
    // Only those that no packet touches meanwhile can be compared.
    let before = until("the table to be at rest", || {
        let before = router.flows(None);
        let again = router.flows(None);
        (lasting_table(&before)
            .keys()
            .eq(lasting_table(&again).keys()))
        .then_some(before)
    });
    let saved = printed_flows(Format::Save, &before);
    router.conntrack("-F");
    router.create(&read_back(&saved));
    assert_same_table(&router.flows(None), &before);
    // Also the translated ones: without its entry a masqueraded connection would end.
    for tcp in &mut held {
        tcp.exchange(b"still here");
    }
}

/// The lines of conntrack(8) without what it cannot restore (a helper) and what the kernel
/// chooses, sorted.
fn carried(ns: &Netns) -> Vec<String> {
    let mut lines: Vec<String> = ns
        .conntrack("-L -o extended,id")
        .lines()
        .map(|line| {
            // The last id is the entry's; one before belongs to an ICMP tuple.
            let (line, _) = line.rsplit_once(" use=").expect("a use count and an id");
            let words = line.split(' ').filter(|word| !word.starts_with("helper="));
            let words = words.map(|word| match word {
                // The one state that conntrack(8) 1.4.7 can print and not read.
                "HEARTBEAT_SENT" => "NONE",
                // What the clock has left of 5000 seconds.
                word if word.parse().is_ok_and(|n: u32| (4900..=5000).contains(&n)) => "T",
                word => word,
            });
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn conntrack_takes_the_saved_lines_back() {
    let ns = seeded();
    let before = carried(&ns);
    assert_eq!(before.len(), entries().len());
    let saved = printed_flows(Format::Save, &ns.flows(None));
    ns.conntrack("-F");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("saved");
    std::fs::write(&file, &saved).expect("written");
    ns.run(["conntrack", "-R", file.to_str().expect("a path")]);
    let after = carried(&ns);
    let only = |one: &[String], other: &[String]| -> Vec<String> {
        let missing = one.iter().filter(|line| !other.contains(line));
        missing.cloned().collect()
    };
    assert_eq!(
        only(&after, &before),
        only(&before, &after),
        "after, before"
    );
    assert_eq!(after.len(), before.len());
}

#[test]
fn saved_expectations_come_back_exactly() {
    for family in [Family::V4, Family::V6] {
        let ns = with_an_expectation(family);
        let listed = || {
            let mut list = ns.expectations(ExpectationDumpRequest::default());
            for expectation in &mut list {
                assert!(expectation.timeout.take() > Some(150), "{expectation:?}");
                expectation.id = None;
            }
            list
        };
        let before = ns.expectations(ExpectationDumpRequest::default());
        for format in [Format::Save, Format::Jsonl] {
            let saved = printed_expectations(format, &before);
            let expected = listed();
            ns.conntrack("-F expect");
            assert_eq!(listed(), []);
            let back: Vec<Expectation> = Reader::new(saved.as_bytes())
                .map(|saved| saved.unwrap_or_else(|e| panic!("{e}")).entry)
                .collect();
            expect(&ns, &back);
            assert_eq!(listed(), expected, "{saved}");
        }
    }
}
