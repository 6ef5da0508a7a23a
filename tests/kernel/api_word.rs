//! What the kernel passes over in silence is not reported as done.

use ctfleet::flow::{Family, Flow, Protocol, Status};
use ctfleet::pb;
use ctfleet::pb::create_flows_request::Message;
use ctfleet::pb::flow_service_client::FlowServiceClient;
use ctfleet::pb::update_flows_request::Target;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::flows::{flow, host, translated};
use crate::harness::traffic::udp;

async fn update(
    client: &mut FlowServiceClient<Channel>,
    flow: &Flow,
    changes: pb::FlowChanges,
) -> Result<pb::ChangeSummary, tonic::Status> {
    let keys = vec![(&flow.key()).into()];
    let request = pb::UpdateFlowsRequest {
        target: Some(Target::Keys(pb::FlowKeys { keys })),
        changes: Some(changes),
        ..Default::default()
    };
    let answer = client.update_flows(request).await?;
    Ok(answer.into_inner().summary.expect("a summary"))
}

fn status(bits: Status) -> pb::FlowChanges {
    pb::FlowChanges {
        status_set: Some(bits.0),
        ..Default::default()
    }
}

#[tokio::test]
async fn every_status_bit_is_set_or_refused() {
    let ns = Netns::new();
    let target = flow(Family::V4, Protocol::TCP, 1);
    ns.create(std::slice::from_ref(&target));
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    for bit in (0..32).map(|bit| Status(1 << bit)) {
        let answer = update(&mut client, &target, status(bit)).await;
        let entry = ns.flows(None).remove(0);
        let set = entry.status.expect("a status").contains(bit);
        match answer {
            Ok(summary) => assert_eq!(summary.changed == 1, set, "{bit:?}: {summary:?}"),
            Err(refused) => {
                assert!(!set, "{bit:?}");
                assert_eq!(refused.code(), Code::InvalidArgument, "{bit:?}");
                assert!(refused.message().starts_with("changes.status_set: "));
            }
        }
    }
}

/// An entry that a packet made, without a helper and without translation, has no room for
/// what these need.
#[tokio::test]
async fn what_an_entry_has_no_room_for_is_a_failure() {
    let ns = Netns::tracking();
    let at = "127.0.0.1:0".parse().expect("an address");
    let _client = udp(&ns, &ns, at);
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    let target = ns.flows(None).remove(0);
    let seqadj = Some(pb::SeqAdj {
        correction_pos: 1,
        offset_before: 2,
        offset_after: 3,
    });
    let synproxy = Some(pb::Synproxy {
        isn: 1,
        its: 2,
        tsoff: 3,
    });
    for changes in [
        pb::FlowChanges {
            seqadj_orig: seqadj,
            ..Default::default()
        },
        pb::FlowChanges {
            seqadj_reply: seqadj,
            ..Default::default()
        },
        pb::FlowChanges {
            synproxy,
            ..Default::default()
        },
    ] {
        let summary = update(&mut client, &target, changes.clone()).await;
        let summary = summary.expect("an answer");
        let [failure] = &summary.failures[..] else {
            panic!("{changes:?}: {summary:?}")
        };
        assert_eq!(
            (summary.changed, failure.code, failure.errno),
            (0, Code::Unimplemented.into(), libc::EOPNOTSUPP)
        );
        // One that ctnetlink made has it.
        let made = flow(Family::V4, Protocol::UDP, 1);
        ns.create(std::slice::from_ref(&made));
        let summary = update(&mut client, &made, changes)
            .await
            .expect("an answer");
        assert_eq!((summary.changed, summary.failed), (1, 0));
        ns.conntrack("-D -p udp --sport 1");
    }
}

#[tokio::test]
async fn an_upsert_does_not_pretend_to_translate_anew() {
    let ns = Netns::new();
    let mut there = translated(flow(Family::V4, Protocol::TCP, 1), true, false);
    ns.create(std::slice::from_ref(&there));
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    let mut upsert = async |flow: &Flow| {
        let messages = [
            Message::Header(pb::CreateFlowsHeader {
                mode: pb::CreateMode::Upsert.into(),
                ..Default::default()
            }),
            Message::Batch(pb::FlowBatch {
                flows: vec![flow.into()],
            }),
        ];
        let messages = messages.map(|message| pb::CreateFlowsRequest {
            message: Some(message),
        });
        let answer = client.create_flows(futures::stream::iter(messages)).await;
        let account = answer.expect("a stream").into_inner().message().await;
        let account = account.expect("a message").expect("an account");
        account.failures.first().map(|failure| failure.errno)
    };
    there.mark = Some(5);
    assert_eq!(upsert(&there).await, None);
    let mut elsewhere = there.clone();
    elsewhere.reply.dst = host(Family::V4, 10);
    elsewhere.mark = Some(6);
    assert_eq!(upsert(&elsewhere).await, Some(libc::EOPNOTSUPP));
    let entry = ns.flows(None).remove(0);
    assert_eq!((entry.reply, entry.mark), (there.reply, Some(5)));
}
