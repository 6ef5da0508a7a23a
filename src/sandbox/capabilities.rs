//! Capabilities: CAP_NET_ADMIN, and CAP_SYS_ADMIN for other network namespaces, stay; all
//! others go from every set.

use caps::{CapSet, Capability, CapsHashSet};

/// Whether the process may do what the agent is for, at least in its own user namespace.
pub fn may_administer_network() -> bool {
    // Without an answer, the kernel's own refusal comes later.
    caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN).unwrap_or(true)
}

/// What an agent needs.
pub(super) fn needed(other_namespaces: bool) -> CapsHashSet {
    let mut needed = CapsHashSet::from_iter([Capability::CAP_NET_ADMIN]);
    if other_namespaces {
        needed.insert(Capability::CAP_SYS_ADMIN);
    }
    needed
}

/// Keeps these and no others; returns what went wrong.
pub(super) fn keep(other_namespaces: bool) -> Vec<String> {
    let needed = needed(other_namespaces);
    let mut failures = Vec::new();
    // Dropping from the bounding set takes CAP_SETPCAP, which goes in the next step.
    let mut failed = |set, result: Result<(), caps::errors::CapsError>| {
        if let Err(error) = result {
            failures.push(format!("the {set} set: {error}"));
        }
    };
    failed("bounding", bound(&needed));
    // These two matter to programs that a process executes, and nothing is executed.
    failed("ambient", clear(CapSet::Ambient));
    failed("inheritable", clear(CapSet::Inheritable));
    failed("effective", cut(CapSet::Effective, &needed));
    failed("permitted", cut(CapSet::Permitted, &needed));
    failures
}

/// Leaves a set alone that is right already: some who start the agent refuse capset(2).
fn cut(set: CapSet, needed: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    let held = caps::read(None, set)?;
    if held.is_subset(needed) {
        return Ok(());
    }
    caps::set(None, set, &(&held & needed))
}

fn clear(set: CapSet) -> Result<(), caps::errors::CapsError> {
    cut(set, &CapsHashSet::new())
}

fn bound(needed: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    for excess in caps::read(None, CapSet::Bounding)?.difference(needed) {
        caps::drop(None, CapSet::Bounding, *excess)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_namespaces_take_one_more() {
        assert_eq!(needed(false).len(), 1);
        assert_eq!(needed(true).len(), 2);
        assert!(needed(true).is_superset(&needed(false)));
    }
}
