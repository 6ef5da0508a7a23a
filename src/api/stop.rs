//! When a long change has to end before its time: the agent is stopping, or nobody waits for
//! the answer any more.

use tokio_util::sync::{CancellationToken, DropGuard};

use tonic::Status;

use super::status;
use crate::lifecycle::Watch;

/// Asked between two steps of a change, on whatever thread it runs.
#[derive(Clone)]
pub(super) struct Stop {
    drain: Watch,
    abandoned: CancellationToken,
}

/// Why a change has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The agent is stopping.
    Draining,
    /// The caller left.
    Abandoned,
}

impl Reason {
    /// The status of a call that ends for it, with what it did before.
    pub(super) fn status(self, done: &[(&'static str, u64)]) -> Status {
        match self {
            Self::Draining => status::stopping(done),
            Self::Abandoned => Status::cancelled("the caller left"),
        }
    }
}

impl Stop {
    /// For a call; the guard lives as long as somebody waits for the answer.
    pub(super) fn new(drain: Watch) -> (Self, DropGuard) {
        let abandoned = CancellationToken::new();
        let guard = abandoned.clone().drop_guard();
        (Self { drain, abandoned }, guard)
    }

    /// Whether to end now.
    pub(super) fn asked(&self) -> Option<Reason> {
        if self.drain.is_draining() {
            Some(Reason::Draining)
        } else if self.abandoned.is_cancelled() {
            Some(Reason::Abandoned)
        } else {
            None
        }
    }
}
