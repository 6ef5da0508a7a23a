//! The oldest TLS that the agent speaks.

use std::fmt;
use std::str::FromStr;

use tokio_rustls::rustls::SupportedProtocolVersion;
use tokio_rustls::rustls::version::{TLS12, TLS13};

/// A version of TLS, as the least that is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// 1.2: a client's certificate travels in the clear.
    Tls12,
    /// 1.3.
    #[default]
    Tls13,
}

/// Text that is no version which can be the least.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no TLS version that the agent can begin with: expected 1.2 or 1.3")]
pub struct BadMinVersion(String);

impl MinVersion {
    /// All that are accepted then.
    pub(super) fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static FROM_12: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        static FROM_13: [&SupportedProtocolVersion; 1] = [&TLS13];
        match self {
            Self::Tls12 => &FROM_12,
            Self::Tls13 => &FROM_13,
        }
    }
}

impl FromStr for MinVersion {
    type Err = BadMinVersion;

    fn from_str(text: &str) -> Result<Self, BadMinVersion> {
        match text {
            "1.2" => Ok(Self::Tls12),
            "1.3" => Ok(Self::Tls13),
            _ => Err(BadMinVersion(text.to_owned())),
        }
    }
}

impl fmt::Display for MinVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        })
    }
}

impl<'de> serde::Deserialize<'de> for MinVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
