//! A program's standard error as a pipe that a test reads when it likes.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::io::Errno;
use tempfile::TempDir;

/// The near end. The program has the other, and waits when there is no room.
pub(crate) struct Pipe {
    near: File,
    directory: TempDir,
}

impl Pipe {
    /// Makes one.
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("pipe");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).expect("a pipe");
        let mut options = File::options();
        options.read(true).write(true);
        let near = options.custom_flags(libc::O_NONBLOCK).open(&path);
        Self {
            near: near.expect("a pipe"),
            directory,
        }
    }

    /// This command with the pipe as its standard error. Where it listens, which the harness
    /// looks for in what it says, must be known before.
    pub(crate) fn behind(&self, command: &Command, place: &str) -> Command {
        let mut shell = Command::new("sh");
        shell
            .arg("-ec")
            .arg(format!("echo listening on {place}; exec \"$@\" 2> \"$0\""))
            .arg(self.directory.path().join("pipe"))
            .arg(command.get_program())
            .args(command.get_args());
        shell
    }

    /// Leaves no room in it.
    pub(crate) fn fill(&self) {
        for piece in [&[b'\n'; 4096][..], b"\n"] {
            let full = loop {
                if let Err(error) = rustix::io::write(&self.near, piece) {
                    break error;
                }
            };
            assert_eq!(full, Errno::AGAIN);
        }
    }

    /// What is in it; that makes room.
    pub(crate) fn empty(&self) -> String {
        let mut all = Vec::new();
        let end = (&self.near).read_to_end(&mut all).expect_err("it is open");
        assert_eq!(end.kind(), ErrorKind::WouldBlock);
        String::from_utf8(all).expect("text")
    }
}
