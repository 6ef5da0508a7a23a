//! A reader that stops in the middle of a dump and a watcher that stops, for half a minute:
//! what the agent holds for them, and what others notice.

use std::io::Read as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Size;
use crate::agent::{Agents, Transport};
use crate::harness::Netns;
use crate::memory;
use crate::program::{self, dump, fill};
use crate::raw::{self, Prepared};
use crate::report::{Report, median};
use crate::watcher::Watcher;

pub(crate) fn run(ns: &Netns, size: Size, report: &mut Report) {
    fill(ns, &Prepared::create(size.flows));
    let agents = Agents::start(ns);
    let pid = agents.process(Transport::Tls).id();
    let list = || {
        let words = ["-o", "conntrack", "list"];
        program::run(ns, agents.ctctl(Transport::Tls).args(words))
    };
    let before = median((0..size.runs).map(|_| list()).collect());
    memory::reset(pid);

    // Its pipe is read a little and then no more; the dump gets as far as all the buffers on
    // the way reach.
    let mut reader = {
        let mut command = agents.ctctl(Transport::Tls);
        command.args(["-o", "jsonl", "list"]).stdout(Stdio::piped());
        let mut child = ns.enter(|| command.spawn()).expect("ctctl");
        let output = child.stdout.as_mut().expect("a pipe");
        output.read_exact(&mut [0; 4096]).expect("the first rows");
        child
    };
    let watcher = Watcher::start(ns, &mut agents.ctctl(Transport::Tls), &[]);
    let stopped = Pid::from_raw(watcher.id().cast_signed()).expect("a process id");
    kill_process(stopped, Signal::STOP).expect("our own child");
    let stalled = Instant::now();
    // More events than the ring holds, for the watcher that reads none of them.
    ns.enter(|| raw::churn(Duration::from_secs(2), None))
        .expect("a churn");
    let (mut during, mut bare) = (Vec::new(), Vec::new());
    while during.len() < size.runs
        || stalled.elapsed() < Duration::from_secs(u64::from(size.seconds / 2))
    {
        bare.push(dump(ns, size.flows));
        during.push(list());
    }
    let mebibytes = memory::high_water(pid);
    kill_process(stopped, Signal::CONT).expect("our own child");
    let seen = watcher.finish();
    let _ = reader.kill();
    let _ = reader.wait();
    report.seconds(
        &format!(
            "list -o conntrack beside a reader and a watcher that stall ({before:.2} s before)"
        ),
        "not slowed",
        median(during),
        median(bare),
        None,
        Some(mebibytes),
    );
    report.words(
        "the watcher that stalled, afterwards",
        "an exact gap",
        &format!(
            "{} delivered, {} lost in {} gaps",
            seen.events,
            seen.lost,
            seen.gaps.len()
        ),
        None,
        None,
    );
}
