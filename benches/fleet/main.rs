//! `cargo bench --bench fleet`: what a remote caller waits for, as a ratio to a bare netlink
//! socket and to conntrack(8), all measured in the same run in namespaces of its own.
//!
//! Needs root. CTFLEET_BENCH_FLOWS (1000000), CTFLEET_BENCH_RUNS (5) and
//! CTFLEET_BENCH_AGENTS (500) make it smaller. Nothing is asserted but that every job does
//! what it should; the figures are for people.

#[path = "../../tests/harness/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "written for the tests, which use all of it"
)]
mod harness;

mod agent;
mod many;
mod memory;
mod raw;
mod report;
mod rows;

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
}

fn number(name: &str, default: u32) -> u32 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|e| panic!("{name}={text}: {e}")),
        Err(_) => default,
    }
}

fn main() {
    // `cargo test --benches` would run it too.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("run it with `cargo bench --bench fleet`");
        return;
    }
    let size = Size {
        flows: number("CTFLEET_BENCH_FLOWS", 1_000_000),
        runs: number("CTFLEET_BENCH_RUNS", 5) as usize,
        agents: number("CTFLEET_BENCH_AGENTS", 500),
    };
    let _room = report::TableRoom::make(size.flows);
    let mut report = Report::new(size);
    let ns = Netns::new();
    rows::reads(&ns, size, &mut report);
    rows::changes(&ns, size, &mut report);
    rows::events(&ns, size, &mut report);
    drop(ns);
    many::stats(size, &mut report);
    report.print();
}
