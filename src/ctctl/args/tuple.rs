//! One flow, named by its end points: the flags of conntrack(8) made a tuple.

use std::net::IpAddr;

use clap::Args;

use super::select::SelectFlags;
use super::values::{List, Network, PortRange};
use crate::flow::{Direction, Family, FlowKey, L4, Protocol, Tuple, Zone, ZoneDirection};

/// The end points of one flow.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "End points")]
pub struct TupleArgs {
    /// Protocol: tcp, udp, icmp, ... or a number
    #[arg(short = 'p', long, value_name = "PROTO", visible_alias = "protonum")]
    pub proto: Option<Protocol>,
    /// Source address
    #[arg(short = 's', long, value_name = "IP", visible_alias = "orig-src")]
    pub src: Option<IpAddr>,
    /// Destination address
    #[arg(short = 'd', long, value_name = "IP", visible_alias = "orig-dst")]
    pub dst: Option<IpAddr>,
    /// Source port
    #[arg(long, value_name = "PORT", visible_alias = "orig-port-src")]
    pub sport: Option<u16>,
    /// Destination port
    #[arg(long, value_name = "PORT", visible_alias = "orig-port-dst")]
    pub dport: Option<u16>,
    /// ICMP type
    #[arg(long, value_name = "TYPE")]
    pub icmp_type: Option<u8>,
    /// ICMP code
    #[arg(long, value_name = "CODE")]
    pub icmp_code: Option<u8>,
    /// ICMP id
    #[arg(long, value_name = "ID")]
    pub icmp_id: Option<u16>,
    /// GRE key of the source
    #[arg(long, value_name = "KEY")]
    pub srckey: Option<u16>,
    /// GRE key of the destination
    #[arg(long, value_name = "KEY")]
    pub dstkey: Option<u16>,
    /// Source address of the reply direction
    #[arg(short = 'r', long, value_name = "IP")]
    pub reply_src: Option<IpAddr>,
    /// Destination address of the reply direction
    #[arg(short = 'q', long, value_name = "IP")]
    pub reply_dst: Option<IpAddr>,
    /// Source port of the reply direction
    #[arg(long, value_name = "PORT", visible_alias = "reply-sport")]
    pub reply_port_src: Option<u16>,
    /// Destination port of the reply direction
    #[arg(long, value_name = "PORT", visible_alias = "reply-dport")]
    pub reply_port_dst: Option<u16>,
    /// Conntrack zone
    #[arg(short = 'w', long, value_name = "ZONE")]
    pub zone: Option<u16>,
    /// Conntrack zone of the original direction alone
    #[arg(long, value_name = "ZONE", conflicts_with_all = ["zone", "reply_zone"])]
    pub orig_zone: Option<u16>,
    /// Conntrack zone of the reply direction alone
    #[arg(long, value_name = "ZONE", conflicts_with = "zone")]
    pub reply_zone: Option<u16>,
}

/// Flags that do not name one flow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TupleError {
    /// A part is missing.
    #[error("one flow is named by all of its end points: {0} is missing")]
    Missing(&'static str),
    /// A part that the protocol does not have.
    #[error("{flag} does not go with protocol {protocol}")]
    Stray {
        /// The flag.
        flag: &'static str,
        /// The protocol.
        protocol: Protocol,
    },
    /// IPv4 on one side, IPv6 on the other.
    #[error("{0} and {1} are of two families; a flow is of one")]
    Families(IpAddr, IpAddr),
    /// A filter where one value is needed.
    #[error("{0} has to be a single value: one flow is named, not a range")]
    NotSingle(&'static str),
    /// A condition that no tuple has.
    #[error("{0} is no part of a flow's end points; leave it out, or leave out --exact")]
    NotATuple(&'static str),
    /// A family that the addresses are not of.
    #[error("the addresses are not of the family in --family")]
    Family,
}

/// Addresses and ports of one direction as they were given.
struct Ends {
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
    sport: Option<u16>,
    dport: Option<u16>,
    names: [&'static str; 4],
}

impl TupleArgs {
    /// The original tuple.
    pub fn orig(&self) -> Result<Tuple, TupleError> {
        self.orig_called(["--src", "--dst", "--sport", "--dport"])
    }

    /// The same where the flags have other names.
    pub(super) fn orig_called(&self, names: [&'static str; 4]) -> Result<Tuple, TupleError> {
        self.tuple(&Ends {
            src: self.src,
            dst: self.dst,
            sport: self.sport,
            dport: self.dport,
            names,
        })
    }

    /// The reply tuple from its own flags alone.
    pub fn reply(&self) -> Result<Tuple, TupleError> {
        self.tuple(&Ends {
            src: self.reply_src,
            dst: self.reply_dst,
            sport: self.reply_port_src,
            dport: self.reply_port_dst,
            names: [
                "--reply-src",
                "--reply-dst",
                "--reply-port-src",
                "--reply-port-dst",
            ],
        })
    }

    /// Whether only the reply direction was given.
    fn is_reply_only(&self) -> bool {
        let orig = self.src.is_some()
            || self.dst.is_some()
            || self.sport.is_some()
            || self.dport.is_some();
        let reply = self.reply_src.is_some()
            || self.reply_dst.is_some()
            || self.reply_port_src.is_some()
            || self.reply_port_dst.is_some();
        reply && !orig
    }

    /// The entry that has this tuple: the original one, or the reply when only that was
    /// given.
    pub fn key(&self, id: Option<u32>) -> Result<FlowKey, TupleError> {
        let (tuple, direction) = if self.is_reply_only() {
            (self.reply()?, Direction::Reply)
        } else {
            (self.orig()?, Direction::Orig)
        };
        Ok(FlowKey {
            tuple,
            direction,
            zone: self.zone(),
            id,
        })
    }

    /// The zone.
    pub fn zone(&self) -> Zone {
        match (self.zone, self.orig_zone, self.reply_zone) {
            (Some(id), _, _) => Zone::both(id),
            (None, Some(id), _) => Zone {
                id,
                direction: ZoneDirection::Orig,
            },
            (None, None, Some(id)) => Zone {
                id,
                direction: ZoneDirection::Reply,
            },
            (None, None, None) => Zone::default(),
        }
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.proto.is_none() && self.src.is_none() && self.dst.is_none() && !self.is_reply_only()
    }

    fn tuple(&self, ends: &Ends) -> Result<Tuple, TupleError> {
        let [src_name, dst_name, sport_name, dport_name] = ends.names;
        let protocol = self.proto.ok_or(TupleError::Missing("--proto"))?;
        let src = ends.src.ok_or(TupleError::Missing(src_name))?;
        let dst = ends.dst.ok_or(TupleError::Missing(dst_name))?;
        if Family::of(src) != Family::of(dst) {
            return Err(TupleError::Families(src, dst));
        }
        let given = [
            ("--icmp-type", self.icmp_type.is_some(), protocol.is_icmp()),
            ("--icmp-code", self.icmp_code.is_some(), protocol.is_icmp()),
            ("--icmp-id", self.icmp_id.is_some(), protocol.is_icmp()),
            ("--srckey", self.srckey.is_some(), protocol == Protocol::GRE),
            ("--dstkey", self.dstkey.is_some(), protocol == Protocol::GRE),
            (sport_name, ends.sport.is_some(), protocol.has_ports()),
            (dport_name, ends.dport.is_some(), protocol.has_ports()),
        ];
        if let Some((flag, ..)) = given.into_iter().find(|(_, given, fits)| *given && !fits) {
            return Err(TupleError::Stray { flag, protocol });
        }
        let l4 = if protocol.has_ports() {
            L4::Ports {
                src: ends.sport.ok_or(TupleError::Missing(sport_name))?,
                dst: ends.dport.ok_or(TupleError::Missing(dport_name))?,
            }
        } else if protocol.is_icmp() {
            L4::Icmp {
                kind: self.icmp_type.ok_or(TupleError::Missing("--icmp-type"))?,
                // Of an echo it is always 0.
                code: self.icmp_code.unwrap_or(0),
                id: self.icmp_id.ok_or(TupleError::Missing("--icmp-id"))?,
            }
        } else if protocol == Protocol::GRE {
            // Plain GRE has no keys; the kernel then counts 0.
            L4::Gre {
                src: self.srckey.unwrap_or(0),
                dst: self.dstkey.unwrap_or(0),
            }
        } else {
            L4::None
        };
        Ok(Tuple {
            src,
            dst,
            protocol,
            l4,
        })
    }
}

/// The flags of a filter, read as the end points of one flow.
impl TryFrom<&SelectFlags> for TupleArgs {
    type Error = TupleError;

    fn try_from(flags: &SelectFlags) -> Result<Self, TupleError> {
        let other = [
            ("--state", flags.state.is_some()),
            ("--status", flags.status.is_some()),
            ("--mark", flags.mark.is_some()),
            ("--label", flags.label.is_some()),
            ("--src-nat", flags.src_nat.is_some()),
            ("--dst-nat", flags.dst_nat.is_some()),
            ("--any-nat", flags.any_nat.is_some()),
            ("--helper", flags.helper.is_some()),
        ];
        if let Some((flag, _)) = other.into_iter().find(|(_, given)| *given) {
            return Err(TupleError::NotATuple(flag));
        }
        let proto = match flags.proto.as_slice() {
            [] => None,
            [one] => Some(*one),
            _ => return Err(TupleError::NotSingle("--proto")),
        };
        let args = Self {
            proto,
            src: host(&flags.src, "--src")?,
            dst: host(&flags.dst, "--dst")?,
            sport: port(&flags.sport, "--sport")?,
            dport: port(&flags.dport, "--dport")?,
            icmp_type: flags.icmp_type,
            icmp_code: flags.icmp_code,
            icmp_id: flags.icmp_id,
            srckey: flags.srckey,
            dstkey: flags.dstkey,
            reply_src: host(&flags.reply_src, "--reply-src")?,
            reply_dst: host(&flags.reply_dst, "--reply-dst")?,
            reply_port_src: port(&flags.reply_port_src, "--reply-port-src")?,
            reply_port_dst: port(&flags.reply_port_dst, "--reply-port-dst")?,
            zone: flags.zone,
            orig_zone: flags.orig_zone,
            reply_zone: flags.reply_zone,
        };
        let of_family = |address: Option<IpAddr>| match (flags.family, address) {
            (Some(family), Some(address)) => family.0 == Family::of(address),
            _ => true,
        };
        if of_family(args.src) && of_family(args.reply_src) {
            Ok(args)
        } else {
            Err(TupleError::Family)
        }
    }
}

fn host(list: &Option<List<Network>>, flag: &'static str) -> Result<Option<IpAddr>, TupleError> {
    match list.as_ref().map(|List(networks)| networks.as_slice()) {
        None => Ok(None),
        Some([Network(net)]) if net.prefix_len() == net.max_prefix_len() => Ok(Some(net.addr())),
        Some(_) => Err(TupleError::NotSingle(flag)),
    }
}

fn port(list: &Option<List<PortRange>>, flag: &'static str) -> Result<Option<u16>, TupleError> {
    match list.as_ref().map(|List(ports)| ports.as_slice()) {
        None => Ok(None),
        Some([range]) if range.min == range.max => Ok(Some(range.min)),
        Some(_) => Err(TupleError::NotSingle(flag)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        tuple: TupleArgs,
    }

    #[derive(Parser)]
    struct FilterLine {
        #[command(flatten)]
        flags: SelectFlags,
    }

    fn args(line: &str) -> TupleArgs {
        Line::parse_from(["get"].into_iter().chain(line.split_whitespace())).tuple
    }

    fn exact(line: &str) -> Result<TupleArgs, TupleError> {
        let words = ["delete"].into_iter().chain(line.split_whitespace());
        TupleArgs::try_from(&FilterLine::parse_from(words).flags)
    }

    #[test]
    fn a_key_has_every_end_point() {
        let key = args("-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 -w 5").key(Some(7));
        let key = key.unwrap();
        assert_eq!(key.tuple.ports(), Some((1, 2)));
        assert_eq!(
            (key.direction, key.zone, key.id),
            (Direction::Orig, Zone::both(5), Some(7))
        );
        let missing = |line: &str| args(line).key(None).unwrap_err();
        assert_eq!(missing("-s 10.0.0.1"), TupleError::Missing("--proto"));
        assert_eq!(missing("-p tcp -s 10.0.0.1"), TupleError::Missing("--dst"));
        assert_eq!(
            missing("-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1"),
            TupleError::Missing("--dport")
        );
        assert!(matches!(
            missing("-p udp -s 10.0.0.1 -d ::1 --sport 1 --dport 1"),
            TupleError::Families(..)
        ));
        assert!(matches!(
            missing("-p udp -s ::2 -d ::1 --sport 1 --dport 1 --icmp-id 1"),
            TupleError::Stray {
                flag: "--icmp-id",
                ..
            }
        ));
    }

    #[test]
    fn the_reply_alone_names_a_flow_too() {
        let line = "-p udp -r 10.0.0.1 -q 10.0.0.2 --reply-port-src 1 --reply-port-dst 2";
        let key = args(line).key(None).unwrap();
        assert_eq!(
            (key.direction, key.tuple.ports()),
            (Direction::Reply, Some((1, 2)))
        );
    }

    #[test]
    fn every_protocol_has_its_own_parts() {
        let l4 = |line: &str| args(&format!("-s ::1 -d ::2 {line}")).orig().map(|t| t.l4);
        assert_eq!(
            l4("-p icmpv6 --icmp-type 128 --icmp-id 3"),
            Ok(L4::Icmp {
                kind: 128,
                code: 0,
                id: 3
            })
        );
        assert_eq!(l4("-p gre --srckey 1"), Ok(L4::Gre { src: 1, dst: 0 }));
        assert_eq!(l4("-p 50"), Ok(L4::None));
        assert!(l4("-p 50 --sport 1").is_err());
        assert_eq!(
            l4("-p icmpv6 --icmp-type 128"),
            Err(TupleError::Missing("--icmp-id"))
        );
    }

    #[test]
    fn a_filter_is_exact_when_it_names_one_flow() {
        let flow = exact("-p tcp -s 10.0.0.1 -d 10.0.0.2/32 --sport 1 --dport 2").unwrap();
        assert_eq!(flow.orig().unwrap().ports(), Some((1, 2)));
        let refused = |line: &str| exact(line).unwrap_err();
        assert_eq!(refused("-s 10.0.0.0/8"), TupleError::NotSingle("--src"));
        assert_eq!(refused("--dport 1-2"), TupleError::NotSingle("--dport"));
        assert_eq!(refused("-p tcp,udp"), TupleError::NotSingle("--proto"));
        assert_eq!(refused("-m 1"), TupleError::NotATuple("--mark"));
        assert_eq!(refused("-f ipv6 -s 10.0.0.1"), TupleError::Family);
    }

    #[test]
    fn nothing_given_is_known_as_such() {
        assert!(args("").is_empty());
        assert!(args("-w 1").is_empty());
        assert!(!args("-q 10.0.0.1").is_empty());
    }
}
