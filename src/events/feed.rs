//! A ring of events with its one writer's intake and the readers' wake-up call.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::ring::{Batch, Position, Read, Ring};
use crate::flow::Event;

/// Why a listener's events ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// Its network namespace was deleted.
    #[error("network namespace {0:?} was deleted")]
    NamespaceGone(String),
    /// Reading from the kernel failed.
    #[error("the event listener failed: {0}")]
    Failed(String),
    /// Nobody watched, or the agent is stopping.
    #[error("the event listener was closed")]
    Shut,
}

/// The ring and what guards it. The lock is taken once a batch, on either side.
#[derive(Debug)]
pub(super) struct Feed {
    state: Mutex<State>,
    news: Notify,
    /// The writer was here; for threads that wait for a mark.
    turned: Condvar,
}

#[derive(Debug)]
struct State {
    ring: Ring<Event>,
    /// How many marks came by.
    marks: u64,
    closed: Option<Closed>,
}

impl Feed {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                ring: Ring::new(capacity),
                marks: 0,
                closed: None,
            }),
            news: Notify::new(),
            turned: Condvar::new(),
        }
    }

    /// The state is consistent between any two statements: a panic elsewhere under the
    /// lock leaves nothing half-done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands what the intake gathered to the readers.
    pub(super) fn publish(&self, intake: &mut Intake) {
        intake.cut();
        if intake.parts.is_empty() {
            return;
        }
        let mut evicted: Vec<Vec<Arc<Batch<Event>>>> = Vec::new();
        {
            let mut state = self.lock();
            for part in intake.parts.drain(..) {
                match part {
                    Part::Events(events) => evicted.push(state.ring.push(events)),
                    Part::Lost(count) => state.ring.lose(count),
                    Part::Mark => state.marks += 1,
                }
            }
        }
        self.news.notify_waiters();
        self.turned.notify_all();
        drop(evicted);
    }

    /// Ends the feed. Readers get what is left in the ring, then the reason; the first
    /// reason stays.
    pub(super) fn close(&self, reason: Closed) {
        self.lock().closed.get_or_insert(reason);
        self.news.notify_waiters();
        self.turned.notify_all();
    }

    /// Whether it ended.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    /// Waits until so many marks came by, but not for longer than `patience`, and not when
    /// the feed has ended. Whether they came.
    pub(super) fn await_marks(&self, count: u64, patience: Duration) -> bool {
        let missing = |state: &mut State| state.marks < count && state.closed.is_none();
        let waited = self
            .turned
            .wait_timeout_while(self.lock(), patience, missing);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.marks >= count
    }

    /// The position of a reader that wants only what comes from now on.
    pub(super) fn tail(&self) -> Position {
        self.lock().ring.tail()
    }

    /// The position behind an event, if what follows is still there.
    pub(super) fn after(&self, sequence: u64) -> Option<Position> {
        self.lock().ring.after(sequence)
    }

    /// What comes at a position; `None` when all has been read and more may come.
    pub(super) fn try_read(&self, position: &mut Position) -> Result<Option<Read<Event>>, Closed> {
        let state = self.lock();
        match (state.ring.read(position), &state.closed) {
            (Some(read), _) => Ok(Some(read)),
            (None, None) => Ok(None),
            (None, Some(reason)) => Err(reason.clone()),
        }
    }

    /// What comes at a position, as soon as there is something.
    pub(super) async fn read(&self, position: &mut Position) -> Result<Read<Event>, Closed> {
        loop {
            // Made before the look into the ring, so that news in between wakes it.
            let news = self.news.notified();
            if let Some(read) = self.try_read(position)? {
                return Ok(read);
            }
            news.await;
        }
    }
}

/// What one turn of the reading thread heard, in order.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// Its room is kept from turn to turn; the ring gets copies of exact size.
    events: Vec<Event>,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Events(Box<[Event]>),
    Lost(u64),
    Mark,
}

impl Intake {
    /// The next event.
    pub(super) fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Events were lost at this place.
    pub(super) fn lost(&mut self, count: u64) {
        self.cut();
        self.parts.push(Part::Lost(count));
    }

    /// A mark came by.
    pub(super) fn mark(&mut self) {
        self.cut();
        self.parts.push(Part::Mark);
    }

    /// Makes a part of the events so far, so that a loss keeps its place.
    fn cut(&mut self) {
        if !self.events.is_empty() {
            self.parts
                .push(Part::Events(self.events.drain(..).collect()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::flow::{EventType, Flow, FlowEvent, L4, Protocol, Tuple};

    fn event(port: u16) -> Event {
        let tuple = Tuple {
            src: IpAddr::V4(Ipv4Addr::LOCALHOST),
            dst: IpAddr::V4(Ipv4Addr::LOCALHOST),
            protocol: Protocol::UDP,
            l4: L4::Ports { src: port, dst: 53 },
        };
        Event::Flow(FlowEvent {
            kind: EventType::New,
            flow: Flow::new(tuple, tuple.inverse()),
            port_id: 0,
        })
    }

    fn events(read: Option<Read<Event>>) -> Vec<(u64, Event)> {
        match read {
            Some(Read::Events(slice)) => {
                slice.iter().map(|(n, event)| (n, event.clone())).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_loss_in_the_middle_of_a_turn_keeps_its_place() {
        let feed = Feed::new(100);
        let mut position = feed.tail();
        let mut intake = Intake::default();
        intake.event(event(1));
        intake.event(event(2));
        intake.lost(1);
        intake.lost(4);
        intake.event(event(3));
        feed.publish(&mut intake);
        let mut next = || feed.try_read(&mut position).expect("open");
        assert_eq!(events(next()), [(1, event(1)), (2, event(2))]);
        assert!(matches!(next(), Some(Read::Lost { lost: 5, next: 3 })));
        assert_eq!(events(next()), [(3, event(3))]);
        assert!(next().is_none());
    }

    #[test]
    fn an_end_comes_after_what_is_left_and_the_first_reason_stays() {
        let feed = Feed::new(100);
        let mut position = feed.tail();
        let mut intake = Intake::default();
        intake.event(event(1));
        feed.publish(&mut intake);
        feed.close(Closed::NamespaceGone("x".to_owned()));
        feed.close(Closed::Shut);
        assert_eq!(events(feed.try_read(&mut position).expect("left")).len(), 1);
        let end = feed.try_read(&mut position).expect_err("the end");
        assert_eq!(end, Closed::NamespaceGone("x".to_owned()));
    }

    #[tokio::test]
    async fn a_reader_wakes_for_news_and_for_the_end() {
        let feed = Arc::new(Feed::new(100));
        let reader = Arc::clone(&feed);
        let reading = tokio::spawn(async move {
            let mut position = reader.tail();
            let first = reader.read(&mut position).await;
            (first.is_ok(), reader.read(&mut position).await)
        });
        // The reader has its position and waits.
        tokio::task::yield_now().await;
        let mut intake = Intake::default();
        intake.event(event(1));
        feed.publish(&mut intake);
        tokio::task::yield_now().await;
        feed.close(Closed::Shut);
        let (first, second) = reading.await.expect("no panic");
        assert!(first);
        assert_eq!(second.expect_err("the end"), Closed::Shut);
    }

    #[test]
    fn marks_are_awaited_and_an_end_is_no_mark() {
        let feed = Feed::new(100);
        assert!(!feed.await_marks(1, Duration::ZERO));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| feed.await_marks(2, Duration::from_secs(60)));
            let mut intake = Intake::default();
            intake.mark();
            intake.mark();
            feed.publish(&mut intake);
            assert!(waiting.join().expect("no panic"));
            let ended = scope.spawn(|| feed.await_marks(3, Duration::from_secs(60)));
            feed.close(Closed::Shut);
            assert!(!ended.join().expect("no panic"));
        });
    }
}
