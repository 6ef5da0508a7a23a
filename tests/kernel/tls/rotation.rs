//! Certificates that are renewed all the time under clients that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ctfleet::pb::GetInfoRequest;
use ctfleet::pb::agent_service_client::AgentServiceClient;
use ctfleet::tls::{ServerIdentity, client_config};
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::harness::pki::{Authority, TlsAgent};
use crate::harness::until;

const RENEWALS: usize = 200;
const CLIENTS: usize = 4;

/// Each client connects anew for every call, with a certificate of its own that is new, too.
#[tokio::test(flavor = "multi_thread")]
async fn renewals_every_10_ms_fail_no_client_that_reconnects() {
    let ours = Arc::new(Authority::new("ours"));
    let agent = Arc::new(TlsAgent::start(&ours, &[]));
    let over = Arc::new(AtomicBool::new(false));
    let clients = (0..CLIENTS).map(|_| {
        let (ours, agent, over) = (Arc::clone(&ours), Arc::clone(&agent), Arc::clone(&over));
        tokio::spawn(async move {
            let mut calls = 0;
            while !over.load(Ordering::Relaxed) {
                let [cert, key] = ours.issue("operator");
                let tls = ClientTlsConfig::new()
                    .domain_name("127.0.0.1")
                    .ca_certificate(Certificate::from_pem(ours.issuer.pem()))
                    .identity(Identity::from_pem(cert, key));
                let endpoint = Endpoint::from_static("https://agent").tls_config(tls);
                let endpoint = endpoint.expect("a client");
                let channel = agent.agent.channel_over(endpoint, agent.ns()).await;
                let channel = channel.unwrap_or_else(|error| {
                    panic!("call {calls}: {error:?}\n{}", agent.agent.said())
                });
                let mut client = AgentServiceClient::new(channel);
                let answer = client.get_info(GetInfoRequest {}).await;
                answer.unwrap_or_else(|error| panic!("call {calls}: {error:?}"));
                calls += 1;
            }
            calls
        })
    });
    let clients: Vec<_> = clients.collect();
    // The pace of the renewals, not a wait for anything.
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let mut last = String::new();
    for _ in 0..RENEWALS {
        pace.tick().await;
        let [cert, key] = ours.issue("127.0.0.1");
        agent.put("tls.crt", &cert);
        agent.put("tls.key", &key);
        last = cert;
    }
    over.store(true, Ordering::Relaxed);
    let mut calls = 0;
    for client in clients {
        calls += client.await.expect("no call failed");
    }
    agent.said("TLS files read again", 1);
    let taken = agent.agent.said().matches("TLS files read again").count();
    println!("{RENEWALS} renewals, {taken} taken, {calls} connections, none failed");
    // Between certificate and key there is nothing to take, and a busy machine reads late.
    assert!(taken > 0 && calls > 0, "{taken} renewals, {calls} calls");
    // The last ones are in force in the end, whenever they were read.
    let last = CertificateDer::from_pem_slice(last.as_bytes()).expect("a certificate");
    let client = client_config(&ours.at("ca.pem"), None, &ServerIdentity::Host).expect("a client");
    until("the last certificate", || {
        let tcp = agent.agent.connect(agent.ns());
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let shaken = TlsConnector::from(Arc::clone(&client)).connect(name, tcp);
        let shaken = tokio::task::block_in_place(|| Handle::current().block_on(shaken));
        let shown = shaken.expect("a handshake");
        let shown = shown.get_ref().1.peer_certificates();
        (shown.and_then(|chain| chain.first()) == Some(&last)).then_some(())
    });
}
