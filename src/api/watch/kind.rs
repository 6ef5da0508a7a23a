//! What watches of flows and of expectations do not have in common.

use std::borrow::Cow;

use crate::api::caller::shown;
use crate::ctnetlink::{
    Error, ExpectationDump, ExpectationDumpRequest, FlowDump, FlowDumpRequest, Group, Namespace,
};
use crate::flow::filter::{self, Matcher};
use crate::flow::{Event, EventType, Filter, FlowEvent};
use crate::pb::{self, Encoded, bulk};
use crate::wire::{self, bulk::Run};

/// One message of a watch, before it is one kind's.
pub(super) enum Part {
    /// The subscription is live.
    Subscribed(pb::Subscribed),
    /// Entries of a snapshot.
    Snapshot {
        /// The entries.
        entries: Run,
        /// Whether these are its first.
        first: bool,
    },
    /// The end of a snapshot.
    SnapshotEnd(pb::SnapshotEnd),
    /// Events.
    Events(Run),
    /// Events were lost.
    Gap(pb::Gap),
}

/// What is watched.
pub(super) trait Kind: Sized + 'static {
    /// A message of the stream.
    type Response: Send + 'static;
    /// A dump under way.
    type Dump;

    /// What filters look at.
    const KIND: filter::Kind;

    /// The group that such events come through.
    fn group(kind: EventType) -> Option<Group>;

    /// Whether an event is of this kind and passes the filter.
    fn passes(event: &Event, matcher: Option<&Matcher>, now: u64) -> bool;

    /// Appends an event of this kind; for a caller with a scope or without.
    fn push(run: &mut Run, event: &Event, sequence: u64, scoped: bool);

    /// Begins a dump.
    fn open(namespace: &Namespace, filter: Option<Filter>) -> Result<Self::Dump, Error>;

    /// Appends a datagram of the dump, for a caller with a scope or without; false when it was
    /// the last.
    fn read(dump: &mut Self::Dump, run: &mut Run, scoped: bool) -> Result<bool, Error>;

    /// Makes a message of the stream.
    fn response(part: Part) -> Self::Response;
}

/// The connection tracking table.
pub(super) enum Flows {}

impl Kind for Flows {
    type Response = bulk::WatchFlowsResponse;
    type Dump = FlowDump;

    const KIND: filter::Kind = filter::Kind::Flow;

    fn group(kind: EventType) -> Option<Group> {
        Some(match kind {
            EventType::New => Group::FlowNew,
            EventType::Update => Group::FlowUpdate,
            EventType::Destroy => Group::FlowDestroy,
        })
    }

    fn passes(event: &Event, matcher: Option<&Matcher>, now: u64) -> bool {
        matches!(event, Event::Flow(event)
            if matcher.is_none_or(|matcher| matcher.matches(&event.flow, now)))
    }

    fn push(run: &mut Run, event: &Event, sequence: u64, scoped: bool) {
        let Event::Flow(event) = event else { return };
        match shown(scoped, &event.flow) {
            Cow::Borrowed(_) => run.push_flow_event(sequence, event),
            Cow::Owned(flow) => {
                let event = FlowEvent { flow, ..*event };
                run.push_flow_event(sequence, &event);
            }
        }
    }

    fn open(namespace: &Namespace, filter: Option<Filter>) -> Result<FlowDump, Error> {
        let request = FlowDumpRequest {
            filter,
            ..FlowDumpRequest::default()
        };
        FlowDump::open(namespace, request)
    }

    fn read(dump: &mut FlowDump, run: &mut Run, scoped: bool) -> Result<bool, Error> {
        dump.read(&mut |flow| run.push_flow(&shown(scoped, flow)))
    }

    fn response(part: Part) -> bulk::WatchFlowsResponse {
        use pb::watch_flows_response::Message;
        let message = match part {
            Part::Subscribed(subscribed) => Message::Subscribed(subscribed),
            Part::Snapshot { entries, first } => return entries.into_snapshot(first),
            Part::Events(events) => return events.into_events(),
            Part::SnapshotEnd(end) => Message::SnapshotEnd(end),
            Part::Gap(gap) => Message::Gap(gap),
        };
        Encoded::from(&pb::WatchFlowsResponse {
            message: Some(message),
        })
    }
}

/// The list of expectations.
pub(super) enum Expectations {}

impl Kind for Expectations {
    type Response = bulk::WatchExpectationsResponse;
    type Dump = ExpectationDump;

    const KIND: filter::Kind = filter::Kind::Expectation;

    fn group(kind: EventType) -> Option<Group> {
        match kind {
            EventType::New => Some(Group::ExpectationNew),
            EventType::Update => None,
            EventType::Destroy => Some(Group::ExpectationDestroy),
        }
    }

    fn passes(event: &Event, matcher: Option<&Matcher>, now: u64) -> bool {
        matches!(event, Event::Expectation(event)
            if matcher.is_none_or(|matcher| matcher.matches(&event.expectation, now)))
    }

    /// Callers with a scope watch none.
    fn push(run: &mut Run, event: &Event, sequence: u64, _scoped: bool) {
        if let Event::Expectation(event) = event {
            run.push(&wire::expectation_event(sequence, event));
        }
    }

    fn open(namespace: &Namespace, filter: Option<Filter>) -> Result<ExpectationDump, Error> {
        let request = ExpectationDumpRequest {
            filter,
            ..ExpectationDumpRequest::default()
        };
        ExpectationDump::open(namespace, request)
    }

    fn read(dump: &mut ExpectationDump, run: &mut Run, _scoped: bool) -> Result<bool, Error> {
        dump.read(&mut |expectation| run.push(&pb::Expectation::from(expectation)))
    }

    fn response(part: Part) -> bulk::WatchExpectationsResponse {
        use pb::watch_expectations_response::Message;
        let message = match part {
            Part::Subscribed(subscribed) => Message::Subscribed(subscribed),
            Part::Snapshot { entries, first } => return entries.into_snapshot(first),
            Part::Events(events) => return events.into_events(),
            Part::SnapshotEnd(end) => Message::SnapshotEnd(end),
            Part::Gap(gap) => Message::Gap(gap),
        };
        Encoded::from(&pb::WatchExpectationsResponse {
            message: Some(message),
        })
    }
}
