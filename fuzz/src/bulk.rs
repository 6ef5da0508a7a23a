//! The fast readers of entries against the generated types: the same entries, and the same
//! words for what is refused.

use bytes::Bytes;
use ctfleet::flow::{Flow, FlowEvent};
use ctfleet::pb;
use ctfleet::wire::bulk::{self, CreateMessage, WatchMessage};
use ctfleet::wire::{FieldError, writable_flow};
use pb::create_flows_request::Message as Create;
use pb::watch_flows_response::Message as Watch;
use prost::Message as _;

pub(crate) fn run(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    match choice % 5 {
        0 => flow(data),
        1 => event(data),
        2 => dump(&Bytes::copy_from_slice(data)),
        3 => create(&Bytes::copy_from_slice(data)),
        _ => watch(&Bytes::copy_from_slice(data)),
    }
}

fn flow(data: &[u8]) {
    match (bulk::read_flow(data), pb::Flow::decode(data)) {
        (read, Ok(message)) => {
            assert_eq!(read, Flow::try_from(message.clone()));
            for creates in [false, true] {
                let read = bulk::read_writable_flow(data, creates);
                assert_eq!(read, writable_flow(message.clone(), creates));
            }
        }
        (read, Err(error)) => assert_eq!(refusal(read), error.to_string()),
    }
}

fn event(data: &[u8]) {
    match (bulk::read_flow_event(data), pb::FlowEvent::decode(data)) {
        (read, Ok(message)) => {
            let sequence = message.sequence;
            let event = FlowEvent::try_from(message);
            assert_eq!(read, event.map(|event| (sequence, event)));
        }
        (read, Err(error)) => assert_eq!(refusal(read), error.to_string()),
    }
}

#[track_caller]
fn refusal<T>(read: Result<T, FieldError>) -> String {
    read.err().expect("refused").description
}

/// All entries, or none where one cannot be read.
fn flows<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Option<Vec<Flow>> {
    entries.map(|bytes| bulk::read_flow(bytes).ok()).collect()
}

#[track_caller]
fn assert_same(read: Option<Vec<Flow>>, contract: Vec<pb::Flow>) {
    if let Some(read) = read {
        let contract: Result<Vec<_>, _> = contract.into_iter().map(Flow::try_from).collect();
        assert_eq!(Ok(read), contract);
    }
}

fn dump(data: &Bytes) {
    let Ok(read) = bulk::read_dump(data) else {
        return;
    };
    let entries = flows(read.flows.iter());
    if let Ok(message) = pb::DumpFlowsResponse::decode(&data[..]) {
        assert_same(entries, message.flows);
        assert_eq!(read.summary, message.summary);
    }
}

fn create(data: &Bytes) {
    let Ok(read) = bulk::read_create(data) else {
        return;
    };
    let contract = pb::CreateFlowsRequest::decode(&data[..]);
    match read {
        CreateMessage::Batch(mut entries) => {
            let all = flows(entries.iter());
            let count = entries.len();
            let first = entries.split_to(1);
            assert_eq!(first.len() + entries.len(), count);
            if let Ok(message) = contract {
                let Some(Create::Batch(batch)) = message.message else {
                    panic!("a batch to one and not to the other");
                };
                assert_same(all, batch.flows);
            }
        }
        CreateMessage::Header(header) => {
            if let Ok(message) = contract {
                assert_eq!(message.message, Some(Create::Header(header)));
            }
        }
        CreateMessage::Nothing => {
            if let Ok(message) = contract {
                assert_eq!(message.message, None);
            }
        }
    }
}

fn watch(data: &Bytes) {
    let Ok(read) = bulk::read_watch(data) else {
        return;
    };
    let contract = pb::WatchFlowsResponse::decode(&data[..]);
    let contract = contract.map(|message| message.message);
    match (read, contract) {
        (
            WatchMessage::Snapshot {
                flows: entries,
                first,
            },
            contract,
        ) => {
            let all = flows(entries.iter());
            if let Ok(message) = contract {
                let Some(Watch::Snapshot(chunk)) = message else {
                    panic!("a snapshot to one and not to the other");
                };
                assert_eq!(first, chunk.first);
                assert_same(all, chunk.flows);
            }
        }
        (WatchMessage::Events(entries), contract) => {
            let all: Result<Vec<_>, _> = entries.iter().map(bulk::read_flow_event).collect();
            if let (Ok(all), Ok(message)) = (all, contract) {
                let Some(Watch::Events(events)) = message else {
                    panic!("events to one and not to the other");
                };
                let contract: Result<Vec<_>, _> = events
                    .events
                    .into_iter()
                    .map(|event| Ok((event.sequence, FlowEvent::try_from(event)?)))
                    .collect();
                assert_eq!(Ok::<_, FieldError>(all), contract);
            }
        }
        (WatchMessage::Other(other), Ok(message)) => assert_eq!(other, message),
        (WatchMessage::Other(_), Err(_)) => panic!("read although it cannot be"),
    }
}
