//! Running a program to its end, and filling the table.

use std::process::{Command, Stdio};

use crate::harness::Netns;
use crate::raw::{self, Prepared};
use crate::report::time;

/// Runs a program inside to its end; its standard output goes to nobody. Seconds.
pub(crate) fn run(ns: &Netns, command: &mut Command) -> f64 {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    time(|| {
        let output = ns
            .enter(|| command.output())
            .expect("a program that starts");
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    })
}

/// Runs conntrack(8).
pub(crate) fn conntrack(ns: &Netns, words: &[&str]) -> f64 {
    run(ns, Command::new("conntrack").args(words))
}

/// Creates the flows by the raw socket. Seconds.
pub(crate) fn fill(ns: &Netns, prepared: &Prepared) -> f64 {
    time(|| ns.enter(|| prepared.send()).expect("a batch of creations"))
}

/// Empties the table.
pub(crate) fn empty(ns: &Netns) {
    ns.enter(raw::flush).expect("a flush");
}

/// Reads the whole table by the raw socket. Seconds.
pub(crate) fn dump(ns: &Netns, flows: u32) -> f64 {
    time(|| {
        let entries = ns.enter(raw::dump).expect("a dump");
        assert_eq!(entries, u64::from(flows));
    })
}
