//! An agent that nobody talks to: what it takes, and what it costs the kernel.

use std::collections::HashMap;
use std::ffi::OsString;
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
    // The threads of the start end when they have been idle for a while.
    std::thread::sleep(LOOK);
    let before = wake_ups(pid);
    std::thread::sleep(LOOK);
    let during: u64 = wake_ups(pid)
        .into_iter()
        .map(|(thread, count)| count - before.get(&thread).copied().unwrap_or_default())
        .sum();
    let a_second = during as f64 / LOOK.as_secs_f64();
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

/// How often each of its threads has begun to run after a sleep.
fn wake_ups(pid: u32) -> HashMap<OsString, u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("our own child");
    tasks
        .filter_map(|task| {
            let task = task.ok()?;
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            let count = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            Some((task.file_name(), count.trim().parse().ok()?))
        })
        .collect()
}
