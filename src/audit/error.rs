//! Why the audit log cannot be opened or does not take a line.

use std::path::PathBuf;

/// The audit log cannot be opened, or did not take a line.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be opened.
    #[error("cannot open the audit log {path}: {source}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no journal.
    #[error("cannot open the audit log: {path} is not there: {source}")]
    NoJournal {
        /// Where journald should listen.
        path: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The thread that writes cannot be started.
    #[error("cannot start the audit log's thread: {0}")]
    Thread(std::io::Error),
    /// A line could not be written.
    #[error("the audit log ({sink}) cannot be written: {reason}")]
    Write {
        /// Where it goes.
        sink: String,
        /// Why.
        reason: String,
    },
    /// A line was not written in time.
    #[error("the audit log ({sink}) cannot be written: nothing was for {seconds} s")]
    Slow {
        /// Where it goes.
        sink: String,
        /// How long the caller would have waited.
        seconds: u64,
    },
}
