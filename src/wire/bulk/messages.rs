//! The messages that carry entries: the entries are read one after the other, what else is in
//! the message by way of the generated type.

use bytes::Bytes;

use super::input::{Input, Value};
use super::read::decode;
use crate::pb;
use crate::wire::FieldError;

/// The entries of a message, each still encoded, in their order. The message was looked
/// through: it is well-formed, down to where the entries begin.
#[derive(Clone, Debug)]
pub struct Entries {
    /// Where they stand; other fields may stand between.
    run: Bytes,
    count: usize,
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        each_entry(&self.run).map(|(entry, _)| entry)
    }

    /// Takes up to so many from the front.
    #[must_use]
    pub fn split_to(&mut self, count: usize) -> Self {
        let Some((_, rest)) = count
            .checked_sub(1)
            .and_then(|last| each_entry(&self.run).nth(last))
        else {
            let none = Self {
                run: Bytes::new(),
                count: 0,
            };
            return match count {
                0 => none,
                _ => std::mem::replace(self, none),
            };
        };
        let length = self.run.len() - rest.len();
        self.count -= count;
        Self {
            run: self.run.split_to(length),
            count,
        }
    }
}

/// Each entry, and what follows it.
fn each_entry(run: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut input = Input::new(run);
    std::iter::from_fn(move || {
        loop {
            if let (1, Value::Bytes(entry)) = input.field().flatten()? {
                return Some((entry, input.rest()));
            }
        }
    })
}

/// Splits a message into its `repeated ... = 1` and the bytes of all other fields. `None`
/// when it is broken, or has a field of a kind that no message of ours has.
fn split(bytes: &Bytes) -> Option<(Entries, Vec<u8>)> {
    let mut input = Input::new(bytes);
    let (mut count, mut others) = (0, Vec::new());
    loop {
        let before = input.rest();
        match input.field()? {
            None => break,
            Some((1, Value::Bytes(_))) => count += 1,
            Some((1, _)) => return None,
            Some(_) => {
                let length = before.len() - input.rest().len();
                others.extend_from_slice(&before[..length]);
            }
        }
    }
    let run = bytes.clone();
    Some((Entries { run, count }, others))
}

/// What a `DumpFlowsResponse` says.
#[derive(Debug)]
pub struct DumpMessage {
    /// Encoded flows.
    pub flows: Entries,
    /// The end mark.
    pub summary: Option<pb::DumpSummary>,
}

/// Reads a `DumpFlowsResponse`.
pub fn read_dump(bytes: &Bytes) -> Result<DumpMessage, FieldError> {
    let (flows, others) = split(bytes).ok_or_else(|| broken::<pb::DumpFlowsResponse>(bytes))?;
    let message: pb::DumpFlowsResponse = decode(&others)?;
    Ok(DumpMessage {
        flows,
        summary: message.summary,
    })
}

/// What a `CreateFlowsRequest` says.
#[derive(Debug)]
pub enum CreateMessage {
    /// The header.
    Header(pb::CreateFlowsHeader),
    /// Encoded flows.
    Batch(Entries),
    /// Neither.
    Nothing,
}

/// Reads a `CreateFlowsRequest`.
pub fn read_create(bytes: &Bytes) -> Result<CreateMessage, FieldError> {
    if let Some((2, batch)) = only_message(bytes) {
        let (flows, _) = split(&batch).ok_or_else(|| broken::<pb::FlowBatch>(&batch))?;
        return Ok(CreateMessage::Batch(flows));
    }
    use pb::create_flows_request::Message;
    match decode::<pb::CreateFlowsRequest>(bytes)?.message {
        Some(Message::Header(header)) => Ok(CreateMessage::Header(header)),
        // A batch in pieces, or with something beside it: nobody sends one.
        Some(Message::Batch(_)) => Err(FieldError::new(
            "batch",
            "must be the only field of its message, and be there once",
        )),
        None => Ok(CreateMessage::Nothing),
    }
}

/// What a `WatchFlowsResponse` says.
#[derive(Debug)]
pub enum WatchMessage {
    /// Encoded flows of a snapshot.
    Snapshot {
        /// The flows.
        flows: Entries,
        /// Whether they are its first.
        first: bool,
    },
    /// Encoded events.
    Events(Entries),
    /// Anything else.
    Other(Option<pb::watch_flows_response::Message>),
}

/// Reads a `WatchFlowsResponse`.
pub fn read_watch(bytes: &Bytes) -> Result<WatchMessage, FieldError> {
    match only_message(bytes) {
        Some((2, chunk)) => {
            let (flows, others) =
                split(&chunk).ok_or_else(|| broken::<pb::FlowSnapshotChunk>(&chunk))?;
            let first = decode::<pb::FlowSnapshotChunk>(&others)?.first;
            return Ok(WatchMessage::Snapshot { flows, first });
        }
        Some((4, events)) => {
            let (events, _) = split(&events).ok_or_else(|| broken::<pb::FlowEvents>(&events))?;
            return Ok(WatchMessage::Events(events));
        }
        _ => {}
    }
    let message = decode::<pb::WatchFlowsResponse>(bytes)?;
    Ok(WatchMessage::Other(message.message))
}

/// The number and the content of the one field of a message that is a message itself.
fn only_message(bytes: &Bytes) -> Option<(u32, Bytes)> {
    let mut input = Input::new(bytes);
    match input.field()?? {
        (field, Value::Bytes(content)) if input.rest().is_empty() => {
            Some((field, bytes.slice_ref(content)))
        }
        _ => None,
    }
}

/// What is wrong with bytes that are no such message.
fn broken<M: prost::Message + Default>(bytes: &[u8]) -> FieldError {
    match decode::<M>(bytes) {
        Err(error) => error,
        Ok(_) => FieldError::new("", "has fields that this version does not know"),
    }
}
