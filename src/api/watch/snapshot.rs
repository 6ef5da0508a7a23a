//! Snapshots: dumps in the middle of a watch, driven by the client's reading.

use std::sync::Arc;

use tonic::Status;

use super::kind::{Kind, Part};
use crate::access::Identity;
use crate::api::caller::Caller;
use crate::api::gate::{Gate, Permit};
use crate::api::pull::{self, Messages, Outlet};
use crate::api::status;
use crate::ctnetlink::Namespace;
use crate::flow::Filter;
use crate::lifecycle::Watch as Drain;
use crate::pb;
use crate::wire::bulk::Run;

/// Bytes of entries at which a message is sent: with what the last datagram adds, 32 to
/// 64 KiB.
const CHUNK: usize = 40 * 1024;

/// Makes the snapshots of one watch.
pub(super) struct Snapshots {
    namespace: Namespace,
    filter: Option<Filter>,
    gate: Gate,
    drain: Drain,
    /// Whose share of the dumps each is.
    caller: Arc<Identity>,
    /// Whether the caller has a scope.
    scoped: bool,
}

impl Snapshots {
    pub(super) fn new(
        namespace: Namespace,
        filter: Option<Filter>,
        gate: Gate,
        drain: Drain,
        caller: &Caller,
    ) -> Self {
        Self {
            namespace,
            filter,
            gate,
            drain,
            caller: Arc::clone(&caller.peer().identity),
            scoped: caller.scope().is_some(),
        }
    }

    /// A permit for a snapshot that the client has been promised: waits for it.
    pub(super) async fn permit(&self) -> Result<Permit, Status> {
        self.gate.wait(&self.caller).await
    }

    /// The messages of a snapshot, its end included.
    pub(super) fn begin<K: Kind>(&self, permit: Permit) -> Messages<K::Response> {
        let (namespace, filter) = (self.namespace.clone(), self.filter.clone());
        let scoped = self.scoped;
        // A withdrawal drops the watch and these with it, which ends the thread: see `end`.
        pull::stream(permit, (self.drain.clone(), None), move |outlet| {
            run::<K>(&namespace, filter, scoped, outlet)
        })
    }
}

/// Reads the table and sends it in chunks; gives the end mark.
fn run<K: Kind>(
    namespace: &Namespace,
    filter: Option<Filter>,
    scoped: bool,
    outlet: &mut Outlet<K::Response>,
) -> Result<K::Response, Status> {
    let mut dump = K::open(namespace, filter).map_err(|error| status::netlink(&error))?;
    let mut entries = Run::with_capacity(CHUNK);
    let mut count = 0;
    let mut first = true;
    let mut more = true;
    while more {
        if outlet.is_draining() {
            return Err(status::stopping(&[]));
        }
        more = K::read(&mut dump, &mut entries, scoped).map_err(|error| status::netlink(&error))?;
        let worth_sending = entries.len() >= CHUNK || (!more && !entries.is_empty());
        // An empty table has a first chunk, too: it tells the client to forget what it had.
        if worth_sending || (first && !more) {
            count += entries.count() as u64;
            let entries = entries.take();
            let chunk = K::response(Part::Snapshot { entries, first });
            outlet.send(chunk)?;
            first = false;
        }
    }
    Ok(K::response(Part::SnapshotEnd(pb::SnapshotEnd {
        entries: count,
    })))
}
