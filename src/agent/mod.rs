//! The agent: build, run, drain.

mod accept;
mod bind;
mod calls;
pub mod config;
mod confine;
mod connection;
mod frames;
mod limits;
mod parting;
mod peer_groups;
mod places;
mod recent;
mod reload;
mod seldom;
mod server;
mod unsent;

use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

pub use frames::{Flood, Frames};
pub use limits::ConnectionLimits;

use crate::api::{self, Capability, Foundation, OwnConnections};
use crate::audit::{self, AuditError};
use crate::ctnetlink;
use crate::events::Hubs;
use crate::lifecycle::{self, Drained};
use crate::sandbox::{self, Sandbox};
use crate::telemetry;
use crate::tls::{self, TlsError};
use accept::Security;
use bind::{BindError, Bound};
use config::{Cli, Config, ConfigError, Transport};
use recent::Recent;
use reload::Reload;
use server::Server;

/// Threads for work that blocks and is soon done, such as sockets in other namespaces. Dumps and
/// changes have one each beside them: a dump keeps its own for as long as its client reads.
const SHORT_WORK: usize = 64;

/// Why the agent does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The kernel does not let this process do anything.
    #[error(
        "CAP_NET_ADMIN is missing: without it the kernel refuses every conntrack request. Run \
         ctagent as root, give its systemd unit AmbientCapabilities=CAP_NET_ADMIN, or try it \
         in a namespace of your own: unshare -Urn ctagent"
    )]
    NoRights,
    /// The kernel does not answer as it should.
    #[error(
        "the kernel's conntrack does not answer: {0}; is the module nf_conntrack_netlink there?"
    )]
    Kernel(ctnetlink::Error),
    /// A listener cannot be set up.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The audit log cannot be opened.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// There are no threads.
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
    /// Signals cannot be heard.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// The server ended by itself.
    #[error("the server ended: {0}")]
    Server(String),
}

/// The whole program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::load(cli.clone()) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    let log = match telemetry::init(&config.log.level, config.log.format) {
        Ok(log) => log,
        Err(error) => return refuse(&ConfigError::from(error)),
    };
    let code = match start(config, cli, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where the log goes to a collector, the reason must be in it.
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    };
    log.finish();
    code
}

/// Does what takes rights or one thread, then runs the agent.
fn start(mut config: Config, cli: Cli, log: &telemetry::Log) -> Result<(), AgentError> {
    info!(version = env!("CARGO_PKG_VERSION"), ?config, "starting");
    if !sandbox::may_administer_network() {
        return Err(AgentError::NoRights);
    }
    let places = config
        .listen
        .iter()
        .map(|place| Bound::at(place, config.socket_mode))
        .collect::<Result<Vec<_>, _>>()?;
    config.connections = config.connections.within_descriptors();
    // While the limits of the control group can be read, which decide how many threads work.
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    // There is one thread, whose children inherit what it is left with.
    let sandbox = confine::confine(&config, cli.config.as_deref());
    log.start().map_err(AgentError::Runtime)?;
    let blocking = config.limits.dumps + config.limits.changes + SHORT_WORK;
    let runtime = runtime(workers, blocking).map_err(AgentError::Runtime)?;
    let result = runtime.block_on(run(config, cli, places, sandbox));
    // Threads that still wait in the kernel end with the process.
    runtime.shutdown_background();
    result
}

/// A usage error: what is wrong, to whoever started it.
fn refuse(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("ctagent: {error}");
    ExitCode::from(2)
}

fn runtime(workers: usize, blocking: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .max_blocking_threads(blocking)
        .build()
}

/// Runs the agent until it is told to stop.
async fn run(
    config: Config,
    cli: Cli,
    places: Vec<Bound>,
    sandbox: Sandbox,
) -> Result<(), AgentError> {
    let mut signals = Signals::new().map_err(AgentError::Signals)?;
    let connections = config.connections;
    let receive_buffer = config.events.receive_buffer;
    let capabilities = api::probe(receive_buffer).await.map_err(unusable)?;
    for missing in capabilities.iter().filter(|found| !found.available) {
        // What nobody asked for is not missed.
        if missing.name != api::OTHER_NAMESPACES || config.other_namespaces {
            warn!(
                capability = missing.name,
                reason = missing.detail,
                "not available"
            );
        }
    }
    let tls = match &config.transport {
        Transport::Tls(settings) => Some(tls::Live::load(settings.clone())?),
        Transport::Plaintext | Transport::None => None,
    };
    let audit = open_audit(&config.audit)?;
    let listeners = places
        .into_iter()
        .map(Bound::listen)
        .collect::<Result<Vec<_>, _>>()?;
    if matches!(config.transport, Transport::Plaintext) {
        warn!("TCP listeners speak plaintext: every user of this host can use the agent");
    }

    let (trigger, drain) = lifecycle::drain();
    let own = OwnConnections::default();
    let mut other_limits = vec![
        ("max-watchers", config.events.max_watchers as u64, "1"),
        ("event-ring", config.events.ring_events as u64, "1"),
        ("receive-buffer", receive_buffer as u64, "By"),
        ("event-grace", config.events.grace.as_secs(), "s"),
        ("drain-timeout", config.drain_timeout.as_secs(), "s"),
    ];
    other_limits.extend(connections.told());
    let mut standing = vec![in_force(sandbox)];
    standing.extend(tls.iter().cloned().map(certificates));
    let (routes, guard) = api::routes(Foundation {
        limits: config.limits,
        other_limits,
        policy: config.policy,
        events: Hubs::new(config.events, tokio::runtime::Handle::current()),
        own: own.clone(),
        drain: drain.clone(),
        capabilities,
        audit: audit.clone(),
        standing,
    });
    let security = tls.clone().map_or(Security::Plaintext, Security::Tls);
    let incoming = accept::accept(listeners, security, connections, &own, &drain);
    let mut server = Server::start((routes, guard.clone()), incoming, connections, drain).await;
    if let Some(tls) = tls.clone() {
        tokio::spawn(tls.follow());
    }
    let reload = Reload::of(tls, audit.clone(), guard, cli);
    notify(&[sd_notify::NotifyState::Ready]);
    info!("ready");

    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                // Beside: a file that cannot be read for now must not keep it from stopping.
                Asked::Reload => reload.all(),
                Asked::Stop(name) => break info!(signal = name, "stopping"),
            },
            error = server.ended() => return Err(AgentError::Server(error)),
        }
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    let deadline = config.drain_timeout;
    tokio::select! {
        () = stop(trigger, server, deadline) => {}
        name = signals.stop() => warn!(signal = name, "stopping at once"),
    }
    // Nobody waited for the last results.
    let flushed = tokio::task::spawn_blocking(move || audit.flush(audit::PATIENCE));
    if !flushed.await.unwrap_or(false) {
        warn!("the audit log's last lines are not written");
    }
    Ok(())
}

/// Opens the audit log, and says where it has its limits.
fn open_audit(sink: &audit::Sink) -> Result<audit::Log, AuditError> {
    let log = audit::Log::open(sink)?;
    if *sink == audit::Sink::Off {
        warn!("the audit log is off: nothing tells who changed what");
    }
    Ok(log)
}

/// How the certificates stand, for clients to see.
fn certificates(tls: tls::Live) -> api::Standing {
    Box::new(move || {
        let tls::Standing { words, trouble } = tls.standing();
        vec![Capability {
            name: "certificates",
            available: trouble.is_none(),
            detail: match trouble {
                Some(trouble) => format!("{trouble}; in force: {words}"),
                None => words,
            },
        }]
    })
}

/// What is in force of the sandbox, for clients to see. The kernel is asked for every thread,
/// however many ask at once.
fn in_force(sandbox: Sandbox) -> api::Standing {
    let recent = Recent::new();
    Box::new(move || {
        let measures = recent.get(|| sandbox.measures()).into_iter();
        let capability = |sandbox::Measure { name, state }| Capability::of(name, state);
        measures.map(capability).collect()
    })
}

/// Ends every call, and says so when one does not end in time.
async fn stop(trigger: lifecycle::Trigger, server: Server, deadline: Duration) {
    server.not_serving().await;
    let (drained, ()) = tokio::join!(trigger.drain(deadline), server.finish(deadline));
    match drained {
        Drained::Completely => info!("stopped"),
        Drained::Leaving { watchers } => warn!(
            calls = watchers,
            seconds = deadline.as_secs(),
            "stopping although calls have not ended within the drain time-out"
        ),
    }
}

fn unusable(error: ctnetlink::Error) -> AgentError {
    let refused = match &error {
        ctnetlink::Error::Kernel(error) => error.errno == libc::EPERM,
        ctnetlink::Error::Io { source, .. } => {
            source.kind() == std::io::ErrorKind::PermissionDenied
        }
        _ => false,
    };
    if refused {
        AgentError::NoRights
    } else {
        AgentError::Kernel(error)
    }
}

/// Tells systemd, when it asked to be told.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot notify the service manager");
    }
}

/// The signals that the agent hears.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// What a signal asks for.
enum Asked {
    /// To stop; the signal's name.
    Stop(&'static str),
    /// To read again what may have changed.
    Reload,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// What the next one asks for.
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Asked::Stop("SIGINT"),
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }

    /// The name of the next one that asks to stop.
    async fn stop(&mut self) -> &'static str {
        loop {
            if let Asked::Stop(name) = self.next().await {
                return name;
            }
        }
    }
}
