//! Holds docs/filter.md to what the language is: a field, name or example that is missing
//! there, left over there or wrong there fails here.

use super::vocabulary::{self as words, Names, Unit};
use super::*;
use crate::flow::Protocol;
use crate::flow::filter::{
    AddressField, Kind, NumberField, Predicate, PresenceField, TextField, Translation,
};

const PAGE: &str = include_str!("../../docs/filter.md");

/// The rows of the table below a heading, as cells; without the header.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = PAGE.split_once(&format!("\n{heading}\n")).unwrap();
    section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// What stands in backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What the column "of" says of a field.
fn of(fits: impl Fn(Kind) -> bool) -> &'static str {
    match (fits(Kind::Flow), fits(Kind::Expectation)) {
        (true, true) => "both",
        (true, false) => "flows",
        (false, true) => "expectations",
        (false, false) => "nothing",
    }
}

/// Checks the first cell, the column "of" and the example of each row: the example is about
/// the field, and the kinds that the column names take it.
fn check(rows: &[Vec<&str>], of_column: usize, expected: &[(&str, &str)]) {
    let names: Vec<_> = rows.iter().map(|row| quoted(row[0])[0]).collect();
    let expected_names: Vec<_> = expected.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, expected_names);
    for (row, (name, of_kinds)) in rows.iter().zip(expected) {
        assert_eq!(row[of_column], *of_kinds, "{name}");
        let example = quoted(row.last().unwrap())[0];
        let filter = parse(example).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            of(|kind| filter.check(kind).is_ok()),
            *of_kinds,
            "{example}"
        );
        assert!(
            example.split_whitespace().any(|word| word == *name),
            "{example}"
        );
    }
}

#[test]
fn every_address() {
    let expected: Vec<_> = AddressField::ALL
        .iter()
        .map(|f| (f.name(), of(|kind| f.is_of(kind))))
        .collect();
    check(&table("### Addresses"), 1, &expected);
}

#[test]
fn every_number() {
    let expected: Vec<_> = NumberField::ALL
        .iter()
        .map(|f| (f.name(), of(|kind| f.is_of(kind))))
        .collect();
    let rows = table("### Numbers");
    check(&rows, 3, &expected);
    for (row, field) in rows.iter().zip(NumberField::ALL) {
        let unit = match words::unit(*field) {
            Unit::Plain => "",
            Unit::Packets => "packets",
            Unit::Bytes => "bytes",
            Unit::Seconds => "seconds",
            Unit::Nanoseconds => "ns",
        };
        assert_eq!(
            row[1..3],
            [field.number_type().name(), unit],
            "{}",
            field.name()
        );
    }
}

#[test]
fn every_text_label_and_state() {
    let expected: Vec<_> = TextField::ALL
        .iter()
        .map(|f| (f.name(), of(|kind| f.is_of(kind))))
        .collect();
    check(&table("### Texts"), 1, &expected);
    let expected = [("label", "flows"), ("labels", "flows"), ("state", "flows")];
    check(&table("### Labels and states"), 1, &expected);
}

#[test]
fn every_part() {
    let expected: Vec<_> = PresenceField::ALL
        .iter()
        .map(|f| (f.name(), of(|kind| f.is_of(kind))))
        .collect();
    check(&table("### Parts"), 1, &expected);
}

#[test]
fn every_word() {
    let rows = table("### Words");
    let documented: Vec<_> = rows.iter().flat_map(|row| quoted(row[0])).collect();
    for row in &rows {
        for word in quoted(row[0]) {
            let filter = parse(word).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(row[1], of(|kind| filter.check(kind).is_ok()), "{word}");
        }
        // What a word stands for.
        if let ([word], [meaning]) = (&quoted(row[0])[..], &quoted(row[2])[..]) {
            assert_eq!(parse(word), parse(meaning), "{word}");
        }
    }
    let words = words::beginnings()
        .filter(|word| words::condition(word).is_some())
        .chain(Translation::ALL.iter().map(|how| how.name()))
        .chain(Protocol::NAMES.iter().map(|(_, name)| *name));
    for word in words {
        assert!(documented.contains(&word), "{word}");
    }
    // The other names of fields.
    for word in words::beginnings().filter(|word| words::condition(word).is_none()) {
        assert!(PAGE.contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn every_name_of_a_value() {
    let rows = table("- **Names** stand for numbers where a field has them:");
    let mut documented = Vec::new();
    for row in rows {
        for name in quoted(row[0]) {
            let field = NumberField::from_name(name).unwrap();
            let names = quoted(row[1]);
            for (value, name) in words::named(field) {
                assert!(names.contains(&name), "{name}");
                assert_eq!(words::value_of_name(field, name), Some(value), "{name}");
            }
            for name in names {
                assert!(words::value_of_name(field, name).is_some(), "{name}");
            }
            let bits = words::names(field) == Names::Bits;
            assert_eq!(row[0].contains("(bits)"), bits, "{name}");
            documented.push(field);
        }
    }
    for field in NumberField::ALL {
        let has_names = words::names(*field) != Names::None;
        assert_eq!(documented.contains(field), has_names, "{}", field.name());
    }
}

#[test]
fn every_example() {
    let mut fences = 0;
    for block in PAGE.split("```filter\n").skip(1) {
        for line in block.lines().take_while(|line| *line != "```") {
            parse(line).unwrap_or_else(|error| panic!("{error}"));
            fences += 1;
        }
    }
    assert!(fences >= 4);
    for row in table("## From conntrack(8)") {
        for text in quoted(row[1]) {
            // The number stands for a name.
            let text = text.replace("label N", "label 1");
            parse(&text).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn what_the_page_claims() {
    let same = |a: &str, b: &str| assert_eq!(parse(a).unwrap(), parse(b).unwrap());
    same(
        "not tcp and dport 53 or udp",
        "((not tcp) and dport 53) or udp",
    );
    same(
        "state ESTABLISHED",
        "tcp-state ESTABLISHED or sctp-state ESTABLISHED",
    );
    same("dport != 53,55", "not dport {53, 55}");
    let printed = print(&parse("dport {443, 80,81} && !(timeout < 5m)").unwrap());
    assert!(PAGE.contains(&format!("`{printed}`")), "{printed}");
    let error = parse("src 10.0.0.0/8 and dprt 443").unwrap_err();
    assert!(PAGE.contains(&error.to_string()), "{error}");
    assert!(PAGE.contains(&format!(
        "at most\n{MAX_LENGTH} bytes, at most {MAX_NESTING} parentheses"
    )));
    assert!(PAGE.contains(&format!("at most {MAX_DEPTH} levels of conditions")));
    let six = parse("status 6").unwrap();
    assert!(matches!(
        six,
        Filter::Is(Predicate::Number(NumberField::Status, None, _))
    ));
}
