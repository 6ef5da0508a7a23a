//! Waiting for something that another process or the kernel does: asked again until it is
//! so, and a failure when it takes too long. No test waits for a fixed time.

use std::time::{Duration, Instant};

/// Far more than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The first value that `ask` gives; panics with `what` when the patience is over.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ask() {
            return value;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        // Not to synchronise, only to leave the processor to the one waited for.
        std::thread::sleep(Duration::from_millis(2));
    }
}
