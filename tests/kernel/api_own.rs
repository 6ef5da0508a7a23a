//! The agent does not cut the connections that it is steered through.

use ctfleet::flow::Protocol;
use ctfleet::flow::filter::NumberField;
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
