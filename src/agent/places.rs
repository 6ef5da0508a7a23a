//! The places for connections: so many in all, so many for each peer, and some that the unix
//! socket has for itself, so that strangers on the network cannot lock out who is on the host.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of the places, the part and the most that TCP connections leave to the unix socket.
const LOCAL_PART: usize = 8;
const LOCAL_MOST: usize = 16;

/// Of an IPv6 address, the part that names a network: any host of it has all the rest.
const NETWORK: u32 = 64;

/// Where a connection comes from, as far as it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// A host: its IPv4 address, or the first address of its IPv6 network.
    Host(IpAddr),
    /// A user of this host.
    User(u32),
}

impl Origin {
    /// Of a connection from this address.
    pub(super) fn of(address: IpAddr) -> Self {
        Self::Host(match address.to_canonical() {
            // Loopback is a host, and ::/64 no network.
            IpAddr::V6(address) if !address.is_loopback() => {
                let mask = u128::MAX << (Ipv6Addr::BITS - NETWORK);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
            address => address,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(IpAddr::V6(address)) if !address.is_loopback() => {
                write!(f, "{address}/{NETWORK}")
            }
            Self::Host(address) => address.fmt(f),
            Self::User(uid) => write!(f, "uid {uid}"),
        }
    }
}

/// All places.
#[derive(Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    /// Those that connections over TCP can have.
    remote: Arc<Semaphore>,
    peers: Peers,
    per_peer: usize,
}

/// How many connections each peer has; only those that have one.
type Peers = Arc<Mutex<HashMap<Origin, usize>>>;

impl Places {
    /// So many; `local` says whether there are unix sockets.
    pub(super) fn new(connections: usize, per_peer: usize, local: bool) -> Self {
        let kept = match local {
            true => (connections / LOCAL_PART).min(LOCAL_MOST),
            false => 0,
        };
        Self {
            all: Arc::new(Semaphore::new(connections)),
            remote: Arc::new(Semaphore::new(connections - kept)),
            peers: Peers::default(),
            per_peer,
        }
    }

    /// Counts a connection of this peer, unless it has too many.
    pub(super) fn claim(&self, origin: Origin) -> Option<Claim> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.entry(origin).or_default();
        if *count >= self.per_peer {
            return None;
        }
        *count += 1;
        Some(Claim {
            origin,
            peers: Arc::clone(&self.peers),
        })
    }

    /// Waits for a place.
    pub(super) async fn take(&self, claim: Claim) -> Option<Place> {
        // In this order: who waits for one of the few must not hold one of all.
        let remote = match claim.origin {
            Origin::Host(_) => Some(Arc::clone(&self.remote).acquire_owned().await.ok()?),
            Origin::User(_) => None,
        };
        let any = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place {
            _claim: claim,
            _remote: remote,
            _any: any,
        })
    }
}

/// One of a peer's connections, counted while this lives.
pub(super) struct Claim {
    origin: Origin,
    peers: Peers,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = peers.entry(self.origin) {
            match count.get() {
                0 | 1 => drop(count.remove()),
                _ => *count.get_mut() -= 1,
            }
        }
    }
}

/// A place; free again when this is dropped.
pub(super) struct Place {
    _claim: Claim,
    _remote: Option<OwnedSemaphorePermit>,
    _any: OwnedSemaphorePermit,
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const HOST: Origin = Origin::Host(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    const USER: Origin = Origin::User(0);

    #[test]
    fn a_peer_has_so_many_and_another_as_many() {
        let places = Places::new(10, 2, false);
        let held: Vec<_> = (0..2).map(|_| places.claim(HOST).unwrap()).collect();
        assert!(places.claim(HOST).is_none());
        assert!(places.claim(USER).is_some());
        drop(held);
        assert!(places.claim(HOST).is_some());
        assert!(places.peers.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer_and_an_address_of_ipv4_another() {
        let places = Places::new(10, 1, false);
        let origin = |text: &str| Origin::of(text.parse().unwrap());
        let _held = places.claim(origin("2001:db8:0:1::1")).unwrap();
        assert!(places.claim(origin("2001:db8:0:1:ffff::2")).is_none());
        let _other = places.claim(origin("2001:db8:0:2::1")).unwrap();
        let _v4 = places.claim(origin("192.0.2.1")).unwrap();
        assert!(places.claim(origin("::ffff:192.0.2.1")).is_none());
        assert!(places.claim(origin("::ffff:192.0.2.2")).is_some());
        for (from, shown) in [
            ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::1", "::1"),
        ] {
            assert_eq!(origin(from).to_string(), shown);
        }
    }

    #[tokio::test]
    async fn the_network_cannot_have_the_places_of_this_host() {
        let places = Places::new(16, 100, true);
        let take = |origin| {
            let claim = places.claim(origin).unwrap();
            places.take(claim).now_or_never().flatten()
        };
        let mut remote: Vec<_> = std::iter::from_fn(|| take(HOST)).collect();
        assert_eq!(remote.len(), 14);
        let local: Vec<_> = std::iter::from_fn(|| take(USER)).collect();
        assert_eq!(local.len(), 2);
        // And the other way round: a place is a place.
        remote.pop();
        assert!(take(USER).is_some());
    }
}
