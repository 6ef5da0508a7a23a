//! What callers see, and what the log says, of changes that were begun while the audit log hung.

use std::process::Command;

use ctfleet::flow::filter::NumberField;
use ctfleet::flow::{Expectation, ExpectationKey, Family, Protocol};
use ctfleet::pb;
use ctfleet::pb::agent_service_client::AgentServiceClient;
use ctfleet::pb::delete_flows_request::Target;
use ctfleet::pb::expectation_service_client::ExpectationServiceClient;
use ctfleet::pb::flow_service_client::FlowServiceClient;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{reason, scope};
use crate::harness::agent::{Agent, CTAGENT};
use crate::harness::filters::is;
use crate::harness::flows::{expectation, flow, helped};
use crate::harness::pipe::Pipe;
use crate::harness::{Netns, until};

/// Rounds that may come to nothing: an intent waits for the log for two seconds alone, which
/// a slow machine may take for what a test does in between.
const ROUNDS: usize = 10;

/// An agent with one place for changes, whose audit log is a pipe that hangs when it is full.
/// Whoever comes over TCP has a scope, that of [`scope`].
struct Hanging {
    agent: Agent,
    pipe: Pipe,
    _directory: TempDir,
}

impl Hanging {
    fn start(ns: &Netns) -> Self {
        let directory = TempDir::new().expect("a directory");
        let config = directory.path().join("config.toml");
        let text = format!(
            "insecure-plaintext = true\n[[bindings]]\nsubjects = [\"anonymous\"]\n{}\n",
            scope::SCOPE
        );
        std::fs::write(&config, text).expect("a file");
        // A file's log is opened so that it fails instead; standard error is as it was given.
        const PLACE: &str = "127.0.0.1:7443";
        let mut command = Command::new(CTAGENT);
        command
            .args(["--listen", PLACE, "--max-changes=1"])
            .args(["--audit-log=stderr", "--config"])
            .arg(&config);
        let pipe = Pipe::new();
        Self {
            agent: Agent::start_as(ns, &mut pipe.behind(&command, PLACE)),
            pipe,
            _directory: directory,
        }
    }

    /// Creates an expectation.
    async fn expect(&self, expectation: &Expectation) {
        let request = pb::CreateExpectationsRequest {
            expectations: vec![expectation.into()],
            ..Default::default()
        };
        let created = self.agent.expectations().create_expectations(request).await;
        assert_eq!(created.expect("an answer").into_inner().created, 1);
    }

    /// Waits until all that was let in before has been worked off, and gives the lines of the
    /// audit log since the last time, but for those of the change that this takes.
    async fn lines(&self) -> Vec<Value> {
        let mut text = self.pipe.empty();
        let mut flows = self.agent.flows();
        let mut last = loop {
            let request = pb::DeleteFlowsRequest {
                target: Some(Target::Filter((&is(NumberField::Mark, 99)).into())),
                ..Default::default()
            };
            match flows.delete_flows(request).await {
                Ok(_) => break String::new(),
                // There is one place.
                Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}"),
            }
        };
        until("its result", || {
            last += &self.pipe.empty();
            let own = |line: &Value| line["event"] == "result" && line["rpc"] == DELETE;
            objects(&last).iter().any(own).then_some(())
        });
        text += &last;
        let mut lines = objects(&text);
        lines.retain(|line| line["rpc"] != DELETE);
        lines
    }
}

const DELETE: &str = "ctfleet.v1.FlowService/DeleteFlows";

/// The lines of the audit log among all that the agent says.
fn objects(text: &str) -> Vec<Value> {
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let lines = whole.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// Has the agent take up what was sent over this connection before.
async fn taken_up(channel: &Channel) {
    for _ in 0..3 {
        let request = pb::GetSettingsRequest {
            names: vec!["nf_conntrack_acct".to_owned()],
            ..Default::default()
        };
        let mut client = AgentServiceClient::new(channel.clone());
        client.get_settings(request).await.expect("an answer");
    }
}

/// Makes a call that changes something and leaves while it waits for the log: gives the lines
/// of the log then.
async fn leave(
    hanging: &Hanging,
    call: impl Fn(Channel) -> JoinHandle<Result<(), Status>>,
) -> [Value; 2] {
    let channel = hanging.agent.channel();
    taken_up(&channel).await;
    for _ in 0..ROUNDS {
        hanging.lines().await;
        hanging.pipe.fill();
        let call = call(channel.clone());
        taken_up(&channel).await;
        call.abort();
        let left = call.await;
        taken_up(&channel).await;
        let lines = hanging.lines().await;
        // Refused after two seconds, when nothing was begun.
        if left.is_err_and(|error| error.is_cancelled()) && !lines.is_empty() {
            return lines
                .try_into()
                .unwrap_or_else(|lines| panic!("an intent and a result, not {lines:?}"));
        }
    }
    panic!("none of {ROUNDS} rounds had it begun")
}

#[tokio::test]
async fn settings_whose_caller_leaves_are_written_and_counted_in_the_log() {
    let ns = Netns::new();
    let hanging = Hanging::start(&ns);
    let names = ["nf_conntrack_acct", "nf_conntrack_timestamp"];
    let setting = |name: &str| ns.sysctl(&format!("net/netfilter/{name}"));
    assert_eq!(names.map(setting), ["0", "0"]);
    let [intent, result] = leave(&hanging, |channel| {
        let updates = names.map(|name| pb::SettingUpdate {
            name: name.to_owned(),
            value: 1,
        });
        let request = pb::UpdateSettingsRequest {
            updates: updates.to_vec(),
            ..Default::default()
        };
        let mut client = AgentServiceClient::new(channel);
        tokio::spawn(async move { client.update_settings(request).await.map(|_| ()) })
    })
    .await;
    assert_eq!(intent["target"], "settings");
    assert_eq!(result["result"], "OK", "{result}");
    assert_eq!(
        (&result["matched"], &result["changed"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(names.map(setting), ["1", "1"]);
}

#[tokio::test]
async fn a_flush_of_expectations_whose_caller_leaves_has_its_end_in_the_log() {
    let ns = Netns::new();
    let hanging = Hanging::start(&ns);
    let master = helped(flow(Family::V4, Protocol::TCP, 21), "ftp");
    ns.create(std::slice::from_ref(&master));
    hanging.expect(&expectation(&master, 1000)).await;
    let [intent, result] = leave(&hanging, |channel| {
        let request = pb::FlushExpectationsRequest::default();
        let mut client = ExpectationServiceClient::new(channel);
        tokio::spawn(async move { client.flush_expectations(request).await.map(|_| ()) })
    })
    .await;
    assert_eq!(intent["target"], "everything");
    assert_eq!(result["result"], "OK", "{result}");
    assert!(ns.expectations(Default::default()).is_empty());
}

#[tokio::test]
async fn a_flush_of_flows_whose_caller_leaves_has_its_end_in_the_log() {
    let ns = Netns::new();
    ns.create(&[flow(Family::V4, Protocol::UDP, 7)]);
    let hanging = Hanging::start(&ns);
    let [intent, result] = leave(&hanging, |channel| {
        let request = pb::FlushFlowsRequest::default();
        let mut client = FlowServiceClient::new(channel);
        tokio::spawn(async move { client.flush_flows(request).await.map(|_| ()) })
    })
    .await;
    assert_eq!(intent["target"], "everything");
    assert_eq!(result["result"], "OK", "{result}");
    assert_eq!(ns.entries(), 0);
}

#[tokio::test]
async fn a_flush_spares_the_client_that_came_while_it_waited_for_the_log() {
    let tcp = is(NumberField::Protocol, 6);
    for _ in 0..ROUNDS {
        let ns = Netns::tracking();
        ns.create(&[flow(Family::V4, Protocol::UDP, 7)]);
        let hanging = Hanging::start(&ns);
        let channel = hanging.agent.channel();
        taken_up(&channel).await;
        hanging.lines().await;
        hanging.pipe.fill();
        let mut client = FlowServiceClient::new(channel.clone());
        let flush = tokio::spawn(async move {
            let request = pb::FlushFlowsRequest::default();
            client.flush_flows(request).await
        });
        taken_up(&channel).await;
        // Somebody else comes, and is answered: the agent knows the connection.
        let other = hanging.agent.channel_from(&ns).await;
        let mut other = AgentServiceClient::new(other);
        let info = other.get_info(pb::GetInfoRequest {}).await;
        info.expect("an answer, which takes no place");
        let mut log = hanging.pipe.empty();
        match flush.await.expect("no panic") {
            Err(status) => assert_eq!(reason(&status), "AUDIT_UNAVAILABLE", "{status:?}"),
            Ok(answer) => {
                assert_eq!(answer.into_inner().spared, 1);
                assert_eq!((ns.flows(Some(tcp)).len(), ns.entries()), (1, 1));
                let result = until("its result", || {
                    log += &hanging.pipe.empty();
                    let mut lines = objects(&log).into_iter();
                    lines.find(|line| line["event"] == "result")
                });
                assert_eq!(
                    (&result["changed"], &result["spared"]),
                    (&json!(1), &json!(1))
                );
                return;
            }
        }
    }
    panic!("none of {ROUNDS} rounds had it begun")
}

#[tokio::test]
async fn where_no_place_is_free_what_lies_beyond_a_scope_is_refused_as_what_is_not_there() {
    let ns = Netns::new();
    let beyond = helped(flow(Family::V4, Protocol::TCP, 21), "ftp");
    ns.create(std::slice::from_ref(&beyond));
    let hanging = Hanging::start(&ns);
    hanging.expect(&expectation(&beyond, 1000)).await;
    let hidden = ns.expectations(Default::default())[0].key();
    let nowhere = expectation(&beyond, 2000).key();
    let limited = ExpectationServiceClient::new(hanging.agent.channel_from(&ns).await);
    let get = async |key: &ExpectationKey| {
        let request = pb::GetExpectationRequest {
            by: Some(pb::get_expectation_request::By::Key(key.into())),
            ..Default::default()
        };
        let got = limited.clone().get_expectation(request).await;
        got.map(|_| ()).expect_err("nothing to be seen")
    };
    let channel = hanging.agent.channel();
    for key in [&hidden, &nowhere] {
        assert_eq!(get(key).await.code(), Code::NotFound);
    }
    for _ in 0..ROUNDS {
        hanging.lines().await;
        hanging.pipe.fill();
        let mut flows = FlowServiceClient::new(channel.clone());
        let flush = tokio::spawn(async move {
            let request = pb::FlushFlowsRequest {
                family: pb::Family::Ipv6.into(),
                ..Default::default()
            };
            flows.flush_flows(request).await
        });
        taken_up(&channel).await;
        let refusal = get(&hidden).await;
        let other = get(&nowhere).await;
        // The place was taken all the while.
        if refusal.code() == Code::ResourceExhausted && !flush.is_finished() {
            assert_eq!(other.code(), refusal.code());
            assert_eq!(other.message(), refusal.message());
            // The order of what stands there is any.
            let info = |status: &Status| status.get_details_error_info().map(|info| info.metadata);
            assert_eq!(reason(&other), reason(&refusal));
            assert_eq!(info(&other), info(&refusal));
            return;
        }
        hanging.pipe.empty();
        // Whatever came of it.
        let _ = flush.await.expect("no panic");
    }
    panic!("none of {ROUNDS} rounds had the place taken")
}
