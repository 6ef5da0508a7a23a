//! What a call holds, and that it lets go of it.

use ctfleet::ctnetlink::{Batch, CreateMode, Namespace};
use ctfleet::flow::{Family, Flow, L4, Protocol, Tuple};
use ctfleet::pb;
use tonic::Streaming;

use crate::harness::agent::Agent;
use crate::harness::flows::host;
use crate::harness::{Netns, until};

/// Several times what HTTP/2's windows and the agent's channel can take.
const FLOWS: u32 = 60_000;

fn fill(ns: &Netns) {
    let namespace = Namespace::named(ns.name()).expect("a name");
    let mut batch = Batch::open(&namespace).expect("a socket");
    for n in 0..FLOWS {
        let orig = Tuple {
            src: host(Family::V4, n),
            dst: host(Family::V4, FLOWS + 1),
            protocol: Protocol::UDP,
            l4: L4::Ports { src: 1000, dst: 53 },
        };
        let mut flow = Flow::new(orig, orig.inverse());
        flow.timeout = Some(600);
        batch.create(&flow, CreateMode::Create).expect("a request");
        if batch.is_full() || n + 1 == FLOWS {
            assert_eq!(batch.commit().expect("an answer").failures, []);
        }
    }
}

/// Netlink sockets of this namespace whose dump the kernel holds.
fn dumps_held(ns: &Netns) -> usize {
    ns.proc_net("netlink")
        .iter()
        .filter(|row| row["Eth"] == "12" && row["Dump"] != "0")
        .count()
}

/// Descriptors that the agent has open.
fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("our own child")
        .count()
}

async fn begin(agent: &Agent) -> Streaming<pb::DumpFlowsResponse> {
    let mut stream = agent
        .flows()
        .dump_flows(pb::DumpFlowsRequest::default())
        .await
        .expect("a stream")
        .into_inner();
    let first = stream.message().await.expect("a chunk");
    assert!(first.is_some_and(|first| first.summary.is_none()));
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stalls_holds_the_kernels_dump_and_no_memory() {
    let ns = Netns::new();
    fill(&ns);
    let mut agent = Agent::start(&ns);
    let pid = agent.process().id();
    let before = descriptors(pid);

    let stalled = begin(&agent).await;
    // The agent has stopped reading in the middle: the table waits in the kernel.
    until("the kernel to hold the dump", || {
        (dumps_held(&ns) == 1).then_some(())
    });
    // Others are served meanwhile.
    let count = agent
        .flows()
        .count_flows(pb::CountFlowsRequest::default())
        .await
        .expect("a count");
    assert_eq!(count.into_inner().count, u64::from(FLOWS));

    drop(stalled);
    until("the kernel to let go of the dump", || {
        (dumps_held(&ns) == 0).then_some(())
    });
    until("the agent to close what it opened", || {
        (descriptors(pid) <= before).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_leave_in_mid_dump_leave_nothing_behind() {
    let ns = Netns::new();
    fill(&ns);
    let mut agent = Agent::start(&ns);
    let pid = agent.process().id();
    let before = descriptors(pid);
    for _ in 0..20 {
        drop(begin(&agent).await);
    }
    until("the agent to close what it opened", || {
        (descriptors(pid) <= before && dumps_held(&ns) == 0).then_some(())
    });
}
