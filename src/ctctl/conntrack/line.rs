//! A command line that was read: what each option said, before it means anything.

use std::net::IpAddr;

use super::protocol::{Dialect, Part, dialect};
use super::vocabulary::{Action, Opt, Table};
use crate::ctctl::output::classic::Options;
use crate::flow::{Family, Labels, Masked, Protocol, Status};

/// The options that were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opts(u32);

impl Opts {
    pub(super) fn add(&mut self, opt: Opt) {
        self.0 |= 1 << opt as u32;
    }

    pub(super) fn has(self, opt: Opt) -> bool {
        self.0 & (1 << opt as u32) != 0
    }
}

/// What follows `-n`, `-g` or `-j`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nat {
    /// Translated to this address.
    pub address: Option<IpAddr>,
    /// And to this port.
    pub port: Option<u16>,
}

/// What follows `-u`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusWords {
    /// Bits that have to be set, or are to be set.
    pub set: Status,
    /// Bits that must not be set.
    pub clear: Status,
}

/// What follows `-e`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKinds {
    /// `NEW`.
    pub new: bool,
    /// `UPDATES`.
    pub update: bool,
    /// `DESTROY`.
    pub destroy: bool,
}

impl EventKinds {
    /// `ALL`, and what is meant when nothing was said.
    pub const ALL: Self = Self {
        new: true,
        update: true,
        destroy: true,
    };
    /// None yet.
    pub const NONE: Self = Self {
        new: false,
        update: false,
        destroy: false,
    };
}

/// The values that a protocol adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    values: [Option<u32>; Part::IcmpId as usize + 1],
}

impl Parts {
    pub(super) fn set(&mut self, part: Part, value: u32) {
        self.values[part as usize] = Some(value);
    }

    pub(super) fn get(&self, part: Part) -> Option<u32> {
        self.values[part as usize]
    }

    /// A port, a key or an id. What was read is no larger.
    pub(super) fn u16(&self, part: Part) -> Option<u16> {
        self.get(part).and_then(|value| u16::try_from(value).ok())
    }

    /// A type, a code or a state.
    pub(super) fn u8(&self, part: Part) -> Option<u8> {
        self.get(part).and_then(|value| u8::try_from(value).ok())
    }

    /// Whether one of these was given.
    pub(super) fn any(&self, parts: &[Part]) -> bool {
        parts.iter().any(|part| self.get(*part).is_some())
    }
}

/// A command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// What to do; nothing is to show the help.
    pub action: Option<Action>,
    /// Where.
    pub table: Table,
    pub(super) opts: Opts,
    /// The family, said or seen from an address.
    pub family: Option<Family>,
    pub(super) src: Option<IpAddr>,
    pub(super) dst: Option<IpAddr>,
    pub(super) reply_src: Option<IpAddr>,
    pub(super) reply_dst: Option<IpAddr>,
    pub(super) tuple_src: Option<IpAddr>,
    pub(super) tuple_dst: Option<IpAddr>,
    pub(super) mask_src: Option<IpAddr>,
    pub(super) mask_dst: Option<IpAddr>,
    /// The protocol.
    pub protocol: Option<Protocol>,
    pub(super) parts: Parts,
    pub(super) timeout: Option<u32>,
    pub(super) status: Option<StatusWords>,
    /// Read the counters and set them to zero.
    pub zero: bool,
    /// Kinds of events.
    pub events: Option<EventKinds>,
    pub(super) mark: Option<Masked<u32>>,
    pub(super) id: Option<u32>,
    pub(super) src_nat: Option<Nat>,
    pub(super) dst_nat: Option<Nat>,
    pub(super) any_nat: Option<Nat>,
    /// What the output shows.
    pub output: Options,
    pub(super) secmark: Option<u32>,
    /// The size of a socket's buffer, which is the agent's affair.
    pub buffer_size: Option<u64>,
    pub(super) zone: Option<u16>,
    pub(super) orig_zone: Option<u16>,
    pub(super) reply_zone: Option<u16>,
    pub(super) labels: Labels,
    pub(super) labels_changed: Labels,
    /// Every label is cleared.
    pub(super) no_labels: bool,
    /// Do not ask.
    pub yes: bool,
    /// Also change the flows that carry the agents' own connections.
    pub include_own: bool,
    /// What was passed over, in the words of conntrack(8).
    pub warnings: Vec<String>,
}

impl Line {
    /// Whether an option was given.
    pub fn has(&self, opt: Opt) -> bool {
        self.opts.has(opt)
    }

    /// The options of the protocol.
    pub(super) fn dialect(&self) -> Option<Dialect> {
        self.protocol.map(dialect)
    }
}
