//! What can be wrong with a file of entries, and where.

use std::fmt;
use std::io;

/// A file of entries could not be read, or a line of it makes no entry.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// Reading failed.
    #[error("line {line}: {source}")]
    Read {
        /// The line that was being read, counted from 1.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// A line makes no entry.
    #[error("line {line}, {error}")]
    Line {
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        error: LineError,
    },
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LineError {
    /// Where: the byte, counted from 1.
    pub column: usize,
    /// The option that is concerned, as it was written.
    pub option: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

impl LineError {
    /// A problem of the line as a whole.
    pub(super) fn whole(problem: Problem) -> Self {
        Self {
            column: 1,
            option: None,
            problem,
        }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: ", self.column)?;
        if let Some(option) = &self.option {
            write!(f, "{option:?}: ")?;
        }
        self.problem.fmt(f)
    }
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Neither an entry to create nor a comment.
    #[error("expected -A or -I and the options of an entry")]
    NotAnEntry,
    /// A command that creates nothing.
    #[error("this line creates nothing; only -A and -I are taken")]
    OtherCommand,
    /// The line is of the other table.
    #[error("expected {expected}")]
    OtherTable {
        /// What the file is to contain.
        expected: &'static str,
    },
    /// No such option.
    #[error("unknown option")]
    UnknownOption,
    /// A word that belongs to no option.
    #[error("a word without an option")]
    StrayWord,
    /// The option lacks its value.
    #[error("a value must follow")]
    NoValue,
    /// The option was given before.
    #[error("given twice")]
    Twice,
    /// The value is not of its kind.
    #[error("{value:?} is not {expected}")]
    BadValue {
        /// The value.
        value: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// An option that is needed.
    #[error("{option} is missing")]
    Missing {
        /// The option.
        option: &'static str,
    },
    /// The option is not of this protocol.
    #[error("does not go with protocol {protocol}")]
    OtherProtocol {
        /// The protocol of the line.
        protocol: String,
    },
    /// IPv4 and IPv6 in one entry.
    #[error("the addresses are of different families")]
    MixedFamilies,
    /// A label's name, which only a file of the other host explains.
    #[error("{value:?} is not a label: give numbers from 0 to 127")]
    NamedLabel {
        /// The name.
        value: String,
    },
    /// The comment before the line, or a line of JSON, does not say what it should.
    #[error("the JSON object does not describe an entry: {why}")]
    Json {
        /// Why.
        why: String,
    },
    /// A continuation without a beginning.
    #[error("this continues a comment that is not there")]
    NothingToContinue,
    /// Not text.
    #[error("not UTF-8")]
    NotUtf8,
    /// Too long to be an entry.
    #[error("longer than 1 MiB")]
    TooLong,
}
