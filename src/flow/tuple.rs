//! One direction's end points: `struct nf_conntrack_tuple`.

use std::net::IpAddr;

use super::Protocol;

/// An address family that conntrack knows (`NFPROTO_IPV4`, `NFPROTO_IPV6`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// One direction of a connection (`enum ip_conntrack_dir`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the host that sent the first packet.
    #[default]
    Orig,
    /// Towards it.
    Reply,
}

/// What a protocol adds to the addresses of a tuple.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum L4 {
    /// Nothing: the protocol is tracked by addresses alone.
    #[default]
    None,
    /// Ports (TCP, UDP, UDP-Lite, SCTP, DCCP), in host byte order.
    Ports {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
    },
    /// ICMP and ICMPv6.
    Icmp {
        /// Message type.
        kind: u8,
        /// Message code.
        code: u8,
        /// Echo identifier, in host byte order.
        id: u16,
    },
    /// GRE keys (PPTP call ids), in host byte order.
    Gre {
        /// Source key.
        src: u16,
        /// Destination key.
        dst: u16,
    },
}

/// One direction's end points. Both addresses are of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// IP protocol.
    pub protocol: Protocol,
    /// Ports, or what the protocol has in their place.
    pub l4: L4,
}

impl Tuple {
    /// The family of its addresses.
    pub fn family(&self) -> Family {
        Family::of(self.src)
    }

    /// Source and destination port of a protocol with ports.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self.l4 {
            L4::Ports { src, dst } => Some((src, dst)),
            _ => None,
        }
    }

    /// The tuple of the other direction without address translation, as the kernel's
    /// `nf_ct_invert_tuple` makes it: addresses and ports change sides, an ICMP request
    /// becomes its reply. An ICMP type without a counterpart stays.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let l4 = match self.l4 {
            L4::None => L4::None,
            L4::Ports { src, dst } => L4::Ports { src: dst, dst: src },
            L4::Gre { src, dst } => L4::Gre { src: dst, dst: src },
            L4::Icmp { kind, code, id } => L4::Icmp {
                kind: inverse_icmp(self.protocol, kind),
                code,
                id,
            },
        };
        Self {
            src: self.dst,
            dst: self.src,
            protocol: self.protocol,
            l4,
        }
    }

    /// True when a tuple of this protocol carries this kind of layer 4 part. Protocols
    /// whose trackers a kernel may lack (SCTP, UDP-Lite; DCCP since Linux 6.16) are
    /// tracked by addresses alone there, so that they fit with and without ports.
    pub fn l4_fits_protocol(&self) -> bool {
        match self.l4 {
            L4::None => {
                !matches!(self.protocol, Protocol::TCP | Protocol::UDP) && !self.protocol.is_icmp()
            }
            L4::Ports { .. } => self.protocol.has_ports(),
            L4::Icmp { .. } => self.protocol.is_icmp(),
            L4::Gre { .. } => self.protocol == Protocol::GRE,
        }
    }
}

/// The pairs of net/netfilter/nf_conntrack_proto_icmp.c and _icmpv6.c.
fn inverse_icmp(protocol: Protocol, kind: u8) -> u8 {
    let pairs: &[(u8, u8)] = match protocol {
        // Echo, timestamp, information, address mask (RFC 792, RFC 950).
        Protocol::ICMP => &[(8, 0), (13, 14), (15, 16), (17, 18)],
        // Echo (RFC 4443), node information (RFC 4620).
        Protocol::ICMPV6 => &[(128, 129), (139, 140)],
        _ => &[],
    };
    for &(request, reply) in pairs {
        if kind == request {
            return reply;
        }
        if kind == reply {
            return request;
        }
    }
    kind
}
