//! Watchers by the hundred that stop reading, and some that ask for much.

use std::net::{IpAddr, Ipv6Addr};

use ctfleet::flow::filter::AddressField;
use ctfleet::flow::{Family, Filter, Flow, Protocol};
use ctfleet::pb::flow_service_client::FlowServiceClient;
use ctfleet::pb::watch_flows_response::Message;
use ctfleet::pb::{GapSource, WatchFlowsRequest, WatchFlowsResponse};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tonic::{Code, Streaming};

use super::bystander::{Beside, MIB};
use super::peer::{
    DATA, ELSEWHERE, END_HEADERS, END_STREAM, HEADERS, SETTINGS, WINDOW_UPDATE, call, connect,
    frame, greeting, next, stream,
};
use super::plaintext;
use crate::harness::Netns;
use crate::harness::flows::{flow, host};

const WATCHERS: usize = 100;
const CREATED: u32 = 20_000;

/// Flows that differ in their source.
pub(super) fn many(count: u32) -> Vec<Flow> {
    (0..count)
        .map(|n| {
            let mut flow = flow(Family::V4, Protocol::UDP, 1000);
            flow.orig.src = host(Family::V4, 1000 + n);
            flow.reply = flow.orig.inverse();
            flow
        })
        .collect()
}

/// Creates so many, as fast as the witness hears of them.
async fn create(ns: &Netns, count: u32, witness: &mut Streaming<WatchFlowsResponse>) {
    for flows in many(count).chunks(50) {
        tokio::task::block_in_place(|| ns.create(flows));
        let mut seen = 0;
        while seen < flows.len() {
            let message = witness.message().await.expect("no error").expect("no end");
            match message.message {
                Some(Message::Events(events)) => seen += events.events.len(),
                Some(Message::Gap(gap)) => panic!("who reads misses nothing: {gap:?}"),
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_that_stop_reading_learn_exactly_what_they_missed() {
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &["--event-ring=2048", "--event-grace=0"]);
    let beside = Beside::plaintext("100 watchers that stop reading", &mut agent, &ns).await;
    let mut watches = Vec::new();
    // Some connections, as a fleet's controller would have; what one holds back must not hold
    // the others.
    let mut channels = Vec::new();
    for _ in 0..4 {
        let endpoint = Endpoint::from_static("http://agent")
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(16 << 20);
        let channel = agent.channel_over(endpoint, &ns).await;
        channels.push(channel.expect("a connection"));
    }
    for n in 0..WATCHERS {
        let mut client = FlowServiceClient::new(channels[n % 4].clone());
        let answer = client.watch_flows(WatchFlowsRequest::default()).await;
        let mut watch = answer.expect("a watch").into_inner();
        let first = watch.message().await.expect("no error").expect("a message");
        assert!(
            matches!(first.message, Some(Message::Subscribed(_))),
            "{first:?}"
        );
        watches.push(watch);
    }
    // Nobody reads but one, who tells that the agent has heard and handed out what there was:
    // nobody comes to lag behind by more than the ring before it has stopped.
    let witness = agent
        .flows()
        .watch_flows(WatchFlowsRequest::default())
        .await;
    let mut witness = witness.expect("a watch").into_inner();
    create(&ns, CREATED, &mut witness).await;
    drop(witness);
    let accounts: Vec<_> = watches
        .into_iter()
        .map(|watch| tokio::spawn(account(watch)))
        .collect();
    for account in accounts {
        let (received, gaps) = account.await.expect("an account");
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert_eq!(received + gaps[0], u64::from(CREATED));
    }
    drop(channels);
    beside.finish(64 * MIB).await;
}

/// Reads until nothing is missing: what was received, and the gaps.
async fn account(mut watch: Streaming<WatchFlowsResponse>) -> (u64, Vec<u64>) {
    let mut received = 0;
    let mut gaps = Vec::new();
    while received + gaps.iter().sum::<u64>() < CREATED.into() {
        let message = watch.message().await.expect("no error").expect("no end");
        match message.message.expect("something") {
            Message::Events(events) => received += events.events.len() as u64,
            Message::Gap(gap) => {
                assert_eq!(gap.source(), GapSource::Subscriber);
                gaps.push(gap.lost);
            }
            other => panic!("{other:?}"),
        }
    }
    (received, gaps)
}

/// Opens so many watches over a connection, with windows for all that could ever come, and reads
/// until each of them has begun.
async fn open(peer: &mut TcpStream, count: u32) {
    let mut bytes = greeting();
    bytes.extend(frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    bytes.extend(frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0, 0]));
    for n in 0..count {
        let path = "/ctfleet.v1.FlowService/WatchFlows";
        bytes.extend(frame(HEADERS, END_HEADERS, stream(n), &call(path)));
        bytes.extend(frame(DATA, END_STREAM, stream(n), &[0; 5]));
    }
    peer.write_all(&bytes).await.expect("sent");
    let mut begun = 0;
    while begun < count {
        let answer = next(peer).await.expect("no end");
        begun += u32::from(answer.kind == DATA);
    }
}

/// Their windows hold back nothing, and what is made for them must not lie in the memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_with_endless_windows_do_not_fill_the_memory() {
    const CONNECTIONS: usize = 4;
    const SHARE: u32 = 192;
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &["--event-ring=2048", "--event-grace=0"]);
    let (pid, channel) = (agent.process().id(), agent.channel());
    let beside = Beside::start("192 watchers with endless windows", pid, channel).await;
    let mut peers = connect(&agent, &ns, &[ELSEWHERE; CONNECTIONS]);
    for peer in &mut peers {
        open(peer, SHARE / CONNECTIONS as u32).await;
    }
    let witness = agent
        .flows()
        .watch_flows(WatchFlowsRequest::default())
        .await;
    let mut witness = witness.expect("another caller's watch").into_inner();
    create(&ns, 8000, &mut witness).await;
    drop((peers, witness));
    beside.finish(64 * MIB).await;
}

/// Each watch keeps its filter, and holds it against every event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_with_large_filters_are_few_and_hold_up_nobody() {
    const NETWORKS: u32 = 65_536;
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &["--event-grace=0"]);
    let beside = Beside::plaintext("watches of 65,536 networks", &mut agent, &ns).await;
    // All apart, and every event is held against all of them.
    let network = |n: u32| IpAddr::V6(Ipv6Addr::from(u128::from(n) << 8));
    let filter = Filter::address(AddressField::Any, (0..NETWORKS).map(network));
    let request = WatchFlowsRequest {
        filter: Some((&filter).into()),
        ..Default::default()
    };
    let mut client = agent.flows();
    let mut held = Vec::new();
    let refused = loop {
        match client.watch_flows(request.clone()).await {
            Ok(watch) => held.push(watch.into_inner()),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    // 192 places are a caller's, and such a watch takes 33.
    assert_eq!(held.len(), 5, "{refused:?}");
    let mut others = FlowServiceClient::new(agent.channel_from(&ns).await);
    let witness = others.watch_flows(WatchFlowsRequest::default()).await;
    let mut witness = witness.expect("another caller's watch").into_inner();
    create(&ns, CREATED, &mut witness).await;
    drop((held, witness, client, others));
    beside.finish(64 * MIB).await;
}
