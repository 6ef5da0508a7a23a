//! Wrong requests, missing namespaces, and namespaces that vanish.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ctfleet::ctnetlink::Namespace;
use ctfleet::flow::{Family, Protocol};
use ctfleet::pb;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::Netns;
use crate::harness::agent::{Agent, collect};
use crate::harness::flows::{flow, host};

#[tokio::test]
async fn a_wrong_field_is_named() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    let expectations_only = pb::Filter {
        node: Some(pb::filter::Node::Number(pb::NumberPredicate {
            field: pb::NumberField::ExpectClass.into(),
            mask: None,
            ranges: vec![pb::NumberRange { min: 0, max: 0 }],
        })),
    };
    for (request, field) in [
        (
            pb::DumpFlowsRequest {
                table: 99,
                ..Default::default()
            },
            "table",
        ),
        (
            pb::DumpFlowsRequest {
                filter: Some(expectations_only),
                ..Default::default()
            },
            "filter",
        ),
        (
            pb::DumpFlowsRequest {
                network_namespace: "../etc".to_owned(),
                ..Default::default()
            },
            "network_namespace",
        ),
    ] {
        let status = client.dump_flows(request).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let violations = status.get_details_bad_request().expect("a BadRequest");
        assert_eq!(violations.field_violations[0].field, field);
        assert!(status.message().starts_with(field), "{status:?}");
    }
    let status = client.get_flow(pb::GetFlowRequest::default()).await;
    assert_eq!(status.expect_err("refused").message(), "by: is required");
}

#[tokio::test]
async fn an_answer_of_the_kernel_carries_its_errno() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    let request = pb::GetFlowRequest {
        network_namespace: String::new(),
        by: Some(pb::get_flow_request::By::Key(
            (&flow(Family::V4, Protocol::UDP, 1).key()).into(),
        )),
    };
    let status = client.get_flow(request).await.expect_err("none");
    assert_eq!(status.code(), Code::NotFound);
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!((&*info.domain, &*info.reason), ("kernel", "ENOENT"));
    assert_eq!(info.metadata["errno"], libc::ENOENT.to_string());
}

#[tokio::test]
async fn a_namespace_that_vanishes_answers_not_found_and_what_was_begun_goes_on() {
    let ns = Netns::new();
    let agent = Agent::start_for_all(&ns);
    let mut client = agent.flows();
    let other = Netns::new();
    let flows: Vec<_> = (0..20_000)
        .map(|n| {
            let mut flow = flow(Family::V4, Protocol::UDP, 1000);
            flow.orig.src = host(Family::V4, 1000 + n);
            flow.reply = flow.orig.inverse();
            flow
        })
        .collect();
    other.create(&flows);
    let request = || pb::DumpFlowsRequest {
        network_namespace: other.name().to_owned(),
        ..Default::default()
    };
    let begun = client.dump_flows(request()).await.expect("a stream");
    let again = request();
    drop(other);
    let status = match client.dump_flows(again).await {
        // The stream begins before the socket is opened.
        Ok(stream) => collect(stream.into_inner()).await.expect_err("gone"),
        Err(status) => status,
    };
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    // The socket of the dump that was begun holds the namespace.
    match collect(begun.into_inner()).await {
        Ok((flows, _)) => assert_eq!(flows.len(), 20_000),
        // Unless it had not opened its socket yet.
        Err(status) => assert_eq!(status.code(), Code::NotFound, "{status:?}"),
    }
    let count = client.count_flows(pb::CountFlowsRequest::default()).await;
    assert_eq!(count.expect("still served").into_inner().count, 0);
}

/// What `ip netns` leaves for a moment while it makes or removes one.
struct HalfMade(PathBuf);

impl HalfMade {
    fn new(name: &str) -> Self {
        let path = Path::new(Namespace::DIRECTORY).join(name);
        let mut options = File::options();
        options.create_new(true).write(true).mode(0o000);
        options.open(&path).expect("a file");
        Self(path)
    }
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("removed");
    }
}

#[tokio::test]
async fn a_namespace_half_made_answers_not_found() {
    let ns = Netns::new();
    let name = format!("{}-half", ns.name());
    let _half = HalfMade::new(&name);
    for agent in [Agent::start_for_all(&ns), Agent::start(&ns)] {
        let request = pb::CountFlowsRequest {
            network_namespace: name.clone(),
            ..Default::default()
        };
        let status = agent.flows().count_flows(request).await;
        let status = status.expect_err("no namespace");
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
    }
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_without_being_read() {
    let ns = Netns::new();
    let agent = Agent::start_with(&ns, &["--max-message-size=4096"]);
    let mut client = agent.flows();
    let request = pb::CountFlowsRequest {
        network_namespace: "x".repeat(5000),
        ..Default::default()
    };
    let status = client.count_flows(request).await.expect_err("refused");
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    let count = client.count_flows(pb::CountFlowsRequest::default()).await;
    assert!(count.is_ok());
}
