//! The expectation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::flow::{Expectation, ExpectationNat, L4, Tuple};
use crate::pb;

use super::flow::helper_name;
use super::tuple::{optional_tuple, required_tuple, same_family, same_protocol};
use super::{At as _, FieldError, known, to_u16};

/// The mask with which every bit of a tuple counts.
fn full_mask(tuple: &Tuple) -> Tuple {
    let ones = |address| match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::BROADCAST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
    };
    Tuple {
        src: ones(tuple.src),
        dst: ones(tuple.dst),
        protocol: tuple.protocol,
        l4: match tuple.l4 {
            L4::None => L4::None,
            L4::Ports { .. } => L4::Ports {
                src: u16::MAX,
                dst: u16::MAX,
            },
            L4::Icmp { .. } => L4::Icmp {
                kind: u8::MAX,
                code: u8::MAX,
                id: u16::MAX,
            },
            L4::Gre { .. } => L4::Gre {
                src: u16::MAX,
                dst: u16::MAX,
            },
        },
    }
}

impl TryFrom<pb::Expectation> for Expectation {
    type Error = FieldError;

    fn try_from(message: pb::Expectation) -> Result<Self, FieldError> {
        let tuple = required_tuple(message.tuple, "tuple")?;
        let mask = match optional_tuple(message.mask, "mask")? {
            Some(mask) => mask,
            None => full_mask(&tuple),
        };
        same_family(&tuple, &mask, "mask")?;
        same_protocol(&tuple, &mask, "mask")?;
        let master = required_tuple(message.master, "master")?;
        same_family(&tuple, &master, "master")?;
        let nat = message
            .nat
            .map(ExpectationNat::try_from)
            .transpose()
            .at("nat")?;
        if let Some(nat) = &nat {
            same_family(&tuple, &nat.tuple, "nat.tuple")?;
        }
        Ok(Self {
            id: message.id,
            tuple,
            mask,
            master,
            zone: to_u16(message.zone, "zone")?,
            timeout: message.timeout_seconds,
            flags: message.flags,
            class: message.class,
            helper: message
                .helper
                .map(|name| helper_name(&name))
                .transpose()
                .at("helper")?,
            function: message.function.map(String::into_boxed_str),
            nat,
        })
    }
}

impl From<&Expectation> for pb::Expectation {
    fn from(expectation: &Expectation) -> Self {
        Self {
            id: expectation.id,
            tuple: Some((&expectation.tuple).into()),
            mask: Some((&expectation.mask).into()),
            master: Some((&expectation.master).into()),
            zone: expectation.zone.into(),
            timeout_seconds: expectation.timeout,
            flags: expectation.flags,
            class: expectation.class,
            helper: expectation.helper.map(|name| name.as_str().to_owned()),
            function: expectation.function.as_deref().map(Into::into),
            nat: expectation.nat.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<pb::ExpectationNat> for ExpectationNat {
    type Error = FieldError;

    fn try_from(message: pb::ExpectationNat) -> Result<Self, FieldError> {
        Ok(Self {
            direction: known::<pb::Direction, _>(message.direction).at("direction")?,
            tuple: required_tuple(message.tuple, "tuple")?,
        })
    }
}

impl From<&ExpectationNat> for pb::ExpectationNat {
    fn from(nat: &ExpectationNat) -> Self {
        Self {
            direction: pb::Direction::from(nat.direction).into(),
            tuple: Some((&nat.tuple).into()),
        }
    }
}
