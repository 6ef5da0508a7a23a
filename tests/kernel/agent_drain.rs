//! An agent that is told to stop in the middle of things: every stream ends with a clear
//! status, within the deadline, and what was reported as done is done.

use std::time::{Duration, Instant};

use ctfleet::flow::filter::NumberField;
use ctfleet::flow::{Family, Flow, Protocol};
use ctfleet::pb;
use ctfleet::pb::create_flows_request::Message;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::filters::is;
use crate::harness::flows::{flow, host};

/// Flows that differ in their source.
fn many(count: u32) -> Vec<Flow> {
    (0..count)
        .map(|n| {
            let mut flow = flow(Family::V4, Protocol::UDP, 1000);
            flow.orig.src = host(Family::V4, 1000 + n);
            flow.reply = flow.orig.inverse();
            flow
        })
        .collect()
}

fn assert_stopping(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(status.message(), "agent is stopping");
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!((&*info.domain, &*info.reason), ("ctfleet", "STOPPING"));
}

#[tokio::test]
async fn a_dump_ends_with_unavailable_and_the_agent_with_success() {
    let ns = Netns::new();
    // Far more than fits on the way to a client that does not read it.
    ns.create(&many(20_000));
    let mut agent = Agent::start(&ns);
    let answer = agent
        .flows_unread()
        .dump_flows(pb::DumpFlowsRequest::default())
        .await;
    let mut stream = answer.expect("a stream").into_inner();
    let first = stream.message().await.expect("no error").expect("a chunk");
    assert!(!first.flows.is_empty());

    agent.terminate();
    let end = loop {
        match stream.message().await {
            Ok(Some(message)) => assert_eq!(message.summary, None),
            Ok(None) => panic!("an end without a status"),
            Err(status) => break status,
        }
    };
    assert_stopping(&end);
    assert!(agent.wait().await.success(), "{}", agent.said());
    assert!(agent.said().contains("stopped"), "{}", agent.said());
    assert!(!agent.socket().exists());
}

#[tokio::test]
async fn a_reader_that_stalls_does_not_outlast_the_deadline() {
    let ns = Netns::new();
    ns.create(&many(20_000));
    let mut agent = Agent::start_with(&ns, &["--drain-timeout=1"]);
    let mut client = agent.flows_unread();
    let mut stream = client
        .dump_flows(pb::DumpFlowsRequest::default())
        .await
        .expect("a stream")
        .into_inner();
    stream.message().await.expect("no error").expect("a chunk");
    let begun = Instant::now();
    agent.terminate();
    assert!(agent.wait().await.success());
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_bulk_create_ends_with_the_account_of_what_was_written() {
    let ns = Netns::new();
    let mut agent = Agent::start(&ns);
    let flows: Vec<pb::Flow> = many(60_000).iter().map(Into::into).collect();
    let header = pb::CreateFlowsHeader::default();
    let batches: Vec<_> = flows.chunks(500).map(<[_]>::to_vec).collect();
    // It never ends by itself: only the agent can end the call.
    let requests = futures::stream::iter(
        std::iter::once(Message::Header(header)).chain(
            batches
                .into_iter()
                .map(|flows| Message::Batch(pb::FlowBatch { flows })),
        ),
    );
    let requests = futures::StreamExt::map(requests, |message| pb::CreateFlowsRequest {
        message: Some(message),
    });
    let requests = futures::StreamExt::chain(requests, futures::stream::pending());
    let answer = agent.flows().create_flows(requests).await;
    let mut accounts = answer.expect("a stream").into_inner();
    let mut accounted = 0;
    let mut terminated = false;
    let end = loop {
        match accounts.message().await {
            Ok(Some(account)) => {
                assert_eq!(account.first_index, accounted);
                assert_eq!(account.failures, []);
                accounted += account.count;
                if !terminated {
                    agent.terminate();
                    terminated = true;
                }
            }
            Ok(None) => panic!("an end without a status"),
            Err(status) => break status,
        }
    };
    assert_stopping(&end);
    let info = end.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.metadata["accounted"], accounted.to_string());
    assert!(agent.wait().await.success());
    // Neither more nor less than what was told.
    assert_eq!(ns.entries(), accounted);
}

/// Whether the signal comes before its end or after, the account is true.
#[tokio::test]
async fn a_deletion_that_is_cut_short_tells_what_it_did() {
    const COUNT: u64 = 100_000;
    let ns = Netns::new();
    ns.create(&many(COUNT as u32));
    let mut agent = Agent::start(&ns);
    let mut client = agent.flows();
    let request = pb::DeleteFlowsRequest {
        target: Some(pb::delete_flows_request::Target::Filter(
            (&is(NumberField::Protocol, 17)).into(),
        )),
        ..Default::default()
    };
    let deletion = tokio::spawn(async move { client.delete_flows(request).await });
    // The first are gone: it is under way.
    while ns.entries() == COUNT && !deletion.is_finished() {
        tokio::task::yield_now().await;
    }
    agent.terminate();
    let changed = match deletion.await.expect("no panic") {
        Ok(answer) => answer.into_inner().summary.expect("a summary").changed,
        Err(status) => {
            assert_stopping(&status);
            let info = status.get_details_error_info().expect("an ErrorInfo");
            info.metadata["changed"].parse().expect("a number")
        }
    };
    assert!(agent.wait().await.success());
    assert_eq!(ns.entries() + changed, COUNT);
}

#[tokio::test]
async fn those_who_watch_the_health_are_told_and_let_go() {
    let ns = Netns::new();
    let mut agent = Agent::start(&ns);
    let mut health = HealthClient::new(agent.channel());
    let request = HealthCheckRequest::default();
    let mut watch = health.watch(request).await.expect("a stream").into_inner();
    let mut next = async || watch.message().await.expect("no error");
    let status = next().await.expect("a status").status();
    assert_eq!(status, ServingStatus::Serving);
    agent.terminate();
    let status = next().await.expect("a status").status();
    assert_eq!(status, ServingStatus::NotServing);
    assert_eq!(next().await, None);
    assert!(agent.wait().await.success());
    assert!(agent.said().contains("stopped"), "{}", agent.said());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let ns = Netns::new();
    ns.create(&many(20_000));
    let mut agent = Agent::start_with(&ns, &["--drain-timeout=3600"]);
    let mut client = agent.flows_unread();
    let mut stream = client
        .dump_flows(pb::DumpFlowsRequest::default())
        .await
        .expect("a stream")
        .into_inner();
    stream.message().await.expect("no error").expect("a chunk");
    agent.terminate();
    crate::harness::until("the drain", || {
        agent.said().contains("stopping").then_some(())
    });
    agent.terminate();
    assert!(agent.wait().await.success());
}
