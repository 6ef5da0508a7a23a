//! `CTA_TUPLE_*`.

use std::net::{IpAddr, Ipv4Addr};

use super::super::Error;
use super::super::uapi::nfnetlink_conntrack::*;
use super::writer::Writer;
use crate::flow::{L4, Protocol, Tuple};

/// Appends a tuple; `zone` is its `CTA_TUPLE_ZONE`.
#[inline]
pub(super) fn tuple(
    writer: &mut Writer<'_>,
    kind: u16,
    tuple: &Tuple,
    zone: Option<u16>,
) -> Result<(), Error> {
    if !tuple.l4_fits_protocol() {
        return Err(Error::Unencodable(
            "a tuple's ports, ICMP key or GRE keys do not fit its protocol",
        ));
    }
    writer.nest(kind, |writer| {
        writer.nest(CTA_TUPLE_IP, |writer| {
            addresses(writer, tuple.src, tuple.dst)
        })?;
        writer.nest(CTA_TUPLE_PROTO, |writer| {
            layer4(writer, tuple);
            Ok(())
        })?;
        if let Some(zone) = zone {
            writer.be16(CTA_TUPLE_ZONE, zone);
        }
        Ok(())
    })
}

fn addresses(writer: &mut Writer<'_>, src: IpAddr, dst: IpAddr) -> Result<(), Error> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            writer.put(CTA_IP_V4_SRC, src.octets());
            writer.put(CTA_IP_V4_DST, dst.octets());
            Ok(())
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            writer.put(CTA_IP_V6_SRC, src.octets());
            writer.put(CTA_IP_V6_DST, dst.octets());
            Ok(())
        }
        _ => Err(Error::Unencodable("a tuple mixes IPv4 and IPv6")),
    }
}

fn layer4(writer: &mut Writer<'_>, tuple: &Tuple) {
    writer.u8(CTA_PROTO_NUM, tuple.protocol.0);
    match tuple.l4 {
        L4::None => {}
        L4::Ports { src, dst } | L4::Gre { src, dst } => {
            writer.be16(CTA_PROTO_SRC_PORT, src);
            writer.be16(CTA_PROTO_DST_PORT, dst);
        }
        L4::Icmp { kind, code, id } if tuple.protocol == Protocol::ICMPV6 => {
            writer.be16(CTA_PROTO_ICMPV6_ID, id);
            writer.u8(CTA_PROTO_ICMPV6_TYPE, kind);
            writer.u8(CTA_PROTO_ICMPV6_CODE, code);
        }
        L4::Icmp { kind, code, id } => {
            writer.be16(CTA_PROTO_ICMP_ID, id);
            writer.u8(CTA_PROTO_ICMP_TYPE, kind);
            writer.u8(CTA_PROTO_ICMP_CODE, code);
        }
    }
}

/// A part of a tuple that a dump's `CTA_FILTER` selects by. Addresses are IPv4 only: the
/// kernel's comparison of IPv6 addresses is inverted (seen on Linux 6.18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TupleFilter {
    pub(crate) src: Option<Ipv4Addr>,
    pub(crate) dst: Option<Ipv4Addr>,
    /// Without it there are no ports.
    pub(crate) protocol: Option<Protocol>,
    pub(crate) src_port: Option<u16>,
    pub(crate) dst_port: Option<u16>,
}

impl TupleFilter {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `CTA_FILTER_ORIG_FLAGS` or `CTA_FILTER_REPLY_FLAGS`.
    pub(super) fn flags(&self) -> u32 {
        use super::super::uapi::nf_internals::*;
        let mut flags = 0;
        let mut set = |given: bool, flag| {
            if given {
                flags |= flag;
            }
        };
        set(self.src.is_some(), CTA_FILTER_F_CTA_IP_SRC);
        set(self.dst.is_some(), CTA_FILTER_F_CTA_IP_DST);
        set(self.protocol.is_some(), CTA_FILTER_F_CTA_PROTO_NUM);
        set(self.src_port.is_some(), CTA_FILTER_F_CTA_PROTO_SRC_PORT);
        set(self.dst_port.is_some(), CTA_FILTER_F_CTA_PROTO_DST_PORT);
        flags
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>, kind: u16) -> Result<(), Error> {
        writer.nest(kind, |writer| {
            if self.src.is_some() || self.dst.is_some() {
                writer.nest(CTA_TUPLE_IP, |writer| {
                    if let Some(src) = self.src {
                        writer.put(CTA_IP_V4_SRC, src.octets());
                    }
                    if let Some(dst) = self.dst {
                        writer.put(CTA_IP_V4_DST, dst.octets());
                    }
                    Ok(())
                })?;
            }
            if let Some(protocol) = self.protocol {
                writer.nest(CTA_TUPLE_PROTO, |writer| {
                    writer.u8(CTA_PROTO_NUM, protocol.0);
                    if let Some(port) = self.src_port {
                        writer.be16(CTA_PROTO_SRC_PORT, port);
                    }
                    if let Some(port) = self.dst_port {
                        writer.be16(CTA_PROTO_DST_PORT, port);
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })
    }
}
