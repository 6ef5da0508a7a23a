//! From a target to an agent that answers: dialling, calls with a deadline, and every error
//! in words.

mod dial;
mod fault;
mod status;
mod tls;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Response, Status, Streaming};

pub use fault::{Fault, FaultNote, OutOfTime, OwnTime, TlsFault, Validity};
pub use status::{Refusal, item_words};
pub use tls::{Tls, TlsFiles, TlsSetupError};

use crate::ctctl::fleet::{Address, Target};
use crate::pb::agent_service_client::AgentServiceClient;
use crate::pb::bulk::flow_service_client::FlowServiceClient;
use crate::pb::expectation_service_client::ExpectationServiceClient;

/// How long a connection may take when the user does not say.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long an agent may be silent while something is read from it, when the user does not
/// say. A dump of ten million entries with a filter that nothing fits stays below.
const READ_PATIENCE: Duration = Duration::from_secs(60);
/// A dead host is found out by a ping, also while a long change keeps the call silent.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// What all unread data together may hold: a fleet of 500 costs no more than one host.
const WINDOW_BUDGET: u32 = 64 << 20;
const WINDOW_MIN: u32 = 64 << 10;
/// What a connection holds beside a stream: while nobody reads a dump, the answers to the
/// changes of what it brought have to come through.
const ANSWERS: u32 = 64 << 10;
/// More does not make a dump faster; with less, distant agents wait for window updates
/// (4 MiB are 100 ms at 320 Mbit/s).
const WINDOW_MAX: u32 = 4 << 20;

/// The longest message of a stream of entries. Agents send some 40 KiB of them, and what one
/// datagram of the kernel adds. Several messages wait decoded for a slow output, which takes
/// more than their bytes: nobody shall fill the memory with long ones.
const STREAM_MESSAGE: usize = 256 << 10;

/// Why a node did not do its part.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NodeError {
    /// There is, or was, no connection.
    #[error(transparent)]
    Connection(#[from] Fault),
    /// The connection broke in the middle of a call.
    #[error("the connection to the agent was lost: {0}")]
    Lost(String),
    /// The agent refused.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// No answer in time.
    #[error("no answer for {} s; --timeout waits longer", .0.as_secs_f64())]
    Silent(Duration),
    /// A stream ended without its end mark.
    #[error("the answer broke off before its end: what was shown is not all")]
    Incomplete,
    /// The agent sent what the contract does not allow.
    #[error("the agent's answer cannot be read: {0}; is it of another version?")]
    Answer(String),
    /// The one entry that was to be changed could not be.
    #[error("{0}")]
    Item(String),
    /// Some entries could not be changed.
    #[error("{failed} of {items} failed{}{why}", if why.is_empty() { "" } else { ": " })]
    Items {
        /// How many.
        failed: u64,
        /// Of how many.
        items: u64,
        /// Why, unless that was said of each.
        why: String,
    },
}

impl NodeError {
    /// gRPC's code, when the agent refused.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refusal) => Some(refusal.code()),
            _ => None,
        }
    }

    /// Whether it may go away by itself: the agent, the host or the network restarts.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connection(fault) => {
                !matches!(fault, Fault::Tls(_) | Fault::SpeaksTls | Fault::NotHttp2)
            }
            Self::Lost(_) | Self::Silent(_) | Self::Incomplete => true,
            Self::Refused(refusal) => {
                matches!(refusal.code(), Code::Unavailable | Code::ResourceExhausted)
            }
            Self::Answer(_) | Self::Item(_) | Self::Items { .. } => false,
        }
    }

    /// Whether it may go away when a certificate is renewed, here or there.
    pub fn awaits_renewal(&self) -> bool {
        matches!(self, Self::Connection(Fault::Tls(_)))
    }

    /// Whether a part of the work was done all the same.
    pub fn is_partial(&self) -> bool {
        match self {
            Self::Items { failed, items, .. } => failed < items,
            Self::Refused(refusal) => refusal.is_partial(),
            _ => false,
        }
    }
}

/// How agents are reached.
#[derive(Clone)]
pub struct Dialler {
    tls: Option<Tls>,
    insecure_plaintext: bool,
    timeout: Option<Duration>,
    namespace: Arc<str>,
    window: u32,
}

impl Dialler {
    /// For `at_once` connections at the same time. `tls` is needed where a target uses it.
    pub fn new(
        tls: Option<Tls>,
        insecure_plaintext: bool,
        timeout: Option<Duration>,
        namespace: &str,
        at_once: usize,
    ) -> Self {
        let share = WINDOW_BUDGET / u32::try_from(at_once.max(1)).unwrap_or(u32::MAX);
        Self {
            tls,
            insecure_plaintext,
            timeout,
            namespace: namespace.into(),
            window: share.clamp(WINDOW_MIN, WINDOW_MAX),
        }
    }

    /// Connects.
    pub async fn connect(&self, target: Arc<Target>) -> Result<Session, NodeError> {
        let note = FaultNote::default();
        let tls = match target.uses_tls(self.insecure_plaintext) {
            Ok(true) => self.tls.clone(),
            Ok(false) => None,
            Err(error) => return Err(Fault::Io(error.to_string()).into()),
        };
        let (base, origin) = uris(&target, tls.is_some())
            .map_err(|error| Fault::Io(format!("{target} makes no URL: {error}")))?;
        let endpoint = Endpoint::from(base)
            .origin(origin)
            .initial_stream_window_size(self.window)
            .initial_connection_window_size(self.window + ANSWERS)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_PATIENCE)
            .keep_alive_while_idle(true);
        let patience = self.timeout.unwrap_or(CONNECT_PATIENCE);
        let connector = {
            let (target, note) = (Arc::clone(&target), note.clone());
            tower::service_fn(move |_: Uri| {
                let (target, tls, note) = (Arc::clone(&target), tls.clone(), note.clone());
                async move {
                    note.clear();
                    let dialled = dial::dial(&target, tls.as_ref(), note.clone());
                    let result = match tokio::time::timeout(patience, dialled).await {
                        Ok(result) => result,
                        Err(_) => Err(Fault::TimedOut {
                            place: target.address().to_string(),
                            waited: patience,
                        }),
                    };
                    result
                        .map(TokioIo::new)
                        .inspect_err(|fault| note.note(fault.clone()))
                }
            })
        };
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|error| note.get().unwrap_or_else(|| Fault::Io(error.to_string())))?;
        Ok(Session {
            target,
            channel,
            note,
            namespace: Arc::clone(&self.namespace),
            timeout: self.timeout,
        })
    }
}

/// What tonic dials (never https: the connector does TLS itself), and what it tells the
/// agent as `:scheme` and `:authority`.
fn uris(target: &Target, tls: bool) -> Result<(Uri, Uri), tonic::codegen::http::uri::InvalidUri> {
    let authority = match target.address() {
        Address::Unix(_) => "localhost".to_owned(),
        tcp @ Address::Tcp { .. } => tcp.to_string(),
    };
    let scheme = if tls { "https" } else { "http" };
    Ok((
        format!("http://{authority}").parse()?,
        format!("{scheme}://{authority}").parse()?,
    ))
}

/// A connection to one agent.
#[derive(Clone)]
pub struct Session {
    target: Arc<Target>,
    channel: Channel,
    note: FaultNote,
    namespace: Arc<str>,
    timeout: Option<Duration>,
}

impl Session {
    /// Whom it talks to.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The network namespace that every request names.
    pub fn namespace(&self) -> String {
        self.namespace.to_string()
    }

    /// The calls for flows.
    pub fn flows(&self) -> FlowServiceClient<Channel> {
        FlowServiceClient::new(self.channel.clone())
    }

    /// The calls for expectations.
    pub fn expectations(&self) -> ExpectationServiceClient<Channel> {
        ExpectationServiceClient::new(self.channel.clone())
    }

    /// The calls for flows that answer with a stream of them.
    pub fn flow_streams(&self) -> FlowServiceClient<Channel> {
        self.flows().max_decoding_message_size(STREAM_MESSAGE)
    }

    /// The calls for expectations that answer with a stream of them.
    pub fn expectation_streams(&self) -> ExpectationServiceClient<Channel> {
        self.expectations()
            .max_decoding_message_size(STREAM_MESSAGE)
    }

    /// The calls for the agent itself.
    pub fn agent(&self) -> AgentServiceClient<Channel> {
        AgentServiceClient::new(self.channel.clone())
    }

    /// Waits for the answer to something that only reads.
    pub async fn read<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, NodeError> {
        self.wait(Some(self.timeout.unwrap_or(READ_PATIENCE)), call)
            .await
            .map(Response::into_inner)
    }

    /// Waits for the answer to a change: as long as it takes, unless the user said
    /// otherwise. Giving up on it would leave it half done.
    pub async fn change<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, NodeError> {
        self.wait(self.timeout, call)
            .await
            .map(Response::into_inner)
    }

    /// The next message of a stream that has to go on.
    pub async fn next<T>(&self, stream: &mut Streaming<T>) -> Result<Option<T>, NodeError> {
        let patience = Some(self.timeout.unwrap_or(READ_PATIENCE));
        self.wait(patience, stream.message()).await
    }

    /// The next message of a stream that may be silent for ever.
    pub async fn next_event<T>(&self, stream: &mut Streaming<T>) -> Result<Option<T>, NodeError> {
        self.wait(None, stream.message()).await
    }

    async fn wait<T>(
        &self,
        patience: Option<Duration>,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, NodeError> {
        let answer = match patience {
            None => call.await,
            Some(patience) => tokio::time::timeout(patience, call)
                .await
                .map_err(|_| NodeError::Silent(patience))?,
        };
        answer.map_err(|status| self.explain(&status))
    }

    /// What a status means: the agent's own word, or a broken connection.
    fn explain(&self, status: &Status) -> NodeError {
        if !status::is_transport(status, &self.note) {
            return NodeError::Refused(Box::new(Refusal::from_status(status)));
        }
        match self.note.get() {
            Some(Fault::Io(words)) => NodeError::Lost(words),
            Some(fault) => NodeError::Connection(fault),
            None => NodeError::Lost(root_cause(status)),
        }
    }
}

/// The innermost error: the outer ones say "transport error".
fn root_cause(status: &Status) -> String {
    let mut words = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        words = error.to_string();
        source = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_share_one_budget() {
        let window = |at_once| Dialler::new(None, false, None, "", at_once).window;
        assert_eq!(window(0), WINDOW_MAX);
        assert_eq!(window(1), WINDOW_MAX);
        assert_eq!(window(64), 1 << 20);
        assert_eq!(window(10_000), WINDOW_MIN);
    }

    #[test]
    fn addresses_become_urls() {
        let of = |text: &str, tls| {
            let (base, origin) = uris(&text.parse().unwrap(), tls).unwrap();
            (base.to_string(), origin.to_string())
        };
        let plain = "http://localhost/".to_owned();
        assert_eq!(of("unix:/run/a b", false), (plain.clone(), plain));
        assert_eq!(
            of("[::1]:7", true),
            ("http://[::1]:7/".to_owned(), "https://[::1]:7/".to_owned())
        );
    }
}
