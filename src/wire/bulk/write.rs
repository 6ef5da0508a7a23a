//! Entries, to bytes.

use std::net::IpAddr;

use bytes::Bytes;
use prost::Message;

use super::output::{
    FIXED32, bytes, key, message, number, number_if, number_unless_zero, signed_unless_zero,
};
use crate::flow::{
    Counters, DccpInfo, EventType, Flow, FlowEvent, Helper, L4, ProtoInfo, SctpInfo, SeqAdj,
    Synproxy, TcpFlags, TcpInfo, Timestamps, Tuple, ZoneDirection,
};
use crate::pb::{self, Encoded};

/// Room for the key and the length before a run: one byte, and a varint of a usize.
const HEAD: usize = 11;

/// A run of `repeated ... = 1`, which all messages that carry entries begin with.
#[derive(Clone, Debug)]
pub struct Run {
    /// After [`HEAD`] bytes for what may have to stand before.
    bytes: Vec<u8>,
    count: usize,
}

impl Run {
    /// With room for so many bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEAD + capacity);
        bytes.resize(HEAD, 0);
        Self { bytes, count: 0 }
    }

    /// Appends a flow.
    pub fn push_flow(&mut self, flow: &Flow) {
        self.count += 1;
        message(&mut self.bytes, 1, |out| self::flow(out, flow));
    }

    /// Appends an event with its place in the stream.
    pub fn push_flow_event(&mut self, sequence: u64, event: &FlowEvent) {
        self.count += 1;
        message(&mut self.bytes, 1, |out| {
            number_unless_zero(out, 1, sequence);
            number(out, 2, event_type(event.kind));
            message(out, 3, |out| flow(out, &event.flow));
            number_unless_zero(out, 4, event.port_id);
        });
    }

    /// Appends any message.
    pub fn push(&mut self, entry: &impl Message) {
        self.count += 1;
        message(&mut self.bytes, 1, |out| entry.encode_raw(out));
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len() - HEAD
    }

    /// How many entries are in it.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes what is there, and begins anew with as much room.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::with_capacity(self.len()))
    }

    /// `DumpFlowsResponse.flows`.
    pub fn into_dump(self) -> Encoded<pb::DumpFlowsResponse> {
        Encoded::from_bytes(self.into_bytes())
    }

    /// `CreateFlowsRequest.batch`.
    pub fn into_create(self) -> Encoded<pb::CreateFlowsRequest> {
        Encoded::from_bytes(self.within(2))
    }

    /// `WatchFlowsResponse.events` or `WatchExpectationsResponse.events`.
    pub fn into_events<M>(self) -> Encoded<M> {
        Encoded::from_bytes(self.within(4))
    }

    /// `WatchFlowsResponse.snapshot` or `WatchExpectationsResponse.snapshot`.
    pub fn into_snapshot<M>(mut self, first: bool) -> Encoded<M> {
        number_unless_zero(&mut self.bytes, 2, first);
        Encoded::from_bytes(self.within(2))
    }

    fn into_bytes(self) -> Bytes {
        Bytes::from(self.bytes).split_off(HEAD)
    }

    /// The run as the message in the field `field` of another.
    fn within(mut self, field: u32) -> Bytes {
        let mut head = Vec::with_capacity(HEAD);
        key(&mut head, field, super::output::LENGTH);
        super::output::varint(&mut head, self.len() as u64);
        let start = HEAD - head.len();
        self.bytes[start..HEAD].copy_from_slice(&head);
        Bytes::from(self.bytes).split_off(start)
    }
}

impl Default for Run {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

fn event_type(kind: EventType) -> u32 {
    i32::from(pb::EventType::from(kind)).unsigned_abs()
}

/// The fields of `Flow`, by their numbers.
fn flow(out: &mut Vec<u8>, flow: &Flow) {
    if let Some(id) = flow.id {
        key(out, 1, FIXED32);
        out.extend_from_slice(&id.to_le_bytes());
    }
    message(out, 2, |out| tuple(out, &flow.orig));
    message(out, 3, |out| tuple(out, &flow.reply));
    number_if(out, 4, flow.status.map(|status| status.0));
    number_if(out, 5, flow.timeout);
    number_if(out, 6, flow.mark);
    number_unless_zero(out, 7, flow.zone.id);
    number_unless_zero(out, 8, zone_direction(flow.zone.direction));
    match &flow.protoinfo {
        None => {}
        Some(ProtoInfo::Tcp(info)) => message(out, 9, |out| tcp(out, info)),
        Some(ProtoInfo::Sctp(info)) => message(out, 10, |out| sctp(out, info)),
        Some(ProtoInfo::Dccp(info)) => message(out, 11, |out| dccp(out, info)),
    }
    for (field, counters) in [(12, flow.counters_orig), (13, flow.counters_reply)] {
        if let Some(Counters { packets, bytes }) = counters {
            message(out, field, |out| {
                number_unless_zero(out, 1, packets);
                number_unless_zero(out, 2, bytes);
            });
        }
    }
    number_if(out, 14, flow.use_count);
    if let Some(labels) = flow.labels {
        bytes(out, 15, &labels.to_le_bytes());
    }
    if !flow.timestamps.is_empty() {
        message(out, 16, |out| timestamps(out, &flow.timestamps));
    }
    if let Some(helper) = &flow.helper {
        message(out, 17, |out| self::helper(out, helper));
    }
    if let Some(context) = &flow.secctx {
        bytes(out, 18, context.as_bytes());
    }
    for (field, seqadj) in [(19, flow.seqadj_orig), (20, flow.seqadj_reply)] {
        if let Some(SeqAdj {
            correction_pos,
            offset_before,
            offset_after,
        }) = seqadj
        {
            message(out, field, |out| {
                number_unless_zero(out, 1, correction_pos);
                signed_unless_zero(out, 2, offset_before);
                signed_unless_zero(out, 3, offset_after);
            });
        }
    }
    if let Some(Synproxy { isn, its, tsoff }) = flow.synproxy {
        message(out, 21, |out| {
            number_unless_zero(out, 1, isn);
            number_unless_zero(out, 2, its);
            number_unless_zero(out, 3, tsoff);
        });
    }
    if let Some(master) = &flow.master {
        message(out, 22, |out| tuple(out, master));
    }
}

fn zone_direction(direction: ZoneDirection) -> u32 {
    i32::from(pb::ZoneDirection::from(direction)).unsigned_abs()
}

#[inline]
fn tuple(out: &mut Vec<u8>, tuple: &Tuple) {
    address(out, 1, tuple.src);
    address(out, 2, tuple.dst);
    number_unless_zero(out, 3, tuple.protocol.0);
    match tuple.l4 {
        L4::None => {}
        L4::Ports { src, dst } => message(out, 4, |out| pair(out, src, dst)),
        L4::Icmp { kind, code, id } => message(out, 5, |out| {
            number_unless_zero(out, 1, kind);
            number_unless_zero(out, 2, code);
            number_unless_zero(out, 3, id);
        }),
        L4::Gre { src, dst } => message(out, 6, |out| pair(out, src, dst)),
    }
}

#[inline]
fn pair(out: &mut Vec<u8>, src: u16, dst: u16) {
    number_unless_zero(out, 1, src);
    number_unless_zero(out, 2, dst);
}

#[inline]
fn address(out: &mut Vec<u8>, field: u32, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => bytes(out, field, &v4.octets()),
        IpAddr::V6(v6) => bytes(out, field, &v6.octets()),
    }
}

fn tcp(out: &mut Vec<u8>, info: &TcpInfo) {
    number_if(out, 1, info.state.map(|state| state.0));
    number_if(out, 2, info.window_scale_orig);
    number_if(out, 3, info.window_scale_reply);
    for (field, flags) in [(4, info.flags_orig), (5, info.flags_reply)] {
        if let Some(TcpFlags { flags, mask }) = flags {
            message(out, field, |out| {
                number_unless_zero(out, 1, flags);
                number_unless_zero(out, 2, mask);
            });
        }
    }
}

fn sctp(out: &mut Vec<u8>, info: &SctpInfo) {
    number_if(out, 1, info.state.map(|state| state.0));
    number_if(out, 2, info.vtag_orig);
    number_if(out, 3, info.vtag_reply);
}

fn dccp(out: &mut Vec<u8>, info: &DccpInfo) {
    number_if(out, 1, info.state.map(|state| state.0));
    number_if(out, 2, info.role);
    number_if(out, 3, info.handshake_seq);
}

fn timestamps(out: &mut Vec<u8>, timestamps: &Timestamps) {
    number_if(out, 1, timestamps.start);
    number_if(out, 2, timestamps.stop);
    number_if(out, 3, timestamps.event);
}

fn helper(out: &mut Vec<u8>, helper: &Helper) {
    let name = helper.name.as_str();
    if !name.is_empty() {
        bytes(out, 1, name.as_bytes());
    }
    match &helper.info {
        Some(info) if !info.is_empty() => bytes(out, 2, info),
        _ => {}
    }
}
