//! Dumps, single entries, counts and counters, as clients get them.

use std::time::Duration;

use ctfleet::flow::filter::NumberField;
use ctfleet::flow::{Family, Flow, FlowKey, Protocol};
use ctfleet::pb;
use tonic::{Code, Status};

use crate::harness::agent::{Agent, collect};
use crate::harness::filters::{between, is};
use crate::harness::flows::{FAMILIES, flow, host, protocols};
use crate::harness::traffic::{Tcp, udp};
use crate::harness::{Firewall, Netns};

fn dump(filter: Option<pb::Filter>) -> pb::DumpFlowsRequest {
    pb::DumpFlowsRequest {
        filter,
        ..Default::default()
    }
}

/// Without what changes by itself.
fn settled(mut flows: Vec<Flow>) -> Vec<Flow> {
    for flow in &mut flows {
        flow.timeout = None;
        flow.use_count = None;
    }
    flows.sort_by_key(|flow| flow.id);
    flows
}

#[tokio::test]
async fn a_dump_carries_every_entry_as_the_kernel_has_it() {
    let ns = Netns::new();
    for family in FAMILIES {
        for protocol in protocols(family) {
            let mut flow = flow(family, protocol, 4000);
            flow.mark = Some(protocol.0.into());
            ns.create(&[flow]);
        }
    }
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    let stream = client.dump_flows(dump(None)).await.expect("a stream");
    let (flows, summary) = collect(stream.into_inner()).await.expect("a dump");
    assert_eq!(settled(flows), settled(ns.witnessed_flows()));
    assert_eq!((summary.matched, summary.scanned), (14, 14));
    assert!(!summary.truncated);

    let marked = between(NumberField::Mark, 6..=17);
    let stream = client.dump_flows(dump(Some((&marked).into()))).await;
    let (flows, _) = collect(stream.expect("a stream").into_inner())
        .await
        .expect("a dump");
    assert_eq!(settled(flows), settled(ns.flows(Some(marked.clone()))));

    // The same namespace by its name, read by an agent elsewhere.
    let elsewhere = Netns::new();
    let agent = Agent::start_for_all(&elsewhere);
    let mut client = agent.flows();
    let request = pb::CountFlowsRequest {
        network_namespace: ns.name().to_owned(),
        filter: Some((&marked).into()),
    };
    let count = client
        .count_flows(request)
        .await
        .expect("a count")
        .into_inner();
    assert_eq!((count.count, count.scanned >= count.count), (4, true));
    let own = client.count_flows(pb::CountFlowsRequest::default()).await;
    assert_eq!(own.expect("a count").into_inner().count, 0);
}

#[tokio::test]
async fn a_dump_larger_than_any_buffer_comes_in_chunks_and_a_limit_ends_it() {
    let ns = Netns::new();
    let flows: Vec<_> = (0..5000)
        .map(|n| {
            let mut flow = flow(Family::V6, Protocol::UDP, 1000);
            flow.orig.src = host(Family::V6, 1000 + n);
            flow.reply = flow.orig.inverse();
            flow
        })
        .collect();
    ns.create(&flows);
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    let mut stream = client
        .dump_flows(dump(None))
        .await
        .expect("a stream")
        .into_inner();
    let mut sizes = Vec::new();
    let mut total = 0;
    while let Some(message) = stream.message().await.expect("a message") {
        total += message.flows.len();
        sizes.push(prost::Message::encoded_len(&message));
    }
    assert_eq!(total, 5000);
    assert!(sizes.len() > 5, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size < 80 * 1024), "{sizes:?}");

    for (limit, truncated) in [(1, true), (4999, true), (5001, false)] {
        let request = pb::DumpFlowsRequest {
            limit,
            ..Default::default()
        };
        let stream = client.dump_flows(request).await.expect("a stream");
        let (flows, summary) = collect(stream.into_inner()).await.expect("a dump");
        assert_eq!(flows.len() as u64, limit.min(5000));
        assert_eq!(summary.matched, limit.min(5000));
        assert_eq!(summary.truncated, truncated, "{limit}");
    }
}

#[tokio::test]
async fn zero_counters_reads_and_resets_also_when_the_caller_leaves() {
    let firewall = Firewall::new();
    let Firewall {
        client,
        router,
        server,
    } = &firewall;
    router.set_sysctl("net/netfilter/nf_conntrack_acct", "1");
    let at = (Firewall::server_address(Family::V4), 0).into();
    let _udp = udp(client, server, at);
    let agent = Agent::start(router);
    let mut flows = agent.flows();
    let only_udp = is(NumberField::Protocol, 17);
    let request = pb::DumpFlowsRequest {
        zero_counters: true,
        ..dump(Some((&only_udp).into()))
    };
    let stream = flows.dump_flows(request.clone()).await.expect("a stream");
    let (found, _) = collect(stream.into_inner()).await.expect("a dump");
    assert_eq!(found[0].counters_orig.expect("counters").packets, 1);
    let after = router.flows(Some(only_udp.clone()));
    assert_eq!(after[0].counters_orig.expect("counters").packets, 0);

    let tcp = Tcp::open(client, server, at);
    let stream = flows.dump_flows(pb::DumpFlowsRequest {
        zero_counters: true,
        ..Default::default()
    });
    drop(stream.await.expect("a stream"));
    crate::harness::until("the counters to be reset", || {
        let flows = router.flows(Some(is(NumberField::Protocol, 6)));
        let packets = flows[0].counters_orig.expect("counters").packets;
        (packets == 0).then_some(())
    });
    drop(tcp);

    for wrong in [
        pb::DumpFlowsRequest {
            limit: 1,
            ..request.clone()
        },
        pb::DumpFlowsRequest {
            table: pb::FlowTable::Dying.into(),
            ..request
        },
    ] {
        let status = flows.dump_flows(wrong).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn one_entry_is_read_by_either_tuple_or_by_its_id() {
    let ns = Netns::new();
    let mut seeded = flow(Family::V4, Protocol::TCP, 7);
    seeded.mark = Some(9);
    ns.create(&[seeded.clone(), flow(Family::V6, Protocol::TCP, 7)]);
    let id = ns.flows(Some(is(NumberField::Mark, 9)))[0]
        .id
        .expect("an id");
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    let mut get = async |by| {
        let request = pb::GetFlowRequest {
            by: Some(by),
            ..Default::default()
        };
        let answer: Result<_, Status> = client.get_flow(request).await;
        answer.map(|answer| {
            let flow = answer.into_inner().flow.expect("a flow");
            Flow::try_from(flow).expect("a flow of the agent's").mark
        })
    };
    use pb::get_flow_request::By;
    let orig = pb::FlowKey::from(&FlowKey {
        id: None,
        ..seeded.key()
    });
    let reply = pb::FlowKey {
        tuple: Some((&seeded.reply).into()),
        direction: pb::Direction::Reply.into(),
        ..Default::default()
    };
    assert_eq!(get(By::Key(orig.clone())).await.expect("a flow"), Some(9));
    assert_eq!(get(By::Key(reply)).await.expect("a flow"), Some(9));
    assert_eq!(get(By::Id(id)).await.expect("a flow"), Some(9));
    let fitting = pb::FlowKey {
        id: Some(id),
        ..orig.clone()
    };
    assert_eq!(get(By::Key(fitting)).await.expect("a flow"), Some(9));

    let other = pb::FlowKey {
        id: Some(!id),
        ..orig.clone()
    };
    let elsewhere = pb::FlowKey { zone: 5, ..orig };
    for by in [By::Key(other), By::Key(elsewhere), By::Id(!id)] {
        let status = get(by).await.expect_err("none");
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
    }
}

#[tokio::test]
async fn counts_and_counters_are_the_kernel_s() {
    let ns = Netns::new();
    ns.create(&[
        flow(Family::V4, Protocol::UDP, 1),
        flow(Family::V4, Protocol::UDP, 2),
    ]);
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    let count = client.count_flows(pb::CountFlowsRequest::default()).await;
    let count = count.expect("a count").into_inner();
    assert_eq!(count.count, ns.entries());
    let max: u64 = ns
        .sysctl("net/netfilter/nf_conntrack_max")
        .parse()
        .expect("a number");
    assert_eq!((count.max, count.scanned), (Some(max), 0));
    let stats = client.get_stats(pb::GetStatsRequest::default()).await;
    let stats = stats.expect("statistics").into_inner();
    assert_eq!((stats.entries, stats.max), (2, Some(max)));
    let inserted: u64 = stats.cpus.iter().filter_map(|cpu| cpu.stats?.insert).sum();
    assert_eq!(stats.total.expect("a total").insert, Some(inserted));
    assert_eq!(inserted, 2);
}

/// About 2 MiB of answer.
fn many() -> Vec<Flow> {
    (0..20_000)
        .map(|n| {
            let mut flow = flow(Family::V4, Protocol::UDP, 1000);
            flow.orig.src = host(Family::V4, 1000 + n);
            flow.reply = flow.orig.inverse();
            flow
        })
        .collect()
}

#[tokio::test]
async fn too_many_dumps_at_once_are_refused_and_a_finished_one_makes_room() {
    let ns = Netns::new();
    ns.create(&many());
    let agent = Agent::start_with(&ns, &["--max-dumps=1"]);
    let mut client = agent.flows_unread();
    let mut held = client
        .dump_flows(dump(None))
        .await
        .expect("a stream")
        .into_inner();
    held.message().await.expect("no error").expect("a chunk");
    let refused = agent.flows().dump_flows(dump(None)).await;
    let status = refused.expect_err("refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("max-dumps"), "{status:?}");
    drop(held);
    // The agent notices when the reset of the stream arrives.
    let mut room = async || client.dump_flows(dump(None)).await.is_ok();
    while !room().await {
        tokio::task::yield_now().await;
    }
}

/// Each of them keeps a thread.
#[tokio::test]
async fn as_many_dumps_as_are_allowed_hold_up_no_other_call() {
    let ns = Netns::new();
    ns.create(&many());
    let agent = Agent::start_with(&ns, &["--max-dumps=128"]);
    let mut client = agent.flows_unread();
    let mut held = Vec::new();
    // A caller's share.
    for _ in 0..96 {
        held.push(client.dump_flows(dump(None)).await.expect("a stream"));
    }
    let mut other = agent.flows();
    let count = other.count_flows(pb::CountFlowsRequest {
        filter: Some((&is(NumberField::Protocol, 17)).into()),
        ..Default::default()
    });
    let count = tokio::time::timeout(Duration::from_secs(30), count).await;
    let count = count.expect("an answer in time").expect("an answer");
    assert_eq!(count.into_inner().count, 20_000);
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_keep_its_place() {
    let ns = Netns::new();
    ns.create(&many());
    let agent = Agent::start_with(&ns, &["--max-dumps=1", "--stall-timeout=1"]);
    let mut client = agent.flows_unread();
    let stream = client.dump_flows(dump(None)).await;
    let mut stalled = stream.expect("a stream").into_inner();
    stalled.message().await.expect("no error").expect("a chunk");
    let mut other = agent.flows();
    let stream = loop {
        match other.dump_flows(dump(None)).await {
            Ok(stream) => break stream,
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted),
        }
    };
    let (flows, _) = collect(stream.into_inner()).await.expect("a dump");
    assert_eq!(flows.len(), 20_000);
    let end = loop {
        match stalled.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("an end without a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end:?}");
}
