//! More connections than there are places, and more than there are descriptors.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use ctfleet::pb::GetInfoRequest;
use ctfleet::pb::agent_service_client::AgentServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::bystander::{Beside, MIB};
use super::peer::{ELSEWHERE, addresses, connect, greeting, next};
use super::{PLAINTEXT, plaintext};
use crate::harness::agent::{Agent, CTAGENT};
use crate::harness::{Netns, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peer_cannot_have_all_places() {
    let ns = Netns::new();
    let mut agent = plaintext(
        &ns,
        &["--max-connections=40", "--max-connections-per-peer=10"],
    );
    let beside = Beside::plaintext("200 of one peer", &mut agent, &ns).await;
    let peers = connect(&agent, &ns, &[ELSEWHERE; 200]);
    let ends = peers.into_iter().map(|mut peer| async move {
        let begun = std::time::Instant::now();
        let _ = peer.read_to_end(&mut Vec::new()).await;
        begun.elapsed() < Duration::from_secs(3)
    });
    // While those wait that came in, others do.
    agent.channel_from(&ns).await;
    let at_once = futures::future::join_all(ends).await;
    let at_once = at_once.into_iter().filter(|at_once| *at_once).count();
    assert_eq!(at_once, 190);
    let words = "too many connections of one peer";
    until(words, || agent.said().contains(words).then_some(()));
    beside.finish(8 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_unix_socket_is_open_when_the_network_has_taken_all_it_can() {
    let ns = Netns::new();
    let agent = plaintext(&ns, &["--max-connections=16", "--first-frame-timeout=60"]);
    let held = connect(&agent, &ns, &addresses(20, 1));
    until("the places to be taken", || {
        (agent_connections(&agent, &ns) >= 14).then_some(())
    });
    let mut client = AgentServiceClient::new(agent.channel());
    client.get_info(GetInfoRequest {}).await.expect("an answer");
    drop(held);
    agent.channel_from(&ns).await;
}

/// TCP connections of the agent that are established, as the kernel knows them.
fn agent_connections(agent: &Agent, ns: &Netns) -> usize {
    let port = format!(":{:04X}", agent.tcp_address().port());
    let rows = ns.proc_net("tcp");
    let established = rows.iter().filter(|row| row["st"] == "01");
    established
        .filter(|row| row["local_address"].ends_with(&port))
        .count()
}

/// What a process has used of the processor, in clock ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .collect();
    let number = |at: usize| fields[at].parse::<u64>().expect("a number");
    number(11) + number(12)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_the_agent_waits_and_then_serves() {
    let ns = Netns::new();
    let mut command = Command::new("prlimit");
    command.args(["--nofile=64:64", CTAGENT]).args(PLAINTEXT);
    // Longer than the test, so that only the attackers let go.
    command.arg("--first-frame-timeout=600");
    let mut agent = Agent::start_as(&ns, &mut command);
    let pid = agent.process().id();
    let beside = Beside::plaintext("64 descriptors, 150 connections", &mut agent, &ns).await;
    let info = AgentServiceClient::new(agent.channel())
        .get_info(GetInfoRequest {})
        .await;
    let limits = info.expect("an answer").into_inner().limits;
    let limit = |name: &str| {
        limits
            .iter()
            .find(|limit| limit.name == name)
            .expect("told")
            .value
    };
    assert_eq!(
        (limit("max-connections"), limit("max-connections-per-peer")),
        (32, 16)
    );

    let attackers = connect(&agent, &ns, &addresses(15, 10));
    // One more that behaves, and waits in the queue behind them.
    let mut waiting = connect(&agent, &ns, &[Ipv4Addr::LOCALHOST])
        .pop()
        .expect("one");
    waiting.write_all(&greeting()).await.expect("sent");
    // The calls of the bystander are no part of what waiting costs.
    beside.pause(true);
    let idle = async {
        let before = ticks(pid);
        tokio::time::sleep(Duration::from_secs(2)).await;
        ticks(pid) - before
    };
    let waited = tokio::time::timeout(Duration::from_secs(3), next(&mut waiting));
    let (used, early) = tokio::join!(idle, waited);
    beside.pause(false);
    assert!(early.is_err(), "there was a place");
    assert!(used < 10, "{used} ticks of 200");
    println!("64 descriptors: {used} ticks of 200 with 150 connections");

    let released = std::time::Instant::now();
    drop(attackers);
    next(&mut waiting).await.expect("served");
    let took = released.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    println!("64 descriptors: served {took:.1?} after the release");
    drop(waiting);
    assert!(!agent.said().contains("cannot accept"), "{}", agent.said());
    beside.finish(8 * MIB).await;
}
