//! An agent that nobody talks to: what it takes, and what it costs the kernel.

use std::fs;
use std::time::Duration;

use crate::Size;
use crate::agent::{Agents, Transport};
use crate::harness::Netns;
use crate::memory;
use crate::program::{empty, fill};
use crate::raw::Prepared;
use crate::report::{Report, median};

/// How long its idleness is looked at.
const LOOK: Duration = Duration::from_secs(10);

pub(crate) fn run(ns: &Netns, size: Size, report: &mut Report) {
    let prepared = Prepared::create(size.flows / 2);
    let flows = f64::from(size.flows / 2);
    let rate = || {
        let seconds = fill(ns, &prepared);
        empty(ns);
        flows / seconds
    };
    // Warms the kernel's allocators up.
    rate();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let mut agents = None;
    for _ in 0..size.runs {
        drop(agents.take());
        without.push(rate());
        agents = Some(Agents::start(ns));
        with.push(rate());
    }
    let Some(agents) = agents else {
        return;
    };
    report.rate(
        "creation with an agent and nobody watching",
        "0.97 x",
        [median(with), median(without)],
        None,
        None,
    );
    drop(agents);
    let agents = Agents::start(ns);
    let pid = agents.process(Transport::Tls).id();
    let before = wake_ups(pid);
    std::thread::sleep(LOOK);
    let a_second = (wake_ups(pid) - before) as f64 / LOOK.as_secs_f64();
    let listeners = ns
        .proc_net("netlink")
        .iter()
        .filter(|row| row["Eth"] == "12" && row["Groups"] != "00000000")
        .count();
    let resident = memory::resident(pid);
    report.words(
        "idle",
        "10 MiB, 1 wake-up/s",
        &format!("{resident:.1} MiB, {a_second:.1} wake-ups/s, {listeners} kernel listeners"),
        None,
        Some(resident),
    );
}

/// How often its threads have begun to run after a sleep.
fn wake_ups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("our own child");
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok())
        .filter_map(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse::<u64>().ok()
        })
        .sum()
}
