//! How many calls read or change the table at once: the kernel works off one at a time, so
//! that more only wait with their threads and buffers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};

use super::share::{Share, Shares};
use super::status;
use crate::access::Identity;

/// Hands out permits, or refuses.
#[derive(Clone)]
pub(super) struct Gate {
    permits: Arc<Semaphore>,
    max: usize,
    /// The limit's name, as in the configuration.
    name: &'static str,
    patience: Duration,
    shares: Shares,
}

/// Held while the table is read or changed.
pub(super) struct Permit {
    _permit: OwnedSemaphorePermit,
    _share: Share,
    patience: Duration,
}

impl Permit {
    /// How long its holder may wait for a client that reads nothing.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }
}

impl Gate {
    /// A gate for so many at once, the limit of this name. None of them may wait for its
    /// client for longer than the patience: others could need the place.
    pub(super) fn new(name: &'static str, max: usize, patience: Duration) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max)),
            max,
            name,
            patience,
            shares: Shares::of(name, max),
        }
    }

    fn permit(&self, permit: OwnedSemaphorePermit, share: Share) -> Permit {
        Permit {
            _permit: permit,
            _share: share,
            patience: self.patience,
        }
    }

    /// A permit for this caller, or RESOURCE_EXHAUSTED.
    pub(super) fn enter(&self, caller: &Identity) -> Result<Permit, Status> {
        let share = self.shares.take(caller)?;
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Ok(self.permit(permit, share)),
            Err(_) => Err(status::own(
                Code::ResourceExhausted,
                "TOO_MANY_CALLS",
                format!(
                    "{} such calls are under way, as many as the agent allows ({}): try again \
                     later",
                    self.max, self.name
                ),
                &[
                    ("limit", self.name.to_owned()),
                    ("max", self.max.to_string()),
                ],
            )),
        }
    }

    /// A permit, as soon as there is one: for a call that was let in already.
    /// Of these, too, no caller has more than their share.
    pub(super) async fn wait(&self, caller: &Identity) -> Result<Permit, Status> {
        let share = self.shares.wait(caller).await?;
        match Arc::clone(&self.permits).acquire_owned().await {
            Ok(permit) => Ok(self.permit(permit, share)),
            // Nobody closes it.
            Err(_) => Err(status::stopping(&[])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_that_is_dropped_can_be_taken_again() {
        let gate = Gate::new("max-dumps", 1, Duration::MAX);
        let (one, other) = (Identity::anonymous(), Identity::of_process(1, 1, &[]));
        let permit = gate.enter(&one);
        let refused = gate.enter(&other).err().expect("refused");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("(max-dumps)"));
        drop(permit);
        assert!(gate.enter(&other).is_ok());
    }
}
