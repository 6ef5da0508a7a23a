//! What `conntrack` says on standard error, what it counts, and its exit codes.

use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::sync::Arc;

use tonic::Code;

use crate::ctctl::connect::NodeError;
use crate::ctctl::conntrack::{Action, Banner, Table};
use crate::ctctl::context::{Context, added_up};
use crate::ctctl::fanout::{Consumer, Ended, Outcome};
use crate::ctctl::fleet::Target;
pub(super) use crate::ctctl::print::line;
use crate::ctctl::print::{Entry, Printer};
use crate::pb;

/// The exit code of a command that did not do what it was asked for.
pub(super) const FAILED: u8 = 1;

/// A line that begins as conntrack(8)'s do.
pub(super) fn say(words: Arguments<'_>) {
    line(format_args!("{Banner}: {words}"));
}

/// A warning in the manner of conntrack(8).
pub(super) fn warn(words: Arguments<'_>) {
    line(format_args!("WARNING: {words}"));
}

/// Says what went wrong, and where if there are several nodes.
pub(super) fn complain(node: Option<&str>, words: Arguments<'_>) {
    match node {
        Some(node) => say(format_args!("{node}: {words}")),
        None => say(words),
    }
}

/// Writes to standard output.
pub(super) fn write_out(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush())
}

/// What the kernel's answer means to this command.
pub(super) fn kernel_words(errno: i32, action: Action, table: Table) -> String {
    let of_expectations = table == Table::Expect;
    let creates = matches!(action, Action::Create | Action::Add);
    let words = match errno {
        libc::EINVAL => "invalid parameters",
        libc::EEXIST if creates && !of_expectations => "Such conntrack exists, try -U to update",
        libc::ENOENT if of_expectations && creates => "master conntrack not found",
        libc::ENOENT
            if !of_expectations && (creates || matches!(action, Action::Get | Action::Delete)) =>
        {
            "such conntrack doesn't exist"
        }
        libc::ENOMEM if creates || action == Action::Get => "not enough memory",
        libc::ETIME if creates => "conntrack has expired",
        libc::EPERM => "sorry, you must be root or get CAP_NET_ADMIN capability to do this",
        errno => {
            let words = io::Error::from_raw_os_error(errno).to_string();
            // The number is of no use to anybody here.
            let end = words.find(" (os error").unwrap_or(words.len());
            return words[..end].to_owned();
        }
    };
    words.to_owned()
}

/// What an agent says of an entry that could not be written.
pub(super) fn item_words(failure: &pb::ItemFailure, action: Action, table: Table) -> String {
    match failure.errno {
        0 => failure.message.clone(),
        errno => kernel_words(errno, action, table),
    }
}

/// What it means that a node failed.
pub(super) fn node_words(error: &NodeError, action: Action, table: Table) -> String {
    let kernel = match error {
        NodeError::Refused(refusal) => refusal.kernel(),
        _ => None,
    };
    let errno = match kernel {
        Some("EINVAL") => libc::EINVAL,
        Some("EPERM") => libc::EPERM,
        Some("ENOMEM") => libc::ENOMEM,
        _ if error.code() == Some(Code::NotFound) && action == Action::Get => libc::ENOENT,
        _ => return error.to_string(),
    };
    kernel_words(errno, action, table)
}

/// What a node's task brings.
#[derive(Default)]
pub(super) struct Parcel<E> {
    /// Entries to show.
    pub(super) rows: Vec<E>,
    /// How many more entries count.
    pub(super) counted: u64,
    /// What could not be done.
    pub(super) complaints: Vec<String>,
}

impl<E> Parcel<E> {
    /// Entries that are shown, and count.
    pub(super) fn of(rows: Vec<E>) -> Self {
        Self {
            counted: rows.len() as u64,
            rows,
            complaints: Vec::new(),
        }
    }
}

/// What the nodes did.
#[derive(Default)]
pub(super) struct Ledger {
    counted: BTreeMap<Arc<str>, u64>,
    /// Something was not done somewhere.
    failed: bool,
}

impl Ledger {
    /// Takes what a node did.
    pub(super) fn count(&mut self, node: &Target, counted: u64) {
        let so_far = self.counted.entry(Arc::clone(node.name())).or_default();
        *so_far = so_far.saturating_add(counted);
    }

    /// Notes that something was not done.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }

    /// Everything together.
    pub(super) fn total(&self) -> u64 {
        added_up(self.counted.values().copied())
    }

    /// Whether one of so many nodes had nothing to count.
    pub(super) fn is_lacking(&self, nodes: usize) -> bool {
        self.counted
            .values()
            .filter(|counted| **counted > 0)
            .count()
            < nodes
    }
}

/// Shows rows as they come, counts, and complains.
pub(super) struct Shown {
    printer: Printer,
    action: Action,
    table: Table,
    is_fleet: bool,
    pub(super) ledger: Ledger,
}

impl Shown {
    pub(super) fn new(context: &Context, printer: Printer, action: Action, table: Table) -> Self {
        Self {
            printer,
            action,
            table,
            is_fleet: context.is_fleet(),
            ledger: Ledger::default(),
        }
    }

    fn complain(&mut self, node: &Target, words: &str) -> io::Result<()> {
        self.printer.settle()?;
        self.ledger.fail();
        let name = self.is_fleet.then(|| &**node.name());
        complain(name, format_args!("Operation failed: {words}"));
        Ok(())
    }
}

impl<E: Entry> Consumer<Parcel<E>> for Shown {
    fn item(&mut self, node: &Arc<Target>, parcel: Parcel<E>) -> io::Result<ControlFlow<()>> {
        for row in &parcel.rows {
            self.printer.row(node, None, row)?;
        }
        self.ledger.count(node, parcel.counted);
        for words in &parcel.complaints {
            self.complain(node, words)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn failed(&mut self, node: &Target, error: &NodeError) -> io::Result<()> {
        let words = node_words(error, self.action, self.table);
        self.complain(node, &words)
    }

    fn idle(&mut self) -> io::Result<()> {
        self.printer.settle()
    }

    fn end(&mut self) -> io::Result<()> {
        self.printer.end()
    }
}

/// The account of a command that shows rows: what it counted, unless it ended before that was
/// known, and the exit code that is certain by now.
pub(super) fn account(outcome: Outcome<Shown>) -> Result<(Ledger, u8), u8> {
    let (shown, outcome) = outcome.take();
    let ledger = shown.map(|shown| shown.ledger).unwrap_or_default();
    match &outcome.ended {
        Ended::PipeClosed => return Err(0),
        Ended::Signal(signal) => return Err(signal.exit_code()),
        Ended::Unwritable(error) => {
            say(format_args!("cannot write the output: {error}"));
            return Err(FAILED);
        }
        Ended::Complete | Ended::Enough => {}
    }
    let failed = ledger.failed || !outcome.failures.is_empty();
    // A node that failed as a whole is like a conntrack(8) that ended early.
    if outcome.failures.len() >= outcome.nodes {
        return Err(FAILED);
    }
    let code = if failed { FAILED } else { 0 };
    Ok((ledger, code))
}
