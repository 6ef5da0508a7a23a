//! What requests have in common.

use std::collections::HashMap;

use tonic::{Code, Status};

use super::status;
use crate::ctnetlink::Namespace;
use crate::flow::Filter;
use crate::flow::filter::Kind;
use crate::pb;
use crate::wire::{At as _, FieldError, MAX_FILTER_DEPTH, MAX_FILTER_NODES};

/// What a request may hold; never more than what is decoded at all ([`pb::preflight`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Keys, ids or expectations, one by one.
    pub items: usize,
    /// Conditions of a filter, `and`, `or` and `not` among them.
    pub filter_conditions: usize,
    /// Levels of a filter.
    pub filter_depth: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            items: pb::preflight::MAX_NAMED,
            filter_conditions: MAX_FILTER_NODES,
            filter_depth: MAX_FILTER_DEPTH,
        }
    }
}

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

impl Bounds {
    /// A filter for this kind of entry.
    pub(super) fn filter(&self, filter: pb::Filter, kind: Kind) -> Result<Filter, Status> {
        let read = |filter: pb::Filter| {
            let filter = Filter::try_from(filter)?;
            filter
                .check(kind)
                .map_err(|error| FieldError::new("", error.to_string()))?;
            Ok(filter)
        };
        let filter = read(filter)
            .at("filter")
            .map_err(|error| status::field(&error))?;
        for (name, has, most) in [
            ("max-filter-depth", filter.depth(), self.filter_depth),
            (
                "max-filter-conditions",
                filter.conditions(),
                self.filter_conditions,
            ),
        ] {
            if has > most {
                return Err(too_much("filter", name, has, most));
            }
        }
        Ok(filter)
    }

    /// A filter that may be absent.
    pub(super) fn optional_filter(
        &self,
        message: Option<pb::Filter>,
        kind: Kind,
    ) -> Result<Option<Filter>, Status> {
        message
            .map(|message| self.filter(message, kind))
            .transpose()
    }

    /// Keys that are named one by one.
    pub(super) fn keys<M, K>(&self, messages: Vec<M>) -> Result<Vec<K>, Status>
    where
        K: TryFrom<M, Error = FieldError>,
    {
        self.named(messages.len(), "keys.keys")?;
        messages
            .into_iter()
            .enumerate()
            .map(|(index, message)| K::try_from(message).at_item("keys", index).at("keys"))
            .collect::<Result<_, _>>()
            .map_err(|error| status::field(&error))
    }

    /// Ids and their places.
    pub(super) fn ids(&self, ids: Vec<u32>) -> Result<HashMap<u32, u64>, Status> {
        self.named(ids.len(), "ids.ids")?;
        Ok(ids.into_iter().zip(0..).collect())
    }

    fn named(&self, count: usize, field: &str) -> Result<(), Status> {
        if count == 0 {
            return Err(refused(field, "is empty, must have at least one"));
        }
        self.at_most(count, field)
    }

    /// Whether a request may have so many items in this field.
    pub(super) fn at_most(&self, count: usize, field: &str) -> Result<(), Status> {
        if count > self.items {
            return Err(too_much(field, "max-items", count, self.items));
        }
        Ok(())
    }
}

/// More than the agent is configured to take.
fn too_much(field: &str, limit: &'static str, has: usize, most: usize) -> Status {
    status::own(
        Code::ResourceExhausted,
        "TOO_LARGE",
        format!("{field}: has {has}, must have at most {most} ({limit})"),
        &[("limit", limit.to_owned()), ("max", most.to_string())],
    )
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
