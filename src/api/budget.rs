//! So much of something for all callers together: a quarter is left to others by each of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::access::Identity;

/// What there is, and who has how much of it.
#[derive(Clone)]
pub(super) struct Budget(Arc<Inner>);

struct Inner {
    all: usize,
    of_one: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: usize,
    by: HashMap<Arc<str>, usize>,
}

/// There is no more, of all that there is or of one caller's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spent {
    /// What the caller has.
    pub(super) own: usize,
    /// What all have.
    pub(super) all: usize,
}

/// What one caller has of it, until this is dropped.
pub(super) struct Part {
    budget: Budget,
    caller: Arc<str>,
    amount: usize,
}

impl Budget {
    /// Of so much in all.
    pub(super) fn of(all: usize) -> Self {
        Self(Arc::new(Inner {
            all,
            of_one: all - all / 4,
            held: Mutex::default(),
        }))
    }

    /// What one caller may have.
    pub(super) fn of_one(&self) -> usize {
        self.0.of_one
    }

    /// Nothing of it yet, for this caller.
    pub(super) fn part(&self, caller: &Identity) -> Part {
        Part {
            budget: self.clone(),
            caller: caller.as_str().into(),
            amount: 0,
        }
    }

    /// Nothing panics under this lock; should it ever, the counts are still whole.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Whose it is.
    pub(super) fn caller(&self) -> &str {
        &self.caller
    }

    /// What it is a part of.
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// How much it is.
    pub(super) fn amount(&self) -> usize {
        self.amount
    }

    /// Takes so much more, or nothing.
    pub(super) fn grow(&mut self, more: usize) -> Result<(), Spent> {
        let mut held = self.budget.lock();
        let own = held.by.get(&self.caller).copied().unwrap_or(0);
        if own + more > self.budget.0.of_one || held.all + more > self.budget.0.all {
            let all = held.all;
            return Err(Spent { own, all });
        }
        held.all += more;
        held.by.insert(Arc::clone(&self.caller), own + more);
        drop(held);
        self.amount += more;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.amount == 0 {
            return;
        }
        let mut held = self.budget.lock();
        held.all -= self.amount;
        if let Some(own) = held.by.get_mut(&self.caller) {
            *own -= self.amount;
            if *own == 0 {
                held.by.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_three_quarters_gets_no_more_and_others_do() {
        let budget = Budget::of(8);
        let (greedy, other) = (
            Identity::of_process(1, 1, &[]),
            Identity::of_process(2, 2, &[]),
        );
        let mut part = budget.part(&greedy);
        part.grow(6).unwrap();
        let mut more = budget.part(&greedy);
        assert_eq!(more.grow(1), Err(Spent { own: 6, all: 6 }));
        let mut others = budget.part(&other);
        assert_eq!(others.grow(3), Err(Spent { own: 0, all: 6 }));
        others.grow(2).unwrap();
        drop(part);
        more.grow(6).unwrap();
        drop((more, others));
        assert!(budget.lock().by.is_empty(), "who has nothing is forgotten");
        assert_eq!(budget.lock().all, 0);
    }
}
