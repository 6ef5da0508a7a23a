//! Lists and counts.

use crate::Size;
use crate::agent::{Agents, Transport};
use crate::harness::Netns;
use crate::memory;
use crate::program::{self, conntrack, dump, fill};
use crate::raw::Prepared;
use crate::report::{Report, median};

fn over(ns: &Netns, size: Size, report: &mut Report, transport: Transport) {
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
    let agents = Agents::start(ns);
    let pid = agents.process(transport).id();
    for (job, target, words) in jobs {
        memory::reset(pid);
        let (mut ours, mut bare, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        // In turn, so that a machine that drifts does so for all of them.
        for _ in 0..size.runs {
            bare.push(dump(ns, size.flows));
            ours.push(program::run(ns, agents.ctctl(transport).args(words)));
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

/// All of them, over both transports.
pub(crate) fn run(ns: &Netns, size: Size, report: &mut Report) {
    fill(ns, &Prepared::create(size.flows));
    over(ns, size, report, Transport::Tls);
    over(ns, size, report, Transport::Plaintext);
}
