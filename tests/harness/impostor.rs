//! An agent that answers what no agent would: for what a client makes of it.

use std::path::PathBuf;

use h2::server::SendResponse;
use http::Response;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};

/// What it answers to every call: a message as often as wanted, then a status.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// A message, encoded.
    pub(crate) message: Vec<u8>,
    /// How often.
    pub(crate) times: usize,
    /// The code of the status.
    pub(crate) code: u8,
    /// Its words, as they stand in grpc-message.
    pub(crate) words: &'static str,
}

/// It serves until it is dropped.
pub(crate) struct Impostor {
    dir: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Impostor {
    /// Serves on a socket of its own.
    pub(crate) fn start(answer: Answer) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let entered = runtime.enter();
        let listener = UnixListener::bind(socket_in(&dir)).expect("a socket");
        drop(entered);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone()));
            }
        });
        Self {
            dir,
            _runtime: runtime,
        }
    }

    /// Where it is.
    pub(crate) fn target(&self) -> String {
        format!("unix:{}", socket_in(&self.dir).display())
    }
}

fn socket_in(dir: &TempDir) -> PathBuf {
    dir.path().join("agent.sock")
}

async fn serve(stream: UnixStream, answer: Answer) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((_, respond))) = connection.accept().await {
        let answer = answer.clone();
        // A client that has heard enough resets the stream.
        tokio::spawn(async move { reply(respond, &answer).await.ok() });
    }
}

async fn reply(mut respond: SendResponse<bytes::Bytes>, answer: &Answer) -> Result<(), h2::Error> {
    let head = Response::builder().header("content-type", "application/grpc");
    let mut body = respond.send_response(head.body(()).expect("a response"), false)?;
    let mut frame = vec![0];
    let length = u32::try_from(answer.message.len()).expect("a short message");
    frame.extend(length.to_be_bytes());
    frame.extend(&answer.message);
    for _ in 0..answer.times {
        body.send_data(frame.clone().into(), false)?;
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", u16::from(answer.code).into());
    let words = answer.words.parse().expect("a header's value");
    trailers.insert("grpc-message", words);
    body.send_trailers(trailers)
}
