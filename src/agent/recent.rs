//! What is costly to find out: asked for by many at once, it is found out once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How old it may be.
const AGE: Duration = Duration::from_secs(1);

/// A value that is made anew when it is too old.
pub(super) struct Recent<T>(Mutex<Option<(Instant, T)>>);

impl<T: Clone> Recent<T> {
    /// Nothing was asked for yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The value, made by this when there is none of late. Who asks meanwhile waits for it.
    pub(super) fn get(&self, make: impl FnOnce() -> T) -> T {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, value)) = &*last
            && since.elapsed() < AGE
        {
            return value.clone();
        }
        let value = make();
        // Its age begins when it is there: making it may take long.
        *last = Some((Instant::now(), value.clone()));
        value
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_a_thousand_times_is_found_out_once_a_second() {
        let recent = Recent::new();
        let made = Cell::new(0);
        let ask = || {
            recent.get(|| {
                made.set(made.get() + 1);
                made.get()
            })
        };
        for second in 1..=3 {
            assert!((0..1000).all(|_| ask() == second));
            tokio::time::advance(AGE).await;
        }
        assert_eq!(made.get(), 3);
    }

    #[test]
    fn who_asks_while_it_is_found_out_waits_for_that() {
        let recent = Recent::new();
        let made = std::sync::atomic::AtomicUsize::new(0);
        let together = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    together.wait();
                    recent.get(|| made.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }
}
