//! Watches several agents and cuts every flow of a blocked network, those that are there and
//! those that come: `cargo run --example controller -- 192.0.2.0/24 TARGET...`.
//!
//! A target is an agent's unix socket, `unix:/run/ctfleet/ctagent.sock`, or the port of one
//! that speaks plaintext on loopback, `http://127.0.0.1:7443`. Nothing here is private to
//! ctfleet: the messages are those of proto/ctfleet/v1, the client is tonic's.

use std::error::Error;

use ctfleet::expr;
use ctfleet::flow::Flow;
use ctfleet::pb;
use ctfleet::pb::delete_flows_request::Target;
use ctfleet::pb::flow_service_client::FlowServiceClient;
use ctfleet::pb::watch_flows_response::Message;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let blocked = arguments
        .next()
        .ok_or("usage: controller NETWORK TARGET...")?;
    let filter = expr::parse(&format!("addr {blocked}"))?;
    let mut guards = JoinSet::new();
    for target in arguments {
        let filter = pb::Filter::from(&filter);
        guards.spawn(async move {
            let ended = guard(&target, filter).await;
            ended.map_err(|error| format!("{target}: {error}"))
        });
    }
    // One that fails must not leave the others alone in silence.
    while let Some(ended) = guards.join_next().await {
        if let Err(error) = ended? {
            eprintln!("{error}");
        }
    }
    Err("no agent is left".into())
}

/// Cuts what matches on one agent until its watch ends.
async fn guard(target: &str, filter: pb::Filter) -> Result<(), Failure> {
    let channel = Endpoint::from_shared(target.to_owned())?.connect().await?;
    let mut client = FlowServiceClient::new(channel);
    let watch = pb::WatchFlowsRequest {
        filter: Some(filter),
        event_types: vec![pb::EventType::New.into()],
        // What is there already comes first, and once more when events were lost.
        snapshot: true,
        resync_after_gap: true,
        ..pb::WatchFlowsRequest::default()
    };
    let mut messages = client.watch_flows(watch).await?.into_inner();
    while let Some(response) = messages.message().await? {
        let flows = match response.message {
            Some(Message::Subscribed(_)) => {
                println!("{target}: watching");
                continue;
            }
            Some(Message::Snapshot(chunk)) => chunk.flows,
            Some(Message::Events(batch)) => batch
                .events
                .into_iter()
                .filter_map(|event| event.flow)
                .collect(),
            Some(Message::Gap(gap)) => {
                println!("{target}: {} events were lost", gap.lost);
                continue;
            }
            Some(Message::SnapshotEnd(_)) | None => continue,
        };
        if !flows.is_empty() {
            cut(&mut client, target, flows).await?;
        }
    }
    Ok(())
}

/// Deletes these very flows: the key has the tuple, the zone and the id.
async fn cut(
    client: &mut FlowServiceClient<Channel>,
    target: &str,
    flows: Vec<pb::Flow>,
) -> Result<(), Failure> {
    let flows = flows
        .into_iter()
        .map(Flow::try_from)
        .collect::<Result<Vec<_>, _>>()?;
    let keys = flows
        .iter()
        .map(|flow| pb::FlowKey::from(&flow.key()))
        .collect();
    let request = pb::DeleteFlowsRequest {
        target: Some(Target::Keys(pb::FlowKeys { keys })),
        ..pb::DeleteFlowsRequest::default()
    };
    let summary = client.delete_flows(request).await?.into_inner().summary;
    for flow in &flows {
        println!(
            "{target}: cut {} {} -> {}",
            flow.orig.protocol, flow.orig.src, flow.orig.dst
        );
    }
    if let Some(failure) = summary.unwrap_or_default().failures.first() {
        return Err(failure.message.clone().into());
    }
    Ok(())
}
