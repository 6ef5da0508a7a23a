//! What breaks in the middle: the agent, its callers, its memory for events, its disk, the
//! table. Whatever was acknowledged holds, nothing is lost in silence, and the rest goes on.

mod full_disk;
mod full_table;
mod killed_agent;
mod killed_callers;
mod lost_namespace;
mod storms;

use ctfleet::flow::{Family, Flow, L4, Protocol, Tuple};
use ctfleet::pb;
use ctfleet::pb::create_flows_request::Message;

use crate::harness::agent::Agent;
use crate::harness::flows::host;

/// The nth of the flows that these tests write: UDP, marked, and not to be given up when the
/// table is full.
fn flow(n: u32) -> Flow {
    let orig = Tuple {
        src: host(Family::V4, n),
        dst: host(Family::V4, 0x00ff_0001),
        protocol: Protocol::UDP,
        l4: L4::Ports { src: 1000, dst: 53 },
    };
    let mut flow = Flow::new(orig, orig.inverse());
    flow.timeout = Some(3000);
    flow.mark = Some(MARK);
    flow.status = Some(ctfleet::flow::Status::SEEN_REPLY | ctfleet::flow::Status::ASSURED);
    flow
}

/// The mark of all of them.
const MARK: u32 = 0x5eed;

/// The messages of a bulk creation, with so many flows in each.
fn creation(flows: &[Flow], each: usize) -> Vec<pb::CreateFlowsRequest> {
    let header = Message::Header(pb::CreateFlowsHeader {
        mode: pb::CreateMode::Create.into(),
        ..Default::default()
    });
    let batch = |flows: &[Flow]| {
        Message::Batch(pb::FlowBatch {
            flows: flows.iter().map(Into::into).collect(),
        })
    };
    let batches = flows.chunks(each).map(batch);
    std::iter::once(header)
        .chain(batches)
        .map(|message| pb::CreateFlowsRequest {
            message: Some(message),
        })
        .collect()
}

/// Writes the flows; the indexes of those that were not written, with their codes.
async fn create(agent: &Agent, flows: &[Flow]) -> Vec<(u64, tonic::Code, i32)> {
    let requests = tokio_stream::iter(creation(flows, 500));
    let answer = agent.flows().create_flows(requests).await;
    let mut accounts = answer.expect("accounts").into_inner();
    let (mut next, mut failures) = (0, Vec::new());
    while let Some(account) = accounts.message().await.expect("an account") {
        assert_eq!(account.first_index, next);
        next += account.count;
        let failed = account.failures.into_iter();
        failures.extend(failed.map(|item| (item.index, item.code.into(), item.errno)));
    }
    assert_eq!(next, flows.len() as u64);
    failures
}
