//! The layer that every call passes first: who calls, whether they may, and not too often.
//! Nothing behind it is reached by a caller whom no binding names.

use std::future::{Ready, ready};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, Either};
use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::caller::{self, Caller};
use super::denials::Denials;
use super::intake::Intake;
use super::open::{OpenCall, OpenCalls};
use super::request::Bounds;
use super::withdrawal::{Withdrawal, unbound};
use super::{Limits, method, status};
use crate::access::{Identity, Peer, Policy};
use crate::audit;

/// Callers whose calls are counted at once, before those that are quiet are forgotten.
const REMEMBERED: usize = 1024;

/// What decides about a call.
#[derive(Clone)]
pub struct Guard(Arc<Rules>);

struct Rules {
    policy: watch::Sender<Arc<Policy>>,
    /// Calls in a second, for each identity.
    pace: RateLimiter<String, HashMapStateStore<String>, DefaultClock>,
    max_requests: u32,
    bounds: Bounds,
    intake: Intake,
    open: OpenCalls,
    denials: Denials,
}

impl Guard {
    /// A guard that knows this policy.
    pub fn new(policy: Policy, limits: &Limits, audit: audit::Log) -> Self {
        let max_requests = limits.requests;
        let quota = Quota::per_second(NonZeroU32::new(max_requests).unwrap_or(NonZeroU32::MIN));
        Self(Arc::new(Rules {
            policy: watch::Sender::new(Arc::new(policy)),
            pace: RateLimiter::hashmap(quota),
            max_requests,
            bounds: limits.bounds,
            intake: Intake::of(limits.message_size),
            open: OpenCalls::new(),
            denials: Denials::of(audit),
        }))
    }

    /// Decides by this policy from now on; true when it is another one. Calls that are under
    /// way go on as they were let in, but for streams that may last: those end.
    pub fn follow(&self, policy: Policy) -> bool {
        self.0.policy.send_if_modified(|in_force| {
            let other = **in_force != policy;
            if other {
                *in_force = Arc::new(policy);
            }
            other
        })
    }

    /// The request, with who makes it, its body counted and the call itself; or why it goes no
    /// further.
    fn take_in(&self, request: Request<Body>) -> Result<(Request<Body>, OpenCall), Status> {
        let caller = self.admit(&request)?;
        let (mut head, body) = request.into_parts();
        let path = head.uri.path();
        // What is not of this API knows nothing of bindings, and may last: a watch of health.
        let foreign = !method::is_ours(path);
        let withdrawal = foreign.then(|| Withdrawal::of(&caller));
        let identity = caller.identity();
        let open = self.0.open.open(identity, &head.headers, withdrawal)?;
        let requests = method::requests(path);
        let body = self.0.intake.counted(identity, requests, body)?;
        head.extensions.insert(caller);
        Ok((Request::from_parts(head, body), open))
    }

    /// Who calls, or why they may not.
    fn admit<B>(&self, request: &Request<B>) -> Result<Caller, Status> {
        let path = request.uri().path();
        let Some(peer) = request.extensions().get::<Peer>() else {
            return Err(Status::internal("a connection of nobody"));
        };
        self.pace(&peer.identity)?;
        let policy = self.0.policy.subscribe();
        let Some(grant) = policy.borrow().grant(&peer.identity).cloned() else {
            let refusal = unbound(&peer.identity, &[]);
            let call = caller::call(peer, None, path);
            return Err(self.0.denials.deny(&peer.identity, call.into(), refusal));
        };
        let (bounds, denials) = (self.0.bounds, self.0.denials.clone());
        let caller = Caller::new(peer.clone(), (grant, policy), path, bounds, denials);
        let role = method::role(path);
        if caller.grant().role < role {
            return Err(caller.less_than(role, method::name(path)));
        }
        Ok(caller)
    }

    fn pace(&self, identity: &Identity) -> Result<(), Status> {
        let Rules {
            pace, max_requests, ..
        } = &*self.0;
        if pace.len() > REMEMBERED {
            pace.retain_recent();
        }
        pace.check_key(&identity.as_str().to_owned()).map_err(|_| {
            let text = format!(
                "{identity} makes more than {max_requests} calls a second (max-requests): wait"
            );
            let metadata = [
                ("limit", "max-requests".to_owned()),
                ("max", max_requests.to_string()),
            ];
            status::own(
                Code::ResourceExhausted,
                "TOO_MANY_REQUESTS",
                text,
                &metadata,
            )
        })
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            guard: self.clone(),
        }
    }
}

/// Services behind a [`Guard`].
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    guard: Guard,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<
        BoxFuture<'static, Result<Response<Body>, S::Error>>,
        Ready<Result<Response<Body>, S::Error>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.guard.take_in(request) {
            Ok((request, open)) => {
                let answer = self.inner.call(request);
                Either::Left(Box::pin(
                    async move { Ok(open.until_the_end_of(answer.await?)) },
                ))
            }
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}
