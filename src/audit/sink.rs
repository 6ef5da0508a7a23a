//! Where the audit log goes: `stderr`, `journal`, `file:/path` or `off`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where the audit log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sink {
    /// Standard error, between the lines of the other log.
    #[default]
    Stderr,
    /// The journal, with a field for each key.
    Journal,
    /// A file; its path is absolute.
    File(PathBuf),
    /// Nowhere.
    Off,
}

/// Text that names no place for the audit log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no place for the audit log: expected stderr, journal, file:/PATH or off")]
pub struct BadSink(String);

impl Sink {
    /// The directory where the agent must be able to make a file, also later: after a
    /// rotation the file is made anew.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::File(path) => path.parent(),
            Self::Stderr | Self::Journal | Self::Off => None,
        }
    }
}

impl FromStr for Sink {
    type Err = BadSink;

    fn from_str(text: &str) -> Result<Self, BadSink> {
        let bad = || BadSink(text.to_owned());
        match text {
            "stderr" => Ok(Self::Stderr),
            "journal" => Ok(Self::Journal),
            "off" => Ok(Self::Off),
            _ => {
                let path = PathBuf::from(text.strip_prefix("file:").ok_or_else(bad)?);
                if path.is_absolute() && path.file_name().is_some() && !text.ends_with('/') {
                    Ok(Self::File(path))
                } else {
                    Err(bad())
                }
            }
        }
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stderr => f.write_str("stderr"),
            Self::Journal => f.write_str("journal"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Off => f.write_str("off"),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Sink {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
