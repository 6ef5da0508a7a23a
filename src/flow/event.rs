//! What the kernel multicasts when an entry comes, changes or goes.

use super::{Expectation, Flow};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// It was created.
    New,
    /// It changed; flows only.
    Update,
    /// It was deleted, or its time was over.
    Destroy,
}

/// Something happened to a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowEvent {
    /// What happened.
    pub kind: EventType,
    /// The flow, as far as the kernel reports it with such an event.
    pub flow: Flow,
    /// The netlink port id of the process that asked for the change, 0 for packets and
    /// timers.
    pub port_id: u32,
}

/// Something happened to an expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectationEvent {
    /// What happened: new or destroy.
    pub kind: EventType,
    /// The expectation.
    pub expectation: Expectation,
    /// The netlink port id of the process that asked for the change, 0 for packets and
    /// timers.
    pub port_id: u32,
}

/// Anything that the kernel multicasts on ctnetlink's groups.
#[derive(Clone, Debug, PartialEq, Eq)]
// A flow is the common case, and boxing it would allocate once an event.
#[allow(clippy::large_enum_variant)]
pub enum Event {
    /// Of a flow.
    Flow(FlowEvent),
    /// Of an expectation.
    Expectation(ExpectationEvent),
}
