//! One connection: a unix socket, TCP, or TLS over TCP, with a note of what broke it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::fault::{Fault, FaultNote, TlsFault, Validity};
use super::tls::Tls;
use crate::ctctl::fleet::{Address, Target};

/// Connects to the target, with TLS when there is a `tls`.
pub(super) async fn dial(
    target: &Target,
    tls: Option<&Tls>,
    note: FaultNote,
) -> Result<Noted, Fault> {
    let place = target.address().to_string();
    let mut own = None;
    let (stream, plain): (Box<dyn Stream>, bool) = match target.address() {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)
                .await
                .map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => Fault::NoSocket(path.clone()),
                    io::ErrorKind::PermissionDenied => Fault::SocketPermission(path.clone()),
                    _ => Fault::from_io(&error, &place),
                })?;
            (Box::new(stream), true)
        }
        Address::Tcp { host, port } => {
            let tcp = dial_tcp(host, *port, &place).await?;
            match tls {
                None => (Box::new(tcp), true),
                Some(tls) => {
                    let (connector, validity) = tls.connector();
                    own = validity;
                    let name = tls
                        .name_for(host)
                        .map_err(|error| TlsFault::Other(error.to_string()))?;
                    let shaken = shake_hands(tcp, &connector, name, &place).await;
                    (shaken.map_err(|fault| fault.with_own(own))?, false)
                }
            }
        }
    };
    Ok(Noted {
        stream,
        note,
        place,
        own,
        plain,
        answered: false,
        deaf: false,
    })
}

async fn dial_tcp(host: &str, port: u16, place: &str) -> Result<TcpStream, Fault> {
    let addresses = lookup_host((host, port))
        .await
        .map_err(|error| Fault::Resolve {
            host: host.to_owned(),
            error: error.to_string(),
        })?;
    let mut fault = Fault::Resolve {
        host: host.to_owned(),
        error: "it has none".to_owned(),
    };
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests are small and answered one by one.
                stream
                    .set_nodelay(true)
                    .map_err(|error| Fault::from_io(&error, place))?;
                return Ok(stream);
            }
            Err(error) => fault = Fault::from_io(&error, place),
        }
    }
    Err(fault)
}

async fn shake_hands(
    tcp: TcpStream,
    connector: &TlsConnector,
    name: ServerName<'static>,
    place: &str,
) -> Result<Box<dyn Stream>, Fault> {
    let stream = connector
        .connect(name, tcp)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                TlsFault::Other("the other end closed the connection".to_owned()).into()
            }
            _ => Fault::from_io(&error, place),
        })?;
    // A server that does not negotiate at all may still speak it.
    match stream.get_ref().1.alpn_protocol() {
        None | Some(b"h2") => Ok(Box::new(stream)),
        Some(_) => Err(TlsFault::NotHttp2.into()),
    }
}

/// A byte stream in both directions.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream that notes what goes wrong with it: above it, HTTP/2 and gRPC only say
/// "transport error".
///
/// The other end may have said why it closed the connection (a TLS alert, the status of a
/// call) while we were still writing to it. A write that fails is therefore passed over, and
/// the end is told by reading, which finds those last words first.
pub(super) struct Noted {
    stream: Box<dyn Stream>,
    note: FaultNote,
    place: String,
    /// When the certificate holds that we showed.
    own: Option<Validity>,
    plain: bool,
    /// The other end has sent something.
    answered: bool,
    /// The other end reads no more.
    deaf: bool,
}

/// The start of a TLS alert: content type 21, major version 3 (RFC 8446, 5.1).
const TLS_ALERT: [u8; 2] = [21, 3];
/// Where a frame has its type, and that of SETTINGS, which comes first (RFC 9113, 3.4).
const FRAME_TYPE: (usize, u8) = (3, 4);

impl Noted {
    fn note<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result {
            let fault = Fault::from_io(error, &self.place);
            self.note.note(fault.with_own(self.own));
        }
        result
    }

    /// The result of a write; `passed_over` stands for one that nobody read.
    fn written<T>(&mut self, result: Poll<io::Result<T>>, passed_over: T) -> Poll<io::Result<T>> {
        match &result {
            Poll::Ready(Err(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                self.deaf = true;
                let _ = self.note(result);
                Poll::Ready(Ok(passed_over))
            }
            _ => self.note(result),
        }
    }

    /// What the first bytes tell.
    fn first_words(&self, bytes: &[u8]) {
        if self.plain && bytes.starts_with(&TLS_ALERT) {
            self.note.note(Fault::SpeaksTls);
        } else if bytes
            .get(FRAME_TYPE.0)
            .is_some_and(|kind| *kind != FRAME_TYPE.1)
        {
            self.note.note(Fault::NotHttp2);
        }
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let (Poll::Ready(Ok(())), false) = (&result, self.answered) {
            match buf.filled().get(before..).unwrap_or_default() {
                [] => self.note.note(Fault::ClosedAtOnce),
                first => {
                    self.first_words(first);
                    self.answered = true;
                }
            }
        }
        self.note(result)
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(result, buf.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(result, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.deaf {
            return Poll::Ready(Ok(length));
        }
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(result, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
