//! One accepted connection, whatever it came over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::access::Peer;
use crate::api::OwnConnection;

/// How long a client may take for its HTTP/2 preface: hyper's keep-alive begins behind it.
const PREFACE_PATIENCE: Duration = Duration::from_secs(5);
/// The bytes of the preface ("PRI * HTTP/2.0...").
const PREFACE: usize = 24;

/// The transport of a connection.
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that is served.
pub(super) struct Connection {
    stream: Stream,
    peer: Peer,
    /// Until the preface is here.
    patience: Option<Pin<Box<Sleep>>>,
    received: usize,
    /// Given back, and struck off, when the connection ends.
    _held: Option<(OwnConnection, OwnedSemaphorePermit)>,
}

impl Connection {
    /// A connection that begins now.
    pub(super) fn new(
        stream: Stream,
        peer: Peer,
        held: Option<(OwnConnection, OwnedSemaphorePermit)>,
    ) -> Self {
        Self {
            stream,
            peer,
            patience: Some(Box::pin(sleep(PREFACE_PATIENCE))),
            received: 0,
            _held: held,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        };
        let Some(patience) = self.patience.as_mut() else {
            return read;
        };
        match read {
            Poll::Pending => {
                ready!(patience.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "no HTTP/2 preface within 5 s",
                )))
            }
            read => {
                self.received += buf.filled().len() - before;
                if self.received >= PREFACE {
                    self.patience = None;
                }
                read
            }
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

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        to_stream!(self, poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        to_stream!(self, poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Unix(stream) => stream.is_write_vectored(),
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        to_stream!(self, poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        to_stream!(self, poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    use super::*;
    use crate::access::{Identity, Place};

    fn pair() -> (UnixStream, Connection) {
        let (near, far) = UnixStream::pair().unwrap();
        let peer = Peer {
            identity: Arc::new(Identity::of_process(0, 0)),
            place: Place::Unix { uid: 0 },
        };
        (near, Connection::new(Stream::Unix(far), peer, None))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_left() {
        let (mut client, mut connection) = pair();
        // One byte is no preface.
        client.write_all(b"P").await.unwrap();
        let begun = Instant::now();
        let mut read = [0; 100];
        assert_eq!(connection.read(&mut read).await.unwrap(), 1);
        let error = connection.read(&mut read).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), PREFACE_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_greeted_may_be_silent() {
        let (mut client, mut connection) = pair();
        client.write_all(&[b'x'; PREFACE]).await.unwrap();
        let mut read = [0; 100];
        assert_eq!(connection.read(&mut read).await.unwrap(), PREFACE);
        let long = PREFACE_PATIENCE * 100;
        let silent = tokio::time::timeout(long, connection.read(&mut read)).await;
        assert!(silent.is_err());
    }
}
