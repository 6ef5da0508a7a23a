//! What watching flows and watching expectations have in common: subscriptions on all nodes
//! at once, rows as they come, gaps that nobody can overlook, and taking a broken watch up
//! again where it was.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tonic::{Code, Streaming};

use super::CommandError;
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::context::Context;
use crate::ctctl::fanout::{Consumer, Ended, Sink, Stop, Width};
use crate::ctctl::fleet::Target;
use crate::ctctl::output::{EventOrigin, Notice};
use crate::ctctl::print::{Entry, Printer, say};
use crate::pb;

/// The pause before a lost agent is called again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How to watch.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct FollowArgs {
    /// Show what is there first, then the events: together the whole table, without a hole
    #[arg(long)]
    pub(super) snapshot: bool,
    /// Take a fresh snapshot whenever events were lost
    #[arg(long)]
    pub(super) resync: bool,
    /// Call a lost agent again, and go on where the watch broke off
    #[arg(long)]
    pub(super) reconnect: bool,
    /// End after so many events, of all nodes together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
}

/// A kind of event.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventName {
    /// It came
    New,
    /// It changed
    #[value(alias = "updates")]
    Update,
    /// It went
    #[value(alias = "delete")]
    Destroy,
}

impl EventName {
    pub(super) fn on_the_wire(self) -> pb::EventType {
        match self {
            Self::New => pb::EventType::New,
            Self::Update => pb::EventType::Update,
            Self::Destroy => pb::EventType::Destroy,
        }
    }
}

/// One message of a watch.
pub(super) enum Message<E> {
    Subscribed(pb::Subscribed),
    Snapshot { entries: Vec<E>, first: bool },
    SnapshotEnd(pb::SnapshotEnd),
    Events(Vec<(EventOrigin, E)>),
    Gap(pb::Gap),
}

/// Something that can be watched.
pub(super) trait Watched: 'static {
    type Request: Clone + Send + Sync + 'static;
    type Response: Send + 'static;
    type Entry: Entry;

    /// Starts a watch, after an event if there is a cursor.
    fn subscribe(
        session: &Session,
        request: Self::Request,
        resume_after: Option<pb::Cursor>,
    ) -> impl Future<Output = Result<Streaming<Self::Response>, NodeError>> + Send;

    /// Reads a message.
    fn read(response: Self::Response) -> Result<Message<Self::Entry>, NodeError>;
}

/// What a node's task tells.
pub(super) enum News<E> {
    Message(Message<E>),
    /// The connection is gone and will be made again.
    Lost(NodeError),
    /// The agent no longer has what followed the last event.
    TooLate,
}

pub(super) async fn run<W: Watched>(
    args: FollowArgs,
    request: W::Request,
    context: &mut Context,
) -> Result<u8, CommandError> {
    if !context.format.takes_events() {
        return Err(CommandError::Usage(
            "a watch has no save format: saved lines are a list to be created again",
        ));
    }
    let work = move |session: Session, sink: Sink<News<W::Entry>>| {
        let request = request.clone();
        async move { watch::<W>(&session, &sink, request, args.reconnect).await }
    };
    let show = Show {
        printer: context.printer(true),
        left: args.count,
        snapshot: args.snapshot,
        is_fleet: context.is_fleet(),
        snapshots: HashMap::new(),
    };
    let mut outcome = context
        .fleet
        .run(Width::All, &mut context.interrupt, show, work)
        .await;
    if matches!(outcome.ended, Ended::Signal(_)) {
        // That is how a watch ends.
        outcome.ended = Ended::Enough;
    }
    // Nodes that failed were reported when it happened.
    if let Ended::Unwritable(error) = &outcome.ended {
        say(format_args!("cannot write the output: {error}"));
    }
    Ok(outcome.exit_code())
}

/// Where a node's watch is.
#[derive(Default)]
struct Place {
    cursor: Option<pb::Cursor>,
    /// The agent gives no cursor to a caller with a scope.
    begun: bool,
    pause: Option<Duration>,
    /// It was live once: what is wrong with a certificate now was not from the beginning.
    lived: bool,
}

impl Place {
    fn pass<E>(&mut self, message: &Message<E>) {
        match message {
            Message::Subscribed(subscribed) => {
                self.cursor = subscribed.cursor.or(self.cursor);
                self.begun = true;
                self.pause = None;
                self.lived = true;
            }
            Message::Events(events) => {
                if let (Some(cursor), Some((EventOrigin::Event { sequence, .. }, _))) =
                    (&mut self.cursor, events.last())
                {
                    cursor.sequence = *sequence;
                }
            }
            Message::Gap(gap) => {
                // A gap that was told is not told again after a reconnection.
                if let Some(cursor) = &mut self.cursor {
                    cursor.sequence = cursor.sequence.max(gap.next_sequence.saturating_sub(1));
                }
            }
            Message::Snapshot { .. } | Message::SnapshotEnd(_) => {}
        }
    }

    async fn wait(&mut self) {
        let pause = self.pause.unwrap_or(FIRST_PAUSE);
        tokio::time::sleep(pause).await;
        self.pause = Some((pause * 2).min(LONGEST_PAUSE));
    }
}

pub(super) async fn watch<W: Watched>(
    session: &Session,
    sink: &Sink<News<W::Entry>>,
    request: W::Request,
    reconnect: bool,
) -> Result<(), Stop> {
    let mut place = Place::default();
    loop {
        let asked = place.cursor;
        let ended = match W::subscribe(session, request.clone(), asked).await {
            Ok(stream) => follow::<W>(session, sink, stream, &mut place).await?,
            Err(error) => error,
        };
        // Of a watch that was taken up it means something else, like a message that is too long.
        let refused = asked.is_some() && place.cursor == asked;
        if refused && ended.code() == Some(Code::OutOfRange) {
            sink.send(News::TooLate).await?;
            place.cursor = None;
            continue;
        }
        let passing = ended.is_passing() || (place.lived && ended.awaits_renewal());
        if !(reconnect && passing) {
            return Err(ended.into());
        }
        sink.send(News::Lost(ended)).await?;
        place.wait().await;
        if place.begun && place.cursor.is_none() {
            // What happens meanwhile is lost without a gap.
            sink.send(News::TooLate).await?;
            place.begun = false;
        }
    }
}

/// Hands messages on until the stream ends; why it did.
async fn follow<W: Watched>(
    session: &Session,
    sink: &Sink<News<W::Entry>>,
    mut stream: Streaming<W::Response>,
    place: &mut Place,
) -> Result<NodeError, Stop> {
    loop {
        let message = match session.next_event(&mut stream).await {
            Ok(Some(response)) => W::read(response)?,
            Ok(None) => return Ok(NodeError::Incomplete),
            Err(error) => return Ok(error),
        };
        place.pass(&message);
        sink.send(News::Message(message)).await?;
    }
}

/// Prints a watch.
struct Show {
    printer: Printer,
    left: Option<u64>,
    snapshot: bool,
    is_fleet: bool,
    /// Snapshots that each node began.
    snapshots: HashMap<Arc<str>, u64>,
}

impl Show {
    /// A line beside the rows, after the rows that came before it.
    fn remark(&mut self, node: &Target, words: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.printer.settle()?;
        if self.is_fleet {
            say(format_args!("{}: {words}", node.name()));
        } else {
            say(words);
        }
        Ok(())
    }

    fn subscribed(&mut self, node: &Target, subscribed: pb::Subscribed) -> io::Result<()> {
        let cursor = subscribed.cursor.unwrap_or_default();
        let destroy_events_complete = subscribed.destroy_events_complete;
        let notice = Notice::Subscribed {
            epoch: cursor.epoch,
            sequence: cursor.sequence,
            destroy_events_complete,
        };
        self.printer.notice(node, &notice);
        if self.snapshot && !destroy_events_complete && !self.printer.is_for_programs() {
            self.remark(
                node,
                format_args!(
                    "entries older than the agent's listener will vanish without an event \
                     (nf_conntrack_events is not 1 there); --resync-every shows what is left"
                ),
            )?;
        }
        Ok(())
    }

    fn gap(&mut self, node: &Target, gap: pb::Gap) -> io::Result<()> {
        let kernel = gap.source() == pb::GapSource::Kernel;
        let (lost, next_sequence) = (gap.lost, gap.next_sequence);
        self.printer.notice(
            node,
            &Notice::Gap {
                kernel,
                lost,
                next_sequence,
            },
        );
        if self.printer.is_for_programs() {
            return Ok(());
        }
        let why = if kernel {
            "the kernel had no room in the agent's socket"
        } else {
            "this watch read too slowly"
        };
        match lost {
            0 => self.remark(
                node,
                format_args!(
                    "GAP: events were lost (how many, the agent does not tell a caller with a \
                     scope), {why}"
                ),
            ),
            lost => self.remark(node, format_args!("GAP: {lost} events were lost, {why}")),
        }
    }

    fn snapshot_begins(&mut self, node: &Target) -> io::Result<()> {
        self.printer.notice(node, &Notice::SnapshotBegin);
        let begun = self.snapshots.entry(Arc::clone(node.name())).or_default();
        *begun += 1;
        if *begun > 1 && !self.printer.is_for_programs() {
            self.remark(
                node,
                format_args!("a fresh snapshot follows; it replaces all before"),
            )?;
        }
        Ok(())
    }

    fn message<E: Entry>(
        &mut self,
        node: &Arc<Target>,
        message: Message<E>,
    ) -> io::Result<ControlFlow<()>> {
        match message {
            Message::Subscribed(subscribed) => self.subscribed(node, subscribed)?,
            Message::Gap(gap) => self.gap(node, gap)?,
            Message::SnapshotEnd(end) => {
                self.printer.notice(
                    node,
                    &Notice::SnapshotEnd {
                        entries: end.entries,
                    },
                );
            }
            Message::Snapshot { entries, first } => {
                if first {
                    self.snapshot_begins(node)?;
                }
                for entry in &entries {
                    self.printer.row(node, Some(EventOrigin::Snapshot), entry)?;
                }
            }
            Message::Events(events) => {
                for (origin, entry) in &events {
                    self.printer.row(node, Some(*origin), entry)?;
                    if let Some(left) = &mut self.left {
                        *left -= 1;
                        if *left == 0 {
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl<E: Entry> Consumer<News<E>> for Show {
    fn item(&mut self, node: &Arc<Target>, news: News<E>) -> io::Result<ControlFlow<()>> {
        match news {
            News::Message(message) => return self.message(node, message),
            News::Lost(error) => self.remark(node, format_args!("{error}; calling again"))?,
            News::TooLate => self.remark(
                node,
                format_args!(
                    "GAP: the agent no longer has what happened since the connection broke; \
                     going on from now"
                ),
            )?,
        }
        Ok(ControlFlow::Continue(()))
    }

    fn failed(&mut self, node: &Target, error: &NodeError) -> io::Result<()> {
        self.remark(node, format_args!("{error}"))
    }

    fn idle(&mut self) -> io::Result<()> {
        self.printer.settle()
    }

    fn end(&mut self) -> io::Result<()> {
        self.printer.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::EventType;

    fn events(sequences: &[u64]) -> Message<()> {
        let event = |sequence: &u64| {
            let origin = EventOrigin::Event {
                kind: EventType::New,
                sequence: *sequence,
                port_id: 0,
            };
            (origin, ())
        };
        Message::Events(sequences.iter().map(event).collect())
    }

    fn subscribed(epoch: u64, sequence: u64) -> Message<()> {
        Message::Subscribed(pb::Subscribed {
            cursor: Some(pb::Cursor { epoch, sequence }),
            destroy_events_complete: true,
        })
    }

    fn gap(next_sequence: u64) -> Message<()> {
        Message::Gap(pb::Gap {
            next_sequence,
            lost: 1,
            ..Default::default()
        })
    }

    #[test]
    fn a_watch_goes_on_after_the_last_event_that_was_shown() {
        let mut place = Place::default();
        let cursor = |place: &Place| place.cursor.map(|c| (c.epoch, c.sequence));
        place.pass(&events(&[1]));
        assert_eq!(cursor(&place), None);
        place.pass(&subscribed(7, 100));
        assert_eq!(cursor(&place), Some((7, 100)));
        place.pass(&events(&[101, 104]));
        assert_eq!(cursor(&place), Some((7, 104)));
        place.pass(&gap(110));
        assert_eq!(cursor(&place), Some((7, 109)), "the gap was told");
        place.pass(&gap(0));
        assert_eq!(cursor(&place), Some((7, 109)));
        place.pass(&events(&[]));
        assert_eq!(cursor(&place), Some((7, 109)));
        place.pass(&subscribed(8, 3));
        assert_eq!(cursor(&place), Some((8, 3)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_is_gone_is_called_less_and_less_often() {
        let mut place = Place::default();
        let start = tokio::time::Instant::now();
        for _ in 0..12 {
            place.wait().await;
        }
        assert_eq!(place.pause, Some(LONGEST_PAUSE));
        assert!(start.elapsed() > LONGEST_PAUSE * 5);
        place.pass(&subscribed(1, 1));
        assert_eq!(place.pause, None);
    }
}
