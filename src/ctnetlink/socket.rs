//! Netlink sockets, with `unsafe` for recvmmsg(2), which no library offers, and for handing a
//! socket to tokio.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _};
use std::time::Duration;

use netlink_sys::{SocketAddr, TokioSocket};

use super::uapi::netlink::{NETLINK_NETFILTER, NLMSG_HDRLEN, NLMSG_NOOP};
use super::{Error, Namespace};

/// The kernel fills dump datagrams up to 32 KiB, if the buffer of the reader is as large.
const RECEIVE_LENGTH: usize = 64 * 1024;

/// How long the kernel may take to answer. It answers inside the call, so this is only met
/// when another process holds ctnetlink's lock.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A bound netlink socket of one network namespace.
#[derive(Debug)]
pub(super) struct Socket(netlink_sys::Socket);

impl Socket {
    /// Opens one in a namespace.
    pub(super) fn open(namespace: &Namespace) -> Result<Self, Error> {
        namespace.enter(Self::open_here)?
    }

    /// Opens one in the namespace of the calling thread.
    pub(super) fn open_here() -> Result<Self, Error> {
        let mut socket =
            netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(Error::io("netlink socket"))?;
        socket.bind_auto().map_err(Error::io("netlink bind"))?;
        // Answers to refused requests without a copy of the request, but with the kernel's
        // reason in words. Old kernels lack one or the other, and work without.
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_ext_ack(true);
        rustix::net::sockopt::set_socket_timeout(
            &socket,
            rustix::net::sockopt::Timeout::Recv,
            Some(ANSWER_TIMEOUT),
        )
        .map_err(|errno| Error::io("netlink SO_RCVTIMEO")(errno.into()))?;
        Ok(Self(socket))
    }

    /// Sends one datagram of requests. The kernel works them off before this returns.
    pub(super) fn send(&self, datagram: &[u8]) -> Result<(), Error> {
        let kernel = SocketAddr::new(0, 0);
        loop {
            match self.0.send_to(datagram, &kernel, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("netlink send")(error)),
            }
        }
    }

    /// Receives one datagram of the kernel into `buffer`, which takes its length.
    pub(super) fn receive(&self, buffer: &mut Vec<u8>) -> Result<(), Error> {
        loop {
            buffer.clear();
            buffer.reserve_exact(RECEIVE_LENGTH);
            let mut limited = bytes::BufMut::limit(&mut *buffer, RECEIVE_LENGTH);
            match self.0.recv_from(&mut limited, libc::MSG_TRUNC) {
                Ok((length, _)) if length > RECEIVE_LENGTH => {
                    return Err(Error::Io {
                        action: "netlink receive",
                        source: io::Error::other("a datagram of more than 64 KiB"),
                    });
                }
                // Only the kernel's answers count, not what another process may send.
                Ok((_, sender)) if sender.port_number() == 0 => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("netlink receive")(error)),
            }
        }
    }

    /// Asks for a receive buffer of so many bytes, beyond net.core.rmem_max where
    /// CAP_NET_ADMIN of the initial user namespace allows it; returns what it got.
    pub(super) fn set_receive_buffer(&self, bytes: usize) -> Result<usize, Error> {
        use rustix::net::sockopt;
        if sockopt::set_socket_recv_buffer_size_force(&self.0, bytes).is_err() {
            sockopt::set_socket_recv_buffer_size(&self.0, bytes)
                .map_err(|errno| Error::io("netlink SO_RCVBUF")(errno.into()))?;
        }
        sockopt::socket_recv_buffer_size(&self.0)
            .map_err(|errno| Error::io("netlink SO_RCVBUF")(errno.into()))
    }

    /// The address of this socket.
    pub(super) fn port_id(&self) -> Result<u32, Error> {
        let mut own = SocketAddr::new(0, 0);
        self.0
            .get_address(&mut own)
            .map_err(Error::io("netlink getsockname"))?;
        Ok(own.port_number())
    }

    /// Sends a message that says nothing to this very socket, behind all that is queued in
    /// it. False when its queue is full.
    pub(super) fn send_to_self(&self) -> Result<bool, Error> {
        let own = SocketAddr::new(self.port_id()?, 0);
        let mut nothing = [0; NLMSG_HDRLEN];
        let length = (nothing.len() as u32).to_ne_bytes();
        nothing[..length.len()].copy_from_slice(&length);
        nothing[4..6].copy_from_slice(&NLMSG_NOOP.to_ne_bytes());
        match self.0.send_to(&nothing, &own, libc::MSG_DONTWAIT) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(Error::io("netlink send to itself")(error)),
        }
    }

    /// Joins a multicast group.
    pub(super) fn join(&self, group: u32) -> Result<(), Error> {
        self.0
            .add_membership(group)
            .map_err(Error::io("netlink NETLINK_ADD_MEMBERSHIP"))
    }

    /// Leaves a multicast group.
    pub(super) fn leave(&self, group: u32) -> Result<(), Error> {
        self.0
            .drop_membership(group)
            .map_err(Error::io("netlink NETLINK_DROP_MEMBERSHIP"))
    }

    /// Hands the socket to tokio; must be called inside its runtime.
    pub(super) fn into_tokio(self) -> Result<TokioSocket, Error> {
        // TokioSocket::from_raw_fd panics where either of these two can fail.
        self.0
            .set_non_blocking(true)
            .map_err(Error::io("netlink O_NONBLOCK"))?;
        tokio::runtime::Handle::try_current().map_err(|_| Error::Closed)?;
        let descriptor = self.0.into_raw_fd();
        // SAFETY: the descriptor is open, and nobody else owns it any more.
        Ok(unsafe { TokioSocket::from_raw_fd(descriptor) })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Longest event that is expected. The kernel's largest is below 1 KiB, unless security
/// contexts are longer.
const EVENT_LENGTH: usize = 4096;

/// Datagrams received with one system call.
const DATAGRAMS: usize = 128;

/// Room for many event datagrams.
pub(super) struct Datagrams {
    bytes: Box<[[u8; EVENT_LENGTH]]>,
    received: Vec<Received>,
    /// The port id of the socket.
    own: u32,
}

#[derive(Clone, Copy)]
struct Received {
    length: usize,
    intact: bool,
    sender: u32,
}

/// A datagram of the kernel, word that one was longer than the room for it, or one that
/// the socket sent to itself.
pub(super) enum Datagram<'a> {
    Whole(&'a [u8]),
    Truncated,
    Own,
}

impl std::fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datagrams").finish_non_exhaustive()
    }
}

impl Datagrams {
    pub(super) fn new(own: u32) -> Self {
        Self {
            own,
            bytes: vec![[0; EVENT_LENGTH]; DATAGRAMS].into_boxed_slice(),
            received: Vec::with_capacity(DATAGRAMS),
        }
    }

    /// Receives what is there, without waiting; 0 when there is nothing.
    pub(super) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.received.clear();
        // SAFETY: all-zero bytes are valid values of these three C structures.
        let (mut vectors, mut senders, mut headers) = unsafe {
            (
                std::mem::zeroed::<[libc::iovec; DATAGRAMS]>(),
                std::mem::zeroed::<[libc::sockaddr_nl; DATAGRAMS]>(),
                std::mem::zeroed::<[libc::mmsghdr; DATAGRAMS]>(),
            )
        };
        for (((room, vector), sender), header) in self
            .bytes
            .iter_mut()
            .zip(&mut vectors)
            .zip(&mut senders)
            .zip(&mut headers)
        {
            vector.iov_base = room.as_mut_ptr().cast();
            vector.iov_len = EVENT_LENGTH;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = std::ptr::from_mut(sender).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        }
        // SAFETY: every header points to one vector of its own, every vector to EVENT_LENGTH
        // bytes of its own, every name to a sockaddr_nl of its own; all of them outlive the
        // call, and none is touched in between.
        let count = unsafe {
            libc::recvmmsg(
                socket.0.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        };
        self.received.extend(
            headers
                .iter()
                .zip(&senders)
                .take(count)
                .map(|(header, sender)| Received {
                    length: header.msg_len as usize,
                    intact: header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0,
                    sender: sender.nl_pid,
                }),
        );
        Ok(count)
    }

    /// What was received last. What another process sends is no event.
    pub(super) fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        let received = self.bytes.iter().zip(&self.received);
        received.filter_map(|(bytes, received)| match received.sender {
            0 => match bytes.get(..received.length) {
                Some(bytes) if received.intact => Some(Datagram::Whole(bytes)),
                _ => Some(Datagram::Truncated),
            },
            sender => (sender == self.own).then_some(Datagram::Own),
        })
    }
}
