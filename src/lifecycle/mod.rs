//! Stopping in order: a trigger tells everybody at once, and dropping a watcher is the
//! acknowledgement.

use std::time::Duration;

use tokio::sync::watch;

/// Makes a trigger and its first watcher.
pub fn drain() -> (Trigger, Watch) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Watch(receiver))
}

/// Starts the drain. Dropping it starts the drain, too.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every watcher is gone.
    Completely,
    /// The deadline came first.
    Leaving {
        /// Watchers that were still there.
        watchers: usize,
    },
}

impl Trigger {
    /// Tells every watcher to finish.
    pub fn start(&self) {
        self.0.send_replace(true);
    }

    /// Starts the drain and waits until the last watcher is gone, or for so long.
    pub async fn drain(self, deadline: Duration) -> Drained {
        self.start();
        match tokio::time::timeout(deadline, self.0.closed()).await {
            Ok(()) => Drained::Completely,
            Err(_) => Drained::Leaving {
                watchers: self.0.receiver_count(),
            },
        }
    }
}

/// Held by whatever has to finish before the program ends.
#[derive(Clone, Debug)]
pub struct Watch(watch::Receiver<bool>);

impl Watch {
    /// Whether the drain has started; for work between two awaits and on threads.
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Comes back when the drain starts.
    pub async fn started(&self) {
        let mut receiver = self.0.clone();
        // An error means that the trigger is gone, which starts the drain as well.
        let _ = receiver.wait_for(|draining| *draining).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_its_last_watcher() {
        let (trigger, watch) = drain();
        let other = watch.clone();
        assert!(!watch.is_draining());
        let work = tokio::spawn(async move {
            watch.started().await;
            assert!(watch.is_draining());
            tokio::time::sleep(Duration::from_secs(3)).await;
        });
        drop(other);
        let begun = tokio::time::Instant::now();
        assert_eq!(
            trigger.drain(Duration::from_secs(10)).await,
            Drained::Completely
        );
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        work.await.expect("the work ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_its_deadline() {
        let (trigger, watch) = drain();
        let begun = tokio::time::Instant::now();
        let drained = trigger.drain(Duration::from_secs(10)).await;
        assert_eq!(drained, Drained::Leaving { watchers: 1 });
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
        assert!(watch.is_draining());
    }

    #[tokio::test]
    async fn a_lost_trigger_is_a_drain() {
        let (trigger, watch) = drain();
        drop(trigger);
        watch.started().await;
        assert!(watch.is_draining());
    }
}
