//! From entries to standard output: the chosen format, a buffer, and who says which node a
//! row is from. And the lines beside it, on standard error.

use std::fmt::Arguments;
use std::io::{self, IsTerminal as _, Write as _};

use super::fleet::Target;
use super::output::classic::Classic;
use super::output::{
    EventOrigin, Format, Formatter, Layout, Notice, Origin, Report, foreign_text, formatter,
};
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

/// A line for the user beside the output. What agents, files and certificates put into it can
/// neither end the line nor steer the terminal.
pub fn say(words: Arguments<'_>) {
    line(format_args!("ctctl: {words}"));
}

/// The same of words that may have several lines, like the place of a mistake in a filter:
/// never those of an agent, which could pass for ctctl's own.
pub fn say_own(words: Arguments<'_>) {
    write_err(&escaped(&format!("ctctl: {words}"), true));
}

/// A line on standard error that begins as it is.
pub fn line(words: Arguments<'_>) {
    write_err(&escaped(&words.to_string(), false));
}

/// That nobody reads it is no error.
fn write_err(text: &[u8]) {
    let _ = io::stderr().lock().write_all(text);
}

/// The bytes of a line, or of several where the words may break it.
fn escaped(words: &str, breaks: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(words.len() + 1);
    let mut rest = words;
    while let Some((line, more)) = rest.split_once('\n').filter(|_| breaks) {
        foreign_text(&mut out, line);
        out.push(b'\n');
        rest = more;
    }
    foreign_text(&mut out, rest);
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_and_steers_nothing() {
        let words = "evil\x1b]0;x\x07\x1b[2J\r\nctctl: all good\u{202e}";
        assert_eq!(
            escaped(words, false),
            b"evil\\u{1b}]0;x\\u{7}\\u{1b}[2J\\u{d}\\u{a}ctctl: all good\\u{202e}\n"
        );
        assert_eq!(escaped("", false), b"\n");
    }

    #[test]
    fn own_words_keep_their_lines_and_nothing_else() {
        assert_eq!(
            escaped("at\n  dport\x1b[2J\n  ^", true),
            b"at\n  dport\\u{1b}[2J\n  ^\n"
        );
    }
}
