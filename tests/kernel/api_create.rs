//! Bulk writes: modes, and an account of every item.

use ctfleet::flow::{Family, Flow, Protocol};
use ctfleet::pb;
use ctfleet::pb::create_flows_request::Message;
use tonic::{Code, Status};

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::flows::{FAMILIES, flow, host, protocols};

/// Sends the messages and gathers the accounts.
async fn send(
    agent: &Agent,
    messages: Vec<Message>,
) -> Result<Vec<pb::CreateFlowsResponse>, Status> {
    let requests = messages.into_iter().map(|message| pb::CreateFlowsRequest {
        message: Some(message),
    });
    let answer = agent
        .flows()
        .create_flows(tokio_stream::iter(requests))
        .await?;
    let mut stream = answer.into_inner();
    let mut accounts = Vec::new();
    while let Some(account) = stream.message().await? {
        accounts.push(account);
    }
    Ok(accounts)
}

fn header(mode: pb::CreateMode) -> Message {
    Message::Header(pb::CreateFlowsHeader {
        mode: mode.into(),
        ..Default::default()
    })
}

fn batch(flows: &[Flow]) -> Message {
    Message::Batch(pb::FlowBatch {
        flows: flows.iter().map(Into::into).collect(),
    })
}

/// The items that failed, with code and errno, and how many there were.
fn failures(accounts: &[pb::CreateFlowsResponse]) -> (u64, Vec<(u64, Code, i32)>) {
    let mut next = 0;
    let mut failed = Vec::new();
    for account in accounts {
        assert_eq!(account.first_index, next);
        next += account.count;
        failed.extend(
            account
                .failures
                .iter()
                .map(|failure| (failure.index, Code::from(failure.code), failure.errno)),
        );
    }
    (next, failed)
}

#[tokio::test]
async fn every_kind_of_flow_is_written_as_it_was_sent() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let mut flows = Vec::new();
    for family in FAMILIES {
        for protocol in protocols(family) {
            let mut flow = flow(family, protocol, 99);
            flow.mark = Some(1 + u32::from(protocol.0));
            flows.push(flow);
        }
    }
    let accounts = send(&agent, vec![header(pb::CreateMode::Create), batch(&flows)]).await;
    assert_eq!(failures(&accounts.expect("accounts")), (14, vec![]));
    let mut written: Vec<_> = ns
        .witnessed_flows()
        .iter()
        .map(|f| (f.orig, f.mark))
        .collect();
    let mut sent: Vec<_> = flows.iter().map(|flow| (flow.orig, flow.mark)).collect();
    written.sort_by_key(|(_, mark)| *mark);
    sent.sort_by_key(|(_, mark)| *mark);
    for pair in written.iter().zip(&sent) {
        assert_eq!(pair.0.1, pair.1.1);
    }
    assert!(sent.iter().all(|flow| written.contains(flow)));
}

#[tokio::test]
async fn modes_differ_in_what_they_do_with_an_entry_that_exists() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let marked = |port, mark| {
        let mut flow = flow(Family::V4, Protocol::UDP, port);
        flow.mark = Some(mark);
        flow
    };
    ns.create(&[marked(1, 1)]);
    let write = async |mode, mark| {
        let flows = [marked(1, mark), marked(2, mark)];
        let accounts = send(&agent, vec![header(mode), batch(&flows)]).await;
        let (count, failed) = failures(&accounts.expect("accounts"));
        assert_eq!(count, 2);
        let mut marks: Vec<_> = ns
            .flows(None)
            .iter()
            .map(|f| (f.orig.ports(), f.mark))
            .collect();
        marks.sort();
        (
            failed,
            marks
                .into_iter()
                .filter_map(|(_, mark)| mark)
                .collect::<Vec<_>>(),
        )
    };
    let missing = (1, Code::NotFound, libc::ENOENT);
    assert_eq!(
        write(pb::CreateMode::Update, 2).await,
        (vec![missing], vec![2])
    );
    let exists = (0, Code::AlreadyExists, libc::EEXIST);
    assert_eq!(
        write(pb::CreateMode::Create, 3).await,
        (vec![exists], vec![2, 3])
    );
    assert_eq!(write(pb::CreateMode::Upsert, 4).await, (vec![], vec![4, 4]));
}

#[tokio::test]
async fn every_item_is_accounted_for_over_many_messages() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    // Every seventh is wrong in a way of its own: it exists, or it lacks what it needs.
    let flows: Vec<pb::Flow> = (0..10_000)
        .map(|n| {
            let mut flow = flow(Family::V4, Protocol::UDP, 1000);
            let source = if n % 14 == 0 && n > 0 { 0 } else { n };
            flow.orig.src = host(Family::V4, 1000 + source);
            flow.reply = flow.orig.inverse();
            if n % 14 == 7 {
                flow.timeout = None;
            }
            pb::Flow::from(&flow)
        })
        .collect();
    let mut messages = vec![header(pb::CreateMode::Unspecified)];
    // One message with more items than one account holds, then small ones, one empty.
    for part in [&flows[..6000], &flows[6000..6001], &[], &flows[6001..]] {
        messages.push(Message::Batch(pb::FlowBatch {
            flows: part.to_vec(),
        }));
    }
    let accounts = send(&agent, messages).await.expect("accounts");
    assert!(accounts.len() > 3);
    let (count, failed) = failures(&accounts);
    assert_eq!(count, 10_000);
    let expected: Vec<_> = (1..10_000 / 7 + 1)
        .map(|n| match n % 2 {
            0 => (n * 7, Code::AlreadyExists, libc::EEXIST),
            _ => (n * 7, Code::InvalidArgument, 0),
        })
        .collect();
    assert_eq!(failed, expected);
    assert_eq!(ns.entries(), 10_000 - expected.len() as u64);
}

#[tokio::test]
async fn the_header_comes_first_and_once() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let one = [flow(Family::V4, Protocol::UDP, 1)];
    let two = [flow(Family::V4, Protocol::UDP, 2)];
    let create = || header(pb::CreateMode::Create);
    for wrong in [vec![], vec![batch(&one)]] {
        let status = send(&agent, wrong).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("header"), "{status:?}");
    }
    assert_eq!(ns.entries(), 0);
    let wrong = vec![create(), batch(&one), create(), batch(&two)];
    let status = send(&agent, wrong).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(ns.entries(), 1);
    let nowhere = Message::Header(pb::CreateFlowsHeader {
        network_namespace: "nowhere".to_owned(),
        ..Default::default()
    });
    let status = send(&agent, vec![nowhere]).await.expect_err("refused");
    assert_eq!(status.code(), Code::NotFound);
}
