//! What requests have in common.

use std::collections::HashMap;

use tonic::{Code, Status};

use super::status;
use crate::ctnetlink::Namespace;
use crate::flow::Filter;
use crate::flow::filter::Kind;
use crate::pb;
use crate::wire::{At as _, FieldError};

/// Most items that a request may name one by one.
pub(super) const MAX_NAMED: usize = pb::preflight::MAX_NAMED;

/// The namespace of a request.
pub(super) fn namespace(name: &str) -> Result<Namespace, Status> {
    Namespace::parse(name).map_err(|error| status::netlink(&error))
}

/// Whether a namespace is the agent's own, under whatever name.
pub(super) fn is_own(namespace: &Namespace) -> bool {
    if namespace.is_own() {
        return true;
    }
    match (namespace.inode(), Namespace::own().inode()) {
        (Ok(named), Ok(own)) => named == own,
        _ => false,
    }
}

/// A filter for this kind of entry.
pub(super) fn filter(filter: pb::Filter, kind: Kind) -> Result<Filter, Status> {
    let read = |filter: pb::Filter| {
        let filter = Filter::try_from(filter)?;
        filter
            .check(kind)
            .map_err(|error| FieldError::new("", error.to_string()))?;
        Ok(filter)
    };
    read(filter)
        .at("filter")
        .map_err(|error| status::field(&error))
}

/// A filter that may be absent.
pub(super) fn optional_filter(
    message: Option<pb::Filter>,
    kind: Kind,
) -> Result<Option<Filter>, Status> {
    message.map(|message| filter(message, kind)).transpose()
}

/// Keys that are named one by one.
pub(super) fn keys<M, K>(messages: Vec<M>) -> Result<Vec<K>, Status>
where
    K: TryFrom<M, Error = FieldError>,
{
    named(messages.len(), "keys.keys")?;
    messages
        .into_iter()
        .enumerate()
        .map(|(index, message)| K::try_from(message).at_item("keys", index).at("keys"))
        .collect::<Result<_, _>>()
        .map_err(|error| status::field(&error))
}

/// Ids and their places.
pub(super) fn ids(ids: Vec<u32>) -> Result<HashMap<u32, u64>, Status> {
    named(ids.len(), "ids.ids")?;
    Ok(ids.into_iter().zip(0..).collect())
}

fn named(count: usize, field: &str) -> Result<(), Status> {
    let wrong = match count {
        0 => "is empty, must have at least one".to_owned(),
        1..=MAX_NAMED => return Ok(()),
        _ => format!("has {count} items, must have at most {MAX_NAMED}"),
    };
    Err(status::field(&FieldError::new(field, wrong)))
}

/// A field that must be there.
pub(super) fn required<T>(value: Option<T>, field: &str) -> Result<T, Status> {
    value.ok_or_else(|| status::field(&FieldError::new(field, "is required")))
}

/// A field that is not what it must be.
pub(super) fn refused(field: &str, why: impl Into<String>) -> Status {
    status::field(&FieldError::new(field, why))
}

/// More would be touched than the caller allows.
pub(super) fn too_many_affected(matched: u64, max: u64) -> Status {
    status::own(
        Code::FailedPrecondition,
        "MAX_AFFECTED",
        format!("{matched} entries match, more than max_affected {max}: nothing was changed"),
        &[
            ("matched", matched.to_string()),
            ("max_affected", max.to_string()),
        ],
    )
}
