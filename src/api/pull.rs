//! A stream whose messages are made on a thread of their own, as fast as the client reads:
//! HTTP/2's flow control, through a channel for two messages, holds the kernel's dump.

use std::pin::Pin;

use futures::Stream;
use tokio::sync::mpsc;
use tonic::Status;

use super::gate::Permit;
use super::status;
use crate::lifecycle::Watch;

/// Messages on their way to the client: one that is sent and one that is made.
pub(super) const WAITING: usize = 2;

/// A stream of messages.
pub(super) type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

enum Part<M> {
    More(M),
    Last(Result<M, Status>),
}

/// Where the thread puts its messages.
pub(super) struct Outlet<M> {
    sender: mpsc::Sender<Part<M>>,
    drain: Watch,
}

/// Nobody reads the stream any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

impl<M> Outlet<M> {
    /// Waits until there is room and puts a message there.
    pub(super) fn send(&self, message: M) -> Result<(), Gone> {
        self.sender
            .blocking_send(Part::More(message))
            .map_err(|_| Gone)
    }

    /// Whether anybody reads the stream still.
    pub(super) fn check(&self) -> Result<(), Gone> {
        if self.sender.is_closed() {
            Err(Gone)
        } else {
            Ok(())
        }
    }

    /// Whether the agent is stopping.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_draining()
    }
}

/// Runs `produce` on a blocking thread; its result is the last message. A stream without
/// a last message ends with an error, whatever happened to the thread.
pub(super) fn stream<M: Send + 'static>(
    permit: Permit,
    drain: Watch,
    produce: impl FnOnce(&Outlet<M>) -> Result<M, Status> + Send + 'static,
) -> Messages<M> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let outlet = Outlet {
        sender,
        drain: drain.clone(),
    };
    tokio::task::spawn_blocking(move || {
        let last = produce(&outlet);
        // Before the client learns that it is over: its next call must find it free.
        drop(permit);
        // Nobody is left to hear of a failed send.
        let _ = outlet.sender.blocking_send(Part::Last(last));
    });
    Box::pin(futures::stream::unfold(
        Some((receiver, drain)),
        |state| async {
            let (mut receiver, drain) = state?;
            let part = tokio::select! {
                biased;
                () = drain.started() => return Some((Err(status::stopping(&[])), None)),
                part = receiver.recv() => part,
            };
            Some(match part {
                Some(Part::More(message)) => (Ok(message), Some((receiver, drain))),
                Some(Part::Last(last)) => (last, None),
                None => (Err(status::lost_thread()), None),
            })
        },
    ))
}

/// Runs `work` on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(status::lost_thread()))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tonic::Code;

    use super::*;
    use crate::api::gate::Gate;
    use crate::lifecycle;

    #[tokio::test]
    async fn a_stream_ends_with_its_last_message() {
        let (_trigger, drain) = lifecycle::drain();
        let permit = Gate::new(1).enter().unwrap();
        let stream = stream(permit, drain, |outlet| {
            for n in 0..100 {
                outlet.send(n).map_err(|Gone| Status::cancelled("gone"))?;
            }
            Ok(100)
        });
        let all: Vec<_> = stream.map(Result::unwrap).collect().await;
        assert_eq!(all, (0..=100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_thread_that_dies_is_no_end() {
        let (_trigger, drain) = lifecycle::drain();
        let permit = Gate::new(1).enter().unwrap();
        let mut stream = stream(permit, drain, |outlet: &Outlet<u8>| {
            outlet.send(1).map_err(|Gone| Status::cancelled("gone"))?;
            panic!("on purpose");
        });
        assert_eq!(stream.next().await.unwrap().unwrap(), 1);
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_drain_ends_a_stream_that_nobody_feeds() {
        let (trigger, drain) = lifecycle::drain();
        let permit = Gate::new(1).enter().unwrap();
        let mut stream = stream(permit, drain, |outlet: &Outlet<u8>| {
            // Fills the channel until the stream is dropped.
            while outlet.send(1).is_ok() {}
            assert_eq!(outlet.check(), Err(Gone));
            Err(Status::cancelled("gone"))
        });
        assert_eq!(stream.next().await.unwrap().unwrap(), 1);
        trigger.start();
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert!(stream.next().await.is_none());
    }
}
