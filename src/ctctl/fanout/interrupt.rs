//! SIGINT and SIGTERM, for the whole run of a command.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// A signal that asks for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// `kill`.
    Terminate,
}

impl Signal {
    /// The exit code that shells give a command which the signal ended.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Hears them from its creation on; one that comes while nobody waits is not lost.
#[derive(Debug)]
pub struct Interrupt {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Interrupt {
    /// Takes the signals over from the kernel's default action.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub async fn recv(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}
