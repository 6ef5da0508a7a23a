//! Lines of the log that a stranger can cause: so many in a while, and then their number.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

/// So many lines in so long.
const LINES: u32 = 20;
const WHILE: Duration = Duration::from_secs(10);

/// Counts the lines.
pub(super) struct Seldom(Mutex<Count>);

struct Count {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Seldom {
    /// Nothing was said yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Count {
            since: Instant::now(),
            lines: 0,
            left_out: 0,
        }))
    }

    /// Whether to say one more now. Says itself what was left out before.
    pub(super) fn is_due(&self) -> bool {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if count.since.elapsed() >= WHILE {
            if count.left_out > 0 {
                warn!(count = count.left_out, "as many more were refused");
            }
            *count = Count {
                since: Instant::now(),
                lines: 0,
                left_out: 0,
            };
        }
        let due = count.lines < LINES;
        match due {
            true => count.lines += 1,
            false => count.left_out += 1,
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_comes_again_after_a_while() {
        let seldom = Seldom::new();
        let due = || (0..1000).filter(|_| seldom.is_due()).count();
        assert_eq!(due(), LINES as usize);
        assert_eq!(due(), 0);
        tokio::time::advance(WHILE).await;
        assert_eq!(due(), LINES as usize);
    }
}
