//! Bytes that are no requests, and requests that are wrong by a byte, for every call: the
//! answer is always a status, nothing panics, and what is refused has changed nothing.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use ctfleet::flow::filter::NumberField;
use ctfleet::flow::{Family, Flow, Protocol};
use ctfleet::pb;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use prost::Message as _;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::filters::is;
use crate::harness::flows::{expectation, flow, helped};

/// How often each call is tried.
const ATTEMPTS: usize = 25;
/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Messages as they are.
#[derive(Clone, Copy)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Calls with these messages, whatever kind of call it is, and reads a few answers.
async fn call(channel: &Channel, method: &str, messages: Vec<Bytes>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("the agent is there");
    let path = format!("/ctfleet.v1.{method}").parse().expect("a path");
    let request = tonic::Request::new(futures::stream::iter(messages));
    let answers = async {
        let answer = client.streaming(request, path, Plain).await?;
        let mut stream = answer.into_inner();
        // A watch has no end.
        for _ in 0..3 {
            if stream.message().await?.is_none() || method.contains("Watch") {
                break;
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, answers)
        .await
        .unwrap_or_else(|_| panic!("{method} does not answer"))
}

/// Every call, and a good request for it.
fn calls() -> Vec<(&'static str, Vec<Bytes>)> {
    let master = helped(flow(Family::V4, Protocol::TCP, 1), "ftp");
    let expected = expectation(&master, 7);
    let filter = || Some((&is(NumberField::Mark, 77)).into());
    let key = || pb::FlowKey::from(&master.key());
    let keys = || pb::FlowKeys { keys: vec![key()] };
    let one = |message: Vec<u8>| vec![Bytes::from(message)];
    let header = pb::create_flows_request::Message::Header(pb::CreateFlowsHeader::default());
    let batch = pb::create_flows_request::Message::Batch(pb::FlowBatch {
        flows: vec![(&master).into()],
    });
    let create = [header, batch].map(|message| {
        let message = Some(message);
        Bytes::from(pb::CreateFlowsRequest { message }.encode_to_vec())
    });
    let dump = pb::DumpFlowsRequest {
        filter: filter(),
        limit: 5,
        ..Default::default()
    };
    let get = pb::GetFlowRequest {
        by: Some(pb::get_flow_request::By::Key(key())),
        ..Default::default()
    };
    let update = pb::UpdateFlowsRequest {
        target: Some(pb::update_flows_request::Target::Keys(keys())),
        changes: Some(pb::FlowChanges {
            timeout_seconds: Some(5000),
            ..Default::default()
        }),
        ..Default::default()
    };
    let delete = pb::DeleteFlowsRequest {
        target: Some(pb::delete_flows_request::Target::Keys(keys())),
        options: Some(pb::ChangeOptions {
            max_affected: Some(3),
            ..Default::default()
        }),
        ..Default::default()
    };
    let flush = pb::FlushFlowsRequest {
        network_namespace: "none".to_owned(),
        ..Default::default()
    };
    let count = pb::CountFlowsRequest {
        filter: filter(),
        ..Default::default()
    };
    let watch = pb::WatchFlowsRequest {
        event_types: vec![pb::EventType::New.into()],
        snapshot: true,
        resume_after: Some(pb::Cursor::default()),
        ..Default::default()
    };
    let dump_expected = pb::DumpExpectationsRequest {
        master: Some(key()),
        ..Default::default()
    };
    let get_expected = pb::GetExpectationRequest {
        by: Some(pb::get_expectation_request::By::Key(
            (&expected.key()).into(),
        )),
        ..Default::default()
    };
    let create_expected = pb::CreateExpectationsRequest {
        expectations: vec![(&expected).into()],
        ..Default::default()
    };
    let delete_expected = pb::DeleteExpectationsRequest {
        target: Some(pb::delete_expectations_request::Target::Keys(
            pb::ExpectationKeys {
                keys: vec![(&expected.key()).into()],
            },
        )),
        ..Default::default()
    };
    let setting = pb::SettingUpdate {
        name: "nf_conntrack_udp_timeout".to_owned(),
        value: 30,
    };
    let settings = pb::UpdateSettingsRequest {
        updates: vec![setting.clone()],
        ..Default::default()
    };
    let get_settings = pb::GetSettingsRequest {
        names: vec![setting.name],
        ..Default::default()
    };
    let page = pb::ListNamespacesRequest {
        page_size: 2,
        page_token: "+a".to_owned(),
    };
    vec![
        ("FlowService/DumpFlows", one(dump.encode_to_vec())),
        ("FlowService/GetFlow", one(get.encode_to_vec())),
        ("FlowService/CreateFlows", create.into()),
        ("FlowService/UpdateFlows", one(update.encode_to_vec())),
        ("FlowService/DeleteFlows", one(delete.encode_to_vec())),
        ("FlowService/FlushFlows", one(flush.encode_to_vec())),
        ("FlowService/CountFlows", one(count.encode_to_vec())),
        ("FlowService/WatchFlows", one(watch.encode_to_vec())),
        ("FlowService/GetStats", one(flush.encode_to_vec())),
        (
            "ExpectationService/DumpExpectations",
            one(dump_expected.encode_to_vec()),
        ),
        (
            "ExpectationService/GetExpectation",
            one(get_expected.encode_to_vec()),
        ),
        (
            "ExpectationService/CreateExpectations",
            one(create_expected.encode_to_vec()),
        ),
        (
            "ExpectationService/DeleteExpectations",
            one(delete_expected.encode_to_vec()),
        ),
        (
            "ExpectationService/FlushExpectations",
            one(flush.encode_to_vec()),
        ),
        (
            "ExpectationService/WatchExpectations",
            one(watch.encode_to_vec()),
        ),
        (
            "ExpectationService/GetExpectationStats",
            one(flush.encode_to_vec()),
        ),
        ("AgentService/GetInfo", one(Vec::new())),
        (
            "AgentService/GetSettings",
            one(get_settings.encode_to_vec()),
        ),
        ("AgentService/UpdateSettings", one(settings.encode_to_vec())),
        ("AgentService/ListNamespaces", one(page.encode_to_vec())),
    ]
}

/// What happens to a message on its way.
#[derive(Clone, Debug)]
enum Damage {
    Random(Vec<u8>),
    Flip(Vec<(Index, u8)>),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Twice,
    /// A field of this number that holds the message, so many times over.
    Nest(u8, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Damage::Random),
        prop::collection::vec((any::<Index>(), 1..=255_u8), 1..3).prop_map(Damage::Flip),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        Just(Damage::Twice),
        (1..8_u8, 1..300_usize).prop_map(|(field, depth)| Damage::Nest(field, depth)),
    ]
}

impl Damage {
    fn of(&self, message: &Bytes) -> Bytes {
        let mut bytes = message.to_vec();
        match self {
            Self::Random(random) => bytes.clone_from(random),
            Self::Flip(flips) => {
                for (at, bits) in flips {
                    if !bytes.is_empty() {
                        let at = at.index(bytes.len());
                        bytes[at] ^= bits;
                    }
                }
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Self::Insert(at, new) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Twice => bytes.extend_from_within(..),
            Self::Nest(field, depth) => {
                for _ in 0..*depth {
                    let mut outer = vec![field << 3 | 2];
                    prost::encode_length_delimiter(bytes.len(), &mut outer).expect("room");
                    outer.append(&mut bytes);
                    bytes = outer;
                }
            }
        }
        bytes.into()
    }
}

/// What may not change when a request is refused.
fn state(ns: &Netns) -> (Vec<Flow>, Vec<String>, String) {
    let mut flows = ns.flows(None);
    for flow in &mut flows {
        (flow.timeout, flow.use_count) = (None, None);
    }
    flows.sort_by_key(|flow| flow.id);
    let expected = ns.conntrack("-L expect");
    // Without the seconds that are left.
    let expected = expected.lines().filter_map(|line| line.split_once(' '));
    let expected = expected.map(|(_, rest)| rest.to_owned()).collect();
    let setting = ns.sysctl("net/netfilter/nf_conntrack_udp_timeout");
    (flows, expected, setting)
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_answered_with_a_status_and_changes_nothing() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let channel = agent.channel();
    let mut runner = TestRunner::default();
    let calls = calls();
    // The flow and the expectation that the requests are about, and a flow that none is.
    let seed = async || {
        ns.conntrack("-F");
        ns.set_sysctl("net/netfilter/nf_conntrack_udp_timeout", "30");
        ns.create(&[flow(Family::V6, Protocol::UDP, 9)]);
        for name in ["CreateFlows", "CreateExpectations"] {
            let (method, good) = calls
                .iter()
                .find(|(method, _)| method.ends_with(name))
                .expect("a call");
            call(&channel, method, good.clone()).await.expect(method);
        }
        let state = state(&ns);
        assert_eq!((state.0.len(), state.1.len()), (2, 1), "{state:?}");
        state
    };
    let mut before = seed().await;
    for (method, good) in &calls {
        for _ in 0..ATTEMPTS {
            let damage = damage().new_tree(&mut runner).expect("a value").current();
            let mut messages = good.clone();
            let last = messages.last_mut().expect("a message");
            *last = damage.of(last);
            let answer = call(&channel, method, messages).await;
            let after = state(&ns);
            match answer {
                // It made sense after all, perhaps in another way.
                Ok(()) if after == before => {}
                Ok(()) => before = seed().await,
                Err(status) => {
                    let told = format!("{method} {damage:?}: {status:?}");
                    assert_eq!(after, before, "{told}");
                    let blamed = [Code::Internal, Code::Unknown, Code::Unavailable];
                    assert!(!blamed.contains(&status.code()), "{told}");
                }
            }
        }
    }
    assert!(!agent.said().contains("panicked"), "{}", agent.said());
    drop(channel);
}
