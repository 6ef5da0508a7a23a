//! The stream of a watch: Subscribed, a snapshot if wanted, then events as they come, gaps
//! at their places, and fresh snapshots where the client asked for them.
//!
//! A caller with a scope gets numbers of their own, 1, 2, 3: those of the ring would tell how many
//! events there are beyond the scope. So there is no cursor, and a gap has no number.
//!
//! Nothing runs ahead of the client: a message is made when it is asked for. What happens
//! meanwhile waits in the ring, and what the ring cannot keep becomes a gap.

use std::time::Duration;

use futures::StreamExt as _;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::end;
use super::kind::{Kind, Part};
use super::place::Place;
use super::snapshot::Snapshots;
use crate::api::gate::Permit;
use crate::api::pull::Messages;
use crate::api::status;
use crate::api::withdrawal::Withdrawal;
use crate::ctnetlink::now_ns;
use crate::events::{Cursor, Delivery, Events, Gap, GapSource, Subscription};
use crate::flow::Filter;
use crate::flow::filter::Matcher;
use crate::lifecycle::Watch as Drain;
use crate::pb;
use crate::wire::bulk::Run;

/// Bytes of events at which a message is sent although more are there.
const CHUNK: usize = 32 * 1024;
/// Conditions that are looked at before others get their turn: some hundred microseconds.
const TURN: usize = 16_384;

/// When fresh snapshots follow the first.
#[derive(Clone, Copy)]
pub(super) struct Resync {
    pub(super) after_gap: bool,
    pub(super) interval: Option<Duration>,
}

/// Which events are told.
pub(super) struct Selection {
    matcher: Option<Matcher>,
    /// Events that are looked at before others get their turn.
    turn: usize,
}

impl Selection {
    /// Those that pass the filter; all without one.
    pub(super) fn of(filter: Option<&Filter>) -> Self {
        let conditions = filter.map_or(1, Filter::conditions);
        Self {
            matcher: filter.map(Matcher::of),
            turn: (TURN / conditions.max(1)).max(1),
        }
    }
}

/// A watch.
pub(super) struct Stream<K: Kind> {
    subscription: Subscription,
    /// Given back with it.
    _place: Place,
    selection: Selection,
    snapshots: Snapshots,
    resync: Resync,
    /// When the next snapshot is due by the clock.
    resync_at: Option<Instant>,
    state: State<K>,
    /// Events that were read from the ring and are not sent yet.
    events: Option<Events>,
    /// With a scope: how many events were told.
    told: Option<u64>,
}

/// What comes next.
enum State<K: Kind> {
    /// Subscribed; then a snapshot, if there is a permit for one.
    Begin(Option<Permit>),
    /// This, and then a fresh snapshot if the client wants one after a gap.
    Gap(Gap),
    /// A snapshot is due: what it has to repair has been told.
    Due,
    /// A snapshot is under way.
    Snapshot(Messages<K::Response>),
    /// Events.
    Live,
}

impl<K: Kind> Stream<K> {
    pub(super) fn new(
        (subscription, place): (Subscription, Place),
        selection: Selection,
        snapshots: Snapshots,
        scoped: bool,
        resync: Resync,
    ) -> Self {
        Self {
            subscription,
            _place: place,
            selection,
            snapshots,
            resync,
            resync_at: None,
            state: State::Begin(None),
            events: None,
            told: scoped.then_some(0),
        }
    }

    /// Its messages, until the drain or the withdrawal, which end it from beside; the first
    /// snapshot's permit, if one is wanted.
    pub(super) fn messages(
        mut self,
        snapshot: Option<Permit>,
        (drain, mut withdrawal): (Drain, Withdrawal),
    ) -> Messages<K::Response> {
        self.state = State::Begin(snapshot);
        let messages = futures::stream::unfold(Some(self), |watch| async {
            let mut watch = watch?;
            let message = watch.next().await;
            // Dropped with an error, and the subscription with it.
            let rest = message.is_ok().then_some(watch);
            Some((message, rest))
        });
        end::until(Box::pin(messages), async move {
            tokio::select! {
                biased;
                () = drain.started() => status::stopping(&[]),
                end = withdrawal.comes(&[]) => end,
            }
        })
    }

    async fn next(&mut self) -> Result<K::Response, Status> {
        loop {
            match &mut self.state {
                State::Begin(permit) => {
                    self.state = match permit.take() {
                        Some(permit) => State::Snapshot(self.snapshots.begin::<K>(permit)),
                        None => State::Live,
                    };
                    self.set_clock();
                    return Ok(K::response(Part::Subscribed(self.subscribed())));
                }
                State::Gap(gap) => {
                    let gap = K::response(Part::Gap(gap_message(*gap, self.told)));
                    self.state = match self.resync.after_gap {
                        true => State::Due,
                        false => State::Live,
                    };
                    return Ok(gap);
                }
                State::Due => self.begin_snapshot().await?,
                State::Snapshot(messages) => match messages.next().await {
                    Some(message) => return message,
                    None => {
                        self.set_clock();
                        self.state = State::Live;
                    }
                },
                State::Live => {
                    if let Some(events) = self.live().await? {
                        return Ok(K::response(Part::Events(events)));
                    }
                }
            }
        }
    }

    /// Begins a snapshot, unless the next thing in the ring is one more gap: one snapshot
    /// repairs both.
    async fn begin_snapshot(&mut self) -> Result<(), Status> {
        if self.events.is_none() {
            match self.subscription.try_next() {
                Ok(Some(Delivery::Gap(gap))) => {
                    self.state = State::Gap(gap);
                    return Ok(());
                }
                Ok(Some(Delivery::Events(events))) => self.events = Some(events),
                Ok(None) => {}
                Err(closed) => return Err(status::closed(&closed)),
            }
        }
        let permit = self.snapshots.permit().await?;
        self.state = State::Snapshot(self.snapshots.begin::<K>(permit));
        Ok(())
    }

    /// The next message of events; `None` when the state changed.
    async fn live(&mut self) -> Result<Option<Run>, Status> {
        let mut message = Run::default();
        let mut left = self.selection.turn;
        loop {
            if let Some(events) = &mut self.events {
                let now = now_ns();
                while message.len() < CHUNK {
                    // A filter that lets nothing pass must not keep the thread from others.
                    if left == 0 {
                        yield_now().await;
                        left = self.selection.turn;
                    }
                    left -= 1;
                    let Some((sequence, event)) = events.take_next() else {
                        break;
                    };
                    if !K::passes(event, self.selection.matcher.as_ref(), now) {
                        continue;
                    }
                    let sequence = match &mut self.told {
                        None => sequence,
                        Some(told) => {
                            *told += 1;
                            *told
                        }
                    };
                    K::push(&mut message, event, sequence, self.told.is_some());
                }
                if message.len() >= CHUNK {
                    return Ok(Some(message));
                }
                self.events = None;
            }
            if message.is_empty() && self.is_due() {
                self.state = State::Due;
                return Ok(None);
            }
            match self.subscription.try_next() {
                Ok(Some(Delivery::Events(events))) => self.events = Some(events),
                Ok(Some(Delivery::Gap(gap))) => {
                    self.state = State::Gap(gap);
                    return Ok((!message.is_empty()).then_some(message));
                }
                // All that was there is in it: no waiting for more.
                _ if !message.is_empty() => return Ok(Some(message)),
                Ok(None) => {
                    self.wait().await?;
                    if !matches!(self.state, State::Live) {
                        return Ok(None);
                    }
                }
                Err(closed) => return Err(status::closed(&closed)),
            }
        }
    }

    /// Waits until there is something, or a snapshot is due.
    async fn wait(&mut self) -> Result<(), Status> {
        let delivery = match self.resync_at {
            None => self.subscription.next().await,
            Some(at) => tokio::select! {
                delivery = self.subscription.next() => delivery,
                () = sleep_until(at) => return Ok(()),
            },
        };
        match delivery {
            Ok(Delivery::Events(events)) => self.events = Some(events),
            Ok(Delivery::Gap(gap)) => self.state = State::Gap(gap),
            Err(closed) => return Err(status::closed(&closed)),
        }
        Ok(())
    }

    fn is_due(&self) -> bool {
        self.resync_at.is_some_and(|at| at <= Instant::now())
    }

    /// The interval begins with the end of the last snapshot: slow ones do not pile up.
    fn set_clock(&mut self) {
        self.resync_at = self
            .resync
            .interval
            .and_then(|interval| Instant::now().checked_add(interval));
    }

    fn subscribed(&self) -> pb::Subscribed {
        let Cursor { epoch, sequence } = self.subscription.cursor();
        pb::Subscribed {
            cursor: (self.told.is_none()).then_some(pb::Cursor { epoch, sequence }),
            destroy_events_complete: self.subscription.destroy_events_complete(),
        }
    }
}

/// A gap. To a caller with a scope neither the number of all events that were lost is told, nor
/// that of the next one among all.
fn gap_message(gap: Gap, told: Option<u64>) -> pb::Gap {
    let source = match gap.source {
        GapSource::Kernel => pb::GapSource::Kernel,
        GapSource::Subscriber => pb::GapSource::Subscriber,
    };
    pb::Gap {
        source: source.into(),
        lost: if told.is_some() { 0 } else { gap.lost },
        next_sequence: told.map_or(gap.next_sequence, |told| told + 1),
    }
}
