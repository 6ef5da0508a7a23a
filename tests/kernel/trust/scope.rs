//! What a caller with a scope sees: its flows, and no trace of any other.

use std::collections::BTreeSet;
use std::time::Duration;

use ctfleet::flow::filter::{NumberField, PresenceField};
use ctfleet::flow::{Family, Filter, Flow, FlowKey, Protocol, filter::Predicate};
use ctfleet::pb;
use ctfleet::pb::watch_flows_response::Message;
use tonic::{Code, Status};

use super::{Bound, reason};
use crate::harness::Netns;
use crate::harness::agent::collect;
use crate::harness::filters::{is, not};
use crate::harness::flows::{expectation, flow, helped};

/// The scope of these tests: a mark, which can change, and a port, which cannot.
pub(super) const SCOPE: &str = "role = \"admin\"\nscope = \"mark 5 and not dport 443\"";

/// A flow with this mark.
pub(super) fn marked(port: u16, mark: u32) -> Flow {
    let mut flow = flow(Family::V4, Protocol::UDP, port);
    flow.mark = (mark != 0).then_some(mark);
    flow
}

/// Ports 1 to 3 are in the scope; 11 to 14 are not.
pub(super) fn table(ns: &Netns) {
    let mut flows: Vec<_> = (1..=3).map(|port| marked(port, 5)).collect();
    flows.extend([marked(11, 0), marked(12, 6), marked(13, 4)]);
    let mut other = marked(14, 5);
    // The port decides, although the mark fits.
    if let ctfleet::flow::L4::Ports { dst, .. } = &mut other.orig.l4 {
        *dst = 443;
    }
    other.reply = other.orig.inverse();
    flows.push(other);
    ns.create(&flows);
}

/// What every flow of the table fits.
pub(super) fn everyone() -> Filter {
    not(is(NumberField::Mark, 77))
}

/// The source ports, in order.
pub(super) fn ports(flows: &[Flow]) -> BTreeSet<u16> {
    let ports = flows.iter().filter_map(|flow| flow.orig.ports());
    ports.map(|(src, _)| src).collect()
}

/// The entry of the table with this source port, as somebody without a scope reads it.
pub(super) fn entry(ns: &Netns, port: u16) -> Flow {
    let mut flows = ns.flows(Some(is(NumberField::SrcPort, port.into())));
    flows.pop().expect("an entry")
}

pub(super) fn key(flow: &Flow, id: bool) -> pb::FlowKey {
    let id = flow.id.filter(|_| id);
    (&FlowKey { id, ..flow.key() }).into()
}

async fn dump(bound: &Bound, filter: Option<Filter>) -> (Vec<Flow>, pb::DumpSummary) {
    let request = pb::DumpFlowsRequest {
        filter: filter.as_ref().map(Into::into),
        ..Default::default()
    };
    let stream = bound.flows().dump_flows(request).await.expect("a stream");
    collect(stream.into_inner()).await.expect("flows")
}

#[tokio::test]
async fn dumps_and_counts_have_what_is_in_it_and_say_nothing_of_the_rest() {
    let ns = Netns::new();
    table(&ns);
    let bound = Bound::start(&ns, SCOPE).await;
    for filter in [None, Some(everyone())] {
        let (flows, summary) = dump(&bound, filter.clone()).await;
        assert_eq!(ports(&flows), [1, 2, 3].into());
        assert_eq!((summary.matched, summary.scanned), (3, 3), "{filter:?}");
        let request = pb::CountFlowsRequest {
            filter: filter.as_ref().map(Into::into),
            ..Default::default()
        };
        let count = bound.flows().count_flows(request).await;
        let count = count.expect("a count").into_inner();
        assert_eq!((count.count, count.scanned, count.max), (3, 3, None));
    }
    let (none, summary) = dump(&bound, Some(is(NumberField::Mark, 6))).await;
    assert!(none.is_empty());
    assert_eq!((summary.matched, summary.scanned), (0, 0));
    for limit in [2, 3] {
        let request = pb::DumpFlowsRequest {
            limit,
            ..Default::default()
        };
        let stream = bound.flows().dump_flows(request).await.expect("a stream");
        let (flows, summary) = collect(stream.into_inner()).await.expect("flows");
        assert_eq!(flows.len() as u64, limit);
        // Of three in the scope; what the kernel has beyond is not told.
        assert_eq!(summary.truncated, limit == 2);
    }
    // The scope hides from its caller alone.
    let stream = bound
        .agent
        .flows()
        .dump_flows(pb::DumpFlowsRequest::default())
        .await;
    let (flows, _) = collect(stream.expect("a stream").into_inner())
        .await
        .expect("flows");
    assert_eq!(flows.len(), 7);
}

#[tokio::test]
async fn what_lies_beyond_is_not_found_as_what_is_not_there() {
    let ns = Netns::new();
    table(&ns);
    let bound = Bound::start(&ns, SCOPE).await;
    let by = async |by: pb::get_flow_request::By| -> Result<pb::GetFlowResponse, Status> {
        let request = pb::GetFlowRequest {
            by: Some(by),
            ..Default::default()
        };
        Ok(bound.flows().get_flow(request).await?.into_inner())
    };
    let by_key = async |flow: &Flow| by(pb::get_flow_request::By::Key(key(flow, false))).await;
    let by_id = async |id: u32| by(pb::get_flow_request::By::Id(id)).await;

    let own = entry(&ns, 2);
    assert!(by_key(&own).await.is_ok());
    assert!(by_id(own.id.expect("an id")).await.is_ok());
    let nowhere = by_key(&marked(99, 5)).await.expect_err("nothing");
    for port in [11, 12, 13, 14] {
        let beyond = entry(&ns, port);
        let hidden = by_key(&beyond).await.expect_err("hidden");
        assert_eq!(hidden.code(), Code::NotFound);
        assert_eq!(hidden.message(), nowhere.message());
        assert_eq!(hidden.details(), nowhere.details());
        let id = beyond.id.expect("an id");
        let hidden = by_id(id).await.expect_err("hidden");
        assert_eq!(hidden.message(), format!("there is no flow with id {id}"));
    }
}

#[tokio::test]
async fn a_watch_tells_what_happens_in_it_with_numbers_of_its_own() {
    let ns = Netns::new();
    // Also of entries that are older than the first listener.
    ns.set_sysctl("net/netfilter/nf_conntrack_events", "1");
    table(&ns);
    let bound = Bound::start(&ns, SCOPE).await;
    let request = pb::WatchFlowsRequest {
        snapshot: true,
        ..Default::default()
    };
    let stream = bound.flows().watch_flows(request).await;
    let mut stream = stream.expect("a watch").into_inner();
    let mut snapshot = Vec::new();
    loop {
        match stream
            .message()
            .await
            .expect("a message")
            .expect("one")
            .message
        {
            Some(Message::Subscribed(subscribed)) => assert_eq!(subscribed.cursor, None),
            Some(Message::Snapshot(entries)) => snapshot.extend(entries.flows),
            Some(Message::SnapshotEnd(end)) => {
                assert_eq!(end.entries, 3);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(snapshot.len(), 3);

    for port in 200..250 {
        ns.create(&[marked(port, if port % 10 == 0 { 5 } else { 6 })]);
    }
    // Beyond, into the scope, and out of it again.
    let tuple = "-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 11 --dport 80";
    ns.conntrack(&format!("-U {tuple} -m 5"));
    ns.conntrack(&format!("-U {tuple} -m 6"));
    ns.conntrack(&format!("-D {tuple}"));
    ns.conntrack("-D -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 3 --dport 80");
    let mut told = Vec::new();
    while told.len() < 7 {
        let message = tokio::time::timeout(Duration::from_secs(20), stream.message()).await;
        let message = message.unwrap_or_else(|_| panic!("no more than {told:?}"));
        match message.expect("a message").expect("one").message {
            Some(Message::Events(events)) => told.extend(events.events),
            other => panic!("{other:?}"),
        }
    }
    let told: Vec<_> = told
        .into_iter()
        .map(|event| {
            let kind = event.r#type();
            let flow = Flow::try_from(event.flow.expect("a flow")).expect("a flow");
            (event.sequence, kind, flow.orig.ports().expect("ports").0)
        })
        .collect();
    let (new, update, destroy) = (
        pb::EventType::New,
        pb::EventType::Update,
        pb::EventType::Destroy,
    );
    assert_eq!(
        told,
        [
            (1, new, 200),
            (2, new, 210),
            (3, new, 220),
            (4, new, 230),
            (5, new, 240),
            (6, update, 11),
            (7, destroy, 3),
        ]
    );

    let request = pb::WatchFlowsRequest {
        resume_after: Some(pb::Cursor {
            epoch: 1,
            sequence: 1,
        }),
        ..Default::default()
    };
    let status = bound
        .flows()
        .watch_flows(request)
        .await
        .expect_err("refused");
    assert_eq!(reason(&status), "SCOPE_DENIED");
}

#[tokio::test]
async fn masters_beyond_are_neither_shown_nor_asked_for() {
    let ns = Netns::new();
    let master = helped(flow(Family::V4, Protocol::TCP, 21), "ftp");
    ns.create(std::slice::from_ref(&master));
    let mut related = marked(20, 5);
    related.master = Some(master.orig);
    ns.create(&[related]);
    assert_eq!(
        entry(&ns, 20).master,
        Some(master.orig),
        "the kernel has it"
    );

    let bound = Bound::start(&ns, SCOPE).await;
    let (flows, _) = dump(&bound, None).await;
    assert_eq!(flows.len(), 1);
    assert_eq!(flows[0].master, None);
    let get = pb::GetFlowRequest {
        by: Some(pb::get_flow_request::By::Key(key(&flows[0], false))),
        ..Default::default()
    };
    let got = bound.flows().get_flow(get).await.expect("a flow");
    assert_eq!(got.into_inner().flow.expect("a flow").master, None);
    for filter in [
        Filter::Is(Predicate::Present(PresenceField::Master)),
        not(is(NumberField::MasterSrcPort, 21)),
    ] {
        let request = pb::CountFlowsRequest {
            filter: Some((&filter).into()),
            ..Default::default()
        };
        let status = bound
            .flows()
            .count_flows(request)
            .await
            .expect_err("refused");
        assert_eq!(reason(&status), "SCOPE_DENIED", "{filter:?}");
    }
}

#[tokio::test]
async fn what_counts_the_whole_table_is_closed() {
    let ns = Netns::new();
    table(&ns);
    let bound = Bound::start(&ns, SCOPE).await;
    let mut denied = Vec::new();
    let stats = bound
        .flows()
        .get_stats(pb::GetStatsRequest::default())
        .await;
    denied.push(stats.map(|_| ()).expect_err("denied"));
    let stats = pb::GetExpectationStatsRequest::default();
    let stats = bound.expectations().get_expectation_stats(stats).await;
    denied.push(stats.map(|_| ()).expect_err("denied"));
    let settings = bound
        .info()
        .get_settings(pb::GetSettingsRequest::default())
        .await;
    denied.push(settings.map(|_| ()).expect_err("denied"));
    let update = pb::UpdateSettingsRequest {
        updates: vec![pb::SettingUpdate {
            name: "nf_conntrack_acct".to_owned(),
            value: 1,
        }],
        ..Default::default()
    };
    let update = bound.info().update_settings(update).await;
    denied.push(update.map(|_| ()).expect_err("denied"));
    let zero = pb::DumpFlowsRequest {
        zero_counters: true,
        ..Default::default()
    };
    denied.push(
        bound
            .flows()
            .dump_flows(zero)
            .await
            .map(|_| ())
            .expect_err("denied"),
    );
    let watch = pb::WatchExpectationsRequest::default();
    let watch = bound.expectations().watch_expectations(watch).await;
    denied.push(watch.map(|_| ()).expect_err("denied"));
    let create = pb::CreateExpectationsRequest::default();
    let create = bound.expectations().create_expectations(create).await;
    denied.push(create.map(|_| ()).expect_err("denied"));
    for status in denied {
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        assert_eq!(reason(&status), "SCOPE_DENIED", "{status:?}");
    }
    let list = bound
        .info()
        .list_namespaces(pb::ListNamespacesRequest::default())
        .await;
    let list = list.expect("a list").into_inner().namespaces;
    assert!(list.iter().all(|namespace| namespace.entries.is_none()));
    let info = bound.info().get_info(pb::GetInfoRequest {}).await;
    let caller = info.expect("info").into_inner().caller.expect("a caller");
    assert_eq!(caller.scope.as_deref(), Some("mark 5 and not dport 443"));
}

#[tokio::test]
async fn expectations_are_seen_with_their_masters() {
    let ns = Netns::new();
    let mut own = helped(flow(Family::V4, Protocol::TCP, 21), "ftp");
    own.mark = Some(5);
    let beyond = helped(flow(Family::V4, Protocol::TCP, 22), "ftp");
    ns.create(&[own.clone(), beyond.clone()]);
    let bound = Bound::start(&ns, SCOPE).await;
    let created = pb::CreateExpectationsRequest {
        expectations: [expectation(&own, 1000), expectation(&beyond, 2000)]
            .iter()
            .map(Into::into)
            .collect(),
        ..Default::default()
    };
    let created = bound
        .agent
        .expectations()
        .create_expectations(created)
        .await;
    assert_eq!(created.expect("an answer").into_inner().created, 2);
    let all = ns.expectations(Default::default());
    let port = |expectation: &ctfleet::flow::Expectation| expectation.tuple.ports().map(|p| p.1);
    let of = |wanted| {
        all.iter()
            .find(|found| port(found) == Some(wanted))
            .expect("one")
    };

    let mut client = bound.expectations();
    let stream = client
        .dump_expectations(pb::DumpExpectationsRequest::default())
        .await;
    let mut stream = stream.expect("a stream").into_inner();
    let mut seen = Vec::new();
    while let Some(message) = stream.message().await.expect("a message") {
        seen.extend(message.expectations);
        if let Some(summary) = message.summary {
            assert_eq!((summary.matched, summary.scanned), (1, 1));
        }
    }
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].id, of(1000).id);

    let by_master = async |master: &Flow| {
        let request = pb::DumpExpectationsRequest {
            master: Some((&master.key()).into()),
            ..Default::default()
        };
        let mut stream = bound
            .expectations()
            .dump_expectations(request)
            .await?
            .into_inner();
        let mut count = 0;
        while let Some(message) = stream.message().await? {
            count += message.expectations.len();
        }
        Ok::<_, Status>(count)
    };
    assert_eq!(by_master(&own).await.expect("a list"), 1);
    let nowhere = by_master(&flow(Family::V4, Protocol::TCP, 99))
        .await
        .expect_err("nothing");
    let hidden = by_master(&beyond).await.expect_err("hidden");
    assert_eq!(hidden.code(), Code::NotFound);
    assert_eq!(hidden.message(), nowhere.message());

    for (wanted, there) in [(1000, true), (2000, false)] {
        for by in [
            pb::get_expectation_request::By::Key((&of(wanted).key()).into()),
            pb::get_expectation_request::By::Id(of(wanted).id.expect("an id")),
        ] {
            let get = pb::GetExpectationRequest {
                by: Some(by),
                ..Default::default()
            };
            let got = client.get_expectation(get).await;
            assert_eq!(got.is_ok(), there, "{wanted}");
            if let Err(status) = got {
                assert_eq!(status.code(), Code::NotFound);
            }
        }
    }

    let keys = [of(2000), of(1000)]
        .map(|found| (&found.key()).into())
        .to_vec();
    let delete = pb::DeleteExpectationsRequest {
        target: Some(pb::delete_expectations_request::Target::Keys(
            pb::ExpectationKeys { keys },
        )),
        ..Default::default()
    };
    let summary = client.delete_expectations(delete).await.expect("an answer");
    let summary = summary.into_inner().summary.expect("a summary");
    assert_eq!((summary.changed, summary.gone), (1, 1));
    let flush = pb::FlushExpectationsRequest::default();
    client.flush_expectations(flush).await.expect("flushed");
    let left = ns.expectations(Default::default());
    assert_eq!(left.iter().map(port).collect::<Vec<_>>(), [Some(2000)]);
}
