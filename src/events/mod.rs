//! One kernel listener a network namespace, many watchers.
//!
//! The first watcher opens the listener and joins the multicast groups that it asks for;
//! the next ones share it. A thread drains the socket, numbers every event and puts it into
//! a bounded ring; each watcher reads the ring at its own pace. What a watcher was too slow
//! for, or what the kernel had to drop, it is told as a [`Gap`] with the exact number, at
//! the place where it happened. When nobody watches, and a grace period for those who
//! reconnect is over, there is no socket, no thread and no timer.
//!
//! ```no_run
//! use ctfleet::ctnetlink::{Group, Namespace};
//! use ctfleet::events::{Config, Delivery, Groups, Hubs};
//!
//! # async fn watch() -> Result<(), Box<dyn std::error::Error>> {
//! let hubs = Hubs::new(Config::default(), tokio::runtime::Handle::current());
//! let groups: Groups = [Group::FlowNew, Group::FlowDestroy].into_iter().collect();
//! // This opens a socket, and may block for a moment.
//! let mut watch = hubs.subscribe(&Namespace::own(), groups, None)?;
//! loop {
//!     match watch.next().await? {
//!         Delivery::Events(mut events) => {
//!             while let Some((sequence, event)) = events.take_next() {
//!                 println!("{sequence}: {event:?}");
//!             }
//!         }
//!         Delivery::Gap(gap) => println!("{} events were lost", gap.lost),
//!     }
//! }
//! # }
//! ```

mod feed;
mod groups;
mod hub;
mod hubs;
mod mode;
pub mod ring;
mod subscription;
mod vanish;

pub use feed::Closed;
pub use groups::Groups;
pub use hub::Cursor;
pub use hubs::{Config, Hubs};
pub use subscription::{Delivery, Events, Gap, GapSource, Subscription};

use crate::ctnetlink;

/// Why a subscription was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are as many watchers as the configuration allows.
    #[error("there are {max} watchers already, as many as the agent allows")]
    TooManyWatchers {
        /// How many it allows.
        max: usize,
    },
    /// The kernel makes no events in this namespace.
    #[error(
        "events are off in network namespace {namespace:?}: set \
         net.netfilter.nf_conntrack_events to 2 (for new entries while somebody watches) or 1"
    )]
    Disabled {
        /// The namespace.
        namespace: String,
    },
    /// What follows the cursor is no longer in the ring, the groups were not joined all the
    /// time, or the cursor is of another listener.
    #[error("what follows the cursor is no longer known; start again with a snapshot")]
    CursorTooOld,
    /// The listener was closed at that moment.
    #[error("the event listener was just closed; try again")]
    Closed,
    /// Events come faster than the listener's thread reads them.
    #[error("the event listener is too far behind the kernel; try again when less happens")]
    Behind,
    /// The namespace was deleted at that moment.
    #[error("network namespace {namespace:?} was deleted")]
    Gone {
        /// The namespace.
        namespace: String,
    },
    /// The listener could not be opened, or could not join a group.
    #[error(transparent)]
    Listener(#[from] ctnetlink::Error),
    /// The listener's thread could not be started.
    #[error("cannot start the event listener's thread: {0}")]
    Thread(std::io::Error),
    /// The deletion of namespaces could not be watched.
    #[error("cannot watch for deleted network namespaces: {0}")]
    Lookout(std::io::Error),
    /// The sysctl could not be read.
    #[error("cannot read net.netfilter.nf_conntrack_events: {0}")]
    Setting(std::io::Error),
}
