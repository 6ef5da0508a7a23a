//! Entries that a dump sends twice.
//!
//! The kernel resumes a dump at the entry after the last one of the datagram before. When
//! that entry is gone meanwhile, it starts the hash bucket again, so that entries of this
//! bucket come a second time. A bucket is a chain of less than 100 entries (the kernel
//! refuses longer ones: MAX_CHAINLEN), so a repeat is never far from its first.

/// More than a chain can have.
const WINDOW: usize = 128;

/// The identities of the entries that came last.
#[derive(Debug)]
pub(super) struct Repeats {
    ring: [u64; WINDOW],
    next: usize,
}

impl Repeats {
    pub(super) fn new() -> Self {
        Self {
            ring: [u64::MAX; WINDOW],
            next: 0,
        }
    }

    /// Notes an identity; true when it was among the last ones.
    #[inline]
    pub(super) fn seen(&mut self, identity: u64) -> bool {
        // A fold without an early exit is what the compiler vectorises.
        if self
            .ring
            .iter()
            .fold(false, |found, known| found | (*known == identity))
        {
            return true;
        }
        self.ring[self.next % WINDOW] = identity;
        self.next = self.next.wrapping_add(1);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_within_a_chain_is_seen_and_a_far_one_is_not() {
        let mut repeats = Repeats::new();
        assert!((0..100).all(|identity| !repeats.seen(identity)));
        assert!((0..100).all(|identity| repeats.seen(identity)));
        assert!((1000..1200).all(|identity| !repeats.seen(identity)));
        assert!(!repeats.seen(5));
    }
}
