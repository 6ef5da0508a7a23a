//! Events through `ctctl`: in their order, after the snapshot, from all nodes, and again
//! after an agent was lost.

use ctfleet::flow::{Family, Protocol};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::client::{Client, Running};
use crate::harness::flows::flow;

/// What an object says: its event and the source port.
fn gist(object: &Value) -> (String, u64) {
    let text = |name: &str| object[name].as_str().map(str::to_owned);
    let what = text("event")
        .or_else(|| text("notice"))
        .expect("an event or a notice");
    (what, object["orig"]["sport"].as_u64().unwrap_or(0))
}

/// A watch that is live.
fn watch(client: &Client, flags: &str) -> Running {
    let mut watch = client.start(&format!("watch -o jsonl {flags}"));
    assert_eq!(gist(&watch.object()).0, "SUBSCRIBED");
    watch
}

#[test]
fn a_watch_shows_what_happens_and_ends_well_when_interrupted() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let client = Client::of([&agent]);
    let mut watch = watch(&client, "sport 7");
    ns.create(&[
        flow(Family::V4, Protocol::UDP, 6),
        flow(Family::V4, Protocol::UDP, 7),
    ]);
    assert_eq!(gist(&watch.object()), ("NEW".into(), 7));
    client.run("update sport 7 --set-mark 5 --yes").well();
    assert_eq!(gist(&watch.object()), ("UPDATE".into(), 7));
    client.run("delete sport 7 --yes").well();
    assert_eq!(gist(&watch.object()), ("DESTROY".into(), 7));
    watch.signal(Signal::INT);
    assert_eq!(watch.rest().well(), "");
}

#[test]
fn the_snapshot_comes_first_and_a_count_ends_the_watch() {
    let ns = Netns::new();
    ns.create(&[flow(Family::V4, Protocol::UDP, 1)]);
    let agent = Agent::start(&ns);
    let client = Client::of([&agent]);
    let mut watch = watch(&client, "--snapshot --event new --count 2");
    let mut before = Vec::new();
    loop {
        let object = watch.object();
        match gist(&object).0.as_str() {
            "SNAPSHOT_END" => break,
            _ => before.push(object),
        }
    }
    assert!(
        before.iter().any(|object| object["orig"]["sport"] == 1),
        "{before:?}"
    );
    for port in [2, 3, 4] {
        ns.create(&[flow(Family::V4, Protocol::UDP, port)]);
    }
    assert_eq!(gist(&watch.object()), ("NEW".into(), 2));
    assert_eq!(gist(&watch.object()), ("NEW".into(), 3));
    assert_eq!(watch.rest().well(), "");
}

#[test]
fn a_node_that_stops_leaves_the_watch_of_the_others() {
    let (here, there) = (Netns::new(), Netns::new());
    let agents = [Agent::start(&here), Agent::start(&there)];
    let client = Client::of(&agents);
    let mut watch = client.start("watch -o jsonl");
    assert_eq!(
        [gist(&watch.object()).0, gist(&watch.object()).0],
        ["SUBSCRIBED"; 2]
    );
    let [mut here_agent, there_agent] = agents;
    here_agent.terminate();
    here_agent.process().wait();
    there.create(&[flow(Family::V6, Protocol::UDP, 9)]);
    let event = watch.object();
    assert_eq!(
        (gist(&event), &event["node"]),
        (("NEW".into(), 9), &"b".into())
    );
    drop(there_agent);
    let said = watch.rest();
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("a: "), "{}", said.err);
    assert!(said.err.contains("b: "), "{}", said.err);
}
