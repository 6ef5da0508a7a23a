//! The connection tracking entry, its key, and changes to it.

use super::{Direction, Family, HelperName, Labels, ProtoInfo, Status, Tuple};

/// Which directions of a flow its zone applies to (`struct nf_conntrack_zone`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ZoneDirection {
    /// Both.
    #[default]
    Both,
    /// The original direction.
    Orig,
    /// The reply direction.
    Reply,
}

/// A conntrack zone; the default is zone 0 in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Zone {
    /// Its number.
    pub id: u16,
    /// Where it applies.
    pub direction: ZoneDirection,
}

impl Zone {
    /// A zone that applies to both directions.
    pub fn both(id: u16) -> Self {
        Self {
            id,
            direction: ZoneDirection::Both,
        }
    }
}

/// Counters of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP header included.
    pub bytes: u64,
}

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timestamps {
    /// When the flow began.
    pub start: Option<u64>,
    /// When it ended.
    pub stop: Option<u64>,
    /// When the event was raised (Linux 6.14; events only, never written).
    pub event: Option<u64>,
}

impl Timestamps {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The helper of a flow (`CTA_HELP`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Helper {
    /// Its name.
    pub name: HelperName,
    /// Its private data (`CTA_HELP_INFO`); boxed since it is rare.
    pub info: Option<Box<[u8]>>,
}

/// Sequence adjustment of one direction (`struct nf_ct_seqadj`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqAdj {
    /// The sequence number after which `offset_after` applies.
    pub correction_pos: u32,
    /// The shift before it.
    pub offset_before: i32,
    /// The shift after it.
    pub offset_after: i32,
}

/// SYNPROXY state (`struct nf_conn_synproxy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Synproxy {
    /// The initial sequence number of the proxy.
    pub isn: u32,
    /// The initial timestamp.
    pub its: u32,
    /// The timestamp offset.
    pub tsoff: u32,
}

/// One entry of the connection tracking table. What the kernel did not send is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// `CTA_ID`, a hash.
    pub id: Option<u32>,
    /// The original direction.
    pub orig: Tuple,
    /// The reply direction.
    pub reply: Tuple,
    /// The zone.
    pub zone: Zone,
    /// Status bits.
    pub status: Option<Status>,
    /// Seconds until it expires.
    pub timeout: Option<u32>,
    /// The mark.
    pub mark: Option<u32>,
    /// What the transport protocol's tracker knows.
    pub protoinfo: Option<ProtoInfo>,
    /// Counters of the original direction.
    pub counters_orig: Option<Counters>,
    /// Counters of the reply direction.
    pub counters_reply: Option<Counters>,
    /// The reference count.
    pub use_count: Option<u32>,
    /// Labels.
    pub labels: Option<Labels>,
    /// Start, stop and event time.
    pub timestamps: Timestamps,
    /// The helper.
    pub helper: Option<Helper>,
    /// The security context.
    pub secctx: Option<Box<str>>,
    /// Sequence adjustment of the original direction.
    pub seqadj_orig: Option<SeqAdj>,
    /// Sequence adjustment of the reply direction.
    pub seqadj_reply: Option<SeqAdj>,
    /// SYNPROXY state.
    pub synproxy: Option<Synproxy>,
    /// The original tuple of the connection that expected this one.
    pub master: Option<Tuple>,
}

impl Flow {
    /// A flow with these tuples and nothing else.
    pub fn new(orig: Tuple, reply: Tuple) -> Self {
        Self {
            id: None,
            orig,
            reply,
            zone: Zone::default(),
            status: None,
            timeout: None,
            mark: None,
            protoinfo: None,
            counters_orig: None,
            counters_reply: None,
            use_count: None,
            labels: None,
            timestamps: Timestamps::default(),
            helper: None,
            secctx: None,
            seqadj_orig: None,
            seqadj_reply: None,
            synproxy: None,
            master: None,
        }
    }

    /// The address family.
    pub fn family(&self) -> Family {
        self.orig.family()
    }

    /// What names this very entry: its original tuple, zone and id.
    pub fn key(&self) -> FlowKey {
        FlowKey {
            tuple: self.orig,
            direction: Direction::Orig,
            zone: self.zone,
            id: self.id,
        }
    }
}

/// Names one entry. It always has a tuple, so that a request made from it can never mean
/// the whole table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The tuple to look up.
    pub tuple: Tuple,
    /// Which of the entry's tuples that is.
    pub direction: Direction,
    /// The zone to look in.
    pub zone: Zone,
    /// The id that the entry must have to be deleted.
    pub id: Option<u32>,
}

impl FlowKey {
    /// Whether it names this very entry. The kernel finds more by it: an entry that has the
    /// tuple in the other direction, and one whose zone counts in the other direction only.
    pub fn names(&self, flow: &Flow) -> bool {
        let tuple = match self.direction {
            Direction::Orig => &flow.orig,
            Direction::Reply => &flow.reply,
        };
        // Zone 0 is the default zone, whatever direction is said of it.
        let zone = self.zone == flow.zone || (self.zone.id, flow.zone.id) == (0, 0);
        *tuple == self.tuple && zone && (self.id.is_none() || self.id == flow.id)
    }
}

/// New bits and which of them count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Masked<T> {
    /// The new bits.
    pub value: T,
    /// Which bits change.
    pub mask: T,
}

/// What an update changes; `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowChanges {
    /// `mark = (mark & !mask) | (value & mask)`.
    pub mark: Option<Masked<u32>>,
    /// Seconds from now.
    pub timeout: Option<u32>,
    /// Status bits to set.
    pub status_set: Option<Status>,
    /// `labels = (labels & !mask) | (value & mask)`.
    pub labels: Option<Masked<Labels>>,
    /// Protocol information.
    pub protoinfo: Option<ProtoInfo>,
    /// The helper's name.
    pub helper: Option<HelperName>,
    /// Sequence adjustment of the original direction.
    pub seqadj_orig: Option<SeqAdj>,
    /// Sequence adjustment of the reply direction.
    pub seqadj_reply: Option<SeqAdj>,
    /// SYNPROXY state.
    pub synproxy: Option<Synproxy>,
}

impl FlowChanges {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
