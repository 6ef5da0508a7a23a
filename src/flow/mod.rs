//! The domain: what a connection tracking entry, an expectation, an event, the statistics
//! and a filter are. No I/O, no protobuf, no netlink.

#[cfg(test)]
pub(crate) mod arbitrary;
mod entry;
mod event;
mod expectation;
pub mod filter;
mod labels;
mod name;
mod protocol;
mod protoinfo;
mod stats;
mod status;
mod tuple;

pub use entry::{
    Counters, Flow, FlowChanges, FlowKey, Helper, Masked, SeqAdj, Synproxy, Timestamps, Zone,
    ZoneDirection,
};
pub use event::{Event, EventType, ExpectationEvent, FlowEvent};
pub use expectation::{EXPECT_FLAG_NAMES, Expectation, ExpectationKey, ExpectationNat};
pub use filter::Filter;
pub use labels::Labels;
pub use name::{HelperName, NameTooLong};
pub use protocol::Protocol;
pub use protoinfo::{
    DccpInfo, DccpState, ProtoInfo, SctpInfo, SctpState, TcpFlags, TcpInfo, TcpState,
};
pub use stats::{ExpectationStats, FlowStats, PerCpu};
pub use status::Status;
pub use tuple::{Direction, Family, L4, Tuple};
