//! How many calls are open at once. Each takes memory beside its message, from its headers until
//! the last of its answer is taken; one that is begun and never sent, or answered and never
//! read, takes it for as long as its client likes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Response};
use tonic::{Code, Status};

use super::budget::{Budget, Part, Spent};
use super::status;
use super::withdrawal::Withdrawal;
use crate::access::Identity;

/// What all open calls may take, in bytes: some 2,400 of the usual ones.
const ALL: usize = 24 << 20;
/// What a call takes: its stream in h2, its task, its answer. Measured, as the next.
const CALL: usize = 10 << 10;
/// What a byte of its headers takes, with the tables around it.
const HEADER_BYTE: usize = 3;

/// Counts them.
#[derive(Clone)]
pub(super) struct OpenCalls(Budget);

/// An open call, until this is dropped.
pub(super) struct OpenCall {
    part: Part,
    /// Of answers that may last and look at no withdrawal themselves.
    withdrawal: Option<Withdrawal>,
}

impl OpenCalls {
    /// None yet.
    pub(super) fn new() -> Self {
        Self(Budget::of(ALL))
    }

    /// One more, or RESOURCE_EXHAUSTED. It ends with this withdrawal, if there is one.
    pub(super) fn open(
        &self,
        caller: &Identity,
        headers: &HeaderMap,
        withdrawal: Option<Withdrawal>,
    ) -> Result<OpenCall, Status> {
        let sizes = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len());
        let headers: usize = sizes.sum();
        let mut part = self.0.part(caller);
        match part.grow(CALL + HEADER_BYTE * headers) {
            Ok(()) => Ok(OpenCall { part, withdrawal }),
            Err(Spent { own, all }) => Err(self.too_many(caller, own, all)),
        }
    }

    fn too_many(&self, caller: &Identity, own: usize, all: usize) -> Status {
        let text = format!(
            "too many calls are open at once: those of {caller} take {own} bytes, all {all}: \
             try again later"
        );
        let metadata = [("max", self.0.of_one().to_string())];
        status::own(Code::ResourceExhausted, "TOO_MUCH_AT_ONCE", text, &metadata)
    }
}

impl OpenCall {
    /// The answer, with which the call ends.
    pub(super) fn until_the_end_of(self, answer: Response<Body>) -> Response<Body> {
        let Self { part, withdrawal } = self;
        let withdrawal =
            withdrawal.map(|mut coming| async move { coming.comes(&[]).await }.boxed());
        answer.map(|body| {
            Body::new(Answer {
                body,
                withdrawal,
                ended: false,
                _part: part,
            })
        })
    }
}

struct Answer {
    body: Body,
    withdrawal: Option<BoxFuture<'static, Status>>,
    /// By the withdrawal.
    ended: bool,
    _part: Part,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let Some(withdrawal) = &mut self.withdrawal else {
            return Poll::Pending;
        };
        withdrawal.as_mut().poll(cx).map(|end| {
            self.ended = true;
            let mut trailers = HeaderMap::new();
            let told = end.add_header(&mut trailers);
            Some(told.map(|()| Frame::trailers(trailers)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer that does not come.
    struct Silence;

    impl HttpBody for Silence {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    #[test]
    fn open_calls_are_bounded_and_leave_room_for_others() {
        let calls = OpenCalls::new();
        let (greedy, other) = (
            Identity::of_process(1, 1, &[]),
            Identity::of_process(2, 2, &[]),
        );
        let mut long = HeaderMap::new();
        long.insert("x", "v".repeat(14_000).parse().unwrap());
        for (headers, most) in [(HeaderMap::new(), 1843), (long, 361)] {
            let mut held = Vec::new();
            let refused = loop {
                match calls.open(&greedy, &headers, None) {
                    Ok(call) => held.push(call),
                    Err(refused) => break refused,
                }
            };
            assert_eq!(held.len(), most);
            assert_eq!(refused.code(), Code::ResourceExhausted);
            assert!(refused.message().contains("those of uid:1"), "{refused:?}");
            calls.open(&other, &headers, None).expect("there is room");
            let call = held.pop().expect("one");
            let answer = call.until_the_end_of(Response::new(Body::new(Silence)));
            assert!(calls.open(&greedy, &headers, None).is_err());
            drop(answer);
            calls.open(&greedy, &headers, None).expect("room again");
        }
    }
}
