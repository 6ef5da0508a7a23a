//! Bytes that are no HTTP/2, or not the TLS that is spoken here.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rcgen::SanType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::bystander::{Beside, MIB};
use super::peer::{addresses, connect, greeting};
use super::silence::client_config;
use super::{plaintext, tls};
use crate::harness::Netns;
use crate::harness::pki::Authority;

const HTTP1: &[u8] = b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n";

/// Longer than any time-out.
const PATIENCE: Duration = Duration::from_secs(10);

/// Says something, and waits until the agent closes.
async fn turned_away(mut peer: TcpStream, said: Vec<u8>) {
    // It may be closed before all is said.
    let _ = peer.write_all(&said).await;
    let mut heard = Vec::new();
    let end = tokio::time::timeout(PATIENCE, peer.read_to_end(&mut heard)).await;
    assert!(end.is_ok(), "still open after {said:?}");
}

/// Random bytes, some behind a good beginning.
fn noise() -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    let bytes = prop::collection::vec(any::<u8>(), 1..2000);
    let beginnings = [
        Vec::new(),
        greeting(),
        greeting()[..24].to_vec(),
        vec![22, 3, 1, 2, 0, 1],
    ];
    (0..60)
        .map(|n| {
            let noise = bytes.new_tree(&mut runner).expect("bytes").current();
            [beginnings[n % 4].clone(), noise].concat()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_is_turned_away() {
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &["--keepalive-interval=1", "--keepalive-timeout=1"]);
    let beside = Beside::plaintext("random bytes", &mut agent, &ns).await;
    let mut all = noise();
    all.push(HTTP1.to_vec());
    let peers = connect(&agent, &ns, &addresses(2, all.len().div_ceil(2)));
    let ends = peers
        .into_iter()
        .zip(all)
        .map(|(peer, said)| turned_away(peer, said));
    futures::future::join_all(ends).await;
    beside.finish(8 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_speak_tls_is_turned_away() {
    let authority = Authority::new("ours");
    let mut tls = tls(&authority, &[]);
    let caller = super::silence::channel(&tls, &authority).await;
    let beside = Beside::start("strangers at TLS", tls.agent.process().id(), caller).await;
    let mut all = noise();
    all.push(HTTP1.to_vec());
    all.push(greeting());
    let peers = connect(&tls.agent, tls.ns(), &addresses(2, all.len().div_ceil(2)));
    let ends = peers
        .into_iter()
        .zip(all)
        .map(|(peer, said)| turned_away(peer, said));
    futures::future::join_all(ends).await;

    let peers = connect(&tls.agent, tls.ns(), &addresses(2, 1));
    let [wrong, none] = <[TcpStream; 2]>::try_from(peers).expect("two");
    let name = || ServerName::try_from("127.0.0.1").expect("a name");
    // Another protocol inside TLS: the handshake fails.
    let mut config = (*client_config(&authority)).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let refused = TlsConnector::from(Arc::new(config.clone()))
        .connect(name(), wrong)
        .await;
    assert!(refused.is_err());
    // No protocol named, and HTTP/1 spoken.
    config.alpn_protocols = Vec::new();
    if let Ok(mut stream) = TlsConnector::from(Arc::new(config))
        .connect(name(), none)
        .await
    {
        let _ = stream.write_all(HTTP1).await;
        let mut heard = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
        assert!(end.is_ok(), "still open");
        assert!(!heard.starts_with(b"HTTP/1"), "{heard:?}");
    }
    beside.finish(8 * MIB).await;
}

/// What strangers can have written, they can have written without an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_nobody_s_do_not_fill_the_log() {
    const CALLERS: usize = 60;
    let authority = Authority::new("ours");
    let mut tls = tls(&authority, &[]);
    let crowd = authority.issue_as("crowd", |params| {
        let names = (0..100).map(|n| format!("n{n}").try_into().expect("a name"));
        params.subject_alt_names = names.map(SanType::DnsName).collect();
    });
    authority.put("crowd", crowd);
    let config = ctfleet::tls::client_config(
        &authority.at("ca.pem"),
        Some((&authority.at("crowd.pem"), &authority.at("crowd.key"))),
        &ctfleet::tls::ServerIdentity::Host,
    );
    let connector = TlsConnector::from(config.expect("a client"));
    for peer in connect(&tls.agent, tls.ns(), &addresses(1, CALLERS)) {
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let mut stream = connector.connect(name, peer).await.expect("a handshake");
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "still open");
    }
    const WORDS: &str = "a certificate without an identity";
    tls.said(WORDS, 1);
    // Whatever stands before it stands there.
    tls.agent.terminate();
    assert!(tls.agent.wait().await.success());
    let lines = tls.agent.said().matches(WORDS).count();
    assert!((1..CALLERS).contains(&lines), "{lines} lines");
}
