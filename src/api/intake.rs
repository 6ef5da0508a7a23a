//! How many bytes of requests are held at once. A message is held until it is whole, so a client
//! that begins many large ones and ends none would fill the memory. And where requests are a
//! stream, a client that sends them and reads no answers leaves a window full of them in h2,
//! so that there are not many such streams.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::body::Body;
use tonic::{Code, Status};

use super::budget::{Budget, Part, Spent};
use super::method::Requests;
use super::status;
use crate::access::Identity;

/// Largest messages of which that many bytes are held at the most.
const MESSAGES: usize = 8;

/// How long a request may take to be whole.
const PATIENCE: Duration = Duration::from_secs(60);

/// Streams that create flows, at once. Each may leave a window of HTTP/2 unread (1 MiB).
const CREATIONS: usize = 32;
/// Streams of reflection at once: the same holds for them, and they are short.
const QUESTIONS: usize = 16;

/// Bytes of the largest message to health and reflection: they take names.
pub const SMALL_MESSAGE: usize = 4 << 10;

/// Counts them.
#[derive(Clone)]
pub(super) struct Intake {
    bytes: Budget,
    creations: Budget,
    questions: Budget,
    /// Of one call: what came before its last message was worked off.
    message: usize,
}

impl Intake {
    /// For messages of so many bytes at the most.
    pub(super) fn of(message: usize) -> Self {
        Self {
            bytes: Budget::of(message.saturating_mul(MESSAGES)),
            creations: Budget::of(CREATIONS),
            questions: Budget::of(QUESTIONS),
            message,
        }
    }

    /// The body of a request, counted until it has been read or its call has ended; or the
    /// refusal of one stream too many. What is not to last has to come within a time.
    pub(super) fn counted(
        &self,
        caller: &Identity,
        requests: Requests,
        body: Body,
    ) -> Result<Body, Status> {
        let (streams, message) = match requests {
            Requests::One => (None, self.message),
            Requests::Flows => (Some(&self.creations), self.message),
            Requests::Questions => (Some(&self.questions), self.message.min(SMALL_MESSAGE)),
        };
        let place = streams.map(|streams| place(streams, caller)).transpose()?;
        let may_last = requests == Requests::Flows;
        Ok(Body::new(Counted {
            body,
            patience: (!may_last).then(|| Box::pin(sleep(PATIENCE))),
            held: self.bytes.part(caller),
            message,
            _place: place,
        }))
    }
}

/// A place for one more stream of this caller.
fn place(streams: &Budget, caller: &Identity) -> Result<Part, Status> {
    let mut place = streams.part(caller);
    match place.grow(1) {
        Ok(()) => Ok(place),
        Err(Spent { own, all }) => {
            let text = format!(
                "too many streams of requests at once: {own} of {caller}, {all} in all: try again \
                 later"
            );
            Err(too_much(text, streams))
        }
    }
}

fn too_much(text: String, budget: &Budget) -> Status {
    let metadata = [("max", budget.of_one().to_string())];
    status::own(Code::ResourceExhausted, "TOO_MUCH_AT_ONCE", text, &metadata)
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
    held: Part,
    /// What it holds at the most.
    message: usize,
    _place: Option<Part>,
}

impl Counted {
    /// Counts what came. A stream of messages holds one at a time.
    fn count(&mut self, came: usize) -> Result<(), Status> {
        let more = came.min(self.message - self.held.amount());
        if more == 0 {
            return Ok(());
        }
        self.held.grow(more).map_err(|Spent { own, all }| {
            let caller = self.held.caller();
            let text = format!(
                "too much is being received at once: {own} bytes of {caller}, {all} in all: try \
                 again later"
            );
            too_much(text, self.held.budget())
        })
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
            if let Err(refusal) = self.count(came) {
                return Poll::Ready(Some(Err(refusal)));
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

    fn counted(intake: &Intake, caller: &Identity, requests: Requests, body: Body) -> Body {
        intake.counted(caller, requests, body).expect("a place")
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
        let body = |caller| counted(&intake, caller, Requests::One, pieces(600));
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
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_come_ends_and_a_stream_may_pause() {
        let intake = Intake::of(1000);
        let caller = Identity::anonymous();
        for requests in [Requests::One, Requests::Questions] {
            let mut ending = counted(&intake, &caller, requests, silence());
            let refused = read(&mut ending).await.expect_err("a deadline");
            assert_eq!(refused.code(), Code::DeadlineExceeded);
        }
        let mut stream = counted(&intake, &caller, Requests::Flows, silence());
        let waited = tokio::time::timeout(PATIENCE * 10, read(&mut stream)).await;
        assert!(waited.is_err());
    }

    #[tokio::test]
    async fn a_stream_counts_as_one_message_however_long_it_is() {
        let intake = Intake::of(8000);
        let caller = Identity::anonymous();
        for (requests, holds) in [(Requests::Flows, 8000), (Requests::Questions, 4096)] {
            let mut body = counted(&intake, &caller, requests, pieces(600));
            for _ in 0..100 {
                read(&mut body).await.expect("a piece");
            }
            // All that there is but for what it holds, and not a byte more.
            let mut rest = intake.bytes.part(&caller);
            rest.grow(48_000 - holds).expect("room");
            assert!(rest.grow(1).is_err());
        }
    }

    #[tokio::test]
    async fn streams_of_requests_are_few_and_some_are_left_to_others() {
        let intake = Intake::of(1000);
        let (greedy, other) = (
            Identity::of_process(1, 1, &[]),
            Identity::of_process(2, 2, &[]),
        );
        for (requests, most) in [(Requests::Flows, 24), (Requests::Questions, 12)] {
            let mut held = Vec::new();
            let refused = loop {
                match intake.counted(&greedy, requests, silence()) {
                    Ok(body) => held.push(body),
                    Err(refused) => break refused,
                }
            };
            assert_eq!(held.len(), most);
            assert_eq!(refused.code(), Code::ResourceExhausted);
            assert!(refused.message().contains("of uid:1"), "{refused:?}");
            counted(&intake, &other, requests, silence());
            held.pop();
            counted(&intake, &greedy, requests, silence());
        }
        let one = || counted(&intake, &greedy, Requests::One, silence());
        let _any_number: Vec<_> = (0..1000).map(|_| one()).collect();
    }
}
