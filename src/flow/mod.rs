//! The domain: what a connection tracking entry, an expectation, an event, the statistics
//! and a filter are. No I/O, no protobuf, no netlink.
//!
//! A [`Flow`] is an entry of the table: two [`Tuple`]s, one for each direction, and what the
//! kernel knows of the connection. What it did not send is `None`: a mark of 0 and no mark
//! are not the same. A [`FlowKey`] names an entry, a [`Filter`] selects entries, and
//! [`FlowChanges`] says what to change in them.
//!
//! The reply tuple tells what becomes of the packets on their way back, so a translation is
//! where it differs from the inverse of the original one:
//!
//! ```
//! use ctfleet::flow::filter::Translation;
//! use ctfleet::flow::{Filter, Flow, L4, Protocol, Tuple};
//!
//! let orig = Tuple {
//!     src: "10.0.0.7".parse()?,
//!     dst: "192.0.2.80".parse()?,
//!     protocol: Protocol::TCP,
//!     l4: L4::Ports { src: 40000, dst: 443 },
//! };
//! let mut flow = Flow::new(orig, orig.inverse());
//! let masqueraded = Filter::translated(Translation::Src);
//! assert!(!masqueraded.matches(&flow, 0));
//!
//! flow.reply.dst = "203.0.113.1".parse()?;
//! assert!(masqueraded.matches(&flow, 0));
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

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
