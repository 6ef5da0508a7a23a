//! The jobs.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use tempfile::NamedTempFile;

use crate::agent::{Agents, Transport};
use crate::harness::{Netns, until};
use crate::raw::{self, Prepared};
use crate::report::{Report, median, time};
use crate::{Size, memory};

/// Runs a program inside to its end; its standard output goes to nobody. Seconds.
fn run(ns: &Netns, command: &mut Command) -> f64 {
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

fn conntrack(ns: &Netns, words: &[&str]) -> f64 {
    run(ns, Command::new("conntrack").args(words))
}

/// Fills the table with flows 0 to `flows`.
fn fill(ns: &Netns, prepared: &Prepared) -> f64 {
    time(|| ns.enter(|| prepared.send()).expect("a batch of creations"))
}

fn empty(ns: &Netns) {
    ns.enter(raw::flush).expect("a flush");
}

/// Lists and counts.
pub(crate) fn reads(ns: &Netns, size: Size, report: &mut Report) {
    let prepared = Prepared::create(size.flows);
    fill(ns, &prepared);
    let agents = Agents::start(ns);
    let jobs: [(&str, &str, &[&str]); 5] = [
        ("list -o conntrack", "1.25 x", &["-o", "conntrack", "list"]),
        ("list -o jsonl", "1.5 x", &["-o", "jsonl", "list"]),
        (
            "count, few match",
            "1.1 x",
            &["count", "dport 443 and src 10.0.0.0/29"],
        ),
        ("count 'mark 3'", "0.3 x", &["count", "mark 3"]),
        (
            "count, exact address",
            "0.2 x",
            &["count", "proto tcp and dport 443 and src 10.0.0.5"],
        ),
    ];
    for transport in [Transport::Tls, Transport::Plaintext] {
        for (job, target, words) in jobs {
            let pid = agents.process(transport).id();
            memory::reset(pid);
            let (mut ours, mut bare, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
            // In turn, so that a machine that drifts does so for all of them.
            for _ in 0..size.runs {
                bare.push(time(|| {
                    let entries = ns.enter(raw::dump).expect("a dump");
                    assert_eq!(entries, u64::from(size.flows));
                }));
                ours.push(run(ns, agents.ctctl(transport).args(words)));
                if job == "list -o conntrack" {
                    theirs.push(conntrack(ns, &["-L"]));
                }
            }
            let theirs = (!theirs.is_empty()).then(|| median(theirs));
            report.seconds(
                &format!("{job} ({transport:?})"),
                target,
                median(ours),
                median(bare),
                theirs,
                Some(memory::high_water(pid)),
            );
        }
    }
    empty(ns);
}

/// Creations and deletions in bulk.
pub(crate) fn changes(ns: &Netns, size: Size, report: &mut Report) {
    let prepared = Prepared::create(size.flows);
    let agents = Agents::start(ns);
    let pid = agents.process(Transport::Tls).id();
    let flows = f64::from(size.flows);

    fill(ns, &prepared);
    let saved = NamedTempFile::new().expect("a temporary file");
    let status = ns
        .enter(|| {
            let into = File::create(saved.path())?;
            let mut command = agents.ctctl(Transport::Plaintext);
            command.args(["-o", "save", "list"]).stdout(into).status()
        })
        .expect("ctctl");
    assert!(status.success());
    let file = saved.path().to_str().expect("a path in UTF-8");

    memory::reset(pid);
    let (mut ours, mut bare, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.runs {
        empty(ns);
        bare.push(flows / fill(ns, &prepared));
        empty(ns);
        let create = ["create", "--file", file];
        ours.push(flows / run(ns, agents.ctctl(Transport::Tls).args(create)));
        empty(ns);
        theirs.push(flows / conntrack(ns, &["-R", file]));
    }
    report.rate(
        "create from a save file (Tls)",
        "0.75 x",
        [median(ours), median(bare)],
        Some(median(theirs)),
        Some(memory::high_water(pid)),
    );

    memory::reset(pid);
    let half = flows / 2.0;
    let (mut ours, mut bare, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.runs {
        empty(ns);
        fill(ns, &prepared);
        bare.push(
            half / time(|| {
                let deleted = ns.enter(|| raw::delete_marks_below(4)).expect("deletions");
                assert_eq!(deleted, u64::from(size.flows / 2));
            }),
        );
        empty(ns);
        fill(ns, &prepared);
        let delete = ["delete", "--yes", "mark 0-3"];
        ours.push(half / run(ns, agents.ctctl(Transport::Tls).args(delete)));
        empty(ns);
        fill(ns, &prepared);
        // Bit 2 of the mark: the same half.
        theirs.push(half / conntrack(ns, &["-D", "-m", "0/4"]));
    }
    report.rate(
        "delete by filter, half (Tls)",
        "1.0 x",
        [median(ours), median(bare)],
        Some(median(theirs)),
        Some(memory::high_water(pid)),
    );
    empty(ns);
}

/// Creations at full speed while somebody watches.
pub(crate) fn events(ns: &Netns, size: Size, report: &mut Report) {
    let count = size.flows / 2;
    let prepared = Prepared::create(count);
    for watchers in [1_usize, 8] {
        let agents = Agents::start(ns);
        let pid = agents.process(Transport::Tls).id();
        let mut children: Vec<_> = (0..watchers)
            .map(|n| {
                let mut command = agents.ctctl(Transport::Tls);
                command.args(["-o", "jsonl", "watch", "--event", "new"]);
                if watchers > 1 {
                    command.arg(format!("mark {n}"));
                }
                command.stdout(Stdio::piped()).stderr(Stdio::null());
                ns.enter(|| command.spawn()).expect("ctctl")
            })
            .collect();
        // Once the group is joined, and every watcher has its connection.
        until("the agent to listen", || {
            let listens = ns
                .proc_net("netlink")
                .iter()
                .any(|row| row["Eth"] == "12" && row["Groups"] != "00000000");
            let streams = ns
                .proc_net("tcp")
                .iter()
                .filter(|row| row["st"] == "01" && row["local_address"].ends_with(":1D17"))
                .count();
            (listens && streams >= watchers).then_some(())
        });
        memory::reset(pid);
        let seconds = fill(ns, &prepared);
        // Every watcher has seen its share when it has this many lines or a gap.
        let share = u64::from(count) / watchers as u64;
        let (mut delivered, mut gaps) = (0, 0);
        for child in &mut children {
            let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
            let mut seen = 0;
            for line in lines {
                let line = line.expect("a line of ctctl");
                if line.contains("\"gap\"") {
                    gaps += 1;
                    break;
                }
                seen += 1;
                if seen == share {
                    break;
                }
            }
            delivered += seen;
            // Our own child; it has nothing left to do.
            let _ = child.kill();
            let _ = child.wait();
        }
        report.words(
            &format!(
                "{count} events, {watchers} watching, at {:.0} /s",
                f64::from(count) / seconds
            ),
            "all, or an exact gap",
            &format!("{delivered} delivered, {gaps} gaps"),
            Some(memory::high_water(pid)),
        );
        empty(ns);
    }
}
