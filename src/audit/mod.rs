//! The audit log: one JSON line for every change and every denied call, to a file, to the
//! journal or to standard error. docs/operation.md has the lines' contract.
//!
//! A change writes an *intent* before it begins and a *result* when it has ended, both with
//! the number of the call, so that the log of a killed agent has what was under way. Whoever
//! cannot write the intent gets an error and must not change anything; the next intent tries
//! again.
//!
//! One thread writes. Callers wait for it, for [`PATIENCE`] at the most and for their intent
//! alone, so a disk that hangs stops changes and no thread of the runtime.

#[cfg(test)]
mod documented;
mod error;
mod file;
mod journal;
mod output;
mod record;
mod sink;
#[cfg(test)]
mod tests;
mod text;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use error::AuditError;
pub use record::{Call, Counts, Intent, Outcome, Target};
pub use sink::{BadSink, Sink};

use record::{Event, Record};
use writer::Writer;

/// How long an intent waits for its line to be written before the change is refused.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The audit log; a clone writes to the same one.
///
/// Its functions block for [`PATIENCE`] at the most where they say so, and not at all
/// elsewhere.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    sink: Sink,
    /// When this process opened the log, and its process id: tells the calls of two runs
    /// apart.
    run: String,
    calls: AtomicU64,
    /// None when the log is off.
    writer: Option<Writer>,
}

/// How the log is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Where it goes, as in the configuration.
    pub sink: String,
    /// Whether the last line was written: if not, changes are refused. Never when it is off.
    pub working: bool,
    /// The last failure, also when the log works again.
    pub last_error: Option<String>,
    /// Results and denied calls that could not be written since the start.
    pub lost: u64,
}

impl Log {
    /// Opens the log and begins a run in it.
    ///
    /// It starts the thread that writes, which keeps the rights that the caller has now.
    /// A file on a full disk can be opened: then changes are refused until there is room.
    pub fn open(sink: &Sink) -> Result<Self, AuditError> {
        let started = Timestamp::now();
        let run = format!("{}-{}", started.as_microsecond(), std::process::id());
        let writer = match output::Output::open(sink)? {
            None => None,
            Some(output) => Some(Writer::start(sink.to_string(), run.clone(), output)?),
        };
        let log = Self(Arc::new(Inner {
            sink: sink.clone(),
            run,
            calls: AtomicU64::new(0),
            writer,
        }));
        if let Some(writer) = &log.0.writer {
            writer.submit(Record::of(Event::Start));
            writer.flush(PATIENCE);
        }
        Ok(log)
    }

    /// A log that is off: everything may be changed, and nothing is written.
    #[must_use]
    pub fn off() -> Self {
        Self(Arc::new(Inner {
            sink: Sink::Off,
            run: String::new(),
            calls: AtomicU64::new(0),
            writer: None,
        }))
    }

    /// Writes that a change begins, and waits until that is written. Without an [`Entry`]
    /// nothing may be changed. Blocks: belongs on a thread that may.
    pub fn begin(&self, intent: Intent) -> Result<Entry, AuditError> {
        let call = self.0.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let intent = Arc::new(intent.bounded());
        let record = Record {
            call: Some(call),
            intent: Some(Arc::clone(&intent)),
            ..Record::of(Event::Intent)
        };
        let begun = Instant::now();
        if let Some(writer) = &self.0.writer {
            writer.write(record, PATIENCE)?;
        }
        Ok(Entry {
            log: self.clone(),
            call,
            intent,
            begun,
            ended: false,
        })
    }

    /// Writes that a call was denied. Does not wait.
    pub fn denied(&self, intent: Intent, outcome: Outcome) {
        let call = self.0.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(writer) = &self.0.writer {
            writer.submit_denied(Record {
                call: Some(call),
                intent: Some(Arc::new(intent.bounded())),
                outcome: Some(outcome.bounded()),
                ..Record::of(Event::Denied)
            });
        }
    }

    /// Opens the file anew, after it was moved away. When that fails, the old one stays.
    /// Blocks: belongs on a thread that may.
    pub fn reopen(&self) -> Result<(), AuditError> {
        match &self.0.writer {
            Some(writer) => writer.reopen(PATIENCE),
            None => Ok(()),
        }
    }

    /// Waits until everything up to now is written, or for so long; not at all where a line has
    /// taken as long already. Says whether it is.
    pub fn flush(&self, patience: Duration) -> bool {
        match &self.0.writer {
            Some(writer) => writer.flush(patience),
            None => true,
        }
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        let sink = self.0.sink.to_string();
        match &self.0.writer {
            Some(writer) => writer.status(sink),
            None => Status {
                sink,
                working: false,
                last_error: None,
                lost: 0,
            },
        }
    }

    /// Whether the last line could not be written; never when the log is off.
    pub fn is_broken(&self) -> bool {
        self.0.writer.is_some() && !self.status().working
    }

    /// What tells the calls of this run from those of another.
    pub fn run(&self) -> &str {
        &self.0.run
    }

    fn submit(&self, record: Record) {
        if let Some(writer) = &self.0.writer {
            writer.submit(record);
        }
    }
}

/// A change that is under way. [`end`](Entry::end) it; one that is dropped was abandoned,
/// which the log gets to know, too.
#[must_use = "dropping it says that the change was abandoned"]
pub struct Entry {
    log: Log,
    call: u64,
    intent: Arc<Intent>,
    begun: Instant,
    ended: bool,
}

impl Entry {
    /// The number of the call in the log.
    pub fn call(&self) -> u64 {
        self.call
    }

    /// Writes how the change ended, and how long it took. Does not wait.
    pub fn end(mut self, outcome: Outcome) {
        self.write(outcome);
    }

    fn write(&mut self, outcome: Outcome) {
        self.ended = true;
        self.log.submit(Record {
            call: Some(self.call),
            intent: Some(Arc::clone(&self.intent)),
            outcome: Some(outcome.bounded()),
            duration: Some(self.begun.elapsed()),
            ..Record::of(Event::Result)
        });
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.ended {
            self.write(Outcome::abandoned());
        }
    }
}
