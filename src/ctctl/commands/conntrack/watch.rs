//! `-E`: events until a signal.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::Job;
use super::report::{FAILED, complain, line, node_words, say, warn};
use crate::ctctl::commands::expect::Expectations;
use crate::ctctl::commands::follow::{self, Message, News, Watched};
use crate::ctctl::commands::watch::Flows;
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::conntrack::{Action, EventKinds, LineError, Table};
use crate::ctctl::fanout::{Consumer, Ended, Sink, Width};
use crate::ctctl::fleet::Target;
use crate::ctctl::output::classic::Command;
use crate::ctctl::print::{Entry, Printer};
use crate::pb;

impl Job<'_> {
    pub(super) async fn watch_flows(&mut self) -> Result<u8, LineError> {
        let kinds = self.line.events.unwrap_or(EventKinds::ALL);
        let event_types = [
            (kinds.new, pb::EventType::New),
            (kinds.update, pb::EventType::Update),
            (kinds.destroy, pb::EventType::Destroy),
        ];
        let request = pb::WatchFlowsRequest {
            event_types: event_types
                .into_iter()
                .filter(|(wanted, _)| *wanted)
                .map(|(_, kind)| kind.into())
                .collect(),
            filter: self.line.selection()?.for_reading(),
            ..pb::WatchFlowsRequest::default()
        };
        if self.line.buffer_size.is_some() {
            line(format_args!(
                "NOTICE: -b is passed over: the socket is the agent's, and its size is \
                 receive-buffer of the agent's configuration."
            ));
        }
        Ok(self.watch::<Flows>(request, "flow").await)
    }

    pub(super) async fn watch_expectations(&mut self) -> Result<u8, LineError> {
        let request = pb::WatchExpectationsRequest::default();
        Ok(self.watch::<Expectations>(request, "expectation").await)
    }

    async fn watch<W: Watched>(&mut self, request: W::Request, what: &'static str) -> u8 {
        let work = move |session: Session, sink: Sink<News<W::Entry>>| {
            let request = request.clone();
            async move { follow::watch::<W>(&session, &sink, request, false).await }
        };
        let events = Events {
            printer: self.printer(Command::Events),
            shown: 0,
            is_fleet: self.context.is_fleet(),
            table: self.line.table,
        };
        let run = self
            .context
            .fleet
            .run(Width::All, &mut self.context.interrupt, events, work);
        let (events, mut outcome) = run.await.take();
        let code = match &outcome.ended {
            Ended::PipeClosed => return 0,
            // That is how a watch ends. conntrack(8) closes its document then, too.
            Ended::Signal(_) => 0,
            Ended::Unwritable(error) => {
                say(format_args!("cannot write the output: {error}"));
                return FAILED;
            }
            Ended::Complete | Ended::Enough => FAILED,
        };
        let Some(mut events) = events else {
            return code;
        };
        if events.shown == 0 && code == FAILED {
            // conntrack(8) gives no account when it could not listen.
            return code;
        }
        if let Err(error) = events.printer.end() {
            outcome.ended = Ended::of_write_error(error);
            return outcome.exit_code().min(FAILED);
        }
        say(format_args!(
            "{} {what} events have been shown.",
            events.shown
        ));
        code.max(u8::from(!outcome.failures.is_empty()))
    }
}

/// Prints and counts events.
struct Events {
    printer: Printer,
    shown: u64,
    is_fleet: bool,
    table: Table,
}

impl Events {
    fn gap(&mut self, node: &Target, gap: pb::Gap) -> io::Result<()> {
        self.printer.settle()?;
        let lost = gap.lost;
        let name = match self.is_fleet {
            true => format!("{}: ", node.name()),
            false => String::new(),
        };
        match gap.source() {
            pb::GapSource::Kernel => warn(format_args!(
                "{name}We have hit ENOBUFS! {lost} events were lost. The agent's socket is too \
                 small; see receive-buffer in its configuration."
            )),
            _ => warn(format_args!(
                "{name}{lost} events were lost: this command reads too slowly."
            )),
        }
        Ok(())
    }
}

impl<E: Entry> Consumer<News<E>> for Events {
    fn item(&mut self, node: &Arc<Target>, news: News<E>) -> io::Result<ControlFlow<()>> {
        match news {
            News::Message(Message::Events(events)) => {
                for (origin, entry) in &events {
                    self.printer.row(node, Some(*origin), entry)?;
                    self.shown += 1;
                }
            }
            News::Message(Message::Gap(gap)) => self.gap(node, gap)?,
            // Neither a snapshot nor another connection was asked for.
            News::Message(_) | News::Lost(_) | News::TooLate => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn failed(&mut self, node: &Target, error: &NodeError) -> io::Result<()> {
        self.printer.settle()?;
        let name = self.is_fleet.then(|| &**node.name());
        let words = node_words(error, Action::Event, self.table);
        complain(name, format_args!("Operation failed: {words}"));
        Ok(())
    }

    fn idle(&mut self) -> io::Result<()> {
        self.printer.settle()
    }
}
