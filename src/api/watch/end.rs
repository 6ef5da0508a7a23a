//! What ends a watch from beside. HTTP/2 asks a stream for its next message only while its client
//! reads, and what a watch holds must not wait for that: its place, its subscription, and the dump
//! of a snapshot.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::{Stream, StreamExt as _};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use crate::api::pull::Messages;

/// The messages until the end comes. Then what makes them is dropped, whether the client reads or
/// not, and the status is their last, should it ever read on.
pub(super) fn until<M: Send + 'static>(
    messages: Messages<M>,
    end: impl Future<Output = Status> + Send + 'static,
) -> Messages<M> {
    let shared = Arc::new(Mutex::new(State::Open {
        messages,
        reader: None,
    }));
    // When the reader goes, everything goes at once, and does not wait for the task to go.
    let beside = Arc::downgrade(&shared);
    let task = tokio::spawn(async move {
        let end = end.await;
        if let Some(shared) = beside.upgrade() {
            finish(&shared, end);
        }
    });
    Box::pin(Ending {
        shared,
        _task: AbortOnDropHandle::new(task),
    })
}

/// The reader's side.
struct Ending<M> {
    shared: Arc<Mutex<State<M>>>,
    _task: AbortOnDropHandle<()>,
}

/// What is left of a watch.
enum State<M> {
    /// All of it.
    Open {
        messages: Messages<M>,
        /// Who waits for the next message.
        reader: Option<Waker>,
    },
    /// What the reader is still to be told.
    Over(Option<Status>),
}

fn finish<M>(shared: &Mutex<State<M>>, end: Status) {
    let was = mem::replace(&mut *lock(shared), State::Over(Some(end)));
    let State::Open { messages, reader } = was else {
        return;
    };
    // Before the client learns that it is over: its next call must find the place free.
    drop(messages);
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// A reader that panicked reads no more; what it left can still be dropped.
fn lock<M>(shared: &Mutex<State<M>>) -> MutexGuard<'_, State<M>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<M> Stream for Ending<M> {
    type Item = Result<M, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut *lock(&self.shared) {
            State::Open { messages, reader } => {
                let next = messages.poll_next_unpin(cx);
                if next.is_pending() {
                    match reader {
                        Some(reader) => reader.clone_from(cx.waker()),
                        None => *reader = Some(cx.waker().clone()),
                    }
                }
                next
            }
            State::Over(end) => Poll::Ready(end.take().map(Err)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures::stream;
    use tokio::sync::oneshot;

    use super::*;

    /// Messages that come to no end, and what is closed when they are dropped.
    fn endless() -> (Messages<u8>, oneshot::Sender<()>) {
        let (held, place) = oneshot::channel::<()>();
        let messages = stream::unfold(place, |place| async { Some((Ok(1), place)) });
        (Box::pin(messages), held)
    }

    async fn told(end: oneshot::Receiver<()>) -> Status {
        end.await.expect("an end");
        Status::unavailable("over")
    }

    #[tokio::test]
    async fn what_a_watch_holds_is_free_although_nobody_reads() {
        let (messages, mut held) = endless();
        let (end, comes) = oneshot::channel();
        let mut watch = until(messages, told(comes));
        assert_eq!(watch.next().await.expect("one").expect("a message"), 1);
        end.send(()).expect("a task");
        // The watch is there, and nobody asks it for anything.
        held.closed().await;
        let last = watch.next().await.expect("the end");
        assert_eq!(last.expect_err("a status").message(), "over");
        assert!(watch.next().await.is_none());
    }

    #[tokio::test]
    async fn who_waits_for_a_message_is_told_of_the_end() {
        let (end, comes) = oneshot::channel();
        let mut watch = until::<u8>(Box::pin(stream::pending()), told(comes));
        let reader = tokio::spawn(async move { watch.next().await });
        tokio::task::yield_now().await;
        end.send(()).expect("a task");
        let last = reader.await.expect("a reader").expect("the end");
        assert_eq!(last.expect_err("a status").message(), "over");
    }

    #[tokio::test]
    async fn a_watch_that_is_dropped_takes_everything_with_it() {
        let (messages, held) = endless();
        let (waits, mut waiting) = oneshot::channel::<()>();
        let end = async move {
            let _waits = waits;
            pending().await
        };
        let watch = until(messages, end);
        tokio::task::yield_now().await;
        drop(watch);
        assert!(held.is_closed(), "at once");
        // And the task soon after.
        assert!((&mut waiting).await.is_err());
    }
}
