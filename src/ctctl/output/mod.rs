//! What ctctl prints: entries, events and small tables, in the format that the user chose.
//!
//! A [`Formatter`] appends to a buffer that the caller writes out and reuses; it allocates
//! nothing for an entry. Calls of one formatter make one document: [`Formatter::end`] is
//! the last.

pub mod classic;
mod columns;
mod conntrack;
mod emit;
mod json;
mod json_entry;
mod report;
mod save;
mod save_change;
mod save_expectation;
mod table;

use std::fmt;
use std::str::FromStr;

use crate::flow::{EventType, Expectation, Flow};

pub(in crate::ctctl) use emit::text as foreign_text;
pub use report::{Report, Value};
pub(in crate::ctctl) use save::RESTORED_TCP_FLAGS;

/// The formats of `--output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A header and the columns that fit the terminal.
    #[default]
    Table,
    /// Every column.
    Wide,
    /// One array of objects.
    Json,
    /// One object a line.
    Jsonl,
    /// The lines of `conntrack -L -o extended,id`.
    Conntrack,
    /// Lines that `ctctl create --file` and `conntrack -R` take back.
    Save,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [
        Self::Table,
        Self::Wide,
        Self::Json,
        Self::Jsonl,
        Self::Conntrack,
        Self::Save,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Wide => "wide",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Conntrack => "conntrack",
            Self::Save => "save",
        }
    }

    /// Whether events make sense in it. Saved lines are a list to be created again.
    pub fn takes_events(self) -> bool {
        self != Self::Save
    }

    /// Whether programs read it: rows then carry their node even when there is only one
    /// target.
    pub fn always_names_node(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Text that is not the name of a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown format {0:?}: expected table, wide, json, jsonl, conntrack or save")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == s)
            .ok_or_else(|| UnknownFormat(s.to_owned()))
    }
}

/// What a formatter needs to know before the first row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Rows will carry a node's name.
    pub nodes: bool,
    /// Rows will be events, or belong to a snapshot.
    pub events: bool,
    /// The terminal's width; `None` when the output is no terminal, and nothing is cut.
    pub width: Option<usize>,
}

/// Where a row comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The node; `None` when there is only one and the format does not ask for it.
    pub node: Option<&'a str>,
    /// What a watch says of the row; `None` for a row of a list.
    pub event: Option<EventOrigin>,
}

/// What a watch says of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventOrigin {
    /// The entry was there when the watch began, or when it caught up.
    Snapshot,
    /// Something happened to the entry.
    Event {
        /// What.
        kind: EventType,
        /// The event's number.
        sequence: u64,
        /// The netlink port id of the process that asked for the change, or 0.
        port_id: u32,
    },
}

/// What a watch says between the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The subscription is live.
    Subscribed {
        /// Which run of the agent's listener the sequence belongs to.
        epoch: u64,
        /// The last event before the watch.
        sequence: u64,
        /// Every entry's end will be reported.
        destroy_events_complete: bool,
    },
    /// A snapshot follows; it replaces what was known.
    SnapshotBegin,
    /// The snapshot is complete.
    SnapshotEnd {
        /// Entries in it.
        entries: u64,
    },
    /// Events were lost.
    Gap {
        /// The kernel's socket had no room; otherwise this client read too slowly.
        kernel: bool,
        /// How many.
        lost: u64,
        /// The number of the next event that is left.
        next_sequence: u64,
    },
}

/// One output format. Every method appends to `out`.
pub trait Formatter {
    /// A flow of a list, or one with its event.
    fn flow(&mut self, out: &mut Vec<u8>, origin: Origin<'_>, flow: &Flow);

    /// An expectation of a list, or one with its event.
    fn expectation(&mut self, out: &mut Vec<u8>, origin: Origin<'_>, expectation: &Expectation);

    /// A small complete table: statistics, counts, settings, what a change came to.
    fn report(&mut self, out: &mut Vec<u8>, report: &Report);

    /// What a watch says between the rows. Only JSON has a place for it.
    fn notice(&mut self, _out: &mut Vec<u8>, _node: Option<&str>, _notice: &Notice) {}

    /// Writes the rows that are held back to measure their columns. Call it when no row is
    /// at hand, so that a watch shows what it has.
    fn settle(&mut self, _out: &mut Vec<u8>) {}

    /// The end of the document.
    fn end(&mut self, _out: &mut Vec<u8>) {}
}

/// The formatter of a format.
pub fn formatter(format: Format, layout: Layout) -> Box<dyn Formatter + Send> {
    match format {
        Format::Table => Box::new(table::Table::fitting(layout)),
        Format::Wide => Box::new(table::Table::wide(layout)),
        Format::Json => Box::new(json::Json::array()),
        Format::Jsonl => Box::new(json::Json::lines()),
        Format::Conntrack => Box::new(conntrack::Conntrack),
        Format::Save => Box::new(save::Save::default()),
    }
}
