//! What a connection may use, and how many there may be.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Descriptors that are left for the agent itself: its listeners, the netlink sockets of
/// dumps, changes and watches, the log. Where there are few, half of them.
const RESERVED: u64 = 256;

/// The limits of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one IPv4 address, one /64 of IPv6 or one user of this host.
    pub per_peer: usize,
    /// Calls at once on one connection; without a limit, 100,000 streams take 500 MB.
    pub streams: u32,
    /// Bytes of a call's metadata.
    pub header_size: u32,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a client may take for its first frames, and for a header block that it began.
    pub first_frame: Duration,
    /// How long a connection may be without a call; `None` is for ever.
    pub idle: Option<Duration>,
    /// How long after it was last heard a client is sent a PING.
    pub keepalive_interval: Duration,
    /// How long it may take to answer.
    pub keepalive_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            per_peer: 64,
            streams: 200,
            header_size: 16 << 10,
            handshake: Duration::from_secs(4),
            first_frame: Duration::from_secs(5),
            idle: Some(Duration::from_secs(900)),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(8),
        }
    }
}

impl ConnectionLimits {
    /// How long a client may take nothing of what it is sent: hyper closes a connection whose
    /// PING has no answer, but waits for its last words to be written.
    pub(super) fn write_stall(&self) -> Duration {
        self.keepalive_interval + self.keepalive_timeout
    }

    /// The limits for clients to see: name, value, unit.
    pub(super) fn told(&self) -> [(&'static str, u64, &'static str); 9] {
        let idle = self.idle.unwrap_or_default();
        [
            ("max-connections", self.connections as u64, "1"),
            ("max-connections-per-peer", self.per_peer as u64, "1"),
            ("max-streams", self.streams.into(), "1"),
            ("max-header-size", self.header_size.into(), "By"),
            ("handshake-timeout", self.handshake.as_secs(), "s"),
            ("first-frame-timeout", self.first_frame.as_secs(), "s"),
            ("idle-timeout", idle.as_secs(), "s"),
            ("keepalive-interval", self.keepalive_interval.as_secs(), "s"),
            ("keepalive-timeout", self.keepalive_timeout.as_secs(), "s"),
        ]
    }

    /// Takes all the descriptors that the process may have, and no more connections than go
    /// with them: an agent without a descriptor could neither accept nor answer.
    #[must_use]
    pub(super) fn within_descriptors(self) -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: maximum,
            maximum,
        };
        let most = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => maximum,
            Err(error) => {
                warn!(%error, "cannot raise the limit of descriptors");
                current
            }
        };
        most.map_or(self, |most| self.within(most))
    }

    fn within(self, descriptors: u64) -> Self {
        let room = descriptors - RESERVED.min(descriptors / 2);
        let room = usize::try_from(room).unwrap_or(usize::MAX).max(1);
        if self.connections <= room {
            return self;
        }
        let (connections, per_peer) = (room, self.per_peer.min((room / 2).max(1)));
        warn!(
            descriptors,
            connections,
            per_peer,
            "fewer connections than configured: there are too few descriptors"
        );
        Self {
            connections,
            per_peer,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_descriptors_are_few_connections_get_half_of_them() {
        let limits = ConnectionLimits::default();
        assert_eq!(limits.within(1024), limits);
        let few = limits.within(64);
        assert_eq!((few.connections, few.per_peer), (32, 16));
        assert_eq!(limits.within(400).connections, 200);
        assert_eq!(limits.within(500).connections, 250);
        assert_eq!(limits.within(0).connections, 1);
    }

    #[test]
    fn a_client_that_does_not_answer_is_closed_within_20_s() {
        assert!(ConnectionLimits::default().write_stall() < Duration::from_secs(20));
    }
}
