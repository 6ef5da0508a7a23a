//! WatchFlows and WatchExpectations: what the client asks for, checked, and the stream that
//! answers it.

mod end;
mod kind;
mod place;
mod snapshot;
mod stream;

use std::time::Duration;

use tonic::Status;

use super::caller::Caller;
use super::gate::Gate;
use super::pull::{Messages, blocking};
use super::withdrawal::Withdrawal;
use super::{Context, request, status};
use crate::ctnetlink::Namespace;
use crate::events::{Cursor, Groups, Hubs};
use crate::flow::{EventType, Filter};
use crate::lifecycle::Watch as Drain;
use crate::pb;
use crate::wire::{At as _, FieldError};
use kind::{Expectations, Flows, Kind};
pub(super) use place::Places;
use snapshot::Snapshots;
use stream::Stream;

/// Snapshots more often than this would be all that the agent does.
const MIN_RESYNC: Duration = Duration::from_secs(1);

/// What both kinds of watches are made of.
pub(super) struct Watches<'a> {
    /// The listeners.
    hubs: &'a Hubs,
    /// A snapshot is a dump.
    gate: &'a Gate,
    /// Ends every watch.
    drain: &'a Drain,
    places: &'a Places,
    caller: &'a Caller,
}

/// What a client asks for.
struct Wanted {
    namespace: Namespace,
    groups: Groups,
    filter: Option<Filter>,
    snapshot: bool,
    resync_after_gap: bool,
    resync_interval: Option<Duration>,
    resume_after: Option<Cursor>,
}

impl<'a> Watches<'a> {
    /// With what every service has.
    pub(super) fn of(context: &'a Context, caller: &'a Caller) -> Self {
        Self {
            hubs: &context.events,
            gate: &context.gate,
            drain: &context.drain,
            places: &context.watchers,
            caller,
        }
    }

    /// Answers WatchFlows.
    pub(super) async fn flows(
        self,
        message: pb::WatchFlowsRequest,
    ) -> Result<Messages<pb::bulk::WatchFlowsResponse>, Status> {
        let (ref caller, namespace) = self.caller.enter(&message)?;
        let wanted = Wanted {
            namespace,
            groups: groups::<Flows>(&message.event_types)?,
            filter: caller.flows(
                caller
                    .bounds()
                    .optional_filter(message.filter, Flows::KIND)?,
            )?,
            snapshot: message.snapshot,
            resync_after_gap: message.resync_after_gap,
            resync_interval: message.resync_interval.map(interval).transpose()?,
            resume_after: message.resume_after.map(cursor),
        };
        Watches { caller, ..self }.open::<Flows>(wanted).await
    }

    /// Answers WatchExpectations.
    pub(super) async fn expectations(
        self,
        message: pb::WatchExpectationsRequest,
    ) -> Result<Messages<pb::bulk::WatchExpectationsResponse>, Status> {
        let (ref caller, namespace) = self.caller.enter(&message)?;
        // When one ends, its master may be gone, and nobody could say whose it was.
        caller.unscoped("WatchExpectations")?;
        let wanted = Wanted {
            namespace,
            groups: groups::<Expectations>(&message.event_types)?,
            filter: caller
                .bounds()
                .optional_filter(message.filter, Expectations::KIND)?,
            snapshot: message.snapshot,
            resync_after_gap: message.resync_after_gap,
            resync_interval: None,
            resume_after: message.resume_after.map(cursor),
        };
        Watches { caller, ..self }
            .open::<Expectations>(wanted)
            .await
    }

    async fn open<K: Kind>(self, wanted: Wanted) -> Result<Messages<K::Response>, Status> {
        let scoped = self.caller.scope().is_some();
        if wanted.resume_after.is_some() {
            // Their numbers are of this watch alone: see [`Stream`].
            self.caller.unscoped("resume_after")?;
        }
        // Refused now rather than in the middle of the stream.
        let permit = match wanted.snapshot {
            true => Some(self.gate.enter(self.caller.identity())?),
            false => None,
        };
        let filter = wanted.filter.as_ref();
        let place = self.places.take(self.caller.identity(), filter)?;
        let (hubs, namespace) = (self.hubs.clone(), wanted.namespace.clone());
        let (groups, resume_after) = (wanted.groups, wanted.resume_after);
        let subscription = blocking(move || {
            hubs.subscribe(&namespace, groups, resume_after)
                .map_err(|error| status::events(&error))
        })
        .await?;
        let resync = stream::Resync {
            after_gap: wanted.resync_after_gap,
            interval: wanted.resync_interval,
        };
        let selection = stream::Selection::of(wanted.filter.as_ref());
        Ok(Stream::<K>::new(
            (subscription, place),
            selection,
            Snapshots::new(
                wanted.namespace,
                wanted.filter,
                self.gate.clone(),
                self.drain.clone(),
                self.caller,
            ),
            scoped,
            resync,
        )
        .messages(permit, (self.drain.clone(), Withdrawal::of(self.caller))))
    }
}

/// The groups of the kinds of events; all when there are none.
fn groups<K: Kind>(event_types: &[i32]) -> Result<Groups, Status> {
    if event_types.is_empty() {
        let all = [EventType::New, EventType::Update, EventType::Destroy];
        return Ok(all.into_iter().filter_map(K::group).collect());
    }
    event_types
        .iter()
        .enumerate()
        .map(|(index, number)| {
            let group = pb::EventType::try_from(*number)
                .map_err(|_| FieldError::new("", format!("has the unknown value {number}")))
                .and_then(EventType::try_from)
                .and_then(|kind| {
                    K::group(kind).ok_or_else(|| {
                        FieldError::new(
                            "",
                            "is EVENT_TYPE_UPDATE: the kernel reports no such events",
                        )
                    })
                });
            group.at_item("event_types", index)
        })
        .collect::<Result<_, _>>()
        .map_err(|error| status::field(&error))
}

fn interval(message: prost_types::Duration) -> Result<Duration, Status> {
    match Duration::try_from(message) {
        Ok(interval) if interval >= MIN_RESYNC => Ok(interval),
        _ => Err(request::refused("resync_interval", "must be at least 1 s")),
    }
}

fn cursor(message: pb::Cursor) -> Cursor {
    Cursor {
        epoch: message.epoch,
        sequence: message.sequence,
    }
}
