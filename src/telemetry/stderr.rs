//! Standard error, a line at a time: what the logs write is whole, whichever of them it is from.
//!
//! Not by way of std: it takes a closed descriptor for success, and everybody who has something
//! to say waits for its lock. Whoever writes here waits as long as the reader does, so it is
//! for threads that do nothing else.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Held while a line is written: the kernel keeps short ones together, and long ones not.
static LAST: Mutex<Last> = Mutex::new(Last { torn: false });

/// How the last line ended.
struct Last {
    /// Without its end.
    torn: bool,
}

/// Writes a line, which brings its end along.
pub(crate) fn write_line(line: &[u8]) -> io::Result<()> {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    // Of std this takes the number alone.
    last.write(io::stderr().as_fd(), line)
}

impl Last {
    fn write(&mut self, to: BorrowedFd<'_>, line: &[u8]) -> io::Result<()> {
        if self.torn {
            whole(to, b"\n").map_err(|(_, error)| error)?;
            self.torn = false;
        }
        whole(to, line).map_err(|(written, error)| {
            self.torn = written > 0;
            error.into()
        })
    }
}

/// Writes all of it, or says how much was written before it failed.
fn whole(to: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), (usize, Errno)> {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::write(to, &bytes[written..]) {
            Ok(0) => return Err((written, Errno::IO)),
            Ok(length) => written += length,
            Err(Errno::INTR) => {}
            // Whoever shares it made it so.
            Err(Errno::AGAIN) => wait(to).map_err(|error| (written, error))?,
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

/// Waits until there is room.
fn wait(to: BorrowedFd<'_>) -> Result<(), Errno> {
    match poll(&mut [PollFd::new(&to, PollFlags::OUT)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_descriptor_that_does_not_wait_is_waited_for() {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        near.set_nonblocking(true).expect("a socket");
        let line = [&[b'x'; 1 << 20][..], b"\n"].concat();
        let reader = std::thread::spawn(move || {
            let mut heard = Vec::new();
            far.read_to_end(&mut heard).map(|_| heard)
        });
        let mut last = Last { torn: false };
        last.write(near.as_fd(), &line).expect("written");
        drop(near);
        assert!(reader.join().expect("no panic").expect("bytes") == line);
    }

    #[test]
    fn behind_half_a_line_the_next_one_begins_anew() {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        let mut last = Last { torn: true };
        last.write(near.as_fd(), b"whole\n").expect("written");
        last.write(near.as_fd(), b"whole\n").expect("written");
        drop(near);
        let mut heard = String::new();
        far.read_to_string(&mut heard).expect("text");
        assert_eq!(heard, "\nwhole\nwhole\n");
    }
}
