//! Callers are killed in the middle of a call: their places and descriptors come back.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use ctfleet::flow::Family;
use ctfleet::pb;
use tempfile::NamedTempFile;

use super::flow;
use crate::harness::agent::Agent;
use crate::harness::flows::host;
use crate::harness::{Netns, until};

const CTCTL: &str = env!("CARGO_BIN_EXE_ctctl");

/// More than pipes and windows between the agent and a reader can hold.
const FLOWS: u32 = 40_000;
/// The places of each kind, which a caller that is not gone would hold.
const PLACES: usize = 2;
const ROUNDS: u32 = 3;

/// A client that runs until it is killed.
struct Caller(Child);

impl Caller {
    fn start(agent: &Agent, words: &[&str]) -> Self {
        let mut command = Command::new(CTCTL);
        command
            .args(["-t", &agent.target()])
            .args(words)
            .stdin(Stdio::null())
            // Nobody reads it.
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Self(command.spawn().expect("ctctl"))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // SIGKILL.
        self.0.kill().expect("it runs");
        self.0.wait().expect("our own child");
    }
}

/// A file of more flows than can be written before somebody looks, others in each round.
fn saved(round: u32) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    let line = |n: u32| {
        let source = host(Family::V4, (1 + round) << 20 | n);
        format!(
            "-A -t 600 -u SEEN_REPLY,ASSURED -s {source} -d 10.255.0.1 -p udp --sport 7 --dport 53\n"
        )
    };
    let lines: String = (0..FLOWS).map(line).collect();
    file.write_all(lines.as_bytes()).expect("written");
    file
}

fn descriptors(process: u32) -> usize {
    let listed = std::fs::read_dir(format!("/proc/{process}/fd"));
    listed.expect("it runs").count()
}

/// Netlink sockets of the agent: each dump, listener and bulk write has one.
fn sockets(ns: &Netns) -> usize {
    let rows = ns.proc_net("netlink");
    let ours =
        |row: &&std::collections::BTreeMap<String, String>| row["Eth"] == "12" && row["Pid"] != "0";
    rows.iter().filter(ours).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_killed_callers_held_is_free_again() {
    let ns = Netns::new();
    ns.create(&(0..FLOWS).map(flow).collect::<Vec<_>>());
    let flags = [
        "--max-dumps=2",
        "--max-watchers=2",
        "--max-changes=2",
        "--event-grace=0",
    ];
    let mut agent = Agent::start_with(&ns, &flags);
    let process = agent.process().id();
    agent.process().wait_for("agent: ready");
    let info = agent.agent().get_info(pb::GetInfoRequest {}).await;
    info.expect("info");
    until("the agent at rest", || (sockets(&ns) == 0).then_some(()));
    let base = descriptors(process);
    for round in 0..ROUNDS {
        let dumps: Vec<_> = (0..PLACES)
            .map(|_| Caller::start(&agent, &["-o", "jsonl", "list"]))
            .collect();
        until("the dumps", || (sockets(&ns) == PLACES).then_some(()));
        drop(dumps);
        until("the dumps to end", || (sockets(&ns) == 0).then_some(()));

        let watches: Vec<_> = (0..PLACES)
            .map(|_| Caller::start(&agent, &["-o", "jsonl", "watch"]))
            .collect();
        // They share a listener.
        until("a watch", || (sockets(&ns) == 1).then_some(()));
        drop(watches);
        until("the watches to end", || (sockets(&ns) == 0).then_some(()));

        let entries = ns.entries();
        let file = saved(round);
        let path = file.path().to_str().expect("UTF-8");
        let writers: Vec<_> = (0..PLACES)
            .map(|_| Caller::start(&agent, &["create", "--mode", "upsert", "--file", path]))
            .collect();
        until("the bulk writes", || (ns.entries() > entries).then_some(()));
        drop(writers);
        until("the bulk writes to end", || {
            (sockets(&ns) == 0).then_some(())
        });
        until("the descriptors", || {
            (descriptors(process) <= base).then_some(())
        });
    }
    // Every place can be had again.
    let mut held = Vec::new();
    for _ in 0..PLACES {
        let request = pb::WatchFlowsRequest::default();
        let watch = agent.flows().watch_flows(request).await;
        let request = pb::DumpFlowsRequest::default();
        let dump = agent.flows_unread().dump_flows(request).await;
        held.push((watch.expect("a watch"), dump.expect("a dump")));
    }
    assert_eq!(agent.process().ended(), None);
}
