//! What an answer may be ahead of its connection. HTTP/2's library takes 400 KiB of each stream,
//! sent or not, when the client has a window for it; of hundreds of watches that nobody reads
//! that is more than all else the agent holds.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// Bytes that wait for the connection, before nothing more is made: one message of a dump, and the
/// next, which is made while the first is sent.
const MOST: usize = 64 << 10;
/// What a piece of an answer takes beside its bytes.
const PIECE: usize = 256;

/// An answer that goes on only when what it gave before is sent.
pub(super) struct Unsent {
    body: Body,
    ahead: Arc<Ahead>,
}

/// What is not sent yet.
#[derive(Default)]
struct Ahead {
    bytes: AtomicUsize,
    /// The answer, when it waits.
    waiting: AtomicWaker,
}

impl Unsent {
    /// Nothing of it is sent yet.
    pub(super) fn of(body: Body) -> Self {
        Self {
            body,
            ahead: Arc::default(),
        }
    }
}

impl Ahead {
    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Acquire) >= MOST
    }

    /// A piece that is counted until the library lets go of it, which it does when it is sent.
    fn count(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        self.bytes.fetch_add(bytes.len() + PIECE, Ordering::AcqRel);
        Bytes::from_owner(Piece {
            bytes,
            ahead: Arc::clone(self),
        })
    }
}

/// A part of the answer on its way.
struct Piece {
    bytes: Bytes,
    ahead: Arc<Ahead>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let sent = self.bytes.len() + PIECE;
        self.ahead.bytes.fetch_sub(sent, Ordering::AcqRel);
        self.ahead.waiting.wake();
    }
}

impl HttpBody for Unsent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ahead.is_full() {
            self.ahead.waiting.register(cx.waker());
            // What was sent in between woke nobody.
            if self.ahead.is_full() {
                return Poll::Pending;
            }
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let ahead = &self.ahead;
        frame.map_ok(|frame| frame.map_data(|bytes| ahead.count(bytes)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt as _;

    use super::*;

    /// An answer that goes on for ever, in pieces of so many bytes.
    struct Endless(usize);

    impl HttpBody for Endless {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let piece = Bytes::from(vec![1; self.0]);
            Poll::Ready(Some(Ok(Frame::data(piece))))
        }
    }

    fn endless(length: usize) -> Unsent {
        Unsent::of(Body::new(Endless(length)))
    }

    async fn piece(body: &mut Unsent) -> Bytes {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        let frame = frame.expect("endless").expect("no error");
        frame.into_data().expect("data")
    }

    #[tokio::test]
    async fn an_answer_goes_on_only_when_what_it_gave_is_sent() {
        let mut body = endless(MOST / 4);
        let mut made = Vec::new();
        while let Some(piece) = piece(&mut body).now_or_never() {
            assert_eq!(piece, vec![1; MOST / 4]);
            made.push(piece);
        }
        assert_eq!(made.len(), 4);
        let next = tokio::spawn(async move { piece(&mut body).await });
        tokio::task::yield_now().await;
        assert!(!next.is_finished());
        // The library holds a part of it until all of it is sent.
        let mut half = made.remove(0);
        let rest = half.split_off(10);
        drop(half);
        tokio::task::yield_now().await;
        assert!(!next.is_finished());
        drop(rest);
        assert_eq!(next.await.expect("a piece").len(), MOST / 4);
    }

    #[tokio::test]
    async fn small_pieces_count_as_what_they_take() {
        let mut body = endless(1);
        let mut made = Vec::new();
        while let Some(piece) = piece(&mut body).now_or_never() {
            made.push(piece);
        }
        assert_eq!(made.len(), MOST.div_ceil(PIECE + 1));
    }
}
