//! What listing flows and listing expectations have in common: rows as they come, flat
//! memory, and the limit over all nodes.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use tonic::Streaming;

use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::fanout::{Consumer, Sink, Stop};
use crate::ctctl::fleet::Target;
use crate::ctctl::print::{Entry, Printer};
use crate::wire::FieldError;
use crate::wire::bulk::Entries;

/// One message of a dump.
pub(super) struct Chunk<E> {
    /// The entries in it.
    pub(super) entries: Vec<E>,
    /// It is the last one.
    pub(super) complete: bool,
}

/// Hands the chunks of a stream on, down to its end mark.
pub(super) async fn forward<M, E>(
    session: &Session,
    sink: &Sink<Vec<E>>,
    mut stream: Streaming<M>,
    read: impl Fn(M) -> Result<Chunk<E>, NodeError>,
) -> Result<(), Stop> {
    while let Some(message) = session.next(&mut stream).await? {
        let Chunk { entries, complete } = read(message)?;
        if !entries.is_empty() {
            sink.send(entries).await?;
        }
        if complete {
            return Ok(());
        }
    }
    Err(NodeError::Incomplete.into())
}

/// Turns the messages of a chunk into entries.
pub(super) fn entries<M, E>(messages: Vec<M>) -> Result<Vec<E>, NodeError>
where
    E: TryFrom<M>,
    E::Error: std::fmt::Display,
{
    messages
        .into_iter()
        .map(|message| E::try_from(message).map_err(|e| NodeError::Answer(e.to_string())))
        .collect()
}

/// Reads encoded entries.
pub(super) fn encoded<T>(
    entries: &Entries,
    read: impl Fn(&[u8]) -> Result<T, FieldError>,
) -> Result<Vec<T>, NodeError> {
    let mut read_entries = Vec::with_capacity(entries.len());
    for entry in entries.iter() {
        read_entries.push(read(entry).map_err(unreadable)?);
    }
    Ok(read_entries)
}

/// An answer that breaks the contract.
pub(super) fn unreadable(error: FieldError) -> NodeError {
    NodeError::Answer(error.to_string())
}

/// Prints rows, at most so many of all nodes together.
pub(super) struct Rows {
    printer: Printer,
    left: Option<u64>,
}

impl Rows {
    pub(super) fn new(printer: Printer, limit: u64) -> Self {
        Self {
            printer,
            left: (limit > 0).then_some(limit),
        }
    }
}

impl<E: Entry> Consumer<Vec<E>> for Rows {
    fn item(&mut self, node: &Arc<Target>, entries: Vec<E>) -> io::Result<ControlFlow<()>> {
        for entry in &entries {
            self.printer.row(node, None, entry)?;
            if let Some(left) = &mut self.left {
                *left -= 1;
                if *left == 0 {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn idle(&mut self) -> io::Result<()> {
        self.printer.settle()
    }

    fn end(&mut self) -> io::Result<()> {
        self.printer.end()
    }
}
