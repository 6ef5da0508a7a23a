//! The expectation: enum ctattr_expect.

use super::super::error::DecodeError;
use super::super::uapi::nfnetlink_conntrack::*;
use super::flow::helper_name;
use super::tuple::{same_family, same_protocol, tuple};
use super::{Attribute, attributes};
use crate::flow::{Direction, Expectation, ExpectationNat};

/// Decodes an expectation from the attributes that follow `struct nfgenmsg`.
pub fn expectation(bytes: &[u8]) -> Result<Expectation, DecodeError> {
    let (mut master, mut expected, mut mask) = (None, None, None);
    let mut zone = 0;
    let (mut timeout, mut id, mut flags, mut class) = (None, None, None, None);
    let (mut helper, mut function, mut nat) = (None, None, None);
    for attribute in attributes(bytes) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_EXPECT_MASTER => master = Some(tuple(&attribute, "CTA_EXPECT_MASTER")?.0),
            CTA_EXPECT_TUPLE => expected = Some(tuple(&attribute, "CTA_EXPECT_TUPLE")?.0),
            CTA_EXPECT_MASK => mask = Some(tuple(&attribute, "CTA_EXPECT_MASK")?.0),
            CTA_EXPECT_TIMEOUT => timeout = Some(attribute.be32("CTA_EXPECT_TIMEOUT")?),
            CTA_EXPECT_ID => id = Some(attribute.be32("CTA_EXPECT_ID")?),
            CTA_EXPECT_HELP_NAME => {
                helper = Some(helper_name(&attribute, "CTA_EXPECT_HELP_NAME")?);
            }
            CTA_EXPECT_ZONE => zone = attribute.be16("CTA_EXPECT_ZONE")?,
            CTA_EXPECT_FLAGS => flags = Some(attribute.be32("CTA_EXPECT_FLAGS")?),
            CTA_EXPECT_CLASS => class = Some(attribute.be32("CTA_EXPECT_CLASS")?),
            CTA_EXPECT_NAT => nat = expectation_nat(&attribute)?,
            CTA_EXPECT_FN => function = Some(attribute.text("CTA_EXPECT_FN")?.into()),
            _ => {}
        }
    }
    let expected = expected.ok_or_else(|| DecodeError::missing("CTA_EXPECT_TUPLE"))?;
    let mask = mask.ok_or_else(|| DecodeError::missing("CTA_EXPECT_MASK"))?;
    let master = master.ok_or_else(|| DecodeError::missing("CTA_EXPECT_MASTER"))?;
    same_family(&expected, &mask, "CTA_EXPECT_MASK")?;
    same_protocol(&expected, &mask, "CTA_EXPECT_MASK")?;
    same_family(&expected, &master, "CTA_EXPECT_MASTER")?;
    if let Some(ExpectationNat { tuple, .. }) = &nat {
        same_family(&expected, tuple, "CTA_EXPECT_NAT_TUPLE")?;
    }
    Ok(Expectation {
        id,
        tuple: expected,
        mask,
        master,
        zone,
        timeout,
        flags,
        class,
        helper,
        function,
        nat,
    })
}

fn expectation_nat(nest: &Attribute<'_>) -> Result<Option<ExpectationNat>, DecodeError> {
    let mut direction = Direction::Orig;
    let mut translated = None;
    for attribute in attributes(nest.value) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_EXPECT_NAT_DIR => {
                direction = match attribute.be32("CTA_EXPECT_NAT_DIR")? {
                    0 => Direction::Orig,
                    _ => Direction::Reply,
                };
            }
            CTA_EXPECT_NAT_TUPLE => {
                translated = Some(tuple(&attribute, "CTA_EXPECT_NAT_TUPLE")?.0);
            }
            _ => {}
        }
    }
    Ok(translated.map(|tuple| ExpectationNat { direction, tuple }))
}
