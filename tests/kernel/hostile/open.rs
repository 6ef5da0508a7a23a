//! Calls that are opened and never go on: each takes memory, though there is no message.

use std::time::Duration;

use ctfleet::pb::GetInfoRequest;
use ctfleet::pb::agent_service_client::AgentServiceClient;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use super::bystander::{Beside, MIB};
use super::peer::{
    ACK, DATA, ELSEWHERE, END_HEADERS, END_STREAM, HEADERS, PING, call, connect, frame, greeting,
    next, stream,
};
use super::plaintext;
use crate::harness::Netns;

/// As many as a connection may have.
const STREAMS: u32 = 200;

const INFO: &str = "/ctfleet.v1.AgentService/GetInfo";
const HEALTH: &str = "/grpc.health.v1.Health/Watch";

/// What opens a call.
#[derive(Clone)]
struct Opening {
    path: &'static str,
    /// So many fields of [`FIELD`] bytes.
    metadata: usize,
    body: Option<Vec<u8>>,
}

/// The length of a value.
const FIELD: usize = 126;

impl Opening {
    fn block(&self) -> Vec<u8> {
        let field = [&b"\x00\x03x-a\x7e"[..], &[b'v'; FIELD]].concat();
        [call(self.path), field.repeat(self.metadata)].concat()
    }
}

/// Opens them, and comes back when the agent has received all. It has not answered all then.
async fn open(mut peer: TcpStream, opening: Opening) -> TcpStream {
    let (mut bytes, block) = (greeting(), opening.block());
    for n in 0..STREAMS {
        bytes.extend(frame(HEADERS, END_HEADERS, stream(n), &block));
        if let Some(body) = &opening.body {
            bytes.extend(frame(DATA, END_STREAM, stream(n), body));
        }
    }
    bytes.extend(frame(PING, 0, 0, b"received"));
    let (mut read, mut write) = peer.split();
    let receive = async {
        while let Some(frame) = next(&mut read).await {
            if frame.kind == PING && frame.flags & ACK != 0 {
                return;
            }
        }
        panic!("it was closed");
    };
    let (sent, ()) = tokio::join!(write.write_all(&bytes), receive);
    sent.expect("sent");
    peer
}

/// Keeps it open: a peer that answers no PING is cut.
async fn keep(mut peer: TcpStream) {
    while let Some(got) = next(&mut peer).await {
        if got.kind == PING && got.flags & ACK == 0 {
            let answer = frame(PING, ACK, 0, &got.payload);
            peer.write_all(&answer).await.expect("it is open");
        }
    }
}

async fn attack(row: &'static str, connections: usize, opening: Opening) {
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &[]);
    let (pid, channel) = (agent.process().id(), agent.channel());
    let same_caller = agent.channel_from(&ns).await;
    let beside = Beside::start(row, pid, channel).await;
    let mut peers = JoinSet::new();
    for peer in connect(&agent, &ns, &vec![ELSEWHERE; connections]) {
        peers.spawn(open(peer, opening.clone()));
    }
    let opened = tokio::time::timeout(Duration::from_secs(60), peers.join_all());
    let opened = opened.await.expect("received in time");
    let mut kept: JoinSet<()> = opened.into_iter().map(keep).collect();
    // The agent has received them, and takes them in: a call in between may have the place of
    // one of them, which is free afterwards, and is filled with more.
    let refused = async {
        loop {
            match ask(&same_caller, opening.metadata).await {
                Err(refused) => break refused,
                Ok(()) => {
                    let peer = connect(&agent, &ns, &[ELSEWHERE]).pop().expect("one");
                    kept.spawn(keep(open(peer, opening.clone()).await));
                }
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(20), refused);
    let refused = refused.await.expect("refused in time");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let info = refused.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.reason, "TOO_MUCH_AT_ONCE");
    kept.shutdown().await;
    let freed = async { while ask(&same_caller, opening.metadata).await.is_err() {} };
    let freed = tokio::time::timeout(Duration::from_secs(20), freed);
    freed.await.expect("room again");
    beside.finish(64 * MIB).await;
}

/// A call that takes as much as one of theirs.
async fn ask(channel: &Channel, metadata: usize) -> Result<(), tonic::Status> {
    let mut client = AgentServiceClient::new(channel.clone());
    let mut request = tonic::Request::new(GetInfoRequest {});
    let value: MetadataValue<_> = "v".repeat(FIELD).parse().expect("ASCII");
    for _ in 0..metadata {
        request.metadata_mut().append("x-a", value.clone());
    }
    client.get_info(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_opened_and_never_sent_are_bounded() {
    let opening = Opening {
        path: INFO,
        metadata: 0,
        body: None,
    };
    attack("2,400 calls", 12, opening).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_metadata_that_are_never_sent_are_bounded() {
    // Almost as much as a call may have.
    let opening = Opening {
        path: INFO,
        metadata: 90,
        body: None,
    };
    attack("800 calls of long metadata", 4, opening).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_of_health_are_bounded() {
    let opening = Opening {
        path: HEALTH,
        metadata: 0,
        // An empty message.
        body: Some(vec![0; 5]),
    };
    attack("2,400 watches of health", 12, opening).await;
}
