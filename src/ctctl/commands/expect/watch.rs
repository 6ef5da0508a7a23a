//! `ctctl expect watch`.

use clap::{Args, ValueEnum};

use crate::ctctl::args::expect::ExpectSelect;
use crate::ctctl::commands::CommandError;
use crate::ctctl::commands::dump::entries;
use crate::ctctl::commands::follow::{self, FollowArgs, Message, Watched};
use crate::ctctl::commands::get::missing;
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::context::Context;
use crate::ctctl::output::EventOrigin;
use crate::flow::{Expectation, ExpectationEvent};
use crate::pb;
use crate::pb::watch_expectations_response::Message as Wire;

/// What to watch.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// Kinds of events [default: both]
    #[arg(short, long, value_enum, value_name = "KIND", value_delimiter = ',')]
    #[arg(visible_alias = "event-mask", ignore_case = true)]
    event: Vec<EventName>,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    select: ExpectSelect,
}

/// A kind of event; expectations do not change.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum EventName {
    /// It came
    New,
    /// It went
    Destroy,
}

pub(super) async fn run(args: WatchArgs, context: &mut Context) -> Result<u8, CommandError> {
    let event = |event: &EventName| match event {
        EventName::New => pb::EventType::New.into(),
        EventName::Destroy => pb::EventType::Destroy.into(),
    };
    let request = pb::WatchExpectationsRequest {
        network_namespace: String::new(),
        event_types: args.event.iter().map(event).collect(),
        filter: args.select.selection()?.for_reading(),
        snapshot: args.follow.snapshot,
        resync_after_gap: args.follow.resync,
        resume_after: None,
    };
    follow::run::<Expectations>(args.follow, request, context).await
}

/// How expectations are watched.
pub(in crate::ctctl::commands) struct Expectations;

impl Watched for Expectations {
    type Request = pb::WatchExpectationsRequest;
    type Response = pb::WatchExpectationsResponse;
    type Entry = Expectation;

    async fn subscribe(
        session: &Session,
        mut request: pb::WatchExpectationsRequest,
        resume_after: Option<pb::Cursor>,
    ) -> Result<tonic::Streaming<pb::WatchExpectationsResponse>, NodeError> {
        request.network_namespace = session.namespace();
        request.snapshot &= resume_after.is_none();
        request.resume_after = resume_after;
        session
            .read(session.expectation_streams().watch_expectations(request))
            .await
    }

    fn read(response: pb::WatchExpectationsResponse) -> Result<Message<Expectation>, NodeError> {
        Ok(match response.message.ok_or_else(|| missing("message"))? {
            Wire::Subscribed(subscribed) => Message::Subscribed(subscribed),
            Wire::Snapshot(chunk) => Message::Snapshot {
                entries: entries(chunk.expectations)?,
                first: chunk.first,
            },
            Wire::SnapshotEnd(end) => Message::SnapshotEnd(end),
            Wire::Gap(gap) => Message::Gap(gap),
            Wire::Events(events) => Message::Events(
                events
                    .events
                    .into_iter()
                    .map(event)
                    .collect::<Result<_, _>>()?,
            ),
        })
    }
}

fn event(message: pb::ExpectationEvent) -> Result<(EventOrigin, Expectation), NodeError> {
    let sequence = message.sequence;
    let event = ExpectationEvent::try_from(message)
        .map_err(|error| NodeError::Answer(error.to_string()))?;
    let origin = EventOrigin::Event {
        kind: event.kind,
        sequence,
        port_id: event.port_id,
    };
    Ok((origin, event.expectation))
}
