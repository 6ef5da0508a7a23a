//! The agent does not cut the connections that it is steered through.

use ctfleet::flow::filter::NumberField;
use ctfleet::flow::{Flow, Protocol};
use ctfleet::pb;
use ctfleet::pb::delete_flows_request::Target;
use ctfleet::pb::flow_service_client::FlowServiceClient;
use tonic::transport::Channel;

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::filters::{between, is};
use crate::harness::flows::flow;

/// An agent in a namespace that tracks, with a client over TCP; one entry more beside.
async fn steered() -> (Netns, Agent, FlowServiceClient<Channel>) {
    let ns = Netns::tracking();
    let flags = [
        "--listen=127.0.0.1:0",
        "--insecure-plaintext",
        "--other-namespaces",
    ];
    let agent = Agent::start_with(&ns, &flags);
    let channel = agent.channel_from(&ns).await;
    let mut client = FlowServiceClient::new(channel);
    client
        .count_flows(pb::CountFlowsRequest::default())
        .await
        .expect("a count");
    ns.create(&[flow(ctfleet::flow::Family::V4, Protocol::UDP, 7)]);
    (ns, agent, client)
}

fn own(ns: &Netns) -> usize {
    ns.flows(Some(is(NumberField::Protocol, 6))).len()
}

fn everything() -> Target {
    Target::Filter((&between(NumberField::Protocol, 0..=255)).into())
}

#[tokio::test]
async fn a_deletion_of_everything_spares_the_agent_s_connections() {
    let (ns, _agent, mut client) = steered().await;
    assert_eq!(own(&ns), 1);
    let request = pb::DeleteFlowsRequest {
        target: Some(everything()),
        ..Default::default()
    };
    let answer = client.delete_flows(request).await.expect("an answer");
    let summary = answer.into_inner().summary.expect("a summary");
    assert_eq!((summary.changed, summary.spared), (1, 1));
    assert_eq!((own(&ns), ns.entries()), (1, 1));

    // By key it is the same.
    let flow = &ns.flows(Some(is(NumberField::Protocol, 6)))[0];
    let keys = vec![(&flow.key()).into()];
    let request = pb::DeleteFlowsRequest {
        target: Some(Target::Keys(pb::FlowKeys { keys })),
        ..Default::default()
    };
    let answer = client.delete_flows(request).await.expect("an answer");
    let summary = answer.into_inner().summary.expect("a summary");
    assert_eq!((summary.changed, summary.spared), (0, 1));
}

#[tokio::test]
async fn a_flush_spares_them_too_also_under_the_namespace_s_name() {
    let (ns, _agent, mut client) = steered().await;
    for name in ["", ns.name()] {
        let request = pb::FlushFlowsRequest {
            network_namespace: name.to_owned(),
            ..Default::default()
        };
        let answer = client.flush_flows(request).await.expect("an answer");
        assert_eq!(answer.into_inner().spared, 1);
        assert_eq!((own(&ns), ns.entries()), (1, 1));
    }
}

#[tokio::test]
async fn told_to_it_takes_them_as_well() {
    let (ns, agent, mut client) = steered().await;
    // The rule would have the connection tracked again with its next packet.
    ns.nft("flush ruleset");
    let request = pb::DeleteFlowsRequest {
        target: Some(everything()),
        options: Some(pb::ChangeOptions {
            include_own_connections: true,
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = client.delete_flows(request).await.expect("an answer");
    let summary = answer.into_inner().summary.expect("a summary");
    assert_eq!((summary.changed, summary.spared), (2, 0));
    assert_eq!(ns.entries(), 0);
    drop((agent, client));
}

/// Writes flows in this mode; the account of them.
async fn write(
    client: &mut FlowServiceClient<Channel>,
    header: pb::CreateFlowsHeader,
    flows: &[Flow],
) -> pb::CreateFlowsResponse {
    use pb::create_flows_request::Message;
    let flows = flows.iter().map(Into::into).collect();
    let messages = [
        Message::Header(header),
        Message::Batch(pb::FlowBatch { flows }),
    ];
    let requests = messages.map(|message| pb::CreateFlowsRequest {
        message: Some(message),
    });
    let answer = client.create_flows(tokio_stream::iter(requests)).await;
    let mut accounts = answer.expect("a stream").into_inner();
    let account = accounts.message().await.expect("an account");
    assert_eq!(accounts.message().await.expect("an end"), None);
    account.expect("one")
}

#[tokio::test]
async fn what_is_written_over_spares_them_however_it_is_named() {
    let (ns, _agent, mut client) = steered().await;
    let there = ns.flows(Some(is(NumberField::Protocol, 6))).remove(0);
    let short = |mut flow: Flow| {
        flow.timeout = Some(1);
        flow
    };
    let other = Flow::new(there.orig, there.orig.inverse());
    let backwards = Flow::new(there.reply, there.reply.inverse());
    // A reply is not looked at where an entry is updated.
    let elsewhere = flow(ctfleet::flow::Family::V4, Protocol::TCP, 9).reply;
    let disguised = Flow::new(there.orig, elsewhere);
    let beside = flow(ctfleet::flow::Family::V4, Protocol::UDP, 7);
    let flows = [other, backwards, disguised, beside].map(short);
    for mode in [pb::CreateMode::Update, pb::CreateMode::Upsert] {
        for name in ["", ns.name()] {
            let header = pb::CreateFlowsHeader {
                network_namespace: name.to_owned(),
                mode: mode.into(),
                ..Default::default()
            };
            let account = write(&mut client, header, &flows).await;
            assert_eq!((account.count, account.spared), (4, 3), "{account:?}");
            let failed = account.failures.iter().map(|failure| {
                let spared = i32::from(tonic::Code::FailedPrecondition);
                assert_eq!((failure.code, failure.errno), (spared, 0), "{failure:?}");
                failure.index
            });
            assert_eq!(failed.collect::<Vec<_>>(), [0, 1, 2]);
            let now = ns.flows(Some(is(NumberField::Protocol, 6))).remove(0);
            assert!(now.timeout > Some(100), "{now:?}");
        }
    }

    let header = pb::CreateFlowsHeader {
        mode: pb::CreateMode::Update.into(),
        include_own_connections: true,
        ..Default::default()
    };
    let mut long = there.clone();
    long.timeout = Some(99_999);
    long.protoinfo = None;
    let account = write(&mut client, header, &[long]).await;
    assert_eq!((account.failures.len(), account.spared), (0, 0));
}

#[tokio::test]
async fn a_connection_that_was_redirected_is_spared_by_its_first_address() {
    let (ns, agent, _client) = steered().await;
    let port = agent.tcp_address().port();
    ns.nft(&format!(
        "table ip nat {{
            chain out {{
                type nat hook output priority -100;
                ip daddr 127.9.9.9 tcp dport 99 dnat to 127.0.0.1:{port}
            }}
        }}"
    ));
    let at = "127.9.9.9:99".parse().expect("an address");
    let channel = agent.channel_by(&ns, at).await;
    let mut client = FlowServiceClient::new(channel);
    client
        .count_flows(pb::CountFlowsRequest::default())
        .await
        .expect("a count");
    let there = ns.flows(Some(is(NumberField::DstPort, 99))).remove(0);
    assert_ne!(there.reply, there.orig.inverse());
    let mut short = Flow::new(there.orig, there.orig.inverse());
    short.timeout = Some(1);
    let header = pb::CreateFlowsHeader {
        mode: pb::CreateMode::Update.into(),
        ..Default::default()
    };
    let account = write(&mut client, header, &[short]).await;
    assert_eq!((account.spared, account.failures.len()), (1, 1));
}
