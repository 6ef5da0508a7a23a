//! A namespace is deleted under a watch, and another is not.

use std::process::Command;
use std::time::{Duration, Instant};

use ctfleet::pb::watch_flows_response::Message;
use ctfleet::pb::{self, WatchFlowsRequest};
use tokio::time::timeout;
use tonic::{Code, Streaming};
use tonic_types::StatusExt as _;

use super::flow;
use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::netns::check;

async fn watch(agent: &Agent, netns: &str) -> Streaming<pb::WatchFlowsResponse> {
    let request = WatchFlowsRequest {
        network_namespace: netns.to_owned(),
        ..Default::default()
    };
    let stream = agent.flows().watch_flows(request).await.expect("a watch");
    let mut stream = stream.into_inner();
    let first = stream
        .message()
        .await
        .expect("a stream")
        .expect("a message");
    assert!(matches!(first.message, Some(Message::Subscribed(_))));
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watch_of_a_deleted_namespace_ends_within_a_second_and_no_other() {
    let (home, kept) = (Netns::new(), Netns::new());
    // Made by hand: the harness deletes what it made.
    let name = format!("{}-lost", home.name());
    check(Command::new("ip").args(["netns", "add", &name]));
    let agent = Agent::start_for_all(&home);
    let mut lost = watch(&agent, &name).await;
    let mut others = [watch(&agent, kept.name()).await, watch(&agent, "").await];

    let deleted = Instant::now();
    check(Command::new("ip").args(["netns", "del", &name]));
    let end = timeout(Duration::from_secs(10), lost.message()).await;
    let status = end.expect("an end").expect_err("an error");
    let took = deleted.elapsed();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let reason = status.get_details_error_info().map(|info| info.reason);
    assert_eq!(reason.as_deref(), Some("NAMESPACE_GONE"));
    assert!(took < Duration::from_secs(1), "{took:?}");

    for (ns, other) in [&kept, &home].into_iter().zip(&mut others) {
        ns.create(&[flow(1)]);
        let next = timeout(Duration::from_secs(10), other.message()).await;
        let next = next
            .expect("an event")
            .expect("a stream")
            .expect("a message");
        let Some(Message::Events(events)) = next.message else {
            panic!("{next:?}");
        };
        assert_eq!(events.events.len(), 1);
    }
}
