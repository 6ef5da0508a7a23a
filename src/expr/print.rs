//! Trees to text: the one way to write a filter that [`parse`](super::parse) reads back as
//! its normal form.

use std::fmt::{self, Write as _};

use ipnet::IpNet;

use super::lex::is_plain;
use super::vocabulary::{self as words, Names};
use crate::flow::filter::{Filter, NumberField, NumberRange, Predicate};

/// How tightly the surroundings bind: what binds weaker needs parentheses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Or,
    And,
    Not,
}

/// Writes a filter that is in its normal form.
pub(super) fn write(text: &mut String, filter: &Filter) -> fmt::Result {
    node(text, filter, Binding::Or)
}

fn node(text: &mut String, filter: &Filter, around: Binding) -> fmt::Result {
    match filter {
        Filter::And(filters) if filters.is_empty() => text.write_str("all"),
        Filter::Or(filters) if filters.is_empty() => text.write_str("none"),
        Filter::And(filters) => bracketed(text, around > Binding::And, |text| {
            joined(text, filters, " and ", |text, filter| {
                node(text, filter, Binding::And)
            })
        }),
        Filter::Or(filters) => match states(filters) {
            // `state` alone binds as tightly as any condition.
            (Some(state), []) => text.write_str(&state),
            (state, rest) => bracketed(text, around > Binding::Or, |text| {
                if let Some(state) = state {
                    write!(text, "{state} or ")?;
                }
                joined(text, rest, " or ", |text, filter| {
                    node(text, filter, Binding::Or)
                })
            }),
        },
        Filter::Not(filter) => {
            text.write_str("not ")?;
            node(text, filter, Binding::Not)
        }
        Filter::Is(predicate) => condition(text, predicate),
    }
}

fn bracketed(
    text: &mut String,
    needed: bool,
    inside: impl FnOnce(&mut String) -> fmt::Result,
) -> fmt::Result {
    if needed {
        text.push('(');
        inside(text)?;
        text.push(')');
        Ok(())
    } else {
        inside(text)
    }
}

fn joined<T>(
    text: &mut String,
    list: &[T],
    separator: &str,
    mut each: impl FnMut(&mut String, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            text.push_str(separator);
        }
        each(text, item)?;
    }
    Ok(())
}

/// `state ...` if the list begins with the conditions that it stands for, and what follows
/// them.
fn states(filters: &[Filter]) -> (Option<String>, &[Filter]) {
    let state_field = |filter: &Filter| match filter {
        Filter::Is(Predicate::Number(field, None, ranges)) => {
            let place = words::STATE_FIELDS
                .iter()
                .position(|state| state == field)?;
            Some((place, *field, value_names(*field, ranges)?))
        }
        _ => None,
    };
    let mut names: Vec<&str> = Vec::new();
    let mut length = 0;
    let mut last = None;
    for filter in filters {
        match state_field(filter) {
            Some((place, _, more)) if last.is_none_or(|last| last < place) => {
                last = Some(place);
                length += 1;
                names.extend(
                    more.iter()
                        .filter(|name| !names.contains(name))
                        .collect::<Vec<_>>(),
                );
            }
            _ => break,
        }
    }
    let (first, rest) = filters.split_at(length);
    let means = words::state(names.iter().copied()).map(Filter::normal);
    if length > 1 && means == Some(Filter::Or(first.to_vec())) {
        (Some(format!("state {}", names.join(","))), rest)
    } else {
        (None, filters)
    }
}

fn condition(text: &mut String, predicate: &Predicate) -> fmt::Result {
    match predicate {
        Predicate::Address(field, networks) => {
            write!(text, "{} ", field.name())?;
            joined(text, networks, ",", network)
        }
        Predicate::Number(field, mask, ranges) => number(text, *field, *mask, ranges),
        Predicate::Labels { value, mask } => {
            if value == mask && value.0.count_ones() < 128 {
                text.push_str("label ");
                let numbers: Vec<_> = value.iter().collect();
                joined(text, &numbers, ",", |text, number| write!(text, "{number}"))
            } else if mask.0 == u128::MAX {
                write!(text, "labels {:#x}", value.0)
            } else {
                write!(text, "labels {:#x}/{:#x}", value.0, mask.0)
            }
        }
        Predicate::Text(field, values) => {
            write!(text, "{} ", field.name())?;
            joined(text, values, ",", |text, value| quoted(text, value))
        }
        Predicate::Present(field) => write!(text, "has {}", field.name()),
        Predicate::Translated(how) => text.write_str(how.name()),
    }
}

fn network(text: &mut String, network: &IpNet) -> fmt::Result {
    if network.prefix_len() == network.max_prefix_len() {
        write!(text, "{}", network.addr())
    } else {
        write!(text, "{network}")
    }
}

fn quoted(text: &mut String, value: &str) -> fmt::Result {
    if is_plain(value) {
        return text.write_str(value);
    }
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() => write!(text, "\\u{{{:x}}}", u32::from(c))?,
            c => text.push(c),
        }
    }
    text.push('"');
    Ok(())
}

fn number(
    text: &mut String,
    field: NumberField,
    mask: Option<u64>,
    ranges: &[NumberRange],
) -> fmt::Result {
    let name = field.name();
    match (mask, ranges) {
        (Some(mask), [one]) if one.min == one.max => {
            if let Some(names) = bit_names(field, mask, one.min) {
                return write!(text, "{name} {}", names.join(","));
            }
            // The value after a slash has no bit outside of the mask.
            if one.min.cast_unsigned() & !mask == 0 {
                write!(text, "{name} ")?;
                literal(text, field, one.min)?;
                return write!(text, "/{mask:#x}");
            }
        }
        (None, ranges) => {
            if let Some(names) = value_names(field, ranges) {
                return write!(text, "{name} {}", names.join(","));
            }
        }
        _ => {}
    }
    text.push_str(name);
    let mut possible = field.number_type().range();
    if let Some(mask) = mask {
        write!(text, " & {mask:#x}")?;
        possible = NumberRange {
            min: 0,
            max: i64::try_from(mask).unwrap_or(i64::MAX),
        };
    }
    match ranges {
        [one] if one.min < one.max && one.max == possible.max && one.min > possible.min => {
            let (operator, number) = rounder(">=", one.min, ">", one.min - 1);
            write!(text, " {operator} ")?;
            literal(text, field, number)
        }
        [one] if one.min < one.max && one.min == possible.min && one.max < possible.max => {
            let (operator, number) = rounder("<=", one.max, "<", one.max + 1);
            write!(text, " {operator} ")?;
            literal(text, field, number)
        }
        ranges => {
            text.push_str(if mask.is_some() { " = " } else { " " });
            joined(text, ranges, ",", |text, range| {
                literal(text, field, range.min)?;
                if range.min < range.max {
                    text.push('-');
                    literal(text, field, range.max)?;
                }
                Ok(())
            })
        }
    }
}

/// The comparison with the rounder number: the second if that has more zeros at its end.
fn rounder<'a>(
    including: &'a str,
    number: i64,
    excluding: &'a str,
    neighbour: i64,
) -> (&'a str, i64) {
    let zeros = |number: i64| {
        number
            .to_string()
            .bytes()
            .rev()
            .take_while(|b| *b == b'0')
            .count()
    };
    if zeros(neighbour) > zeros(number) {
        (excluding, neighbour)
    } else {
        (including, number)
    }
}

fn literal(text: &mut String, field: NumberField, number: i64) -> fmt::Result {
    if words::is_hexadecimal(field) && number > 9 {
        write!(text, "{number:#x}")
    } else {
        write!(text, "{number}")
    }
}

/// The names of all values in the ranges, if all have one.
fn value_names(field: NumberField, ranges: &[NumberRange]) -> Option<Vec<&'static str>> {
    if words::names(field) != Names::Values {
        return None;
    }
    let named = words::named(field);
    let mut names = Vec::new();
    for range in ranges {
        let inside = named
            .iter()
            .filter(|(value, _)| (range.min..=range.max).contains(value));
        let before = names.len();
        names.extend(inside.map(|(_, name)| *name));
        // No value of the range without a name.
        let found = i64::try_from(names.len() - before).ok()?;
        if range.max.checked_sub(range.min)?.checked_add(1)? != found {
            return None;
        }
    }
    Some(names)
}

/// The names of the bits that must be set, if those are all that count and all have one.
fn bit_names(field: NumberField, mask: u64, value: i64) -> Option<Vec<&'static str>> {
    if words::names(field) != Names::Bits || value.cast_unsigned() != mask {
        return None;
    }
    let named = words::named(field);
    let set: Vec<_> = named.iter().filter(|(bit, _)| value & bit != 0).collect();
    let together = set.iter().fold(0, |bits, (bit, _)| bits | bit);
    (together == value).then(|| set.into_iter().map(|(_, name)| *name).collect())
}
