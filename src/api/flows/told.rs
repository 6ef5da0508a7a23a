//! What the audit log is told of a stream that writes. It may last for ever, so it has an
//! intent at its beginning and again every few seconds, behind the result of what came before:
//! a log that cannot be written any more stops it, too.

use std::time::{Duration, Instant};

use tonic::Status;

use crate::api::caller::Caller;
use crate::api::record;
use crate::audit::{self, Counts, Entry, Intent};
use crate::ctnetlink::{CreateMode, Namespace};

/// How long an intent holds.
const RENEW: Duration = Duration::from_secs(10);

/// A stream that writes, in the log.
pub(super) struct Told {
    caller: Caller,
    namespace: Namespace,
    mode: CreateMode,
    /// None when the log could not be written.
    entry: Option<Entry>,
    begun: Instant,
    /// Items that were accounted for, and failures among them, before this entry.
    before: (u64, u64),
}

impl Told {
    /// Has the first intent logged. Blocks.
    pub(super) fn begin(
        caller: Caller,
        namespace: Namespace,
        mode: CreateMode,
    ) -> Result<Self, Status> {
        let mut told = Self {
            caller,
            namespace,
            mode,
            entry: None,
            begun: Instant::now(),
            before: (0, 0),
        };
        told.intend()?;
        Ok(told)
    }

    /// Has another intent logged when it is time, or the log is in trouble; the numbers are
    /// what was done up to now. Blocks.
    pub(super) fn go_on(&mut self, accounted: u64, failed: u64) -> Result<(), Status> {
        if self.begun.elapsed() < RENEW && !self.caller.log_is_broken() {
            return Ok(());
        }
        self.result(&Ok(()), accounted, failed);
        self.before = (accounted, failed);
        self.intend()
    }

    /// Has the last result logged.
    pub(super) fn end(mut self, result: &Result<(), Status>, accounted: u64, failed: u64) {
        self.result(result, accounted, failed);
    }

    fn intend(&mut self) -> Result<(), Status> {
        let first = self.before.0;
        let detail = match first {
            0 => format!("{:?}", self.mode),
            first => format!("{:?}, from item {first} on", self.mode),
        };
        let intent = Intent {
            target: audit::Target::Entries,
            detail: Some(detail),
            ..self.caller.intent(&self.namespace)
        };
        self.entry = Some(self.caller.begin(intent)?);
        self.begun = Instant::now();
        Ok(())
    }

    fn result(&mut self, result: &Result<(), Status>, accounted: u64, failed: u64) {
        let Some(entry) = self.entry.take() else {
            return;
        };
        let (items, failures) = (accounted - self.before.0, failed - self.before.1);
        let counts = Counts {
            matched: items,
            changed: items - failures,
            failed: failures,
            ..Counts::default()
        };
        record::end(entry, result, Some(counts));
    }
}
