//! The multicast reader: events as the kernel sends them, and an exact count of those that
//! it could not deliver.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::Namespace;
use super::decode::{self, Message, messages};
use super::drops::Drops;
use super::error::{DecodeError, Error};
use super::socket::{Datagram, Datagrams, Socket};
use super::uapi::nfnetlink::*;
use crate::flow::{Event, ExpectationEvent, FlowEvent};

/// How long the kernel may take between the report of a drop and its count.
const COUNTING_MS: u32 = 20;

/// When the count of drops is looked at once more after a congestion.
const RECHECK: Duration = Duration::from_millis(100);

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
    /// What [`ListenerHandle::mark`] put here: all that was heard before happened before.
    Mark,
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
    /// The drops were counted after the last system call that received.
    just_counted: bool,
    /// A congestion was just over: the kernel may have counted one more since, without
    /// telling so.
    recheck: bool,
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
        let port_id = socket.port_id()?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::io("eventfd")(errno.into()))?;
        Ok(Self {
            shared: Arc::new(Shared {
                socket,
                wake,
                interrupted: AtomicBool::new(false),
            }),
            datagrams: Datagrams::new(port_id),
            drops,
            drops_reported: 0,
            congested: false,
            unexplained: false,
            just_counted: false,
            recheck: false,
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
            let just_counted = std::mem::take(&mut self.just_counted);
            let drops = match self.datagrams.receive(&self.shared.socket) {
                Ok(0) if self.congested => {
                    self.congested = false;
                    self.recheck = true;
                    self.drops_of_congestion()?
                }
                Ok(0) => {
                    self.wait()?;
                    match std::mem::take(&mut self.recheck) {
                        true => self.new_drops()?,
                        false => 0,
                    }
                }
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
                    let drops = match self.congested {
                        true => self.new_drops()?,
                        false => 0,
                    };
                    self.congested = true;
                    // One that was pending when the drops were counted last: they may be its.
                    self.unexplained = drops == 0 && !just_counted;
                    drops
                }
                Err(error) => return Err(Error::io("netlink recvmmsg")(error)),
            };
            let lost = self.before_what_is_queued(drops)?;
            if lost > 0 {
                take(Heard::Lost(lost.into()));
                return Ok(Received::Events);
            }
        }
    }

    /// How many messages were dropped in a congestion that is over.
    fn drops_of_congestion(&mut self) -> Result<u32, Error> {
        let mut drops = self.new_drops()?;
        if self.unexplained {
            // netlink_overrun raises ENOBUFS a moment before it counts.
            for _ in 0..COUNTING_MS {
                if drops > 0 {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
                drops = self.new_drops()?;
            }
            // What the kernel had not even the memory to make (nfnetlink_set_err) is told
            // in the same way, and not counted.
            drops = drops.max(1);
            self.unexplained = false;
        }
        Ok(drops)
    }

    /// How many of these drops to tell now. When something is queued by now, some of them may
    /// have come behind it: one is kept back, to be told when the queue has been heard, so that
    /// whoever makes up for the loss does so behind all that is older than it.
    fn before_what_is_queued(&mut self, drops: u32) -> Result<u32, Error> {
        if drops == 0 || !self.is_pending()? {
            return Ok(drops);
        }
        self.drops_reported = self.drops_reported.wrapping_sub(1);
        self.congested = true;
        self.unexplained = false;
        Ok(drops - 1)
    }

    /// Whether there is something to receive, events or an error.
    fn is_pending(&self) -> Result<bool, Error> {
        let mut ready = [PollFd::from_borrowed_fd(
            self.shared.socket.as_fd(),
            PollFlags::IN,
        )];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut ready, Some(&at_once)) {
            Ok(count) => Ok(count > 0),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(errno) => Err(Error::io("poll of the netlink socket")(errno.into())),
        }
    }

    /// How many messages were dropped since the last time.
    fn new_drops(&mut self) -> Result<u32, Error> {
        let drops = self.drops.read()?;
        let new = drops.wrapping_sub(self.drops_reported);
        self.drops_reported = drops;
        self.just_counted = true;
        Ok(new)
    }

    fn wait(&self) -> Result<(), Error> {
        let mut ready = [
            PollFd::from_borrowed_fd(self.shared.socket.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.shared.wake.as_fd(), PollFlags::IN),
        ];
        let recheck = Timespec {
            tv_sec: 0,
            tv_nsec: RECHECK.subsec_nanos().into(),
        };
        match poll(&mut ready, self.recheck.then_some(&recheck)) {
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

    /// Puts a mark behind all events that the kernel has queued up to now: they are heard
    /// before [`Heard::Mark`]. False when there is no room for it: try again when something
    /// was heard.
    pub fn mark(&self) -> Result<bool, Error> {
        self.0.socket.send_to_self()
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
        Datagram::Own => {
            take(Heard::Mark);
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
