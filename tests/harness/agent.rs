//! An agent inside a namespace, and the client that talks to it: the programs themselves.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use super::process::Process;
use super::{Netns, until};

/// `ctagent`, as cargo built it for this test.
pub(crate) const CTAGENT: &str = env!("CARGO_BIN_EXE_ctagent");

/// A running agent with a unix socket of its own.
pub(crate) struct Agent {
    process: Process,
    directory: TempDir,
}

impl Agent {
    /// Starts one inside, and waits until it takes connections.
    pub(crate) fn start(ns: &Netns) -> Self {
        Self::start_as(ns, &mut Command::new(CTAGENT))
    }

    /// Starts one with this command, which gets the flag of the socket.
    pub(crate) fn start_as(ns: &Netns, command: &mut Command) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        command.arg("--listen").arg(Self::place(directory.path()));
        let mut agent = Self {
            process: Process::spawn(ns, command),
            directory,
        };
        until("the agent to take connections", || {
            if let Some(status) = agent.process.ended() {
                panic!("the agent ended with {status}:\n{}", agent.process.said());
            }
            UnixStream::connect(agent.socket()).ok()
        });
        agent
    }

    fn place(directory: &Path) -> String {
        format!("unix:{}", directory.join("agent.sock").display())
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    /// It as a target.
    pub(crate) fn target(&self) -> String {
        Self::place(self.directory.path())
    }

    /// The program.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A connection to it; must be called inside a tokio runtime.
    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(self.target())
            .expect("a target")
            .connect_lazy()
    }
}
