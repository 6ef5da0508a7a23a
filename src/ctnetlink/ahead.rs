//! Reading a dump ahead: while one datagram is decoded, the kernel fills the next ones, on a
//! thread of their own. The kernel's part of a dump is most of its time, and cannot be done
//! by two at once; so nothing else should stand in its way.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::decode::messages;
use super::error::Error;
use super::socket::Socket;
use super::uapi::netlink::{NLMSG_DONE, NLMSG_ERROR};

/// Datagrams that are read before the thread starts: a small dump needs none.
const ALONE: usize = 2;

/// Datagrams that may wait. When they do, nothing is read, and the kernel's dump stands.
const WAITING: usize = 3;

/// The datagrams of a dump, up to the one with its end.
#[derive(Debug)]
pub(super) struct Ahead {
    source: Source,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Source {
    /// Read here.
    Here { socket: Socket, read: usize },
    /// Read by the thread, which ends with the dump, or when this is dropped.
    Thread {
        full: Receiver<Result<Vec<u8>, Error>>,
        empty: SyncSender<Vec<u8>>,
    },
}

impl Ahead {
    /// Of a socket that a dump was requested from.
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            source: Source::Here { socket, read: 0 },
            buffer: Vec::new(),
        }
    }

    /// The next datagram. There must be one: the last one had no end in it.
    pub(super) fn next(&mut self) -> Result<&[u8], Error> {
        match &mut self.source {
            Source::Here { socket, read } => {
                socket.receive(&mut self.buffer)?;
                *read += 1;
                if *read >= ALONE && !ends(&self.buffer) {
                    self.start_thread()?;
                }
            }
            Source::Thread { full, empty } => {
                // There is room for all buffers; a thread that has ended needs none.
                let _ = empty.try_send(std::mem::take(&mut self.buffer));
                self.buffer = full.recv().unwrap_or(Err(Error::Closed))?;
            }
        }
        Ok(&self.buffer)
    }

    fn start_thread(&mut self) -> Result<(), Error> {
        let (filled, full) = sync_channel(WAITING);
        let (empty, emptied) = sync_channel(WAITING + 1);
        for _ in 0..WAITING {
            let _ = empty.try_send(Vec::new());
        }
        let source = Source::Thread { full, empty };
        let Source::Here { socket, .. } = std::mem::replace(&mut self.source, source) else {
            return Ok(());
        };
        std::thread::Builder::new()
            .name("dump".to_owned())
            .spawn(move || read(&socket, &emptied, &filled))
            .map(drop)
            .map_err(Error::io("a thread for the dump"))
    }
}

/// Fills the buffers that come, until the end of the dump or of its reader.
fn read(socket: &Socket, emptied: &Receiver<Vec<u8>>, filled: &SyncSender<Result<Vec<u8>, Error>>) {
    while let Ok(mut buffer) = emptied.recv() {
        let datagram = socket.receive(&mut buffer).map(|()| buffer);
        let is_last = datagram.as_deref().map_or(true, ends);
        if filled.send(datagram).is_err() || is_last {
            return;
        }
    }
}

/// Whether no datagram follows this one. Of one that is broken the reader says so.
fn ends(datagram: &[u8]) -> bool {
    messages(datagram).any(|message| match message {
        Ok(message) => matches!(message.kind, NLMSG_DONE | NLMSG_ERROR),
        Err(_) => true,
    })
}
