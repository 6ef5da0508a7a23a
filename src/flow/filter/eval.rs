//! What a filter is asked of.

use std::net::IpAddr;

use arrayvec::ArrayVec;

use super::{AddressField, Filter, Matcher, NumberField, PresenceField, TextField, Translation};
use crate::flow::Labels;

/// What a filter can be evaluated on: it answers what its fields hold. A field that it does
/// not have holds nothing.
pub trait Subject {
    /// The addresses of a field: one, or more of a field that looks at several.
    fn addresses(&self, field: AddressField) -> ArrayVec<IpAddr, 4>;

    /// The numbers of a field: one, or more of a field that looks at several; each fits the
    /// field's [`NumberType`](super::NumberType). `now_ns` is the time in nanoseconds since
    /// the Unix epoch, for [`NumberField::Age`].
    fn numbers(&self, field: NumberField, now_ns: u64) -> ArrayVec<i128, 4>;

    /// The labels, all 0 when there are none; `None` when such a thing never has labels.
    fn labels(&self) -> Option<Labels>;

    /// The text of a field.
    fn text(&self, field: TextField) -> Option<&str>;

    /// Whether it has such a part.
    fn has(&self, field: PresenceField) -> bool;

    /// Whether it is translated so.
    fn is_translated(&self, how: Translation) -> bool;
}

impl Filter {
    /// Whether the filter holds; see [`Matcher::matches`]. To ask of many entries, make a
    /// [`Matcher`] once: this makes one each time.
    pub fn matches(&self, subject: &impl Subject, now_ns: u64) -> bool {
        Matcher::of(self).matches(subject, now_ns)
    }
}
