//! The limits, as flags and the file's `[limits]` say them, and what they are then.

use std::time::Duration;

use super::{ConfigError, Number};
use crate::agent::ConnectionLimits;
use crate::api::{Bounds, Limits};

/// What flags and the file's `[limits]` can say.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LimitSettings {
    /// Streams of the table at once [default: 8].
    #[arg(long, value_name = "N")]
    pub max_dumps: Option<u64>,
    /// Counts, searches and changes at once [default: 8].
    #[arg(long, value_name = "N")]
    pub max_changes: Option<u64>,
    /// Calls of one caller in a second [default: 1000].
    #[arg(long, value_name = "N")]
    pub max_requests: Option<u64>,
    /// End a stream of the table whose client reads nothing, or too little, for so long [default: 900].
    #[arg(long, value_name = "SECONDS")]
    pub stall_timeout: Option<u64>,
    /// Watches at once [default: 256].
    #[arg(long, value_name = "N")]
    pub max_watchers: Option<u64>,
    /// The largest message that is read [default: 4194304].
    #[arg(long, value_name = "BYTES")]
    pub max_message_size: Option<u64>,
    /// Keys, ids or expectations in one request [default: 100000].
    #[arg(long, value_name = "N")]
    pub max_items: Option<u64>,
    /// Conditions of a filter [default: 4096].
    #[arg(long, value_name = "N")]
    pub max_filter_conditions: Option<u64>,
    /// Levels of a filter [default: 32].
    #[arg(long, value_name = "N")]
    pub max_filter_depth: Option<u64>,
    /// Connections at once [default: 256].
    #[arg(long, value_name = "N")]
    pub max_connections: Option<u64>,
    /// Connections at once of one address or local user [default: 64].
    #[arg(long, value_name = "N")]
    pub max_connections_per_peer: Option<u64>,
    /// Calls at once on one connection [default: 200].
    #[arg(long, value_name = "N")]
    pub max_streams: Option<u64>,
    /// Metadata of a call [default: 16384].
    #[arg(long, value_name = "BYTES")]
    pub max_header_size: Option<u64>,
    /// A TLS handshake may take so long [default: 4].
    #[arg(long, value_name = "SECONDS")]
    pub handshake_timeout: Option<u64>,
    /// A client's first frames, and the rest of a header, may take so long [default: 5].
    #[arg(long, value_name = "SECONDS")]
    pub first_frame_timeout: Option<u64>,
    /// Close a connection without a call after so long; 0 is never [default: 900].
    #[arg(long, value_name = "SECONDS")]
    pub idle_timeout: Option<u64>,
    /// Send a PING to a client that was not heard for so long [default: 10].
    #[arg(long, value_name = "SECONDS")]
    pub keepalive_interval: Option<u64>,
    /// Close a connection whose PING is not answered within so long [default: 8].
    #[arg(long, value_name = "SECONDS")]
    pub keepalive_timeout: Option<u64>,
}

impl LimitSettings {
    /// These, and the others where these say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            max_dumps: self.max_dumps.or(other.max_dumps),
            max_changes: self.max_changes.or(other.max_changes),
            max_requests: self.max_requests.or(other.max_requests),
            stall_timeout: self.stall_timeout.or(other.stall_timeout),
            max_watchers: self.max_watchers.or(other.max_watchers),
            max_message_size: self.max_message_size.or(other.max_message_size),
            max_items: self.max_items.or(other.max_items),
            max_filter_conditions: self.max_filter_conditions.or(other.max_filter_conditions),
            max_filter_depth: self.max_filter_depth.or(other.max_filter_depth),
            max_connections: self.max_connections.or(other.max_connections),
            max_connections_per_peer: self
                .max_connections_per_peer
                .or(other.max_connections_per_peer),
            max_streams: self.max_streams.or(other.max_streams),
            max_header_size: self.max_header_size.or(other.max_header_size),
            handshake_timeout: self.handshake_timeout.or(other.handshake_timeout),
            first_frame_timeout: self.first_frame_timeout.or(other.first_frame_timeout),
            idle_timeout: self.idle_timeout.or(other.idle_timeout),
            keepalive_interval: self.keepalive_interval.or(other.keepalive_interval),
            keepalive_timeout: self.keepalive_timeout.or(other.keepalive_timeout),
        }
    }

    /// What one call may use.
    pub(super) fn of_calls(&self) -> Result<Limits, ConfigError> {
        let default = Limits::default();
        let dumps = Number("max-dumps", 1, 256).of(self.max_dumps, default.dumps as u64)?;
        let changes = Number("max-changes", 1, 256).of(self.max_changes, default.changes as u64)?;
        let requests = Number("max-requests", 1, 1 << 20);
        let stall_timeout = Number("stall-timeout", 1, 86_400);
        let message_size = Number("max-message-size", 1 << 12, 1 << 28);
        Ok(Limits {
            dumps,
            changes,
            requests: requests.of_u32(self.max_requests, default.requests)?,
            stall_timeout: stall_timeout.seconds(self.stall_timeout, default.stall_timeout)?,
            message_size: message_size.of(self.max_message_size, default.message_size as u64)?,
            bounds: self.bounds()?,
        })
    }

    /// What a request may hold: the defaults are the most.
    fn bounds(&self) -> Result<Bounds, ConfigError> {
        let most = Bounds::default();
        let of = |name, given, most| Number(name, 1, most).of(given, most);
        Ok(Bounds {
            items: of("max-items", self.max_items, most.items as u64)?,
            filter_conditions: of(
                "max-filter-conditions",
                self.max_filter_conditions,
                most.filter_conditions as u64,
            )?,
            filter_depth: of(
                "max-filter-depth",
                self.max_filter_depth,
                most.filter_depth as u64,
            )?,
        })
    }

    /// What connections may use.
    pub(super) fn of_connections(&self) -> Result<ConnectionLimits, ConfigError> {
        let default = ConnectionLimits::default();
        let connections = Number("max-connections", 1, 1 << 16);
        let per_peer = Number("max-connections-per-peer", 1, 1 << 16);
        let streams = Number("max-streams", 1, 10_000);
        let header_size = Number("max-header-size", 1 << 10, 1 << 20);
        let wait = |name, given, default| Number(name, 1, 3600).seconds(given, default);
        let idle = Number("idle-timeout", 0, 1 << 24)
            .seconds(self.idle_timeout, default.idle.unwrap_or_default())?;
        Ok(ConnectionLimits {
            connections: connections.of(self.max_connections, default.connections as u64)?,
            per_peer: per_peer.of(self.max_connections_per_peer, default.per_peer as u64)?,
            streams: streams.of_u32(self.max_streams, default.streams)?,
            header_size: header_size.of_u32(self.max_header_size, default.header_size)?,
            handshake: wait(
                "handshake-timeout",
                self.handshake_timeout,
                default.handshake,
            )?,
            first_frame: wait(
                "first-frame-timeout",
                self.first_frame_timeout,
                default.first_frame,
            )?,
            idle: (!idle.is_zero()).then_some(idle),
            keepalive_interval: wait(
                "keepalive-interval",
                self.keepalive_interval,
                default.keepalive_interval,
            )?,
            keepalive_timeout: wait(
                "keepalive-timeout",
                self.keepalive_timeout,
                default.keepalive_timeout,
            )?,
        })
    }
}

impl Number {
    fn of_u32(self, given: Option<u64>, default: u32) -> Result<u32, ConfigError> {
        let number = self.of(given, default.into())?;
        // No range goes beyond it.
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn seconds(self, given: Option<u64>, default: Duration) -> Result<Duration, ConfigError> {
        let number = self.of(given, default.as_secs())?;
        Ok(Duration::from_secs(number as u64))
    }
}
