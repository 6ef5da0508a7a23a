//! How much of something each caller may have at once: a quarter is left to others, so that no
//! caller alone keeps everybody else out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tonic::{Code, Status};

use super::status;
use crate::access::Identity;

/// What each caller has.
#[derive(Clone)]
pub(super) struct Shares {
    held: Arc<Mutex<HashMap<String, usize>>>,
    max: usize,
    /// The limit's name, as in the configuration.
    name: &'static str,
}

/// One of them, until this is dropped.
pub(super) struct Share {
    shares: Shares,
    caller: String,
}

impl Shares {
    /// Of so many in all, the limit of this name. Of less than four nothing can be left.
    pub(super) fn of(name: &'static str, all: usize) -> Self {
        Self {
            held: Arc::default(),
            max: all - all / 4,
            name,
        }
    }

    /// One more for this caller, or RESOURCE_EXHAUSTED.
    pub(super) fn take(&self, caller: &Identity) -> Result<Share, Status> {
        let mut held = self.lock();
        let caller = caller.as_str();
        let count = held.entry(caller.to_owned()).or_default();
        if *count >= self.max {
            let (max, name) = (self.max, self.name);
            let text =
                format!("{caller} has {max} of these already; the rest of {name} is for others");
            let metadata = [("limit", name.to_owned()), ("max", max.to_string())];
            return Err(status::own(
                Code::ResourceExhausted,
                "TOO_LARGE_A_SHARE",
                text,
                &metadata,
            ));
        }
        *count += 1;
        Ok(Share {
            shares: self.clone(),
            caller: caller.to_owned(),
        })
    }

    /// Nothing panics under this lock; should it ever, the counts are still whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.lock();
        if let Some(count) = held.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_left_to_others() {
        let shares = Shares::of("max-watchers", 8);
        let (greedy, other) = (Identity::of_process(1, 1), Identity::of_process(2, 2));
        let held: Vec<_> = (0..6).map(|_| shares.take(&greedy).unwrap()).collect();
        let refused = shares.take(&greedy).err().expect("refused");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("uid:1 has 6"), "{refused:?}");
        assert!(shares.take(&other).is_ok());
        drop(held);
        assert!(shares.take(&greedy).is_ok());
        assert!(shares.lock().is_empty(), "who has nothing is forgotten");
    }

    #[test]
    fn of_a_few_a_caller_may_have_all() {
        let shares = Shares::of("max-dumps", 2);
        let caller = Identity::anonymous();
        let _held = (shares.take(&caller).unwrap(), shares.take(&caller).unwrap());
        assert!(shares.take(&caller).is_err());
    }
}
