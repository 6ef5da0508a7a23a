//! An agent inside a namespace, and the client that talks to it: the programs themselves.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use ctfleet::flow::Flow;
use ctfleet::pb;
use ctfleet::pb::agent_service_client::AgentServiceClient;
use ctfleet::pb::expectation_service_client::ExpectationServiceClient;
use ctfleet::pb::flow_service_client::FlowServiceClient;
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::process::Process;
use super::{Netns, until};

/// `ctagent`, as cargo built it for this test.
pub(crate) const CTAGENT: &str = env!("CARGO_BIN_EXE_ctagent");

/// A running agent with a unix socket of its own.
pub(crate) struct Agent {
    process: Process,
    directory: TempDir,
}

impl Agent {
    /// Starts one inside, and waits until it takes connections.
    pub(crate) fn start(ns: &Netns) -> Self {
        Self::start_as(ns, &mut Command::new(CTAGENT))
    }

    /// Starts one that serves other namespaces, too.
    pub(crate) fn start_for_all(ns: &Netns) -> Self {
        Self::start_with(ns, &["--other-namespaces"])
    }

    /// Starts one with more flags.
    pub(crate) fn start_with(ns: &Netns, flags: &[&str]) -> Self {
        Self::start_as(ns, Command::new(CTAGENT).args(flags))
    }

    /// Starts one with this command, which gets the flag of the socket.
    pub(crate) fn start_as(ns: &Netns, command: &mut Command) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        command.arg("--listen").arg(Self::place(directory.path()));
        let mut agent = Self {
            process: Process::spawn(ns, command),
            directory,
        };
        until("the agent to take connections", || {
            if let Some(status) = agent.process.ended() {
                panic!("the agent ended with {status}:\n{}", agent.process.said());
            }
            UnixStream::connect(agent.socket()).ok()
        });
        agent
    }

    fn place(directory: &Path) -> String {
        format!("unix:{}", directory.join("agent.sock").display())
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    /// It as a target.
    pub(crate) fn target(&self) -> String {
        Self::place(self.directory.path())
    }

    /// The program.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A connection to it; must be called inside a tokio runtime.
    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(self.target())
            .expect("a target")
            .connect_lazy()
    }

    /// What it said up to now.
    pub(crate) fn said(&self) -> String {
        self.process.said()
    }

    /// Tells it to stop.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until it has ended, while connections to it live on.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let ended = async {
            loop {
                if let Some(status) = self.process.ended() {
                    return status;
                }
                // Not to synchronise, only to leave the processor to the one waited for.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ended)
            .await
            .expect("the agent ends")
    }

    /// The calls for flows, over a connection that holds little that was not read: an
    /// answer of more than some hundred KiB waits for its reader.
    pub(crate) fn flows_unread(&self) -> FlowServiceClient<Channel> {
        let channel = Endpoint::from_shared(self.target())
            .expect("a target")
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(65_535)
            .connect_lazy();
        FlowServiceClient::new(channel)
    }

    /// The calls for flows.
    pub(crate) fn flows(&self) -> FlowServiceClient<Channel> {
        FlowServiceClient::new(self.channel())
    }

    /// The calls for expectations.
    pub(crate) fn expectations(&self) -> ExpectationServiceClient<Channel> {
        ExpectationServiceClient::new(self.channel())
    }

    /// The calls for the agent itself.
    pub(crate) fn agent(&self) -> AgentServiceClient<Channel> {
        AgentServiceClient::new(self.channel())
    }

    /// The address that it chose for `--listen IP:0`.
    pub(crate) fn tcp_address(&self) -> SocketAddr {
        until("where it listens for TCP", || {
            let said = self.said();
            let mut places = said
                .lines()
                .filter_map(|line| line.split_once("listening on "))
                .filter_map(|(_, place)| place.trim().parse().ok());
            places.next()
        })
    }

    /// Bare TCP to it, from inside a namespace.
    pub(crate) fn connect(&self, ns: &Netns) -> TcpStream {
        dial(ns, self.tcp_address())
    }

    /// A plaintext TCP connection to it, from inside a namespace.
    pub(crate) async fn channel_from(&self, ns: &Netns) -> Channel {
        self.channel_over(Endpoint::from_static("http://agent"), ns)
            .await
            .unwrap_or_else(|error| panic!("{error:?}: {}", self.said()))
    }

    /// A TCP connection to it, from inside a namespace.
    pub(crate) async fn channel_over(
        &self,
        endpoint: Endpoint,
        ns: &Netns,
    ) -> Result<Channel, tonic::transport::Error> {
        through(endpoint, self.connect(ns)).await
    }

    /// A plaintext TCP connection to it by another address, which leads there.
    pub(crate) async fn channel_by(&self, ns: &Netns, at: SocketAddr) -> Channel {
        let endpoint = Endpoint::from_static("http://agent");
        through(endpoint, dial(ns, at))
            .await
            .unwrap_or_else(|error| panic!("{error:?}: {}", self.said()))
    }
}

fn dial(ns: &Netns, at: SocketAddr) -> TcpStream {
    let stream = ns.enter(|| std::net::TcpStream::connect(at)).expect("TCP");
    stream.set_nonblocking(true).expect("a socket");
    // As every gRPC client does; otherwise a call waits for a delayed acknowledgement.
    stream.set_nodelay(true).expect("a socket");
    TcpStream::from_std(stream).expect("a socket")
}

async fn through(
    endpoint: Endpoint,
    stream: TcpStream,
) -> Result<Channel, tonic::transport::Error> {
    let mut stream = Some(stream);
    let connect = move |_| {
        // Once: a connection that broke is a failure, not a reason for another.
        let stream = stream.take().ok_or(std::io::ErrorKind::NotConnected);
        async move { Ok::<_, std::io::Error>(TokioIo::new(stream?)) }
    };
    endpoint
        .connect_with_connector(tower::service_fn(connect))
        .await
}

/// All flows of a dump, and its summary.
pub(crate) async fn collect(
    mut stream: Streaming<pb::DumpFlowsResponse>,
) -> Result<(Vec<Flow>, pb::DumpSummary), tonic::Status> {
    let mut flows = Vec::new();
    while let Some(message) = stream.message().await? {
        for flow in message.flows {
            flows.push(Flow::try_from(flow).expect("a flow of the agent's"));
        }
        if let Some(summary) = message.summary {
            assert_eq!(stream.message().await?, None, "the summary is the last");
            return Ok((flows, summary));
        }
    }
    panic!("a stream that ended without a summary")
}
