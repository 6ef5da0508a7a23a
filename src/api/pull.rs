//! A stream whose messages are made on a thread of their own, as fast as the client reads:
//! HTTP/2's flow control, through a channel for two messages, holds the kernel's dump.

use std::cell::Cell;
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status};

use super::gate::Permit;
use super::status;
use crate::lifecycle::Watch;

/// Messages on their way to the client: one that is sent and one that is made.
pub(super) const WAITING: usize = 2;

/// A stream of messages.
pub(super) type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// Where the thread puts its messages.
pub(super) struct Outlet<M> {
    sender: mpsc::Sender<M>,
    drain: Watch,
    runtime: Handle,
    patience: Duration,
    stalled: Cell<bool>,
}

/// Nobody reads the stream any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

impl<M> Outlet<M> {
    /// Waits until there is room and puts a message there. A client that reads nothing for
    /// too long counts as gone.
    pub(super) fn send(&self, message: M) -> Result<(), Gone> {
        let sent = self
            .runtime
            .block_on(self.sender.send_timeout(message, self.patience));
        sent.map_err(|error| {
            self.stalled
                .set(matches!(error, SendTimeoutError::Timeout(_)));
            Gone
        })
    }

    /// Whether anybody reads the stream still.
    pub(super) fn check(&self) -> Result<(), Gone> {
        if self.sender.is_closed() || self.stalled.get() {
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
    // Beside the channel: it must not wait for a client that reads nothing.
    let (last, end) = oneshot::channel();
    let outlet = Outlet {
        sender,
        drain: drain.clone(),
        runtime: Handle::current(),
        patience: permit.patience(),
        stalled: Cell::new(false),
    };
    tokio::task::spawn_blocking(move || {
        let result = produce(&outlet);
        let result = if outlet.stalled.get() {
            Err(stalled(outlet.patience))
        } else {
            result
        };
        // Before the client learns that it is over: its next call must find it free.
        drop(permit);
        // Nobody is left to hear of a failed send.
        let _ = last.send(result);
    });
    let messages = Reading {
        receiver,
        end,
        drain,
    };
    Box::pin(futures::stream::unfold(Some(messages), |state| async {
        state?.next().await
    }))
}

/// The client's end of a stream.
struct Reading<M> {
    receiver: mpsc::Receiver<M>,
    end: oneshot::Receiver<Result<M, Status>>,
    drain: Watch,
}

impl<M> Reading<M> {
    /// The next message, and what reads the one after it.
    async fn next(mut self) -> Option<(Result<M, Status>, Option<Self>)> {
        let message = tokio::select! {
            biased;
            () = self.drain.started() => return Some((Err(status::stopping(&[])), None)),
            message = self.receiver.recv() => message,
        };
        Some(match message {
            Some(message) => (Ok(message), Some(self)),
            None => {
                let last = self.end.await;
                (last.unwrap_or_else(|_| Err(status::lost_thread())), None)
            }
        })
    }
}

/// A client that read nothing.
fn stalled(patience: Duration) -> Status {
    let seconds = patience.as_secs();
    let text = format!("nothing was read from the stream for {seconds} s (stall-timeout)");
    let metadata = [("seconds", seconds.to_string())];
    status::own(Code::DeadlineExceeded, "STALLED", text, &metadata)
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
    use crate::access::Identity;
    use crate::api::gate::Gate;
    use crate::lifecycle;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_stream_ends_with_its_last_message() {
        let (_trigger, drain) = lifecycle::drain();
        let permit = Gate::new("max-dumps", 1, PATIENCE)
            .enter(&Identity::anonymous())
            .unwrap();
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
        let permit = Gate::new("max-dumps", 1, PATIENCE)
            .enter(&Identity::anonymous())
            .unwrap();
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
        let permit = Gate::new("max-dumps", 1, PATIENCE)
            .enter(&Identity::anonymous())
            .unwrap();
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

    #[tokio::test]
    async fn a_client_that_reads_nothing_loses_its_place_and_learns_why() {
        let (_trigger, drain) = lifecycle::drain();
        let gate = Gate::new("max-dumps", 1, Duration::from_millis(1));
        let mut stream = stream(
            gate.enter(&Identity::anonymous()).unwrap(),
            drain,
            |outlet| {
                while outlet.send(1).is_ok() {}
                assert_eq!(outlet.check(), Err(Gone));
                Err(Status::cancelled("gone"))
            },
        );
        // Only the loss of patience gives the place back.
        gate.wait(&Identity::anonymous()).await.unwrap();
        for _ in 0..WAITING {
            assert_eq!(stream.next().await.unwrap().unwrap(), 1);
        }
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded);
        assert!(stream.next().await.is_none());
    }
}
