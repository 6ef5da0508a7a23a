//! The accept loops: one a listener, all into one stream of connections. They wait when the
//! process is out of descriptors instead of spinning, and no handshake holds up another.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConnection;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use super::bind::Listener;
use super::connection::{Connection, Held, Stream};
use super::limits::ConnectionLimits;
use super::parting::Parting;
use super::peer_groups::peer_groups;
use super::places::{self, Origin, Places};
use super::seldom::Seldom;
use crate::access::{BadCertificate, Identity, Peer, Place};
use crate::api::OwnConnections;
use crate::lifecycle::Watch;
use crate::tls;

/// The first and the longest wait when there is no descriptor for a connection.
const BACK_OFF: Duration = Duration::from_millis(50);
const LONGEST_BACK_OFF: Duration = Duration::from_millis(400);

/// What TCP listeners speak.
#[derive(Clone)]
pub(super) enum Security {
    Plaintext,
    Tls(tls::Live),
}

/// Connections, as tonic takes them.
pub(super) type Incoming = ReceiverStream<io::Result<Connection>>;

/// Accepts on all of them until the drain.
pub(super) fn accept(
    listeners: Vec<Listener>,
    security: Security,
    limits: ConnectionLimits,
    own: &OwnConnections,
    drain: &Watch,
) -> Incoming {
    let (accepted, incoming) = mpsc::channel(1);
    let local = listeners
        .iter()
        .any(|listener| matches!(listener, Listener::Unix(..)));
    let door = Door {
        security,
        limits,
        places: Places::new(limits.connections, limits.per_peer, local),
        own: own.clone(),
        refused: Arc::new(Seldom::new()),
        accepted,
    };
    for listener in listeners {
        let door = door.clone();
        let drain = drain.clone();
        tokio::spawn(async move {
            let serve = async {
                match &listener {
                    Listener::Tcp(listener) => door.serve(listener).await,
                    // Its file is removed when the drain begins: who comes now finds no agent.
                    Listener::Unix(listener, _file) => door.serve_unix(listener).await,
                }
            };
            tokio::select! {
                () = drain.started() => {}
                () = serve => {}
            }
        });
    }
    ReceiverStream::new(incoming)
}

/// What to do about an error of accept(2).
struct BackOff(Duration);

impl BackOff {
    fn new() -> Self {
        Self(BACK_OFF)
    }

    fn reset(&mut self) {
        self.0 = BACK_OFF;
    }

    async fn wait(&mut self, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                warn!(%error, "cannot accept connections; waiting");
                sleep(self.0).await;
                self.0 = (self.0 * 2).min(LONGEST_BACK_OFF);
            }
            // That one connection: accept(2) tells errors of the network, too.
            _ => debug!(%error, "a connection was lost before it was accepted"),
        }
    }
}

/// A process of this host, as the kernel tells who it is.
fn process(stream: &UnixStream) -> io::Result<(u32, Peer)> {
    let credentials = stream.peer_cred()?;
    let (uid, gid) = (credentials.uid(), credentials.gid());
    let groups = peer_groups(stream)?;
    let peer = Peer {
        identity: Arc::new(Identity::of_process(uid, gid, &groups)),
        place: Place::Unix { uid },
    };
    Ok((uid, peer))
}

/// Who holds the certificate of a connection.
fn holder(connection: &ServerConnection) -> Result<Identity, BadCertificate> {
    match connection.peer_certificates() {
        Some([certificate, ..]) => Identity::of_certificate(certificate),
        // The handshake demands one.
        _ => Err(BadCertificate::Unreadable("there is none".to_owned())),
    }
}

/// How connections come in.
#[derive(Clone)]
struct Door {
    security: Security,
    limits: ConnectionLimits,
    places: Places,
    own: OwnConnections,
    /// Of those that did not come in, not everyone is a line in the log.
    refused: Arc<Seldom>,
    accepted: mpsc::Sender<io::Result<Connection>>,
}

impl Door {
    async fn serve(&self, listener: &TcpListener) {
        let mut back_off = BackOff::new();
        while !self.accepted.is_closed() {
            let (stream, remote) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    back_off.wait(&error).await;
                    continue;
                }
            };
            back_off.reset();
            let origin = Origin::of(remote.ip());
            let Some(place) = self.place(origin).await else {
                continue;
            };
            let door = self.clone();
            tokio::spawn(async move { door.let_in(stream, remote, place).await });
        }
    }

    async fn serve_unix(&self, listener: &UnixListener) {
        let mut back_off = BackOff::new();
        while !self.accepted.is_closed() {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    back_off.wait(&error).await;
                    continue;
                }
            };
            back_off.reset();
            let (uid, peer) = match process(&stream) {
                Ok(process) => process,
                Err(error) => {
                    debug!(%error, "a connection without credentials");
                    continue;
                }
            };
            let Some(place) = self.place(Origin::User(uid)).await else {
                continue;
            };
            debug!(%peer, "connected");
            let held = Held {
                _place: place,
                _own: None,
            };
            let connection = Connection::new(Stream::Unix(stream), peer, self.limits, Some(held));
            if self.accepted.send(Ok(connection)).await.is_err() {
                return;
            }
        }
    }

    /// A place for who comes from there. When all are taken this waits, and the kernel's queue
    /// holds those who come behind; a peer that has too many is sent away at once.
    async fn place(&self, origin: Origin) -> Option<places::Place> {
        match self.places.claim(origin) {
            Some(claim) => self.places.take(claim).await,
            None => {
                if self.refused.is_due() {
                    let most = self.limits.per_peer;
                    warn!(peer = %origin, most, "too many connections of one peer");
                }
                None
            }
        }
    }

    async fn let_in(self, stream: TcpStream, remote: SocketAddr, place: places::Place) {
        let peer = Place::Tcp(remote);
        let prepared = stream.set_nodelay(true).and_then(|()| stream.local_addr());
        let local = match prepared {
            Ok(local) => local,
            Err(error) => {
                debug!(%peer, %error, "a connection was lost at once");
                return;
            }
        };
        let held = Held {
            _place: place,
            _own: Some(self.own.register(local, remote)),
        };
        let (stream, identity) = match self.security {
            Security::Plaintext => (Stream::Tcp(stream), Identity::anonymous()),
            Security::Tls(live) => {
                let handshake = TlsAcceptor::from(live.current())
                    .accept(stream)
                    .into_fallible();
                match timeout(self.limits.handshake, handshake).await {
                    Ok(Ok(stream)) => match holder(stream.get_ref().1) {
                        Ok(identity) => (Stream::Tls(Box::new(stream)), identity),
                        Err(error) => {
                            if self.refused.is_due() {
                                warn!(%peer, %error, "a certificate without an identity");
                            }
                            return;
                        }
                    },
                    Ok(Err((error, stream))) => {
                        if self.refused.is_due() {
                            let error = tls::refusal(&error);
                            warn!(%peer, error, "TLS handshake failed");
                        }
                        part(stream).await;
                        return;
                    }
                    Err(_) => {
                        if self.refused.is_due() {
                            warn!(%peer, "TLS handshake not finished in time");
                        }
                        return;
                    }
                }
            }
        };
        let peer = Peer {
            identity: Arc::new(identity),
            place: peer,
        };
        debug!(%peer, "connected");
        let connection = Connection::new(stream, peer, self.limits, Some(held));
        // The server is gone: so is the connection.
        let _ = self.accepted.send(Ok(connection)).await;
    }
}

/// Closes a connection behind its last words: they say what is wrong with a certificate.
async fn part(mut stream: TcpStream) {
    let mut parting = Parting::new();
    if stream.shutdown().await.is_ok() {
        poll_fn(|cx| parting.poll(cx, Pin::new(&mut stream))).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::agent::bind::Bound;
    use crate::agent::config::{Listen, SocketMode};
    use crate::lifecycle;

    fn listener() -> (Listener, SocketAddr) {
        let place = Listen::Tcp("127.0.0.1:0".parse().unwrap());
        let bound = Bound::at(&place, SocketMode::default()).unwrap();
        let listener = bound.listen().unwrap();
        let Listener::Tcp(tcp) = &listener else {
            panic!("TCP")
        };
        let address = tcp.local_addr().unwrap();
        (listener, address)
    }

    fn limits(connections: usize) -> ConnectionLimits {
        ConnectionLimits {
            connections,
            ..ConnectionLimits::default()
        }
    }

    fn tls() -> Security {
        let key = rcgen::generate_simple_self_signed(["agent".to_owned()]).unwrap();
        let directory = tempfile::TempDir::new().unwrap();
        let file = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let files = tls::Files {
            cert: file("cert", key.cert.pem()),
            key: file("key", key.signing_key.serialize_pem()),
            ca: file("ca", key.cert.pem()),
            crls: Vec::new(),
        };
        let min_version = tls::MinVersion::default();
        let settings = tls::Settings { files, min_version };
        Security::Tls(tls::Live::load(settings).unwrap())
    }

    #[tokio::test]
    async fn a_connection_is_known_as_the_agent_s_own_until_it_ends() {
        let (_trigger, drain) = lifecycle::drain();
        let own = OwnConnections::default();
        let (listener, address) = listener();
        let mut incoming = accept(vec![listener], Security::Plaintext, limits(1), &own, &drain);
        let _client = TcpStream::connect(address).await.unwrap();
        let connection = incoming.next().await.unwrap().unwrap();
        assert!(!own.is_empty());
        drop(connection);
        assert!(own.is_empty());
    }

    /// The clock goes on by itself while everybody waits.
    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_again_when_its_connection_ends() {
        let (_trigger, drain) = lifecycle::drain();
        let (listener, address) = listener();
        let own = OwnConnections::default();
        let mut incoming = accept(vec![listener], Security::Plaintext, limits(1), &own, &drain);
        let _first = TcpStream::connect(address).await.unwrap();
        let connection = incoming.next().await.unwrap().unwrap();
        // The kernel's queue holds it.
        let _second = TcpStream::connect(address).await.unwrap();
        let waited = timeout(Duration::from_secs(1), incoming.next()).await;
        assert!(waited.is_err());
        drop(connection);
        incoming.next().await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_handshake_is_ended_and_holds_up_nobody() {
        let (_trigger, drain) = lifecycle::drain();
        let (listener, address) = listener();
        let own = OwnConnections::default();
        let _incoming = accept(vec![listener], tls(), limits(2), &own, &drain);
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut other = TcpStream::connect(address).await.unwrap();
        for client in [&mut silent, &mut other] {
            assert_eq!(client.read(&mut [0; 9]).await.unwrap_or(0), 0);
        }
        assert!(own.is_empty());
    }
}
