//! The mark to beat: a bare netlink socket that does nothing with what it reads, and one
//! that writes ready-made requests. It shares no code with ctfleet.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr};

/// The kernel's datagrams are at most 32 KiB.
const BUFFER: usize = 64 * 1024;
/// Requests in a datagram.
const BATCH: usize = 128;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE_EXCL: u16 = 0x600;
const CT_NEW: u16 = 0x100;
const CT_GET: u16 = 0x101;
const CT_DELETE: u16 = 0x102;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Opens a socket in the network namespace of the calling thread.
fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(12)?;
    socket.bind_auto()?;
    socket.set_rx_buf_sz(4 * 1024 * 1024)?;
    Ok(socket)
}

fn receive<'a>(socket: &Socket, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    buffer.clear();
    buffer.reserve(BUFFER);
    socket.recv_from(buffer, 0)?;
    Ok(buffer)
}

/// Type, sequence number and payload of each message.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..16)?;
        let length = u32::from_ne_bytes(header[..4].try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(header[4..6].try_into().ok()?);
        let sequence = u32::from_ne_bytes(header[8..12].try_into().ok()?);
        let payload = bytes.get(16..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, sequence, payload))
    })
}

fn request(kind: u16, flags: u16, sequence: u32, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(20 + attributes.len());
    bytes.extend((20 + attributes.len() as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    // struct nfgenmsg: AF_INET.
    bytes.extend([2, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + value.len().next_multiple_of(4));
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nest(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | 0x8000, &parts.concat())
}

/// The flow number `n` of the benchmark: its addresses and its source port.
#[derive(Clone, Copy)]
pub(crate) struct Entry(pub(crate) u32);

impl Entry {
    /// 65,536 hosts in 10.0.0.0/16, each with as many source ports as it takes.
    pub(crate) fn src(self) -> [u8; 4] {
        let [_, _, high, low] = self.0.to_be_bytes();
        [10, 0, high, low]
    }

    pub(crate) fn src_port(self) -> u16 {
        1024 + (self.0 >> 16) as u16
    }

    /// An eighth of the flows has each of the marks 0 to 7.
    pub(crate) fn mark(self) -> u32 {
        // Not the low bits: all flows of one host would have one mark.
        (self.0 ^ self.0 >> 16) % 8
    }

    fn tuple(self, kind: u16) -> Vec<u8> {
        let (src, dst) = (self.src(), [192, 0, 2, 1]);
        let (sport, dport) = (self.src_port().to_be_bytes(), 443u16.to_be_bytes());
        let (from, to, from_port, to_port) = if kind == 1 {
            (src, dst, sport, dport)
        } else {
            (dst, src, dport, sport)
        };
        nest(
            kind,
            &[
                nest(1, &[attribute(1, &from), attribute(2, &to)]),
                nest(
                    2,
                    &[
                        attribute(1, &[6]),
                        attribute(2, &from_port),
                        attribute(3, &to_port),
                    ],
                ),
            ],
        )
    }

    fn delete(self, sequence: u32) -> Vec<u8> {
        request(CT_DELETE, 0, sequence, &self.tuple(1))
    }

    fn create(self, sequence: u32) -> Vec<u8> {
        let attributes = [
            self.tuple(1),
            self.tuple(2),
            // CONFIRMED, SEEN_REPLY, ASSURED.
            attribute(3, &0xeu32.to_be_bytes()),
            attribute(7, &432_000u32.to_be_bytes()),
            attribute(8, &self.mark().to_be_bytes()),
            // TCP ESTABLISHED.
            nest(4, &[nest(1, &[attribute(1, &[3])])]),
        ]
        .concat();
        request(CT_NEW, NLM_F_CREATE_EXCL, sequence, &attributes)
    }
}

/// Requests glued into datagrams, each ending with one that asks for an answer.
pub(crate) struct Prepared(Vec<Vec<u8>>);

impl Prepared {
    /// The creation of the flows 0 to `count`.
    pub(crate) fn create(count: u32) -> Self {
        Self::of(0..count, Entry::create)
    }

    fn of(entries: Range<u32>, make: impl Fn(Entry, u32) -> Vec<u8>) -> Self {
        let entries: Vec<u32> = entries.collect();
        Self(
            entries
                .chunks(BATCH)
                .map(|chunk| {
                    let mut datagram = Vec::new();
                    let mut last = 0;
                    for n in chunk {
                        last = datagram.len();
                        datagram.extend(make(Entry(*n), n + 1));
                    }
                    datagram[last + 6] |= NLM_F_ACK as u8;
                    datagram
                })
                .collect(),
        )
    }

    /// Sends all of it; panics when the kernel refuses one.
    pub(crate) fn send(&self) -> io::Result<()> {
        let socket = open()?;
        let mut buffer = Vec::new();
        for datagram in &self.0 {
            send_batch(&socket, datagram, &mut buffer)?;
        }
        Ok(())
    }
}

/// Sends a datagram and waits for the answer of its last request.
fn send_batch(socket: &Socket, datagram: &[u8], buffer: &mut Vec<u8>) -> io::Result<()> {
    socket.send_to(datagram, &SocketAddr::new(0, 0), 0)?;
    for (kind, _, payload) in messages(receive(socket, buffer)?) {
        assert_eq!(kind, NLMSG_ERROR);
        assert_eq!(payload[..4], [0; 4], "the kernel refused a request");
    }
    Ok(())
}

/// Creates and deletes the same flows for so long, at a rate or as fast as the kernel takes it;
/// how many creations and deletions that were.
pub(crate) fn churn(time: Duration, rate: Option<f64>) -> io::Result<u64> {
    // Beyond those of any table that is listed meanwhile.
    const FLOWS: Range<u32> = 3 << 20..(3 << 20) + 64 * BATCH as u32;
    let socket = open()?;
    let mut buffer = Vec::new();
    let rounds = [
        Prepared::of(FLOWS, Entry::create),
        Prepared::of(FLOWS, Entry::delete),
    ];
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < time {
        for datagram in rounds.iter().flat_map(|round| &round.0) {
            send_batch(&socket, datagram, &mut buffer)?;
            done += BATCH as u64;
            if let Some(rate) = rate {
                let due = Duration::from_secs_f64(done as f64 / rate);
                std::thread::sleep(due.saturating_sub(start.elapsed()));
            }
        }
    }
    Ok(done)
}

/// Reads the whole table and throws it away; the number of entries.
pub(crate) fn dump() -> io::Result<u64> {
    let mut entries = 0;
    dump_each(|_| {
        entries += 1;
        Ok(())
    })?;
    Ok(entries)
}

fn dump_each(mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let socket = open()?;
    socket.send_to(
        &request(CT_GET, NLM_F_DUMP, 1, &[]),
        &SocketAddr::new(0, 0),
        0,
    )?;
    let mut buffer = Vec::new();
    loop {
        for (kind, _, payload) in messages(receive(&socket, &mut buffer)?) {
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => return Err(io::Error::other("the kernel refused the dump")),
                _ => take(payload)?,
            }
        }
    }
}

/// Dumps the table and deletes every entry whose mark is below `limit`, by tuple and id.
pub(crate) fn delete_marks_below(limit: u32) -> io::Result<u64> {
    let socket = open()?;
    let mut buffer = Vec::new();
    let mut datagram: Vec<u8> = Vec::new();
    let (mut queued, mut last, mut deleted) = (0, 0, 0);
    dump_each(|payload| {
        let (mut tuple, mut mark, mut id): (&[u8], u32, &[u8]) = (&[], 0, &[]);
        let mut rest = payload.get(4..).unwrap_or_default();
        while rest.len() >= 4 {
            let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
            let kind = u16::from_ne_bytes([rest[2], rest[3]]) & 0x3fff;
            let whole = length.next_multiple_of(4).min(rest.len());
            match kind {
                1 => tuple = &rest[..whole],
                8 => mark = u32::from_be_bytes(rest[4..8].try_into().expect("4 bytes")),
                12 => id = &rest[..whole],
                _ => {}
            }
            rest = &rest[whole..];
        }
        if mark >= limit {
            return Ok(());
        }
        last = datagram.len();
        datagram.extend(request(CT_DELETE, 0, 1, &[tuple, id].concat()));
        queued += 1;
        deleted += 1;
        if queued == BATCH {
            datagram[last + 6] |= NLM_F_ACK as u8;
            send_batch(&socket, &datagram, &mut buffer)?;
            datagram.clear();
            queued = 0;
        }
        Ok(())
    })?;
    if queued > 0 {
        datagram[last + 6] |= NLM_F_ACK as u8;
        send_batch(&socket, &datagram, &mut buffer)?;
    }
    Ok(deleted)
}

/// Empties the table.
pub(crate) fn flush() -> io::Result<()> {
    let socket = open()?;
    let mut flush = request(CT_DELETE, NLM_F_ACK, 1, &[]);
    // AF_UNSPEC: both families.
    flush[16] = 0;
    send_batch(&socket, &flush, &mut Vec::new())
}
