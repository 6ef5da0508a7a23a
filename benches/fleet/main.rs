//! `cargo bench --bench fleet`: what a remote caller waits for, as a ratio to a bare netlink
//! socket and to conntrack(8), all measured in the same run in namespaces of its own.
//!
//! Needs root. `cargo bench --bench fleet -- reads events` runs some of the jobs only, and
//! CTFLEET_BENCH_FLOWS (1000000), CTFLEET_BENCH_RUNS (5), CTFLEET_BENCH_AGENTS (500) and
//! CTFLEET_BENCH_SECONDS (60) make it smaller. Nothing is asserted but that every job does
//! what it should; the figures are for people.

#[path = "../../tests/harness/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "written for the tests, which use all of it"
)]
mod harness;

mod agent;
mod changes;
mod events;
mod many;
mod memory;
mod program;
mod quiet;
mod raw;
mod reads;
mod report;
mod stalls;
mod watcher;

use harness::Netns;
use report::Report;

/// How large the benchmark is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Entries in the table.
    pub(crate) flows: u32,
    /// Runs of each job; the median counts.
    pub(crate) runs: usize,
    /// Agents of the fleet.
    pub(crate) agents: u32,
    /// Seconds of churn; half of it is how long a reader stalls.
    pub(crate) seconds: u32,
}

fn number(name: &str, default: u32) -> u32 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|e| panic!("{name}={text}: {e}")),
        Err(_) => default,
    }
}

/// The jobs that work on one table, in a namespace that each gets for itself.
type Job = fn(&Netns, Size, &mut Report);
const JOBS: [(&str, Job); 6] = [
    ("reads", reads::run),
    ("changes", changes::run),
    ("events", events::bursts),
    ("churn", events::churn),
    ("stalls", stalls::run),
    ("quiet", quiet::run),
];
const FLEET: &str = "fleet";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` would run it too.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("run it with `cargo bench --bench fleet`");
        return;
    }
    let wanted: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    for name in &wanted {
        let known = JOBS.iter().any(|(job, _)| job == name) || *name == FLEET;
        assert!(known, "no job is named {name:?}");
    }
    let wants = |name: &str| wanted.is_empty() || wanted.contains(&name);
    let size = Size {
        flows: number("CTFLEET_BENCH_FLOWS", 1_000_000),
        runs: number("CTFLEET_BENCH_RUNS", 5) as usize,
        agents: number("CTFLEET_BENCH_AGENTS", 500),
        seconds: number("CTFLEET_BENCH_SECONDS", 60),
    };
    let _room = report::Settings::for_flows(size.flows);
    let mut report = Report::new(size);
    for (name, job) in JOBS {
        if wants(name) {
            job(&Netns::new(), size, &mut report);
        }
    }
    if wants(FLEET) {
        many::stats(size, &mut report);
    }
    report.print();
}
