//! One function a request of ctnetlink. Each appends a message to `buffer`; on an error the
//! buffer is as it was.

use super::super::pushdown::Preselection;
use super::super::uapi::netlink::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST};
use super::super::uapi::nfnetlink::{
    NFNETLINK_V0, NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_CTNETLINK_EXP,
};
use super::super::uapi::nfnetlink_conntrack::*;
use super::super::{CreateMode, Error, Table};
use super::writer::{Head, message};
use super::{expectation, flow};
use crate::flow::{Expectation, ExpectationKey, Family, Flow, FlowChanges, FlowKey};

/// With this version of nfgenmsg a flush honours its family; with 0 it takes both.
const VERSION_HONOURS_FAMILY: u8 = 1;

fn conntrack(kind: u8, flags: u16, sequence: u32, family: Option<Family>) -> Head {
    Head {
        subsystem: NFNL_SUBSYS_CTNETLINK,
        kind,
        flags: flags | NLM_F_REQUEST,
        sequence,
        family,
        version: NFNETLINK_V0,
    }
}

fn expect(kind: u8, flags: u16, sequence: u32, family: Option<Family>) -> Head {
    Head {
        subsystem: NFNL_SUBSYS_CTNETLINK_EXP,
        ..conntrack(kind, flags, sequence, family)
    }
}

/// NLM_F_ACK, if a success is to be answered too.
fn ack(wanted: bool) -> u16 {
    if wanted { NLM_F_ACK } else { 0 }
}

/// The modifiers of a NEW request.
fn mode_flags(mode: CreateMode) -> u16 {
    match mode {
        CreateMode::Create => NLM_F_CREATE | NLM_F_EXCL,
        CreateMode::Upsert => NLM_F_CREATE,
        CreateMode::Update => 0,
    }
}

/// Reads a table, as far as the kernel can pre-select.
pub fn dump_flows(
    buffer: &mut Vec<u8>,
    sequence: u32,
    table: Table,
    zero_counters: bool,
    preselection: &Preselection,
) -> Result<(), Error> {
    let kind = match table {
        Table::Conntrack if zero_counters => IPCTNL_MSG_CT_GET_CTRZERO,
        Table::Conntrack => IPCTNL_MSG_CT_GET,
        Table::Dying => IPCTNL_MSG_CT_GET_DYING,
        Table::Unconfirmed => IPCTNL_MSG_CT_GET_UNCONFIRMED,
    };
    let head = conntrack(kind, NLM_F_DUMP, sequence, preselection.family);
    message(buffer, head, |writer| {
        if let Some((value, mask)) = preselection.mark {
            writer.be32(CTA_MARK, value);
            writer.be32(CTA_MARK_MASK, mask);
        }
        if let Some((value, mask)) = preselection.status {
            writer.be32(CTA_STATUS, value);
            writer.be32(CTA_STATUS_MASK, mask);
        }
        if let Some(zone) = preselection.zone {
            writer.be16(CTA_ZONE, zone);
        }
        if !preselection.orig.is_empty() {
            preselection.orig.write(writer, CTA_TUPLE_ORIG)?;
            writer.nest(CTA_FILTER, |writer| {
                // The one attribute in host byte order.
                writer.put(
                    CTA_FILTER_ORIG_FLAGS,
                    preselection.orig.flags().to_ne_bytes(),
                );
                writer.put(CTA_FILTER_REPLY_FLAGS, 0u32.to_ne_bytes());
                Ok(())
            })?;
        }
        Ok(())
    })
}

/// Reads one entry. The kernel does not look at the key's id.
pub fn get_flow(buffer: &mut Vec<u8>, sequence: u32, key: &FlowKey) -> Result<(), Error> {
    let family = Some(key.tuple.family());
    let head = conntrack(IPCTNL_MSG_CT_GET, NLM_F_ACK, sequence, family);
    message(buffer, head, |writer| flow::key(writer, key))
}

/// Writes one entry. `Update` and `Upsert` leave out what the kernel takes only for new
/// entries; see [`super::super::Batch::create`].
pub fn create_flow(
    buffer: &mut Vec<u8>,
    sequence: u32,
    new: &Flow,
    mode: CreateMode,
    answer: bool,
) -> Result<(), Error> {
    let flags = mode_flags(mode) | ack(answer);
    let head = conntrack(IPCTNL_MSG_CT_NEW, flags, sequence, Some(new.family()));
    message(buffer, head, |writer| match mode {
        CreateMode::Update => flow::replace(writer, new),
        CreateMode::Create | CreateMode::Upsert => flow::create(writer, new),
    })
}

/// Changes the entry that `current` was read from.
pub fn update_flow(
    buffer: &mut Vec<u8>,
    sequence: u32,
    current: &Flow,
    changes: &FlowChanges,
    answer: bool,
) -> Result<(), Error> {
    let family = Some(current.family());
    let head = conntrack(IPCTNL_MSG_CT_NEW, ack(answer), sequence, family);
    message(buffer, head, |writer| {
        flow::update(writer, current, changes)
    })
}

/// Deletes one entry; with an id in the key, only if the entry has it.
pub fn delete_flow(
    buffer: &mut Vec<u8>,
    sequence: u32,
    key: &FlowKey,
    answer: bool,
) -> Result<(), Error> {
    let family = Some(key.tuple.family());
    let head = conntrack(IPCTNL_MSG_CT_DELETE, ack(answer), sequence, family);
    message(buffer, head, |writer| {
        flow::key(writer, key)?;
        if let Some(id) = key.id {
            writer.be32(CTA_ID, id);
        }
        Ok(())
    })
}

/// Deletes every entry, or every entry of a family.
pub fn flush_flows(
    buffer: &mut Vec<u8>,
    sequence: u32,
    family: Option<Family>,
) -> Result<(), Error> {
    let mut head = conntrack(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, sequence, family);
    if family.is_some() {
        head.version = VERSION_HONOURS_FAMILY;
    }
    message(buffer, head, |_| Ok(()))
}

/// Reads every processor's counters.
pub fn flow_stats(buffer: &mut Vec<u8>, sequence: u32) -> Result<(), Error> {
    let head = conntrack(IPCTNL_MSG_CT_GET_STATS_CPU, NLM_F_DUMP, sequence, None);
    message(buffer, head, |_| Ok(()))
}

/// Reads the number of entries and the limit.
pub fn table_size(buffer: &mut Vec<u8>, sequence: u32) -> Result<(), Error> {
    let head = conntrack(IPCTNL_MSG_CT_GET_STATS, NLM_F_ACK, sequence, None);
    message(buffer, head, |_| Ok(()))
}

/// Reads the expectations, all or those of one connection.
pub fn dump_expectations(
    buffer: &mut Vec<u8>,
    sequence: u32,
    family: Option<Family>,
    master: Option<&FlowKey>,
) -> Result<(), Error> {
    let family = master.map(|key| key.tuple.family()).or(family);
    // For a connection without a helper the kernel begins no dump: only an acknowledgement ends
    // the waiting for one (ctnetlink_dump_exp_ct). A dump that begins has none.
    let flags = match master {
        None => NLM_F_DUMP,
        Some(_) => NLM_F_DUMP | NLM_F_ACK,
    };
    let head = expect(IPCTNL_MSG_EXP_GET, flags, sequence, family);
    message(buffer, head, |writer| match master {
        None => Ok(()),
        Some(key) => expectation::master(writer, key),
    })
}

/// Reads one expectation. With an id in the key it must fit.
pub fn get_expectation(
    buffer: &mut Vec<u8>,
    sequence: u32,
    key: &ExpectationKey,
) -> Result<(), Error> {
    let family = Some(key.tuple.family());
    let head = expect(IPCTNL_MSG_EXP_GET, NLM_F_ACK, sequence, family);
    message(buffer, head, |writer| expectation::key(writer, key))
}

/// Writes one expectation.
pub fn create_expectation(
    buffer: &mut Vec<u8>,
    sequence: u32,
    new: &Expectation,
    mode: CreateMode,
    answer: bool,
) -> Result<(), Error> {
    let flags = mode_flags(mode) | ack(answer);
    let head = expect(
        IPCTNL_MSG_EXP_NEW,
        flags,
        sequence,
        Some(new.tuple.family()),
    );
    message(buffer, head, |writer| expectation::create(writer, new))
}

/// Deletes one expectation; with an id in the key, only if it has it.
pub fn delete_expectation(
    buffer: &mut Vec<u8>,
    sequence: u32,
    key: &ExpectationKey,
    answer: bool,
) -> Result<(), Error> {
    let family = Some(key.tuple.family());
    let head = expect(IPCTNL_MSG_EXP_DELETE, ack(answer), sequence, family);
    message(buffer, head, |writer| expectation::key(writer, key))
}

/// Deletes every expectation.
pub fn flush_expectations(buffer: &mut Vec<u8>, sequence: u32) -> Result<(), Error> {
    let head = expect(IPCTNL_MSG_EXP_DELETE, NLM_F_ACK, sequence, None);
    message(buffer, head, |_| Ok(()))
}

/// Reads every processor's counters of expectations.
pub fn expectation_stats(buffer: &mut Vec<u8>, sequence: u32) -> Result<(), Error> {
    let head = expect(IPCTNL_MSG_EXP_GET_STATS_CPU, NLM_F_DUMP, sequence, None);
    message(buffer, head, |_| Ok(()))
}
