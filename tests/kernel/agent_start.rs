//! What the agent starts with, and what it refuses to start with.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use ctfleet::pb::GetInfoRequest;
use ctfleet::pb::agent_service_client::AgentServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, AlertDescription};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::harness::agent::{Agent, CTAGENT};
use crate::harness::pki::Authority;
use crate::harness::{Netns, until};

/// Runs it until it ends, which it must do by itself.
fn refused(ns: &Netns, mut command: std::process::Command) -> (i32, String) {
    let Output { status, stderr, .. } = ns.enter(|| command.output()).expect("it starts");
    let said = String::from_utf8_lossy(&stderr).into_owned();
    (status.code().unwrap_or_else(|| panic!("{said}")), said)
}

fn with(flags: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(CTAGENT);
    command.args(flags);
    command
}

#[test]
fn tcp_without_tls_is_refused_before_anything_is_done() {
    let ns = Netns::new();
    for (flags, reason) in [
        (&["--listen=127.0.0.1:0"][..], "needs mutual TLS"),
        (
            &["--listen=0.0.0.0:0", "--insecure-plaintext"],
            "accepted on loopback only",
        ),
        (
            &["--listen=127.0.0.1:0", "--tls-cert=/x", "--tls-key=/x"],
            "--tls-ca is missing",
        ),
        (&["--listen=nowhere"], "no place to listen at"),
        (&["--config=/nonexistent"], "cannot read the configuration"),
    ] {
        let (code, said) = refused(&ns, with(flags));
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(reason), "{said}");
    }
    let files = ["--tls-cert=/x", "--tls-key=/x", "--tls-ca=/x"];
    let (code, said) = refused(&ns, with(&[&["--listen=127.0.0.1:0"], &files[..]].concat()));
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("cannot read the TLS certificate /x"),
        "{said}"
    );
}

#[tokio::test]
async fn the_socket_is_for_root_alone_and_a_second_agent_leaves_it() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let mode = std::fs::metadata(agent.socket())
        .expect("a socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let listen = format!("--listen=unix:{}", agent.socket().display());
    let (code, said) = refused(&ns, with(&[&listen]));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("another process listens there"), "{said}");
    agent
        .agent()
        .get_info(GetInfoRequest {})
        .await
        .expect("still served");
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let channel = agent.channel();
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "ctfleet.v1.FlowService"] {
        let service = service.to_owned();
        let answer = health.check(HealthCheckRequest { service }).await;
        let status = answer.expect("an answer").into_inner().status();
        assert_eq!(status, ServingStatus::Serving);
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(request))
        .await
        .expect("reflection")
        .into_inner();
    let answer = answers.message().await.expect("an answer").expect("one");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for service in ["FlowService", "ExpectationService", "AgentService"] {
        assert!(
            names.contains(&format!("ctfleet.v1.{service}")),
            "{names:?}"
        );
    }
}

/// An agent that serves over TLS as "agent".
fn over_tls(ns: &Netns, authority: &Authority) -> Agent {
    authority.enrol("agent");
    let flags = authority.flags("agent");
    let more = ["--listen=127.0.0.1:0", "--allow=admin=cn:*"];
    let flags: Vec<_> = flags.split(' ').chain(more).collect();
    Agent::start_with(ns, &flags)
}

/// A client that trusts agents of this authority, and shows no certificate.
fn trusting(authority: &Authority) -> ClientTlsConfig {
    ClientTlsConfig::new()
        .domain_name("agent")
        .ca_certificate(Certificate::from_pem(authority.issuer.pem()))
}

/// A certificate for a client.
fn operator(authority: &Authority) -> Identity {
    let [cert, key] = authority.issue("operator");
    Identity::from_pem(cert, key)
}

#[tokio::test]
async fn tcp_is_for_clients_with_a_certificate_of_the_authority() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let ns = Netns::new();
    let agent = over_tls(&ns, &ours);
    let info = async |tls: ClientTlsConfig| {
        let endpoint = Endpoint::from_static("https://agent");
        let endpoint = endpoint.tls_config(tls).expect("TLS");
        let channel: Result<Channel, _> = agent.channel_over(endpoint, &ns).await;
        match channel {
            Ok(channel) => AgentServiceClient::new(channel)
                .get_info(GetInfoRequest {})
                .await
                .is_ok(),
            Err(_) => false,
        }
    };
    assert!(info(trusting(&ours).identity(operator(&ours))).await);
    assert!(!info(trusting(&ours).identity(operator(&theirs))).await);
    assert!(!info(trusting(&ours)).await);
    let words = "TLS handshake failed";
    until(words, || agent.said().contains(words).then_some(()));
}

#[tokio::test]
async fn a_client_that_is_turned_away_can_read_why() {
    let ours = Authority::new("ours");
    let ns = Netns::new();
    let agent = over_tls(&ns, &ours);
    let anonymous = ctfleet::tls::client_config(
        &ours.at("ca.pem"),
        None,
        &ctfleet::tls::ServerIdentity::Host,
    )
    .expect("a client without a certificate");
    let connector = TlsConnector::from(anonymous);
    for _ in 0..20 {
        let name = ServerName::try_from("agent").expect("a name");
        let mut stream = connector
            .connect(name, agent.connect(&ns))
            .await
            .expect("a TLS 1.3 client has shaken hands before the agent judges it");
        // The alert is there, and the client talks on before it looks: an end that is closed
        // would answer with a reset, and a client that cannot write may never read.
        stream.get_ref().0.readable().await.expect("an alert");
        for _ in 0..3 {
            stream.write_all(b"PRI * HTTP/2.0\r\n").await.expect("sent");
            stream.flush().await.expect("sent");
        }
        let error = stream.read(&mut [0]).await.expect_err("turned away");
        let told = error
            .get_ref()
            .and_then(|error| error.downcast_ref::<rustls::Error>());
        let required = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(told, Some(&required), "{error:?}");
    }
}
