//! docs/operation.md says which fields a line has, and which lines there are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::record::{Event, Record};
use super::*;

const PAGE: &str = include_str!("../../docs/operation.md");

/// The rows of the table with this head: the words in backquotes of their first column, and
/// their second column.
fn table(head: &str) -> Vec<(Vec<&'static str>, &'static str)> {
    let rows: Vec<_> = PAGE
        .lines()
        .skip_while(|line| *line != head)
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let words = cells.next().unwrap_or_default().split('`');
            let words = words.skip(1).step_by(2).collect();
            (words, cells.next().unwrap_or_default())
        })
        .collect();
    assert!(!rows.is_empty(), "no table {head}");
    rows
}

const EVENTS: [Event; 5] = [
    Event::Start,
    Event::Intent,
    Event::Result,
    Event::Denied,
    Event::Lost,
];

/// A line of this kind, with everything that it can have.
fn full(event: Event) -> Map<String, Value> {
    let of_a_call = matches!(event, Event::Intent | Event::Result | Event::Denied);
    let intent = Intent {
        call: Call {
            role: Some("admin".to_owned()),
            network_namespace: Some(String::new()),
            ..Call::default()
        },
        filter: Some(String::new()),
        items: Some(1),
        detail: Some(String::new()),
        dry_run: Some(true),
        max_affected: Some(1),
        include_own_connections: true,
        ..Intent::default()
    };
    let outcome = Outcome {
        message: "why".to_owned(),
        ..Outcome::ok((event == Event::Result).then(Counts::default))
    };
    let record = Record {
        call: of_a_call.then_some(1),
        intent: of_a_call.then(|| Arc::new(intent)),
        outcome: matches!(event, Event::Result | Event::Denied).then_some(outcome),
        duration: (event == Event::Result).then_some(Duration::ZERO),
        lines: (event == Event::Lost).then_some(1),
        ..Record::of(event)
    };
    serde_json::from_slice(&record.line("1-2").expect("a line")).expect("an object")
}

#[test]
fn every_field_has_its_row_with_the_lines_that_have_it() {
    let mut actual = BTreeSet::new();
    for event in EVENTS {
        let line = full(event);
        let name = line["event"].as_str().expect("text").to_owned();
        actual.extend(line.keys().map(|key| (key.clone(), name.clone())));
    }
    let mut documented = BTreeSet::new();
    for (fields, lines) in table("| field | lines | |") {
        for field in fields {
            let lines: Vec<_> = match lines {
                "all" => EVENTS.map(|event| full(event)["event"].clone()).into(),
                some => some.split(", ").map(Value::from).collect(),
            };
            let line = |line: Value| (field.to_owned(), line.as_str().unwrap_or("").to_owned());
            documented.extend(lines.into_iter().map(line));
        }
    }
    assert_eq!(documented, actual);
}

#[test]
fn every_line_has_its_row() {
    let documented: Vec<_> = table("| line | |")
        .into_iter()
        .flat_map(|(names, _)| names)
        .map(Value::from)
        .collect();
    assert_eq!(documented, EVENTS.map(|event| full(event)["event"].clone()));
}

#[test]
fn every_target_is_named() {
    let row = table("| field | lines | |")
        .into_iter()
        .find(|(fields, _)| *fields == ["target"])
        .expect("a row");
    assert_eq!(row.1, "intent, result, denied");
    for target in [
        Target::Everything,
        Target::Filter,
        Target::Keys,
        Target::Ids,
        Target::Entries,
        Target::Settings,
        Target::None,
    ] {
        let name = serde_json::to_value(target).expect("a name");
        let quoted = format!("`{}`", name.as_str().expect("text"));
        let line = PAGE.lines().find(|line| line.starts_with("| `target` |"));
        assert!(line.expect("a row").contains(&quoted), "{quoted}");
    }
}
