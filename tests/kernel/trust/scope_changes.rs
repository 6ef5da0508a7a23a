//! What a caller with a scope can change.

use ctfleet::flow::filter::NumberField;
use ctfleet::flow::{Family, Filter, Flow, Protocol, Status, Zone, ZoneDirection};
use ctfleet::pb;
use ctfleet::pb::{delete_flows_request, update_flows_request};
use tonic::Code;

use super::Bound;
use super::scope::{SCOPE, entry, everyone, key, marked, ports, table};
use crate::harness::Netns;
use crate::harness::client::Client;
use crate::harness::filters::{is, not};
use crate::harness::flows::{flow, helped, translated};

fn by_filter(filter: &Filter) -> delete_flows_request::Target {
    delete_flows_request::Target::Filter(filter.into())
}

async fn delete(
    bound: &Bound,
    target: delete_flows_request::Target,
    options: pb::ChangeOptions,
) -> (pb::ChangeSummary, Vec<pb::Flow>) {
    let request = pb::DeleteFlowsRequest {
        target: Some(target),
        options: Some(options),
        ..Default::default()
    };
    let answer = bound.flows().delete_flows(request).await;
    let answer = answer.expect("an answer").into_inner();
    (answer.summary.expect("a summary"), answer.samples)
}

#[tokio::test]
async fn a_deletion_meets_what_is_in_it_however_it_is_named() {
    let ns = Netns::new();
    table(&ns);
    let bound = Bound::start(&ns, SCOPE).await;
    let rehearse = pb::ChangeOptions {
        dry_run: true,
        ..Default::default()
    };
    let all = by_filter(&everyone());
    let (summary, samples) = delete(&bound, all, rehearse).await;
    assert_eq!((summary.matched, samples.len()), (3, 3));
    // A limit counts what the caller can see.
    let limited = pb::ChangeOptions {
        max_affected: Some(3),
        ..Default::default()
    };
    let not_two = by_filter(&not(is(NumberField::SrcPort, 2)));
    let (summary, _) = delete(&bound, not_two, limited).await;
    assert_eq!((summary.matched, summary.changed), (2, 2));
    assert_eq!(ports(&ns.flows(None)), [2, 11, 12, 13, 14].into());

    let (inside, beyond) = (entry(&ns, 2), entry(&ns, 12));
    let ids = pb::FlowIds {
        ids: vec![beyond.id.expect("an id"), 12345],
    };
    let ids = delete_flows_request::Target::Ids(ids);
    let (summary, _) = delete(&bound, ids, pb::ChangeOptions::default()).await;
    assert_eq!((summary.changed, summary.gone), (0, 2));
    let keys = pb::FlowKeys {
        keys: vec![key(&beyond, true), key(&beyond, false), key(&inside, true)],
    };
    let keys = delete_flows_request::Target::Keys(keys);
    let options = pb::ChangeOptions {
        return_changed: true,
        ..Default::default()
    };
    let (summary, changed) = delete(&bound, keys, options).await;
    assert_eq!((summary.changed, summary.gone, changed.len()), (1, 2, 1));
    assert_eq!(ports(&ns.flows(None)), [11, 12, 13, 14].into());
}

async fn update(bound: &Bound, filter: &Filter, value: u32, mask: u32) -> pb::ChangeSummary {
    let options = pb::ChangeOptions::default();
    update_with(bound, filter, (value, mask), options).await.0
}

async fn update_with(
    bound: &Bound,
    filter: &Filter,
    (value, mask): (u32, u32),
    options: pb::ChangeOptions,
) -> (pb::ChangeSummary, Vec<pb::Flow>) {
    let request = pb::UpdateFlowsRequest {
        target: Some(update_flows_request::Target::Filter(filter.into())),
        changes: Some(pb::FlowChanges {
            mark: Some(pb::MaskedUint32 {
                value,
                mask: Some(mask),
            }),
            ..Default::default()
        }),
        options: Some(options),
        ..Default::default()
    };
    let answer = bound.flows().update_flows(request).await;
    let answer = answer.expect("an answer").into_inner();
    (answer.summary.expect("a summary"), answer.samples)
}

#[tokio::test]
async fn an_update_carries_nothing_out_of_it() {
    let ns = Netns::new();
    table(&ns);
    let bound = Bound::start(&ns, SCOPE).await;
    let all = everyone();
    let summary = update(&bound, &all, 6, u32::MAX).await;
    assert_eq!(
        (summary.matched, summary.changed, summary.failed),
        (3, 0, 3)
    );
    let failure = &summary.failures[0];
    assert_eq!(failure.code, i32::from(Code::PermissionDenied));
    assert_eq!(
        failure.message,
        "the entry lies beyond your scope, or would"
    );
    // A rehearsal says the same.
    let rehearse = pb::ChangeOptions {
        dry_run: true,
        ..Default::default()
    };
    let (rehearsed, samples) = update_with(&bound, &all, (6, u32::MAX), rehearse).await;
    assert_eq!((rehearsed, samples.len()), (summary, 0));
    let (summary, samples) = update_with(&bound, &all, (4, 6), rehearse).await;
    assert_eq!((summary.matched, summary.failed, samples.len()), (3, 0, 3));
    // 5 stays 5 under this mask.
    let summary = update(&bound, &all, 4, 6).await;
    assert_eq!((summary.matched, summary.changed), (3, 3));
    let beyond = update(&bound, &is(NumberField::Mark, 6), 5, u32::MAX).await;
    assert_eq!(beyond.matched, 0);
    assert_eq!(entry(&ns, 12).mark, Some(6));
}

#[tokio::test]
async fn a_rehearsal_does_not_promise_what_the_scope_refuses() {
    let ns = Netns::new();
    table(&ns);
    let uid = rustix::process::geteuid().as_raw();
    let grant = format!("{SCOPE}\n[[bindings]]\nsubjects = [\"uid:{uid}\"]\n{SCOPE}");
    let bound = Bound::start(&ns, &grant).await;
    let client = Client::alone(&bound.agent);
    let said = client.run("update sport 1-2 --set-mark 7 --dry-run");
    let said = said.failed(2);
    assert!(said.contains("lies beyond your scope, or would"), "{said}");
    assert!(said.contains("there is nothing to update"), "{said}");
    assert!(!said.contains("this would"), "{said}");
    let said = client.run("update sport 1-2 --set-mark 0/2 --dry-run");
    let said = said.failed(0);
    assert!(said.contains("this would update 2 flows"), "{said}");
}

async fn create(bound: &Bound, flows: &[Flow], mode: pb::CreateMode) -> Vec<pb::ItemFailure> {
    let header = pb::create_flows_request::Message::Header(pb::CreateFlowsHeader {
        mode: mode.into(),
        ..Default::default()
    });
    let batch = pb::create_flows_request::Message::Batch(pb::FlowBatch {
        flows: flows.iter().map(Into::into).collect(),
    });
    let messages = [header, batch].map(|message| pb::CreateFlowsRequest {
        message: Some(message),
    });
    let stream = bound
        .flows()
        .create_flows(tokio_stream::iter(messages))
        .await;
    let mut stream = stream.expect("a stream").into_inner();
    let mut failures = Vec::new();
    while let Some(account) = stream.message().await.expect("an account") {
        failures.extend(account.failures);
    }
    failures
}

fn codes(failures: &[pb::ItemFailure]) -> Vec<(u64, Code)> {
    let code = |failure: &pb::ItemFailure| (failure.index, Code::from(failure.code));
    failures.iter().map(code).collect()
}

#[tokio::test]
async fn what_is_created_lies_in_it_and_collides_with_nothing_that_can_be_told() {
    let ns = Netns::new();
    table(&ns);
    let bound = Bound::start(&ns, SCOPE).await;
    let denied = Code::PermissionDenied;
    let flows = [
        marked(50, 5),
        marked(51, 6),
        // There is one in the scope, there is one beyond.
        marked(1, 5),
        marked(12, 5),
        marked(53, 0),
    ];
    let failures = create(&bound, &flows, pb::CreateMode::Create).await;
    assert_eq!(
        codes(&failures),
        [
            (1, denied),
            (2, Code::AlreadyExists),
            (3, denied),
            (4, denied)
        ]
    );
    // Beyond and colliding cannot be told apart.
    assert_eq!(failures[0].message, failures[2].message);
    assert_eq!(failures[0].errno, failures[2].errno);
    assert_eq!(ports(&ns.flows(None)), [1, 2, 3, 11, 12, 13, 14, 50].into());
    assert_eq!(entry(&ns, 12).mark, Some(6));

    // A reply that an entry beyond has.
    let mut thief = marked(60, 5);
    thief.reply = entry(&ns, 12).reply;
    let failures = create(&bound, &[thief], pb::CreateMode::Create).await;
    assert_eq!(codes(&failures), [(0, denied)]);
    assert_eq!(failures[0].errno, 0);

    // A reply that a translated flow beyond has. With a binding, if only to nothing, the kernel
    // would find another port for it, and tell by that.
    let done = Status::SRC_NAT_DONE | Status::DST_NAT_DONE | Status::CONFIRMED;
    let mut owner = marked(64, 6);
    owner.reply = marked(65, 6).reply;
    owner.status = Some(done | Status::SRC_NAT);
    ns.create(&[owner]);
    for status in [done, done | Status::SRC_NAT, done | Status::DST_NAT] {
        let (mut taken, mut free) = (marked(65, 5), marked(66, 5));
        taken.status = Some(status);
        free.status = Some(status);
        let failures = create(&bound, &[taken, free], pb::CreateMode::Upsert).await;
        assert_eq!(codes(&failures), [(0, denied)], "{status:?}");
        assert_eq!(entry(&ns, 66).reply, marked(66, 5).reply);
    }

    // A translation, a helper, a master: each reaches beyond the flow's own tuple.
    let stranger = translated(marked(62, 5), true, false);
    let helped = helped(flow(Family::V4, Protocol::TCP, 63), "ftp");
    let helped = Flow {
        mark: Some(5),
        ..helped
    };
    for mode in [pb::CreateMode::Create, pb::CreateMode::Upsert] {
        let failures = create(&bound, &[stranger.clone(), helped.clone()], mode).await;
        assert_eq!(codes(&failures), [(0, denied), (1, denied)]);
    }
    let mut child = marked(61, 5);
    child.master = Some(entry(&ns, 12).orig);
    let failures = create(&bound, &[child], pb::CreateMode::Create).await;
    assert_eq!(codes(&failures), [(0, denied)]);
}

#[tokio::test]
async fn what_is_written_over_lies_in_it_before_and_after() {
    let ns = Netns::new();
    table(&ns);
    let bound = Bound::start(&ns, SCOPE).await;
    let denied = Code::PermissionDenied;
    let longer = |port, mark| {
        let mut flow = marked(port, mark);
        flow.timeout = Some(7000);
        flow
    };
    let flows = [longer(1, 5), longer(12, 5), longer(2, 6), longer(70, 5)];
    let failures = create(&bound, &flows, pb::CreateMode::Upsert).await;
    assert_eq!(codes(&failures), [(1, denied), (2, denied)]);
    assert!(entry(&ns, 1).timeout > Some(6000));
    assert!(entry(&ns, 12).timeout <= Some(5000));
    assert_eq!(entry(&ns, 2).mark, Some(5));
    assert_eq!(entry(&ns, 70).mark, Some(5));

    // Without a mark an update leaves it as it is.
    let flows = [longer(3, 0), longer(12, 0), longer(99, 0), longer(2, 7)];
    let failures = create(&bound, &flows, pb::CreateMode::Update).await;
    let missing = Code::NotFound;
    assert_eq!(codes(&failures), [(1, missing), (2, missing), (3, denied)]);
    assert_eq!(failures[0].message, failures[1].message);
    assert!(entry(&ns, 3).timeout > Some(6000));
    assert!(entry(&ns, 12).timeout <= Some(5000));
}

const BOTH: ZoneDirection = ZoneDirection::Both;
const ORIG: ZoneDirection = ZoneDirection::Orig;
const REPLY: ZoneDirection = ZoneDirection::Reply;

fn zoned(port: u16, id: u16, direction: ZoneDirection) -> Flow {
    let mut flow = marked(port, 5);
    flow.zone = Zone { id, direction };
    flow
}

#[tokio::test]
async fn a_zone_of_one_direction_opens_no_way_into_another() {
    let ns = Netns::new();
    ns.create(&[zoned(1, 0, BOTH)]);
    for scope in ["zone 5", "zone 5 and zone-direction both, orig", "mark 5"] {
        let bound = Bound::start(&ns, &format!("role = \"operator\"\nscope = \"{scope}\"")).await;
        // The other half of each would lie in zone 0, where port 1 is taken and port 2 is not.
        let mut backwards = [zoned(1, 5, ORIG), zoned(2, 5, ORIG)];
        for flow in &mut backwards {
            std::mem::swap(&mut flow.orig, &mut flow.reply);
        }
        let mut flows = vec![zoned(1, 5, REPLY), zoned(2, 5, REPLY)];
        flows.extend(backwards);
        for mode in [pb::CreateMode::Create, pb::CreateMode::Upsert] {
            let failures = create(&bound, &flows, mode).await;
            let denied = Code::PermissionDenied;
            let expected: Vec<_> = (0..4).map(|index| (index, denied)).collect();
            assert_eq!(codes(&failures), expected, "{scope}, {mode:?}");
            assert!(failures.iter().all(|failure| failure.errno == 0));
        }
        if scope != "mark 5" {
            let failures = create(&bound, &flows, pb::CreateMode::Update).await;
            let missing = failures.iter().map(|failure| Code::from(failure.code));
            assert!(missing.eq([Code::NotFound; 4]), "{scope}: {failures:?}");
        }
        assert_eq!(ns.entries(), 1);
        // The whole of it is in the zone.
        let failures = create(&bound, &[zoned(1, 5, BOTH)], pb::CreateMode::Create).await;
        assert_eq!(codes(&failures), [], "{scope}");
        let one = is(NumberField::Zone, 5);
        let options = pb::ChangeOptions::default();
        let (summary, _) = delete(&bound, by_filter(&one), options).await;
        assert_eq!((summary.changed, ns.entries()), (1, 1), "{scope}");
    }
}

#[tokio::test]
async fn what_lies_in_zone_0_with_one_direction_is_not_in_a_zone() {
    let ns = Netns::new();
    let halves = [zoned(2, 5, ORIG), zoned(3, 5, REPLY)];
    ns.create(&[zoned(1, 5, BOTH)]);
    ns.create(&halves);
    let keys = |flows: &[Flow]| pb::FlowKeys {
        keys: flows.iter().map(|flow| key(flow, false)).collect(),
    };
    let scope = |words: &str| format!("role = \"operator\"\nscope = \"{words}\"");
    for words in ["zone 5", "zone 0"] {
        let bound = Bound::start(&ns, &scope(words)).await;
        for half in &halves {
            let by = pb::get_flow_request::By::Key(key(half, false));
            let request = pb::GetFlowRequest {
                by: Some(by),
                ..Default::default()
            };
            let status = bound.flows().get_flow(request).await.expect_err("hidden");
            assert_eq!(status.code(), Code::NotFound, "{words}");
        }
        let mut flows = bound.flows();
        let count = flows.count_flows(pb::CountFlowsRequest::default());
        let count = count.await.expect("a count").into_inner().count;
        assert_eq!(count, u64::from(words == "zone 5"));
        let summary = update(&bound, &is(NumberField::SrcPort, 2), 5, u32::MAX).await;
        assert_eq!(summary.matched, 0, "{words}");
        let target = delete_flows_request::Target::Keys(keys(&halves));
        let options = pb::ChangeOptions::default();
        let (summary, _) = delete(&bound, target, options).await;
        assert_eq!((summary.changed, summary.gone), (0, 2), "{words}");
        let failures = create(&bound, &halves, pb::CreateMode::Update).await;
        let missing = Code::NotFound;
        assert_eq!(codes(&failures), [(0, missing), (1, missing)], "{words}");
    }
    // Who was given them by name has them.
    let bound = Bound::start(&ns, &scope("zone 5 and zone-direction orig")).await;
    let target = delete_flows_request::Target::Keys(keys(&halves));
    let (summary, _) = delete(&bound, target, pb::ChangeOptions::default()).await;
    assert_eq!((summary.changed, summary.gone), (1, 1));
    assert_eq!(ports(&ns.flows(None)), [1, 3].into());
}

#[tokio::test]
async fn a_flush_empties_it_and_nothing_else() {
    let ns = Netns::new();
    table(&ns);
    let bound = Bound::start(&ns, SCOPE).await;
    for include_own_connections in [false, true] {
        let request = pb::FlushFlowsRequest {
            include_own_connections,
            ..Default::default()
        };
        bound.flows().flush_flows(request).await.expect("flushed");
        assert_eq!(ports(&ns.flows(None)), [11, 12, 13, 14].into());
    }
}
