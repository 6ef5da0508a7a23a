//! How many calls read or change the table at once: the kernel works off one at a time, so
//! that more only wait with their threads and buffers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};

use super::status;

/// Hands out permits, or refuses.
#[derive(Clone)]
pub(super) struct Gate {
    permits: Arc<Semaphore>,
    max: usize,
}

/// Held while the table is read or changed.
pub(super) struct Permit {
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    /// A gate for so many at once.
    pub(super) fn new(max: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max)),
            max,
        }
    }

    /// A permit, or RESOURCE_EXHAUSTED.
    pub(super) fn enter(&self) -> Result<Permit, Status> {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Ok(Permit { _permit: permit }),
            Err(_) => Err(status::own(
                Code::ResourceExhausted,
                "TOO_MANY_DUMPS",
                format!(
                    "{} calls read or change the table already, as many as the agent allows \
                     (max-dumps): try again later",
                    self.max
                ),
                &[("max", self.max.to_string())],
            )),
        }
    }

    /// A permit, as soon as there is one: for a call that was let in already.
    pub(super) async fn wait(&self) -> Result<Permit, Status> {
        match Arc::clone(&self.permits).acquire_owned().await {
            Ok(permit) => Ok(Permit { _permit: permit }),
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
        let gate = Gate::new(1);
        let permit = gate.enter();
        let refused = gate.enter().err().expect("refused");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        drop(permit);
        assert!(gate.enter().is_ok());
    }
}
