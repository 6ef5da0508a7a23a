//! Streams that write, and whose clients fall silent.

use std::process::Command;

use ctfleet::pb::agent_service_client::AgentServiceClient;
use ctfleet::pb::create_flows_request::Message;
use ctfleet::pb::flow_service_client::FlowServiceClient;
use ctfleet::pb::{CreateFlowsHeader, CreateFlowsRequest, FlowBatch, GetInfoRequest};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::PLAINTEXT;
use super::bystander::{Beside, MIB, descriptors};
use super::watchers::many;
use crate::harness::Netns;
use crate::harness::agent::{Agent, CTAGENT};

/// A caller's share.
const WRITERS: usize = 24;

fn request(message: Message) -> CreateFlowsRequest {
    CreateFlowsRequest {
        message: Some(message),
    }
}

/// The agent may have as few descriptors as it gets by with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_fall_silent_hold_no_descriptor() {
    let ns = Netns::new();
    let mut command = Command::new("prlimit");
    command.args(["--nofile=64:64", CTAGENT]).args(PLAINTEXT);
    let mut agent = Agent::start_as(&ns, &mut command);
    let pid = agent.process().id();
    let beside = Beside::plaintext("silent writers", &mut agent, &ns).await;
    let channel = agent.channel_from(&ns).await;
    let mut client = FlowServiceClient::new(channel.clone());
    let before = descriptors(pid);
    let mut held = Vec::new();
    for (n, flow) in many(WRITERS as u32).iter().enumerate() {
        let (sender, requests) = mpsc::unbounded_channel();
        let header = Message::Header(CreateFlowsHeader::default());
        sender.send(request(header)).expect("a stream");
        let requests = UnboundedReceiverStream::new(requests).boxed();
        let answer = client.create_flows(requests).await;
        let mut accounts = answer.expect("a stream").into_inner();
        // Some have written before.
        if n % 2 == 0 {
            let flows = vec![flow.into()];
            let batch = Message::Batch(FlowBatch { flows });
            sender.send(request(batch)).expect("a stream");
            let account = accounts.message().await.expect("no error");
            assert_eq!(account.expect("an account").failures, []);
        }
        held.push((sender, accounts));
    }
    assert_eq!(ns.entries(), WRITERS as u64 / 2);
    // The other caller's sockets come and go.
    let more = descriptors(pid).saturating_sub(before);
    assert!(more < 5, "{more} descriptors more for {WRITERS} streams");
    let mut other = AgentServiceClient::new(agent.channel_from(&ns).await);
    other.get_info(GetInfoRequest {}).await.expect("an answer");
    drop((held, client, channel, other));
    beside.finish(16 * MIB).await;
}
