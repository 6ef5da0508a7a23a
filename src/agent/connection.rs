//! One accepted connection, whatever it came over: closed when its client is silent where it
//! has to speak, floods, does not read, or has had no call for long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use tracing::debug;

use super::calls::{Calls, ConnectInfo};
use super::frames::Frames;
use super::limits::ConnectionLimits;
use super::parting::Parting;
use super::places;
use crate::access::Peer;
use crate::api::OwnConnection;

/// What a client sends that will open no more streams: GOAWAY with NO_ERROR (RFC 9113,
/// section 6.8). h2 answers it with its own, which says what the last call was, and closes.
const GOODBYE: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The transport of a connection.
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What is given back, and struck off, when a connection ends.
pub(super) struct Held {
    /// Its place.
    pub(super) _place: places::Place,
    /// Over TCP, what the agent knows its own flows by.
    pub(super) _own: Option<OwnConnection>,
}

/// What a client is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The preface and SETTINGS: hyper's keep-alive begins behind them.
    Greeting,
    /// The rest of a header block.
    Block,
    /// A call.
    Call,
    /// It was told goodbye.
    Leaving,
}

/// A connection that is served.
pub(super) struct Connection {
    stream: Stream,
    peer: Peer,
    limits: ConnectionLimits,
    frames: Frames,
    calls: Calls,
    phase: Phase,
    /// Until the client has done what it is waited for.
    patience: Pin<Box<Sleep>>,
    /// While the client does not read: until it must have read something.
    stalled: Option<Pin<Box<Sleep>>>,
    /// When the last word is written.
    parting: Option<Parting>,
    _held: Option<Held>,
}

impl Connection {
    /// A connection that begins now.
    pub(super) fn new(
        stream: Stream,
        peer: Peer,
        limits: ConnectionLimits,
        held: Option<Held>,
    ) -> Self {
        Self {
            stream,
            peer,
            limits,
            frames: Frames::default(),
            calls: Calls::new(),
            phase: Phase::Greeting,
            patience: Box::pin(sleep(limits.first_frame)),
            stalled: None,
            parting: None,
            _held: held,
        }
    }

    fn phase(&self) -> Phase {
        if !self.frames.is_greeted() {
            Phase::Greeting
        } else if self.frames.is_in_block() {
            Phase::Block
        } else if self.phase == Phase::Leaving {
            Phase::Leaving
        } else {
            Phase::Call
        }
    }

    /// Nothing is there to read: is that all right?
    fn poll_patience(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let phase = self.phase();
        if phase != self.phase {
            self.phase = phase;
            let limit = match phase {
                Phase::Call => self.limits.idle.unwrap_or_default(),
                _ => self.limits.first_frame,
            };
            self.patience.as_mut().reset(Instant::now() + limit);
        }
        let idle = match (phase, self.limits.idle) {
            (Phase::Call, None) => return Poll::Pending,
            (_, idle) => idle.unwrap_or_default(),
        };
        while self.patience.as_mut().poll(cx).is_ready() {
            let ended = match phase {
                Phase::Greeting => "it sent no HTTP/2 preface and SETTINGS in time",
                Phase::Block => "it did not end a header block in time",
                Phase::Leaving => "it did not leave in time",
                Phase::Call => {
                    let rest = match self.calls.idle_for() {
                        Some(since) => idle.saturating_sub(since),
                        None => idle,
                    };
                    if rest.is_zero() && self.frames.is_between() {
                        return self.part(buf);
                    }
                    // Half a frame: keep-alive is waited for, too.
                    let rest = if rest.is_zero() { idle } else { rest };
                    self.patience.as_mut().reset(Instant::now() + rest);
                    continue;
                }
            };
            return Poll::Ready(Err(self.broken(io::ErrorKind::TimedOut, ended)));
        }
        Poll::Pending
    }

    /// Makes h2 believe that the client said goodbye, so that it closes with its own.
    fn part(&mut self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() < GOODBYE.len() {
            return Poll::Ready(Err(self.broken(io::ErrorKind::TimedOut, "it is idle")));
        }
        debug!(peer = %self.peer.place, "closing a connection without calls");
        buf.put_slice(&GOODBYE);
        self.phase = Phase::Leaving;
        let deadline = Instant::now() + self.limits.first_frame;
        self.patience.as_mut().reset(deadline);
        Poll::Ready(Ok(()))
    }

    /// Whatever is written must be read after some time.
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limits.write_stall();
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        match stalled.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let why = "it reads nothing of what it is sent";
                Poll::Ready(Err(self.broken(io::ErrorKind::TimedOut, why)))
            }
        }
    }

    fn broken(&self, kind: io::ErrorKind, why: &str) -> io::Error {
        debug!(peer = %self.peer.place, why, "a connection is cut");
        io::Error::new(kind, why)
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectInfo;

    fn connect_info(&self) -> ConnectInfo {
        ConnectInfo {
            peer: self.peer.clone(),
            calls: self.calls.clone(),
        }
    }
}

/// Hands a call on to the stream.
macro_rules! to_stream {
    ($self:ident, $method:ident($($argument:expr),*)) => {
        match &mut $self.stream {
            Stream::Unix(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).$method($($argument),*),
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match to_stream!(self, poll_read(cx, buf)) {
            Poll::Pending => self.poll_patience(cx, buf),
            Poll::Ready(Ok(())) => match self.frames.read(&buf.filled()[before..]) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(flood) => {
                    let why = flood.to_string();
                    Poll::Ready(Err(self.broken(io::ErrorKind::InvalidData, &why)))
                }
            },
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = to_stream!(self, poll_write(cx, buf));
        if let Poll::Ready(Ok(count)) = &written {
            self.frames.written(*count);
        }
        self.watch_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = to_stream!(self, poll_write_vectored(cx, bufs));
        if let Poll::Ready(Ok(count)) = &written {
            self.frames.written(*count);
        }
        self.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Unix(stream) => stream.is_write_vectored(),
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = to_stream!(self, poll_flush(cx));
        self.watch_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.parting.is_none() {
            let shut = to_stream!(self, poll_shutdown(cx));
            ready!(self.watch_write(cx, shut))?;
        }
        let this = &mut *self;
        let parting = this.parting.get_or_insert_with(Parting::new);
        let left = match &mut this.stream {
            Stream::Unix(stream) => parting.poll(cx, Pin::new(stream)),
            Stream::Tcp(stream) => parting.poll(cx, Pin::new(stream)),
            // Nobody reads it: it can stay encrypted.
            Stream::Tls(stream) => parting.poll(cx, Pin::new(stream.get_mut().0)),
        };
        left.map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::access::{Identity, Place};

    const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    fn pair() -> (UnixStream, Connection) {
        let (near, far) = UnixStream::pair().unwrap();
        let peer = Peer {
            identity: Arc::new(Identity::of_process(0, 0, &[])),
            place: Place::Unix { uid: 0 },
        };
        let limits = ConnectionLimits::default();
        (near, Connection::new(Stream::Unix(far), peer, limits, None))
    }

    /// Reads on to the end.
    async fn read(connection: &mut Connection) -> (Vec<u8>, io::ErrorKind) {
        let mut all = Vec::new();
        let mut read = [0; 100];
        loop {
            match connection.read(&mut read).await {
                Ok(count) => all.extend(&read[..count]),
                Err(error) => return (all, error.kind()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_left() {
        // One byte is no preface, and a preface without SETTINGS no greeting.
        for said in [1, GREETING.len() - 1] {
            let (mut client, mut connection) = pair();
            client.write_all(&GREETING[..said]).await.unwrap();
            let begun = Instant::now();
            let (heard, error) = read(&mut connection).await;
            assert_eq!((heard.len(), error), (said, io::ErrorKind::TimedOut));
            assert_eq!(begun.elapsed(), connection.limits.first_frame);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_block_has_to_end() {
        let (mut client, mut connection) = pair();
        client.write_all(GREETING).await.unwrap();
        client
            .write_all(&[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82])
            .await
            .unwrap();
        let begun = Instant::now();
        let (_, error) = read(&mut connection).await;
        assert_eq!(error, io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), connection.limits.first_frame);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_without_calls_is_told_goodbye_when_it_has_been_idle() {
        let (mut client, mut connection) = pair();
        let idle = connection.limits.idle.unwrap();
        client.write_all(GREETING).await.unwrap();
        let begun = Instant::now();
        let (heard, _) = read(&mut connection).await;
        assert_eq!(heard, [GREETING, &GOODBYE].concat());
        // And then it has to leave.
        assert_eq!(begun.elapsed(), idle + connection.limits.first_frame);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_lives_as_long_as_it_has_a_call_and_some_time_more() {
        let (mut client, mut connection) = pair();
        let idle = connection.limits.idle.unwrap();
        client.write_all(GREETING).await.unwrap();
        let call = connection.calls.enter();
        let mut heard = [0; 100];
        let count = connection.read(&mut heard).await.unwrap();
        assert_eq!(count, GREETING.len());
        let long = tokio::time::timeout(idle * 3 + idle / 2, connection.read(&mut heard)).await;
        assert!(long.is_err());
        drop(call);
        let begun = Instant::now();
        assert_eq!(connection.read(&mut heard).await.unwrap(), GOODBYE.len());
        assert_eq!(begun.elapsed(), idle);
    }

    #[tokio::test(start_paused = true)]
    async fn idleness_can_be_for_ever() {
        let (mut client, mut connection) = pair();
        connection.limits.idle = None;
        client.write_all(GREETING).await.unwrap();
        let day = Duration::from_secs(86_400);
        let silent = tokio::time::timeout(day, read(&mut connection)).await;
        assert!(silent.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_left() {
        let (mut client, mut connection) = pair();
        let begun = Instant::now();
        let limit = connection.limits.write_stall();
        let writing = async {
            loop {
                if let Err(error) = connection.write_all(&[0; 4096]).await {
                    break error.kind();
                }
            }
        };
        let reading = async {
            // As long as it reads now and then, it is not left.
            for _ in 0..10 {
                sleep(limit / 2).await;
                client.read_exact(&mut [0; 10_000]).await.unwrap();
            }
        };
        let (error, ()) = tokio::join!(writing, reading);
        assert_eq!(error, io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= limit * 5);
    }

    #[tokio::test]
    async fn a_flood_is_cut() {
        let (mut client, mut connection) = pair();
        let flood = tokio::spawn(async move {
            client.write_all(GREETING).await?;
            let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            loop {
                client.write_all(&ping.repeat(100)).await?;
            }
            #[expect(unreachable_code, reason = "the type of the block")]
            Ok::<_, io::Error>(())
        });
        let (_, error) = read(&mut connection).await;
        assert_eq!(error, io::ErrorKind::InvalidData);
        drop(connection);
        flood.await.unwrap().unwrap_err();
    }

    /// h2 shuts a connection down behind the status of the last call, and closes it then.
    #[tokio::test]
    async fn a_client_in_the_middle_of_a_word_hears_the_last_one() {
        let (mut client, mut connection) = pair();
        client.write_all(&[b'x'; 10_000]).await.unwrap();
        let agent = tokio::spawn(async move {
            connection.write_all(b"status").await.unwrap();
            connection.shutdown().await.unwrap();
        });
        let mut heard = [0; 6];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"status");
        assert_eq!(client.read(&mut heard).await.unwrap(), 0);
        client.write_all(&[b'x'; 10_000]).await.unwrap();
        assert!(!agent.is_finished());
        drop(client);
        agent.await.unwrap();
    }
}
