//! What docs/api.md says of errors and limits is what the code does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::api::{change, pull, request, status};
use crate::ctnetlink::KernelError;
use crate::wire;

const PAGE: &str = include_str!("../../docs/api.md");

/// The rows of the table with this head.
fn table(head: &str) -> Vec<Vec<&'static str>> {
    let rows: Vec<_> = PAGE
        .lines()
        .skip_while(|line| *line != head)
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(!rows.is_empty(), "no table {head}");
    rows
}

#[test]
fn every_errno_answers_the_code_of_its_row() {
    let rows = table("| errno | code |");
    for errno in 1..134 {
        let error = KernelError::from_errno(errno);
        let row = rows
            .iter()
            .find(|row| row[0].split(", ").any(|name| name == error.name()));
        let documented = row.map_or("UNKNOWN", |row| row[1]);
        let code = status::code_name(status::kernel(&error).code());
        assert_eq!(documented, code, "{error}");
    }
}

#[test]
fn every_reason_has_its_row() {
    let documented: BTreeSet<_> = table("| reason | code | when |")
        .into_iter()
        .map(|row| row[0].to_owned())
        .collect();
    let mut used = BTreeSet::new();
    literals(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api"),
        &mut used,
    );
    assert_eq!(documented, used);
}

/// The texts in capitals that stand in quotation marks below a directory.
fn literals(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            literals(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        if path.ends_with("documented.rs") {
            continue;
        }
        let capitals = |text: &&str| {
            text.len() > 4 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
        };
        let quoted = code.split('"').skip(1).step_by(2).filter(capitals);
        found.extend(
            quoted
                .filter(|text| !text.starts_with("CARGO_"))
                .map(Into::into),
        );
    }
}

#[test]
fn limits_are_those_of_the_code() {
    for sentence in [
        format!("{} keys or ids", grouped(request::Bounds::default().items)),
        format!(
            "a channel of {} messages",
            ["no", "one", "two"][pull::WAITING]
        ),
        format!("up to {} samples", change::SAMPLES),
        format!("the first {}", change::FAILURES),
        format!("{} levels deep", wire::MAX_FILTER_DEPTH),
        format!("{} conditions", grouped(wire::MAX_FILTER_NODES)),
        format!("{} values", grouped(wire::MAX_FILTER_VALUES)),
    ] {
        assert!(unwrapped().contains(&sentence), "{sentence}");
    }
}

fn unwrapped() -> String {
    PAGE.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// 100000 as 100,000.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
