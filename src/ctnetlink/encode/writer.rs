//! Netlink messages and nested attributes in one growing buffer.

use netlink_packet_core::Emitable as _;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterProtoFamily};

use super::super::Error;
use super::super::uapi::netlink::{NLA_F_NESTED, NLA_HDRLEN, NLMSG_HDRLEN};
use crate::flow::Family;

/// What a netlink message begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) subsystem: u8,
    pub(super) kind: u8,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// `None` is NFPROTO_UNSPEC.
    pub(super) family: Option<Family>,
    /// `nfgenmsg.version`.
    pub(super) version: u8,
}

/// Appends attributes to the message that [`message`] opened.
pub(super) struct Writer<'a> {
    buffer: &'a mut Vec<u8>,
}

/// Appends one netlink message. On an error the buffer is as it was.
pub(super) fn message(
    buffer: &mut Vec<u8>,
    head: Head,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    let kind = u16::from(head.subsystem) << 8 | u16::from(head.kind);
    buffer.extend_from_slice(&kind.to_ne_bytes());
    buffer.extend_from_slice(&head.flags.to_ne_bytes());
    buffer.extend_from_slice(&head.sequence.to_ne_bytes());
    // The kernel fills in the port id.
    buffer.extend_from_slice(&[0; 4]);
    let family = match head.family {
        None => NetfilterProtoFamily::Unspec,
        Some(Family::V4) => NetfilterProtoFamily::IPv4,
        Some(Family::V6) => NetfilterProtoFamily::IPv6,
    };
    let header = NetfilterHeader::new(family, head.version, 0);
    let at = buffer.len();
    buffer.resize(at + header.buffer_len(), 0);
    header.emit(&mut buffer[at..]);

    let written = body(&mut Writer { buffer });
    let length = u32::try_from(buffer.len() - start);
    match (written, length) {
        (Ok(()), Ok(length)) => {
            buffer[start..start + 4].copy_from_slice(&length.to_ne_bytes());
            debug_assert!(length as usize >= NLMSG_HDRLEN && length.is_multiple_of(4));
            Ok(())
        }
        (result, _) => {
            buffer.truncate(start);
            result.and(Err(Error::Unencodable("the request is larger than 4 GiB")))
        }
    }
}

impl Writer<'_> {
    /// Appends an attribute of a few bytes.
    #[inline]
    pub(super) fn put<const N: usize>(&mut self, kind: u16, value: [u8; N]) {
        const { assert!(N <= 64) };
        let length = (NLA_HDRLEN + N) as u16;
        self.buffer.extend_from_slice(&length.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(&value);
        self.pad();
    }

    pub(super) fn u8(&mut self, kind: u16, value: u8) {
        self.put(kind, [value]);
    }

    pub(super) fn be16(&mut self, kind: u16, value: u16) {
        self.put(kind, value.to_be_bytes());
    }

    pub(super) fn be32(&mut self, kind: u16, value: u32) {
        self.put(kind, value.to_be_bytes());
    }

    pub(super) fn be64(&mut self, kind: u16, value: u64) {
        self.put(kind, value.to_be_bytes());
    }

    /// Appends bytes of any length.
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) -> Result<(), Error> {
        self.finish(kind, |writer| {
            writer.buffer.extend_from_slice(value);
            Ok(())
        })
    }

    /// Appends a NUL-terminated string. A NUL inside would cut it short in silence.
    pub(super) fn text(&mut self, kind: u16, value: &str) -> Result<(), Error> {
        if value.contains('\0') {
            return Err(Error::Unencodable("a name has a NUL byte in it"));
        }
        self.finish(kind, |writer| {
            writer.buffer.extend_from_slice(value.as_bytes());
            writer.buffer.push(0);
            Ok(())
        })
    }

    /// Appends a nest.
    #[inline]
    pub(super) fn nest(
        &mut self,
        kind: u16,
        body: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.finish(kind | NLA_F_NESTED, body)
    }

    #[inline]
    fn finish(
        &mut self,
        kind: u16,
        body: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 2]);
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        body(self)?;
        let length = u16::try_from(self.buffer.len() - start)
            .map_err(|_| Error::Unencodable("an attribute is longer than 65535 bytes"))?;
        self.buffer[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
        Ok(())
    }

    #[inline]
    fn pad(&mut self) {
        // Messages start aligned, so the buffer's length tells the alignment.
        let length = self.buffer.len().next_multiple_of(4);
        self.buffer.resize(length, 0);
    }
}
