//! A file that gets whole lines: each by one write(2) at its end, and on a line of its own
//! also after one that the disk had no room for.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::AuditError;

/// The file of the audit log.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// The last line in it has no end.
    torn: bool,
    /// The last write failed: the path may lead to a better file by now.
    failed: bool,
}

impl LogFile {
    /// Opens it, or makes it, for its owner alone.
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let (file, torn) = open(path).map_err(|source| AuditError::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            torn,
            failed: false,
        })
    }

    /// Opens it anew; when that fails, the old one stays.
    pub(super) fn reopen(&mut self) -> Result<(), AuditError> {
        *self = Self::open(&self.path)?;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn hang_instead_of_failing(&mut self) {
        let flags = rustix::fs::OFlags::APPEND;
        rustix::fs::fcntl_setfl(&self.file, flags).expect("an open file");
    }

    /// Appends a line, which brings its end along.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.failed {
            (self.file, self.torn) = open(&self.path)?;
        }
        let mut whole;
        let bytes = if self.torn {
            whole = vec![b'\n'];
            whole.extend_from_slice(line);
            &whole
        } else {
            line
        };
        let written = append(&self.file, bytes);
        if let Ok(length) = written
            && length > 0
        {
            self.torn = bytes[length - 1] != b'\n';
        }
        let outcome = written.and_then(|length| {
            if length == bytes.len() {
                Ok(())
            } else {
                // The kernel says why only when nothing at all could be written.
                Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    format!("{length} bytes of {} were written", bytes.len()),
                ))
            }
        });
        self.failed = outcome.is_err();
        outcome
    }
}

fn append(file: &File, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::io::write(file.as_fd(), bytes) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// The file, and whether its last line has no end.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        // A named pipe without a reader must not hold up the start.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let metadata = file.metadata()?;
    let torn = metadata.is_file() && metadata.len() > 0 && {
        let mut last = [0];
        // Where the end cannot be read, an empty line does no harm.
        let read =
            File::open(path).and_then(|reader| reader.read_exact_at(&mut last, metadata.len() - 1));
        read.is_err() || last != [b'\n']
    };
    Ok((file, torn))
}
