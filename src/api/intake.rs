//! How many bytes of requests are being received at once. A message is held until it is
//! whole, so a client that begins many large ones and ends none would fill the memory.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::body::Body;
use tonic::{Code, Status};

use super::status;
use crate::access::Identity;

/// Largest messages of which that many bytes are held at the most.
const MESSAGES: usize = 8;

/// How long a request may take to be whole.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts them.
#[derive(Clone)]
pub(super) struct Intake {
    held: Arc<Mutex<Held>>,
    /// Of all calls.
    all: usize,
    /// Of one caller: a quarter is left to others.
    of_one: usize,
    /// Of one call: what came before its last message was worked off.
    message: usize,
}

#[derive(Default)]
struct Held {
    all: usize,
    by: HashMap<Arc<str>, usize>,
}

impl Intake {
    /// For messages of so many bytes at the most.
    pub(super) fn of(message: usize) -> Self {
        let all = message.saturating_mul(MESSAGES);
        Self {
            held: Arc::default(),
            all,
            of_one: all - all / 4,
            message,
        }
    }

    /// The body of a request, counted until it has been read or its call has ended. That of a
    /// call with a single request has to come within a time.
    pub(super) fn counted(&self, caller: &Identity, single: bool, body: Body) -> Body {
        Body::new(Counted {
            body,
            patience: single.then(|| Box::pin(sleep(PATIENCE))),
            held: 0,
            caller: caller.as_str().into(),
            intake: self.clone(),
        })
    }

    /// Nothing panics under this lock; should it ever, the counts are still whole.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, caller: &Arc<str>, bytes: usize) -> Result<(), Status> {
        let mut held = self.lock();
        let own = held.by.get(caller).copied().unwrap_or(0);
        if own + bytes > self.of_one || held.all + bytes > self.all {
            let text = format!(
                "too much is being received at once: {own} bytes of {caller}, {} in all: try \
                 again later",
                held.all
            );
            return Err(status::own(
                Code::ResourceExhausted,
                "TOO_MUCH_AT_ONCE",
                text,
                &[("max", self.of_one.to_string())],
            ));
        }
        held.all += bytes;
        held.by.insert(Arc::clone(caller), own + bytes);
        Ok(())
    }

    fn give_back(&self, caller: &Arc<str>, bytes: usize) {
        let mut held = self.lock();
        held.all -= bytes;
        if let Some(own) = held.by.get_mut(caller) {
            *own -= bytes;
            if *own == 0 {
                held.by.remove(caller);
            }
        }
    }
}

/// A request that was begun.
fn unfinished() -> Status {
    let seconds = PATIENCE.as_secs();
    let text = format!("the request was not whole within {seconds} s");
    status::own(Code::DeadlineExceeded, "UNFINISHED_REQUEST", text, &[])
}

struct Counted {
    body: Body,
    patience: Option<Pin<Box<Sleep>>>,
    held: usize,
    caller: Arc<str>,
    intake: Intake,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.held > 0 {
            self.intake.give_back(&self.caller, self.held);
        }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let Some(patience) = &mut self.patience else {
                    return Poll::Pending;
                };
                ready!(patience.as_mut().poll(cx));
                self.patience = None;
                return Poll::Ready(Some(Err(unfinished())));
            }
        };
        if let Some(Ok(frame)) = &frame {
            let came = frame.data_ref().map_or(0, |data| data.remaining());
            // A stream of messages holds one at a time.
            let more = came.min(self.intake.message - self.held);
            if more > 0 {
                if let Err(refusal) = self.intake.take(&self.caller, more) {
                    return Poll::Ready(Some(Err(refusal)));
                }
                self.held += more;
            }
        }
        Poll::Ready(frame)
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

    use super::*;

    /// A body that goes on for ever, in pieces of so many bytes, or never comes.
    struct Endless(Poll<usize>);

    impl HttpBody for Endless {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let piece = |length| Some(Ok(Frame::data(Bytes::from(vec![0; length]))));
            self.0.map(piece)
        }
    }

    fn pieces(length: usize) -> Body {
        Body::new(Endless(Poll::Ready(length)))
    }

    fn silence() -> Body {
        Body::new(Endless(Poll::Pending))
    }

    async fn read(body: &mut Body) -> Result<(), Status> {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        frame.expect("endless").map(|_| ())
    }

    #[tokio::test]
    async fn what_is_begun_and_never_ended_is_bounded_and_leaves_room_for_others() {
        let intake = Intake::of(1000);
        let (greedy, other) = (
            Identity::of_process(1, 1, &[]),
            Identity::of_process(2, 2, &[]),
        );
        let body = |caller| intake.counted(caller, true, pieces(600));
        let mut held = Vec::new();
        let refused = loop {
            let mut body = body(&greedy);
            match read(&mut body).await {
                Ok(()) => held.push(body),
                Err(status) => break status,
            }
        };
        // Ten of 600 are 6000, three quarters of eight messages of 1000.
        assert_eq!(held.len(), 10);
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(
            refused.message().contains("6000 bytes of uid:1"),
            "{refused:?}"
        );
        read(&mut body(&other)).await.expect("there is room");
        drop(held);
        read(&mut body(&greedy)).await.expect("there is room again");
        assert!(
            intake.lock().by.is_empty(),
            "who sends nothing is forgotten"
        );
        assert_eq!(intake.lock().all, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_come_ends_and_a_stream_may_pause() {
        let intake = Intake::of(1000);
        let caller = Identity::anonymous();
        let mut single = intake.counted(&caller, true, silence());
        let refused = read(&mut single).await.expect_err("a deadline");
        assert_eq!(refused.code(), Code::DeadlineExceeded);
        let mut stream = intake.counted(&caller, false, silence());
        let waited = tokio::time::timeout(PATIENCE * 10, read(&mut stream)).await;
        assert!(waited.is_err());
    }

    #[tokio::test]
    async fn a_stream_counts_as_one_message_however_long_it_is() {
        let intake = Intake::of(1000);
        let mut body = intake.counted(&Identity::anonymous(), false, pieces(600));
        for _ in 0..100 {
            read(&mut body).await.expect("a piece");
        }
        assert_eq!(intake.lock().all, 1000);
    }
}
