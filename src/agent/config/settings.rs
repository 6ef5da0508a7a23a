//! Flags and the file's keys, as they are given: every one optional, the same names.

use std::path::PathBuf;

use super::{Allow, BindingSettings, LimitSettings, Listen, SocketMode};
use crate::audit::Sink;
use crate::telemetry::Format;
use crate::tls::MinVersion;

/// The agent of a firewall host: serves its connection tracking over gRPC.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "ctagent",
    version,
    after_help = "Without any flag it listens on unix:/run/ctfleet/ctagent.sock, for root alone.\n\
                  The file of --config is TOML: every other flag without its dashes is a key, the \
                  limits in a table [limits]. A flag goes before the file."
)]
pub struct Cli {
    /// Read settings from this TOML file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Everything else.
    #[command(flatten)]
    pub settings: Settings,
}

/// What flags and the file can say.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Settings {
    /// Listen here; can be given several times. TCP needs TLS [default: unix:/run/ctfleet/ctagent.sock].
    #[arg(long, value_name = "unix:PATH|IP:PORT")]
    pub listen: Vec<Listen>,
    /// The agent's certificate chain, in PEM.
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// The authorities of clients' certificates, in PEM.
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Certificates that the authorities revoked, in PEM; can be given several times.
    #[arg(long, value_name = "FILE")]
    pub tls_crl: Vec<PathBuf>,
    /// The oldest TLS that is spoken: 1.2 or 1.3 [default: 1.3].
    #[arg(long, value_name = "VERSION")]
    pub tls_min_version: Option<MinVersion>,
    /// Serve TCP without TLS; accepted on loopback only.
    #[arg(long, num_args = 0, default_missing_value = "true")]
    pub insecure_plaintext: Option<bool>,
    /// Give a role to a subject, such as admin=cn:alice or reader=uid:1000; several times.
    #[arg(long, value_name = "ROLE=SUBJECT")]
    pub allow: Vec<Allow>,
    /// The file's `[[bindings]]`: roles with a scope or namespaces.
    #[arg(skip)]
    pub bindings: Vec<BindingSettings>,
    /// The mode of a unix socket's file, in octal [default: 0600].
    #[arg(long, value_name = "MODE")]
    pub socket_mode: Option<SocketMode>,
    /// Serve other network namespaces, too, which takes CAP_SYS_ADMIN.
    #[arg(long, num_args = 0, default_missing_value = "true")]
    pub other_namespaces: Option<bool>,
    /// Give up every right that is not needed, before anybody is served [default: true].
    #[arg(long, value_name = "true|false")]
    pub sandbox: Option<bool>,
    /// When told to stop, give open calls so long to end [default: 10].
    #[arg(long, value_name = "SECONDS")]
    pub drain_timeout: Option<u64>,
    /// error, warn, info, debug, trace, or directives like info,ctfleet::events=debug [default: info].
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How a line of the log looks [default: text].
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<Format>,
    /// Where the audit log goes [default: stderr].
    #[arg(long, value_name = "stderr|journal|file:/PATH|off")]
    pub audit_log: Option<Sink>,
    /// Events that the agent keeps for slow watchers [default: 65536].
    #[arg(long, value_name = "EVENTS")]
    pub event_ring: Option<u64>,
    /// Receive buffer of the kernel's events [default: 8388608].
    #[arg(long, value_name = "BYTES")]
    pub receive_buffer: Option<u64>,
    /// Keep listening so long for watchers that reconnect [default: 30].
    #[arg(long, value_name = "SECONDS")]
    pub event_grace: Option<u64>,
    /// What clients may use.
    #[command(flatten)]
    pub limits: LimitSettings,
}

impl Settings {
    /// These settings, and the others where these say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            listen: if self.listen.is_empty() {
                other.listen
            } else {
                self.listen
            },
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            tls_ca: self.tls_ca.or(other.tls_ca),
            tls_crl: if self.tls_crl.is_empty() {
                other.tls_crl
            } else {
                self.tls_crl
            },
            tls_min_version: self.tls_min_version.or(other.tls_min_version),
            insecure_plaintext: self.insecure_plaintext.or(other.insecure_plaintext),
            allow: if self.allow.is_empty() {
                other.allow
            } else {
                self.allow
            },
            bindings: if self.bindings.is_empty() {
                other.bindings
            } else {
                self.bindings
            },
            socket_mode: self.socket_mode.or(other.socket_mode),
            other_namespaces: self.other_namespaces.or(other.other_namespaces),
            sandbox: self.sandbox.or(other.sandbox),
            drain_timeout: self.drain_timeout.or(other.drain_timeout),
            log_level: self.log_level.or(other.log_level),
            log_format: self.log_format.or(other.log_format),
            audit_log: self.audit_log.or(other.audit_log),
            event_ring: self.event_ring.or(other.event_ring),
            receive_buffer: self.receive_buffer.or(other.receive_buffer),
            event_grace: self.event_grace.or(other.event_grace),
            limits: self.limits.or(other.limits),
        }
    }
}
