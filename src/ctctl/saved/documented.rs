//! docs/json.md says what the code does: every key and every name is in it, and its
//! examples can be read.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::Reader;
use crate::ctctl::output::{EventOrigin, Format, Layout, Notice, Origin, formatter};
use crate::flow::*;

const DOCUMENT: &str = include_str!("../../../docs/json.md");

/// The words in code font.
fn documented() -> BTreeSet<&'static str> {
    // Odd pieces are between backquotes.
    let code = DOCUMENT.split('`').skip(1).step_by(2);
    code.collect()
}

fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                found.insert(key.clone());
                keys(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[track_caller]
fn assert_documented(object: &[u8]) {
    let value: Value = serde_json::from_slice(object).expect("JSON");
    let mut found = BTreeSet::new();
    keys(&value, &mut found);
    if let Some(Value::String(event)) = value.get("event") {
        found.insert(event.clone());
    }
    let known = documented();
    let missing: Vec<_> = found
        .iter()
        .filter(|key| !known.contains(key.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in docs/json.md: {missing:?}");
}

const ORIGIN: Origin<'_> = Origin {
    node: Some("fw1"),
    event: Some(EventOrigin::Event {
        kind: EventType::New,
        sequence: 1,
        port_id: 1,
    }),
};

proptest! {
    #[test]
    fn every_key_of_an_entry(flow in arbitrary::flow(), expectation in arbitrary::expectation()) {
        let mut formatter = formatter(Format::Jsonl, Layout::default());
        let mut out = Vec::new();
        formatter.flow(&mut out, ORIGIN, &flow);
        assert_documented(&out);
        out.clear();
        formatter.expectation(&mut out, ORIGIN, &expectation);
        assert_documented(&out);
    }
}

#[test]
fn every_key_of_a_watch() {
    for notice in [
        Notice::Subscribed {
            epoch: 1,
            sequence: 2,
            destroy_events_complete: true,
        },
        Notice::SnapshotBegin,
        Notice::SnapshotEnd { entries: 1 },
        Notice::Gap {
            kernel: false,
            lost: 1,
            next_sequence: 2,
        },
    ] {
        let mut out = Vec::new();
        formatter(Format::Jsonl, Layout::default()).notice(&mut out, Some("fw1"), &notice);
        assert_documented(&out);
    }
    for event in ["SNAPSHOT", "UPDATE", "DESTROY", "kernel", "subscriber"] {
        assert!(documented().contains(event), "{event}");
    }
}

#[test]
fn every_name_of_a_value() {
    let known = documented();
    let tcp = TcpState::NAMES.iter().map(|(_, name)| *name);
    let sctp = SctpState::NAMES.iter().map(|(_, name)| *name);
    let dccp = DccpState::NAMES.iter().map(|(_, name)| *name);
    let status = Status::NAMES.iter().map(|(_, name)| *name);
    let expect = EXPECT_FLAG_NAMES.iter().map(|(_, name)| *name);
    let names = tcp.chain(sctp).chain(dccp).chain(status).chain(expect);
    for name in names.chain(TcpFlags::NAMES) {
        assert!(known.contains(name), "{name}");
    }
    for protocol in (0..=255).filter_map(|n| Protocol(n).name()) {
        assert!(known.contains(protocol), "{protocol}");
    }
}

/// The text of the first block of this language.
fn example(language: &str) -> &'static str {
    let (_, rest) = DOCUMENT
        .split_once(&format!("```{language}\n"))
        .expect("a block");
    rest.split("```").next().expect("its end")
}

#[test]
fn the_examples_can_be_read() {
    let flow = example("json").replace('\n', "");
    let flows: Vec<_> = Reader::<_, Flow>::new(flow.as_bytes()).collect();
    assert!(matches!(&flows[..], [Ok(_)]), "{flows:?}");

    let saved: Vec<_> = Reader::<_, Flow>::new(example("text").as_bytes()).collect();
    let [Ok(saved)] = &saved[..] else {
        panic!("{saved:?}")
    };
    assert_eq!(saved.node.as_deref(), Some("fw1"));
    assert_eq!(saved.entry.labels, Some(Labels(0b10_0010)));
}
