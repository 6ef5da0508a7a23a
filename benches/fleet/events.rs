//! Events: bursts at the kernel's full speed, and a steady churn.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Size;
use crate::agent::{Agents, Transport};
use crate::harness::{Netns, until};
use crate::memory;
use crate::program::{empty, fill};
use crate::raw::{self, Prepared};
use crate::report::Report;
use crate::watcher::{Seen, Watcher};

/// Creations at full speed while one watches, and while eight do.
pub(crate) fn bursts(ns: &Netns, size: Size, report: &mut Report) {
    let count = size.flows / 2;
    let prepared = Prepared::create(count);
    let theirs = conntrack(ns, &prepared);
    empty(ns);
    for watchers in [1_u32, 8] {
        let agents = Agents::start(ns);
        let pid = agents.process(Transport::Tls).id();
        let watching: Vec<Watcher> = (0..watchers)
            .map(|n| {
                let filter = format!("mark {n}");
                let mut words = vec!["--event", "new"];
                if watchers > 1 {
                    words.push(&filter);
                }
                Watcher::start(ns, &mut agents.ctctl(Transport::Tls), &words)
            })
            .collect();
        memory::reset(pid);
        let seconds = fill(ns, &prepared);
        let seen: Vec<Seen> = watching.into_iter().map(Watcher::finish).collect();
        // An eighth of the flows has each mark; who has no gap has all of them.
        for seen in &seen {
            assert!(!seen.gaps.is_empty() || seen.events == u64::from(count / watchers));
        }
        report.words(
            &format!(
                "{count} events, {watchers} watching, at {:.0} /s",
                f64::from(count) / seconds
            ),
            "all, or an exact gap",
            &delivered(&seen),
            (watchers == 1).then(|| format!("{theirs} delivered")),
            Some(memory::high_water(pid)),
        );
        empty(ns);
    }
}

/// Delivered events, and what was lost on the way.
fn delivered(seen: &[Seen]) -> String {
    let events: u64 = seen.iter().map(|seen| seen.events).sum();
    let gaps = seen.iter().flat_map(|seen| &seen.gaps);
    let (kernel, slow): (Vec<_>, Vec<_>) = gaps.partition(|gap| gap.contains("\"kernel\""));
    format!(
        "{events} delivered, gaps: {} of the kernel, {} of watchers",
        kernel.len(),
        slow.len()
    )
}

/// What `conntrack -E` with a buffer of 8 MiB hears of the same burst.
fn conntrack(ns: &Netns, prepared: &Prepared) -> u64 {
    let mut command = Command::new("conntrack");
    command
        .args(["-E", "-e", "NEW", "-b", "8388608"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = ns.enter(|| command.spawn()).expect("conntrack(8)");
    let heard = Arc::new(AtomicU64::new(0));
    let output = BufReader::with_capacity(1 << 20, child.stdout.take().expect("a pipe"));
    let reader = {
        let heard = Arc::clone(&heard);
        std::thread::spawn(move || {
            for _ in output.split(b'\n') {
                heard.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    until("conntrack(8) to listen", || {
        let mut rows = ns.proc_net("netlink").into_iter();
        rows.find(|row| row["Eth"] == "12" && row["Groups"] != "00000000")
            .map(drop)
    });
    fill(ns, prepared);
    let mut before = 0;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = heard.load(Ordering::Relaxed);
        if now == before {
            break;
        }
        before = now;
    }
    // Our own child.
    let _ = child.kill();
    let _ = child.wait();
    let _ = reader.join();
    heard.load(Ordering::Relaxed)
}

/// Creations and deletions at half of the full rate, for a minute.
pub(crate) fn churn(ns: &Netns, size: Size, report: &mut Report) {
    let time = Duration::from_secs(size.seconds.into());
    let sample = Duration::from_secs(2);
    let full =
        ns.enter(|| raw::churn(sample, None)).expect("a churn") as f64 / sample.as_secs_f64();
    let agents = Agents::start(ns);
    let pid = agents.process(Transport::Tls).id();
    let words = ["--event", "new,destroy"];
    let watcher = Watcher::start(ns, &mut agents.ctctl(Transport::Tls), &words);
    memory::reset(pid);
    let done = ns
        .enter(|| raw::churn(time, Some(full / 2.0)))
        .expect("a churn");
    let seen = watcher.finish();
    assert!(!seen.gaps.is_empty() || seen.events == done);
    report.words(
        &format!(
            "churn of {} s at {:.0} events/s (full rate: {full:.0})",
            size.seconds,
            done as f64 / time.as_secs_f64()
        ),
        "no gap",
        &format!(
            "{} of {done}; {}",
            seen.events,
            delivered(std::slice::from_ref(&seen))
        ),
        None,
        Some(memory::high_water(pid)),
    );
}
