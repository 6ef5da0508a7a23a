//! What ends a stream that writes, whatever it waits for: the agent stops, its binding is
//! another, or its caller left.

use std::future::Future;

use tokio::sync::mpsc;
use tonic::Status;

use crate::api::status;
use crate::api::withdrawal::Withdrawal;
use crate::lifecycle::Watch;
use crate::pb;

/// The ends of one stream.
pub(super) struct Ends {
    drain: Watch,
    withdrawal: Withdrawal,
    accounts: mpsc::Sender<Result<pb::CreateFlowsResponse, Status>>,
}

impl Ends {
    /// Of the stream with these accounts.
    pub(super) fn new(
        drain: Watch,
        withdrawal: Withdrawal,
        accounts: mpsc::Sender<Result<pb::CreateFlowsResponse, Status>>,
    ) -> Self {
        Self {
            drain,
            withdrawal,
            accounts,
        }
    }

    /// What it waits for, or the status of the end that comes before; `done` is what it did.
    /// An end goes first: what is there as well is not worked off.
    pub(super) async fn or<T>(
        &mut self,
        done: &[(&'static str, u64)],
        wanted: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        tokio::select! {
            biased;
            () = self.drain.started() => Err(status::stopping(done)),
            end = self.withdrawal.comes(done) => Err(end),
            // The caller may leave without ending its own stream.
            () = self.accounts.closed() => Err(Status::cancelled("the caller left")),
            found = wanted => found,
        }
    }

    /// Hands the caller an account.
    pub(super) async fn account(&self, account: pb::CreateFlowsResponse) -> Result<(), Status> {
        let sent = self.accounts.send(Ok(account)).await;
        sent.map_err(|_| Status::cancelled("the caller left"))
    }

    /// Tells the caller how it ended.
    pub(super) async fn end(&self, end: Status) {
        // Nobody is left to hear of a failed send.
        let _ = self.accounts.send(Err(end)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::watch;
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::access::{Binding, Grant, Identity, Peer, Place, Policy, Role};
    use crate::api::caller::Caller;
    use crate::api::denials::Denials;
    use crate::api::gate::Gate;
    use crate::api::request::Bounds;
    use crate::audit;
    use crate::lifecycle::{self, Trigger};

    const DONE: [(&str, u64); 1] = [("accounted", 7)];

    /// A stream whose next part waits, for every place is taken.
    struct Stream {
        ends: Ends,
        gate: Gate,
        policy: watch::Sender<Arc<Policy>>,
        trigger: Trigger,
        accounts: mpsc::Receiver<Result<pb::CreateFlowsResponse, Status>>,
    }

    fn policy(role: Role) -> Arc<Policy> {
        let subjects = vec!["anonymous".parse().unwrap()];
        let grant = Arc::new(Grant::unlimited(role));
        Arc::new(Policy::new(vec![Binding { subjects, grant }]))
    }

    fn stream() -> Stream {
        let (trigger, drain) = lifecycle::drain();
        let policy = watch::Sender::new(policy(Role::Operator));
        let peer = Peer {
            identity: Arc::new(Identity::anonymous()),
            place: Place::Unix { uid: 0 },
        };
        let in_force = policy.subscribe();
        let grant = in_force.borrow().grant(&peer.identity).cloned().unwrap();
        let denials = Denials::of(audit::Log::open(&audit::Sink::Off).unwrap());
        let caller = Caller::new(peer, (grant, in_force), "", Bounds::default(), denials);
        let (sender, accounts) = mpsc::channel(1);
        Stream {
            ends: Ends::new(drain, Withdrawal::of(&caller), sender),
            gate: Gate::new("max-changes", 1, Duration::MAX),
            policy,
            trigger,
            accounts,
        }
    }

    /// What becomes of the part that waits, when this happens meanwhile.
    async fn waits(happens: impl FnOnce(&mut Stream)) -> Result<(), Status> {
        let mut stream = stream();
        let (gate, anonymous) = (stream.gate.clone(), Identity::anonymous());
        let other = gate.enter(&anonymous).unwrap();
        // A binding of the same words ends nothing.
        stream.policy.send_replace(policy(Role::Operator));
        let waiting = stream.ends.or(&DONE, gate.wait(&anonymous));
        assert!(futures::FutureExt::now_or_never(waiting).is_none());
        happens(&mut stream);
        drop(other);
        // There is a place by now, and it is not taken.
        let outcome = stream.ends.or(&DONE, gate.wait(&anonymous)).await;
        outcome.map(drop)
    }

    fn ended(end: Result<(), Status>, code: Code, reason: &str) {
        let end = end.unwrap_err();
        assert_eq!(end.code(), code, "{end:?}");
        let info = end.get_details_error_info().unwrap();
        assert_eq!(info.reason, reason);
        assert_eq!(info.metadata["accounted"], "7");
    }

    #[tokio::test]
    async fn a_part_that_waits_for_its_place_ends_with_its_stream() {
        let less = waits(|stream| drop(stream.policy.send_replace(policy(Role::Reader))));
        ended(less.await, Code::Unavailable, "BINDING_CHANGED");
        let nobody = Arc::new(Policy::new(Vec::new()));
        let none = waits(|stream| drop(stream.policy.send_replace(nobody)));
        ended(none.await, Code::PermissionDenied, "NO_BINDING");
        let stops = waits(|stream| stream.trigger.start());
        ended(stops.await, Code::Unavailable, "STOPPING");
        let left = waits(|stream| stream.accounts.close());
        assert_eq!(left.await.unwrap_err().code(), Code::Cancelled);
        waits(|_| ()).await.expect("a place");
    }
}
