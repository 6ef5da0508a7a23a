//! How long a stream of the table waits for its client. One that reads nothing must not keep
//! its place, nor one that reads a little whenever it is about to lose it: what it is given
//! back for each message is less than what it may take in all.

use std::time::Duration;

/// What each message gives back: some 40 KiB in so long are steady enough for ever.
const EARNED: Duration = Duration::from_secs(30);

/// What is left of it.
pub(super) struct Patience {
    left: Duration,
    most: Duration,
}

impl Patience {
    /// For so long at once, the `stall-timeout`.
    pub(super) fn of(most: Duration) -> Self {
        Self { left: most, most }
    }

    /// How long the next message may wait.
    pub(super) fn left(&self) -> Duration {
        self.left
    }

    /// How long it was at first.
    pub(super) fn most(&self) -> Duration {
        self.most
    }

    /// The client took a message after so long.
    pub(super) fn waited(&mut self, time: Duration) {
        let left = self.left.saturating_sub(time);
        self.left = left.saturating_add(EARNED).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(900);

    /// How many messages it takes that comes so often, of many.
    fn taken_by_who_comes_every(seconds: u64) -> usize {
        let mut patience = Patience::of(STALL);
        let pause = Duration::from_secs(seconds);
        let takes = || {
            let in_time = pause <= patience.left();
            patience.waited(pause);
            in_time
        };
        std::iter::repeat_with(takes)
            .take(10_000)
            .take_while(|in_time| *in_time)
            .count()
    }

    #[test]
    fn who_reads_steadily_reads_to_the_end_and_who_comes_at_the_last_moment_does_not() {
        assert_eq!(taken_by_who_comes_every(0), 10_000);
        assert_eq!(taken_by_who_comes_every(30), 10_000);
        assert_eq!(taken_by_who_comes_every(60), 29);
        assert_eq!(taken_by_who_comes_every(14 * 60), 1);
        assert_eq!(taken_by_who_comes_every(901), 0);
    }

    #[test]
    fn nobody_saves_up_more_than_they_had() {
        let mut patience = Patience::of(STALL);
        for _ in 0..1000 {
            patience.waited(Duration::ZERO);
        }
        assert_eq!(patience.left(), STALL);
    }
}
