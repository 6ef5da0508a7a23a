//! The end of a connection behind its last words. To close a socket with something unread in it
//! makes the kernel reset it (TCP) or fail what the client writes next (unix), and a client that
//! meets that first never reads what it was told: the alert, the GOAWAY, the status of its call.
//! So what the client had still to say is read, and forgotten, until it leaves, too.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a client may take to leave.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most that is read of it: more than any window lets a client have on the way.
const MOST: usize = 16 << 20;
/// Read at once; a poll reads that often at most, so that nobody who sends without an end keeps
/// the thread.
const PIECE: usize = 8192;
const PIECES: usize = 32;

/// The wait for a client to leave, behind the shutdown of the agent's half.
pub(super) struct Parting {
    patience: Pin<Box<Sleep>>,
    left: usize,
}

impl Parting {
    /// It begins now.
    pub(super) fn new() -> Self {
        Self {
            patience: Box::pin(sleep(PATIENCE)),
            left: MOST,
        }
    }

    /// Ready when there is no reason to hold the connection any longer. However it ends, there
    /// is nothing more to say.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut stream: Pin<&mut impl AsyncRead>,
    ) -> Poll<()> {
        if self.patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut unread = [0; PIECE];
        for _ in 0..PIECES {
            let mut buf = ReadBuf::new(&mut unread);
            let read = ready!(stream.as_mut().poll_read(cx, &mut buf));
            let count = buf.filled().len();
            if read.is_err() || count == 0 || count > self.left {
                return Poll::Ready(());
            }
            self.left -= count;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tokio::time::Instant;

    use super::*;

    async fn part(mut stream: impl AsyncRead + tokio::io::AsyncWrite + Unpin) {
        stream.write_all(b"alert").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut parting = Parting::new();
        poll_fn(|cx| parting.poll(cx, Pin::new(&mut stream))).await;
    }

    /// Whatever the client had still to say.
    async fn hears(mut client: impl AsyncRead + tokio::io::AsyncWrite + Unpin) {
        client.write_all(&[b'x'; 10_000]).await.unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"alert");
        client.write_all(&[b'x'; 10_000]).await.unwrap();
    }

    #[tokio::test]
    async fn last_words_are_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, agent) = tokio::join!(client, listener.accept());
        tokio::join!(part(agent.unwrap().0), hears(client.unwrap()));
        let (client, agent) = UnixStream::pair().unwrap();
        tokio::join!(part(agent), hears(client));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stays_is_not_waited_for_long() {
        let (_client, agent) = UnixStream::pair().unwrap();
        let begun = Instant::now();
        part(agent).await;
        assert_eq!(begun.elapsed(), PATIENCE);
    }

    #[tokio::test]
    async fn a_client_that_sends_without_an_end_is_left() {
        let (mut client, agent) = UnixStream::pair().unwrap();
        let flood = tokio::spawn(async move {
            let mut sent = 0;
            while let Ok(count) = client.write(&[0; 65_536]).await {
                sent += count;
            }
            sent
        });
        part(agent).await;
        // It was read, but not for ever: what is behind it is the socket's buffer.
        assert!(flood.await.unwrap() <= MOST + (4 << 20));
    }
}
