//! `ctctl watch`: flows as they come, change and go.

use clap::Args;

use super::CommandError;
use super::dump::{encoded, unreadable};
use super::follow::{self, EventName, FollowArgs, Message, Watched};
use crate::ctctl::args::select::Select;
use crate::ctctl::args::values::Span;
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::context::Context;
use crate::ctctl::output::EventOrigin;
use crate::flow::Flow;
use crate::pb::watch_flows_response::Message as Wire;
use crate::pb::{self, bulk};
use crate::wire::FieldError;
use crate::wire::bulk::{WatchMessage, read_flow, read_flow_event, read_watch};

/// What to watch.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The filter is evaluated on each event alone: an update may lack fields that \
                  a list has. Events that were lost are never passed over in silence: json \
                  has an object for them, other formats a line on standard error."
)]
pub struct WatchArgs {
    /// Kinds of events [default: all]
    #[arg(short, long, value_enum, value_name = "KIND", value_delimiter = ',')]
    #[arg(visible_alias = "event-mask", ignore_case = true)]
    event: Vec<EventName>,
    #[command(flatten)]
    follow: FollowArgs,
    /// Take a fresh snapshot at this interval
    #[arg(long, value_name = "TIME", requires = "snapshot")]
    resync_every: Option<Span>,
    #[command(flatten)]
    select: Select,
}

pub(super) async fn run(args: WatchArgs, context: &mut Context) -> Result<u8, CommandError> {
    let request = pb::WatchFlowsRequest {
        network_namespace: String::new(),
        event_types: args
            .event
            .iter()
            .map(|event| event.on_the_wire().into())
            .collect(),
        filter: args.select.selection()?.for_reading(),
        snapshot: args.follow.snapshot,
        resync_after_gap: args.follow.resync,
        resume_after: None,
        resync_interval: args
            .resync_every
            .and_then(|Span(time)| time.try_into().ok()),
    };
    follow::run::<Flows>(args.follow, request, context).await
}

/// How flows are watched.
pub(super) struct Flows;

impl Watched for Flows {
    type Request = pb::WatchFlowsRequest;
    type Response = bulk::WatchFlowsResponse;
    type Entry = Flow;

    async fn subscribe(
        session: &Session,
        mut request: pb::WatchFlowsRequest,
        resume_after: Option<pb::Cursor>,
    ) -> Result<tonic::Streaming<bulk::WatchFlowsResponse>, NodeError> {
        request.network_namespace = session.namespace();
        if resume_after.is_some() {
            request.snapshot = false;
        }
        request.resume_after = resume_after;
        session
            .read(session.flow_streams().watch_flows(request))
            .await
    }

    fn read(response: bulk::WatchFlowsResponse) -> Result<Message<Flow>, NodeError> {
        let wire = match read_watch(&response.into_bytes()).map_err(unreadable)? {
            WatchMessage::Snapshot { flows, first } => {
                return Ok(Message::Snapshot {
                    entries: encoded(&flows, read_flow)?,
                    first,
                });
            }
            WatchMessage::Events(events) => return Ok(Message::Events(encoded(&events, event)?)),
            WatchMessage::Other(wire) => wire.ok_or_else(|| super::get::missing("message"))?,
        };
        match wire {
            Wire::Subscribed(subscribed) => Ok(Message::Subscribed(subscribed)),
            Wire::SnapshotEnd(end) => Ok(Message::SnapshotEnd(end)),
            Wire::Gap(gap) => Ok(Message::Gap(gap)),
            Wire::Snapshot(_) | Wire::Events(_) => Err(NodeError::Answer(
                "entries come in pieces of a message".to_owned(),
            )),
        }
    }
}

fn event(bytes: &[u8]) -> Result<(EventOrigin, Flow), FieldError> {
    let (sequence, event) = read_flow_event(bytes)?;
    let origin = EventOrigin::Event {
        kind: event.kind,
        sequence,
        port_id: event.port_id,
    };
    Ok((origin, event.flow))
}
