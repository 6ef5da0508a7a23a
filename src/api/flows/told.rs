//! What the audit log is told of a stream that writes. It may last for ever, so it has an
//! intent at its beginning and again every few seconds, behind the result of what came before:
//! a log that cannot be written any more stops it, too.

use std::time::{Duration, Instant};

use tonic::Status;

use super::create::Done;
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
    include_own: bool,
    /// None when the log could not be written.
    entry: Option<Entry>,
    begun: Instant,
    /// What was done before this entry.
    before: Done,
}

impl Told {
    /// Has the first intent logged. Blocks.
    pub(super) fn begin(
        caller: Caller,
        namespace: Namespace,
        (mode, include_own): (CreateMode, bool),
    ) -> Result<Self, Status> {
        let mut told = Self {
            caller,
            namespace,
            mode,
            include_own,
            entry: None,
            begun: Instant::now(),
            before: Done::default(),
        };
        told.intend()?;
        Ok(told)
    }

    /// Has another intent logged when it is time, or the log is in trouble. Blocks.
    pub(super) fn go_on(&mut self, done: Done) -> Result<(), Status> {
        if self.begun.elapsed() < RENEW && !self.caller.log_is_broken() {
            return Ok(());
        }
        self.result(&Ok(()), done);
        self.before = done;
        self.intend()
    }

    /// Has the last result logged.
    pub(super) fn end(mut self, result: &Result<(), Status>, done: Done) {
        self.result(result, done);
    }

    fn intend(&mut self) -> Result<(), Status> {
        let first = self.before.accounted;
        let detail = match first {
            0 => format!("{:?}", self.mode),
            first => format!("{:?}, from item {first} on", self.mode),
        };
        let intent = Intent {
            target: audit::Target::Entries,
            detail: Some(detail),
            include_own_connections: self.include_own,
            ..self.caller.intent(&self.namespace)
        };
        self.entry = Some(self.caller.begin(intent)?);
        self.begun = Instant::now();
        Ok(())
    }

    fn result(&mut self, result: &Result<(), Status>, done: Done) {
        let Some(entry) = self.entry.take() else {
            return;
        };
        let matched = done.accounted - self.before.accounted;
        let spared = done.spared - self.before.spared;
        let failed = done.failed - self.before.failed;
        let counts = Counts {
            matched,
            changed: matched - spared - failed,
            spared,
            failed,
            ..Counts::default()
        };
        record::end(entry, result, Some(counts));
    }
}
