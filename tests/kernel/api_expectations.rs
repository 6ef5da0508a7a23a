//! Expectations, as clients get and change them.

use ctfleet::flow::filter::NumberField;
use ctfleet::flow::{Expectation, Family, Protocol, Zone};
use ctfleet::pb;
use ctfleet::pb::delete_expectations_request::Target;
use ctfleet::pb::expectation_service_client::ExpectationServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::filters::is;
use crate::harness::flows::{expectation, flow, helped};

type Client = ExpectationServiceClient<Channel>;

async fn create(
    client: &mut Client,
    expectations: Vec<pb::Expectation>,
    mode: pb::ExpectationCreateMode,
) -> pb::CreateExpectationsResponse {
    let request = pb::CreateExpectationsRequest {
        network_namespace: String::new(),
        expectations,
        mode: mode.into(),
    };
    let answer = client.create_expectations(request).await;
    answer.expect("an answer").into_inner()
}

async fn dump(
    client: &mut Client,
    request: pb::DumpExpectationsRequest,
) -> (Vec<Expectation>, pb::ExpectationDumpSummary) {
    let mut stream = client
        .dump_expectations(request)
        .await
        .expect("a stream")
        .into_inner();
    let mut found = Vec::new();
    let mut last = None;
    while let Some(message) = stream.message().await.expect("a message") {
        for expectation in message.expectations {
            found.push(Expectation::try_from(expectation).expect("an expectation"));
        }
        last = message.summary;
    }
    found.sort_by_key(|expectation| expectation.tuple.ports());
    (found, last.expect("a summary"))
}

async fn delete(client: &mut Client, target: Target, dry_run: bool) -> pb::ChangeSummary {
    let request = pb::DeleteExpectationsRequest {
        network_namespace: String::new(),
        target: Some(target),
        options: Some(pb::ChangeOptions {
            dry_run,
            ..Default::default()
        }),
    };
    let answer = client
        .delete_expectations(request)
        .await
        .expect("an answer")
        .into_inner();
    assert_eq!(answer.samples.is_empty(), !dry_run);
    answer.summary.expect("a summary")
}

#[tokio::test]
async fn expectations_are_created_read_and_deleted() {
    let ns = Netns::new();
    // IRC lets a connection expect several and knows IPv4 alone; FTP's would push each
    // other out.
    let irc = helped(flow(Family::V4, Protocol::TCP, 6667), "irc");
    let ftp = [21, 22, 23].map(|port| helped(flow(Family::V6, Protocol::TCP, port), "ftp"));
    ns.create(std::slice::from_ref(&irc));
    ns.create(&ftp);
    let agent = Agent::start(&ns);
    let mut client = agent.expectations();
    let sent: Vec<_> = [&irc, &irc, &irc, &ftp[0], &ftp[1], &ftp[2]]
        .into_iter()
        .zip(1..)
        .map(|(master, port)| expectation(master, port))
        .collect();
    let messages: Vec<pb::Expectation> = sent.iter().map(Into::into).collect();
    let answer = create(
        &mut client,
        messages.clone(),
        pb::ExpectationCreateMode::Create,
    )
    .await;
    assert_eq!((answer.created, answer.failures), (6, vec![]));
    let (found, summary) = dump(&mut client, pb::DumpExpectationsRequest::default()).await;
    assert_eq!((summary.matched, summary.scanned), (6, 6));
    for (found, sent) in found.iter().zip(&sent) {
        assert_eq!((found.tuple, found.master), (sent.tuple, sent.master));
    }

    // What exists, what has no timeout, and one that may be.
    let mut timeless = messages[1].clone();
    timeless.timeout_seconds = None;
    let again = vec![
        messages[0].clone(),
        timeless,
        (&expectation(&irc, 9)).into(),
    ];
    let answer = create(&mut client, again, pb::ExpectationCreateMode::Create).await;
    assert_eq!(answer.created, 1);
    let failed: Vec<_> = answer
        .failures
        .iter()
        .map(|f| (f.index, Code::from(f.code)))
        .collect();
    assert_eq!(
        failed,
        [(0, Code::AlreadyExists), (1, Code::InvalidArgument)]
    );

    let of_v6 = is(NumberField::Family, 6);
    let request = pb::DumpExpectationsRequest {
        filter: Some((&of_v6).into()),
        ..Default::default()
    };
    assert_eq!(dump(&mut client, request).await.0.len(), 3);
    let request = pb::DumpExpectationsRequest {
        master: Some((&irc.key()).into()),
        ..Default::default()
    };
    assert_eq!(dump(&mut client, request).await.0.len(), 4);

    let one = found[0].clone();
    let by = pb::get_expectation_request::By::Id(one.id.expect("an id"));
    let request = pb::GetExpectationRequest {
        network_namespace: String::new(),
        by: Some(by),
    };
    let answer = client
        .get_expectation(request)
        .await
        .expect("an expectation");
    let read = answer.into_inner().expectation.expect("an expectation");
    assert_eq!(read.id, one.id);
    let mut key = pb::ExpectationKey::from(&one.key());
    let mut get = async |key| {
        let by = Some(pb::get_expectation_request::By::Key(key));
        let request = pb::GetExpectationRequest {
            network_namespace: String::new(),
            by,
        };
        client
            .get_expectation(request)
            .await
            .map_err(|status| status.code())
    };
    assert!(get(key.clone()).await.is_ok());
    key.id = Some(!one.id.expect("an id"));
    assert_eq!(get(key.clone()).await.expect_err("none"), Code::NotFound);

    let v6 = || Target::Filter((&of_v6).into());
    let summary = delete(&mut client, v6(), true).await;
    assert_eq!((summary.matched, summary.changed), (3, 0));
    let summary = delete(&mut client, v6(), false).await;
    assert_eq!((summary.matched, summary.changed), (3, 3));
    // The stale id of above, and a true one.
    let keys = vec![key.clone(), (&expectation(&irc, 9).key()).into()];
    let summary = delete(
        &mut client,
        Target::Keys(pb::ExpectationKeys { keys }),
        false,
    )
    .await;
    assert_eq!((summary.matched, summary.changed, summary.gone), (2, 1, 1));
    let (left, _) = dump(&mut client, pb::DumpExpectationsRequest::default()).await;
    assert_eq!(left.len(), 3);
    let ids = vec![left[0].id.expect("an id"), 5];
    let summary = delete(&mut client, Target::Ids(pb::ExpectationIds { ids }), false).await;
    assert_eq!((summary.matched, summary.changed, summary.gone), (2, 1, 1));

    let request = pb::FlushExpectationsRequest::default();
    client.flush_expectations(request).await.expect("flushed");
    let (left, _) = dump(&mut client, pb::DumpExpectationsRequest::default()).await;
    assert_eq!(left, []);
    // The masters are still there.
    assert_eq!(ns.entries(), 4);
}

/// The kernel finds an expectation only in the zone of its master, and does not tell it.
#[tokio::test]
async fn a_deletion_by_filter_finds_the_zone_that_no_dump_tells() {
    let ns = Netns::new();
    let mut zoned = helped(flow(Family::V4, Protocol::TCP, 21), "ftp");
    zoned.zone = Zone::both(5);
    let plain = helped(flow(Family::V4, Protocol::TCP, 22), "ftp");
    ns.create(&[zoned.clone(), plain.clone()]);
    let agent = Agent::start(&ns);
    let mut client = agent.expectations();
    let mut in_zone = expectation(&zoned, 1);
    in_zone.zone = 5;
    let messages = vec![(&in_zone).into(), (&expectation(&plain, 2)).into()];
    let answer = create(&mut client, messages, pb::ExpectationCreateMode::Create).await;
    assert_eq!((answer.created, answer.failures), (2, vec![]));
    let all = Target::Filter((&is(NumberField::Family, 4)).into());
    let summary = delete(&mut client, all, false).await;
    assert_eq!((summary.matched, summary.changed, summary.gone), (2, 2, 0));
    let (left, _) = dump(&mut client, pb::DumpExpectationsRequest::default()).await;
    assert_eq!(left, []);
}

#[tokio::test]
async fn counters_are_the_kernel_s_and_fields_of_flows_are_refused() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let mut client = agent.expectations();
    let request = pb::GetExpectationStatsRequest::default();
    let stats = client
        .get_expectation_stats(request)
        .await
        .expect("statistics")
        .into_inner();
    assert!(!stats.cpus.is_empty());
    assert!(stats.total.expect("a total").create.is_some());
    let max: u64 = ns
        .sysctl("net/netfilter/nf_conntrack_expect_max")
        .parse()
        .expect("a number");
    assert_eq!(stats.max, Some(max));

    let request = pb::DumpExpectationsRequest {
        filter: Some((&is(NumberField::Mark, 1)).into()),
        ..Default::default()
    };
    let status = client
        .dump_expectations(request)
        .await
        .expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().contains("no field of expectations"),
        "{status:?}"
    );
    let status = client
        .delete_expectations(pb::DeleteExpectationsRequest::default())
        .await;
    assert_eq!(
        status.expect_err("refused").message(),
        "target: is required"
    );
}

/// The kernel begins no dump for it, and says nothing unless it is asked to.
#[tokio::test]
async fn a_master_without_a_helper_has_none_and_is_answered_at_once() {
    let ns = Netns::new();
    let plain = flow(Family::V4, Protocol::TCP, 80);
    ns.create(std::slice::from_ref(&plain));
    let agent = Agent::start(&ns);
    let request = pb::DumpExpectationsRequest {
        master: Some((&plain.key()).into()),
        ..Default::default()
    };
    let mut client = agent.expectations();
    let dump = dump(&mut client, request);
    let answer = tokio::time::timeout(std::time::Duration::from_secs(20), dump).await;
    assert!(answer.expect("an answer in time").0.is_empty());
}
