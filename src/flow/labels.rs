//! Connection labels: 128 bits (`NF_CT_LABELS_MAX_SIZE` is 16 bytes).

use std::fmt;

/// Labels: label n is bit n of the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(pub u128);

impl Labels {
    /// From bytes where label n is bit n % 8 of byte n / 8. The kernel sends a multiple of
    /// its word size, at most 16 bytes; missing ones are 0. `None` for more than 16.
    pub fn from_le_bytes(bytes: &[u8]) -> Option<Self> {
        let mut array = [0; 16];
        array.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self(u128::from_le_bytes(array)))
    }

    /// As bytes where label n is bit n % 8 of byte n / 8.
    pub fn to_le_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// The numbers of the labels that are set, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..128u8).filter(move |n| self.0 >> n & 1 == 1)
    }
}

/// In hexadecimal.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
