//! What the transport protocols' trackers know of a flow (`CTA_PROTOINFO`).

use super::Protocol;

/// Declares a state: the kernel's number, with the kernel's names for those that are known.
macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($number:literal $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u8);

        impl $name {
            /// Numbers and their names.
            pub const NAMES: &'static [($name, &'static str)] = &[$(($name($number), $text)),*];

            /// Its name, unless the kernel is newer than this list.
            pub fn name(self) -> Option<&'static str> {
                Self::NAMES.iter().find(|(s, _)| *s == self).map(|(_, n)| *n)
            }

            /// The state of a name, in any case.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::NAMES
                    .iter()
                    .find(|(_, n)| n.eq_ignore_ascii_case(name))
                    .map(|(s, _)| *s)
            }
        }
    };
}

states! {
    /// `enum tcp_conntrack` of linux/netfilter/nf_conntrack_tcp.h.
    TcpState {
        0 "NONE", 1 "SYN_SENT", 2 "SYN_RECV", 3 "ESTABLISHED", 4 "FIN_WAIT",
        5 "CLOSE_WAIT", 6 "LAST_ACK", 7 "TIME_WAIT", 8 "CLOSE", 9 "SYN_SENT2",
    }
}

states! {
    /// `enum sctp_conntrack` of linux/netfilter/nf_conntrack_sctp.h.
    SctpState {
        0 "NONE", 1 "CLOSED", 2 "COOKIE_WAIT", 3 "COOKIE_ECHOED", 4 "ESTABLISHED",
        5 "SHUTDOWN_SENT", 6 "SHUTDOWN_RECD", 7 "SHUTDOWN_ACK_SENT", 8 "HEARTBEAT_SENT",
        9 "HEARTBEAT_ACKED",
    }
}

states! {
    /// `enum ct_dccp_states` of linux/netfilter/nf_conntrack_dccp.h (before Linux 6.16).
    DccpState {
        0 "NONE", 1 "REQUEST", 2 "RESPOND", 3 "PARTOPEN", 4 "OPEN", 5 "CLOSEREQ",
        6 "CLOSING", 7 "TIMEWAIT", 8 "IGNORE", 9 "INVALID",
    }
}

/// Flags of one direction of a TCP flow (`struct nf_ct_tcp_flags`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    /// `IP_CT_TCP_FLAG_*`.
    pub flags: u8,
    /// Which of them an update sets; 0 in what the kernel reports.
    pub mask: u8,
}

impl TcpFlags {
    /// The names of `IP_CT_TCP_FLAG_*` of linux/netfilter/nf_conntrack_tcp.h, from bit 0 on.
    pub const NAMES: [&'static str; 8] = [
        "WINDOW_SCALE",
        "SACK_PERM",
        "CLOSE_INIT",
        "BE_LIBERAL",
        "DATA_UNACKNOWLEDGED",
        "MAXACK_SET",
        "EXP_CHALLENGE_ACK",
        "SIMULTANEOUS_OPEN",
    ];
}

/// `CTA_PROTOINFO_TCP`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpInfo {
    /// The state.
    pub state: Option<TcpState>,
    /// Window scale of the original direction (RFC 7323).
    pub window_scale_orig: Option<u8>,
    /// Window scale of the reply direction.
    pub window_scale_reply: Option<u8>,
    /// Flags of the original direction.
    pub flags_orig: Option<TcpFlags>,
    /// Flags of the reply direction.
    pub flags_reply: Option<TcpFlags>,
}

/// `CTA_PROTOINFO_SCTP`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SctpInfo {
    /// The state.
    pub state: Option<SctpState>,
    /// Verification tag of the original direction (RFC 9260), in host byte order.
    pub vtag_orig: Option<u32>,
    /// Verification tag of the reply direction, in host byte order.
    pub vtag_reply: Option<u32>,
}

/// `CTA_PROTOINFO_DCCP` (before Linux 6.16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DccpInfo {
    /// The state.
    pub state: Option<DccpState>,
    /// The role of the original direction: 0 client, 1 server.
    pub role: Option<u8>,
    /// The sequence number of the handshake, 48 bits (RFC 4340).
    pub handshake_seq: Option<u64>,
}

/// What the transport protocol's tracker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtoInfo {
    /// TCP.
    Tcp(TcpInfo),
    /// SCTP.
    Sctp(SctpInfo),
    /// DCCP.
    Dccp(DccpInfo),
}

impl ProtoInfo {
    /// The protocol of flows that have it.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Tcp(_) => Protocol::TCP,
            Self::Sctp(_) => Protocol::SCTP,
            Self::Dccp(_) => Protocol::DCCP,
        }
    }
}
