//! A stream whose messages are made on a thread of their own, as fast as the client reads:
//! HTTP/2's flow control, through a channel for two messages, holds the kernel's dump.

use std::future::pending;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::Stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status};

use super::gate::Permit;
use super::patience::Patience;
use super::status;
use super::withdrawal::Withdrawal;
use crate::lifecycle::Watch;

/// Messages on their way to the client: one that is sent and one that is made.
pub(super) const WAITING: usize = 2;

/// A stream of messages.
pub(super) type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// Where the thread puts its messages.
pub(super) struct Outlet<M> {
    sender: mpsc::Sender<M>,
    drain: Watch,
    withdrawal: Option<Withdrawal>,
    runtime: Handle,
    patience: Patience,
}

impl<M> Outlet<M> {
    /// Waits until there is room and puts a message there, or says why the stream is over: its
    /// binding is another, its client left, or lets it wait for too long.
    pub(super) fn send(&mut self, message: M) -> Result<(), Status> {
        let Self {
            sender,
            withdrawal,
            runtime,
            patience,
            ..
        } = self;
        let begun = Instant::now();
        // Here, and not where the client reads: of one that does not, the place is free then.
        runtime.block_on(async {
            tokio::select! {
                biased;
                end = withdrawn(withdrawal) => Err(end),
                sent = sender.send_timeout(message, patience.left()) => {
                    sent.map_err(|error| match error {
                        SendTimeoutError::Timeout(_) => stalled(patience.most()),
                        SendTimeoutError::Closed(_) => left(),
                    })
                }
            }
        })?;
        patience.waited(begun.elapsed());
        Ok(())
    }

    /// Whether the stream goes on, or why not, when there is nothing to send.
    pub(super) fn check(&mut self) -> Result<(), Status> {
        let withdrawal = self.withdrawal.as_mut();
        if let Some(end) = withdrawal.and_then(|withdrawal| withdrawal.has_come(&[])) {
            return Err(end);
        }
        match self.sender.is_closed() {
            true => Err(left()),
            false => Ok(()),
        }
    }

    /// Whether the agent is stopping.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_draining()
    }
}

/// Comes back when it has come.
async fn withdrawn(withdrawal: &mut Option<Withdrawal>) -> Status {
    match withdrawal {
        Some(withdrawal) => withdrawal.comes(&[]).await,
        None => pending().await,
    }
}

/// Runs `produce` on a blocking thread; its result is the last message. A stream without
/// a last message ends with an error, whatever happened to the thread. With a withdrawal it
/// is over when that comes.
pub(super) fn stream<M: Send + 'static>(
    permit: Permit,
    (drain, withdrawal): (Watch, Option<Withdrawal>),
    produce: impl FnOnce(&mut Outlet<M>) -> Result<M, Status> + Send + 'static,
) -> Messages<M> {
    let (sender, receiver) = mpsc::channel(WAITING);
    // Beside the channel: it must not wait for a client that reads nothing.
    let (last, end) = oneshot::channel();
    let mut outlet = Outlet {
        sender,
        drain: drain.clone(),
        withdrawal,
        runtime: Handle::current(),
        patience: Patience::of(permit.patience()),
    };
    tokio::task::spawn_blocking(move || {
        let result = produce(&mut outlet);
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

/// A client that is gone.
fn left() -> Status {
    Status::cancelled("the caller left")
}

/// A client that read nothing, or now and then a little.
fn stalled(patience: Duration) -> Status {
    let seconds = patience.as_secs();
    let text =
        format!("nothing, or too little, was read from the stream for {seconds} s (stall-timeout)");
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
        let stream = stream(permit, (drain, None), |outlet| {
            for n in 0..100 {
                outlet.send(n)?;
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
        let mut stream = stream(permit, (drain, None), |outlet: &mut Outlet<u8>| {
            outlet.send(1)?;
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
        let mut stream = stream(permit, (drain, None), |outlet: &mut Outlet<u8>| {
            // Fills the channel until the stream is dropped.
            while outlet.send(1).is_ok() {}
            assert!(outlet.check().is_err());
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
            (drain, None),
            |outlet| {
                loop {
                    outlet.send(1)?;
                }
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
