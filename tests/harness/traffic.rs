//! Real packets: sockets opened inside namespaces.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use ctfleet::flow::Family;
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto};

use super::{Netns, socket};

/// A packet that does not come within this time does not come at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// A TCP connection that is open on both ends.
pub(crate) struct Tcp {
    /// The end that connected.
    pub(crate) client: TcpStream,
    /// The end that accepted.
    pub(crate) server: TcpStream,
}

impl Tcp {
    /// Connects from one namespace to a fresh listener of another, on this address; port 0
    /// lets the kernel choose.
    pub(crate) fn open(from: &Netns, to: &Netns, at: SocketAddr) -> Self {
        let listener = listen(to, at);
        let at = listener.local_addr().expect("bound");
        Self::through(from, &listener, at)
    }

    /// Connects to another address than the listener's own: through a port forward.
    pub(crate) fn through(from: &Netns, listener: &TcpListener, at: SocketAddr) -> Self {
        let client = from
            .enter(|| TcpStream::connect_timeout(&at, PATIENCE))
            .unwrap_or_else(|e| panic!("connect to {at}: {e}"));
        let (server, _) = listener.accept().expect("the connection is there");
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        }
        let mut tcp = Self { client, server };
        tcp.exchange(b"hello");
        tcp
    }

    /// Sends the same bytes both ways, and reads them.
    pub(crate) fn exchange(&mut self, bytes: &[u8]) {
        send(&mut self.client, &mut self.server, bytes);
        send(&mut self.server, &mut self.client, bytes);
    }
}

/// Sends the bytes from one end to the other and waits until they are all there.
pub(crate) fn send(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).expect("sent");
    let mut got = vec![0; bytes.len()];
    to.read_exact(&mut got).expect("received");
    assert_eq!(got, bytes);
}

/// A listener inside a namespace.
pub(crate) fn listen(ns: &Netns, at: SocketAddr) -> TcpListener {
    ns.enter(|| TcpListener::bind(at))
        .unwrap_or_else(|e| panic!("listen on {at}: {e}"))
}

/// Sends a UDP datagram and its answer; gives the client's socket, so that its port stays.
pub(crate) fn udp(from: &Netns, to: &Netns, at: SocketAddr) -> UdpSocket {
    let server = to
        .enter(|| UdpSocket::bind(at))
        .unwrap_or_else(|e| panic!("bind {at}: {e}"));
    let at = server.local_addr().expect("bound");
    let client = from.enter(|| bound_for(at));
    for end in [&client, &server] {
        end.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    }
    client.send(b"question").expect("sent");
    let mut buffer = [0; 64];
    let (length, peer) = server.recv_from(&mut buffer).expect("the question");
    server.send_to(&buffer[..length], peer).expect("sent");
    assert_eq!(client.recv(&mut buffer).expect("the answer"), length);
    client
}

fn bound_for(at: SocketAddr) -> UdpSocket {
    let any: SocketAddr = match at {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).expect("any port");
    socket.connect(at).unwrap_or_else(|e| panic!("{at}: {e}"));
    socket
}

/// Sends an echo request and waits for the reply; gives the identifier that the kernel
/// chose.
pub(crate) fn ping(from: &Netns, to: IpAddr) -> u16 {
    // Sockets for echo requests need no right of their own, but for groups of this range.
    from.set_sysctl("net/ipv4/ping_group_range", "0 0");
    let (family, protocol, request, reply) = match Family::of(to) {
        Family::V4 => (AddressFamily::INET, ipproto::ICMP, 8, 0),
        Family::V6 => (AddressFamily::INET6, ipproto::ICMPV6, 128, 129),
    };
    let socket = from
        .enter(|| socket(family, SocketType::DGRAM, Some(protocol)))
        .unwrap_or_else(|e| panic!("echo socket: {e}"));
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    socket
        .connect((to, 0))
        .unwrap_or_else(|e| panic!("{to}: {e}"));
    // Type, code, check sum, identifier (the kernel's), sequence number.
    socket.send(&[request, 0, 0, 0, 0, 0, 0, 1]).expect("sent");
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).expect("the reply");
    assert_eq!((buffer[0], length), (reply, 8));
    u16::from_be_bytes([buffer[4], buffer[5]])
}

/// Sends an SCTP INIT chunk (RFC 9260) that asks for this verification tag. This kernel
/// tracks SCTP whether or not it speaks it, so the packet is made by hand.
pub(crate) fn sctp_init(from: &Netns, to: Ipv4Addr, ports: (u16, u16), tag: u32) {
    let raw = from
        .enter(|| socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::SCTP)))
        .unwrap_or_else(|e| panic!("raw socket: {e}"));
    let mut packet = Vec::new();
    packet.extend(ports.0.to_be_bytes());
    packet.extend(ports.1.to_be_bytes());
    // The tag of the packet itself, which an INIT has not got yet, and the check sum.
    packet.extend([0; 8]);
    // INIT, no flags, 20 bytes; tag, window, one stream each way, sequence number.
    packet.extend([1, 0, 0, 20]);
    packet.extend(tag.to_be_bytes());
    packet.extend([0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1]);
    let at = SocketAddrV4::new(to, 0);
    sendto(&raw, &packet, SendFlags::empty(), &at).unwrap_or_else(|e| panic!("{to}: {e}"));
}
