//! What the agent is told: flags, a TOML file with the same names, and defaults, resolved to
//! one checked configuration.

#[cfg(test)]
mod documented;
mod limits;
mod listen;
mod rights;
mod settings;

use std::path::PathBuf;
use std::time::Duration;

pub use limits::LimitSettings;
pub use listen::{BadListen, BadSocketMode, Listen, SocketMode};
pub use rights::{Allow, BadAllow, BadBinding, BindingSettings};
pub use settings::{Cli, Settings};

use crate::access::Policy;
use crate::agent::ConnectionLimits;
use crate::api::Limits;
use crate::audit;
use crate::events;
use crate::telemetry::{self, TelemetryError};
use crate::tls;

/// Where the agent listens when nobody says otherwise, and where `ctctl` looks for it.
pub const DEFAULT_SOCKET: &str = "/run/ctfleet/ctagent.sock";

/// The configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; at least one place.
    pub listen: Vec<Listen>,
    /// What TCP listeners speak.
    pub transport: Transport,
    /// The mode of the unix sockets' files.
    pub socket_mode: SocketMode,
    /// Who may do what.
    pub policy: Policy,
    /// Whether other network namespaces are served.
    pub other_namespaces: bool,
    /// Whether rights that are not needed are given up.
    pub sandbox: bool,
    /// How long open calls may take to end when the agent is told to stop.
    pub drain_timeout: Duration,
    /// The log.
    pub log: Log,
    /// Where the audit log goes.
    pub audit: audit::Sink,
    /// The events' ring and socket.
    pub events: events::Config,
    /// What clients may use.
    pub limits: Limits,
    /// What connections may use.
    pub connections: ConnectionLimits,
}

/// What TCP listeners speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Mutual TLS.
    Tls(tls::Settings),
    /// Nothing; every TCP listener is on a loopback address.
    Plaintext,
    /// There is no TCP listener.
    None,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives.
    pub level: String,
    /// Text or JSON.
    pub format: telemetry::Format,
}

/// A configuration that the agent does not start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or has a key or value that the agent does not know.
    #[error("{path}: {source}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A TCP listener would serve anybody who can reach it.
    #[error(
        "--listen {0} needs mutual TLS: give --tls-cert, --tls-key and --tls-ca{hint}",
        hint = if .0.ip().to_canonical().is_loopback() {
            ", or --insecure-plaintext, which is accepted on loopback"
        } else { "" }
    )]
    Unprotected(std::net::SocketAddr),
    /// Plaintext beyond loopback.
    #[error(
        "--insecure-plaintext is accepted on loopback only, and --listen {0} is not: give \
         --tls-cert, --tls-key and --tls-ca instead"
    )]
    PlaintextBeyondLoopback(std::net::SocketAddr),
    /// Both.
    #[error("--insecure-plaintext and --tls-cert contradict each other: leave one out")]
    PlaintextAndTls,
    /// A part of the three files.
    #[error("{0} is missing: TLS needs --tls-cert, --tls-key and --tls-ca together")]
    IncompleteTls(&'static str),
    /// More of TLS, without the three files.
    #[error("--{0} says nothing without --tls-cert, --tls-key and --tls-ca")]
    WithoutTls(&'static str),
    /// One place twice.
    #[error("--listen {0} is given twice")]
    Twice(Listen),
    /// A number that the agent cannot work with.
    #[error("--{name} {value} is out of range: expected {min} to {max}")]
    OutOfRange {
        /// The flag.
        name: &'static str,
        /// What was given.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A binding.
    #[error("bindings[{index}]: {source}")]
    Binding {
        /// Its place in the file, counted from 0.
        index: usize,
        /// What is wrong with it.
        source: BadBinding,
    },
    /// The log level.
    #[error("--log-level: {0}")]
    Log(#[from] TelemetryError),
}

impl Config {
    /// The configuration of these flags and of the file that they name.
    pub fn load(cli: Cli) -> Result<Self, ConfigError> {
        let file = match cli.config {
            None => Settings::default(),
            Some(path) => {
                let text = match std::fs::read_to_string(&path) {
                    Ok(text) => text,
                    Err(source) => return Err(ConfigError::Read { path, source }),
                };
                match toml::from_str(&text) {
                    Ok(settings) => settings,
                    Err(source) => {
                        let source = Box::new(source);
                        return Err(ConfigError::Parse { path, source });
                    }
                }
            }
        };
        Self::resolve(cli.settings.or(file))
    }

    /// Fills in the defaults and checks the whole.
    pub fn resolve(settings: Settings) -> Result<Self, ConfigError> {
        let listen = match settings.listen {
            places if places.is_empty() => vec![Listen::Unix(DEFAULT_SOCKET.into())],
            places => places,
        };
        for (index, place) in listen.iter().enumerate() {
            if listen[..index].contains(place) {
                return Err(ConfigError::Twice(place.clone()));
            }
        }
        let tls = tls_settings(
            [settings.tls_cert, settings.tls_key, settings.tls_ca],
            settings.tls_crl,
            settings.tls_min_version,
        )?;
        let transport = transport(&listen, tls, settings.insecure_plaintext == Some(true))?;
        let policy = rights::policy(settings.allow, settings.bindings)?;
        let log = Log {
            level: settings.log_level.unwrap_or_else(|| "info".to_owned()),
            format: settings.log_format.unwrap_or_default(),
        };
        telemetry::filter(&log.level)?;
        let events = events::Config::default();
        let seconds = Number("drain-timeout", 1, 3600).of(settings.drain_timeout, 10)?;
        let ring = Number("event-ring", 1 << 10, 1 << 24)
            .of(settings.event_ring, events.ring_events as u64)?;
        let buffer = Number("receive-buffer", 1 << 16, 1 << 30)
            .of(settings.receive_buffer, events.receive_buffer as u64)?;
        let grace =
            Number("event-grace", 0, 3600).of(settings.event_grace, events.grace.as_secs())?;
        let watchers = Number("max-watchers", 1, 4096)
            .of(settings.limits.max_watchers, events.max_watchers as u64)?;
        Ok(Self {
            listen,
            transport,
            socket_mode: settings.socket_mode.unwrap_or_default(),
            policy,
            other_namespaces: settings.other_namespaces == Some(true),
            sandbox: settings.sandbox != Some(false),
            drain_timeout: Duration::from_secs(seconds as u64),
            log,
            audit: settings.audit_log.unwrap_or_default(),
            events: events::Config {
                ring_events: ring,
                receive_buffer: buffer,
                grace: Duration::from_secs(grace as u64),
                max_watchers: watchers,
            },
            limits: settings.limits.of_calls()?,
            connections: settings.limits.of_connections()?,
        })
    }
}

/// A number's flag, least and most.
struct Number(&'static str, u64, u64);

impl Number {
    fn of(self, given: Option<u64>, default: u64) -> Result<usize, ConfigError> {
        let Self(name, min, max) = self;
        let value = given.unwrap_or(default);
        match usize::try_from(value) {
            Ok(number) if (min..=max).contains(&value) => Ok(number),
            _ => Err(ConfigError::OutOfRange {
                name,
                value,
                min,
                max,
            }),
        }
    }
}

fn tls_settings(
    [cert, key, ca]: [Option<PathBuf>; 3],
    crls: Vec<PathBuf>,
    min_version: Option<tls::MinVersion>,
) -> Result<Option<tls::Settings>, ConfigError> {
    if cert.is_none() && key.is_none() && ca.is_none() {
        return match (crls.is_empty(), min_version) {
            (false, _) => Err(ConfigError::WithoutTls("tls-crl")),
            (true, Some(_)) => Err(ConfigError::WithoutTls("tls-min-version")),
            (true, None) => Ok(None),
        };
    }
    let missing = ConfigError::IncompleteTls;
    Ok(Some(tls::Settings {
        files: tls::Files {
            cert: cert.ok_or(missing("--tls-cert"))?,
            key: key.ok_or(missing("--tls-key"))?,
            ca: ca.ok_or(missing("--tls-ca"))?,
            crls,
        },
        min_version: min_version.unwrap_or_default(),
    }))
}

fn transport(
    listen: &[Listen],
    tls: Option<tls::Settings>,
    plaintext: bool,
) -> Result<Transport, ConfigError> {
    let mut tcp = listen
        .iter()
        .filter_map(|place| match place {
            Listen::Tcp(address) => Some(*address),
            Listen::Unix(_) => None,
        })
        .peekable();
    match (tls, plaintext, tcp.peek()) {
        (Some(_), true, _) => Err(ConfigError::PlaintextAndTls),
        (Some(tls), false, _) => Ok(Transport::Tls(tls)),
        (None, _, None) => Ok(Transport::None),
        (None, false, Some(address)) => Err(ConfigError::Unprotected(*address)),
        (None, true, Some(_)) => match tcp.find(|a| !a.ip().to_canonical().is_loopback()) {
            Some(address) => Err(ConfigError::PlaintextBeyondLoopback(address)),
            None => Ok(Transport::Plaintext),
        },
    }
}

#[cfg(test)]
mod tests;
