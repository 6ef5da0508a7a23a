//! Counts the open calls of each connection, so that a connection without any can be closed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::unsent::Unsent;
use crate::access::Peer;

/// What tonic puts into every request of a connection.
#[derive(Clone)]
pub(super) struct ConnectInfo {
    /// Whose connection it is.
    pub(super) peer: Peer,
    /// The calls on it.
    pub(super) calls: Calls,
}

/// The open calls of a connection.
#[derive(Clone)]
pub(super) struct Calls(Arc<Count>);

struct Count {
    open: AtomicUsize,
    begun: Instant,
    /// When the last one ended, in milliseconds behind `begun`.
    ended: AtomicU64,
}

impl Calls {
    /// None yet.
    pub(super) fn new() -> Self {
        Self(Arc::new(Count {
            open: AtomicUsize::new(0),
            begun: Instant::now(),
            ended: AtomicU64::new(0),
        }))
    }

    /// How long there has been none; `None` when there is one.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        if self.0.open.load(Ordering::Acquire) > 0 {
            return None;
        }
        let ended = Duration::from_millis(self.0.ended.load(Ordering::Acquire));
        Some(self.0.begun.elapsed().saturating_sub(ended))
    }

    /// Counts one more.
    pub(super) fn enter(&self) -> Call {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        Call(self.clone())
    }
}

/// An open call, until this is dropped.
pub(super) struct Call(Calls);

impl Drop for Call {
    fn drop(&mut self) {
        let Calls(count) = &self.0;
        let now = u64::try_from(count.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        count.ended.store(now, Ordering::Release);
        count.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Counts; and hands on the peer, as everything further inside expects it.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountCalls;

impl<S> Layer<S> for CountCalls {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting { inner }
    }
}

/// A service whose calls are counted.
#[derive(Clone, Debug)]
pub(super) struct Counting<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Counting<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let call = request
            .extensions_mut()
            .remove::<ConnectInfo>()
            .map(|info| {
                request.extensions_mut().insert(info.peer);
                info.calls.enter()
            });
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            let counted = |body| Counted {
                body: Unsent::of(body),
                _call: call,
            };
            Ok(answer.map(|body| Body::new(counted(body))))
        })
    }
}

/// The answer, which is the rest of the call.
struct Counted {
    body: Unsent,
    _call: Option<Call>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
