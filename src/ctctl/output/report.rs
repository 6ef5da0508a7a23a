//! Small complete tables: statistics, counts, settings, what a change came to.

use std::borrow::Cow;

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
}
