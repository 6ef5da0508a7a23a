//! The generated types are the contract: both ways give the same, byte for byte and word for
//! word.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::flow::{Flow, FlowEvent, arbitrary};
use crate::pb::{self, Encoded};
use crate::wire::{flow_event, writable_flow};

fn bytes<M: prost::Message + Default>(message: Encoded<M>) -> Bytes {
    message.into_bytes()
}

fn run(flows: &[Flow]) -> Run {
    let mut run = Run::default();
    flows.iter().for_each(|flow| run.push_flow(flow));
    run
}

/// Breaks a message in one place, in one of several ways.
#[derive(Clone, Debug)]
struct Break {
    way: u8,
    at: prop::sample::Index,
    garbage: Vec<u8>,
}

impl Break {
    fn any() -> impl Strategy<Value = Self> {
        let garbage = prop::collection::vec(any::<u8>(), 1..4);
        (0..4_u8, any::<prop::sample::Index>(), garbage).prop_map(|(way, at, garbage)| Self {
            way,
            at,
            garbage,
        })
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = match bytes.len() {
            0 => 0,
            length => self.at.index(length),
        };
        match self.way {
            0 => bytes.truncate(at),
            1 => {
                for (place, byte) in bytes.iter_mut().skip(at).zip(&self.garbage) {
                    *place = *byte;
                }
            }
            2 => drop(bytes.splice(at..at, self.garbage.iter().copied())),
            // The same once more: fields that come twice.
            _ => bytes.extend_from_within(..),
        }
    }
}

proptest! {
    #[test]
    fn a_dump_is_written_and_read_as_the_contract_has_it(
        flows in prop::collection::vec(arbitrary::flow(), 0..8),
    ) {
        let contract = pb::DumpFlowsResponse {
            flows: flows.iter().map(Into::into).collect(),
            summary: None,
        };
        let written = run(&flows);
        prop_assert_eq!(written.count(), flows.len());
        prop_assert_eq!(written.len(), contract.encoded_len());
        let written = bytes(written.into_dump());
        prop_assert_eq!(&written[..], &contract.encode_to_vec()[..]);
        let read = read_dump(&written).unwrap();
        prop_assert_eq!(read.flows.len(), flows.len());
        prop_assert_eq!(read.summary, None);
        let read: Result<Vec<_>, _> = read.flows.iter().map(read_flow).collect();
        prop_assert_eq!(read.unwrap(), flows);
    }

    #[test]
    fn a_batch_is_written_and_read_as_the_contract_has_it(
        flows in prop::collection::vec(arbitrary::flow(), 0..8),
    ) {
        let contract = pb::CreateFlowsRequest {
            message: Some(pb::create_flows_request::Message::Batch(pb::FlowBatch {
                flows: flows.iter().map(Into::into).collect(),
            })),
        };
        let written = bytes(run(&flows).into_create());
        prop_assert_eq!(&written[..], &contract.encode_to_vec()[..]);
        let CreateMessage::Batch(entries) = read_create(&written).unwrap() else {
            panic!("a batch");
        };
        let read: Result<Vec<_>, _> =
            entries.iter().map(|bytes| read_writable_flow(bytes, false)).collect();
        prop_assert_eq!(read.unwrap(), flows);
    }

    #[test]
    fn a_batch_can_be_taken_in_parts(
        flows in prop::collection::vec(arbitrary::flow(), 0..8),
        parts in prop::collection::vec(0..5_usize, 0..8),
    ) {
        let written = bytes(run(&flows).into_create());
        let CreateMessage::Batch(mut rest) = read_create(&written).unwrap() else {
            panic!("a batch");
        };
        let (mut read, mut left) = (Vec::new(), flows.len());
        for part in parts.into_iter().chain([usize::MAX]) {
            let taken = rest.split_to(part);
            prop_assert_eq!(taken.len(), part.min(left));
            prop_assert_eq!(taken.is_empty(), taken.iter().next().is_none());
            left -= taken.len();
            prop_assert_eq!(rest.len(), left);
            read.extend(taken.iter().map(|bytes| read_flow(bytes).unwrap()));
        }
        prop_assert_eq!(read, flows);
    }

    #[test]
    fn a_snapshot_is_written_and_read_as_the_contract_has_it(
        flows in prop::collection::vec(arbitrary::flow(), 0..8),
        is_first: bool,
    ) {
        use pb::watch_flows_response::Message;
        let contract = pb::WatchFlowsResponse {
            message: Some(Message::Snapshot(pb::FlowSnapshotChunk {
                flows: flows.iter().map(Into::into).collect(),
                first: is_first,
            })),
        };
        let written: Encoded<pb::WatchFlowsResponse> = run(&flows).into_snapshot(is_first);
        let written = bytes(written);
        prop_assert_eq!(&written[..], &contract.encode_to_vec()[..]);
        let WatchMessage::Snapshot { flows: entries, first } = read_watch(&written).unwrap() else {
            panic!("a snapshot");
        };
        prop_assert_eq!(first, is_first);
        let read: Result<Vec<_>, _> = entries.iter().map(read_flow).collect();
        prop_assert_eq!(read.unwrap(), flows);
    }

    #[test]
    fn events_are_written_and_read_as_the_contract_has_them(
        events in prop::collection::vec((any::<u64>(), arbitrary::flow_event()), 1..8),
    ) {
        use pb::watch_flows_response::Message;
        let contract = pb::WatchFlowsResponse {
            message: Some(Message::Events(pb::FlowEvents {
                events: events.iter().map(|(n, event)| flow_event(*n, event)).collect(),
            })),
        };
        let mut run = Run::default();
        events.iter().for_each(|(n, event)| run.push_flow_event(*n, event));
        let written: Encoded<pb::WatchFlowsResponse> = run.into_events();
        let written = bytes(written);
        prop_assert_eq!(&written[..], &contract.encode_to_vec()[..]);
        let WatchMessage::Events(entries) = read_watch(&written).unwrap() else {
            panic!("events");
        };
        let read: Result<Vec<_>, _> = entries.iter().map(read_flow_event).collect();
        prop_assert_eq!(read.unwrap(), events);
    }

    /// Whatever the bytes are: the same flow, or the same words of refusal.
    #[test]
    fn a_flow_that_is_broken_reads_as_the_contract_reads_it(
        flow in arbitrary::flow(),
        broken in Break::any(),
        creates: bool,
    ) {
        let mut bytes = pb::Flow::from(&flow).encode_to_vec();
        broken.apply(&mut bytes);
        let contract = pb::Flow::decode(&bytes[..]);
        match (read_flow(&bytes), contract.clone()) {
            (read, Ok(message)) => prop_assert_eq!(read, Flow::try_from(message)),
            (read, Err(error)) => {
                prop_assert_eq!(read.unwrap_err().description, error.to_string());
            }
        }
        if let Ok(message) = contract {
            let read = read_writable_flow(&bytes, creates);
            prop_assert_eq!(read, writable_flow(message, creates));
        }
    }

    #[test]
    fn an_event_that_is_broken_reads_as_the_contract_reads_it(
        event in arbitrary::flow_event(),
        sequence: u64,
        broken in Break::any(),
    ) {
        let mut bytes = flow_event(sequence, &event).encode_to_vec();
        broken.apply(&mut bytes);
        match (read_flow_event(&bytes), pb::FlowEvent::decode(&bytes[..])) {
            (read, Ok(message)) => {
                let sequence = message.sequence;
                let event = FlowEvent::try_from(message);
                prop_assert_eq!(read, event.map(|event| (sequence, event)));
            }
            (read, Err(error)) => {
                prop_assert_eq!(read.unwrap_err().description, error.to_string());
            }
        }
    }

    /// A message is taken as the contract takes it, or refused.
    #[test]
    fn a_message_that_is_broken_is_never_mistaken(
        flows in prop::collection::vec(arbitrary::flow(), 0..4),
        broken in Break::any(),
    ) {
        let mut dump = bytes(run(&flows).into_dump()).to_vec();
        broken.apply(&mut dump);
        let dump = Bytes::from(dump);
        if let Ok(read) = read_dump(&dump) {
            let flows: Result<Vec<_>, _> = read.flows.iter().map(read_flow).collect();
            if let (Ok(flows), Ok(message)) = (flows, pb::DumpFlowsResponse::decode(&dump[..])) {
                let contract: Result<Vec<Flow>, _> =
                    message.flows.into_iter().map(Flow::try_from).collect();
                prop_assert_eq!(Ok(flows), contract);
                prop_assert_eq!(read.summary, message.summary);
            }
        }
        let mut create = bytes(run(&flows).into_create()).to_vec();
        broken.apply(&mut create);
        let create = Bytes::from(create);
        if let Ok(CreateMessage::Batch(entries)) = read_create(&create) {
            let count = entries.len();
            let read: Result<Vec<_>, _> = entries.iter().map(read_flow).collect();
            if let (Ok(read), Ok(message)) = (read, pb::CreateFlowsRequest::decode(&create[..])) {
                prop_assert_eq!(read.len(), count);
                let Some(pb::create_flows_request::Message::Batch(batch)) = message.message else {
                    panic!("a batch to one and not to the other");
                };
                let contract: Result<Vec<Flow>, _> =
                    batch.flows.into_iter().map(Flow::try_from).collect();
                prop_assert_eq!(Ok(read), contract);
            }
        }
    }
}

#[test]
fn what_is_no_run_of_entries_goes_the_long_way() {
    use pb::watch_flows_response::Message;
    let gap = pb::Gap {
        source: pb::GapSource::Kernel.into(),
        lost: 5,
        next_sequence: 8,
    };
    let message = pb::WatchFlowsResponse {
        message: Some(Message::Gap(gap)),
    };
    let WatchMessage::Other(Some(read)) = read_watch(&message.encode_to_vec().into()).unwrap()
    else {
        panic!("a gap");
    };
    assert_eq!(read, Message::Gap(gap));

    let summary = pb::DumpSummary {
        matched: 3,
        scanned: 9,
        duplicates: 1,
        truncated: true,
    };
    let message = pb::DumpFlowsResponse {
        flows: Vec::new(),
        summary: Some(summary),
    };
    let bytes = message.encode_to_vec().into();
    let read = read_dump(&bytes).unwrap();
    assert_eq!((read.summary, read.flows.len()), (Some(summary), 0));

    assert!(matches!(
        read_create(&Bytes::new()),
        Ok(CreateMessage::Nothing)
    ));
    let header = pb::CreateFlowsHeader {
        network_namespace: "x".to_owned(),
        mode: 2,
        include_own_connections: true,
    };
    let message = pb::CreateFlowsRequest {
        message: Some(pb::create_flows_request::Message::Header(header.clone())),
    };
    let CreateMessage::Header(read) = read_create(&message.encode_to_vec().into()).unwrap() else {
        panic!("a header");
    };
    assert_eq!(read, header);
}

#[test]
fn a_long_entry_has_a_long_length() {
    let mut flow = Flow::new(tuple(), tuple().inverse());
    for length in [100, 127, 128, 16_000, 17_000] {
        flow.secctx = Some("x".repeat(length).into());
        let written = bytes(run(std::slice::from_ref(&flow)).into_dump());
        let contract = pb::DumpFlowsResponse {
            flows: vec![(&flow).into()],
            summary: None,
        };
        assert_eq!(&written[..], &contract.encode_to_vec()[..]);
    }
}

fn tuple() -> crate::flow::Tuple {
    crate::flow::Tuple {
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 2].into(),
        protocol: crate::flow::Protocol::TCP,
        l4: crate::flow::L4::Ports { src: 1, dst: 2 },
    }
}
