//! The gRPC services. Requests become domain types here, by way of `wire`, and errors
//! become [`tonic::Status`], by way of [`status`] alone.

mod agent;
mod asked;
mod budget;
mod caller;
mod change;
mod denials;
#[cfg(test)]
mod documented;
mod expectations;
mod flows;
mod gate;
mod guard;
mod intake;
mod method;
mod open;
mod own;
mod patience;
mod pull;
mod record;
mod request;
mod share;
pub mod status;
mod stop;
mod watch;
mod withdrawal;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tonic::service::Routes;

pub use agent::{Capability, OTHER_NAMESPACES, probe};
pub use guard::{Guard, Guarded};
pub use intake::SMALL_MESSAGE;
pub use own::{OwnConnection, OwnConnections};
pub use request::Bounds;

use crate::access::Policy;
use crate::audit;
use crate::events::Hubs;
use crate::lifecycle::Watch;
use crate::pb::bulk::agent_service_server::AgentServiceServer;
use crate::pb::bulk::expectation_service_server::ExpectationServiceServer;
use crate::pb::bulk::flow_service_server::FlowServiceServer;
use gate::Gate;
use watch::Places;

/// What clients may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams of the table at once.
    pub dumps: usize,
    /// How long such a stream waits for a client that reads nothing.
    pub stall_timeout: Duration,
    /// Counts, searches and changes at once.
    pub changes: usize,
    /// Calls of one caller in a second.
    pub requests: u32,
    /// Bytes of the largest message that is read.
    pub message_size: usize,
    /// What a request may hold.
    pub bounds: Bounds,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            dumps: 8,
            stall_timeout: Duration::from_secs(900),
            changes: 8,
            requests: 1000,
            message_size: 4 << 20,
            bounds: Bounds::default(),
        }
    }
}

/// What the services stand on.
pub struct Foundation {
    /// The limits in force.
    pub limits: Limits,
    /// The limits of the rooms below and above, for clients to see: name, value, unit.
    pub other_limits: Vec<(&'static str, u64, &'static str)>,
    /// Who may do what.
    pub policy: Policy,
    /// The events.
    pub events: Hubs,
    /// The TCP connections of this agent.
    pub own: OwnConnections,
    /// Held by every call, so that a drain waits for it.
    pub drain: Watch,
    /// What [`probe`] found.
    pub capabilities: Vec<Capability>,
    /// The audit log.
    pub audit: audit::Log,
    /// What other rooms have to say beside that, asked anew each time.
    pub standing: Vec<Standing>,
}

/// How something stands now.
pub type Standing = Box<dyn Fn() -> Vec<Capability> + Send + Sync>;

/// What every service works with.
struct Context {
    /// Of streams: clients set their pace.
    gate: Gate,
    /// Of work that ends by itself.
    changes: Gate,
    events: Hubs,
    /// Who has how many watches.
    watchers: Places,
    own: OwnConnections,
    drain: Watch,
    started: SystemTime,
    capabilities: Vec<Capability>,
    standing: Arc<[Standing]>,
    limits: Vec<(&'static str, u64, &'static str)>,
    audit: audit::Log,
}

/// The services of `ctfleet.v1`, and the guard that has to stand before them and before
/// everything else that is served: a handler without it answers nobody.
pub fn routes(foundation: Foundation) -> (Routes, Guard) {
    let Foundation {
        limits,
        other_limits,
        policy,
        events,
        own,
        drain,
        capabilities,
        audit,
        standing,
    } = foundation;
    let size = limits.message_size;
    let mut told = vec![
        ("max-dumps", limits.dumps as u64, "1"),
        ("max-changes", limits.changes as u64, "1"),
        ("max-requests", limits.requests.into(), "1"),
        ("stall-timeout", limits.stall_timeout.as_secs(), "s"),
        ("max-message-size", size as u64, "By"),
        ("max-items", limits.bounds.items as u64, "1"),
        (
            "max-filter-conditions",
            limits.bounds.filter_conditions as u64,
            "1",
        ),
        ("max-filter-depth", limits.bounds.filter_depth as u64, "1"),
    ];
    told.extend(other_limits);
    let guard = Guard::new(policy, &limits, audit.clone());
    let context = Arc::new(Context {
        gate: Gate::new("max-dumps", limits.dumps, limits.stall_timeout),
        changes: Gate::new("max-changes", limits.changes, limits.stall_timeout),
        watchers: Places::new(events.max_watchers()),
        events,
        own,
        drain,
        started: SystemTime::now(),
        capabilities,
        standing: standing.into(),
        limits: told,
        audit,
    });
    let flows = flows::Service::new(Arc::clone(&context));
    let expectations = expectations::Service::new(Arc::clone(&context));
    let agent = agent::Service::new(context);
    let routes = Routes::new(FlowServiceServer::new(flows).max_decoding_message_size(size))
        .add_service(ExpectationServiceServer::new(expectations).max_decoding_message_size(size))
        .add_service(AgentServiceServer::new(agent).max_decoding_message_size(size));
    (routes, guard)
}
