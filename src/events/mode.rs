//! What the kernel makes events for: the sysctl `net.netfilter.nf_conntrack_events`.

use std::io;

use super::Error;
use crate::ctnetlink::Namespace;

const PATH: &str = "/proc/sys/net/netfilter/nf_conntrack_events";

/// The value of `nf_conntrack_events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventMode {
    /// 0: no entry ever makes events.
    Off,
    /// 1: every entry makes events.
    Always,
    /// 2, the default: entries make events that were created while somebody listened.
    WhileHeard,
}

impl EventMode {
    /// The mode of a namespace; `None` while conntrack is not loaded, or when the kernel
    /// has a mode that this program does not know.
    pub(super) fn read(namespace: &Namespace) -> Result<Option<Self>, Error> {
        match namespace.enter(|| std::fs::read_to_string(PATH))? {
            Ok(text) => Ok(Self::of(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::Setting(error)),
        }
    }

    fn of(text: &str) -> Option<Self> {
        match text.trim() {
            "0" => Some(Self::Off),
            "1" => Some(Self::Always),
            "2" => Some(Self::WhileHeard),
            _ => None,
        }
    }
}
