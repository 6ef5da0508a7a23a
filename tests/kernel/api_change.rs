//! Updates, deletions and flushes: by keys, ids and filters, rehearsed and bounded.

use ctfleet::flow::filter::NumberField;
use ctfleet::flow::{Family, Flow, Protocol, Status};
use ctfleet::pb;
use ctfleet::pb::{delete_flows_request as delete, update_flows_request as update};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::filters::is;
use crate::harness::flows::{flow, host};

fn marked(port: u16, mark: u32) -> Flow {
    let mut flow = flow(Family::V4, Protocol::UDP, port);
    flow.mark = Some(mark);
    flow
}

fn by_mark(mark: i64) -> pb::Filter {
    (&is(NumberField::Mark, mark)).into()
}

fn keys(flows: &[Flow]) -> pb::FlowKeys {
    pb::FlowKeys {
        keys: flows.iter().map(|flow| (&flow.key()).into()).collect(),
    }
}

/// The marks in the table, in the order of the source ports.
fn marks(ns: &Netns) -> Vec<u32> {
    let mut flows = ns.flows(None);
    flows.sort_by_key(|flow| flow.orig.ports());
    flows.iter().filter_map(|flow| flow.mark).collect()
}

fn deletion(target: delete::Target, options: pb::ChangeOptions) -> pb::DeleteFlowsRequest {
    pb::DeleteFlowsRequest {
        network_namespace: String::new(),
        target: Some(target),
        options: Some(options),
    }
}

fn changes(mark: u32) -> pb::FlowChanges {
    pb::FlowChanges {
        mark: Some(pb::MaskedUint32 {
            value: mark,
            mask: None,
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_deletion_by_filter_takes_what_matches_and_nothing_else() {
    let ns = Netns::new();
    let flows: Vec<_> = (0..3000)
        .map(|n| {
            let mut flow = marked(1, n % 3);
            flow.orig.src = host(Family::V4, 1000 + n);
            flow.reply = flow.orig.inverse();
            flow
        })
        .collect();
    ns.create(&flows);
    let agent = Agent::start(&ns);
    let mut client = agent.flows();

    let rehearsal = pb::ChangeOptions {
        dry_run: true,
        ..Default::default()
    };
    let target = || delete::Target::Filter(by_mark(1));
    let answer = client.delete_flows(deletion(target(), rehearsal)).await;
    let answer = answer.expect("an answer").into_inner();
    let summary = answer.summary.expect("a summary");
    assert_eq!((summary.matched, summary.changed), (1000, 0));
    assert!(!answer.samples.is_empty());
    assert!(answer.samples.iter().all(|flow| flow.mark == Some(1)));
    assert_eq!(ns.entries(), 3000);

    let bounded = |max| pb::ChangeOptions {
        max_affected: Some(max),
        ..Default::default()
    };
    let status = client.delete_flows(deletion(target(), bounded(999))).await;
    let status = status.expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(&*info.reason, "MAX_AFFECTED");
    assert_eq!(info.metadata["matched"], "1000");
    assert_eq!(ns.entries(), 3000);

    let answer = client.delete_flows(deletion(target(), bounded(1000))).await;
    let summary = answer
        .expect("an answer")
        .into_inner()
        .summary
        .expect("a summary");
    assert_eq!(
        (summary.matched, summary.changed, summary.failed),
        (1000, 1000, 0)
    );
    assert_eq!(ns.entries(), 2000);
    assert!(ns.flows(None).iter().all(|flow| flow.mark != Some(1)));
}

#[tokio::test]
async fn a_deletion_by_keys_and_ids_takes_those_and_counts_who_is_gone() {
    let ns = Netns::new();
    ns.create(&[1, 2, 3, 4].map(|port| marked(port, port.into())));
    let mut flows = ns.flows(None);
    flows.sort_by_key(|flow| flow.mark);
    let agent = Agent::start(&ns);
    let mut client = agent.flows();

    let mut stale = flows[1].clone();
    stale.id = stale.id.map(|id| !id);
    let by_keys = keys(&[flows[0].clone(), stale, marked(9, 9)]);
    let target = || delete::Target::Keys(by_keys.clone());
    let rehearsal = pb::ChangeOptions {
        dry_run: true,
        ..Default::default()
    };
    for (options, changed) in [(rehearsal, 0), (pb::ChangeOptions::default(), 1)] {
        let answer = client.delete_flows(deletion(target(), options)).await;
        let summary = answer
            .expect("an answer")
            .into_inner()
            .summary
            .expect("a summary");
        let counts = (
            summary.matched,
            summary.changed,
            summary.gone,
            summary.failed,
        );
        assert_eq!(counts, (3, changed, 2, 0));
    }
    assert_eq!(marks(&ns), [2, 3, 4]);

    let ids = pb::FlowIds {
        ids: vec![flows[2].id.expect("an id"), 1, flows[0].id.expect("an id")],
    };
    let target = deletion(delete::Target::Ids(ids), pb::ChangeOptions::default());
    let answer = client.delete_flows(target).await;
    let summary = answer
        .expect("an answer")
        .into_inner()
        .summary
        .expect("a summary");
    assert_eq!((summary.matched, summary.changed, summary.gone), (3, 1, 2));
    assert_eq!(marks(&ns), [2, 4]);
}

#[tokio::test]
async fn an_update_changes_the_masked_bits_of_what_it_names() {
    let ns = Netns::new();
    ns.create(&[1, 2, 3].map(|port| marked(port, 0xf0)));
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    let mut flows = ns.flows(None);
    flows.sort_by_key(|flow| flow.orig.ports());
    let mut update = async |target, changes| {
        let request = pb::UpdateFlowsRequest {
            network_namespace: String::new(),
            target: Some(target),
            changes: Some(changes),
            options: None,
        };
        let answer = client.update_flows(request).await.expect("an answer");
        answer.into_inner().summary.expect("a summary")
    };
    let low = pb::FlowChanges {
        mark: Some(pb::MaskedUint32 {
            value: 0xff,
            mask: Some(0x0f),
        }),
        timeout_seconds: Some(100),
        ..Default::default()
    };
    let by_keys = keys(&[flows[0].clone(), marked(9, 0)]);
    let summary = update(update::Target::Keys(by_keys), low).await;
    assert_eq!((summary.changed, summary.failed), (1, 1));
    assert_eq!(summary.failures[0].index, 1);
    assert_eq!(Code::from(summary.failures[0].code), Code::NotFound);
    assert_eq!(marks(&ns), [0xff, 0xf0, 0xf0]);
    let short: Vec<_> = ns
        .flows(None)
        .into_iter()
        .filter(|f| f.timeout <= Some(100))
        .collect();
    assert_eq!(short.len(), 1);

    let summary = update(update::Target::Filter(by_mark(0xf0)), changes(1)).await;
    assert_eq!((summary.matched, summary.changed), (2, 2));
    assert_eq!(marks(&ns), [0xff, 1, 1]);

    let ids = pb::FlowIds {
        ids: vec![7, flows[2].id.expect("an id")],
    };
    let assured = pb::FlowChanges {
        status_set: Some(Status::ASSURED.0),
        ..changes(2)
    };
    let summary = update(update::Target::Ids(ids), assured).await;
    assert_eq!((summary.changed, summary.failed), (1, 1));
    assert_eq!(summary.failures[0].index, 0);
    assert_eq!(marks(&ns), [0xff, 1, 2]);
    let status = ns.flows(Some(is(NumberField::Mark, 2)))[0]
        .status
        .expect("a status");
    assert!(status.contains(Status::ASSURED));

    // The kernel would ignore it in silence.
    let tcp = pb::FlowChanges {
        protoinfo: Some(pb::flow_changes::Protoinfo::Tcp(pb::TcpInfo {
            state: Some(1),
            ..Default::default()
        })),
        ..Default::default()
    };
    let summary = update(update::Target::Filter(by_mark(2)), tcp).await;
    assert_eq!((summary.changed, summary.failed), (0, 1));
    assert!(
        summary.failures[0]
            .message
            .contains("does not fit protocol udp")
    );
}

#[tokio::test]
async fn the_kernel_s_refusals_of_an_update_are_told_one_to_one() {
    let ns = Netns::new();
    let target = marked(1, 1);
    ns.create(std::slice::from_ref(&target));
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    let cases = [
        (
            pb::FlowChanges {
                helper: Some("ftp".to_owned()),
                ..Default::default()
            },
            Code::Unimplemented,
            libc::EOPNOTSUPP,
        ),
        (
            pb::FlowChanges {
                status_set: Some(Status::DYING.0),
                ..Default::default()
            },
            Code::FailedPrecondition,
            libc::EBUSY,
        ),
        (
            pb::FlowChanges {
                labels: Some(pb::MaskedLabels {
                    value: vec![1; 16].into(),
                    mask: None,
                }),
                ..Default::default()
            },
            Code::ResourceExhausted,
            libc::ENOSPC,
        ),
    ];
    for (changes, code, errno) in cases {
        let request = pb::UpdateFlowsRequest {
            network_namespace: String::new(),
            target: Some(update::Target::Keys(keys(std::slice::from_ref(&target)))),
            changes: Some(changes),
            options: None,
        };
        let answer = client.update_flows(request).await.expect("an answer");
        let summary = answer.into_inner().summary.expect("a summary");
        let [failure] = &summary.failures[..] else {
            panic!("{summary:?}")
        };
        assert_eq!(
            (Code::from(failure.code), failure.errno),
            (code, errno),
            "{failure:?}"
        );
    }
}

#[tokio::test]
async fn a_flush_takes_one_family_or_all() {
    let ns = Netns::new();
    let seed = || {
        ns.create(&[Family::V4, Family::V6].map(|family| flow(family, Protocol::UDP, 1)));
    };
    seed();
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    let mut flush = async |family: pb::Family| {
        let request = pb::FlushFlowsRequest {
            family: family.into(),
            ..Default::default()
        };
        client.flush_flows(request).await.expect("flushed");
        ns.flows(None).iter().map(Flow::family).collect::<Vec<_>>()
    };
    assert_eq!(flush(pb::Family::Ipv4).await, [Family::V6]);
    assert_eq!(flush(pb::Family::Ipv4).await, [Family::V6]);
    assert_eq!(flush(pb::Family::Ipv6).await, []);
    seed();
    assert_eq!(flush(pb::Family::Unspecified).await, []);
}

/// None of them means everything, or anything.
#[tokio::test]
async fn a_change_without_a_target_is_refused_and_touches_nothing() {
    let ns = Netns::new();
    ns.create(&[marked(1, 1)]);
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    let no_tuple = pb::FlowKeys {
        keys: vec![pb::FlowKey {
            id: Some(1),
            ..Default::default()
        }],
    };
    let and = |filters| pb::Filter {
        node: Some(pb::filter::Node::And(pb::FilterList { filters })),
    };
    for (target, field) in [
        (None, "target"),
        (
            Some(delete::Target::Keys(pb::FlowKeys::default())),
            "keys.keys",
        ),
        (Some(delete::Target::Keys(no_tuple)), "keys.keys[0].tuple"),
        (Some(delete::Target::Ids(pb::FlowIds::default())), "ids.ids"),
        (
            Some(delete::Target::Filter(pb::Filter::default())),
            "filter.node",
        ),
        (
            Some(delete::Target::Filter(and(vec![]))),
            "filter.and.filters",
        ),
        (
            Some(delete::Target::Filter(and(vec![by_mark(1), and(vec![])]))),
            "filter.and.filters[1].and.filters",
        ),
    ] {
        let request = pb::DeleteFlowsRequest {
            target,
            ..Default::default()
        };
        let status = client.delete_flows(request).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let violations = status.get_details_bad_request().expect("a BadRequest");
        assert_eq!(violations.field_violations[0].field, field);
    }
    assert_eq!(ns.entries(), 1);
}

#[tokio::test]
async fn what_was_changed_is_returned_for_keys_alone() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let options = pb::ChangeOptions {
        return_changed: true,
        ..Default::default()
    };
    for target in [
        delete::Target::Filter(by_mark(1)),
        delete::Target::Ids(pb::FlowIds { ids: vec![1] }),
    ] {
        let answer = agent.flows().delete_flows(deletion(target, options)).await;
        let status = answer.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        let words = status.message();
        assert!(words.contains("options.return_changed"), "{words}");
    }
    let expectations = pb::DeleteExpectationsRequest {
        target: Some(pb::delete_expectations_request::Target::Ids(
            pb::ExpectationIds { ids: vec![1] },
        )),
        options: Some(options),
        ..Default::default()
    };
    let answer = agent.expectations().delete_expectations(expectations).await;
    let status = answer.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
}
