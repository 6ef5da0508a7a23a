//! From entries to standard output: the chosen format, a buffer, and who says which node a
//! row is from.

use std::io::{self, IsTerminal as _, Write as _};

use super::fleet::Target;
use super::output::classic::Classic;
use super::output::{EventOrigin, Format, Formatter, Layout, Notice, Origin, Report, formatter};
use crate::flow::{Expectation, Flow};

/// Enough to make writes rare, little enough to stay in the processor's cache.
const BUFFER: usize = 64 << 10;

/// What a list or a watch shows in rows.
pub trait Entry: Send + 'static {
    /// Appends it.
    fn write(&self, formatter: &mut dyn Formatter, out: &mut Vec<u8>, origin: Origin<'_>);
}

impl Entry for Flow {
    fn write(&self, formatter: &mut dyn Formatter, out: &mut Vec<u8>, origin: Origin<'_>) {
        formatter.flow(out, origin, self);
    }
}

impl Entry for Expectation {
    fn write(&self, formatter: &mut dyn Formatter, out: &mut Vec<u8>, origin: Origin<'_>) {
        formatter.expectation(out, origin, self);
    }
}

/// One document on standard output.
pub struct Printer {
    formatter: Box<dyn Formatter + Send>,
    buffer: Vec<u8>,
    names_nodes: bool,
    format: Format,
}

impl Printer {
    /// For rows of so many nodes; `events` when it shows a watch.
    pub fn new(format: Format, nodes: usize, events: bool) -> Self {
        let names_nodes = nodes > 1 || format.always_names_node();
        let layout = Layout {
            nodes: names_nodes,
            events,
            width: terminal_width(),
        };
        Self {
            formatter: formatter(format, layout),
            buffer: Vec::with_capacity(BUFFER + BUFFER / 4),
            names_nodes,
            format,
        }
    }

    /// With the formatter of `conntrack`, for rows of so many nodes.
    pub fn classic(formatter: Classic, nodes: usize) -> Self {
        Self {
            formatter: Box::new(formatter),
            buffer: Vec::with_capacity(BUFFER + BUFFER / 4),
            names_nodes: nodes > 1,
            format: Format::Conntrack,
        }
    }

    /// Whether programs read it, and find notices in it.
    pub fn is_for_programs(&self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl)
    }

    /// An entry.
    pub fn row(
        &mut self,
        node: &Target,
        event: Option<EventOrigin>,
        entry: &impl Entry,
    ) -> io::Result<()> {
        let node = self.names_nodes.then(|| &**node.name());
        entry.write(
            &mut *self.formatter,
            &mut self.buffer,
            Origin { node, event },
        );
        if self.buffer.len() >= BUFFER {
            self.write_out()
        } else {
            Ok(())
        }
    }

    /// What a watch says between the rows.
    pub fn notice(&mut self, node: &Target, notice: &Notice) {
        let node = self.names_nodes.then(|| &**node.name());
        self.formatter.notice(&mut self.buffer, node, notice);
    }

    /// A small complete table.
    pub fn report(&mut self, report: &Report) {
        self.formatter.report(&mut self.buffer, report);
    }

    /// Shows everything that is held back.
    pub fn settle(&mut self) -> io::Result<()> {
        self.formatter.settle(&mut self.buffer);
        self.write_out()
    }

    /// Ends the document.
    pub fn end(&mut self) -> io::Result<()> {
        self.formatter.end(&mut self.buffer);
        self.write_out()
    }

    fn write_out(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        let result = out.write_all(&self.buffer).and_then(|()| out.flush());
        self.buffer.clear();
        result
    }
}

/// `None` when nobody looks: then nothing is cut.
fn terminal_width() -> Option<usize> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok()?;
    // A terminal that does not know its size says 0.
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// A line for the user beside the output. That nobody reads it is no error.
pub fn say(words: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "ctctl: {words}");
}
