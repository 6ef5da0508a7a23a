//! The command line of conntrack(8) 1.4.8: its grammar, which options go with which command,
//! and what a line means in flows, filters and changes.
//!
//! Words become options (`words`), options a [`Line`] ([`parse`]) that the tables of
//! `vocabulary` and `protocol` allow, and a line becomes what the other commands of ctctl
//! work with: a filter ([`select`]), a flow, a key or changes ([`entry`]), an expectation
//! ([`expected`]). Nothing here talks to an agent.

#[cfg(test)]
mod documented;
pub mod entry;
pub mod error;
pub mod expected;
mod help;
mod line;
mod parse;
mod protocol;
pub mod select;
#[cfg(test)]
mod tests;
mod value;
mod vocabulary;
mod words;

use std::fmt;

pub use error::LineError;
pub use help::help;
pub use line::{EventKinds, Line, Nat, StatusWords};
pub use parse::parse;
pub use vocabulary::{Action, Opt, Table};
pub use words::split;

/// The name under which the program is conntrack(8).
pub const NAME: &str = "conntrack";

/// Opens every summary and every complaint: whose command line it is, and who answers.
pub struct Banner;

impl fmt::Display for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("conntrack v1.4.8 (ctfleet)")
    }
}
