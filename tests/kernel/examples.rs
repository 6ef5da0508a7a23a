//! The examples do what they say, on the real kernel.

use std::path::{Path, PathBuf};
use std::process::Command;

use ctfleet::flow::{Family, Protocol};

use crate::harness::Netns;
use crate::harness::agent::CTAGENT;
use crate::harness::flows::{FAMILIES, flow};
use crate::harness::netns::check;
use crate::harness::process::Process;

/// An example that cargo built beside the programs.
fn example(name: &str) -> PathBuf {
    let programs = Path::new(CTAGENT).parent().expect("a directory");
    let path = programs.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build --examples",
        path.display()
    );
    path
}

#[test]
fn dump_prints_what_the_filter_lets_through() {
    let ns = Netns::new();
    ns.create(&FAMILIES.map(|family| flow(family, Protocol::UDP, 5353)));
    let mut command = Command::new(example("dump"));
    command.args(["src", "10.0.0.1", "and", "sport", "5353"]);
    let printed = ns.enter(|| check(&mut command));
    assert_eq!(
        printed,
        "udp 10.0.0.1 -> 10.0.0.2 mark 0 timeout 4999\n".replace("4999", {
            let timeout = printed.trim().rsplit(' ').next().expect("a word");
            assert!(timeout == "4999" || timeout == "5000", "{printed}");
            timeout
        })
    );
}

#[test]
fn watch_prints_events_and_ends_after_as_many_as_it_was_told() {
    let ns = Netns::new();
    let mut watch = Process::spawn(&ns, Command::new(example("watch")).arg("2"));
    watch.wait_for("listening");
    ns.create(&[flow(Family::V4, Protocol::UDP, 1)]);
    ns.conntrack("-F");
    watch.wait_for("Destroy udp 10.0.0.1 -> 10.0.0.2");
    assert!(watch.said().contains("New udp 10.0.0.1 -> 10.0.0.2"));
    assert!(watch.wait().success());
}
