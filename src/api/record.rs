//! What the audit log is told of changes and of their ends.

use std::fmt::Write as _;

use tonic::{Code, Status};

use super::change::Tally;
use super::status;
use crate::audit::{AuditError, Counts, Entry, Outcome};
use crate::expr;
use crate::flow::{ExpectationKey, Filter, FlowChanges, FlowKey, L4, Tuple};

/// Keys and ids that are written out.
const NAMED: usize = 5;

/// The change is not made: nobody would know of it.
pub(super) fn unwritten(error: &AuditError) -> Status {
    let text = format!("nothing is changed while the audit log cannot be written: {error}");
    status::own(Code::FailedPrecondition, "AUDIT_UNAVAILABLE", text, &[])
}

/// Writes how a call ended.
pub(super) fn end<T>(entry: Entry, result: &Result<T, Status>, counts: Option<Counts>) {
    let outcome = match result {
        Ok(_) => Outcome::ok(counts),
        Err(error) => Outcome {
            counts,
            ..Outcome::failed(status::code_name(error.code()), error.message())
        },
    };
    entry.end(outcome);
}

/// The numbers of a change.
pub(super) fn counts(tally: &Tally) -> Counts {
    Counts {
        matched: tally.matched,
        changed: tally.changed,
        gone: tally.gone,
        spared: tally.spared,
        failed: tally.failed,
    }
}

/// A filter, as people write it.
pub(super) fn filter(filter: &Filter) -> String {
    expr::print(filter)
}

/// The first flows of a list of keys.
pub(super) fn flows(keys: &[FlowKey]) -> String {
    listed(keys, |key| {
        let mut text = tuple(&key.tuple);
        zone_and_id(&mut text, key.zone.id, key.id);
        text
    })
}

/// The first expectations of a list of keys.
pub(super) fn expectations(keys: &[ExpectationKey]) -> String {
    listed(keys, |key| {
        let mut text = tuple(&key.tuple);
        zone_and_id(&mut text, key.zone, key.id);
        text
    })
}

/// The first ids.
pub(super) fn ids(ids: impl Iterator<Item = u32>) -> String {
    let mut ids: Vec<u32> = ids.collect();
    ids.sort_unstable();
    format!("ids {}", listed(&ids, u32::to_string))
}

/// What an update sets.
pub(super) fn changes(changes: &FlowChanges) -> String {
    let FlowChanges {
        mark,
        timeout,
        status_set,
        labels,
        protoinfo,
        helper,
        seqadj_orig,
        seqadj_reply,
        synproxy,
    } = changes;
    let mut words = Vec::new();
    if let Some(mark) = mark {
        words.push(format!("mark {:#x}/{:#x}", mark.value, mark.mask));
    }
    if let Some(timeout) = timeout {
        words.push(format!("timeout {timeout}"));
    }
    if let Some(status) = status_set {
        words.push(format!("status {:#x}", status.0));
    }
    if let Some(labels) = labels {
        let (value, mask) = (labels.value.0, labels.mask.0);
        words.push(format!("labels {value:#x}/{mask:#x}"));
    }
    if let Some(helper) = helper {
        words.push(format!("helper {:?}", helper.as_str()));
    }
    let rest = [
        (protoinfo.is_some(), "protoinfo"),
        (seqadj_orig.is_some(), "seqadj-orig"),
        (seqadj_reply.is_some(), "seqadj-reply"),
        (synproxy.is_some(), "synproxy"),
    ];
    words.extend(
        rest.iter()
            .filter(|(set, _)| *set)
            .map(|(_, name)| (*name).to_owned()),
    );
    format!("set {}", words.join(", "))
}

fn listed<T>(items: &[T], write: impl Fn(&T) -> String) -> String {
    let mut text = items
        .iter()
        .take(NAMED)
        .map(write)
        .collect::<Vec<_>>()
        .join("; ");
    if items.len() > NAMED {
        // Writing to a text does not fail.
        let _ = write!(text, "; and {} more", items.len() - NAMED);
    }
    text
}

fn tuple(tuple: &Tuple) -> String {
    let Tuple { src, dst, .. } = tuple;
    let protocol = tuple.protocol.0;
    match tuple.l4 {
        L4::Ports { src: from, dst: to } => {
            format!("proto {protocol} src {src} sport {from} dst {dst} dport {to}")
        }
        _ => format!("proto {protocol} src {src} dst {dst}"),
    }
}

fn zone_and_id(text: &mut String, zone: u16, id: Option<u32>) {
    if zone != 0 {
        let _ = write!(text, " zone {zone}");
    }
    if let Some(id) = id {
        let _ = write!(text, " id {id}");
    }
}
