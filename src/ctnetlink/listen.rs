//! The multicast reader: events as the kernel sends them, and an exact count of those that
//! it could not deliver.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::Namespace;
use super::decode::{self, Message, messages};
use super::drops::Drops;
use super::error::{DecodeError, Error};
use super::socket::{Datagram, Datagrams, Socket};
use super::uapi::nfnetlink::*;
use crate::flow::{Event, ExpectationEvent, FlowEvent};

/// What the kernel multicasts. It builds an event only while somebody has joined its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// New flows.
    FlowNew,
    /// Changes of flows.
    FlowUpdate,
    /// Ends of flows.
    FlowDestroy,
    /// New expectations.
    ExpectationNew,
    /// Ends of expectations.
    ExpectationDestroy,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 5] = [
        Self::FlowNew,
        Self::FlowUpdate,
        Self::FlowDestroy,
        Self::ExpectationNew,
        Self::ExpectationDestroy,
    ];

    fn number(self) -> u32 {
        match self {
            Self::FlowNew => NFNLGRP_CONNTRACK_NEW,
            Self::FlowUpdate => NFNLGRP_CONNTRACK_UPDATE,
            Self::FlowDestroy => NFNLGRP_CONNTRACK_DESTROY,
            Self::ExpectationNew => NFNLGRP_CONNTRACK_EXP_NEW,
            Self::ExpectationDestroy => NFNLGRP_CONNTRACK_EXP_DESTROY,
        }
    }
}

/// How a [`Listener`] is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Bytes that the kernel may queue before it drops events. Above net.core.rmem_max it
    /// needs CAP_NET_ADMIN in the initial user namespace, and is cut to that otherwise.
    pub receive_buffer: usize,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            receive_buffer: 8 * 1024 * 1024,
        }
    }
}

/// What a listener heard.
#[derive(Debug)]
// An event is the common case, and boxing it would allocate once an event.
#[allow(clippy::large_enum_variant)]
pub enum Heard {
    /// An event.
    Event(Event),
    /// The kernel dropped so many messages for want of room. Exact, and told where they
    /// belong: after what was heard before. (Only while new events come as fast as they are
    /// read, without a pause, may some that came after the loss be heard before it.)
    Lost(u64),
    /// A message that cannot be decoded.
    Malformed(Error),
}

/// Why [`Listener::receive`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Something was heard.
    Events,
    /// [`ListenerHandle::interrupt`] was called.
    Interrupted,
}

/// Hears the events of one network namespace.
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
    datagrams: Datagrams,
    drops: Drops,
    drops_reported: u32,
    /// The kernel dropped something and goes on until the queue has run empty; it tells only
    /// once for the whole time.
    congested: bool,
    /// It told so after the last drop that was counted.
    unexplained: bool,
    receive_buffer: usize,
}

/// Steers a [`Listener`] from other threads.
#[derive(Clone, Debug)]
pub struct ListenerHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: Socket,
    wake: OwnedFd,
    interrupted: AtomicBool,
}

impl Listener {
    /// Opens a socket that has not joined any group yet.
    pub fn open(namespace: &Namespace, options: ListenOptions) -> Result<Self, Error> {
        let (socket, drops) = namespace.enter(|| {
            let socket = Socket::open_here()?;
            let drops = Drops::open_here(&socket)?;
            Ok::<_, Error>((socket, drops))
        })??;
        let receive_buffer = socket.set_receive_buffer(options.receive_buffer)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::io("eventfd")(errno.into()))?;
        Ok(Self {
            shared: Arc::new(Shared {
                socket,
                wake,
                interrupted: AtomicBool::new(false),
            }),
            datagrams: Datagrams::new(),
            drops,
            drops_reported: 0,
            congested: false,
            unexplained: false,
            receive_buffer,
        })
    }

    /// Steers this listener from other threads.
    pub fn handle(&self) -> ListenerHandle {
        ListenerHandle(Arc::clone(&self.shared))
    }

    /// The receive buffer that the kernel granted, in bytes of its own accounting.
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Waits until something is heard, and hands over all that one system call brought.
    pub fn receive(&mut self, take: &mut dyn FnMut(Heard)) -> Result<Received, Error> {
        loop {
            if self.shared.interrupted.swap(false, Ordering::AcqRel) {
                let mut count = [0; 8];
                // Only resets the counter; there is nothing to do when it is 0 already.
                let _ = rustix::io::read(&self.shared.wake, &mut count);
                return Ok(Received::Interrupted);
            }
            match self.datagrams.receive(&self.shared.socket) {
                Ok(0) if self.congested => {
                    self.congested = false;
                    let mut lost = self.new_drops()?;
                    if lost == 0 && self.unexplained {
                        // Not even made: the kernel had no memory for it (nfnetlink_set_err)
                        // and does not count those.
                        lost = 1;
                    }
                    if lost > 0 {
                        take(Heard::Lost(lost.into()));
                        return Ok(Received::Events);
                    }
                }
                Ok(0) => self.wait()?,
                Ok(_) => {
                    self.datagrams
                        .iter()
                        .for_each(|datagram| hear(datagram, take));
                    return Ok(Received::Events);
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    // From now on the kernel drops everything until the queue is empty
                    // (netlink_broadcast_deliver): what is queued came before the loss, and
                    // is heard before it. A second ENOBUFS means that the queue was empty
                    // in between, and its end was not seen here for all that came after.
                    let lost = match self.congested {
                        true => self.new_drops()?,
                        false => 0,
                    };
                    self.congested = true;
                    self.unexplained = lost == 0;
                    if lost > 0 {
                        take(Heard::Lost(lost.into()));
                        return Ok(Received::Events);
                    }
                }
                Err(error) => return Err(Error::io("netlink recvmmsg")(error)),
            }
        }
    }

    /// How many messages were dropped since the last time.
    fn new_drops(&mut self) -> Result<u32, Error> {
        let drops = self.drops.read()?;
        let new = drops.wrapping_sub(self.drops_reported);
        self.drops_reported = drops;
        Ok(new)
    }

    fn wait(&self) -> Result<(), Error> {
        let mut ready = [
            PollFd::from_borrowed_fd(self.shared.socket.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.shared.wake.as_fd(), PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::io("poll of the netlink socket")(errno.into())),
        }
    }
}

impl ListenerHandle {
    /// Joins a group: its events are heard from now on.
    pub fn join(&self, group: Group) -> Result<(), Error> {
        self.0.socket.join(group.number())
    }

    /// Leaves a group.
    pub fn leave(&self, group: Group) -> Result<(), Error> {
        self.0.socket.leave(group.number())
    }

    /// Makes [`Listener::receive`] return [`Received::Interrupted`], once.
    pub fn interrupt(&self) -> Result<(), Error> {
        self.0.interrupted.store(true, Ordering::Release);
        match rustix::io::write(&self.0.wake, &1u64.to_ne_bytes()) {
            // Full means that it wakes up anyway.
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(errno) => Err(Error::io("eventfd")(io::Error::from(errno))),
        }
    }
}

fn hear(datagram: Datagram<'_>, take: &mut dyn FnMut(Heard)) {
    let bytes = match datagram {
        Datagram::Whole(bytes) => bytes,
        Datagram::Truncated => {
            take(Heard::Malformed(DecodeError::truncated("event").into()));
            return;
        }
    };
    for message in messages(bytes) {
        match message.and_then(|message| event(&message)) {
            Ok(Some(event)) => take(Heard::Event(event)),
            Ok(None) => {}
            Err(error) => take(Heard::Malformed(error.into())),
        }
    }
}

/// `None` for messages that are no events of ctnetlink.
fn event(message: &Message<'_>) -> Result<Option<Event>, DecodeError> {
    let [subsystem, kind] = message.kind.to_be_bytes();
    let Some(kind) = decode::event_type(kind, message.flags) else {
        return Ok(None);
    };
    let port_id = message.port_id;
    let (_, attributes) = message.netfilter()?;
    Ok(match subsystem {
        NFNL_SUBSYS_CTNETLINK => Some(Event::Flow(FlowEvent {
            kind,
            flow: decode::flow(attributes)?,
            port_id,
        })),
        NFNL_SUBSYS_CTNETLINK_EXP => Some(Event::Expectation(ExpectationEvent {
            kind,
            expectation: decode::expectation(attributes)?,
            port_id,
        })),
        _ => None,
    })
}
