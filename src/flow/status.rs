//! Status bits: `enum ip_conntrack_status` of linux/netfilter/nf_conntrack_common.h.

/// The status bits of an entry. Bits without a name pass through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

impl Status {
    /// It was expected.
    pub const EXPECTED: Self = Self(1 << 0);
    /// Packets were seen in both directions.
    pub const SEEN_REPLY: Self = Self(1 << 1);
    /// It is not evicted early.
    pub const ASSURED: Self = Self(1 << 2);
    /// It is in the table.
    pub const CONFIRMED: Self = Self(1 << 3);
    /// The source is translated.
    pub const SRC_NAT: Self = Self(1 << 4);
    /// The destination is translated.
    pub const DST_NAT: Self = Self(1 << 5);
    /// TCP sequence numbers are adjusted.
    pub const SEQ_ADJUST: Self = Self(1 << 6);
    /// The source translation is set up (also to nothing).
    pub const SRC_NAT_DONE: Self = Self(1 << 7);
    /// The destination translation is set up (also to nothing).
    pub const DST_NAT_DONE: Self = Self(1 << 8);
    /// It is being removed.
    pub const DYING: Self = Self(1 << 9);
    /// Its timeout is not refreshed by packets.
    pub const FIXED_TIMEOUT: Self = Self(1 << 10);
    /// It was made from a template.
    pub const TEMPLATE: Self = Self(1 << 11);
    /// A null binding clashed (kernel internal: `IPS_NAT_CLASH`).
    pub const NAT_CLASH: Self = Self(1 << 12);
    /// Its helper was set explicitly.
    pub const HELPER: Self = Self(1 << 13);
    /// A flow table forwards it in software.
    pub const OFFLOAD: Self = Self(1 << 14);
    /// A flow table forwards it in hardware.
    pub const HW_OFFLOAD: Self = Self(1 << 15);

    /// Bits and their names, in ascending order.
    pub const NAMES: [(Self, &'static str); 16] = [
        (Self::EXPECTED, "EXPECTED"),
        (Self::SEEN_REPLY, "SEEN_REPLY"),
        (Self::ASSURED, "ASSURED"),
        (Self::CONFIRMED, "CONFIRMED"),
        (Self::SRC_NAT, "SRC_NAT"),
        (Self::DST_NAT, "DST_NAT"),
        (Self::SEQ_ADJUST, "SEQ_ADJUST"),
        (Self::SRC_NAT_DONE, "SRC_NAT_DONE"),
        (Self::DST_NAT_DONE, "DST_NAT_DONE"),
        (Self::DYING, "DYING"),
        (Self::FIXED_TIMEOUT, "FIXED_TIMEOUT"),
        (Self::TEMPLATE, "TEMPLATE"),
        (Self::NAT_CLASH, "NAT_CLASH"),
        (Self::HELPER, "HELPER"),
        (Self::OFFLOAD, "OFFLOAD"),
        (Self::HW_OFFLOAD, "HW_OFFLOAD"),
    ];

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of the bits that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .iter()
            .filter(move |(bit, _)| self.contains(*bit))
            .map(|(_, name)| *name)
    }

    /// The bit of a name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, n)| n.eq_ignore_ascii_case(name))
            .map(|(bit, _)| *bit)
    }
}

impl std::ops::BitOr for Status {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
