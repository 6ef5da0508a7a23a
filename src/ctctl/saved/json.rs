//! The JSON objects of entries, read: whole ones, and those that complete a line of options.
//! docs/json.md describes them; the format `jsonl` writes them.

use serde::Deserialize;

use super::error::{LineError, Problem};
use super::schema::{
    CountersObject, ExpectationObject, FlowObject, NameOrNumber, SeqAdjObject, SynproxyObject,
    TcpObject, Text, TupleObject, Wrong,
};
use crate::flow::{
    Counters, DccpInfo, DccpState, Direction, EXPECT_FLAG_NAMES, Expectation, ExpectationNat, Flow,
    Helper, L4, Labels, ProtoInfo, Protocol, SctpInfo, SctpState, SeqAdj, Status, Synproxy,
    TcpFlags, TcpInfo, TcpState, Tuple, Zone, ZoneDirection,
};

/// Reads a whole flow.
pub(super) fn flow(text: &str) -> Result<Flow, LineError> {
    let object: FlowObject<'_> = parse(text)?;
    whole_flow(&object).map_err(json)
}

/// Adds to a flow what the object says; what it says replaces what is there.
pub(super) fn complete_flow(flow: &mut Flow, text: &str) -> Result<(), LineError> {
    let object: FlowObject<'_> = parse(text)?;
    object.apply(flow).map_err(json)
}

/// Reads a whole expectation.
pub(super) fn expectation(text: &str) -> Result<Expectation, LineError> {
    let object: ExpectationObject<'_> = parse(text)?;
    whole_expectation(&object).map_err(json)
}

/// Adds to an expectation what the object says.
pub(super) fn complete_expectation(
    expectation: &mut Expectation,
    text: &str,
) -> Result<(), LineError> {
    let object: ExpectationObject<'_> = parse(text)?;
    object.apply(expectation).map_err(json)
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, LineError> {
    serde_json::from_str(text).map_err(|e| LineError {
        column: e.column().max(1),
        option: None,
        problem: Problem::Json { why: e.to_string() },
    })
}

fn json(why: Wrong) -> LineError {
    LineError::whole(Problem::Json { why })
}

fn whole_flow(object: &FlowObject<'_>) -> Result<Flow, Wrong> {
    let protocol = object.protocol.as_ref().ok_or("\"protocol\" is missing")?;
    let protocol = protocol.parse()?;
    let orig = object.orig.as_ref().ok_or("\"orig\" is missing")?;
    let orig = orig.tuple(Some(protocol))?;
    let reply = match &object.reply {
        Some(reply) => reply.tuple(Some(protocol))?,
        None => orig.inverse(),
    };
    let mut flow = Flow::new(orig, reply);
    object.apply(&mut flow)?;
    Ok(flow)
}

fn whole_expectation(object: &ExpectationObject<'_>) -> Result<Expectation, Wrong> {
    let tuple = |tuple: &Option<TupleObject<'_>>, name: &str| {
        let tuple = tuple.as_ref();
        tuple.ok_or(format!("{name:?} is missing"))?.tuple(None)
    };
    let mut expectation = Expectation {
        id: None,
        tuple: tuple(&object.tuple, "tuple")?,
        mask: tuple(&object.mask, "mask")?,
        master: tuple(&object.master, "master")?,
        zone: 0,
        timeout: None,
        flags: None,
        class: None,
        helper: None,
        function: None,
        nat: None,
    };
    object.apply(&mut expectation)?;
    Ok(expectation)
}

impl FlowObject<'_> {
    fn apply(&self, flow: &mut Flow) -> Result<(), Wrong> {
        let protocol = match &self.protocol {
            Some(protocol) => protocol.parse()?,
            None => flow.orig.protocol,
        };
        if let Some(orig) = &self.orig {
            flow.orig = orig.tuple(Some(protocol))?;
        }
        if let Some(reply) = &self.reply {
            flow.reply = reply.tuple(Some(protocol))?;
        }
        if let Some(id) = self.zone {
            flow.zone = Zone::both(id);
        }
        if let Some(direction) = &self.zone_direction {
            flow.zone.direction = match &*direction.0 {
                "orig" => ZoneDirection::Orig,
                "reply" => ZoneDirection::Reply,
                other => return Err(format!("{other:?} is not a direction")),
            };
        }
        if let Some(status) = &self.status {
            flow.status = match status {
                None => None,
                Some(names) => Some(Status(bits(names, |name| {
                    Status::from_name(name).map(|bit| bit.0)
                })?)),
            };
        }
        if let Some(timeout) = self.timeout {
            flow.timeout = timeout;
        }
        flow.mark = self.mark.or(flow.mark);
        self.apply_protoinfo(flow)?;
        self.apply_extensions(flow)
    }

    fn apply_protoinfo(&self, flow: &mut Flow) -> Result<(), Wrong> {
        if self.protoinfo.is_some() {
            flow.protoinfo = None;
        }
        if let Some(tcp) = &self.tcp {
            flow.protoinfo = Some(ProtoInfo::Tcp(tcp.info()?));
        }
        if let Some(sctp) = &self.sctp {
            let state = state(&sctp.state, SctpState::from_name, SctpState)?;
            flow.protoinfo = Some(ProtoInfo::Sctp(SctpInfo {
                state,
                vtag_orig: sctp.vtag_orig,
                vtag_reply: sctp.vtag_reply,
            }));
        }
        if let Some(dccp) = &self.dccp {
            let role = |name: &str| match name {
                "client" => Some(0),
                "server" => Some(1),
                _ => None,
            };
            flow.protoinfo = Some(ProtoInfo::Dccp(DccpInfo {
                state: state(&dccp.state, DccpState::from_name, DccpState)?,
                role: state(&dccp.role, role, |number| number)?,
                handshake_seq: dccp.handshake_seq,
            }));
        }
        Ok(())
    }

    fn apply_extensions(&self, flow: &mut Flow) -> Result<(), Wrong> {
        let counters = |c: &CountersObject| Counters {
            packets: c.packets,
            bytes: c.bytes,
        };
        let seqadj = |s: &SeqAdjObject| SeqAdj {
            correction_pos: s.correction_pos,
            offset_before: s.offset_before,
            offset_after: s.offset_after,
        };
        set(
            &mut flow.counters_orig,
            self.counters_orig.as_ref().map(counters),
        );
        set(
            &mut flow.counters_reply,
            self.counters_reply.as_ref().map(counters),
        );
        set(&mut flow.use_count, self.use_count);
        set(&mut flow.id, self.id);
        if let Some(numbers) = &self.labels {
            let mut labels = Labels::default();
            for n in numbers {
                let bit = 1u128.checked_shl((*n).into());
                labels.0 |= bit.ok_or_else(|| format!("{n} is not a label: 0 to 127"))?;
            }
            flow.labels = Some(labels);
        }
        let time = |text: &Option<Text<'_>>| text.as_ref().map(Text::time).transpose();
        set(&mut flow.timestamps.start, time(&self.start)?);
        set(&mut flow.timestamps.stop, time(&self.stop)?);
        set(&mut flow.timestamps.event, time(&self.event_time)?);
        if let Some(name) = &self.helper {
            let name = name.0.parse().map_err(|e| format!("{e}"))?;
            flow.helper = Some(Helper { name, info: None });
        }
        if let Some(info) = &self.helper_info {
            let helper = flow.helper.as_mut();
            helper.ok_or("\"helper_info\" without \"helper\"")?.info = Some(info.hex()?);
        }
        if let Some(context) = &self.secctx {
            flow.secctx = Some((&*context.0).into());
        }
        set(&mut flow.seqadj_orig, self.seqadj_orig.as_ref().map(seqadj));
        set(
            &mut flow.seqadj_reply,
            self.seqadj_reply.as_ref().map(seqadj),
        );
        if let Some(SynproxyObject { isn, its, tsoff }) = self.synproxy {
            flow.synproxy = Some(Synproxy { isn, its, tsoff });
        }
        if let Some(master) = &self.master {
            flow.master = Some(master.tuple(None)?);
        }
        Ok(())
    }
}

impl ExpectationObject<'_> {
    fn apply(&self, expectation: &mut Expectation) -> Result<(), Wrong> {
        for (object, tuple) in [
            (&self.tuple, &mut expectation.tuple),
            (&self.mask, &mut expectation.mask),
            (&self.master, &mut expectation.master),
        ] {
            if let Some(object) = object {
                *tuple = object.tuple(None)?;
            }
        }
        set(&mut expectation.id, self.id);
        expectation.zone = self.zone.unwrap_or(expectation.zone);
        if let Some(timeout) = self.timeout {
            expectation.timeout = timeout;
        }
        if let Some(names) = &self.flags {
            let flag = |name: &str| {
                let known = EXPECT_FLAG_NAMES.iter().find(|(_, n)| *n == name);
                known.map(|(bit, _)| *bit)
            };
            expectation.flags = Some(bits(names, flag)?);
        }
        set(&mut expectation.class, self.class);
        if let Some(name) = &self.helper {
            expectation.helper = Some(name.0.parse().map_err(|e| format!("{e}"))?);
        }
        if let Some(function) = &self.function {
            expectation.function = Some((&*function.0).into());
        }
        if let Some(nat) = &self.nat {
            expectation.nat = Some(ExpectationNat {
                direction: match &*nat.direction.0 {
                    "orig" => Direction::Orig,
                    "reply" => Direction::Reply,
                    other => return Err(format!("{other:?} is not a direction")),
                },
                tuple: nat.tuple.tuple(None)?,
            });
        }
        Ok(())
    }
}

impl TupleObject<'_> {
    /// The tuple; without a protocol of its own it is of the one that is expected.
    fn tuple(&self, expected: Option<Protocol>) -> Result<Tuple, Wrong> {
        let protocol = match (&self.protocol, expected) {
            (Some(protocol), _) => protocol.parse()?,
            (None, Some(protocol)) => protocol,
            (None, None) => return Err("a tuple lacks its \"protocol\"".to_owned()),
        };
        let ports = (self.sport, self.dport);
        let icmp = (self.kind, self.code, self.id);
        let keys = (self.srckey, self.dstkey);
        let l4 = match (ports, icmp, keys) {
            ((None, None), (None, None, None), (None, None)) => L4::None,
            ((Some(src), Some(dst)), (None, None, None), (None, None)) => L4::Ports { src, dst },
            ((None, None), (Some(kind), Some(code), Some(id)), (None, None)) => {
                L4::Icmp { kind, code, id }
            }
            ((None, None), (None, None, None), (Some(src), Some(dst))) => L4::Gre { src, dst },
            _ => {
                return Err(
                    "a tuple has sport and dport, or type, code and id, or srckey and dstkey"
                        .to_owned(),
                );
            }
        };
        if self.src.is_ipv4() != self.dst.is_ipv4() {
            return Err("the addresses of a tuple are of different families".to_owned());
        }
        Ok(Tuple {
            src: self.src,
            dst: self.dst,
            protocol,
            l4,
        })
    }
}

impl TcpObject<'_> {
    fn info(&self) -> Result<TcpInfo, Wrong> {
        let flags = |flags: &Option<Vec<Text<'_>>>, mask: &Option<Vec<Text<'_>>>| {
            let read = |names: &Vec<Text<'_>>| {
                let bits = bits(names, |name| {
                    let bit = TcpFlags::NAMES.iter().position(|n| *n == name)?;
                    Some(1 << bit)
                })?;
                u8::try_from(bits).map_err(|_| "a TCP flag beyond bit 7".to_owned())
            };
            match (flags, mask) {
                (None, None) => Ok(None),
                (None, Some(_)) => Err("a mask of TCP flags without flags".to_owned()),
                (Some(flags), mask) => Ok(Some(TcpFlags {
                    flags: read(flags)?,
                    mask: mask.as_ref().map_or(Ok(0), read)?,
                })),
            }
        };
        Ok(TcpInfo {
            state: state(&self.state, TcpState::from_name, TcpState)?,
            window_scale_orig: self.wscale_orig,
            window_scale_reply: self.wscale_reply,
            flags_orig: flags(&self.flags_orig, &self.flags_mask_orig)?,
            flags_reply: flags(&self.flags_reply, &self.flags_mask_reply)?,
        })
    }
}

fn set<T>(field: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *field = value;
    }
}

/// The bits of names; one without a name is `BIT_n`.
fn bits(names: &[Text<'_>], named: impl Fn(&str) -> Option<u32>) -> Result<u32, Wrong> {
    names.iter().try_fold(0, |bits, name| {
        let name = &*name.0;
        let numbered = || {
            let n: u32 = name.strip_prefix("BIT_")?.parse().ok()?;
            1u32.checked_shl(n)
        };
        let bit = named(name).or_else(numbered);
        Ok(bits | bit.ok_or_else(|| format!("{name:?} is not a flag"))?)
    })
}

fn state<T>(
    value: &Option<NameOrNumber<'_>>,
    named: impl Fn(&str) -> Option<T>,
    numbered: impl Fn(u8) -> T,
) -> Result<Option<T>, Wrong> {
    match value {
        None => Ok(None),
        Some(NameOrNumber::Number(n)) => Ok(Some(numbered(*n))),
        Some(NameOrNumber::Name(name)) => match named(&name.0) {
            Some(value) => Ok(Some(value)),
            None => Err(format!("{:?} is not a state or a role", name.0)),
        },
    }
}
