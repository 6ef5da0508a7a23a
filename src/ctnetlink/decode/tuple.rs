//! `CTA_TUPLE_*`: addresses, protocol, ports or what stands in their place, zone.

use std::mem::discriminant;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::error::{DecodeError, DecodeReason};
use super::super::uapi::nfnetlink_conntrack::*;
use super::{Attribute, attributes};
use crate::flow::{L4, Protocol, Tuple};

/// Decodes a tuple; the second value is its `CTA_TUPLE_ZONE`.
#[inline]
pub(super) fn tuple(
    nest: &Attribute<'_>,
    name: &'static str,
) -> Result<(Tuple, Option<u16>), DecodeError> {
    let (mut src, mut dst) = (None, None);
    let (mut protocol, mut l4) = (None, L4::None);
    let mut zone = None;
    for attribute in attributes(nest.value) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_TUPLE_IP => (src, dst) = addresses(&attribute)?,
            CTA_TUPLE_PROTO => (protocol, l4) = layer4(&attribute)?,
            CTA_TUPLE_ZONE => zone = Some(attribute.be16("CTA_TUPLE_ZONE")?),
            _ => {}
        }
    }
    let (Some(src), Some(dst), Some(protocol)) = (src, dst, protocol) else {
        return Err(DecodeError::missing(name));
    };
    if src.is_ipv4() != dst.is_ipv4() {
        return Err(DecodeError::new(name, DecodeReason::Families));
    }
    let tuple = Tuple {
        src,
        dst,
        protocol,
        l4,
    };
    if !tuple.l4_fits_protocol() {
        return Err(DecodeError::new(name, DecodeReason::Protocols));
    }
    Ok((tuple, zone))
}

/// Refuses a tuple that cannot stand beside the one that leads.
#[inline]
pub(super) fn same_family(
    lead: &Tuple,
    other: &Tuple,
    name: &'static str,
) -> Result<(), DecodeError> {
    if lead.src.is_ipv4() == other.src.is_ipv4() {
        Ok(())
    } else {
        Err(DecodeError::new(name, DecodeReason::Families))
    }
}

/// The same of its protocol, and of whether that has ports or keys here.
#[inline]
pub(super) fn same_protocol(
    lead: &Tuple,
    other: &Tuple,
    name: &'static str,
) -> Result<(), DecodeError> {
    let same_l4 = discriminant(&lead.l4) == discriminant(&other.l4);
    if lead.protocol == other.protocol && same_l4 {
        Ok(())
    } else {
        Err(DecodeError::new(name, DecodeReason::Protocols))
    }
}

#[inline]
fn addresses(nest: &Attribute<'_>) -> Result<(Option<IpAddr>, Option<IpAddr>), DecodeError> {
    let (mut src, mut dst) = (None, None);
    for attribute in attributes(nest.value) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_IP_V4_SRC => src = Some(Ipv4Addr::from(attribute.array("CTA_IP_V4_SRC")?).into()),
            CTA_IP_V4_DST => dst = Some(Ipv4Addr::from(attribute.array("CTA_IP_V4_DST")?).into()),
            CTA_IP_V6_SRC => {
                src = Some(Ipv6Addr::from(attribute.array::<16>("CTA_IP_V6_SRC")?).into());
            }
            CTA_IP_V6_DST => {
                dst = Some(Ipv6Addr::from(attribute.array::<16>("CTA_IP_V6_DST")?).into());
            }
            _ => {}
        }
    }
    Ok((src, dst))
}

#[inline]
fn layer4(nest: &Attribute<'_>) -> Result<(Option<Protocol>, L4), DecodeError> {
    let mut protocol = None;
    let (mut src, mut dst) = (None, None);
    let (mut kind, mut code, mut id) = (None, None, None);
    for attribute in attributes(nest.value) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_PROTO_NUM => protocol = Some(Protocol(attribute.u8("CTA_PROTO_NUM")?)),
            CTA_PROTO_SRC_PORT => src = Some(attribute.be16("CTA_PROTO_SRC_PORT")?),
            CTA_PROTO_DST_PORT => dst = Some(attribute.be16("CTA_PROTO_DST_PORT")?),
            CTA_PROTO_ICMP_ID => id = Some(attribute.be16("CTA_PROTO_ICMP_ID")?),
            CTA_PROTO_ICMP_TYPE => kind = Some(attribute.u8("CTA_PROTO_ICMP_TYPE")?),
            CTA_PROTO_ICMP_CODE => code = Some(attribute.u8("CTA_PROTO_ICMP_CODE")?),
            CTA_PROTO_ICMPV6_ID => id = Some(attribute.be16("CTA_PROTO_ICMPV6_ID")?),
            CTA_PROTO_ICMPV6_TYPE => kind = Some(attribute.u8("CTA_PROTO_ICMPV6_TYPE")?),
            CTA_PROTO_ICMPV6_CODE => code = Some(attribute.u8("CTA_PROTO_ICMPV6_CODE")?),
            _ => {}
        }
    }
    let l4 = match (src, dst, kind) {
        // GRE's keys travel in the attributes of ports.
        (Some(src), Some(dst), _) if protocol == Some(Protocol::GRE) => L4::Gre { src, dst },
        (Some(src), Some(dst), _) => L4::Ports { src, dst },
        (_, _, Some(kind)) => L4::Icmp {
            kind,
            code: code.unwrap_or_default(),
            id: id.unwrap_or_default(),
        },
        _ => L4::None,
    };
    Ok((protocol, l4))
}
