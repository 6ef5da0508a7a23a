//! What `conntrack` prints: every combination of conntrack(8)'s `-o`, byte for byte as
//! version 1.4.7 with libnetfilter_conntrack 1.0.9.
//!
//! Different on purpose: `save` loses nothing (see `save.rs`), and no event names the
//! program behind it (`progname=`), which runs on another host.

mod clock;
mod stats;
#[cfg(test)]
mod tests;
mod xml;

use std::sync::Arc;

pub(super) use clock::Clock;
pub use stats::{count, expectation_statistics, flow_statistics};

use super::conntrack::{self, Conntrack, Shown};
use super::report::Report;
use super::save::{Save, Verb};
use super::{EventOrigin, Formatter, Origin};
use crate::ctctl::connlabel::LabelNames;
use crate::flow::{EventType, Expectation, Flow};

/// The words of conntrack(8)'s `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The family leads the line.
    pub extended: bool,
    /// XML.
    pub xml: bool,
    /// Command lines that bring the entries back.
    pub save: bool,
    /// The id.
    pub id: bool,
    /// When the event was heard.
    pub timestamp: bool,
    /// When the kernel saw the flow begin and end.
    pub ktimestamp: bool,
    /// Labels by their names. Also set it where labels are selected or changed.
    pub labels: bool,
    /// Who asked for a change: conntrack(8) always says it.
    pub userspace: bool,
}

/// Which command's entries are printed: conntrack(8) does not heed every word in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `-L`.
    List,
    /// `-G`.
    Get,
    /// `-U`.
    Update,
    /// `-D`.
    Delete,
    /// `-E`.
    Events,
}

/// The formatter of `conntrack`.
pub struct Classic {
    options: Options,
    command: Command,
    names: Option<Arc<LabelNames>>,
    clock: Clock,
    save: Save,
    /// The element that is open.
    root: Option<&'static str>,
}

impl Classic {
    /// For the entries of one command. Without `names` no labels are shown.
    pub fn new(options: Options, command: Command, names: Option<Arc<LabelNames>>) -> Self {
        Self {
            options,
            command,
            names: names.filter(|_| options.labels && command != Command::Delete),
            clock: Clock::local(),
            save: Save::default(),
            root: None,
        }
    }

    /// Start and stop are shown where tables are read.
    fn shows_dates(&self) -> bool {
        self.options.ktimestamp && !matches!(self.command, Command::Update | Command::Delete)
    }

    fn shown_in_xml(&self, when: bool) -> xml::Shown<'_> {
        xml::Shown {
            timestamps: self.shows_dates(),
            when: (when && self.options.timestamp).then_some(&self.clock),
            labels: self.names.as_deref(),
        }
    }

    /// Begins the document before its first element. conntrack(8) writes those of changes
    /// without one.
    fn begin(&mut self, out: &mut Vec<u8>, root: &'static str) {
        if self.root.is_none() && !matches!(self.command, Command::Update | Command::Delete) {
            xml::header(out, root);
            self.root = Some(root);
        }
    }

    /// What a saved entry is to be restored by.
    fn verb(&self, origin: Origin<'_>) -> Verb {
        match (self.command, origin.event) {
            (Command::Delete, _) => Verb::Delete,
            (_, Some(EventOrigin::Event { kind, .. })) => match kind {
                EventType::New => Verb::Add,
                EventType::Update => Verb::Update,
                EventType::Destroy => Verb::Delete,
            },
            _ => Verb::Add,
        }
    }
}

impl Formatter for Classic {
    fn flow(&mut self, out: &mut Vec<u8>, origin: Origin<'_>, flow: &Flow) {
        if self.options.save {
            let verb = self.verb(origin);
            self.save.flow_with(out, origin, flow, verb);
        } else if self.options.xml {
            self.begin(out, "conntrack");
            let shown = self.shown_in_xml(self.command == Command::Events);
            xml::flow(out, origin, flow, &shown);
        } else {
            conntrack::node(out, origin);
            if self.options.timestamp && self.command == Command::Events {
                clock::stamp(out, flow.timestamps.event.unwrap_or_else(clock::now));
            }
            conntrack::event(out, origin);
            let shown = Shown {
                layer3: self.options.extended,
                id: self.options.id,
                dates: self.shows_dates().then_some(&self.clock),
                labels: self.names.as_deref(),
            };
            conntrack::flow_fields(out, flow, &shown);
        }
        conntrack::close(out, origin);
    }

    /// conntrack(8) knows no other form of expectations than lines and XML.
    fn expectation(&mut self, out: &mut Vec<u8>, origin: Origin<'_>, expectation: &Expectation) {
        if self.options.xml {
            self.begin(out, "expect");
            let shown = self.shown_in_xml(true);
            xml::expectation(out, origin, expectation, &shown);
        } else {
            conntrack::node(out, origin);
            if self.options.timestamp {
                clock::loose_stamp(out, clock::now());
            }
            conntrack::event(out, origin);
            conntrack::expectation_fields(out, expectation);
        }
        out.push(b'\n');
    }

    fn report(&mut self, out: &mut Vec<u8>, report: &Report) {
        Conntrack.report(out, report);
    }

    /// `-G` leaves its document open, as conntrack(8) does.
    fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(root) = self.root.take()
            && self.command != Command::Get
        {
            xml::trailer(out, root);
        }
    }
}
