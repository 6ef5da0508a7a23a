//! When the bindings that let a caller in are not in force any more. Most calls end by
//! themselves soon; a stream that may last for long looks here: watches, dumps, and what writes.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::{Code, Status};

use super::caller::Caller;
use super::status;
use crate::access::{Identity, Policy};

/// The policy in force, for those who wait for another one.
pub(super) type InForce = watch::Receiver<Arc<Policy>>;

/// What a caller was granted, held against what they would be granted now.
pub(super) struct Withdrawal {
    caller: Caller,
    policy: InForce,
}

impl Withdrawal {
    /// Of what lets this caller in.
    pub(super) fn of(caller: &Caller) -> Self {
        Self {
            caller: caller.clone(),
            policy: caller.in_force().clone(),
        }
    }

    /// Comes back when they would not be let in like that any more, with the status of a call
    /// that ends for it; `done` says what it did before. Can be dropped and asked again.
    pub(super) async fn comes(&mut self, done: &[(&'static str, u64)]) -> Status {
        loop {
            if self.policy.changed().await.is_err() {
                // The guard is gone: nothing is withdrawn any more.
                return std::future::pending().await;
            }
            if let Some(status) = self.judge(done) {
                return status;
            }
        }
    }

    /// The same at once, where nothing can be waited for.
    pub(super) fn has_come(&mut self, done: &[(&'static str, u64)]) -> Option<Status> {
        match self.policy.has_changed() {
            Ok(true) => self.judge(done),
            _ => None,
        }
    }

    fn judge(&mut self, done: &[(&'static str, u64)]) -> Option<Status> {
        let identity = self.caller.identity();
        let now = self.policy.borrow_and_update().grant(identity).cloned();
        match now {
            Some(now) if *now == *self.caller.grant() => None,
            Some(_) => {
                let text = format!("the binding of {identity} is not what it was: call again");
                Some(status::ended(
                    Code::Unavailable,
                    "BINDING_CHANGED",
                    text,
                    done,
                ))
            }
            None => {
                let refusal = unbound(identity, done);
                self.caller.was_denied(&refusal);
                Some(refusal)
            }
        }
    }
}

/// The refusal of somebody whom no binding names.
pub(super) fn unbound(identity: &Identity, done: &[(&'static str, u64)]) -> Status {
    let names: Vec<_> = identity.names().iter().map(ToString::to_string).collect();
    let names = match names.is_empty() {
        true => "a certificate without names".to_owned(),
        false => names.join(", "),
    };
    let text = format!("no binding of the agent names {names}");
    status::ended(Code::PermissionDenied, "NO_BINDING", text, done)
}
