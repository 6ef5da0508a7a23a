//! Small complete tables: statistics, counts, settings, what a change came to.

use std::borrow::Cow;
use std::fmt;

use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::emit;

/// A cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Value {
    /// Nothing: left out of JSON.
    #[default]
    None,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(u64),
    /// Text.
    Text(String),
    /// Several texts.
    List(Vec<String>),
}

impl Value {
    /// Appends it as people and conntrack(8) read it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::Bool(b) => out.extend_from_slice(if *b { b"yes" } else { b"no" }),
            Self::Number(n) => emit::number(out, *n),
            Self::Text(text) => emit::text(out, text),
            Self::List(list) => {
                for (i, text) in list.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    emit::text(out, text);
                }
            }
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Self::Number(n)
    }
}

impl From<u32> for Value {
    fn from(n: u32) -> Self {
        Self::Number(n.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Vec<String>> for Value {
    fn from(list: Vec<String>) -> Self {
        Self::List(list)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

/// A small complete table. Its columns' names are the keys of its JSON objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    columns: Vec<Cow<'static, str>>,
    rows: Vec<Vec<Value>>,
    as_records: bool,
}

impl Report {
    /// A table with these columns: lower case, with underscores.
    pub fn new<C: Into<Cow<'static, str>>>(columns: impl IntoIterator<Item = C>) -> Self {
        Self {
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            as_records: false,
        }
    }

    /// For rows with many columns: people see each row as lines of name and value.
    #[must_use]
    pub fn as_records(mut self) -> Self {
        self.as_records = true;
        self
    }

    /// Adds a row. Cells that it lacks stay empty; cells beyond the columns are ignored.
    pub fn push(&mut self, row: impl IntoIterator<Item = Value>) {
        let mut row: Vec<Value> = row.into_iter().take(self.columns.len()).collect();
        row.resize(self.columns.len(), Value::None);
        self.rows.push(row);
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn columns(&self) -> impl ExactSizeIterator<Item = &str> {
        self.columns.iter().map(|c| &**c)
    }

    pub(super) fn rows(&self) -> &[Vec<Value>] {
        &self.rows
    }

    /// The width below which the table would have to break words.
    fn narrowest(&self) -> usize {
        let widths = self.columns().enumerate().map(|(i, name)| {
            let cells = self
                .rows
                .iter()
                .map(|row| longest_word(&row[i].to_string()));
            cells.max().unwrap_or_default().max(header(name).len())
        });
        widths.sum::<usize>() + GAP * self.columns.len().saturating_sub(1)
    }

    /// Draws it for people: as a table if the width allows it without breaking words.
    pub(super) fn draw(&self, out: &mut Vec<u8>, width: Option<usize>) {
        if self.rows.is_empty() {
            // As a list without entries: no header above nothing.
            return;
        }
        if self.as_records || width.is_some_and(|width| self.narrowest() > width) {
            for (i, row) in self.rows.iter().enumerate() {
                if i > 0 {
                    out.push(b'\n');
                }
                let mut table = bare_table(width);
                for (name, value) in self.columns().zip(row) {
                    let text = match value {
                        Value::None => continue,
                        Value::List(list) if list.is_empty() => "-".to_owned(),
                        // One below the other: such lists are long.
                        Value::List(list) => {
                            let texts = list.iter().map(|text| Value::from(&**text).to_string());
                            texts.collect::<Vec<_>>().join("\n")
                        }
                        value => value.to_string(),
                    };
                    table.add_row([format!("{}:", header(name)), text]);
                }
                draw(out, &table);
            }
            return;
        }
        let mut table = bare_table(width);
        table.set_header(self.columns().map(header));
        for row in &self.rows {
            table.add_row(row.iter().map(|value| match value {
                Value::None => "-".to_owned(),
                value => value.to_string(),
            }));
        }
        for (i, column) in table.column_iter_mut().enumerate() {
            let numeric = self
                .rows
                .iter()
                .any(|row| matches!(row[i], Value::Number(_)));
            if numeric {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        draw(out, &table);
    }
}

/// How far columns stand apart.
const GAP: usize = 2;

/// The longest word: a cell is wrapped between words only.
fn longest_word(text: &str) -> usize {
    let words = text.split(' ').map(|word| word.chars().count());
    words.max().unwrap_or_default()
}

/// "insert_failed" reads "INSERT-FAILED" above a column.
fn header(name: &str) -> String {
    name.replace('_', "-").to_ascii_uppercase()
}

/// No lines, two spaces between columns: as the lists look.
fn bare_table(width: Option<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.force_no_tty();
    match width {
        Some(width) => table
            .set_content_arrangement(ContentArrangement::Dynamic)
            // The spaces at both ends do not count: `draw` cuts them off.
            .set_width(u16::try_from(width + GAP).unwrap_or(u16::MAX)),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

fn draw(out: &mut Vec<u8>, table: &Table) {
    for line in table.lines() {
        // Every cell is padded by a space on both sides.
        let line = line.strip_prefix(' ').unwrap_or(&line).trim_end();
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(report: &Report, width: Option<usize>) -> String {
        let mut out = Vec::new();
        report.draw(&mut out, width);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_table_looks_like_the_lists() {
        let mut report = Report::new(["node", "count", "max_entries"]);
        report.push(["fw1".into(), 7u64.into()]);
        report.push(["firewall-2".into(), 262_144u64.into(), "x\x1b[2J".into()]);
        assert_eq!(
            drawn(&report, None),
            "\
NODE         COUNT  MAX-ENTRIES
fw1              7  -
firewall-2  262144  x\\u{1b}[2J
"
        );
    }

    #[test]
    fn a_narrow_terminal_wraps_the_longest_column() {
        let mut report = Report::new(["name", "detail"]);
        report.push(["events".into(), "one two three four five six".into()]);
        for line in drawn(&report, Some(24)).lines() {
            assert!(line.len() <= 24, "{line:?}");
        }
    }

    #[test]
    fn a_table_that_would_break_words_becomes_records() {
        let mut report = Report::new(["node", "entries", "insert_failed"]);
        report.push(["fw1:7443".into(), 262_144u64.into(), 0u64.into()]);
        let wide = "NODE      ENTRIES  INSERT-FAILED\nfw1:7443   262144              0\n";
        assert_eq!(drawn(&report, Some(32)), wide);
        assert_eq!(
            drawn(&report, Some(31)),
            "NODE:           fw1:7443\nENTRIES:        262144\nINSERT-FAILED:  0\n"
        );
    }

    #[test]
    fn nothing_has_no_header() {
        assert_eq!(drawn(&Report::new(["node", "count"]), None), "");
    }

    #[test]
    fn records_are_lines_of_name_and_value() {
        let mut report = Report::new(["node", "host_name", "limits"]).as_records();
        report.push([
            "fw1".into(),
            Value::None,
            vec!["a".to_owned(), "b".to_owned()].into(),
        ]);
        report.push(["fw2".into(), "gate".into()]);
        assert_eq!(
            drawn(&report, None),
            "\
NODE:    fw1
LIMITS:  a
         b

NODE:       fw2
HOST-NAME:  gate
"
        );
    }
}
