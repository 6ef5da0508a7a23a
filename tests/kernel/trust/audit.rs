//! The audit log of changes and denied calls, and what happens when it cannot be written.

use ctfleet::flow::filter::NumberField;
use ctfleet::flow::{Family, Protocol};
use ctfleet::pb;
use ctfleet::pb::{delete_flows_request, update_flows_request};
use serde_json::{Value, json};
use tonic::Code;

use super::{Bound, reason};
use crate::harness::agent::collect;
use crate::harness::client::objects;
use crate::harness::filters::is;
use crate::harness::flows::flow;
use crate::harness::{Netns, until};

/// The lines of the log but for the first, which says that the agent began.
fn lines(bound: &Bound, count: usize) -> Vec<Value> {
    until(&format!("{count} lines of the audit log"), || {
        let text = std::fs::read_to_string(bound.audit_file()).ok()?;
        // The last line may not be whole yet.
        let mut lines = objects(&text[..=text.rfind('\n')?]);
        let first = lines.remove(0);
        assert_eq!(first["event"], "start");
        (lines.len() >= count).then_some(lines)
    })
}

fn marked(ns: &Netns, count: u16) {
    let flows: Vec<_> = (1..=count)
        .map(|port| {
            let mut flow = flow(Family::V4, Protocol::UDP, port);
            flow.mark = Some(u32::from(port % 2));
            flow
        })
        .collect();
    ns.create(&flows);
}

#[tokio::test]
async fn a_change_has_its_intent_and_its_result() {
    let ns = Netns::new();
    marked(&ns, 10);
    let bound = Bound::start(
        &ns,
        "role = \"admin\"\nscope = \"mark 0 or mark 1 or mark 7\"",
    )
    .await;
    let request = pb::UpdateFlowsRequest {
        target: Some(update_flows_request::Target::Filter(
            (&is(NumberField::Mark, 1)).into(),
        )),
        changes: Some(pb::FlowChanges {
            mark: Some(pb::MaskedUint32 {
                value: 7,
                mask: None,
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    bound.flows().update_flows(request).await.expect("updated");
    let rehearsal = pb::DeleteFlowsRequest {
        target: Some(delete_flows_request::Target::Filter(
            (&is(NumberField::Mark, 7)).into(),
        )),
        options: Some(pb::ChangeOptions {
            dry_run: true,
            max_affected: Some(9),
            ..Default::default()
        }),
        ..Default::default()
    };
    bound
        .flows()
        .delete_flows(rehearsal)
        .await
        .expect("counted");
    bound
        .flows()
        .flush_flows(pb::FlushFlowsRequest::default())
        .await
        .expect("flushed");
    let request = pb::GetStatsRequest::default();
    bound.flows().get_stats(request).await.expect_err("scoped");

    let lines = lines(&bound, 7);
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["event"].as_str().unwrap(),
                line["rpc"].as_str().unwrap(),
            )
        })
        .collect();
    let rpc = |name: &str| format!("ctfleet.v1.FlowService/{name}");
    let (update, delete) = (rpc("UpdateFlows"), rpc("DeleteFlows"));
    let (flush, stats) = (rpc("FlushFlows"), rpc("GetStats"));
    assert_eq!(
        told,
        [
            ("intent", &*update),
            ("result", &*update),
            ("intent", &*delete),
            ("result", &*delete),
            ("intent", &*flush),
            ("result", &*flush),
            ("denied", &*stats),
        ]
    );
    for line in &lines {
        assert_eq!(line["caller"], "anonymous");
        assert_eq!(line["role"], "admin");
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
    assert_eq!(lines[0]["call"], lines[1]["call"]);
    assert_ne!(lines[1]["call"], lines[2]["call"]);
    assert_eq!(lines[0]["detail"], "set mark 0x7/0xffffffff");
    assert_eq!(
        lines[0]["filter"],
        "(mark 0 or mark 1 or mark 7) and mark 1"
    );
    assert_eq!(lines[1]["result"], "OK");
    assert_eq!(
        (&lines[1]["matched"], &lines[1]["changed"]),
        (&json!(5), &json!(5))
    );
    assert!(lines[1]["duration_us"].is_u64());
    assert_eq!(lines[2]["dry_run"], true);
    assert_eq!(lines[2]["max_affected"], 9);
    assert_eq!(
        (&lines[3]["matched"], &lines[3]["changed"]),
        (&json!(5), &json!(0))
    );
    assert_eq!(
        (&lines[5]["matched"], &lines[5]["changed"]),
        (&json!(10), &json!(10))
    );
    assert_eq!(lines[6]["result"], "PERMISSION_DENIED");
    assert_eq!(ns.entries(), 0);
}

#[tokio::test]
async fn a_stream_that_writes_tells_how_many_it_spared() {
    use pb::create_flows_request::Message;
    for scope in ["", "scope = \"proto tcp\""] {
        let ns = Netns::tracking();
        let bound = Bound::start(&ns, &format!("role = \"admin\"\n{scope}")).await;
        let request = pb::CountFlowsRequest::default();
        bound.flows().count_flows(request).await.expect("an answer");
        let mut own = ns.flows(Some(is(NumberField::Protocol, 6))).remove(0);
        let other = flow(Family::V4, Protocol::TCP, 9);
        ns.create(std::slice::from_ref(&other));
        own.protoinfo = None;
        own.timeout = Some(1);
        let header = Message::Header(pb::CreateFlowsHeader {
            mode: pb::CreateMode::Update.into(),
            ..Default::default()
        });
        let nowhere = flow(Family::V4, Protocol::TCP, 10);
        let flows = [&own, &other, &nowhere].map(Into::into).to_vec();
        let messages = [header, Message::Batch(pb::FlowBatch { flows })];
        let requests = messages.map(|message| pb::CreateFlowsRequest {
            message: Some(message),
        });
        let accounts = bound
            .flows()
            .create_flows(tokio_stream::iter(requests))
            .await;
        let mut accounts = accounts.expect("a stream").into_inner();
        let account = accounts.message().await.expect("an account").expect("one");
        assert_eq!((account.spared, account.failures.len()), (1, 2));
        let result = &lines(&bound, 2)[1];
        assert_eq!(result["event"], "result");
        let counts = ["matched", "changed", "spared", "failed"].map(|name| &result[name]);
        assert_eq!(counts, [3, 1, 1, 1], "{scope:?}: {result}");
    }
}

#[tokio::test]
async fn callers_who_are_not_let_in_are_logged() {
    let ns = Netns::new();
    let bound = Bound::start(&ns, "role = \"reader\"").await;
    let mut flows = bound.flows();
    let flush = flows.flush_flows(pb::FlushFlowsRequest::default());
    flush.await.expect_err("denied");
    let elsewhere = pb::CountFlowsRequest {
        network_namespace: "elsewhere".to_owned(),
        ..Default::default()
    };
    let count = bound.flows().count_flows(elsewhere).await;
    assert_eq!(count.expect_err("none").code(), Code::NotFound);
    let line = &lines(&bound, 1)[0];
    assert_eq!(line["event"], "denied");
    assert_eq!(line["rpc"], "ctfleet.v1.FlowService/FlushFlows");
    assert_eq!(
        line["message"],
        "FlushFlows takes the role admin, and anonymous has reader"
    );
}

/// What a request says is in the line of its denial, and nothing that it does not say.
#[tokio::test]
async fn a_denied_call_is_told_as_it_was_asked() {
    let ns = Netns::new();
    let grant = "role = \"admin\"\nscope = \"mark 7\"\nnetwork-namespaces = [\"\"]";
    let bound = Bound::start(&ns, grant).await;
    let delete = |name: &str, filter: ctfleet::flow::Filter| pb::DeleteFlowsRequest {
        network_namespace: name.to_owned(),
        target: Some(delete_flows_request::Target::Filter((&filter).into())),
        options: Some(pb::ChangeOptions {
            dry_run: true,
            max_affected: Some(9),
            ..Default::default()
        }),
    };
    let denied = |status: tonic::Status| assert_eq!(status.code(), Code::PermissionDenied);
    let mut flows = bound.flows();
    let elsewhere = delete("edge", is(NumberField::Mark, 3));
    denied(flows.delete_flows(elsewhere).await.expect_err("denied"));
    let masters = delete("", is(NumberField::MasterSrcPort, 21));
    denied(flows.delete_flows(masters).await.expect_err("denied"));
    let wet = pb::DeleteFlowsRequest {
        options: None,
        ..delete("edge", is(NumberField::Mark, 3))
    };
    denied(flows.delete_flows(wet).await.expect_err("denied"));
    let keys = vec![(&flow(Family::V4, Protocol::UDP, 1).key()).into(); 3];
    let update = pb::UpdateFlowsRequest {
        network_namespace: "edge".to_owned(),
        target: Some(update_flows_request::Target::Keys(pb::FlowKeys { keys })),
        ..Default::default()
    };
    denied(flows.update_flows(update).await.expect_err("denied"));
    let zero = pb::DumpFlowsRequest {
        filter: Some((&is(NumberField::Mark, 3)).into()),
        zero_counters: true,
        ..Default::default()
    };
    denied(flows.dump_flows(zero).await.map(drop).expect_err("denied"));
    let count = pb::CountFlowsRequest {
        network_namespace: "edge".to_owned(),
        filter: Some((&is(NumberField::Mark, 3)).into()),
    };
    denied(flows.count_flows(count).await.expect_err("denied"));
    let stats = pb::GetStatsRequest {
        network_namespace: "edge".to_owned(),
    };
    denied(flows.get_stats(stats).await.expect_err("denied"));
    denied(
        flows
            .get_stats(pb::GetStatsRequest::default())
            .await
            .expect_err("denied"),
    );
    let watch = pb::WatchFlowsRequest {
        filter: Some((&is(NumberField::Mark, 3)).into()),
        resume_after: Some(pb::Cursor::default()),
        ..Default::default()
    };
    denied(
        flows
            .watch_flows(watch)
            .await
            .map(drop)
            .expect_err("denied"),
    );
    // Before it is read: nobody knows what it says.
    bound.rebind("role = \"reader\"");
    let unread = delete("edge", is(NumberField::Mark, 3));
    denied(flows.delete_flows(unread).await.expect_err("denied"));

    let told: Vec<_> = lines(&bound, 10)
        .into_iter()
        .map(|mut line| {
            assert_eq!(line["event"], "denied");
            let object = line.as_object_mut().expect("an object");
            let fields = [
                "network_namespace",
                "target",
                "filter",
                "items",
                "detail",
                "dry_run",
                "max_affected",
            ];
            object.retain(|name, _| fields.contains(&&**name));
            line
        })
        .collect();
    let filter = "mark 3";
    assert_eq!(
        told,
        [
            json!({"network_namespace": "edge", "target": "filter", "filter": filter,
                   "dry_run": true, "max_affected": 9}),
            json!({"network_namespace": "", "target": "filter", "filter": "master-sport 21",
                   "dry_run": true, "max_affected": 9}),
            json!({"network_namespace": "edge", "target": "filter", "filter": filter,
                   "dry_run": false}),
            json!({"network_namespace": "edge", "target": "keys", "items": 3, "dry_run": false}),
            json!({"network_namespace": "", "target": "filter", "filter": filter,
                   "detail": "zero_counters", "dry_run": false}),
            json!({"network_namespace": "edge", "target": "filter", "filter": filter}),
            json!({"network_namespace": "edge", "target": "none"}),
            json!({"network_namespace": "", "target": "none"}),
            json!({"network_namespace": "", "target": "filter", "filter": filter}),
            json!({"target": "none"}),
        ]
    );
}

/// Lines must not be left out, and a disk that they fill stops every change.
#[tokio::test]
async fn whoever_is_denied_without_an_end_does_not_fill_the_disk() {
    const CALLS: usize = 3000;
    let ns = Netns::new();
    let flags = ["--max-requests=1000000"];
    let grant = "role = \"reader\"\nscope = \"mark 7\"";
    let bound = Bound::start_with(&ns, grant, &flags).await;
    let (mut denied, mut too_many) = (0, 0);
    let begun = std::time::Instant::now();
    for _ in 0..CALLS / 2 {
        // Denied by the guard, and by a handler.
        let flush = pb::FlushFlowsRequest::default();
        let flush = bound.flows().flush_flows(flush).await.map(drop);
        let stats = pb::GetStatsRequest::default();
        let stats = bound.flows().get_stats(stats).await.map(drop);
        for answer in [flush, stats] {
            let refusal = answer.expect_err("refused");
            match refusal.code() {
                Code::PermissionDenied => denied += 1,
                _ => {
                    assert_eq!(reason(&refusal), "TOO_MANY_REQUESTS", "{refusal:?}");
                    assert!(refusal.message().contains("were denied"), "{refusal:?}");
                    too_many += 1;
                }
            }
        }
    }
    // 500 and then ten a second.
    let most = 500 + 10 * (begun.elapsed().as_secs() + 1);
    assert!((500..=most).contains(&denied), "{denied} of {most}");
    assert_eq!(denied + too_many, CALLS as u64);
    // Each of them has a line, or stands in one that says how many had no room in the queue.
    let told = || {
        let text = std::fs::read_to_string(bound.audit_file()).ok()?;
        let lines = objects(&text[..=text.rfind('\n')?]);
        let told = lines.iter().map(|line| match line["event"].as_str() {
            Some("denied") => 1,
            _ => line["lines"].as_u64().unwrap_or(0),
        });
        Some(told.sum::<u64>())
    };
    until("the lines of the denied calls", || {
        (told()? >= denied).then_some(())
    });
    assert_eq!(told(), Some(denied));
    // What they may do they still can.
    let request = pb::CountFlowsRequest::default();
    bound.flows().count_flows(request).await.expect("an answer");
}

/// /dev/full can be opened, and whatever is written to it finds no room.
#[tokio::test]
async fn while_the_log_cannot_be_written_nothing_is_changed_and_everything_read() {
    let ns = Netns::new();
    marked(&ns, 4);
    let flags = ["--audit-log=file:/dev/full"];
    let bound = Bound::start_with(&ns, "role = \"admin\"", &flags).await;
    let refused = |status: tonic::Status| {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        assert_eq!(reason(&status), "AUDIT_UNAVAILABLE");
        let words = "nothing is changed while the audit log cannot be written";
        assert!(status.message().contains(words), "{}", status.message());
    };
    let mut flows = bound.flows();
    let flush = flows.flush_flows(pb::FlushFlowsRequest::default());
    refused(flush.await.expect_err("refused"));
    let request = pb::DeleteFlowsRequest {
        target: Some(delete_flows_request::Target::Filter(
            (&is(NumberField::Mark, 1)).into(),
        )),
        ..Default::default()
    };
    refused(
        bound
            .flows()
            .delete_flows(request)
            .await
            .expect_err("refused"),
    );
    let flush = pb::FlushExpectationsRequest::default();
    let flush = bound.expectations().flush_expectations(flush).await;
    refused(flush.expect_err("refused"));
    let setting = pb::UpdateSettingsRequest {
        updates: vec![pb::SettingUpdate {
            name: "nf_conntrack_acct".to_owned(),
            value: 1,
        }],
        ..Default::default()
    };
    refused(
        bound
            .info()
            .update_settings(setting)
            .await
            .expect_err("refused"),
    );

    let dump = flows.dump_flows(pb::DumpFlowsRequest::default());
    let dump = dump.await.expect("a dump").into_inner();
    assert_eq!(collect(dump).await.expect("flows").0.len(), 4);
    assert_eq!(ns.entries(), 4);
    assert_eq!(ns.sysctl("net/netfilter/nf_conntrack_acct"), "0");
    let info = bound.info().get_info(pb::GetInfoRequest {}).await;
    let capabilities = info.expect("info").into_inner().capabilities;
    let audit = capabilities.iter().find(|found| found.name == "audit");
    assert!(!audit.expect("audit").available);
}

/// A pipe that nobody empties: the log works until it is full.
#[tokio::test]
async fn a_stream_that_writes_stops_when_the_log_breaks() {
    let ns = Netns::new();
    let directory = tempfile::TempDir::new().expect("a directory");
    let pipe = directory.path().join("pipe");
    ns.run(["mkfifo", pipe.to_str().expect("UTF-8")]);
    let reader = std::fs::OpenOptions::new();
    let reader = { reader }
        .read(true)
        .write(true)
        .open(&pipe)
        .expect("a pipe");
    let flag = format!("--audit-log=file:{}", pipe.display());
    let bound = Bound::start_with(&ns, "role = \"admin\"", &[&flag]).await;

    let (messages, receiver) = tokio::sync::mpsc::channel(1);
    let send = async |message| {
        let message = pb::CreateFlowsRequest {
            message: Some(message),
        };
        messages.send(message).await.expect("an open stream");
    };
    let batch = |port| {
        pb::create_flows_request::Message::Batch(pb::FlowBatch {
            flows: vec![(&flow(Family::V4, Protocol::UDP, port)).into()],
        })
    };
    let header = pb::create_flows_request::Message::Header(pb::CreateFlowsHeader::default());
    send(header).await;
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut accounts = bound
        .flows()
        .create_flows(stream)
        .await
        .expect("a stream")
        .into_inner();
    send(batch(1)).await;
    accounts.message().await.expect("an account").expect("one");

    // Others fill the pipe, until the log breaks.
    let mut other = bound.agent.flows();
    let mut refused = 0;
    while refused < 2 {
        let request = pb::DeleteFlowsRequest {
            target: Some(delete_flows_request::Target::Filter(
                (&is(NumberField::Mark, 99)).into(),
            )),
            ..Default::default()
        };
        refused += usize::from(other.delete_flows(request).await.is_err());
    }
    send(batch(2)).await;
    let refusal = accounts.message().await.expect_err("refused");
    assert_eq!(reason(&refusal), "AUDIT_UNAVAILABLE", "{refusal:?}");
    assert_eq!(ns.entries(), 1);
    drop(reader);
}
