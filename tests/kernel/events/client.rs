//! A client of the services, without a network in between: what it does not ask for is not
//! made.

use std::collections::HashMap;
use std::sync::Arc;

use ctfleet::access::{Binding, Grant, Identity, Peer, Place, Policy, Role, Subject};
use ctfleet::api::{Foundation, Guarded, Limits, OwnConnections, routes};
use ctfleet::audit;
use ctfleet::events::{Config, Hubs};
use ctfleet::flow::{EventType, Flow, FlowEvent, FlowKey};
use ctfleet::lifecycle::{self, Trigger};
use ctfleet::pb::expectation_service_client::ExpectationServiceClient;
use ctfleet::pb::flow_service_client::FlowServiceClient;
use ctfleet::pb::watch_flows_response::Message;
use ctfleet::pb::{self, WatchExpectationsRequest, WatchExpectationsResponse, WatchFlowsRequest};
use http::Request;
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status, Streaming};
use tower::util::MapRequest;
use tower::{Layer as _, ServiceExt as _};

use super::PATIENCE;
use crate::harness::Netns;
use crate::harness::witness::Row;

/// The services, on the machine's real kernel.
pub(super) struct Agent {
    services: Services,
    pub(super) trigger: Trigger,
    runtime: Runtime,
}

/// The services behind their guard, called by somebody.
type Services = MapRequest<Guarded<Routes>, fn(Request<Body>) -> Request<Body>>;

/// As over a connection on which nobody was asked who they are.
fn anonymously(mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(Peer {
        identity: Arc::new(Identity::anonymous()),
        place: Place::Unix { uid: 0 },
    });
    request
}

impl Agent {
    pub(super) fn new(events: Config) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let (trigger, drain) = lifecycle::drain();
        let (routes, guard) = routes(Foundation {
            limits: Limits {
                dumps: 2,
                ..Limits::default()
            },
            other_limits: Vec::new(),
            policy: Policy::new(vec![Binding {
                subjects: vec![Subject::Anonymous],
                grant: Arc::new(Grant::unlimited(Role::Admin)),
            }]),
            events: Hubs::new(events, runtime.handle().clone()),
            own: OwnConnections::default(),
            drain,
            capabilities: Vec::new(),
            audit: audit::Log::off(),
            standing: Vec::new(),
        });
        Self {
            services: guard.layer(routes).map_request(anonymously),
            trigger,
            runtime,
        }
    }

    pub(super) fn watch(&self, request: WatchFlowsRequest) -> Watch<'_> {
        self.try_watch(request).expect("a watch")
    }

    pub(super) fn try_watch(&self, request: WatchFlowsRequest) -> Result<Watch<'_>, Status> {
        let mut client = FlowServiceClient::new(self.services.clone());
        let stream = self.runtime.block_on(client.watch_flows(request))?;
        Ok(Stream {
            stream: stream.into_inner(),
            runtime: &self.runtime,
        })
    }

    pub(super) fn watch_expectations(
        &self,
        request: WatchExpectationsRequest,
    ) -> Result<Stream<'_, WatchExpectationsResponse>, Status> {
        let mut client = ExpectationServiceClient::new(self.services.clone());
        let stream = self.runtime.block_on(client.watch_expectations(request))?;
        Ok(Stream {
            stream: stream.into_inner(),
            runtime: &self.runtime,
        })
    }

    /// What a refused request is told.
    #[track_caller]
    pub(super) fn refusal(&self, request: WatchFlowsRequest) -> (Code, String) {
        let status = self.try_watch(request).err().expect("a refusal");
        (status.code(), status.message().to_owned())
    }
}

/// A request for everything in a namespace.
pub(super) fn all(ns: &Netns) -> WatchFlowsRequest {
    WatchFlowsRequest {
        network_namespace: ns.name().to_owned(),
        ..WatchFlowsRequest::default()
    }
}

/// The answer to a watch.
pub(super) struct Stream<'a, M> {
    stream: Streaming<M>,
    runtime: &'a Runtime,
}

/// The answer to a watch of flows.
pub(super) type Watch<'a> = Stream<'a, pb::WatchFlowsResponse>;

impl<M> Stream<'_, M> {
    /// The next message; panics when none comes.
    #[track_caller]
    pub(super) fn try_next(&mut self) -> Result<M, Status> {
        self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, self.stream.message())
                .await
                .expect("a message to come")
                .map(|message| message.expect("a watch ends with an error only"))
        })
    }

    /// Reads up to the end of the stream.
    #[track_caller]
    pub(super) fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.try_next() {
                return status;
            }
        }
    }
}

impl Watch<'_> {
    #[track_caller]
    pub(super) fn next(&mut self) -> Message {
        let response = self.try_next().expect("no error");
        response.message.expect("a message")
    }

    #[track_caller]
    pub(super) fn subscribed(&mut self) -> pb::Subscribed {
        match self.next() {
            Message::Subscribed(subscribed) => subscribed,
            other => panic!("{other:?}"),
        }
    }

    /// A whole snapshot.
    #[track_caller]
    pub(super) fn snapshot(&mut self) -> Vec<Flow> {
        let mut flows = Vec::new();
        let mut chunks = 0;
        loop {
            match self.next() {
                Message::Snapshot(chunk) => {
                    assert_eq!(chunk.first, chunks == 0);
                    chunks += 1;
                    for flow in chunk.flows {
                        flows.push(Flow::try_from(flow).expect("a flow"));
                    }
                }
                Message::SnapshotEnd(end) => {
                    assert!(chunks > 0);
                    assert_eq!(end.entries, flows.len() as u64);
                    return flows;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next message, which has events.
    #[track_caller]
    pub(super) fn events(&mut self) -> Vec<(u64, FlowEvent)> {
        match self.next() {
            Message::Events(events) => domain(events),
            other => panic!("{other:?}"),
        }
    }

    /// The next message, which is a gap.
    #[track_caller]
    pub(super) fn gap(&mut self) -> pb::Gap {
        match self.next() {
            Message::Gap(gap) => gap,
            other => panic!("{other:?}"),
        }
    }
}

fn domain(events: pb::FlowEvents) -> Vec<(u64, FlowEvent)> {
    let events = events.events.into_iter();
    events
        .map(|event| {
            let sequence = event.sequence;
            (sequence, FlowEvent::try_from(event).expect("an event"))
        })
        .collect()
}

/// A client's copy of the table, as docs tell clients to keep one.
#[derive(Default)]
pub(super) struct Copy {
    /// An id alone is a hash of 32 bits: two entries may share one.
    flows: HashMap<FlowKey, Flow>,
    pub(super) gaps: u64,
    pub(super) snapshots: u64,
}

impl Copy {
    /// Takes over what a message says; true when it was the end of this entry.
    pub(super) fn apply(&mut self, message: Message, last: Flow) -> bool {
        let mut ended = false;
        match message {
            Message::Subscribed(_) => {}
            Message::Snapshot(chunk) => {
                if chunk.first {
                    self.flows.clear();
                    self.snapshots += 1;
                }
                for flow in chunk.flows {
                    let flow = Flow::try_from(flow).expect("a flow");
                    self.flows.insert(flow.key(), flow);
                }
            }
            Message::SnapshotEnd(_) => {}
            Message::Gap(_) => self.gaps += 1,
            Message::Events(events) => {
                for (_, FlowEvent { kind, flow, .. }) in domain(events) {
                    let key = flow.key();
                    ended |= kind == EventType::Destroy && flow.orig == last.orig;
                    match kind {
                        EventType::Destroy => self.flows.remove(&key),
                        EventType::New | EventType::Update => self.flows.insert(key, flow),
                    };
                }
            }
        }
        ended
    }

    /// Its entries, as conntrack(8) would list them, without what events do not tell and
    /// what the clock changes.
    pub(super) fn rows(&self) -> Vec<Row> {
        comparable(self.flows.values().map(Row::of).collect())
    }
}

/// Rows without what the clock changes and what only dumps tell.
pub(super) fn comparable(mut rows: Vec<Row>) -> Vec<Row> {
    for row in &mut rows {
        row.timeout = None;
        row.use_count = None;
        // An event leaves a mark of 0 out.
        row.mark = row.mark.filter(|mark| *mark != 0);
    }
    rows.sort();
    rows
}
