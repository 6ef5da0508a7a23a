//! Bindings that are taken away, or become others, while their callers have streams open.

use std::time::Duration;

use ctfleet::flow::{Family, Flow, Protocol};
use ctfleet::pb;
use ctfleet::pb::create_flows_request::Message;
use ctfleet::pb::flow_service_client::FlowServiceClient;
use ctfleet::pb::watch_flows_response::Message as Told;
use futures::StreamExt as _;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use super::{Bound, reason};
use crate::harness::agent::collect;
use crate::harness::flows::{flow, host, translated};
use crate::harness::pki::{Authority, TlsAgent};
use crate::harness::{Netns, until};

const READER: &str = "role = \"reader\"";
const OPERATOR: &str = "role = \"operator\"";
const ELSEWHERE: &str = "role = \"reader\"\nnetwork-namespaces = [\"elsewhere\"]";

async fn watch(bound: &Bound) -> Streaming<pb::WatchFlowsResponse> {
    let mut flows = bound.flows();
    let answer = flows.watch_flows(pb::WatchFlowsRequest::default()).await;
    let mut watch = answer.expect("a watch").into_inner();
    let first = watch.message().await.expect("no error").expect("a message");
    assert!(matches!(first.message, Some(Told::Subscribed(_))));
    watch
}

async fn end(mut watch: Streaming<pb::WatchFlowsResponse>) -> Status {
    watch.message().await.expect_err("the end")
}

fn numbered(number: u32) -> Flow {
    let mut flow = flow(Family::V4, Protocol::UDP, 1000);
    flow.orig.src = host(Family::V4, number);
    flow.reply = flow.orig.inverse();
    flow
}

fn batch(number: u32) -> pb::CreateFlowsRequest {
    let flows = vec![(&numbered(number)).into()];
    pb::CreateFlowsRequest {
        message: Some(Message::Batch(pb::FlowBatch { flows })),
    }
}

#[tokio::test]
async fn a_watch_ends_when_its_binding_becomes_another() {
    let ns = Netns::new();
    let bound = Bound::start_with(&ns, READER, &["--other-namespaces"]).await;
    for grant in ["role = \"reader\"\nscope = \"mark 1\"", READER, ELSEWHERE] {
        let watch = watch(&bound).await;
        bound.rebind(grant);
        let end = end(watch).await;
        assert_eq!(end.code(), Code::Unavailable, "{grant}: {end:?}");
        assert_eq!(reason(&end), "BINDING_CHANGED");
    }
    // And the next call is let in, or not, by what holds now.
    let mut flows = bound.flows();
    let refused = flows.watch_flows(pb::WatchFlowsRequest::default()).await;
    let refused = refused.expect_err("this namespace is closed");
    assert_eq!(reason(&refused), "NAMESPACE_DENIED");
}

#[tokio::test]
async fn a_watch_whose_binding_stays_goes_on_when_others_change() {
    let ns = Netns::new();
    let bound = Bound::start(&ns, READER).await;
    let mut watch = watch(&bound).await;
    bound.rebind(&format!(
        "{READER}\n[[bindings]]\nsubjects = [\"uid:4242\"]\nrole = \"admin\""
    ));
    ns.create(&[numbered(1)]);
    let next = watch.message().await.expect("no error").expect("a message");
    assert!(matches!(next.message, Some(Told::Events(_))), "{next:?}");
}

/// It would write for ever otherwise.
#[tokio::test]
async fn a_stream_that_writes_ends_with_its_account_when_its_binding_is_less() {
    let ns = Netns::new();
    let bound = Bound::start(&ns, OPERATOR).await;
    let (sender, requests) = mpsc::unbounded_channel();
    let header = Message::Header(pb::CreateFlowsHeader::default());
    let header = pb::CreateFlowsRequest {
        message: Some(header),
    };
    sender.send(header).expect("a stream");
    sender.send(batch(1)).expect("a stream");
    let requests = UnboundedReceiverStream::new(requests).boxed();
    let answer = bound.flows().create_flows(requests).await;
    let mut accounts = answer.expect("a stream").into_inner();
    let account = accounts.message().await.expect("no error");
    assert_eq!(account.expect("an account").count, 1);

    bound.rebind(READER);
    // Whether it comes before the end or after, nothing is made of it.
    let _ = sender.send(batch(2));
    let end = accounts.message().await.expect_err("the end");
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    let info = end.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.reason, "BINDING_CHANGED");
    assert_eq!(info.metadata["accounted"], "1");
    assert_eq!(ns.entries(), 1);
}

/// Has a caller's share of writers wait for the one place, and makes their binding less
/// meanwhile; how many were not written.
async fn unwritten(bound: &Bound, flows: &[pb::Flow]) -> usize {
    const WRITERS: usize = 24;
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let (sender, requests) = mpsc::unbounded_channel();
        let header = Message::Header(pb::CreateFlowsHeader {
            mode: pb::CreateMode::Upsert.into(),
            ..Default::default()
        });
        let message = Some(header);
        let header = pb::CreateFlowsRequest { message };
        sender.send(header).expect("a stream");
        let requests = UnboundedReceiverStream::new(requests).boxed();
        let answer = bound.flows().create_flows(requests).await;
        writers.push((sender, answer.expect("a stream").into_inner()));
    }
    for (sender, _) in &writers {
        let flows = flows.to_vec();
        let message = Some(Message::Batch(pb::FlowBatch { flows }));
        let batch = pb::CreateFlowsRequest { message };
        sender.send(batch).expect("a stream");
    }
    let account = writers[0].1.message().await.expect("no error");
    assert_eq!(account.expect("an account").count, 4096);
    bound.rebind(READER);
    let mut unwritten = 0;
    for (_sender, mut accounts) in writers {
        let end = loop {
            match accounts.message().await {
                Ok(account) => assert_eq!(account.expect("no end").count, 4096),
                Err(end) => break end,
            }
        };
        assert_eq!(reason(&end), "BINDING_CHANGED", "{end:?}");
        let info = end.get_details_error_info().expect("an ErrorInfo");
        unwritten += usize::from(info.metadata["accounted"] == "0");
    }
    unwritten
}

/// Parts wait for a place as long as others have it, and must not be written then.
#[tokio::test]
async fn what_waits_for_its_place_is_not_written_when_its_binding_is_less() {
    let ns = Netns::new();
    let bound = Bound::start_with(&ns, OPERATOR, &["--max-changes=1"]).await;
    // All write the same, which takes long where it is translated, and fills no table.
    let flow = |n| {
        let mut flow = translated(numbered(n), true, false);
        flow.reply.dst = host(Family::V4, 100_000 + n);
        (&flow).into()
    };
    let flows: Vec<pb::Flow> = (0..4096).map(flow).collect();
    // On a machine that is busy all may be written before the bindings are read.
    for _ in 0..5 {
        if unwritten(&bound, &flows).await > 0 {
            return;
        }
        bound.rebind(OPERATOR);
    }
    panic!("all of them were written, every time");
}

/// The limited caller's flows, over a connection whose streams have so small a window.
async fn through_a_window(bound: &Bound, ns: &Netns, bytes: u32) -> FlowServiceClient<Channel> {
    let endpoint = Endpoint::from_static("http://agent")
        .initial_stream_window_size(bytes)
        .initial_connection_window_size(65_535);
    let channel = bound.agent.channel_over(endpoint, ns).await;
    FlowServiceClient::new(channel.expect("a connection"))
}

/// What this answers as soon as it is not refused for this reason any more.
async fn when_free<T>(why: &str, call: impl AsyncFn() -> Result<T, Status>) -> T {
    let answer = async {
        loop {
            match call().await {
                Ok(answer) => break answer,
                Err(refused) => assert_eq!(reason(&refused), why, "{refused:?}"),
            }
            // Calls have a pace that they must not exceed.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
    answer.expect("a place")
}

/// It would read on for as long as it likes, and keep its place meanwhile.
#[tokio::test]
async fn a_dump_that_its_client_holds_back_ends_when_its_binding_is_another() {
    const FLOWS: u32 = 20_000;
    let ns = Netns::new();
    ns.create(&(0..FLOWS).map(numbered).collect::<Vec<_>>());
    let bound = Bound::start_with(&ns, READER, &["--max-dumps=1"]).await;
    let mut slow = through_a_window(&bound, &ns, 65_535).await;
    let dump = slow.dump_flows(pb::DumpFlowsRequest::default()).await;
    let mut held = dump.expect("a stream").into_inner();
    held.message().await.expect("no error").expect("a chunk");
    let dump = async || {
        let mut other = bound.agent.flows();
        other.dump_flows(pb::DumpFlowsRequest::default()).await
    };
    let refused = dump().await.expect_err("refused");
    assert_eq!(reason(&refused), "TOO_MANY_CALLS");

    bound.rebind(OPERATOR);
    // Its place is free before it reads on.
    let place = when_free("TOO_MANY_CALLS", dump).await.into_inner();
    let (flows, _) = collect(place).await.expect("a dump");
    assert_eq!(flows.len(), FLOWS as usize);
    let end = loop {
        match held.message().await {
            Ok(message) => assert_eq!(message.expect("no end").summary, None),
            Err(end) => break end,
        }
    };
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert_eq!(reason(&end), "BINDING_CHANGED");
}

/// Its service is a library's, which knows nothing of bindings.
#[tokio::test]
async fn a_watch_of_health_ends_when_its_binding_is_another() {
    let ns = Netns::new();
    let bound = Bound::start(&ns, READER).await;
    let mut health = HealthClient::new(bound.limited.clone());
    let watch = health.watch(HealthCheckRequest::default()).await;
    let mut watch = watch.expect("a stream").into_inner();
    let first = watch.message().await.expect("no error").expect("a status");
    assert_eq!(first.status(), ServingStatus::Serving);
    bound.rebind(OPERATOR);
    let end = watch.message().await.expect_err("the end");
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert_eq!(reason(&end), "BINDING_CHANGED");
}

/// HTTP/2 does not ask for its next message, and so it must end without being asked.
#[tokio::test]
async fn watches_that_nobody_reads_give_back_their_places_when_their_binding_is_another() {
    let ns = Netns::new();
    let bound = Bound::start_with(&ns, READER, &["--max-watchers=3"]).await;
    let mut stalled = through_a_window(&bound, &ns, 1).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let watch = stalled.watch_flows(pb::WatchFlowsRequest::default()).await;
        held.push(watch.expect("a watch").into_inner());
    }
    let watch = async || {
        let mut other = bound.agent.flows();
        other.watch_flows(pb::WatchFlowsRequest::default()).await
    };
    let mut witness = watch().await.expect("the last place").into_inner();
    // One byte of the first message is sent, and behind it this is made and waits.
    ns.create(&[numbered(1)]);
    loop {
        let next = witness.message().await.expect("no error").expect("no end");
        if matches!(next.message, Some(Told::Events(_))) {
            break;
        }
    }
    let refused = watch().await.expect_err("refused");
    assert_eq!(reason(&refused), "TOO_MANY_WATCHERS");

    bound.rebind(OPERATOR);
    let mut places = Vec::new();
    for _ in &held {
        places.push(when_free("TOO_MANY_WATCHERS", &watch).await);
    }
    // What was made before is theirs, and behind it stands the end.
    for mut watch in held {
        let mut told = Vec::new();
        let end = loop {
            match watch.message().await {
                Ok(next) => told.push(next.expect("no end").message.expect("something")),
                Err(end) => break end,
            }
        };
        assert_eq!(reason(&end), "BINDING_CHANGED", "{end:?}");
        assert!(
            matches!(&told[..], [Told::Subscribed(_), Told::Events(events)] if events.events.len() == 1),
            "{told:?}"
        );
    }
}

/// A snapshot is a dump, and the watch around it is asked for nothing while it is held back.
#[tokio::test]
async fn a_snapshot_that_nobody_reads_gives_back_its_place_when_its_binding_is_another() {
    const FLOWS: u32 = 20_000;
    let ns = Netns::new();
    ns.create(&(0..FLOWS).map(numbered).collect::<Vec<_>>());
    let bound = Bound::start_with(&ns, READER, &["--max-dumps=1"]).await;
    let mut stalled = through_a_window(&bound, &ns, 65_535).await;
    let request = pb::WatchFlowsRequest {
        snapshot: true,
        ..Default::default()
    };
    let watch = stalled.watch_flows(request.clone()).await;
    let mut held = watch.expect("a watch").into_inner();
    let snapshot = async || bound.agent.flows().watch_flows(request.clone()).await;
    let refused = snapshot().await.expect_err("refused");
    assert_eq!(reason(&refused), "TOO_MANY_CALLS");

    bound.rebind(OPERATOR);
    when_free("TOO_MANY_CALLS", snapshot).await;
    let end = loop {
        match held.message().await {
            Ok(next) => match next.expect("no end").message.expect("something") {
                Told::Subscribed(_) | Told::Snapshot(_) => {}
                other => panic!("not whole: {other:?}"),
            },
            Err(end) => break end,
        }
    };
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert_eq!(reason(&end), "BINDING_CHANGED");
}

/// With `--reconnect`, too: what was taken away does not come back by itself.
#[test]
fn whom_no_binding_names_any_more_is_told_and_comes_in_no_more() {
    let authority = Authority::new("ours");
    authority.enrol("alice");
    let directory = TempDir::new().expect("a directory");
    let config = directory.path().join("config.toml");
    let bind = |whom: &str| {
        let text = format!("allow = [\"reader=cn:{whom}\"]\n");
        std::fs::write(&config, text).expect("a file");
    };
    bind("alice");
    let flag = format!("--config={}", config.display());
    let agent = TlsAgent::start_strict(&authority, &[&flag]);
    let flags = authority.flags("alice");
    let line = format!("{flags} watch --reconnect -o jsonl");
    let mut watch = agent.ns().enter(|| agent.client().start(&line));
    assert_eq!(watch.object()["event"], "SUBSCRIBED");

    bind("bob");
    agent.agent.signal(Signal::HUP);
    let complaint = watch.rest().failed(2);
    let words = "no binding of the agent names cn:alice";
    assert!(complaint.contains(words), "{complaint}");
    agent.ask_as(&authority, "alice", "count").failed(2);
    let denied = |rpc: &str| {
        let log = agent.agent.said();
        let mut lines = log.lines();
        let line = lines.find(|line| line.contains("\"denied\"") && line.contains(rpc));
        line.map(str::to_owned)
    };
    let line = until("the line of the audit log", || denied("WatchFlows"));
    assert!(line.contains("PERMISSION_DENIED"), "{line}");
}
