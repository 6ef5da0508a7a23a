//! Which expectations a caller sees: those of flows in their scope.

use std::collections::{HashMap, HashSet};

use tonic::Status;

use crate::api::caller::Caller;
use crate::api::status;
use crate::ctnetlink::{
    Error, ExpectationDump, ExpectationDumpRequest, FlowDump, FlowDumpRequest, KernelError, Lookup,
    Namespace,
};
use crate::flow::{Expectation, FlowKey, Tuple};

/// What a caller sees of the list.
pub(super) enum Visible {
    /// All of it.
    All,
    /// The expectations of these masters.
    Of(HashSet<Tuple>),
}

impl Visible {
    /// What this caller sees now. With a scope it takes a look at the list and at the table.
    pub(super) fn of(caller: &Caller, namespace: &Namespace) -> Result<Self, Error> {
        let Some(scope) = caller.scope() else {
            return Ok(Self::All);
        };
        // The list is short beside the table (nf_conntrack_expect_max).
        let mut masters = HashMap::new();
        let mut list = ExpectationDump::open(namespace, ExpectationDumpRequest::default())?;
        while list.read(&mut |expectation| {
            masters.insert(expectation.master, Sight::Nowhere);
        })? {}
        if masters.is_empty() {
            return Ok(Self::Of(HashSet::new()));
        }
        let mut table = FlowDump::open(namespace, FlowDumpRequest::default())?;
        while table.read(&mut |flow| {
            if let Some(sight) = masters.get_mut(&flow.orig) {
                *sight = match (*sight, scope.admits(flow)) {
                    (Sight::Hidden, _) | (_, false) => Sight::Hidden,
                    (_, true) => Sight::Seen,
                };
            }
        })? {}
        let seen = masters.into_iter();
        let seen = seen.filter(|(_, sight)| *sight == Sight::Seen);
        Ok(Self::Of(seen.map(|(master, _)| master).collect()))
    }

    /// Whether the expectation is to be seen.
    pub(super) fn shows(&self, expectation: &Expectation) -> bool {
        match self {
            Self::All => true,
            Self::Of(masters) => masters.contains(&expectation.master),
        }
    }
}

/// Refuses a master that the caller may not see, as one that is not there.
pub(super) fn see(caller: &Caller, namespace: &Namespace, master: &FlowKey) -> Result<(), Status> {
    if caller.scope().is_none() {
        return Ok(());
    }
    let look = || Lookup::open(namespace)?.flows(std::slice::from_ref(master));
    let found = look().map_err(|error| status::netlink(&error))?;
    let seen = found.iter().flatten();
    if seen
        .into_iter()
        .any(|flow| master.names(flow) && caller.admits(flow))
    {
        return Ok(());
    }
    Err(status::kernel(&KernelError::from_errno(libc::ENOENT)))
}

/// What was found of a master. The list does not tell its zone: where flows of several zones
/// have its tuple, all of them must be in the scope.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// No flow has the tuple.
    Nowhere,
    /// All flows that have it are in the scope.
    Seen,
    /// One is not.
    Hidden,
}
