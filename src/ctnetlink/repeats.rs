//! Entries that a dump sends twice.
//!
//! The kernel resumes a dump at the entry after the last one of the datagram before. When
//! that entry is gone meanwhile, it starts the hash bucket again, so that entries of this
//! bucket come a second time. A bucket is a chain of less than 100 entries (the kernel
//! refuses longer ones: MAX_CHAINLEN), so a repeat is never far from its first.

/// More than a chain can have.
const WINDOW: usize = 128;

/// The entries that came last.
#[derive(Debug)]
pub(super) struct Repeats<I> {
    /// A few bits of each, which the processor compares many at a time.
    hints: [u32; WINDOW],
    /// What each is, at the same place.
    identities: Vec<I>,
    next: usize,
}

impl<I: PartialEq> Repeats<I> {
    pub(super) fn new() -> Self {
        Self {
            hints: [0; WINDOW],
            identities: Vec::with_capacity(WINDOW),
            next: 0,
        }
    }

    /// Notes an entry; true when it was among the last ones. Equal identities have equal
    /// hints, and others rarely do.
    #[inline]
    pub(super) fn seen(&mut self, hint: u32, identity: I) -> bool {
        // A fold without an early exit is what the compiler vectorises.
        let hinted = self
            .hints
            .iter()
            .fold(false, |found, known| found | (*known == hint));
        let mut known = self.hints.iter().zip(&self.identities);
        if hinted && known.any(|(hinted, known)| (*hinted, known) == (hint, &identity)) {
            return true;
        }
        let place = self.next % WINDOW;
        self.hints[place] = hint;
        match self.identities.get_mut(place) {
            Some(known) => *known = identity,
            None => self.identities.push(identity),
        }
        self.next = self.next.wrapping_add(1);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_within_a_chain_is_seen_and_a_far_one_is_not() {
        // Hints that are as different as can be, that collide, and that are all the same.
        for hint in [|n: u32| n, |n| n / 3, |_| 0] {
            let mut repeats = Repeats::new();
            let mut seen = |n: u32| repeats.seen(hint(n), u64::from(n));
            assert!((0..100).all(|n| !seen(n)));
            assert!((0..100).all(&mut seen));
            assert!((1000..1200).all(|n| !seen(n)));
            assert!((0..100).all(|n| !seen(n)));
        }
        let mut repeats = Repeats::new();
        assert!(!repeats.seen(0, 0), "nothing was there");
        assert!(repeats.seen(0, 0));
    }
}
