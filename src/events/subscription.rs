//! One watcher's place in the events of a network namespace.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::Error;
use super::feed::Closed;
use super::groups::Groups;
use super::hub::{Admission, Cursor, Hub};
use super::hubs::Registry;
use super::ring::{Position, Read, Slice};
use crate::flow::Event;

/// A watcher. Dropping it ends the watch: groups that nobody else watches are left after
/// the grace period.
#[derive(Debug)]
pub struct Subscription {
    registry: Arc<Registry>,
    hub: Arc<Hub>,
    groups: Groups,
    position: Position,
    cursor: Cursor,
    destroy_events_complete: bool,
    _permit: OwnedSemaphorePermit,
}

/// What a watcher gets.
#[derive(Debug)]
pub enum Delivery {
    /// Events of its groups.
    Events(Events),
    /// Events were lost at this place.
    Gap(Gap),
}

/// Events that happened one after the other, shared with the other watchers.
#[derive(Debug)]
pub struct Events {
    slice: Slice<Event>,
    groups: Groups,
    taken: usize,
}

/// Who lost events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapSource {
    /// The kernel's socket, or a message of the kernel that could not be read.
    Kernel,
    /// This watcher was slower than the ring turns over.
    Subscriber,
}

/// Events were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// By whom.
    pub source: GapSource,
    /// How many, of all groups that the listener is in.
    pub lost: u64,
    /// The sequence number of the next event.
    pub next_sequence: u64,
}

impl Subscription {
    pub(super) fn new(
        registry: Arc<Registry>,
        hub: Arc<Hub>,
        groups: Groups,
        admission: Admission,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            registry,
            hub,
            groups,
            position: admission.position,
            cursor: admission.cursor,
            destroy_events_complete: false,
            _permit: permit,
        }
    }

    /// Moves behind what is still queued from before its time. Blocks.
    pub(super) fn skip_backlog(&mut self) -> Result<(), Error> {
        self.position = self.hub.behind_the_backlog()?;
        self.cursor.sequence = self.position.sequence();
        Ok(())
    }

    pub(super) fn set_destroy_events_complete(&mut self, complete: bool) {
        self.destroy_events_complete = complete;
    }

    /// Where it began: what happens from there on is delivered, or counted in a [`Gap`].
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Whether the end of every entry makes an event. With `nf_conntrack_events` = 2 only
    /// that of entries which were created while somebody listened.
    pub fn destroy_events_complete(&self) -> bool {
        self.destroy_events_complete
    }

    /// What comes next, as soon as there is something. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Why there is nothing more to come, after all that came before was delivered.
    pub async fn next(&mut self) -> Result<Delivery, Closed> {
        let read = self.hub.feed().read(&mut self.position).await?;
        Ok(Delivery::new(read, self.groups))
    }

    /// What comes next, if it is there already.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub fn try_next(&mut self) -> Result<Option<Delivery>, Closed> {
        let read = self.hub.feed().try_read(&mut self.position)?;
        Ok(read.map(|read| Delivery::new(read, self.groups)))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.unwatch(self.groups);
        self.registry.reap_later(&self.hub);
    }
}

impl Delivery {
    fn new(read: Read<Event>, groups: Groups) -> Self {
        match read {
            Read::Events(slice) => Self::Events(Events {
                slice,
                groups,
                taken: 0,
            }),
            Read::Overrun { lost, next } => Self::Gap(Gap {
                source: GapSource::Subscriber,
                lost,
                next_sequence: next,
            }),
            Read::Lost { lost, next } => Self::Gap(Gap {
                source: GapSource::Kernel,
                lost,
                next_sequence: next,
            }),
        }
    }
}

impl Events {
    /// The next event of the watcher's groups, with its sequence number.
    pub fn take_next(&mut self) -> Option<(u64, &Event)> {
        let groups = self.groups;
        let (skipped, found) = self
            .slice
            .iter_from(self.taken)
            .enumerate()
            .find(|(_, (_, event))| groups.hear(event))?;
        self.taken += skipped + 1;
        Some(found)
    }
}
