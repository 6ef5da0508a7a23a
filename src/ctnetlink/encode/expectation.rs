//! The attributes of an expectation.

use super::super::Error;
use super::super::uapi::nfnetlink_conntrack::*;
use super::tuple::tuple;
use super::writer::Writer;
use crate::flow::{Direction, Expectation, ExpectationKey, FlowKey};

/// Appends all that names an expectation. Never without the tuple.
pub(super) fn key(writer: &mut Writer<'_>, key: &ExpectationKey) -> Result<(), Error> {
    tuple(writer, CTA_EXPECT_TUPLE, &key.tuple, None)?;
    if key.zone != 0 {
        writer.be16(CTA_EXPECT_ZONE, key.zone);
    }
    if let Some(id) = key.id {
        writer.be32(CTA_EXPECT_ID, id);
    }
    Ok(())
}

/// Appends what creates an expectation; the id is the kernel's own.
pub(super) fn create(writer: &mut Writer<'_>, expectation: &Expectation) -> Result<(), Error> {
    tuple(writer, CTA_EXPECT_MASTER, &expectation.master, None)?;
    tuple(writer, CTA_EXPECT_TUPLE, &expectation.tuple, None)?;
    tuple(writer, CTA_EXPECT_MASK, &expectation.mask, None)?;
    if expectation.zone != 0 {
        writer.be16(CTA_EXPECT_ZONE, expectation.zone);
    }
    if let Some(timeout) = expectation.timeout {
        writer.be32(CTA_EXPECT_TIMEOUT, timeout);
    }
    if let Some(flags) = expectation.flags {
        writer.be32(CTA_EXPECT_FLAGS, flags);
    }
    if let Some(class) = expectation.class {
        writer.be32(CTA_EXPECT_CLASS, class);
    }
    if let Some(helper) = &expectation.helper {
        writer.text(CTA_EXPECT_HELP_NAME, helper.as_str())?;
    }
    if let Some(function) = &expectation.function {
        writer.text(CTA_EXPECT_FN, function)?;
    }
    let Some(nat) = &expectation.nat else {
        return Ok(());
    };
    writer.nest(CTA_EXPECT_NAT, |writer| {
        let direction = match nat.direction {
            Direction::Orig => 0,
            Direction::Reply => 1,
        };
        writer.be32(CTA_EXPECT_NAT_DIR, direction);
        tuple(writer, CTA_EXPECT_NAT_TUPLE, &nat.tuple, None)
    })
}

/// Appends the connection whose expectations are read.
pub(super) fn master(writer: &mut Writer<'_>, key: &FlowKey) -> Result<(), Error> {
    tuple(writer, CTA_EXPECT_MASTER, &key.tuple, None)?;
    if key.zone.id != 0 {
        writer.be16(CTA_EXPECT_ZONE, key.zone.id);
    }
    Ok(())
}
