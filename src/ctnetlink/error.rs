//! What can go wrong between this process and ctnetlink.

use std::fmt;
use std::io;

use super::decode::attributes;
use super::uapi::netlink::{NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSG_HDRLEN, NLMSGERR_ATTR_MSG};

/// An error of this room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused the request.
    #[error(transparent)]
    Kernel(KernelError),
    /// The kernel sent bytes that are not what its headers promise.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The kernel had no room in the socket (ENOBUFS): answers were lost, and what happened
    /// to the requests that were under way is not known.
    #[error("the kernel ran out of room in the netlink socket (ENOBUFS): answers were lost")]
    Overrun,
    /// The other side of the call is gone.
    #[error("the netlink connection is closed")]
    Closed,
    /// A system call on the socket failed.
    #[error("{action}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The network namespace does not exist, or cannot be entered.
    #[error("network namespace {name:?}: {reason}")]
    Namespace {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: NamespaceReason,
    },
    /// The caller asked for something that cannot be said to the kernel.
    #[error("{0}")]
    Unencodable(&'static str),
}

/// What is wrong with a network namespace.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceReason {
    /// The name is not one that `ip netns` would take.
    #[error("not a name: a namespace is named by a file in /run/netns, without a slash")]
    BadName,
    /// There is no such namespace.
    #[error("it does not exist; `ip netns list` shows those that do")]
    NotFound,
    /// Entering it needs more rights.
    #[error("entering it needs CAP_SYS_ADMIN, which this process lacks")]
    NotPermitted,
    /// Something else.
    #[error("{0}")]
    Io(io::Error),
}

impl Error {
    /// Wraps the error of a system call.
    pub(super) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            if source.raw_os_error() == Some(libc::ENOBUFS) {
                Self::Overrun
            } else {
                Self::Io { action, source }
            }
        }
    }

    /// The kernel's errno, if the kernel refused the request.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel(error) => Some(error.errno),
            _ => None,
        }
    }
}

/// The kernel's answer to a request that it refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelError {
    /// The errno, positive.
    pub errno: i32,
    /// The text of the extended acknowledgement, where the kernel gave one.
    pub message: Option<String>,
}

impl KernelError {
    /// An errno without a text.
    pub fn from_errno(errno: i32) -> Self {
        Self {
            errno,
            message: None,
        }
    }

    /// Parses an NLMSG_ERROR: `payload` is what follows the netlink header, `flags` are the
    /// header's. `Ok(None)` is an acknowledgement.
    pub fn parse(flags: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
        let Some((code, rest)) = payload.split_first_chunk::<4>() else {
            return Err(DecodeError::truncated("nlmsgerr.error"));
        };
        let code = i32::from_ne_bytes(*code);
        if code == 0 {
            return Ok(None);
        }
        Ok(Some(Self {
            errno: code.checked_neg().unwrap_or(libc::EINVAL),
            message: extended_ack(flags, rest),
        }))
    }

    /// The name of the errno: "ENOENT".
    pub fn name(&self) -> &'static str {
        match self.errno {
            libc::EPERM => "EPERM",
            libc::ENOENT => "ENOENT",
            libc::EINTR => "EINTR",
            libc::EAGAIN => "EAGAIN",
            libc::ENOMEM => "ENOMEM",
            libc::EACCES => "EACCES",
            libc::EBUSY => "EBUSY",
            libc::EEXIST => "EEXIST",
            libc::EINVAL => "EINVAL",
            libc::ENOSPC => "ENOSPC",
            libc::ERANGE => "ERANGE",
            libc::EOPNOTSUPP => "EOPNOTSUPP",
            libc::EAFNOSUPPORT => "EAFNOSUPPORT",
            libc::ENOBUFS => "ENOBUFS",
            libc::ETIMEDOUT => "ETIMEDOUT",
            libc::EMFILE => "EMFILE",
            libc::ENFILE => "ENFILE",
            libc::EPROTONOSUPPORT => "EPROTONOSUPPORT",
            _ => "errno",
        }
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = io::Error::from_raw_os_error(self.errno).to_string();
        // The standard library appends " (os error N)".
        let text = text.split(" (os error").next().unwrap_or_default();
        match self.name() {
            "errno" => write!(f, "{text} (errno {})", self.errno)?,
            name => write!(f, "{text} ({name})")?,
        }
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for KernelError {}

impl From<KernelError> for Error {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

/// NLMSGERR_ATTR_MSG, after the copy of the request's header (and of its payload, unless the
/// kernel left that out).
fn extended_ack(flags: u16, rest: &[u8]) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let skip = if flags & NLM_F_CAPPED != 0 {
        NLMSG_HDRLEN
    } else {
        let length = rest.first_chunk::<4>()?;
        usize::try_from(u32::from_ne_bytes(*length))
            .ok()?
            .checked_next_multiple_of(4)?
    };
    attributes(rest.get(skip..)?)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind == NLMSGERR_ATTR_MSG)
        .map(|attribute| {
            let text = attribute.value.split(|byte| *byte == 0).next();
            String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
        })
}

/// Bytes that are not what the kernel's headers promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode {attribute}: {reason}")]
pub struct DecodeError {
    /// The attribute or structure, by the kernel's name.
    pub attribute: &'static str,
    /// What is wrong with it.
    pub reason: DecodeReason,
}

/// What is wrong with an attribute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeReason {
    /// It ends too early, or claims more bytes than there are.
    #[error("truncated")]
    Truncated,
    /// Its length is not what it must be.
    #[error("{found} bytes, expected {expected}")]
    Length {
        /// What it must be.
        expected: usize,
        /// What it is.
        found: usize,
    },
    /// It is missing.
    #[error("missing")]
    Missing,
    /// Its text is not UTF-8, or too long.
    #[error("not a name")]
    Text,
    /// It mixes address families.
    #[error("mixed address families")]
    Families,
    /// It has another protocol than the rest, or what another protocol has.
    #[error("mixed protocols")]
    Protocols,
}

impl DecodeError {
    pub(super) fn new(attribute: &'static str, reason: DecodeReason) -> Self {
        Self { attribute, reason }
    }

    pub(super) fn truncated(attribute: &'static str) -> Self {
        Self::new(attribute, DecodeReason::Truncated)
    }

    pub(super) fn missing(attribute: &'static str) -> Self {
        Self::new(attribute, DecodeReason::Missing)
    }
}
