//! The kernel's connection tracking over netlink (ctnetlink): dump, get, create, update,
//! delete, flush, events and statistics, of flows and of expectations.
//!
//! [`FlowDump`], [`ExpectationDump`], [`Batch`] and [`Listener`] are synchronous and block:
//! the kernel does a dump's work inside the system call that reads it. [`Conn`] is for
//! short questions from asynchronous code.
//!
//! Everything needs CAP_NET_ADMIN in the user namespace that owns the network namespace;
//! other network namespaces than the caller's own need CAP_SYS_ADMIN too.
//!
//! ```no_run
//! use ctfleet::ctnetlink::{FlowDump, FlowDumpRequest, Namespace};
//!
//! # fn main() -> Result<(), ctfleet::ctnetlink::Error> {
//! let mut dump = FlowDump::open(&Namespace::own(), FlowDumpRequest::default())?;
//! while dump.read(&mut |flow| println!("{flow:?}"))? {}
//! # Ok(())
//! # }
//! ```

mod ahead;
mod batch;
mod conn;
pub mod decode;
mod drops;
mod dump;
pub mod encode;
mod error;
mod listen;
mod lookup;
mod namespace;
mod pushdown;
mod repeats;
mod socket;
#[cfg(test)]
mod tests;
pub mod uapi;

pub use batch::{Batch, Committed};
pub use conn::Conn;
pub(crate) use dump::now_ns;
pub use dump::{DumpCounts, ExpectationDump, ExpectationDumpRequest, FlowDump, FlowDumpRequest};
pub use error::{DecodeError, DecodeReason, Error, KernelError, NamespaceReason};
pub use listen::{Group, Heard, ListenOptions, Listener, ListenerHandle, Received};
pub use lookup::{Found, Lookup};
pub use namespace::{Namespace, NamespaceEntry};
pub use pushdown::Preselection;

/// Which of the kernel's lists a dump reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// The confirmed entries.
    #[default]
    Conntrack,
    /// Entries that wait for the delivery of their destroy event.
    Dying,
    /// Entries whose first packet is still in the stack; empty since Linux 6.3.
    Unconfirmed,
}

/// What happens to an entry that exists when one is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMode {
    /// EEXIST.
    Create,
    /// It is updated.
    Upsert,
    /// It must exist: ENOENT otherwise.
    Update,
}

/// How many entries the table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableSize {
    /// Entries now.
    pub entries: u32,
    /// `nf_conntrack_max`; Linux 5.7 and later tell.
    pub max: Option<u32>,
}
