//! Tuples and addresses.

use std::net::IpAddr;

use bytes::Bytes;

use crate::flow::{Family, L4, Protocol, Tuple};
use crate::pb;

use super::{At as _, FieldError, required, to_u8, to_u16};

/// An address of 4 or 16 bytes.
pub(super) fn address(bytes: &[u8]) -> Result<IpAddr, FieldError> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        Ok(v4.into())
    } else if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        Ok(v6.into())
    } else {
        Err(FieldError::new(
            "",
            format!("has {} bytes, must have 4 or 16", bytes.len()),
        ))
    }
}

/// The bytes of an address in network order.
pub(super) fn address_bytes(address: IpAddr) -> Bytes {
    match address {
        IpAddr::V4(v4) => Bytes::copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => Bytes::copy_from_slice(&v6.octets()),
    }
}

/// A tuple that must be there.
pub(super) fn required_tuple(tuple: Option<pb::Tuple>, field: &str) -> Result<Tuple, FieldError> {
    Tuple::try_from(required(tuple, field)?).at(field)
}

/// A tuple that may be there.
pub(super) fn optional_tuple(
    tuple: Option<pb::Tuple>,
    field: &str,
) -> Result<Option<Tuple>, FieldError> {
    tuple.map(Tuple::try_from).transpose().at(field)
}

/// Refuses a tuple of another family than that of the tuple that leads.
pub(super) fn same_family(lead: &Tuple, other: &Tuple, field: &str) -> Result<(), FieldError> {
    if lead.family() == other.family() {
        return Ok(());
    }
    let name = |family| match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    Err(FieldError::new(
        field,
        format!(
            "is of family {}, must be {} as the rest is",
            name(other.family()),
            name(lead.family())
        ),
    ))
}

/// Refuses a tuple of another protocol than that of the tuple that leads.
pub(super) fn same_protocol(lead: &Tuple, other: &Tuple, field: &str) -> Result<(), FieldError> {
    if lead.protocol == other.protocol {
        return Ok(());
    }
    Err(FieldError::new(
        format!("{field}.protocol"),
        format!(
            "is {}, must be {} as the rest is",
            other.protocol, lead.protocol
        ),
    ))
}

impl TryFrom<pb::Tuple> for Tuple {
    type Error = FieldError;

    fn try_from(message: pb::Tuple) -> Result<Self, FieldError> {
        let src = address(&message.src).at("src")?;
        let dst = address(&message.dst).at("dst")?;
        if Family::of(src) != Family::of(dst) {
            return Err(FieldError::new(
                "dst",
                format!(
                    "has {} bytes, must have {} as src has",
                    message.dst.len(),
                    message.src.len()
                ),
            ));
        }
        let protocol = Protocol(to_u8(message.protocol, "protocol")?);
        let (l4, field) = l4(message.l4)?;
        let tuple = Self {
            src,
            dst,
            protocol,
            l4,
        };
        if !tuple.l4_fits_protocol() {
            return Err(match l4 {
                L4::None => FieldError::new(
                    if protocol.is_icmp() { "icmp" } else { "ports" },
                    format!("is required for protocol {protocol}"),
                ),
                _ => FieldError::new(field, format!("does not fit protocol {protocol}")),
            });
        }
        Ok(tuple)
    }
}

/// The part that takes the place of the ports, and the name of its field.
fn l4(message: Option<pb::tuple::L4>) -> Result<(L4, &'static str), FieldError> {
    use pb::tuple::L4 as Message;
    Ok(match message {
        None => (L4::None, ""),
        Some(Message::Ports(ports)) => {
            let src = to_u16(ports.src, "src").at("ports")?;
            let dst = to_u16(ports.dst, "dst").at("ports")?;
            (L4::Ports { src, dst }, "ports")
        }
        Some(Message::Icmp(icmp)) => {
            let kind = to_u8(icmp.r#type, "type").at("icmp")?;
            let code = to_u8(icmp.code, "code").at("icmp")?;
            let id = to_u16(icmp.id, "id").at("icmp")?;
            (L4::Icmp { kind, code, id }, "icmp")
        }
        Some(Message::Gre(keys)) => {
            let src = to_u16(keys.src, "src").at("gre")?;
            let dst = to_u16(keys.dst, "dst").at("gre")?;
            (L4::Gre { src, dst }, "gre")
        }
    })
}

impl From<&Tuple> for pb::Tuple {
    fn from(tuple: &Tuple) -> Self {
        use pb::tuple::L4 as Message;
        let l4 = match tuple.l4 {
            L4::None => None,
            L4::Ports { src, dst } => Some(Message::Ports(pb::Ports {
                src: src.into(),
                dst: dst.into(),
            })),
            L4::Icmp { kind, code, id } => Some(Message::Icmp(pb::IcmpKey {
                r#type: kind.into(),
                code: code.into(),
                id: id.into(),
            })),
            L4::Gre { src, dst } => Some(Message::Gre(pb::GreKeys {
                src: src.into(),
                dst: dst.into(),
            })),
        };
        Self {
            src: address_bytes(tuple.src),
            dst: address_bytes(tuple.dst),
            protocol: tuple.protocol.0.into(),
            l4,
        }
    }
}
