//! One dump as a pull stream: reading drives it, dropping it ends it.

use std::time::{SystemTime, UNIX_EPOCH};

use super::ahead::Ahead;
use super::decode::{self, Message, messages};
use super::error::{Error, KernelError};
use super::pushdown::Preselection;
use super::repeats::Repeats;
use super::socket::Socket;
use super::uapi::netlink::{NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN};
use super::{Namespace, Table, encode};
use crate::flow::filter::Matcher;
use crate::flow::{Expectation, Filter, Flow, FlowKey, Tuple, Zone};

/// What a dump of flows reads.
#[derive(Clone, Debug, Default)]
pub struct FlowDumpRequest {
    /// Which list.
    pub table: Table,
    /// Read and reset the counters. A dump that ends early loses the values that the
    /// kernel reset and nobody read.
    pub zero_counters: bool,
    /// Which flows; all without one.
    pub filter: Option<Filter>,
}

/// What a dump of expectations reads.
#[derive(Clone, Debug, Default)]
pub struct ExpectationDumpRequest {
    /// Which expectations; all without one.
    pub filter: Option<Filter>,
    /// The connection whose expectations are read; all without one.
    pub master: Option<FlowKey>,
}

/// What a dump has read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpCounts {
    /// Entries that matched.
    pub matched: u64,
    /// Entries that the kernel sent.
    pub scanned: u64,
    /// Entries that the kernel sent twice, and that were passed over.
    pub duplicates: u64,
}

/// A dump of flows.
#[derive(Debug)]
pub struct FlowDump {
    /// (zone, original tuple, id) is what an entry is.
    reader: Reader<(Zone, Tuple)>,
    matcher: Option<Matcher>,
}

impl FlowDump {
    /// Sends the request. Nothing is read yet.
    pub fn open(namespace: &Namespace, request: FlowDumpRequest) -> Result<Self, Error> {
        let preselection = match (&request.filter, request.table) {
            (Some(filter), Table::Conntrack) => Preselection::of(filter),
            // The kernel does not select from its other lists.
            _ => Preselection::default(),
        };
        let reader = Reader::open(namespace, |buffer, sequence| {
            encode::dump_flows(
                buffer,
                sequence,
                request.table,
                request.zero_counters,
                &preselection,
            )
        })?;
        Ok(Self {
            reader,
            matcher: request.filter.as_ref().map(Matcher::of),
        })
    }

    /// Reads one datagram of the kernel (up to 32 KiB) and hands over the flows in it that
    /// match the whole filter. False when that was the last one.
    pub fn read(&mut self, take: &mut dyn FnMut(&Flow)) -> Result<bool, Error> {
        let matcher = self.matcher.as_ref();
        self.reader.read(
            decode::flow,
            |flow| Identity {
                id: flow.id.unwrap_or_default(),
                parts: (flow.zone, flow.orig),
            },
            |flow, now| matcher.is_none_or(|matcher| matcher.matches(flow, now)),
            take,
        )
    }

    /// What was read so far.
    pub fn counts(&self) -> DumpCounts {
        self.reader.counts
    }
}

/// A dump of expectations.
#[derive(Debug)]
pub struct ExpectationDump {
    reader: Reader<(Tuple, Tuple)>,
    matcher: Option<Matcher>,
}

impl ExpectationDump {
    /// Sends the request. Nothing is read yet.
    pub fn open(namespace: &Namespace, request: ExpectationDumpRequest) -> Result<Self, Error> {
        let family = request
            .filter
            .as_ref()
            .and_then(|filter| Preselection::of(filter).family);
        let reader = Reader::open(namespace, |buffer, sequence| {
            encode::dump_expectations(buffer, sequence, family, request.master.as_ref())
        })?;
        Ok(Self {
            reader,
            matcher: request.filter.as_ref().map(Matcher::of),
        })
    }

    /// Reads one datagram of the kernel and hands over the expectations in it that match
    /// the whole filter. False when that was the last one.
    pub fn read(&mut self, take: &mut dyn FnMut(&Expectation)) -> Result<bool, Error> {
        let matcher = self.matcher.as_ref();
        self.reader.read(
            decode::expectation,
            |expectation| Identity {
                id: expectation.id.unwrap_or_default(),
                parts: (expectation.tuple, expectation.master),
            },
            |expectation, now| matcher.is_none_or(|matcher| matcher.matches(expectation, now)),
            take,
        )
    }

    /// What was read so far.
    pub fn counts(&self) -> DumpCounts {
        self.reader.counts
    }
}

/// What tells one entry from another.
struct Identity<I> {
    /// The kernel's, a hash: others rarely have the same.
    id: u32,
    parts: I,
}

/// What the two kinds of dump have in common.
#[derive(Debug)]
struct Reader<I> {
    datagrams: Ahead,
    sequence: u32,
    repeats: Repeats<I>,
    counts: DumpCounts,
    done: bool,
}

impl<I: PartialEq> Reader<I> {
    fn open(
        namespace: &Namespace,
        request: impl FnOnce(&mut Vec<u8>, u32) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let socket = Socket::open(namespace)?;
        let sequence = 1;
        let mut buffer = Vec::new();
        request(&mut buffer, sequence)?;
        socket.send(&buffer)?;
        Ok(Self {
            datagrams: Ahead::new(socket),
            sequence,
            repeats: Repeats::new(),
            counts: DumpCounts::default(),
            done: false,
        })
    }

    fn read<T>(
        &mut self,
        decode: impl Fn(&[u8]) -> Result<T, super::DecodeError>,
        identity: impl Fn(&T) -> Identity<I>,
        matches: impl Fn(&T, u64) -> bool,
        take: &mut dyn FnMut(&T),
    ) -> Result<bool, Error> {
        if self.done {
            return Ok(false);
        }
        let datagram = self.datagrams.next()?;
        let now = now_ns();
        for message in messages(datagram) {
            let message = message?;
            if message.sequence != self.sequence {
                continue;
            }
            match message.kind {
                NLMSG_DONE => {
                    self.done = true;
                    done(&message)?;
                    break;
                }
                NLMSG_ERROR => {
                    self.done = true;
                    return match KernelError::parse(message.flags, message.payload)? {
                        Some(error) => Err(error.into()),
                        None => Ok(false),
                    };
                }
                NLMSG_NOOP => {}
                NLMSG_OVERRUN => return Err(Error::Overrun),
                _ => {
                    let (_, attributes) = message.netfilter()?;
                    let entry = decode(attributes)?;
                    self.counts.scanned += 1;
                    let Identity { id, parts } = identity(&entry);
                    if self.repeats.seen(id, parts) {
                        self.counts.duplicates += 1;
                    } else if matches(&entry, now) {
                        self.counts.matched += 1;
                        take(&entry);
                    }
                }
            }
        }
        Ok(!self.done)
    }
}

/// The end of a dump carries an errno when the kernel could not finish it.
pub(super) fn done(message: &Message<'_>) -> Result<(), Error> {
    match message.payload.first_chunk::<4>() {
        Some(code) => match i32::from_ne_bytes(*code) {
            0.. => Ok(()),
            errno => Err(KernelError::from_errno(errno.saturating_neg()).into()),
        },
        None => Ok(()),
    }
}

/// Nanoseconds since the Unix epoch, for the age of flows; 0 on a clock before it.
pub(crate) fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|duration| u64::try_from(duration.as_nanos()).ok())
        .unwrap_or_default()
}
