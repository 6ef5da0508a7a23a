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
