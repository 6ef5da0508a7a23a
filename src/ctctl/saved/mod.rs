//! Reads entries back: the lines of `ctctl -o save`, of `conntrack -L -o save` and of hand,
//! with the options of `conntrack -A`; also the lines of `ctctl -o jsonl`.
//!
//! A file is read line by line. Blank lines and comments are skipped, but for two kinds:
//! `# ctfleet: {...}` belongs to the entry in the next line and says what options cannot,
//! and `# node NAME` tells where the entries after it come from.

#[cfg(test)]
mod documented;
mod error;
mod expectation_line;
mod flow_line;
mod json;
mod line;
mod options;
mod order;
mod schema;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use crate::flow::{Expectation, Flow, Tuple};

pub use error::{LineError, Problem, SavedError};
pub use order::MastersFirst;

/// Before the JSON object that belongs to the entry in the next line.
pub(in crate::ctctl) const COMMENT: &str = "# ctfleet: ";

/// Before the continuation of such an object.
pub(in crate::ctctl) const CONTINUED: &str = "# ctfleet+ ";

/// Before the name of the node that the next entries come from.
pub(in crate::ctctl) const NODE: &str = "# node ";

/// No entry is longer. A file without line ends must not fill the memory.
const MAX_LINE: u64 = 1 << 20;

/// Something that a line can describe.
pub trait Entry: Sized {
    /// Reads a line, and the JSON object in the comment before it.
    fn from_line(line: &str, comment: Option<&str>) -> Result<Self, LineError>;

    /// The tuple that names it.
    fn tuple(&self) -> Tuple;

    /// The tuple of the entry that has to exist before it.
    fn master(&self) -> Option<Tuple>;
}

/// Adds to a flow what the comment before its line says.
pub(in crate::ctctl) fn complete_flow(flow: &mut Flow, comment: &str) -> Result<(), LineError> {
    json::complete_flow(flow, comment)
}

impl Entry for Flow {
    fn from_line(line: &str, comment: Option<&str>) -> Result<Self, LineError> {
        if line.starts_with('{') {
            return json::flow(line);
        }
        let mut flow = flow_line::parse(line)?;
        if let Some(comment) = comment {
            json::complete_flow(&mut flow, comment)?;
        }
        Ok(flow)
    }

    fn tuple(&self) -> Tuple {
        self.orig
    }

    fn master(&self) -> Option<Tuple> {
        self.master
    }
}

impl Entry for Expectation {
    fn from_line(line: &str, comment: Option<&str>) -> Result<Self, LineError> {
        if line.starts_with('{') {
            return json::expectation(line);
        }
        let mut expectation = expectation_line::parse(line)?;
        if let Some(comment) = comment {
            json::complete_expectation(&mut expectation, comment)?;
        }
        Ok(expectation)
    }

    fn tuple(&self) -> Tuple {
        self.tuple
    }

    /// Its master is a flow, and flows are not in the same file.
    fn master(&self) -> Option<Tuple> {
        None
    }
}

/// An entry that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved<T> {
    /// The number of its line, counted from 1.
    pub line: u64,
    /// The node that it comes from, if the file tells.
    pub node: Option<Arc<str>>,
    /// The entry.
    pub entry: T,
}

/// The entries of a file, one after the other. After an error in a line the next ones can
/// still be read; after [`SavedError::Read`] there are none.
pub struct Reader<R, T> {
    input: R,
    buffer: Vec<u8>,
    line: u64,
    node: Option<Arc<str>>,
    /// The object of the comment in the line before; empty without one.
    comment: String,
    failed: bool,
    entry: std::marker::PhantomData<fn() -> T>,
}

impl<R: BufRead, T: Entry> Reader<R, T> {
    /// Reads from the start of `input`.
    pub fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            line: 0,
            node: None,
            comment: String::new(),
            failed: false,
            entry: std::marker::PhantomData,
        }
    }

    /// Reads a line into the buffer, without its end. False at the end of the input.
    fn read_line(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        let mut limited = (&mut self.input).take(MAX_LINE + 1);
        if limited.read_until(b'\n', &mut self.buffer)? == 0 {
            return Ok(false);
        }
        self.line += 1;
        if self.buffer.len() as u64 > MAX_LINE && self.buffer.last() != Some(&b'\n') {
            self.input.skip_until(b'\n')?;
        }
        Ok(true)
    }

    /// The entry of the line in the buffer, if it has one.
    fn entry(&mut self) -> Result<Option<T>, LineError> {
        // Put back when it is used up: millions of lines share its memory.
        let mut comment = std::mem::take(&mut self.comment);
        let entry = self.entry_after(&mut comment);
        if self.comment.is_empty() {
            comment.clear();
            self.comment = comment;
        }
        entry
    }

    fn entry_after(&mut self, comment: &mut String) -> Result<Option<T>, LineError> {
        if self.buffer.len() as u64 > MAX_LINE {
            return Err(LineError::whole(Problem::TooLong));
        }
        let text = std::str::from_utf8(&self.buffer).map_err(|e| LineError {
            column: e.valid_up_to() + 1,
            option: None,
            problem: Problem::NotUtf8,
        })?;
        let text = text.trim_end_matches(['\n', '\r']);
        if let Some(object) = text.strip_prefix(COMMENT) {
            comment.clear();
            comment.push_str(object);
            self.comment = std::mem::take(comment);
            return Ok(None);
        }
        if let Some(more) = text.strip_prefix(CONTINUED) {
            if comment.is_empty() {
                return Err(LineError::whole(Problem::NothingToContinue));
            }
            if (comment.len() + more.len()) as u64 > MAX_LINE {
                return Err(LineError::whole(Problem::TooLong));
            }
            comment.push_str(more);
            self.comment = std::mem::take(comment);
            return Ok(None);
        }
        if let Some(node) = text.strip_prefix(NODE) {
            self.node = Some(node.trim().into());
            return Ok(None);
        }
        let indent = text.len() - text.trim_start().len();
        let text = &text[indent..];
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let comment = (!comment.is_empty()).then_some(&**comment);
        T::from_line(text, comment)
            .map(Some)
            .map_err(|e| LineError {
                column: e.column + indent,
                ..e
            })
    }
}

impl<R: BufRead, T: Entry> Iterator for Reader<R, T> {
    type Item = Result<Saved<T>, SavedError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            match self.read_line() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(source) => {
                    self.failed = true;
                    let line = self.line + 1;
                    return Some(Err(SavedError::Read { line, source }));
                }
            }
            let line = self.line;
            match self.entry() {
                Ok(None) => {}
                Ok(Some(entry)) => {
                    let node = self.node.clone();
                    return Some(Ok(Saved { line, node, entry }));
                }
                Err(error) => return Some(Err(SavedError::Line { line, error })),
            }
        }
        None
    }
}
