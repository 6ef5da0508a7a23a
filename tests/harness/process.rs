//! A program that runs beside a test inside a namespace, and ends with it.

use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Netns, until};

/// A running program. What it says goes to a file, so that it never waits for a reader.
pub(crate) struct Process {
    child: Child,
    directory: TempDir,
}

impl Process {
    /// Starts it inside.
    pub(crate) fn spawn(ns: &Netns, command: &mut Command) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let log = File::create(directory.path().join("log")).expect("a log");
        command
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("another handle"))
            .stdout(log);
        let child = ns
            .enter(|| command.spawn())
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, directory }
    }

    /// All that it said up to now, standard output and error in one.
    pub(crate) fn said(&self) -> String {
        let log = std::fs::read(self.directory.path().join("log")).expect("the log");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until it has said this; panics with all that it said when it ends before.
    pub(crate) fn wait_for(&mut self, text: &str) {
        until(&format!("{text:?}"), || {
            let ended = self.ended().is_some();
            let said = self.said();
            let found = said.contains(text);
            assert!(found || !ended, "it ended before it said {text:?}:\n{said}");
            found.then_some(())
        });
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits until it ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        until(&format!("process {} to end", self.id()), || {
            self.child.try_wait().expect("a child")
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is fine; one that hangs must not outlive the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("a program beside this test said:\n{}", self.said());
        }
    }
}
