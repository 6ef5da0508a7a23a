//! Bytes of the kernel to flow types: no copy of the bytes, no allocation for an entry
//! (unless it carries a security context or a helper's private data).
//!
//! Every function takes untrusted bytes and answers with a [`DecodeError`]; none panics.

mod expectation;
mod flow;
mod stats;
mod tuple;

pub use expectation::expectation;
pub use flow::flow;
pub use stats::{expectation_stats, flow_stats, table_size};

use super::error::{DecodeError, DecodeReason};
use super::uapi::netlink::{NLA_HDRLEN, NLA_TYPE_MASK, NLMSG_HDRLEN};
use super::uapi::nfnetlink_conntrack as ct;
use crate::flow::EventType;

/// Length of `struct nfgenmsg`.
const NFGENMSG_LEN: usize = 4;

/// One netlink message of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// `nlmsg_pid`.
    pub port_id: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The attributes after `struct nfgenmsg`, and its `res_id`.
    pub fn netfilter(&self) -> Result<(u16, &'a [u8]), DecodeError> {
        netfilter(self.payload)
    }
}

/// Splits a payload into `nfgenmsg`'s `res_id` and the attributes.
pub(super) fn netfilter(payload: &[u8]) -> Result<(u16, &[u8]), DecodeError> {
    match payload.split_first_chunk::<NFGENMSG_LEN>() {
        Some(([_family, _version, high, low], rest)) => {
            Ok((u16::from_be_bytes([*high, *low]), rest))
        }
        None => Err(DecodeError::truncated("nfgenmsg")),
    }
}

/// The messages of a datagram. After an error there are no more.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, DecodeError>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = split_message(rest);
        match message {
            Ok((message, tail)) => {
                rest = tail;
                Some(Ok(message))
            }
            Err(error) => {
                rest = &[];
                Some(Err(error))
            }
        }
    })
}

fn split_message(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), DecodeError> {
    const NAME: &str = "nlmsghdr";
    let truncated = || DecodeError::truncated(NAME);
    let header = bytes.first_chunk::<NLMSG_HDRLEN>().ok_or_else(truncated)?;
    let word = |at: usize| {
        u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let length = word(0) as usize;
    let payload = bytes.get(NLMSG_HDRLEN..length).ok_or_else(truncated)?;
    let message = Message {
        kind: u16::from_ne_bytes([header[4], header[5]]),
        flags: u16::from_ne_bytes([header[6], header[7]]),
        sequence: word(8),
        port_id: word(12),
        payload,
    };
    // The last message of a datagram may lack its padding.
    let tail = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Ok((message, tail))
}

/// What a multicast message tells: both new and update are `IPCTNL_MSG_CT_NEW`, and the
/// header's flags tell which.
pub fn event_type(kind: u8, flags: u16) -> Option<EventType> {
    use super::uapi::netlink::{NLM_F_CREATE, NLM_F_EXCL};
    match kind {
        ct::IPCTNL_MSG_CT_NEW if flags & (NLM_F_CREATE | NLM_F_EXCL) != 0 => Some(EventType::New),
        ct::IPCTNL_MSG_CT_NEW => Some(EventType::Update),
        ct::IPCTNL_MSG_CT_DELETE => Some(EventType::Destroy),
        _ => None,
    }
}

/// One netlink attribute.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// Its type, without the flags for nesting and byte order.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

/// The attributes of a message or of a nest. After an error there are no more.
#[inline]
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

/// Iterator over [`attributes`].
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some([l0, l1, k0, k1]) = self.rest.first_chunk::<NLA_HDRLEN>() else {
            self.rest = &[];
            return Some(Err(DecodeError::truncated("nlattr")));
        };
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let kind = u16::from_ne_bytes([*k0, *k1]) & NLA_TYPE_MASK;
        let Some(value) = self.rest.get(NLA_HDRLEN..length) else {
            self.rest = &[];
            return Some(Err(DecodeError::truncated("nlattr")));
        };
        self.rest = self
            .rest
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        Some(Ok(Attribute { kind, value }))
    }
}

impl<'a> Attribute<'a> {
    #[inline]
    fn array<const N: usize>(&self, name: &'static str) -> Result<[u8; N], DecodeError> {
        self.value.try_into().map_err(|_| {
            DecodeError::new(
                name,
                DecodeReason::Length {
                    expected: N,
                    found: self.value.len(),
                },
            )
        })
    }

    #[inline]
    fn u8(&self, name: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(name).map(|[byte]| byte)
    }

    #[inline]
    fn be16(&self, name: &'static str) -> Result<u16, DecodeError> {
        self.array(name).map(u16::from_be_bytes)
    }

    #[inline]
    fn be32(&self, name: &'static str) -> Result<u32, DecodeError> {
        self.array(name).map(u32::from_be_bytes)
    }

    #[inline]
    fn be64(&self, name: &'static str) -> Result<u64, DecodeError> {
        self.array(name).map(u64::from_be_bytes)
    }

    /// A NUL-terminated string; the NUL may be missing.
    fn text(&self, name: &'static str) -> Result<&'a str, DecodeError> {
        let bytes = self
            .value
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| DecodeError::new(name, DecodeReason::Text))
    }
}
