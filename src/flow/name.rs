//! Names that the kernel keeps in a fixed array: no allocation for an entry with a helper.

use std::fmt;
use std::str::FromStr;

use arrayvec::ArrayString;

/// The name of a helper: at most 15 bytes (`NF_CT_HELPER_NAME_LEN` is 16, with the NUL).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct HelperName(ArrayString<15>);

impl HelperName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A helper name of more than 15 bytes, or one with a NUL byte in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("helper name {0:?} is empty, longer than 15 bytes or has a NUL byte")]
pub struct NameTooLong(pub String);

impl FromStr for HelperName {
    type Err = NameTooLong;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if s.is_empty() || s.contains('\0') {
            return Err(NameTooLong(s.to_owned()));
        }
        ArrayString::from(s)
            .map(Self)
            .map_err(|_| NameTooLong(s.to_owned()))
    }
}

impl fmt::Debug for HelperName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for HelperName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
