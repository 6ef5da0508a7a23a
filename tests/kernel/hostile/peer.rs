//! A peer that speaks HTTP/2 frame by frame, and so can say what no library would.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use rustix::net::{AddressFamily, SocketType};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::agent::Agent;
use crate::harness::{Netns, socket};

/// Frame types.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// Reasons of GOAWAY and RST_STREAM.
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame in its bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The preface and empty SETTINGS.
pub(super) fn greeting() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

/// The header block of a call, in HPACK without a table and without Huffman's code.
pub(super) fn call(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let mut put = |name: &[u8], value: &str| {
        block.extend(name);
        block.push(u8::try_from(value.len()).expect("short"));
        block.extend(value.as_bytes());
    };
    put(&[0x04], path);
    put(&[0x01], "agent");
    put(&[0x0f, 0x10], "application/grpc");
    put(b"\x00\x02te", "trailers");
    block
}

/// The n-th stream of a client.
pub(super) fn stream(n: u32) -> u32 {
    2 * n + 1
}

/// Which one that is.
pub(super) fn nth(stream: u32) -> u32 {
    stream.saturating_sub(1) / 2
}

/// Connections to the agent's TCP port, one from each of these addresses.
pub(super) fn connect(agent: &Agent, ns: &Netns, from: &[Ipv4Addr]) -> Vec<TcpStream> {
    let SocketAddr::V4(to) = agent.tcp_address() else {
        panic!("IPv4")
    };
    let one = |from: &Ipv4Addr| {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        rustix::net::bind(&socket, &SocketAddrV4::new(*from, 0))?;
        rustix::net::connect(&socket, &to)?;
        let stream = std::net::TcpStream::from(socket);
        stream.set_nonblocking(true)?;
        Ok::<_, io::Error>(stream)
    };
    let streams = ns.enter(|| from.iter().map(one).collect::<io::Result<Vec<_>>>());
    let streams = streams.expect("connections").into_iter();
    streams
        .map(|stream| TcpStream::from_std(stream).expect("a socket"))
        .collect()
}

/// Where attackers come from: 127.0.0.1 is that of the one who behaves.
pub(super) const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// So many addresses, so many times each.
pub(super) fn addresses(count: u8, times: usize) -> Vec<Ipv4Addr> {
    (0..count)
        .flat_map(|n| std::iter::repeat_n(Ipv4Addr::new(127, 0, 1, n), times))
        .collect()
}

/// One connection that has greeted.
pub(super) async fn greeted(agent: &Agent, ns: &Netns) -> TcpStream {
    let mut streams = connect(agent, ns, &[ELSEWHERE]);
    let mut stream = streams.pop().expect("one");
    stream.write_all(&greeting()).await.expect("sent");
    stream
}

/// Sends this until the agent does not take it any more; how many of them were sent.
pub(super) async fn blast(
    stream: &mut (impl tokio::io::AsyncWrite + Unpin),
    frames: impl IntoIterator<Item = Vec<u8>>,
) -> usize {
    let mut sent = 0;
    let mut buffer = Vec::new();
    for frame in frames {
        buffer.extend(frame);
        sent += 1;
        if buffer.len() >= 16 << 10 {
            if stream.write_all(&buffer).await.is_err() {
                return sent;
            }
            buffer.clear();
        }
    }
    // What it does not take is not what is counted.
    let _ = stream.write_all(&buffer).await;
    sent
}

/// A frame that the agent sent.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The number at a place of the payload.
    pub(super) fn number(&self, at: usize) -> u32 {
        let bytes = self.payload[at..at + 4].try_into().expect("four");
        u32::from_be_bytes(bytes)
    }

    /// The reason of a GOAWAY or RST_STREAM.
    pub(super) fn reason(&self) -> u32 {
        match self.kind {
            GOAWAY => self.number(4),
            RST_STREAM => self.number(0),
            _ => panic!("{self:?} has none"),
        }
    }
}

/// The next frame; `None` when the connection has ended, in whatever way.
pub(super) async fn next(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut header = [0; 9];
    stream.read_exact(&mut header).await.ok()?;
    let [a, b, c, kind, flags, rest @ ..] = header;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some(Frame {
        kind,
        flags,
        stream: u32::from_be_bytes(rest),
        payload,
    })
}

/// Everything up to the end.
pub(super) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = next(stream).await {
        frames.push(frame);
    }
    frames
}

/// The number of streams up to the last that was answered, and the reason of the last GOAWAY.
/// That one's own number leaves out streams that were refused.
pub(super) fn goaway(frames: &[Frame]) -> (u32, u32) {
    let mut all = frames.iter().rev();
    let last = all.find(|frame| frame.kind == GOAWAY).expect("a GOAWAY");
    let resets = frames.iter().filter(|frame| frame.kind == RST_STREAM);
    let refused = resets.map(|frame| frame.stream).max().unwrap_or(0);
    (nth(refused.max(last.number(0))) + 1, last.reason())
}
