//! Clients that ask again and again and read no answers: what they send on lies in the agent's
//! memory, a window of HTTP/2 for each stream.

use std::time::Duration;

use ctfleet::flow::{Family, Protocol};
use ctfleet::pb;
use ctfleet::pb::create_flows_request::Message as Create;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use super::bystander::{Beside, MIB};
use super::peer::{
    ACK, DATA, ELSEWHERE, END_HEADERS, HEADERS, PING, SETTINGS, call, connect, frame, greeting,
    next, stream,
};
use super::plaintext;
use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::flows::flow;

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const CREATE: &str = "/ctfleet.v1.FlowService/CreateFlows";

/// Connections of one address: beside the one who behaves, as many as it may have.
const CONNECTIONS: usize = 60;
/// What a connection's window has room for.
const STREAMS: u32 = 4;
/// The largest frame, and how many of them a stream's window has room for.
const FRAME: usize = 16 << 10;
const FRAMES: usize = 63;

/// A gRPC message.
fn message(content: &impl prost::Message) -> Vec<u8> {
    let content = content.encode_to_vec();
    let length = u32::try_from(content.len()).expect("small");
    [&[0][..], &length.to_be_bytes(), &content].concat()
}

/// Opens streams and fills their windows: this first, and this again and again. What it is
/// answered it has no window for. Comes back when the agent has received it all, or has closed.
async fn ask(mut peer: TcpStream, path: &str, first: &[u8], again: &[u8]) -> TcpStream {
    let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let mut bytes = greeting();
    bytes.extend(no_window);
    peer.write_all(&bytes).await.expect("sent");
    // The windows are those of the agent's settings when these are acknowledged.
    while next(&mut peer).await.expect("settings").kind != SETTINGS {}
    let mut bytes = frame(SETTINGS, ACK, 0, &[]);
    for n in 0..STREAMS {
        bytes.extend(frame(HEADERS, END_HEADERS, stream(n), &call(path)));
        let mut body = first.to_vec();
        while body.len() < FRAME * FRAMES {
            body.extend(again);
        }
        body.truncate(FRAME * FRAMES);
        for data in body.chunks(FRAME) {
            bytes.extend(frame(DATA, 0, stream(n), data));
        }
    }
    bytes.extend(frame(PING, 0, 0, b"received"));
    // One half writes while the other reads.
    let (mut read, mut write) = peer.split();
    let receive = async {
        while let Some(frame) = next(&mut read).await {
            if frame.kind == PING && frame.payload == b"received" {
                break;
            }
        }
    };
    // It may be closed before all is sent.
    let _ = tokio::join!(write.write_all(&bytes), receive);
    peer
}

/// Attacks from all connections at once, looks how others fare then, and lets go.
async fn attack(
    row: &'static str,
    (path, first, again): (&'static str, Vec<u8>, Vec<u8>),
    others: impl AsyncFn(&Agent),
) {
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &[]);
    let (pid, channel) = (agent.process().id(), agent.channel());
    let beside = Beside::start(row, pid, channel).await;
    let mut peers = JoinSet::new();
    for peer in connect(&agent, &ns, &[ELSEWHERE; CONNECTIONS]) {
        let (first, again) = (first.clone(), again.clone());
        peers.spawn(async move { ask(peer, path, &first, &again).await });
    }
    let asked = tokio::time::timeout(Duration::from_secs(60), peers.join_all());
    let peers = asked.await.expect("received in time");
    others(&agent).await;
    drop(peers);
    beside.finish(64 * MIB).await;
}

fn services() -> ServerReflectionRequest {
    ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    }
}

/// Asks for what is served; whether it was told.
async fn reflect(agent: &Agent, question: ServerReflectionRequest) -> bool {
    let mut client = ServerReflectionClient::new(agent.channel());
    let questions = tokio_stream::iter([question]);
    let answer = client.server_reflection_info(questions).await;
    let mut answers = answer.expect("a stream").into_inner();
    answers.message().await.expect("no error").is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_whose_answers_nobody_reads_do_not_fill_the_memory() {
    let question = message(&services());
    let attacker = (REFLECTION, question.clone(), question);
    attack("reflection that is not read", attacker, async |agent| {
        assert!(reflect(agent, services()).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_whose_accounts_nobody_reads_do_not_fill_the_memory() {
    let create = |message| pb::CreateFlowsRequest {
        message: Some(message),
    };
    let header = create(Create::Header(pb::CreateFlowsHeader::default()));
    let batch = create(Create::Batch(pb::FlowBatch {
        flows: vec![(&flow(Family::V4, Protocol::UDP, 7)).into()],
    }));
    let attacker = (CREATE, message(&header), message(&batch));
    attack("accounts that are not read", attacker, async |agent| {
        let messages = tokio_stream::iter([header.clone(), batch.clone()]);
        let answer = agent.flows().create_flows(messages).await;
        let mut accounts = answer.expect("a stream").into_inner();
        let account = accounts.message().await.expect("no error");
        assert!(account.is_some());
    })
    .await;
}

/// Reflection gives back what it is sent, twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_reflection_take_names_and_no_more() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let long = "x".repeat(1 << 20);
    let question = HealthCheckRequest {
        service: long.clone(),
    };
    let mut health = HealthClient::new(agent.channel());
    let refused = health.check(question).await.expect_err("refused");
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    health
        .check(HealthCheckRequest::default())
        .await
        .expect("an answer");

    let question = ServerReflectionRequest {
        host: long,
        ..services()
    };
    assert!(!reflect(&agent, question).await, "an answer");
    let question = ServerReflectionRequest {
        host: "fw1".to_owned(),
        ..services()
    };
    assert!(reflect(&agent, question).await, "no answer");
}
