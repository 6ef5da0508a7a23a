//! Messages that are too large, or small and would become large.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use ctfleet::flow::Filter;
use ctfleet::flow::filter::NumberField;
use ctfleet::pb::{
    CountFlowsRequest, DeleteFlowsRequest, FlowIds, GetInfoRequest, delete_flows_request,
};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use h2::SendStream;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::bystander::{Beside, MIB};
use super::peer::{ELSEWHERE, connect};
use super::plaintext;
use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::filters::{is, not};

/// An HTTP/2 client that says what it likes.
struct Caller {
    send: SendRequest<Bytes>,
}

impl Caller {
    async fn new(agent: &Agent, ns: &Netns) -> Self {
        let stream = connect(agent, ns, &[ELSEWHERE]).pop().expect("one");
        let (send, connection) = h2::client::handshake(stream).await.expect("a greeting");
        tokio::spawn(async move {
            // Its end is seen by whoever waits for an answer.
            let _ = connection.await;
        });
        Self { send }
    }

    /// Sends these bytes as the body of a call, as far as they are taken: the status and its
    /// message.
    async fn call(&self, path: &str, encoding: Option<&str>, body: Bytes) -> (String, String) {
        let request = Request::post(format!("http://agent{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let request = match encoding {
            Some(encoding) => request.header("grpc-encoding", encoding),
            None => request,
        };
        let request = request.body(()).expect("a request");
        let mut send = self.send.clone().ready().await.expect("a connection");
        let (answer, sending) = send.send_request(request, false).expect("sent");
        let uploading = tokio::spawn(upload(sending, body, true));
        let status = async {
            let answer = answer.await.expect("an answer");
            let (head, mut body) = answer.into_parts();
            while let Some(data) = body.data().await {
                let count = data.expect("data").len();
                body.flow_control()
                    .release_capacity(count)
                    .expect("released");
            }
            let trailers = body.trailers().await.expect("trailers");
            status(&trailers.unwrap_or(head.headers))
        };
        let status = tokio::time::timeout(Duration::from_secs(20), status).await;
        uploading.abort();
        status.expect("a status in time")
    }
}

/// Sends these bytes as far as they are taken, and the end of the stream behind them.
async fn upload(mut stream: SendStream<Bytes>, mut body: Bytes, end: bool) -> SendStream<Bytes> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len().min(1 << 16));
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let Some(Ok(capacity)) = capacity else { break };
        let piece = body.split_to(capacity.min(body.len()));
        let last = end && body.is_empty();
        if stream.send_data(piece, last).is_err() {
            break;
        }
    }
    stream
}

impl Caller {
    /// Begins a call and sends these bytes, but never the end, as long as the task lives; its
    /// status, if there ever is one.
    async fn begin(
        &self,
        path: &str,
        body: Bytes,
        uploads: &mut JoinSet<()>,
    ) -> impl Future<Output = String> + use<> {
        let request = Request::post(format!("http://agent{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        let mut send = self.send.clone().ready().await.expect("a connection");
        let (answer, sending) = send.send_request(request, false).expect("sent");
        uploads.spawn(async move {
            let _held = upload(sending, body, false).await;
            std::future::pending::<()>().await;
        });
        async move {
            let (head, mut body) = answer.await.expect("an answer").into_parts();
            let trailers = body.trailers().await.expect("trailers");
            status(&trailers.unwrap_or(head.headers)).0
        }
    }
}

fn status(headers: &HeaderMap) -> (String, String) {
    let text = |name: &str| {
        let value = headers
            .get(name)
            .map(|value| value.to_str().expect("ASCII"));
        value.unwrap_or_default().to_owned()
    };
    (
        text("grpc-status"),
        text("grpc-message").replace("%20", " "),
    )
}

/// A gRPC message of this length.
fn message(compressed: bool, content: &[u8]) -> Bytes {
    let mut bytes = vec![u8::from(compressed)];
    bytes.extend(u32::try_from(content.len()).expect("small").to_be_bytes());
    bytes.extend(content);
    bytes.into()
}

/// A field of a protobuf message that holds these bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encode_length_delimiter(content.len(), &mut bytes).expect("room");
    bytes.extend(content);
    bytes
}

const DUMP: &str = "/ctfleet.v1.FlowService/DumpFlows";
const GET: &str = "/ctfleet.v1.FlowService/GetFlow";
const DELETE: &str = "/ctfleet.v1.FlowService/DeleteFlows";
const WATCH: &str = "/ctfleet.v1.FlowService/WatchFlows";
const INVALID_ARGUMENT: &str = "3";
const RESOURCE_EXHAUSTED: &str = "8";
const OUT_OF_RANGE: &str = "11";
const UNIMPLEMENTED: &str = "12";

/// Attacks with this, and gives the answer.
async fn attack(
    row: &'static str,
    path: &str,
    encoding: Option<&str>,
    body: Bytes,
) -> (String, String) {
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &[]);
    let beside = Beside::plaintext(row, &mut agent, &ns).await;
    let caller = Caller::new(&agent, &ns).await;
    let answer = caller.call(path, encoding, body.clone()).await;
    drop(caller);
    beside.finish(8 * MIB).await;
    // And again and again: the allocator keeps something of each for the next.
    let beside = Beside::plaintext("again and again", &mut agent, &ns).await;
    while beside.goes_on() {
        // Over one connection it would end with GOAWAY: each is a reset that the agent is made
        // to send.
        let caller = Caller::new(&agent, &ns).await;
        assert_eq!(caller.call(path, encoding, body.clone()).await, answer);
    }
    beside.finish(64 * MIB).await;
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_100_mb_is_refused_at_its_length() {
    let body = message(false, &vec![0; 100_000_000]);
    let (code, text) = attack("100 MB message", DUMP, None, body).await;
    assert!(
        [OUT_OF_RANGE, RESOURCE_EXHAUSTED].contains(&&*code),
        "{code} {text}"
    );
    assert!(text.contains("4194304"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_bomb_is_not_unpacked() {
    // 100 MB of nothing, in 100 KB.
    let bomb = Command::new("sh")
        .args(["-c", "head -c 100000000 /dev/zero | gzip -9"])
        .output()
        .expect("gzip");
    assert!(bomb.stdout.len() > 50_000 && bomb.stdout.len() < 1_000_000);
    for encoding in ["gzip", "zstd"] {
        let body = message(true, &bomb.stdout);
        let (code, text) = attack("compressed bomb", DUMP, Some(encoding), body).await;
        assert_eq!(code, UNIMPLEMENTED, "{text}");
    }
    // And one that does not say that it is one.
    let body = message(true, &bomb.stdout);
    let (code, _) = attack("compressed bomb without a name", DUMP, None, body).await;
    assert_ne!(code, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_of_depth_10000_is_refused() {
    let filter = (0..10_000).fold(Vec::new(), |inner, _| field(3, &inner));
    let body = message(false, &field(3, &filter));
    let (code, text) = attack("filter of depth 10,000", DUMP, None, body).await;
    assert_eq!(code, INVALID_ARGUMENT);
    assert!(text.starts_with("filter: is nested too deeply"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_predicates_are_refused() {
    // The smallest of all: 2 bytes each.
    let predicates = [0x0a, 0].repeat(1_000_000);
    let body = message(false, &field(3, &field(1, &predicates)));
    let (code, text) = attack("1,000,000 predicates", DUMP, None, body).await;
    assert_eq!(
        (&*code, &*text),
        (INVALID_ARGUMENT, "filter: has more than 4096 conditions")
    );
    // With something in them, as many as fit.
    let predicates = [0x0a, 4, 0x22, 2, 0x08, 1].repeat(690_000);
    let body = message(false, &field(3, &field(1, &predicates)));
    let (code, text) = attack("690,000 full predicates", WATCH, None, body).await;
    assert_eq!(
        (&*code, &*text),
        (INVALID_ARGUMENT, "filter: has more than 4096 conditions")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn millions_of_items_are_refused() {
    let keys = field(2, &[0x0a, 0].repeat(2_000_000));
    let (code, text) = attack("2,000,000 keys", DELETE, None, message(false, &keys)).await;
    assert_eq!(
        (&*code, &*text),
        (INVALID_ARGUMENT, "keys: has more than 100000 items")
    );
    let ids = field(4, &field(1, &[1, 2, 3, 4].repeat(1_000_000)));
    let (code, text) = attack("1,000,000 ids", DELETE, None, message(false, &ids)).await;
    assert_eq!(
        (&*code, &*text),
        (INVALID_ARGUMENT, "ids: has more than 100000 items")
    );
}

/// An agent that is configured to take less.
#[tokio::test]
async fn what_a_request_may_hold_is_configured() {
    let ns = Netns::new();
    let flags = [
        "--max-items=2",
        "--max-filter-conditions=3",
        "--max-filter-depth=2",
    ];
    let agent = Agent::start_with(&ns, &flags);
    let mut client = agent.flows();
    let mut count = async |filter: Filter| {
        let request = CountFlowsRequest {
            filter: Some((&filter).into()),
            ..Default::default()
        };
        client.count_flows(request).await.map(drop)
    };
    let one = || is(NumberField::Mark, 1);
    count(one() & one()).await.expect("as much as it may");
    let wide = count(Filter::And(vec![one(), one(), one()])).await;
    let deep = count(not(not(one()))).await;
    let ids = DeleteFlowsRequest {
        target: Some(delete_flows_request::Target::Ids(FlowIds {
            ids: vec![1, 2, 3],
        })),
        ..Default::default()
    };
    let many = agent.flows().delete_flows(ids).await.map(drop);
    for (refused, limit) in [
        (wide, "max-filter-conditions"),
        (deep, "max-filter-depth"),
        (many, "max-items"),
    ] {
        let status = refused.expect_err("refused");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!(
            (&*info.reason, &*info.metadata["limit"]),
            ("TOO_LARGE", limit)
        );
    }
    let info = agent.agent().get_info(GetInfoRequest {}).await;
    let limits = info.expect("an answer").into_inner().limits;
    for (name, value) in [
        ("max-items", 2),
        ("max-filter-conditions", 3),
        ("max-filter-depth", 2),
        ("max-connections", 256),
        ("max-connections-per-peer", 64),
        ("max-streams", 200),
        ("max-header-size", 16_384),
        ("handshake-timeout", 4),
        ("first-frame-timeout", 5),
        ("idle-timeout", 900),
        ("keepalive-interval", 10),
        ("keepalive-timeout", 8),
    ] {
        let told = limits.iter().find(|limit| limit.name == name);
        assert_eq!(told.map(|limit| limit.value), Some(value), "{name}");
    }
}

/// The caller beside it is another one: what one may hold is its own affair.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_begun_and_never_ended_are_bounded() {
    const LARGEST: usize = 4 << 20;
    const CALLS: usize = 40;
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &[]);
    let channel = agent.channel();
    let pid = agent.process().id();
    let beside = Beside::start("40 unfinished requests", pid, channel).await;
    let caller = Caller::new(&agent, &ns).await;
    let mut body = message(false, &vec![0; LARGEST]);
    body.truncate(LARGEST);
    let mut uploads = JoinSet::new();
    let mut calls = FuturesUnordered::new();
    for _ in 0..CALLS {
        calls.push(caller.begin(GET, body.clone(), &mut uploads).await);
    }
    // Three quarters of eight messages are what one caller may hold.
    for _ in 0..CALLS - 6 {
        let refused = tokio::time::timeout(Duration::from_secs(40), calls.next());
        let refused = refused.await.expect("in time").expect("a call");
        assert_eq!(refused, RESOURCE_EXHAUSTED);
    }
    drop((calls, caller));
    uploads.shutdown().await;
    beside.finish(64 * MIB).await;
}
