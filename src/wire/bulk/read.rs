//! Entries, from bytes. What is here takes only what an agent or a client of this project
//! writes; the rest goes the long way.

use std::net::IpAddr;

use super::input::{Value, each, once};
use crate::flow::{
    Counters, DccpInfo, DccpState, EventType, Flow, FlowEvent, Helper, L4, Labels, ProtoInfo,
    Protocol, SctpInfo, SctpState, SeqAdj, Status, Synproxy, TcpFlags, TcpInfo, TcpState,
    Timestamps, Tuple, ZoneDirection,
};
use crate::pb;
use crate::wire::flow::check_writable;
use crate::wire::{FieldError, protoinfo_fits};

/// Reads a `Flow`.
pub fn read_flow(bytes: &[u8]) -> Result<Flow, FieldError> {
    match flow(bytes) {
        Some(flow) => Ok(flow),
        None => decode::<pb::Flow>(bytes)?.try_into(),
    }
}

/// Reads a `Flow` that is to be written into the kernel, as
/// [`writable_flow`](crate::wire::writable_flow) does.
pub fn read_writable_flow(bytes: &[u8], creates: bool) -> Result<Flow, FieldError> {
    let flow = read_flow(bytes)?;
    check_writable(&flow, creates)?;
    Ok(flow)
}

/// Reads a `FlowEvent`: its place in the stream, and the event.
pub fn read_flow_event(bytes: &[u8]) -> Result<(u64, FlowEvent), FieldError> {
    if let Some(event) = flow_event(bytes) {
        return Ok(event);
    }
    let message = decode::<pb::FlowEvent>(bytes)?;
    Ok((message.sequence, message.try_into()?))
}

pub(super) fn decode<M: prost::Message + Default>(bytes: &[u8]) -> Result<M, FieldError> {
    M::decode(bytes).map_err(|error| FieldError::new("", error.to_string()))
}

fn flow_event(bytes: &[u8]) -> Option<(u64, FlowEvent)> {
    let (mut sequence, mut kind, mut inner, mut port_id) = (0, None, None, 0);
    each(bytes, |field, value| {
        match field {
            1 => sequence = value.u64()?,
            2 => {
                kind = Some(match value.u64()? {
                    1 => EventType::New,
                    2 => EventType::Update,
                    3 => EventType::Destroy,
                    _ => return None,
                });
            }
            3 => once(&mut inner, value.bytes()?)?,
            4 => port_id = value.u32()?,
            _ => return None,
        }
        Some(())
    })?;
    let event = FlowEvent {
        kind: kind?,
        flow: flow(inner?)?,
        port_id,
    };
    Some((sequence, event))
}

fn flow(bytes: &[u8]) -> Option<Flow> {
    let (mut orig, mut reply) = (None, None);
    let mut flow = Flow::new(PLACEHOLDER, PLACEHOLDER);
    let mut times = None;
    each(bytes, |field, value| {
        match field {
            1 => flow.id = Some(value.fixed32()?),
            2 => once(&mut orig, tuple(value.bytes()?)?)?,
            3 => once(&mut reply, tuple(value.bytes()?)?)?,
            4 => flow.status = Some(Status(value.u32()?)),
            5 => flow.timeout = Some(value.u32()?),
            6 => flow.mark = Some(value.u32()?),
            7 => flow.zone.id = value.narrow()?,
            8 => flow.zone.direction = zone_direction(value)?,
            9 => once(&mut flow.protoinfo, ProtoInfo::Tcp(tcp(value.bytes()?)?))?,
            10 => once(&mut flow.protoinfo, ProtoInfo::Sctp(sctp(value.bytes()?)?))?,
            11 => once(&mut flow.protoinfo, ProtoInfo::Dccp(dccp(value.bytes()?)?))?,
            12 => once(&mut flow.counters_orig, counters(value.bytes()?)?)?,
            13 => once(&mut flow.counters_reply, counters(value.bytes()?)?)?,
            14 => flow.use_count = Some(value.u32()?),
            15 => {
                let bytes = value.bytes()?.try_into().ok()?;
                flow.labels = Some(Labels(u128::from_le_bytes(bytes)));
            }
            16 => once(&mut times, timestamps(value.bytes()?)?)?,
            17 => once(&mut flow.helper, helper(value.bytes()?)?)?,
            18 => flow.secctx = Some(std::str::from_utf8(value.bytes()?).ok()?.into()),
            19 => once(&mut flow.seqadj_orig, seqadj(value.bytes()?)?)?,
            20 => once(&mut flow.seqadj_reply, seqadj(value.bytes()?)?)?,
            21 => once(&mut flow.synproxy, synproxy(value.bytes()?)?)?,
            22 => once(&mut flow.master, tuple(value.bytes()?)?)?,
            _ => return None,
        }
        Some(())
    })?;
    flow.timestamps = times.unwrap_or_default();
    flow.orig = orig?;
    flow.reply = reply?;
    let family = flow.orig.family();
    let fits = flow.reply.family() == family
        && flow.reply.protocol == flow.orig.protocol
        && flow.master.is_none_or(|master| master.family() == family)
        && match &flow.protoinfo {
            None => true,
            Some(info) => protoinfo_fits(info, flow.orig.protocol).is_ok(),
        };
    fits.then_some(flow)
}

const PLACEHOLDER: Tuple = Tuple {
    src: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    dst: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    protocol: Protocol(0),
    l4: L4::None,
};

fn zone_direction(value: Value<'_>) -> Option<ZoneDirection> {
    match value.u64()? {
        0 => Some(ZoneDirection::Both),
        1 => Some(ZoneDirection::Orig),
        2 => Some(ZoneDirection::Reply),
        _ => None,
    }
}

#[inline]
fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let (mut src, mut dst) = (None, None);
    let (mut protocol, mut l4) = (0, None);
    each(bytes, |field, value| {
        match field {
            1 => src = Some(address(value.bytes()?)?),
            2 => dst = Some(address(value.bytes()?)?),
            3 => protocol = value.narrow()?,
            4 => {
                let [src, dst] = numbers(value.bytes()?)?;
                once(&mut l4, L4::Ports { src, dst })?;
            }
            5 => {
                let [kind, code, id] = numbers(value.bytes()?)?;
                let kind = u8::try_from(kind).ok()?;
                let code = u8::try_from(code).ok()?;
                once(&mut l4, L4::Icmp { kind, code, id })?;
            }
            6 => {
                let [src, dst] = numbers(value.bytes()?)?;
                once(&mut l4, L4::Gre { src, dst })?;
            }
            _ => return None,
        }
        Some(())
    })?;
    let tuple = Tuple {
        src: src?,
        dst: dst?,
        protocol: Protocol(protocol),
        l4: l4.unwrap_or(L4::None),
    };
    let fits = tuple.src.is_ipv4() == tuple.dst.is_ipv4() && tuple.l4_fits_protocol();
    fits.then_some(tuple)
}

#[inline]
fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        Some(v4.into())
    } else {
        Some(<[u8; 16]>::try_from(bytes).ok()?.into())
    }
}

/// A message whose fields 1 to `N` are numbers that are 0 when they are left out.
#[inline]
fn numbers<T: TryFrom<u32> + Default + Copy, const N: usize>(bytes: &[u8]) -> Option<[T; N]> {
    let mut numbers = [T::default(); N];
    each(bytes, |field, value| {
        let place = (field as usize).checked_sub(1)?;
        *numbers.get_mut(place)? = value.narrow()?;
        Some(())
    })?;
    Some(numbers)
}

fn counters(bytes: &[u8]) -> Option<Counters> {
    let mut counters = Counters::default();
    each(bytes, |field, value| {
        match field {
            1 => counters.packets = value.u64()?,
            2 => counters.bytes = value.u64()?,
            _ => return None,
        }
        Some(())
    })?;
    Some(counters)
}

fn timestamps(bytes: &[u8]) -> Option<Timestamps> {
    let mut timestamps = Timestamps::default();
    each(bytes, |field, value| {
        let time = Some(value.u64()?);
        match field {
            1 => timestamps.start = time,
            2 => timestamps.stop = time,
            3 => timestamps.event = time,
            _ => return None,
        }
        Some(())
    })?;
    Some(timestamps)
}

fn helper(bytes: &[u8]) -> Option<Helper> {
    let (mut name, mut info) = (None, None);
    each(bytes, |field, value| {
        match field {
            1 => name = Some(std::str::from_utf8(value.bytes()?).ok()?.parse().ok()?),
            2 => info = Some(value.bytes()?),
            _ => return None,
        }
        Some(())
    })?;
    Some(Helper {
        name: name?,
        info: info.filter(|info| !info.is_empty()).map(Into::into),
    })
}

fn seqadj(bytes: &[u8]) -> Option<SeqAdj> {
    let mut seqadj = SeqAdj::default();
    each(bytes, |field, value| {
        match field {
            1 => seqadj.correction_pos = value.u32()?,
            2 => seqadj.offset_before = value.zigzag()?,
            3 => seqadj.offset_after = value.zigzag()?,
            _ => return None,
        }
        Some(())
    })?;
    Some(seqadj)
}

fn synproxy(bytes: &[u8]) -> Option<Synproxy> {
    let [isn, its, tsoff] = numbers(bytes)?;
    Some(Synproxy { isn, its, tsoff })
}

fn tcp(bytes: &[u8]) -> Option<TcpInfo> {
    let mut info = TcpInfo::default();
    each(bytes, |field, value| {
        match field {
            1 => info.state = Some(TcpState(value.narrow()?)),
            2 => info.window_scale_orig = Some(value.narrow()?),
            3 => info.window_scale_reply = Some(value.narrow()?),
            4 => once(&mut info.flags_orig, tcp_flags(value.bytes()?)?)?,
            5 => once(&mut info.flags_reply, tcp_flags(value.bytes()?)?)?,
            _ => return None,
        }
        Some(())
    })?;
    Some(info)
}

fn tcp_flags(bytes: &[u8]) -> Option<TcpFlags> {
    let [flags, mask] = numbers(bytes)?;
    Some(TcpFlags { flags, mask })
}

fn sctp(bytes: &[u8]) -> Option<SctpInfo> {
    let mut info = SctpInfo::default();
    each(bytes, |field, value| {
        match field {
            1 => info.state = Some(SctpState(value.narrow()?)),
            2 => info.vtag_orig = Some(value.u32()?),
            3 => info.vtag_reply = Some(value.u32()?),
            _ => return None,
        }
        Some(())
    })?;
    Some(info)
}

fn dccp(bytes: &[u8]) -> Option<DccpInfo> {
    let mut info = DccpInfo::default();
    each(bytes, |field, value| {
        match field {
            1 => info.state = Some(DccpState(value.narrow()?)),
            2 => info.role = Some(value.narrow()?),
            3 => info.handshake_seq = Some(value.u64()?),
            _ => return None,
        }
        Some(())
    })?;
    Some(info)
}
