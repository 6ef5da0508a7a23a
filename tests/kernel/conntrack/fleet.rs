//! Several nodes, and the name `conntrack`.

use std::os::unix::fs::symlink;

use ctfleet::flow::{Family, Protocol};

use super::*;
use crate::harness::flows::flow;

/// Two nodes, of which the first has three flows and the second two.
fn fleet() -> ([Host; 2], Client) {
    let hosts = [3, 2].map(|count| {
        let ns = Netns::new();
        let flows: Vec<_> = (1..=count)
            .map(|port| flow(Family::V4, Protocol::UDP, port))
            .collect();
        ns.create(&flows);
        Host::new(ns)
    });
    let client = Client::of(hosts.iter().map(|host| &host.agent));
    (hosts, client)
}

/// The lines of each node, without its name.
fn by_node(out: &str) -> [Vec<String>; 2] {
    ["a ", "b "].map(|node| {
        let lines = out.lines().filter_map(|line| line.strip_prefix(node));
        lines.map(str::to_owned).collect()
    })
}

#[test]
fn every_line_says_its_node_and_the_summary_adds_up() {
    let (hosts, client) = fleet();
    let said = ours(&client, "-L -o extended,id");
    said.well();
    assert_eq!(
        unnamed(&said.err),
        "conntrack: 5 flow entries have been shown.\n"
    );
    for (lines, host) in by_node(&said.out).iter().zip(&hosts) {
        let alone = ours(&host.client, "-L -o extended,id");
        let masked = |line: &str| Masked::of(line, Whose::SameTable);
        let alone: Vec<_> = alone.out.lines().map(masked).collect();
        let lines: Vec<_> = lines.iter().map(|line| masked(line)).collect();
        assert_eq!(lines.len(), alone.len());
        let mut pairs = lines.iter().zip(&alone);
        assert!(pairs.all(|(a, b)| a.is_like(b, SECONDS)), "{lines:?}");
    }
    let count = ours(&client, "-C");
    assert_eq!(by_node(&count.out), [["3"], ["2"]]);
    let counters = ours(&client, "-S");
    for lines in by_node(&counters.out) {
        assert!(lines[0].starts_with("cpu=0   \tfound="), "{lines:?}");
    }
    let xml = ours(&client, "-L -o xml").out;
    assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<conntrack>\n<flow"));
    assert!(xml.ends_with("</flow>\n</conntrack>\n"), "{xml}");
    for (node, count) in [("a", 3), ("b", 2)] {
        let tag = format!("<flow node=\"{node}\">");
        assert_eq!(xml.matches(&tag).count(), count, "{xml}");
    }
}

#[test]
fn a_change_of_several_nodes_asks_first() {
    let (hosts, client) = fleet();
    let entries = || hosts.each_ref().map(|host| host.ns.entries());
    for line in ["-D -p udp", "-F", "-U -p udp -m 7", "-D -p udp --sport 3"] {
        let refused = ours(&client, line);
        assert_ne!(refused.code, Some(0), "{line}");
        assert!(refused.err.contains("--yes"), "{line}: {}", refused.err);
        assert_eq!(entries(), [3, 2], "{line}");
    }
    let updated = ours(&client, "--yes -U -s 10.0.0.1 -p udp -m 7");
    updated.well();
    assert_eq!(
        unnamed(&updated.err),
        "conntrack: 5 flow entries have been updated.\n"
    );
    assert_eq!(by_node(&updated.out).map(|lines| lines.len()), [3, 2]);
    // The second has no such flow, which is the worst that is to be told.
    let third = ours(&client, "--yes -D -p udp --sport 3");
    assert_eq!(third.code, Some(1), "{}", third.err);
    assert_eq!(entries(), [2, 2]);
    let all = ours(&client, "--yes -D -p udp -m 7");
    all.well();
    assert_eq!(
        unnamed(&all.err),
        "conntrack: 4 flow entries have been deleted.\n"
    );
    assert_eq!(entries(), [0, 0]);
}

#[test]
fn one_node_alone_is_not_asked_about() {
    let (hosts, _) = fleet();
    let said = ours(&hosts[0].client, "-D -p udp --sport 1");
    said.well();
    assert_eq!(hosts[0].ns.entries(), 2);
}

#[test]
fn a_node_that_fails_does_not_spoil_the_others() {
    let (_hosts, client) = fleet();
    let client = client.and("gone=unix:/nonexistent/socket");
    let said = ours(&client, "-L");
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert_eq!(by_node(&said.out).map(|lines| lines.len()), [3, 2]);
    assert!(said.err.contains("gone: "), "{}", said.err);
    assert!(said.err.contains("5 flow entries have been shown."));
}

#[test]
fn a_link_named_conntrack_is_conntrack() {
    let (hosts, _) = fleet();
    let directory = tempfile::TempDir::new().expect("a directory");
    let link = directory.path().join("conntrack");
    symlink(env!("CARGO_BIN_EXE_ctctl"), &link).expect("a link");
    let run = |line: &str| -> Answer {
        let mut command = Command::new(&link);
        command.args(line.split_whitespace());
        command.env("CTCTL_TARGETS", hosts[0].agent.target());
        command.env_remove("CTCTL_TARGETS_FILE");
        command.output().expect("it runs").into()
    };
    for line in [
        "-L",
        "-L -p udp --sport 2 -o id",
        "-C",
        "-L -p nonsense",
        "-D -p udp --sport 9",
        "-L -t 5",
    ] {
        let (theirs, ours) = (theirs(&hosts[0].ns, line), run(line));
        let differ = difference(&theirs, &ours, Whose::SameTable, false);
        assert_eq!(differ, None, "{line}");
    }
    let version = run("-V");
    version.well();
    assert!(version.out.starts_with("conntrack v1.4.8 ("), "{version:?}");
    // The help has words of its own.
    for (line, option) in [("-h", "--orig-zone"), ("--help -p gre", "--srckey")] {
        let help = run(line);
        help.well();
        assert!(help.out.contains(option), "{line}: {}", help.out);
    }
}
