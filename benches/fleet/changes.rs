//! Creations and deletions in bulk.

use std::fs::File;

use tempfile::NamedTempFile;

use crate::Size;
use crate::agent::{Agents, Transport};
use crate::harness::Netns;
use crate::memory;
use crate::program::{self, conntrack, empty, fill};
use crate::raw::{self, Prepared};
use crate::report::{Report, median, time};

/// Creations and deletions in bulk.
pub(crate) fn run(ns: &Netns, size: Size, report: &mut Report) {
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
        ours.push(flows / program::run(ns, agents.ctctl(Transport::Tls).args(create)));
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
        ours.push(half / program::run(ns, agents.ctctl(Transport::Tls).args(delete)));
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
