//! What changes of flows and of expectations have in common: their limits, their accounts,
//! and requests that go to the kernel in batches.

use tonic::{Code, Status};

use super::status;
use crate::ctnetlink::{Batch, Error, KernelError, Namespace};
use crate::pb;
use crate::wire::FieldError;

/// How many failures an account lists.
pub(super) const FAILURES: usize = 100;
/// How many entries a rehearsal shows.
pub(super) const SAMPLES: usize = 16;

/// Limits of a change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    pub(super) dry_run: bool,
    pub(super) max_affected: Option<u64>,
    pub(super) include_own: bool,
    /// The answer has the entries that were changed.
    pub(super) return_changed: bool,
}

impl From<Option<pb::ChangeOptions>> for Options {
    fn from(message: Option<pb::ChangeOptions>) -> Self {
        let message = message.unwrap_or_default();
        Self {
            dry_run: message.dry_run,
            max_affected: message.max_affected,
            include_own: message.include_own_connections,
            return_changed: message.return_changed,
        }
    }
}

/// What a change came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) matched: u64,
    pub(super) changed: u64,
    pub(super) gone: u64,
    pub(super) spared: u64,
    pub(super) failed: u64,
    failures: Vec<pb::ItemFailure>,
}

/// What it means that an entry is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is gone, as it may be.
    Gone,
    /// The item failed.
    Failure,
}

impl Tally {
    /// Takes an item that failed.
    pub(super) fn fail(&mut self, failure: pb::ItemFailure) {
        self.failed += 1;
        if self.failures.len() < FAILURES {
            self.failures.push(failure);
        }
    }

    /// Takes an item that the kernel refused.
    pub(super) fn refuse(&mut self, index: u64, error: &KernelError, missing: Missing) {
        if error.errno == libc::ENOENT && missing == Missing::Gone {
            self.gone += 1;
        } else {
            self.fail(status::item_kernel(index, error));
        }
    }

    /// Takes an item that could not be asked for; an error that is not the item's ends the
    /// change.
    pub(super) fn error(
        &mut self,
        index: u64,
        error: &Error,
        missing: Missing,
    ) -> Result<(), Status> {
        match error {
            Error::Kernel(error) => self.refuse(index, error, missing),
            Error::Unencodable(why) => self.fail(status::item_text(index, *why)),
            error => return Err(self.broken(error)),
        }
        Ok(())
    }

    /// Takes what became of a batch.
    pub(super) fn take(&mut self, outcome: &Outcome, missing: Missing) {
        self.changed += outcome.count - outcome.failures.len() as u64;
        for (index, error) in &outcome.failures {
            self.refuse(*index, error, missing);
        }
    }

    /// The numbers, for an error that ends the change before its time.
    pub(super) fn numbers(&self) -> [(&'static str, u64); 5] {
        [
            ("matched", self.matched),
            ("changed", self.changed),
            ("gone", self.gone),
            ("spared", self.spared),
            ("failed", self.failed),
        ]
    }

    /// The status of a change that an error ended.
    pub(super) fn broken(&self, error: &Error) -> Status {
        status::netlink_after(error, &self.numbers())
    }

    /// The status of a change that met more entries than it may touch, after it was found
    /// that there were few enough.
    pub(super) fn outgrown(&self, max: u64) -> Status {
        let text = format!("more than max_affected {max} entries match by now: stopped there");
        let numbers = self.numbers().map(|(name, n)| (name, n.to_string()));
        status::own(Code::FailedPrecondition, "MAX_AFFECTED", text, &numbers)
    }
}

impl From<Tally> for pb::ChangeSummary {
    fn from(tally: Tally) -> Self {
        Self {
            matched: tally.matched,
            changed: tally.changed,
            gone: tally.gone,
            spared: tally.spared,
            failed: tally.failed,
            failures: tally.failures,
        }
    }
}

/// The error of a flush that left entries, with what it did before and beside them.
pub(super) fn left(summary: &pb::ChangeSummary, what: &str) -> Result<(), Status> {
    let Some(first) = summary.failures.first() else {
        return Ok(());
    };
    let text = format!(
        "{} of {} {what} were not deleted; the first: {}",
        summary.failed, summary.matched, first.message
    );
    let numbers = [
        ("matched", summary.matched),
        ("changed", summary.changed),
        ("gone", summary.gone),
        ("spared", summary.spared),
        ("failed", summary.failed),
    ];
    Err(status::ended(
        first.code.into(),
        "ENTRIES_LEFT",
        text,
        &numbers,
    ))
}

/// What became of a batch of requests.
pub(super) struct Outcome {
    /// How many there were.
    pub(super) count: u64,
    /// Those that the kernel refused, by the index that they were given.
    pub(super) failures: Vec<(u64, KernelError)>,
}

/// A [`Batch`] whose requests have an index of the caller's.
pub(super) struct Writer {
    batch: Batch,
    indices: Vec<u64>,
}

impl Writer {
    /// Opens a connection to the kernel.
    pub(super) fn open(namespace: &Namespace) -> Result<Self, Error> {
        Ok(Self {
            batch: Batch::open(namespace)?,
            indices: Vec::new(),
        })
    }

    /// Adds a request; an error is that of the request alone.
    pub(super) fn add<E>(
        &mut self,
        index: u64,
        add: impl FnOnce(&mut Batch) -> Result<(), E>,
    ) -> Result<(), E> {
        add(&mut self.batch)?;
        self.indices.push(index);
        Ok(())
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> u64 {
        self.indices.len() as u64
    }

    /// Whether it is time to commit.
    pub(super) fn is_full(&self) -> bool {
        self.batch.is_full()
    }

    /// Sends what waits. After an error it is not known what the kernel did.
    pub(super) fn commit(&mut self) -> Result<Outcome, Error> {
        let committed = self.batch.commit()?;
        let indices = std::mem::take(&mut self.indices);
        let failures = committed
            .failures
            .into_iter()
            .filter_map(|(place, error)| Some((*indices.get(place)?, error)))
            .collect();
        Ok(Outcome {
            count: committed.count as u64,
            failures,
        })
    }
}

/// Why an item was not asked for.
pub(super) enum Unasked {
    /// It has a field that cannot be.
    Field(FieldError),
    /// It cannot be said to the kernel.
    Error(Error),
    /// It lies beyond the caller's scope.
    OutOfScope,
    /// It carries a connection of the agent.
    Spared,
}

impl From<FieldError> for Unasked {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl From<Error> for Unasked {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Writes items, of which the first has the index `first`, and lists all that failed.
pub(super) fn write_items<T>(
    writer: &mut Writer,
    items: impl Iterator<Item = T>,
    first: u64,
    add: impl Fn(T, &mut Batch) -> Result<(), Unasked>,
) -> Result<Vec<pb::ItemFailure>, Error> {
    let mut failures = Vec::new();
    let commit = |writer: &mut Writer, failures: &mut Vec<_>| {
        let refused = writer.commit()?.failures;
        failures.extend(
            refused
                .iter()
                .map(|(index, error)| status::item_kernel(*index, error)),
        );
        Ok::<_, Error>(())
    };
    for (index, item) in (first..).zip(items) {
        match writer.add(index, |batch| add(item, batch)) {
            Ok(()) => {}
            Err(Unasked::Field(error)) => failures.push(status::item_field(index, &error)),
            Err(Unasked::Error(Error::Unencodable(why))) => {
                failures.push(status::item_text(index, why));
            }
            Err(Unasked::Error(Error::Kernel(error))) => {
                failures.push(status::item_kernel(index, &error));
            }
            Err(Unasked::OutOfScope) => failures.push(status::item_out_of_scope(index)),
            Err(Unasked::Spared) => failures.push(status::item_spared(index)),
            Err(Unasked::Error(error)) => return Err(error),
        }
        if writer.is_full() {
            commit(writer, &mut failures)?;
        }
    }
    commit(writer, &mut failures)?;
    failures.sort_unstable_by_key(|failure| failure.index);
    Ok(failures)
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    #[test]
    fn a_flush_that_left_something_says_how_much_and_what_it_did() {
        let mut tally = Tally {
            matched: 9,
            changed: 4,
            gone: 1,
            spared: 1,
            ..Tally::default()
        };
        assert!(left(&pb::ChangeSummary::default(), "entries").is_ok());
        for index in [2, 5, 7] {
            tally.refuse(index, &KernelError::from_errno(libc::EBUSY), Missing::Gone);
        }
        let error = left(&tally.into(), "expectations").expect_err("some are left");
        assert_eq!(error.code(), Code::FailedPrecondition);
        let words = "3 of 9 expectations were not deleted; the first: ";
        assert!(error.message().starts_with(words), "{}", error.message());
        assert!(error.message().contains("EBUSY"), "{}", error.message());
        let info = error.get_details_error_info().expect("a reason");
        assert_eq!(info.reason, "ENTRIES_LEFT");
        let numbers = [
            ("matched", "9"),
            ("changed", "4"),
            ("gone", "1"),
            ("spared", "1"),
            ("failed", "3"),
        ];
        for (name, number) in numbers {
            assert_eq!(info.metadata[name], number, "{name}");
        }
    }
}
