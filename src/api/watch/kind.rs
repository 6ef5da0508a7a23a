//! What watches of flows and of expectations do not have in common.

use prost::Message;

use crate::ctnetlink::{
    Error, ExpectationDump, ExpectationDumpRequest, FlowDump, FlowDumpRequest, Group, Namespace,
};
use crate::flow::{Event, EventType, Filter, filter};
use crate::{pb, wire};

/// One message of a watch, before it is one kind's.
pub(super) enum Part<K: Kind> {
    /// The subscription is live.
    Subscribed(pb::Subscribed),
    /// Entries of a snapshot.
    Snapshot {
        /// The entries.
        entries: Vec<K::Entry>,
        /// Whether these are its first.
        first: bool,
    },
    /// The end of a snapshot.
    SnapshotEnd(pb::SnapshotEnd),
    /// Events.
    Events(Vec<K::Event>),
    /// Events were lost.
    Gap(pb::Gap),
}

/// What is watched.
pub(super) trait Kind: Sized + 'static {
    /// The message of an entry.
    type Entry: Message + Send;
    /// The message of an event.
    type Event: Message + Send;
    /// A message of the stream.
    type Response: Send + 'static;
    /// A dump under way.
    type Dump;

    /// What filters look at.
    const KIND: filter::Kind;

    /// The group that such events come through.
    fn group(kind: EventType) -> Option<Group>;

    /// The event's message, if it is of this kind and passes the filter.
    fn event(
        event: &Event,
        sequence: u64,
        filter: Option<&Filter>,
        now: u64,
    ) -> Option<Self::Event>;

    /// Begins a dump.
    fn open(namespace: &Namespace, filter: Option<Filter>) -> Result<Self::Dump, Error>;

    /// Reads a datagram of the dump; false when it was the last.
    fn read(dump: &mut Self::Dump, take: &mut dyn FnMut(Self::Entry)) -> Result<bool, Error>;

    /// Makes a message of the stream.
    fn response(part: Part<Self>) -> Self::Response;
}

/// The connection tracking table.
pub(super) enum Flows {}

impl Kind for Flows {
    type Entry = pb::Flow;
    type Event = pb::FlowEvent;
    type Response = pb::WatchFlowsResponse;
    type Dump = FlowDump;

    const KIND: filter::Kind = filter::Kind::Flow;

    fn group(kind: EventType) -> Option<Group> {
        Some(match kind {
            EventType::New => Group::FlowNew,
            EventType::Update => Group::FlowUpdate,
            EventType::Destroy => Group::FlowDestroy,
        })
    }

    fn event(
        event: &Event,
        sequence: u64,
        filter: Option<&Filter>,
        now: u64,
    ) -> Option<pb::FlowEvent> {
        match event {
            Event::Flow(event) => filter
                .is_none_or(|filter| filter.matches(&event.flow, now))
                .then(|| wire::flow_event(sequence, event)),
            Event::Expectation(_) => None,
        }
    }

    fn open(namespace: &Namespace, filter: Option<Filter>) -> Result<FlowDump, Error> {
        let request = FlowDumpRequest {
            filter,
            ..FlowDumpRequest::default()
        };
        FlowDump::open(namespace, request)
    }

    fn read(dump: &mut FlowDump, take: &mut dyn FnMut(pb::Flow)) -> Result<bool, Error> {
        dump.read(&mut |flow| take(flow.into()))
    }

    fn response(part: Part<Self>) -> pb::WatchFlowsResponse {
        use pb::watch_flows_response::Message;
        let message = match part {
            Part::Subscribed(subscribed) => Message::Subscribed(subscribed),
            Part::Snapshot { entries, first } => Message::Snapshot(pb::FlowSnapshotChunk {
                flows: entries,
                first,
            }),
            Part::SnapshotEnd(end) => Message::SnapshotEnd(end),
            Part::Events(events) => Message::Events(pb::FlowEvents { events }),
            Part::Gap(gap) => Message::Gap(gap),
        };
        pb::WatchFlowsResponse {
            message: Some(message),
        }
    }
}

/// The list of expectations.
pub(super) enum Expectations {}

impl Kind for Expectations {
    type Entry = pb::Expectation;
    type Event = pb::ExpectationEvent;
    type Response = pb::WatchExpectationsResponse;
    type Dump = ExpectationDump;

    const KIND: filter::Kind = filter::Kind::Expectation;

    fn group(kind: EventType) -> Option<Group> {
        match kind {
            EventType::New => Some(Group::ExpectationNew),
            EventType::Update => None,
            EventType::Destroy => Some(Group::ExpectationDestroy),
        }
    }

    fn event(
        event: &Event,
        sequence: u64,
        filter: Option<&Filter>,
        now: u64,
    ) -> Option<pb::ExpectationEvent> {
        match event {
            Event::Expectation(event) => filter
                .is_none_or(|filter| filter.matches(&event.expectation, now))
                .then(|| wire::expectation_event(sequence, event)),
            Event::Flow(_) => None,
        }
    }

    fn open(namespace: &Namespace, filter: Option<Filter>) -> Result<ExpectationDump, Error> {
        let request = ExpectationDumpRequest {
            filter,
            ..ExpectationDumpRequest::default()
        };
        ExpectationDump::open(namespace, request)
    }

    fn read(
        dump: &mut ExpectationDump,
        take: &mut dyn FnMut(pb::Expectation),
    ) -> Result<bool, Error> {
        dump.read(&mut |expectation| take(expectation.into()))
    }

    fn response(part: Part<Self>) -> pb::WatchExpectationsResponse {
        use pb::watch_expectations_response::Message;
        let message = match part {
            Part::Subscribed(subscribed) => Message::Subscribed(subscribed),
            Part::Snapshot { entries, first } => Message::Snapshot(pb::ExpectationSnapshotChunk {
                expectations: entries,
                first,
            }),
            Part::SnapshotEnd(end) => Message::SnapshotEnd(end),
            Part::Events(events) => Message::Events(pb::ExpectationEvents { events }),
            Part::Gap(gap) => Message::Gap(gap),
        };
        pb::WatchExpectationsResponse {
            message: Some(message),
        }
    }
}
