//! The agent is killed in the middle of bulk creations and deletions. What it acknowledged is
//! there, every entry is there as a whole or not at all, the audit log says what was begun,
//! and to try again is harmless.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use ctfleet::flow::filter::NumberField;
use ctfleet::flow::{Flow, Tuple};
use ctfleet::pb::delete_flows_request::Target;
use ctfleet::pb::{self, ChangeSummary};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tonic::{Code, Status};

use super::{MARK, create, creation, flow};
use crate::harness::agent::Agent;
use crate::harness::filters::is;
use crate::harness::{Netns, until};

/// Flows of each bulk write, and how many in a message.
const FLOWS: u32 = 1500;
const EACH: usize = 100;

/// How often an agent is killed, half of the times in a creation: 20, or CTFLEET_KILLS.
fn kills() -> u32 {
    match std::env::var("CTFLEET_KILLS") {
        Ok(number) => number.parse().expect("a number"),
        Err(_) => 20,
    }
}

/// The table: whatever is in it was written whole.
fn table(ns: &Netns, flows: &HashMap<Tuple, &Flow>) -> HashSet<Tuple> {
    let found = ns.flows(None);
    assert_eq!(ns.entries(), found.len() as u64);
    let whole = |found: &Flow| {
        let sent = flows.get(&found.orig).expect("a flow that was sent");
        assert_eq!(found.mark, sent.mark, "{found:?}");
        assert_eq!(found.reply, sent.reply, "{found:?}");
        let status = sent.status.expect("a status");
        assert!(
            found.status.is_some_and(|found| found.contains(status)),
            "{found:?}"
        );
        assert!(
            found.timeout > sent.timeout.map(|sent| sent / 2),
            "{found:?}"
        );
        found.orig
    };
    found.iter().map(whole).collect()
}

/// Creates them, and kills the agent when it has accounted for so many. How many it
/// accounted for in the end.
async fn create_and_kill(agent: &mut Agent, flows: &[Flow], kill_after: u64) -> u64 {
    let requests = tokio_stream::iter(creation(flows, EACH));
    let answer = agent.flows().create_flows(requests).await;
    let mut accounts = answer.expect("a stream").into_inner();
    let (mut accounted, mut killed) = (0, false);
    loop {
        if accounted >= kill_after && !killed {
            agent.process().signal(Signal::KILL);
            killed = true;
        }
        match accounts.message().await {
            Ok(Some(account)) => {
                assert!(account.failures.is_empty(), "{account:?}");
                accounted += account.count;
            }
            Ok(None) | Err(_) => break,
        }
    }
    assert!(killed);
    agent.process().wait();
    accounted
}

async fn delete(agent: &Agent) -> Result<ChangeSummary, Status> {
    let filter = is(NumberField::Mark, MARK.into());
    let request = pb::DeleteFlowsRequest {
        target: Some(Target::Filter((&filter).into())),
        ..Default::default()
    };
    let answer = agent.flows().delete_flows(request).await?;
    Ok(answer.into_inner().summary.expect("a summary"))
}

fn entries(ns: &Netns) -> u64 {
    let count = ns.sysctl("net/netfilter/nf_conntrack_count");
    count.parse().expect("a number")
}

/// Deletes all of them, and kills the agent when so many are gone. The answer, if it came
/// before that.
async fn delete_and_kill(agent: &mut Agent, ns: &Netns, kill_after: u64) -> Option<u64> {
    let all = entries(ns);
    let asked = {
        let mut client = agent.flows();
        let filter = is(NumberField::Mark, MARK.into());
        let request = pb::DeleteFlowsRequest {
            target: Some(Target::Filter((&filter).into())),
            ..Default::default()
        };
        tokio::spawn(async move { client.delete_flows(request).await })
    };
    until("deletions", || {
        (entries(ns) + kill_after <= all).then_some(())
    });
    agent.process().signal(Signal::KILL);
    agent.process().wait();
    let answer = asked.await.expect("no panic").ok()?;
    Some(answer.into_inner().summary.expect("a summary").changed)
}

/// Calls of this method that the audit log says were begun.
fn intents(log: &Path, method: &str) -> usize {
    let text = std::fs::read_to_string(log).expect("the audit log");
    let lines = text.lines().map(|line| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    let begun = lines.filter(|line| line["event"] == "intent");
    let of = |line: &Value| {
        line["rpc"]
            .as_str()
            .is_some_and(|rpc| rpc.ends_with(method))
    };
    begun.filter(of).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_agent_and_the_rest_can_be_tried_again() {
    let ns = Netns::new();
    let flows: Vec<_> = (0..FLOWS).map(flow).collect();
    let by_tuple: HashMap<_, _> = flows.iter().map(|flow| (flow.orig, flow)).collect();
    let directory = TempDir::new().expect("a directory");
    let log = directory.path().join("audit.log");
    let flag = format!("--audit-log=file:{}", log.display());
    let start = || Agent::start_with(&ns, &[&flag]);
    let mut agent = start();
    // So that not every round is one that ended before the agent did.
    let (mut unfinished, mut undeleted) = (0, 0);
    for round in 0..kills() / 2 {
        let begun = intents(&log, "CreateFlows");
        let accounted = create_and_kill(&mut agent, &flows, u64::from(round * 7 % 15) * 100).await;
        let there = table(&ns, &by_tuple);
        for flow in &flows[..accounted as usize] {
            assert!(
                there.contains(&flow.orig),
                "{accounted} were acknowledged: {flow:?}"
            );
        }
        if !there.is_empty() {
            assert_eq!(intents(&log, "CreateFlows"), begun + 1);
        }
        unfinished += u32::from(there.len() < flows.len());

        agent = start();
        let again = create(&agent, &flows).await;
        let exists: HashSet<_> = again
            .iter()
            .map(|(index, code, _)| {
                assert_eq!(*code, Code::AlreadyExists);
                flows[*index as usize].orig
            })
            .collect();
        assert_eq!(exists, there, "those that were there, and no others");
        assert_eq!(table(&ns, &by_tuple).len(), flows.len());

        let begun = intents(&log, "DeleteFlows");
        let answer = delete_and_kill(&mut agent, &ns, u64::from(1 + round * 131 % 1000)).await;
        let left = table(&ns, &by_tuple).len() as u64;
        if let Some(changed) = answer {
            assert_eq!((changed, left), (FLOWS.into(), 0), "it was acknowledged");
        }
        assert_eq!(intents(&log, "DeleteFlows"), begun + 1);
        undeleted += u32::from(left > 0);

        agent = start();
        let summary = delete(&agent).await.expect("deleted");
        assert_eq!((summary.matched, summary.changed), (left, left));
        assert_eq!(ns.entries(), 0);
    }
    assert!(unfinished > 0, "no creation was interrupted");
    assert!(undeleted > 0, "no deletion was interrupted");
}
