//! How much of something each caller may have at once, where one can wait for it: a quarter is
//! left to others, so that no caller alone keeps everybody else out. For amounts, and where
//! nobody waits, see budget.rs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};

use super::status;
use crate::access::Identity;

/// Callers that are remembered, before those that have nothing are forgotten.
const REMEMBERED: usize = 1024;

/// What each caller has.
#[derive(Clone)]
pub(super) struct Shares {
    left: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
    max: usize,
    /// The limit's name, as in the configuration.
    name: &'static str,
}

/// One of them, until this is dropped.
pub(super) struct Share {
    _permit: OwnedSemaphorePermit,
}

impl Shares {
    /// Of so many in all, the limit of this name. Of less than four nothing can be left.
    pub(super) fn of(name: &'static str, all: usize) -> Self {
        Self {
            left: Arc::default(),
            max: all - all / 4,
            name,
        }
    }

    /// One more for this caller, or RESOURCE_EXHAUSTED.
    pub(super) fn take(&self, caller: &Identity) -> Result<Share, Status> {
        match self.left_to(caller).try_acquire_owned() {
            Ok(permit) => Ok(Share { _permit: permit }),
            Err(_) => Err(too_large(caller, 1, self.name, self.max)),
        }
    }

    /// One more for this caller, as soon as there is one.
    pub(super) async fn wait(&self, caller: &Identity) -> Result<Share, Status> {
        match self.left_to(caller).acquire_owned().await {
            Ok(permit) => Ok(Share { _permit: permit }),
            // Nobody closes it.
            Err(_) => Err(status::stopping(&[])),
        }
    }

    fn left_to(&self, caller: &Identity) -> Arc<Semaphore> {
        let mut left = self.lock();
        if left.len() > REMEMBERED {
            // Whoever takes or waits holds a clone.
            left.retain(|_, own| own.available_permits() < self.max || Arc::strong_count(own) > 1);
        }
        let own = left.entry(caller.as_str().to_owned());
        Arc::clone(own.or_insert_with(|| Arc::new(Semaphore::new(self.max))))
    }

    /// Nothing panics under this lock; should it ever, the map is still whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Semaphore>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The refusal of so many more to a caller who may have so many of what this limit allows.
pub(super) fn too_large(caller: &Identity, count: usize, name: &str, max: usize) -> Status {
    let text = format!(
        "{caller} may have {max} of these and has no {count} left; the rest of {name} is for others"
    );
    let metadata = [("limit", name.to_owned()), ("max", max.to_string())];
    status::own(
        Code::ResourceExhausted,
        "TOO_LARGE_A_SHARE",
        text,
        &metadata,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_left_to_others() {
        let shares = Shares::of("max-dumps", 8);
        let (greedy, other) = (
            Identity::of_process(1, 1, &[]),
            Identity::of_process(2, 2, &[]),
        );
        let held: Vec<_> = (0..6).map(|_| shares.take(&greedy).unwrap()).collect();
        let refused = shares.take(&greedy).err().expect("refused");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(
            refused.message().contains("uid:1 may have 6"),
            "{refused:?}"
        );
        assert!(shares.take(&other).is_ok());
        drop(held);
        assert!(shares.take(&greedy).is_ok());
    }

    #[test]
    fn of_a_few_a_caller_may_have_all() {
        let shares = Shares::of("max-dumps", 2);
        let caller = Identity::anonymous();
        let _held = (shares.take(&caller).unwrap(), shares.take(&caller).unwrap());
        assert!(shares.take(&caller).is_err());
    }

    #[tokio::test]
    async fn who_waits_gets_what_is_given_back() {
        let shares = Shares::of("max-dumps", 1);
        let caller = Identity::anonymous();
        let held = shares.take(&caller).unwrap();
        let waiting = shares.wait(&caller);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(held);
        waiting.await.unwrap();
    }

    #[test]
    fn who_has_nothing_is_forgotten_in_time() {
        let shares = Shares::of("max-dumps", 8);
        let kept = shares.take(&Identity::of_process(0, 0, &[])).unwrap();
        for uid in 1..3000 {
            drop(shares.take(&Identity::of_process(uid, 0, &[])).unwrap());
        }
        assert!(shares.lock().len() <= REMEMBERED + 1);
        assert!(shares.lock().contains_key("uid:0"));
        drop(kept);
    }
}
