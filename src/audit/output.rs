//! The open sink.

use std::io;

use super::file::LogFile;
use super::{AuditError, Sink, journal};
use crate::telemetry;

/// An open sink.
pub(super) enum Output {
    /// A file.
    File(LogFile),
    /// The journal.
    Journal,
    /// Standard error.
    Stderr,
}

impl Output {
    /// Opens it; None when the log is off.
    pub(super) fn open(sink: &Sink) -> Result<Option<Self>, AuditError> {
        Ok(match sink {
            Sink::Off => None,
            Sink::Stderr => Some(Self::Stderr),
            Sink::Journal => {
                journal::find()?;
                Some(Self::Journal)
            }
            Sink::File(path) => Some(Self::File(LogFile::open(path)?)),
        })
    }

    /// Opens a file anew; the others are open for ever.
    pub(super) fn reopen(&mut self) -> Result<(), AuditError> {
        match self {
            Self::File(file) => file.reopen(),
            Self::Journal | Self::Stderr => Ok(()),
        }
    }

    /// A pipe that is full makes its writer wait, as a disk that hangs does.
    #[cfg(test)]
    pub(super) fn hang_instead_of_failing(&mut self) {
        if let Self::File(file) = self {
            file.hang_instead_of_failing();
        }
    }

    /// Writes a line.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write(line),
            Self::Journal => journal::send(line),
            Self::Stderr => telemetry::write_line(line),
        }
    }
}
