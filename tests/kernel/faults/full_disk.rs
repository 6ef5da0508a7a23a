//! The disk of the audit log is full: nothing is changed, everything is read, and with room
//! again all goes on.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::Command;

use ctfleet::flow::filter::NumberField;
use ctfleet::pb;
use ctfleet::pb::delete_flows_request::Target;
use ctfleet::pb::watch_flows_response::Message;
use serde_json::Value;
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{MARK, creation, flow};
use crate::harness::agent::{Agent, CTAGENT, collect};
use crate::harness::filters::is;
use crate::harness::{Netns, until};

/// An agent whose audit log is on a file system of its own, of five pages.
fn start(ns: &Netns, directory: &TempDir) -> (Agent, PathBuf) {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-ec"])
        .arg("mount -t tmpfs -o size=20k none \"$0\"; exec \"$@\"")
        .arg(directory.path())
        .arg(CTAGENT)
        .arg(format!(
            "--audit-log=file:{}/audit.log",
            directory.path().display()
        ));
    let mut agent = Agent::start_as(ns, &mut command);
    let root = format!("/proc/{}/root", agent.process().id());
    let disk = PathBuf::from(format!("{root}{}", directory.path().display()));
    (agent, disk)
}

/// Leaves not a byte of room.
fn fill(disk: &std::path::Path) {
    let mut ballast = File::create(disk.join("ballast")).expect("room");
    loop {
        match ballast.write(&[0; 64]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn delete(agent: &Agent) -> Result<u64, Status> {
    let request = pb::DeleteFlowsRequest {
        target: Some(Target::Filter((&is(NumberField::Mark, MARK.into())).into())),
        ..Default::default()
    };
    let answer = agent.flows().delete_flows(request).await?;
    Ok(answer.into_inner().summary.expect("a summary").changed)
}

async fn audit_works(agent: &Agent) -> bool {
    let info = agent.agent().get_info(pb::GetInfoRequest {}).await;
    let mut capabilities = info.expect("info").into_inner().capabilities.into_iter();
    let audit = capabilities.find(|capability| capability.name == "audit");
    audit.expect("the audit log").available
}

fn is_refused(status: &Status) {
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    let reason = status.get_details_error_info().map(|info| info.reason);
    assert_eq!(reason.as_deref(), Some("AUDIT_UNAVAILABLE"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_changes_until_there_is_room_again() {
    const FLOWS: usize = 10;
    let ns = Netns::new();
    let flows: Vec<_> = (0..FLOWS as u32).map(flow).collect();
    ns.create(&flows);
    let directory = TempDir::new().expect("a directory");
    let (agent, disk) = start(&ns, &directory);
    assert!(audit_works(&agent).await);
    fill(&disk);
    // What is left of the last page of the log takes a line or two.
    let mut deleted = 0;
    let refused = loop {
        match delete(&agent).await {
            Ok(changed) => deleted += changed,
            Err(refused) => break refused,
        }
        ns.create(&flows[..deleted as usize]);
        deleted = 0;
    };
    is_refused(&refused);
    let requests = tokio_stream::iter(creation(&[flow(77)], 1));
    let created = agent.flows().create_flows(requests).await;
    let refused = match created {
        Err(refused) => refused,
        Ok(accounts) => accounts.into_inner().message().await.expect_err("refused"),
    };
    is_refused(&refused);
    assert_eq!(ns.entries(), FLOWS as u64);
    assert!(!audit_works(&agent).await);

    let mut client = agent.flows();
    let dump = client.dump_flows(pb::DumpFlowsRequest::default()).await;
    let dump = dump.expect("a dump").into_inner();
    assert_eq!(collect(dump).await.expect("the table").0.len(), FLOWS);
    let watch = client.watch_flows(pb::WatchFlowsRequest::default()).await;
    let first = watch.expect("a watch").into_inner().message().await;
    let first = first.expect("a stream").expect("a message").message;
    assert!(matches!(first, Some(Message::Subscribed(_))), "{first:?}");

    fs::remove_file(disk.join("ballast")).expect("room");
    assert_eq!(delete(&agent).await.expect("deleted"), FLOWS as u64);
    assert_eq!(ns.entries(), 0);
    assert!(audit_works(&agent).await);
    // The result is written behind the answer.
    let log = disk.join("audit.log");
    until("the result in the log", || {
        let log = fs::read_to_string(&log).expect("the log");
        let last = serde_json::from_str::<Value>(log.lines().last()?).ok()?;
        (last["event"] == "result").then_some(())
    });
}
