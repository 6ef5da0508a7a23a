//! Roles: every call takes one, and whom no binding names gets nothing.

use std::process::Command;

use ctfleet::pb;
use ctfleet::pb::codec::Codec;
use ctfleet::pb::flow_service_client::FlowServiceClient;
use rustix::process::Signal;
use tonic::Code;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::{Bound, reason};
use crate::harness::agent::Agent;
use crate::harness::client::{Said, objects};
use crate::harness::pki::{Authority, TlsAgent};
use crate::harness::{Netns, until};

/// What the issue of who may do what says: reader, operator, admin.
const READER: &[&str] = &[
    "FlowService/DumpFlows",
    "FlowService/GetFlow",
    "FlowService/CountFlows",
    "FlowService/WatchFlows",
    "FlowService/GetStats",
    "ExpectationService/DumpExpectations",
    "ExpectationService/GetExpectation",
    "ExpectationService/WatchExpectations",
    "ExpectationService/GetExpectationStats",
    "AgentService/GetInfo",
    "AgentService/ListNamespaces",
];
const OPERATOR: &[&str] = &[
    "FlowService/CreateFlows",
    "FlowService/UpdateFlows",
    "FlowService/DeleteFlows",
    "ExpectationService/CreateExpectations",
    "ExpectationService/DeleteExpectations",
];
const ADMIN: &[&str] = &[
    "FlowService/FlushFlows",
    "ExpectationService/FlushExpectations",
    "AgentService/GetSettings",
    "AgentService/UpdateSettings",
];

/// Calls a method with an empty message; the reason why it was denied, if it was.
async fn denied(channel: &Channel, method: &str) -> Option<String> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("a connection");
    let path: PathAndQuery = format!("/ctfleet.v1.{method}").parse().expect("a path");
    let codec: Codec<(), ()> = Codec::default();
    let call = grpc.server_streaming(tonic::Request::new(()), path, codec);
    match call.await {
        Err(status) if status.code() == Code::PermissionDenied => Some(reason(&status)),
        // It was let in, whatever it made of an empty message.
        _ => None,
    }
}

#[tokio::test]
async fn every_call_takes_its_role_and_no_less() {
    for (role, rank) in [("reader", 0), ("operator", 1), ("admin", 2)] {
        let ns = Netns::new();
        let bound = Bound::start(&ns, &format!("role = \"{role}\"")).await;
        for (takes, methods) in [READER, OPERATOR, ADMIN].into_iter().enumerate() {
            for method in methods {
                let expected = (rank < takes).then(|| "ROLE_REQUIRED".to_owned());
                let got = denied(&bound.limited, method).await;
                assert_eq!(got, expected, "{role}: {method}");
            }
        }
        let mut health = HealthClient::new(bound.limited.clone());
        let check = HealthCheckRequest::default();
        health.check(check).await.expect("health");
        let unknown = denied(&bound.limited, "FlowService/NoSuchMethod").await;
        assert_eq!(unknown.is_some(), rank < 2, "{role}");
    }
}

#[tokio::test]
async fn resetting_counters_is_a_change() {
    let ns = Netns::new();
    for (role, allowed) in [("reader", false), ("operator", true)] {
        let bound = Bound::start(&ns, &format!("role = \"{role}\"")).await;
        let request = pb::DumpFlowsRequest {
            zero_counters: true,
            ..Default::default()
        };
        let answer = bound.flows().dump_flows(request).await;
        match answer {
            Ok(_) => assert!(allowed),
            Err(status) => {
                assert!(!allowed);
                assert_eq!(status.code(), Code::PermissionDenied);
                let words = "zero_counters takes the role operator, and anonymous has reader";
                assert_eq!(status.message(), words);
            }
        }
    }
}

/// A status travels in headers, where a client refuses more than some KiB.
#[test]
fn whose_names_are_many_and_long_can_read_the_refusal() {
    let authority = Authority::new("ours");
    let agent = TlsAgent::start_strict(&authority, &["--allow=reader=cn:nobody-else"]);
    let long = authority.issue_as("long", |params| {
        let uri = |n| format!("spiffe://example.org/{n}/{}", "x".repeat(1900));
        let uris = (0..30).map(|n| rcgen::SanType::URI(uri(n).try_into().expect("a URI")));
        params.subject_alt_names = uris.collect();
    });
    authority.put("long", long);
    let complaint = agent.ask_as(&authority, "long", "count").failed(2);
    let words = "no binding of the agent names uri:spiffe://example.org/0/xxx";
    assert!(complaint.contains(words), "{complaint}");
}

/// Several names of certificates, through the program.
#[test]
fn whom_no_binding_names_gets_nothing_and_is_told_their_names() {
    let authority = Authority::new("ours");
    let flags = [
        "--allow=reader=cn:watcher-*",
        "--allow=operator=uri:spiffe://example.org/ns/*/sa/ctl",
        "--allow=admin=dns:boss",
    ];
    let agent = TlsAgent::start_strict(&authority, &flags);
    for name in ["watcher-1", "nobody", "boss"] {
        authority.enrol(name);
    }
    let spiffe = authority.issue_as("ctl", |params| {
        let uri = "spiffe://example.org/ns/edge/sa/ctl"
            .try_into()
            .expect("a URI");
        params.subject_alt_names = vec![rcgen::SanType::URI(uri)];
    });
    authority.put("ctl", spiffe);

    for line in ["count", "info", "list", "stats", "flush --yes"] {
        let complaint = agent.ask_as(&authority, "nobody", line).failed(2);
        let words = "no binding of the agent names cn:nobody, dns:nobody";
        assert!(complaint.contains(words), "{line}: {complaint}");
    }
    for (name, role) in [
        ("watcher-1", "reader"),
        ("ctl", "operator"),
        ("boss", "admin"),
    ] {
        let info = agent.ask_as(&authority, name, "info -o jsonl").well();
        let info = objects(&info).remove(0);
        let you = info["you"].to_string();
        assert!(you.contains(&format!("role {role}")), "{name}: {you}");
    }
    let complaint = agent.ask_as(&authority, "ctl", "flush --yes").failed(2);
    let words = "FlushFlows takes the role admin, and uri:spiffe://example.org/ns/edge/sa/ctl has \
                 operator";
    assert!(complaint.contains(words), "{complaint}");
    agent.ask_as(&authority, "boss", "flush --yes").well();
}

#[test]
fn a_group_of_a_process_counts_primary_or_not() {
    // A user namespace that has root alone knows no other user: nobody to be there.
    let map = std::fs::read_to_string("/proc/self/uid_map").expect("/proc is mounted");
    if !map
        .split_ascii_whitespace()
        .any(|word| word == "4294967295")
    {
        return;
    }
    let ns = Netns::new();
    let agent = Agent::start_with(&ns, &["--allow=reader=gid:4301", "--allow=admin=gid:4300"]);
    let info = |groups: &str| {
        // To reach the program and the socket in their directories.
        const CAPABILITIES: &str = "-all,+dac_override";
        let said = Command::new("setpriv")
            .args(["--reuid=4242", "--regid=4300", groups])
            .args(["--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES])
            .arg(env!("CARGO_BIN_EXE_ctctl"))
            .args(["-t", &agent.target(), "info", "-o", "jsonl"])
            .output()
            .expect("setpriv(1) runs");
        let info = objects(&Said::of(said).well()).remove(0);
        info["you"].to_string()
    };
    let you = info("--clear-groups");
    assert!(you.contains("role admin"), "{you}");
    let you = info("--groups=4302,4301");
    assert!(you.contains("gid:4302"), "{you}");
    assert!(you.contains("role reader"), "{you}");
}

#[tokio::test]
async fn a_namespace_that_is_not_named_is_closed_whether_it_exists_or_not() {
    let (ns, other) = (Netns::new(), Netns::new());
    let grant = format!(
        "role = \"admin\"\nnetwork-namespaces = [\"{}\"]",
        other.name()
    );
    let flags = ["--other-namespaces"];
    let bound = Bound::start_with(&ns, &grant, &flags).await;
    let count = async |name: &str| {
        let request = pb::CountFlowsRequest {
            network_namespace: name.to_owned(),
            ..Default::default()
        };
        bound.flows().count_flows(request).await
    };
    for closed in ["", ns.name(), "no-such-namespace"] {
        let status = count(closed).await.expect_err("closed");
        assert_eq!(reason(&status), "NAMESPACE_DENIED", "{closed}");
    }
    count(other.name()).await.expect("open");
    let mut info = bound.info();
    let list = info.list_namespaces(pb::ListNamespacesRequest::default());
    let list = list.await.expect("a list").into_inner();
    let names: Vec<_> = list.namespaces.iter().map(|entry| &*entry.name).collect();
    assert_eq!(names, [other.name()]);
    let info = info.get_info(pb::GetInfoRequest {}).await;
    let info = info.expect("info").into_inner();
    assert_eq!(info.network_namespaces, [other.name()]);
    let caller = info.caller.expect("a caller");
    assert_eq!(caller.names, ["anonymous"]);
    assert!(!caller.all_network_namespaces);
}

#[tokio::test]
async fn a_caller_in_a_hurry_holds_up_nobody_else() {
    let ns = Netns::new();
    let bound = Bound::start_with(&ns, "role = \"reader\"", &["--max-requests=1"]).await;
    let calls = (0..50).map(|_| {
        let mut flows = bound.flows();
        async move { flows.count_flows(pb::CountFlowsRequest::default()).await }
    });
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().any(Result::is_ok));
    let refused = answers.into_iter().find_map(Result::err);
    let refused = refused.expect("a limit");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason(&refused), "TOO_MANY_REQUESTS");
    let mut other = bound.agent.flows();
    let answer = other.count_flows(pb::CountFlowsRequest::default()).await;
    answer.expect("another caller's call");
}

#[tokio::test]
async fn bindings_are_read_again_on_sighup_and_a_wrong_file_changes_nothing() {
    let ns = Netns::new();
    let bound = Bound::start(&ns, "role = \"reader\"").await;
    let mut flows = bound.flows();
    let flush = flows.flush_flows(pb::FlushFlowsRequest::default()).await;
    assert_eq!(reason(&flush.expect_err("denied")), "ROLE_REQUIRED");

    let reread = |role: &str, words: &str| {
        bound.write(&format!("role = \"{role}\""));
        bound.agent.signal(Signal::HUP);
        until(words, || bound.agent.said().contains(words).then_some(()));
    };
    reread("emperor", "the bindings stay as they were");
    let flush = flows.flush_flows(pb::FlushFlowsRequest::default()).await;
    assert_eq!(reason(&flush.expect_err("denied")), "ROLE_REQUIRED");
    reread("admin", "the bindings were read again");
    let flush = flows.flush_flows(pb::FlushFlowsRequest::default()).await;
    flush.expect("flushed");
}

#[tokio::test]
async fn one_caller_cannot_have_every_watch() {
    let ns = Netns::new();
    let bound = Bound::start_with(&ns, "role = \"reader\"", &["--max-watchers=4"]).await;
    let watch = async |mut flows: FlowServiceClient<Channel>| {
        flows.watch_flows(pb::WatchFlowsRequest::default()).await
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(watch(bound.flows()).await.expect("a watch"));
    }
    let refused = watch(bound.flows()).await.expect_err("a quarter is left");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason(&refused), "TOO_LARGE_A_SHARE");
    held.push(
        watch(bound.agent.flows())
            .await
            .expect("another caller's watch"),
    );
    let refused = watch(bound.agent.flows()).await.expect_err("none is left");
    assert_eq!(reason(&refused), "TOO_MANY_WATCHERS");
}
