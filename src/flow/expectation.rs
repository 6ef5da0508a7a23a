//! The expectation: a flow that a helper waits for (`enum ctattr_expect`).

use super::{Direction, HelperName, Tuple};

/// `NF_CT_EXPECT_*` bits and their names, as conntrack(8) writes them.
pub const EXPECT_FLAG_NAMES: [(u32, &str); 3] =
    [(1, "PERMANENT"), (2, "INACTIVE"), (4, "USERSPACE")];

/// The translation that an expected flow will get (`CTA_EXPECT_NAT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExpectationNat {
    /// The direction that is translated.
    pub direction: Direction,
    /// What it is translated to.
    pub tuple: Tuple,
}

/// A flow that a helper waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expectation {
    /// `CTA_EXPECT_ID`, a hash.
    pub id: Option<u32>,
    /// The expected flow.
    pub tuple: Tuple,
    /// Which bits of it count; the kernel keeps only the source's.
    pub mask: Tuple,
    /// The original tuple of the connection that expects it.
    pub master: Tuple,
    /// The zone of the master; written, never reported.
    pub zone: u16,
    /// Seconds until it expires.
    pub timeout: Option<u32>,
    /// `NF_CT_EXPECT_*`.
    pub flags: Option<u32>,
    /// The class within the helper.
    pub class: Option<u32>,
    /// The helper.
    pub helper: Option<HelperName>,
    /// The helper's function for the expected flow.
    pub function: Option<Box<str>>,
    /// The translation that it will get.
    pub nat: Option<ExpectationNat>,
}

/// Names one expectation. It always has a tuple, so that a request made from it can never
/// mean the whole list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExpectationKey {
    /// The expected tuple.
    pub tuple: Tuple,
    /// The zone.
    pub zone: u16,
    /// The id that it must have.
    pub id: Option<u32>,
}

impl ExpectationKey {
    /// Whether it names this expectation. The kernel finds more by it: an expectation that
    /// expects the tuple among others. Which zone it is in nobody but the kernel knows.
    pub fn names(&self, expectation: &Expectation) -> bool {
        self.tuple == expectation.tuple && (self.id.is_none() || self.id == expectation.id)
    }
}

impl Expectation {
    /// What names this very expectation.
    pub fn key(&self) -> ExpectationKey {
        ExpectationKey {
            tuple: self.tuple,
            zone: self.zone,
            id: self.id,
        }
    }
}
