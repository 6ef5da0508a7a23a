//! The TCP connections that this agent's clients hold: an agent that deleted their entries
//! could cut the hand that steers it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::flow::{Flow, Protocol, Tuple};

/// Both ends of a connection as the agent's socket sees them: own, other.
type Ends = (SocketAddr, SocketAddr);

/// The connections that are open now.
#[derive(Clone, Debug, Default)]
pub struct OwnConnections(Arc<Mutex<HashMap<Ends, usize>>>);

/// One connection; it counts until this is dropped.
#[derive(Debug)]
pub struct OwnConnection {
    all: OwnConnections,
    ends: Ends,
}

impl OwnConnections {
    /// Nothing panics under this lock; should it ever, the counts are still whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<Ends, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a connection from `remote` to the agent's `local`.
    pub fn register(&self, local: SocketAddr, remote: SocketAddr) -> OwnConnection {
        let ends = (plain(local), plain(remote));
        *self.lock().entry(ends).or_default() += 1;
        OwnConnection {
            all: self.clone(),
            ends,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The ends of all of them.
    pub fn ends(&self) -> HashSet<SocketAddr> {
        let open = self.lock();
        open.keys().flat_map(|&(own, other)| [own, other]).collect()
    }

    /// Whether a flow of the agent's namespace carries one of the connections. The reply
    /// direction is what the socket sees, whatever was translated before; for a connection
    /// that was open when tracking began, the original direction may begin at the agent.
    pub fn carries(&self, flow: &Flow) -> bool {
        if flow.orig.protocol != Protocol::TCP {
            return false;
        }
        let open = self.lock();
        [&flow.reply, &flow.orig]
            .into_iter()
            .filter_map(ends)
            .any(|ends| open.contains_key(&ends))
    }
}

impl Drop for OwnConnection {
    fn drop(&mut self) {
        let mut open = self.all.lock();
        if let Some(count) = open.get_mut(&self.ends) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.ends);
            }
        }
    }
}

/// Whether a flow with this tuple could carry a connection with one of these ends: no more than
/// a hint of which entries are worth a look. Whatever was translated on the way here, the end
/// that was not is in both of its tuples.
pub(super) fn may_carry(all: &HashSet<SocketAddr>, tuple: &Tuple) -> bool {
    tuple.protocol == Protocol::TCP
        && ends(tuple).is_some_and(|(src, dst)| all.contains(&src) || all.contains(&dst))
}

fn ends(tuple: &Tuple) -> Option<Ends> {
    let (src, dst) = tuple.ports()?;
    Some((
        SocketAddr::new(tuple.src, src),
        SocketAddr::new(tuple.dst, dst),
    ))
}

/// Without scope and flow label, and an IPv4 address as such: conntrack knows neither.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::L4;

    fn tuple(src: &str, dst: &str) -> Tuple {
        let (src, dst): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
        Tuple {
            src: src.ip(),
            dst: dst.ip(),
            protocol: Protocol::TCP,
            l4: L4::Ports {
                src: src.port(),
                dst: dst.port(),
            },
        }
    }

    #[test]
    fn a_connection_counts_until_it_is_dropped() {
        let own = OwnConnections::default();
        // A dual-stack listener reports IPv4 so.
        let local = "[::ffff:192.0.2.1]:7443".parse().unwrap();
        let remote = "[::ffff:192.0.2.9]:40000".parse().unwrap();
        let connection = own.register(local, remote);

        let inbound = tuple("192.0.2.9:40000", "192.0.2.1:7443");
        assert!(own.carries(&Flow::new(inbound, inbound.inverse())));
        // Redirected here from another address.
        let redirected = tuple("192.0.2.9:40000", "198.51.100.1:443");
        assert!(own.carries(&Flow::new(redirected, inbound.inverse())));
        // Picked up in the middle, from a packet of the agent.
        assert!(own.carries(&Flow::new(inbound.inverse(), inbound)));

        let ends = own.ends();
        let from_elsewhere = tuple("192.0.2.9:40000", "198.51.100.1:443");
        for tuple in [inbound, inbound.inverse(), from_elsewhere] {
            assert!(may_carry(&ends, &tuple), "{tuple:?}");
        }
        assert!(!may_carry(
            &ends,
            &tuple("192.0.2.9:40001", "192.0.2.1:443")
        ));

        let other = tuple("192.0.2.9:40001", "192.0.2.1:7443");
        assert!(!own.carries(&Flow::new(other, other.inverse())));
        let udp = Tuple {
            protocol: Protocol::UDP,
            ..inbound
        };
        assert!(!own.carries(&Flow::new(udp, udp.inverse())));
        assert!(!may_carry(&ends, &udp));

        drop(connection);
        assert!(own.is_empty());
        assert!(!own.carries(&Flow::new(inbound, inbound.inverse())));
    }
}
