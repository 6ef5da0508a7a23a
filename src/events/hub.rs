//! One network namespace's listener: the thread that drains it, and who watches.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::Error;
use super::feed::{Closed, Feed, Intake};
use super::groups::{Groups, Membership};
use super::ring::Position;
use crate::ctnetlink::{Heard, ListenOptions, Listener, ListenerHandle, Namespace, Received};

/// How far behind the listener's thread may be when somebody subscribes.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait for room in a queue that is full.
const RETRY: Duration = Duration::from_millis(10);

/// A place in a listener's sequence of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which listener, and which of its generations of groups.
    pub epoch: u64,
    /// The last event before the place.
    pub sequence: u64,
}

/// A listener and those who watch through it.
#[derive(Debug)]
pub(super) struct Hub {
    namespace: Namespace,
    feed: Arc<Feed>,
    /// The epoch of generation 0. Random, so that no cursor of an earlier listener fits.
    first_epoch: u64,
    watch: Mutex<Watch>,
}

#[derive(Debug)]
struct Watch {
    /// Given up when the hub is closed: it holds the socket, and with it the namespace, and
    /// a watcher that is slow to leave must not.
    listener: Option<ListenerHandle>,
    membership: Membership,
    /// How many marks were put into the socket's queue.
    marks: u64,
    /// Somebody waits for groups to have been idle long enough.
    reaping: bool,
}

/// Where a new watcher begins.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) position: Position,
    pub(super) cursor: Cursor,
    /// Events from before its time may come after that position.
    pub(super) backlog: bool,
}

/// What is left to do for those who wait for idle groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// Every group is watched.
    Nothing,
    /// The next group's time comes then.
    Until(Instant),
    /// No group is joined any more.
    Unused,
}

impl Hub {
    /// Opens a listener that is in no group yet, and starts its thread.
    pub(super) fn open(
        namespace: &Namespace,
        receive_buffer: usize,
        ring_events: usize,
    ) -> Result<Self, Error> {
        let listener = Listener::open(namespace, ListenOptions { receive_buffer })?;
        let handle = listener.handle();
        let feed = Arc::new(Feed::new(ring_events));
        let reader = Reader {
            namespace: namespace.clone(),
            listener,
            feed: Arc::clone(&feed),
        };
        thread::Builder::new()
            .name("ctevents".to_owned())
            .spawn(move || reader.run())
            .map_err(Error::Thread)?;
        info!(netns = namespace.name(), "event listener opened");
        Ok(Self {
            namespace: namespace.clone(),
            feed,
            first_epoch: RandomState::new().build_hasher().finish(),
            watch: Mutex::new(Watch {
                listener: Some(handle),
                membership: Membership::default(),
                marks: 0,
                reaping: false,
            }),
        })
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(super) fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Nothing panics under this lock; should it ever, the counts are still whole.
    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins what is missing of the groups and counts a watcher of them. With a cursor,
    /// the watcher's place is behind it, or the answer is [`Error::CursorTooOld`].
    pub(super) fn watch(
        &self,
        groups: Groups,
        resume_after: Option<Cursor>,
    ) -> Result<Admission, Error> {
        let mut watch = self.lock();
        let Watch {
            listener: Some(listener),
            membership,
            ..
        } = &mut *watch
        else {
            return Err(Error::Closed);
        };
        // Nothing is queued in a listener that was in no group.
        let mut backlog = !membership.is_empty();
        let position = match resume_after {
            Some(cursor) => {
                backlog = false;
                self.resume(membership, groups, cursor)?
            }
            None => {
                for group in membership.missing(groups).iter() {
                    listener.join(group)?;
                    membership.joined(group, Instant::now());
                    debug!(netns = self.namespace.name(), ?group, "joined");
                }
                // Only now: nothing that comes after the joining has been numbered before.
                self.feed.tail()
            }
        };
        membership.watch(groups);
        let cursor = Cursor {
            epoch: self.first_epoch.wrapping_add(watch.membership.generation()),
            sequence: position.sequence(),
        };
        Ok(Admission {
            position,
            cursor,
            backlog,
        })
    }

    /// The place behind all that is queued in the socket now, as soon as the thread has come
    /// there. What was queued before a watcher's groups were all joined is not for it: it
    /// might hear that an entry came, and not that it went.
    pub(super) fn behind_the_backlog(&self) -> Result<Position, Error> {
        let deadline = Instant::now() + PATIENCE;
        let mark = loop {
            if let Some(mark) = self.mark()? {
                break mark;
            }
            // The queue is full. Wait for the thread to take something out of it.
            if Instant::now() > deadline {
                return Err(Error::Behind);
            }
            self.feed.await_marks(u64::MAX, RETRY);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if self.feed.await_marks(mark, left) {
            Ok(self.feed.tail())
        } else if self.feed.is_closed() {
            Err(Error::Closed)
        } else {
            Err(Error::Behind)
        }
    }

    /// Puts a mark into the queue, if there is room, and numbers it.
    fn mark(&self) -> Result<Option<u64>, Error> {
        let mut watch = self.lock();
        let listener = watch.listener.as_ref().ok_or(Error::Closed)?;
        if !listener.mark()? {
            return Ok(None);
        }
        watch.marks += 1;
        Ok(Some(watch.marks))
    }

    fn resume(
        &self,
        membership: &Membership,
        groups: Groups,
        cursor: Cursor,
    ) -> Result<Position, Error> {
        let generation = cursor.epoch.wrapping_sub(self.first_epoch);
        if generation > membership.generation() || !membership.joined_since(generation, groups) {
            return Err(Error::CursorTooOld);
        }
        self.feed.after(cursor.sequence).ok_or(Error::CursorTooOld)
    }

    /// One watcher less.
    pub(super) fn unwatch(&self, groups: Groups) {
        self.lock().membership.unwatch(groups, Instant::now());
    }

    /// Whether no group is joined.
    pub(super) fn is_unused(&self) -> bool {
        self.lock().membership.is_empty()
    }

    /// Whether the caller is to wait until groups have been idle long enough: some are
    /// idle, and nobody waits yet.
    pub(super) fn begin_reaping(&self, grace: Duration) -> Option<Instant> {
        let mut watch = self.lock();
        if watch.reaping {
            return None;
        }
        let at = if self.feed.is_closed() {
            Instant::now()
        } else {
            watch.membership.next_expiry(grace)?
        };
        watch.reaping = true;
        Some(at)
    }

    /// Leaves the groups that have been idle for `grace`. Unless there are more to wait
    /// for, the caller's waiting ends; also when the listener is closed already.
    pub(super) fn reap(&self, grace: Duration) -> Idle {
        let mut watch = self.lock();
        let Watch {
            listener: Some(listener),
            membership,
            reaping,
            ..
        } = &mut *watch
        else {
            return Idle::Unused;
        };
        if self.feed.is_closed() {
            return Idle::Unused;
        }
        let netns = self.namespace.name();
        for group in membership.expired(Instant::now(), grace).iter() {
            match listener.leave(group) {
                Ok(()) => debug!(netns, ?group, "left"),
                // The kernel goes on making its events: costly, not wrong.
                Err(error) => warn!(netns, ?group, %error, "cannot leave a group"),
            }
            membership.left(group);
        }
        if let Some(at) = membership.next_expiry(grace) {
            return Idle::Until(at);
        }
        *reaping = false;
        if membership.is_empty() {
            Idle::Unused
        } else {
            Idle::Nothing
        }
    }

    /// Ends the listener and, when they have read what is left, its watchers.
    pub(super) fn close(&self, reason: Closed) {
        self.feed.close(reason);
        let listener = self.lock().listener.take();
        if let Some(Err(error)) = listener.map(|listener| listener.interrupt()) {
            // It ends with the next event instead.
            warn!(netns = self.namespace.name(), %error, "cannot wake the event listener");
        }
    }
}

/// The thread that drains the listener.
struct Reader {
    namespace: Namespace,
    listener: Listener,
    feed: Arc<Feed>,
}

impl Reader {
    fn run(mut self) {
        // Whatever ends this thread, a panic included, ends the watches: no watcher waits
        // for events that nobody reads. A reason given before stays.
        let _ending = Ending(Arc::clone(&self.feed));
        let mut intake = Intake::default();
        let mut malformed = 0_u64;
        while !self.feed.is_closed() {
            let mut lost = 0;
            let mut unreadable = None;
            let received = self.listener.receive(&mut |heard| match heard {
                Heard::Event(event) => intake.event(event),
                Heard::Lost(count) => {
                    lost += count;
                    intake.lost(count);
                }
                Heard::Mark => intake.mark(),
                Heard::Malformed(error) => {
                    malformed += 1;
                    intake.lost(1);
                    unreadable = Some(error);
                }
            });
            self.feed.publish(&mut intake);
            let netns = self.namespace.name();
            if lost > 0 {
                warn!(
                    netns,
                    lost, "the kernel dropped events: the receive buffer was full"
                );
            }
            if let Some(error) = unreadable {
                warn!(netns, total = malformed, %error, "an event could not be read");
            }
            match received {
                Ok(Received::Events | Received::Interrupted) => {}
                Err(error) => {
                    warn!(netns, %error, "event listener failed");
                    self.feed.close(Closed::Failed(error.to_string()));
                }
            }
        }
        info!(netns = self.namespace.name(), "event listener closed");
    }
}

/// Closes the feed when the thread ends.
struct Ending(Arc<Feed>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.close(Closed::Failed("its thread ended".to_owned()));
    }
}
