//! A flow from the options of `conntrack -A`. What the options leave out is what
//! `conntrack -A` and the kernel would make of it.

use std::net::IpAddr;

use super::error::LineError;
use super::line::{Line, l4, missing, number};
use super::options::Opt;
use crate::ctctl::output::RESTORED_TCP_FLAGS;
use crate::flow::{
    DccpInfo, DccpState, Flow, L4, ProtoInfo, Protocol, SctpInfo, SctpState, Status, TcpInfo,
    TcpState, Tuple, Zone, ZoneDirection,
};

/// Reads a line.
pub(super) fn parse(line: &str) -> Result<Flow, LineError> {
    let line = Line::split(line, "conntrack")?;
    let protocol = line.protocol()?;
    let nat = Nat::read(&line)?;
    let (orig, reply) = tuples(&line, protocol, &nat)?;
    let mut flow = Flow::new(orig, reply);
    flow.timeout = Some(line.u32(Opt::Timeout)?.ok_or_else(|| missing("-t"))?);
    flow.status = Some(status(&line)? | nat.status());
    flow.mark = line.value(Opt::Mark, "a mark", |value| {
        // A mask, which -A ignores.
        let (value, mask) = value.split_once('/').unwrap_or((value, "0"));
        number(mask)?;
        u32::try_from(number(value)?).ok()
    })?;
    flow.labels = line.labels();
    flow.zone = zone(&line)?;
    flow.protoinfo = protoinfo(&line, protocol)?;
    line.finish(&[&flow.orig, &flow.reply])?;
    Ok(flow)
}

/// `-n ADDRESS[:PORT]` and `-g ADDRESS[:PORT]`.
struct Nat {
    source: Option<(IpAddr, Option<u16>)>,
    destination: Option<(IpAddr, Option<u16>)>,
}

impl Nat {
    fn read(line: &Line<'_>) -> Result<Self, LineError> {
        let expected = "ADDRESS, IPV4:PORT or [IPV6]:PORT";
        Ok(Self {
            source: line.value(Opt::SrcNat, expected, address_and_port)?,
            destination: line.value(Opt::DstNat, expected, address_and_port)?,
        })
    }

    /// The bits that the kernel sets when it is told to translate.
    fn status(&self) -> Status {
        let mut status = Status::CONFIRMED;
        if self.source.is_some() {
            status = status | Status::SRC_NAT;
        }
        if self.destination.is_some() {
            status = status | Status::DST_NAT;
        }
        if status != Status::CONFIRMED {
            status = status | Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
        }
        status
    }
}

fn address_and_port(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse() {
        return Some((address, None));
    }
    let (address, port) = text.rsplit_once(':')?;
    let address: IpAddr = match address.strip_prefix('[') {
        Some(v6) => IpAddr::V6(v6.strip_suffix(']')?.parse().ok()?),
        None => IpAddr::V4(address.parse().ok()?),
    };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    Some((address, Some(digits.then(|| port.parse().ok())??)))
}

/// Both directions. One may be left out; it is then the other one, inverted and translated.
fn tuples(line: &Line<'_>, protocol: Protocol, nat: &Nat) -> Result<(Tuple, Tuple), LineError> {
    let orig = pair(line, (Opt::Src, "-s"), (Opt::Dst, "-d"))?;
    let orig_ends = ends(
        line,
        protocol,
        [(Opt::OrigPortSrc, "--sport"), (Opt::OrigPortDst, "--dport")],
        [(Opt::OrigKeySrc, "--srckey"), (Opt::OrigKeyDst, "--dstkey")],
    )?;
    let reply = (line.address(Opt::ReplySrc)?, line.address(Opt::ReplyDst)?);
    let reply_ends = ends(
        line,
        protocol,
        [
            (Opt::ReplyPortSrc, "--reply-port-src"),
            (Opt::ReplyPortDst, "--reply-port-dst"),
        ],
        [
            (Opt::ReplyKeySrc, "--reply-key-src"),
            (Opt::ReplyKeyDst, "--reply-key-dst"),
        ],
    )?;
    let icmp = icmp(line, protocol)?;
    // A kernel without a tracker for the protocol tells addresses alone: DCCP's is gone since
    // Linux 6.16, those of SCTP, UDP-Lite and GRE can be left out.
    let always_has_ends = matches!(protocol, Protocol::TCP | Protocol::UDP);
    let untracked = !always_has_ends && orig_ends.is_none() && reply_ends.is_none();
    let tuple = |(src, dst), ends: Option<(u16, u16)>| {
        let l4 = match icmp {
            Some(icmp) => icmp,
            None if untracked => L4::None,
            None => l4(protocol, ends.unwrap_or((0, 0))),
        };
        Tuple {
            src,
            dst,
            protocol,
            l4,
        }
    };
    let needs_ends = !untracked && l4(protocol, (0, 0)) != L4::None;
    let names = match protocol {
        Protocol::GRE => "--srckey",
        _ => "--sport",
    };

    let Some(orig) = orig else {
        // Only the reply direction.
        let (Some(src), Some(dst)) = reply else {
            return Err(missing("-s and -d"));
        };
        if needs_ends && reply_ends.is_none() {
            return Err(missing("--reply-port-src"));
        }
        let reply = match icmp {
            // The options of ICMP are those of the original direction.
            Some(_) => tuple((dst, src), None).inverse(),
            None => tuple((src, dst), reply_ends),
        };
        return Ok((reply.inverse(), reply));
    };
    if needs_ends && orig_ends.is_none() {
        return Err(missing(names));
    }
    let orig = tuple(orig, orig_ends);
    let mut translated = orig.inverse();
    let ends = match &mut translated.l4 {
        L4::Ports { src, dst } | L4::Gre { src, dst } => Some((src, dst)),
        L4::None | L4::Icmp { .. } => None,
    };
    if let Some((src, dst)) = ends {
        (*src, *dst) = reply_ends.unwrap_or((*src, *dst));
        *src = nat.destination.and_then(|(_, port)| port).unwrap_or(*src);
        *dst = nat.source.and_then(|(_, port)| port).unwrap_or(*dst);
    }
    let address = |nat: Option<(IpAddr, _)>, given: Option<IpAddr>, plain| {
        nat.map(|(address, _)| address).or(given).unwrap_or(plain)
    };
    translated.src = address(nat.destination, reply.0, translated.src);
    translated.dst = address(nat.source, reply.1, translated.dst);
    Ok((orig, translated))
}

/// Two addresses that belong together, or neither.
fn pair(
    line: &Line<'_>,
    src: (Opt, &'static str),
    dst: (Opt, &'static str),
) -> Result<Option<(IpAddr, IpAddr)>, LineError> {
    match (line.address(src.0)?, line.address(dst.0)?) {
        (None, None) => Ok(None),
        (Some(src), Some(dst)) => Ok(Some((src, dst))),
        (None, Some(_)) => Err(missing(src.1)),
        (Some(_), None) => Err(missing(dst.1)),
    }
}

/// Ports or keys, whichever the protocol has.
fn ends(
    line: &Line<'_>,
    protocol: Protocol,
    ports: [(Opt, &'static str); 2],
    keys: [(Opt, &'static str); 2],
) -> Result<Option<(u16, u16)>, LineError> {
    match l4(protocol, (0, 0)) {
        L4::Ports { .. } => line.ends(ports[0], ports[1]),
        L4::Gre { .. } => line.ends(keys[0], keys[1]),
        L4::None | L4::Icmp { .. } => Ok(None),
    }
}

fn icmp(line: &Line<'_>, protocol: Protocol) -> Result<Option<L4>, LineError> {
    if !protocol.is_icmp() {
        return Ok(None);
    }
    let kind = line.u8(Opt::IcmpType)?;
    let code = line.u8(Opt::IcmpCode)?;
    Ok(Some(L4::Icmp {
        kind: kind.ok_or_else(|| missing("--icmp-type"))?,
        code: code.ok_or_else(|| missing("--icmp-code"))?,
        id: line.u16(Opt::IcmpId)?.unwrap_or(0),
    }))
}

fn status(line: &Line<'_>) -> Result<Status, LineError> {
    let expected = "a list of SEEN_REPLY, ASSURED, FIXED_TIMEOUT, EXPECTED, OFFLOAD, UNSET";
    let status = line.value(Opt::Status, expected, |value| {
        value.split(',').try_fold(Status(0), |status, word| {
            match word {
                "SEEN_REPLY" => return Some(status | Status::SEEN_REPLY),
                "ASSURED" => return Some(status | Status::ASSURED),
                _ => {}
            }
            // The NAT bits follow from -n and -g; conntrack(8) ignores them here, too.
            let known = [
                "SEEN_REPLY",
                "ASSURED",
                "FIXED_TIMEOUT",
                "EXPECTED",
                "OFFLOAD",
            ];
            let known = known.into_iter().chain(["HW_OFFLOAD"]);
            let ignored = ["UNSET", "SRC_NAT", "DST_NAT"];
            if ignored.iter().any(|w| w.eq_ignore_ascii_case(word)) {
                return Some(status);
            }
            let name = known.into_iter().find(|w| w.eq_ignore_ascii_case(word))?;
            Some(status | Status::from_name(name)?)
        })
    })?;
    Ok(status.unwrap_or_default())
}

fn zone(line: &Line<'_>) -> Result<Zone, LineError> {
    for (option, direction) in [
        (Opt::Zone, ZoneDirection::Both),
        (Opt::OrigZone, ZoneDirection::Orig),
        (Opt::ReplyZone, ZoneDirection::Reply),
    ] {
        if let Some(id) = line.u16(option)? {
            // The default zone has no direction.
            let direction = if id == 0 {
                ZoneDirection::Both
            } else {
                direction
            };
            return Ok(Zone { id, direction });
        }
    }
    Ok(Zone::default())
}

fn protoinfo(line: &Line<'_>, protocol: Protocol) -> Result<Option<ProtoInfo>, LineError> {
    let info = match protocol {
        Protocol::TCP => {
            let state = line.value(Opt::State, "a TCP state", |name| match name {
                // The number that SYN_SENT2 has today.
                "LISTEN" => Some(TcpState(9)),
                name => TcpState::from_name(name),
            })?;
            let flags = state.map(|_| RESTORED_TCP_FLAGS);
            ProtoInfo::Tcp(TcpInfo {
                state,
                flags_orig: flags,
                flags_reply: flags,
                ..TcpInfo::default()
            })
        }
        // Tags are those of `super::super::output::save::vtag`.
        Protocol::SCTP => ProtoInfo::Sctp(SctpInfo {
            state: line.value(Opt::State, "an SCTP state", SctpState::from_name)?,
            vtag_orig: line.u32(Opt::OrigVtag)?.map(u32::to_be),
            vtag_reply: line.u32(Opt::ReplyVtag)?.map(u32::to_be),
        }),
        Protocol::DCCP => ProtoInfo::Dccp(DccpInfo {
            state: line.value(Opt::State, "a DCCP state", DccpState::from_name)?,
            role: line.value(Opt::Role, "client or server", |role| match role {
                "client" => Some(0),
                "server" => Some(1),
                _ => None,
            })?,
            handshake_seq: None,
        }),
        _ => return Ok(None),
    };
    let nothing = [
        ProtoInfo::Tcp(TcpInfo::default()),
        ProtoInfo::Sctp(SctpInfo::default()),
        ProtoInfo::Dccp(DccpInfo::default()),
    ];
    Ok((!nothing.contains(&info)).then_some(info))
}
