//! What `ctctl` shows is what conntrack(8) shows, of one node and of many, and it holds no
//! table in memory.

use std::collections::BTreeSet;

use ctfleet::flow::{Family, Flow, Protocol};
use rustix::process::Signal;

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::client::{Client, objects};
use crate::harness::flows::{FAMILIES, flow, host, protocols, translated};
use crate::harness::witness::Row;

/// Every protocol of both families, with marks, and some that are translated.
fn seed(ns: &Netns) {
    for family in FAMILIES {
        for protocol in protocols(family) {
            let mut flow = flow(family, protocol, 4000);
            flow.mark = Some(protocol.0.into());
            ns.create(&[flow]);
        }
        for (port, source, destination) in [(1, true, false), (2, false, true), (3, true, true)] {
            let flow = flow(family, Protocol::UDP, 5000 + port);
            ns.create(&[translated(flow, source, destination)]);
        }
    }
}

fn many(count: u32) -> Vec<Flow> {
    let one = |n| {
        let mut flow = flow(Family::V4, Protocol::UDP, 1000);
        flow.orig.src = host(Family::V4, 1000 + n);
        flow.reply = flow.orig.inverse();
        flow
    };
    (0..count).map(one).collect()
}

/// The rows that the client lists, without what changes by itself.
fn listed(client: &Client, flags: &str) -> Vec<Row> {
    let out = client.run(&format!("list -o conntrack {flags}")).well();
    settled(out.lines().map(Row::parse).collect())
}

fn settled(mut rows: Vec<Row>) -> Vec<Row> {
    for row in &mut rows {
        row.timeout = None;
        row.use_count = None;
    }
    rows.sort();
    rows
}

#[test]
fn the_flags_of_conntrack_select_what_conntrack_selects() {
    let ns = Netns::new();
    seed(&ns);
    let agent = Agent::start(&ns);
    let client = Client::of([&agent]);
    let all = listed(&client, "");
    assert_eq!(all, settled(ns.witness("")));
    let v4 = flow(Family::V4, Protocol::UDP, 5001).orig;
    let to = host(Family::V4, 9);
    for flags in [
        "-p udp".to_owned(),
        "-p tcp --state ESTABLISHED".to_owned(),
        "-f ipv6".to_owned(),
        format!("-s {}", v4.src),
        format!("--orig-src {}/8 -d {}", v4.src, v4.dst),
        "-p udp --sport 4000".to_owned(),
        "-m 6".to_owned(),
        "-m 0x10/0x30".to_owned(),
        "-u SEEN_REPLY".to_owned(),
        "-f ipv4 -n".to_owned(),
        "-f ipv4 -g".to_owned(),
        "-f ipv4 -j".to_owned(),
        format!("-q {to}"),
    ] {
        let found = listed(&client, &flags);
        assert_eq!(found, settled(ns.witness(&flags)), "{flags}");
        assert!(
            !found.is_empty() && found.len() < all.len(),
            "{flags} selects a part"
        );
    }
}

#[test]
fn rows_of_many_nodes_say_theirs_and_one_that_is_down_spoils_nothing() {
    let (here, there) = (Netns::new(), Netns::new());
    here.create(&[flow(Family::V4, Protocol::UDP, 1)]);
    there.create(&[flow(Family::V6, Protocol::TCP, 2)]);
    let agents = [Agent::start(&here), Agent::start(&there)];
    let client = Client::of(&agents);
    let nodes = |out: &str| -> BTreeSet<(String, String)> {
        let node = |object: &serde_json::Value| {
            let text = |name: &str| object[name].as_str().expect("a text").to_owned();
            (text("node"), text("family"))
        };
        objects(out).iter().map(node).collect()
    };
    let expected = [("a", "ipv4"), ("b", "ipv6")].map(|(n, f)| (n.to_owned(), f.to_owned()));
    let all = client.run("list -o jsonl").well();
    assert_eq!(nodes(&all), BTreeSet::from(expected.clone()));

    let said = client
        .and("gone=unix:/nonexistent.sock")
        .run("list -o jsonl");
    assert_eq!(nodes(&said.out), BTreeSet::from(expected));
    let complaint = said.failed(1);
    assert!(
        complaint.contains("gone: there is no socket /nonexistent.sock"),
        "{complaint}"
    );
    assert!(complaint.contains("1 of 3 nodes failed"), "{complaint}");
    let none = Client::default().and("unix:/nonexistent.sock");
    assert!(none.run("list").failed(2).contains("start ctagent"));
}

#[test]
fn get_finds_a_flow_wherever_it_is() {
    let (here, there) = (Netns::new(), Netns::new());
    let wanted = flow(Family::V4, Protocol::UDP, 7);
    there.create(std::slice::from_ref(&wanted));
    let agents = [Agent::start(&here), Agent::start(&there)];
    let client = Client::of(&agents);
    let (sport, dport) = wanted.orig.ports().expect("ports");
    let (src, dst) = (wanted.orig.src, wanted.orig.dst);
    let found = client.run(&format!(
        "get -o jsonl -p udp -s {src} -d {dst} --sport {sport} --dport {dport}"
    ));
    let found = objects(&found.well());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["node"], "b");
    let by_id = client
        .run(&format!("get -o jsonl --id {}", found[0]["id"]))
        .well();
    assert_eq!(objects(&by_id)[0]["orig"], found[0]["orig"]);
    let none = client.run(&format!(
        "get -p udp -s {src} -d {dst} --sport {sport} --dport 1"
    ));
    assert!(none.failed(1).contains("no node has this flow"));
}

#[test]
fn small_answers_are_reports_in_every_format() {
    let ns = Netns::new();
    ns.create(&many(3));
    let agent = Agent::start(&ns);
    let client = Client::of([&agent]);
    let one = |line: &str| {
        let mut found = objects(&client.run(&format!("-o jsonl {line}")).well());
        assert_eq!(found.len(), 1, "{line}");
        found.remove(0)
    };
    assert_eq!(one("count")["count"], 3);
    assert_eq!(one("count dport 1")["scanned"], 3);
    assert_eq!(one("stats")["entries"], 3);
    assert!(one("expect stats")["max"].is_u64());
    assert_eq!(one("info")["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(one("settings get nf_conntrack_count")["value"], 3);
    let set = "settings set net.netfilter.nf_conntrack_generic_timeout=77";
    assert_eq!(one(set)["value"], 77);
    let path = "net/netfilter/nf_conntrack_generic_timeout";
    assert_eq!(ns.sysctl(path), "77");
    let namespaces = client.run("-o jsonl netns").well();
    assert!(objects(&namespaces).iter().any(|n| n["name"] == ns.name()));
    for format in ["table", "wide", "json"] {
        for line in ["count", "stats --per-cpu", "info", "netns", "settings get"] {
            let out = client.run(&format!("-o {format} {line}")).well();
            assert!(!out.is_empty(), "{format} {line}");
        }
    }
}

#[test]
fn another_namespace_is_read_by_its_name() {
    let (here, there) = (Netns::new(), Netns::new());
    there.create(&many(2));
    let agent = Agent::start_for_all(&here);
    let client = Client::of([&agent]);
    let list = format!("-N {} list -o conntrack", there.name());
    assert_eq!(client.run(&list).well().lines().count(), 2);
    let complaint = client.run("-N nowhere list").failed(2);
    assert!(complaint.contains("nowhere"), "{complaint}");
}

/// A table of this size as flows would be far above the bound.
#[test]
fn a_list_holds_no_table_in_memory_and_a_closed_pipe_is_success() {
    const FLOWS: u32 = 100_000;
    let ns = Netns::new();
    ns.create(&many(FLOWS));
    let agent = Agent::start(&ns);
    let mut list = Client::of([&agent]).start("list -o jsonl");
    for _ in 0..FLOWS - 10_000 {
        assert!(list.object()["node"].is_string());
    }
    let most = list.most_memory();
    assert!(most < 64 << 10, "{most} KiB");
    list.close().well();
}

#[test]
fn an_interrupted_list_ends_with_a_whole_line() {
    let ns = Netns::new();
    ns.create(&many(50_000));
    let agent = Agent::start(&ns);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut list = Client::of([&agent]).start("list -o jsonl");
        assert!(list.object()["node"].is_string());
        list.signal(signal);
        let said = list.rest();
        assert_eq!((said.code, &*said.err), (code, ""));
        assert!(objects(&said.out).len() < 49_999);
    }
}

#[test]
fn a_limit_is_one_of_all_nodes_together() {
    let (here, there) = (Netns::new(), Netns::new());
    here.create(&many(5));
    there.create(&many(5));
    let agents = [Agent::start(&here), Agent::start(&there)];
    let out = Client::of(&agents)
        .run("list -o conntrack --limit 7")
        .well();
    assert_eq!(out.lines().count(), 7);
}
