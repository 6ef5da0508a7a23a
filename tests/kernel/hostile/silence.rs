//! Peers that say nothing: half a handshake, no first frame, no answer to a PING, no call.

use std::sync::Arc;
use std::time::Duration;

use ctfleet::pb::GetInfoRequest;
use ctfleet::pb::agent_service_client::AgentServiceClient;
use ctfleet::tls::ServerIdentity;
use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::transport::Channel;

use super::bystander::{Beside, MIB};
use super::peer::{
    ACK, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, addresses, call, connect, frame, greeted,
    next, rest, stream,
};
use super::{plaintext, tls};
use crate::harness::agent::Agent;
use crate::harness::pki::{Authority, TlsAgent};
use crate::harness::{Netns, until};

/// Waits until the agent has closed all of them.
async fn closed(streams: impl IntoIterator<Item = TcpStream>) {
    let ends = streams.into_iter().map(|mut stream| async move {
        // A TLS alert may come before the end.
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
    });
    join_all(ends).await;
}

/// A client of the agent over TLS.
pub(super) async fn channel(tls: &TlsAgent, authority: &Authority) -> Channel {
    let [cert, key] = authority.issue("operator");
    let config = tonic::transport::ClientTlsConfig::new()
        .domain_name("127.0.0.1")
        .ca_certificate(tonic::transport::Certificate::from_pem(
            authority.issuer.pem(),
        ))
        .identity(tonic::transport::Identity::from_pem(cert, key));
    let endpoint = tonic::transport::Endpoint::from_static("https://agent");
    let endpoint = endpoint.tls_config(config).expect("TLS");
    let channel = tls.agent.channel_over(endpoint, tls.ns()).await;
    channel.expect("a connection")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_handshakes_are_freed() {
    let authority = Authority::new("ours");
    let mut tls = tls(&authority, &["--max-connections=600"]);
    let caller = channel(&tls, &authority).await;
    let beside = Beside::start("500 half-open handshakes", tls.agent.process().id(), caller).await;
    let mut peers = connect(&tls.agent, tls.ns(), &addresses(10, 50));
    for peer in &mut peers {
        // The head of a handshake record, and a ClientHello that does not come.
        peer.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc])
            .await
            .expect("sent");
    }
    // Who comes now finds a place.
    channel(&tls, &authority).await;
    closed(peers).await;
    let took = beside.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    beside.finish(64 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_are_freed() {
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &["--max-connections=600"]);
    let beside = Beside::plaintext("500 silent TCP", &mut agent, &ns).await;
    let mut peers = connect(&agent, &ns, &addresses(10, 50));
    // Some say a little.
    for peer in peers.iter_mut().step_by(3) {
        peer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .expect("sent");
    }
    agent.channel_from(&ns).await;
    closed(peers).await;
    let took = beside.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    beside.finish(64 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_after_the_handshake_is_freed() {
    let authority = Authority::new("ours");
    let mut tls = tls(&authority, &[]);
    let config = client_config(&authority);
    let caller = channel(&tls, &authority).await;
    let beside = Beside::start("100 silent after TLS", tls.agent.process().id(), caller).await;
    let connector = TlsConnector::from(config);
    let peers = connect(&tls.agent, tls.ns(), &addresses(2, 50));
    let ends = peers.into_iter().map(|peer| async {
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let mut stream = connector.connect(name, peer).await.expect("a handshake");
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
    });
    join_all(ends).await;
    let took = beside.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    beside.finish(64 * MIB).await;
}

/// The client side of TLS, with a certificate.
pub(super) fn client_config(authority: &Authority) -> Arc<tokio_rustls::rustls::ClientConfig> {
    authority.enrol("operator");
    let pair = (authority.at("operator.pem"), authority.at("operator.key"));
    ctfleet::tls::client_config(
        &authority.at("ca.pem"),
        Some((&pair.0, &pair.1)),
        &ServerIdentity::Host,
    )
    .expect("a client")
}

/// Who reads and never answers, and who does not even read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_that_are_not_answered_end_a_connection() {
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &["--keepalive-interval=1", "--keepalive-timeout=2"]);
    let beside = Beside::plaintext("no PING ack", &mut agent, &ns).await;
    let call = call("/grpc.health.v1.Health/Watch");
    let open = frame(HEADERS, END_HEADERS, stream(0), &call);
    let mut peers = Vec::new();
    for _ in 0..10 {
        let mut peer = greeted(&agent, &ns).await;
        peer.write_all(&open).await.expect("sent");
        peers.push(peer);
    }
    let ends = join_all(peers.iter_mut().map(rest)).await;
    let took = beside.elapsed();
    for frames in ends {
        let pings = frames
            .iter()
            .filter(|frame| frame.kind == PING && frame.flags & ACK == 0);
        assert_eq!(pings.count(), 1);
        assert!(frames.iter().any(|frame| frame.kind == GOAWAY));
    }
    assert!(took < Duration::from_secs(6), "{took:?}");
    beside.finish(8 * MIB).await;
}

/// The answer to a dump fills the socket, and nothing is read of it: no PING comes through, and
/// the last words neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_cut() {
    let ns = Netns::new();
    ns.create(&super::watchers::many(20_000));
    let mut agent = plaintext(&ns, &["--keepalive-interval=1", "--keepalive-timeout=2"]);
    let beside = Beside::plaintext("nothing read", &mut agent, &ns).await;
    let mut peers = Vec::new();
    for _ in 0..5 {
        let mut peer = greeted(&agent, &ns).await;
        let window = [0x7f, 0, 0, 0];
        let block = call("/ctfleet.v1.FlowService/DumpFlows");
        let settings = [&[0, 4][..], &window].concat();
        let mut bytes = frame(super::peer::SETTINGS, 0, 0, &settings);
        bytes.extend(frame(super::peer::WINDOW_UPDATE, 0, 0, &window));
        bytes.extend(frame(HEADERS, END_HEADERS, stream(0), &block));
        bytes.extend(frame(super::peer::DATA, END_STREAM, stream(0), &[0; 5]));
        peer.write_all(&bytes).await.expect("sent");
        peers.push(peer);
    }
    // As long as nobody looks at what the kernel holds for the peers, only the agent can know.
    let pid = agent.process().id();
    crate::harness::until("all to be cut", || (!agent_has(pid, &peers)).then_some(()));
    let took = beside.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    beside.finish(64 * MIB).await;
}

/// Whether the agent still has its end of one of them.
fn agent_has(pid: u32, peers: &[TcpStream]) -> bool {
    let ports: Vec<_> = peers
        .iter()
        .map(|peer| format!(":{:04X}", peer.local_addr().expect("an address").port()))
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("a process");
    table.lines().any(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        // Established, and the other end is a peer.
        columns[3] == "01" && ports.iter().any(|port| columns[2].ends_with(port.as_str()))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_calls_is_ended_with_goaway_and_one_with_a_call_is_not() {
    let ns = Netns::new();
    let agent = plaintext(&ns, &["--idle-timeout=1"]);
    let mut watching = greeted(&agent, &ns).await;
    let block = call("/grpc.health.v1.Health/Watch");
    let mut open = frame(HEADERS, END_HEADERS, stream(0), &block);
    open.extend(frame(super::peer::DATA, END_STREAM, stream(0), &[0; 5]));
    watching.write_all(&open).await.expect("sent");

    let mut idle = greeted(&agent, &ns).await;
    let frames = rest(&mut idle).await;
    let last = frames.last().expect("frames");
    assert_eq!((last.kind, last.reason()), (GOAWAY, 0));

    // The other is there after that: it answers.
    let ping = frame(PING, 0, 0, &[5; 8]);
    watching.write_all(&ping).await.expect("sent");
    loop {
        let frame = next(&mut watching).await.expect("it lives");
        if frame.kind == PING && frame.flags & ACK != 0 {
            assert_eq!(frame.payload, [5; 8]);
            break;
        }
    }
    // A client that calls again after the end connects again, and does not notice.
    let mut client = AgentServiceClient::new(agent.channel());
    for _ in 0..2 {
        client.get_info(GetInfoRequest {}).await.expect("an answer");
        tokio::task::block_in_place(|| {
            until("the agent to close its connection", || {
                (!has_local_client(&agent)).then_some(())
            });
        });
        // As long again, in which the client takes notice of it.
        let mut idle = greeted(&agent, &ns).await;
        rest(&mut idle).await;
    }
}

/// Whether this test is connected to the agent's unix socket.
fn has_local_client(agent: &Agent) -> bool {
    let path = agent.socket().display().to_string();
    // The kernel counts the agent's end among the sockets of the namespace that it came from.
    let table = std::fs::read_to_string("/proc/thread-self/net/unix").expect("a table");
    table.lines().any(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        // SS_CONNECTED; the listener is SS_UNCONNECTED.
        columns[5] == "03" && columns.last() == Some(&path.as_str())
    })
}
