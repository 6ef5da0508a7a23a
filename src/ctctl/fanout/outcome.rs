//! How a command on many agents came out, and the exit code of that.

use std::io;
use std::sync::Arc;

use super::interrupt::Signal;
use crate::ctctl::connect::NodeError;
use crate::ctctl::fleet::Target;

/// A node that did not do its part.
#[derive(Debug)]
pub struct Failure {
    /// Which.
    pub node: Arc<Target>,
    /// Why.
    pub error: NodeError,
}

/// What ended the work.
#[derive(Debug)]
pub enum Ended {
    /// Every node answered or failed.
    Complete,
    /// The consumer had enough.
    Enough,
    /// The reader of the output has gone: its right.
    PipeClosed,
    /// The output cannot be written.
    Unwritable(io::Error),
    /// A signal.
    Signal(Signal),
}

impl Ended {
    /// What it means that the output could not be written.
    pub fn of_write_error(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::PipeClosed
        } else {
            Self::Unwritable(error)
        }
    }
}

/// How a command on many agents came out.
#[derive(Debug)]
pub struct Outcome<C> {
    /// The consumer, unless it hung when a signal came.
    pub consumer: Option<C>,
    /// What ended the work.
    pub ended: Ended,
    /// The nodes that failed.
    pub failures: Vec<Failure>,
    /// How many nodes there were.
    pub nodes: usize,
}

/// What the consumer's thread hands back.
pub(super) struct Finished<C> {
    pub(super) consumer: C,
    pub(super) result: io::Result<bool>,
}

impl<C> Outcome<C> {
    pub(super) fn new(
        finished: Option<Finished<C>>,
        signal: Option<Signal>,
        failures: Vec<Failure>,
        nodes: usize,
    ) -> Self {
        let (consumer, result) = match finished {
            Some(Finished { consumer, result }) => (Some(consumer), result),
            None => (None, Ok(false)),
        };
        let ended = match (result.map_err(Ended::of_write_error), signal) {
            (Err(Ended::PipeClosed), _) => Ended::PipeClosed,
            (_, Some(signal)) => Ended::Signal(signal),
            (Err(ended), None) => ended,
            (Ok(true), None) => Ended::Enough,
            (Ok(false), None) => Ended::Complete,
        };
        Self {
            consumer,
            ended,
            failures,
            nodes,
        }
    }

    pub(super) fn broken(error: io::Error) -> Self {
        Self {
            consumer: None,
            ended: Ended::Unwritable(error),
            failures: Vec::new(),
            nodes: 0,
        }
    }

    /// Adds nodes that had failed before this part of the work, of so many in all.
    pub fn add_failures(&mut self, earlier: Vec<Failure>, nodes: usize) {
        self.failures.splice(0..0, earlier);
        self.nodes = nodes;
    }

    /// The consumer, and the rest.
    pub fn take(self) -> (Option<C>, Outcome<()>) {
        let rest = Outcome {
            consumer: None,
            ended: self.ended,
            failures: self.failures,
            nodes: self.nodes,
        };
        (self.consumer, rest)
    }

    /// 0 all well, 1 some nodes failed or one did only a part, 2 all failed.
    pub fn exit_code(&self) -> u8 {
        match &self.ended {
            Ended::PipeClosed => 0,
            Ended::Unwritable(_) => 2,
            Ended::Signal(signal) => signal.exit_code(),
            Ended::Complete | Ended::Enough => {
                let whole = self
                    .failures
                    .iter()
                    .filter(|f| !f.error.is_partial())
                    .count();
                match (self.failures.len(), whole) {
                    (0, _) => 0,
                    (_, whole) if whole < self.nodes => 1,
                    _ => 2,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outcome(ended: Ended, nodes: usize, errors: Vec<NodeError>) -> u8 {
        let failures = errors.into_iter().map(|error| Failure {
            node: Arc::new("fw1:1".parse().unwrap()),
            error,
        });
        Outcome {
            consumer: Some(()),
            ended,
            failures: failures.collect(),
            nodes,
        }
        .exit_code()
    }

    #[test]
    fn exit_codes() {
        let silent = || NodeError::Silent(Duration::from_secs(1));
        let items = |failed, items| NodeError::Items {
            failed,
            items,
            why: String::new(),
        };
        let (partial, nothing) = (|| items(1, 2), || items(2, 2));
        assert_eq!(outcome(Ended::Complete, 3, vec![]), 0);
        assert_eq!(outcome(Ended::Complete, 3, vec![silent()]), 1);
        assert_eq!(outcome(Ended::Complete, 2, vec![silent(), silent()]), 2);
        assert_eq!(outcome(Ended::Complete, 1, vec![silent()]), 2);
        assert_eq!(outcome(Ended::Complete, 1, vec![partial()]), 1);
        assert_eq!(outcome(Ended::Complete, 1, vec![nothing()]), 2);
        assert_eq!(outcome(Ended::Enough, 3, vec![]), 0);
        assert_eq!(outcome(Ended::PipeClosed, 1, vec![silent()]), 0);
        assert_eq!(outcome(Ended::Signal(Signal::Interrupt), 1, vec![]), 130);
        assert_eq!(outcome(Ended::Signal(Signal::Terminate), 1, vec![]), 143);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(outcome(Ended::Unwritable(full), 1, vec![]), 2);
    }

    #[test]
    fn a_closed_pipe_wins_over_a_signal() {
        let finished = Finished {
            consumer: (),
            result: Err(io::ErrorKind::BrokenPipe.into()),
        };
        let outcome = Outcome::new(Some(finished), Some(Signal::Interrupt), vec![], 1);
        assert!(matches!(outcome.ended, Ended::PipeClosed));
    }
}
