//! Where an agent listens, as the user writes it: `host:port`, a URL or `unix:PATH`, with a
//! name of its own in front if wanted (`fw1=10.0.0.1:7443`).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// The socket of an agent that was told nothing else.
pub const DEFAULT_TARGET: &str = "unix:/run/ctfleet/ctagent.sock";

/// The end point that is dialled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

/// What the spelling of a target says about encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `unix:`: the socket's permissions protect it.
    Unix,
    /// `host:port`: TLS, unless the user insists on plaintext.
    Bare,
    /// `http://`: plaintext, on loopback only unless the user insists.
    Http,
    /// `https://`: TLS in any case.
    Https,
}

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    name: Arc<str>,
    address: Address,
    scheme: Scheme,
}

/// Text that names no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing, or nothing behind the name.
    #[error("a target is empty; write host:port, https://host:port or unix:PATH")]
    Empty,
    /// A TCP target without a port.
    #[error("target {0:?} has no port; write host:port (or unix:PATH for a socket)")]
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    #[error("target {text:?}: {port:?} is not a port; write a number from 1 to 65535")]
    Port {
        /// The whole target.
        text: String,
        /// What stands for the port.
        port: String,
    },
    /// No host, or one that can be none.
    #[error("target {text:?}: {host:?} is not a host name or address")]
    Host {
        /// The whole target.
        text: String,
        /// What stands for the host.
        host: String,
    },
    /// A scheme that is not known here.
    #[error("target {text:?}: unknown scheme {scheme:?}; use http, https or unix")]
    UnknownScheme {
        /// The whole target.
        text: String,
        /// The scheme.
        scheme: String,
    },
    /// A URL with more than a host and a port.
    #[error("target {0:?}: an agent has no path, query or user; write scheme://host:port")]
    MoreThanHost(String),
    /// A socket path that is not absolute.
    #[error("target {0:?}: the path of a socket starts with /")]
    RelativePath(String),
    /// Plaintext over a network that nobody asked for.
    #[error(
        "target {0:?} would send everything in plaintext over the network; use https://, or \
         insist with --insecure-plaintext"
    )]
    Plaintext(String),
}

impl Target {
    /// What rows and messages call it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether the connection is encrypted, given whether the user insists on plaintext.
    pub fn uses_tls(&self, insecure_plaintext: bool) -> Result<bool, TargetError> {
        match (self.scheme, &self.address) {
            (Scheme::Unix, _) | (_, Address::Unix(_)) => Ok(false),
            (Scheme::Https, _) => Ok(true),
            (Scheme::Bare, _) => Ok(!insecure_plaintext),
            (Scheme::Http, Address::Tcp { host, .. }) => {
                if insecure_plaintext || is_loopback(host) {
                    Ok(false)
                } else {
                    Err(TargetError::Plaintext(self.to_string()))
                }
            }
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The address as it would be written, without the name.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Http => f.write_str("http://")?,
            Scheme::Https => f.write_str("https://")?,
            Scheme::Unix | Scheme::Bare => {}
        }
        self.address.fmt(f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (name, place) = split_name(text.trim());
        let (scheme, address) = parse_place(place)?;
        let name = match name {
            Some(name) => name.into(),
            None => address.to_string().into(),
        };
        Ok(Self {
            name,
            address,
            scheme,
        })
    }
}

/// `name=place`. A name is a word, so that a `=` within a path does not make one.
fn split_name(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, place))
            if !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) =>
        {
            (Some(name), place)
        }
        _ => (None, text),
    }
}

fn parse_place(text: &str) -> Result<(Scheme, Address), TargetError> {
    if text.is_empty() {
        return Err(TargetError::Empty);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        // unix:///run/x, as some write it, is /run/x.
        let path = path.strip_prefix("//").unwrap_or(path);
        return if path.starts_with('/') {
            Ok((Scheme::Unix, Address::Unix(path.into())))
        } else {
            Err(TargetError::RelativePath(text.to_owned()))
        };
    }
    if text.starts_with('/') {
        return Ok((Scheme::Unix, Address::Unix(text.into())));
    }
    let (scheme, authority) = match text.split_once("://") {
        None => (Scheme::Bare, text),
        Some((scheme, rest)) => {
            let authority = rest.strip_suffix('/').unwrap_or(rest);
            match scheme.to_ascii_lowercase().as_str() {
                "http" => (Scheme::Http, authority),
                "https" => (Scheme::Https, authority),
                _ => {
                    return Err(TargetError::UnknownScheme {
                        text: text.to_owned(),
                        scheme: scheme.to_owned(),
                    });
                }
            }
        }
    };
    if authority.contains(['/', '?', '#', '@']) {
        return Err(TargetError::MoreThanHost(text.to_owned()));
    }
    Ok((scheme, parse_authority(text, authority)?))
}

fn parse_authority(text: &str, authority: &str) -> Result<Address, TargetError> {
    let bad_host = |host: &str| TargetError::Host {
        text: text.to_owned(),
        host: host.to_owned(),
    };
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or_else(|| bad_host(authority))?;
        host.parse::<Ipv6Addr>().map_err(|_| bad_host(host))?;
        let port = port
            .strip_prefix(':')
            .ok_or_else(|| TargetError::NoPort(text.to_owned()))?;
        (host, port)
    } else {
        let (host, port) = authority
            .rsplit_once(':')
            .ok_or_else(|| TargetError::NoPort(text.to_owned()))?;
        let valid = !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !valid {
            return Err(bad_host(host));
        }
        (host, port)
    };
    match port.parse() {
        Ok(number @ 1..) => Ok(Address::Tcp {
            host: host.to_owned(),
            port: number,
        }),
        _ => Err(TargetError::Port {
            text: text.to_owned(),
            port: port.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp {
            host: host.into(),
            port,
        }
    }

    #[test]
    fn every_spelling() {
        assert_eq!(*target("fw1:7443").address(), tcp("fw1", 7443));
        assert_eq!(*target("10.0.0.1:1").address(), tcp("10.0.0.1", 1));
        assert_eq!(
            *target("[2001:db8::1]:7443").address(),
            tcp("2001:db8::1", 7443)
        );
        assert_eq!(
            *target("https://fw1.example:7443/").address(),
            tcp("fw1.example", 7443)
        );
        assert_eq!(*target("HTTP://[::1]:80").address(), tcp("::1", 80));
        for text in [
            "unix:/run/a b.sock",
            "unix:///run/a b.sock",
            "/run/a b.sock",
        ] {
            assert_eq!(
                *target(text).address(),
                Address::Unix("/run/a b.sock".into())
            );
        }
    }

    #[test]
    fn the_name_is_the_address_unless_given() {
        assert_eq!(&**target("https://[::1]:80").name(), "[::1]:80");
        assert_eq!(&**target("unix:/run/x=y.sock").name(), "unix:/run/x=y.sock");
        assert_eq!(&**target("fw-1.a=unix:/run/x.sock").name(), "fw-1.a");
        assert_eq!(target("edge=https://h:1").to_string(), "https://h:1");
    }

    #[test]
    fn what_is_no_target_says_why() {
        let error = |text: &str| text.parse::<Target>().unwrap_err();
        assert_eq!(error(" "), TargetError::Empty);
        assert_eq!(error("fw1="), TargetError::Empty);
        assert!(matches!(error("fw1"), TargetError::NoPort(_)));
        assert!(matches!(error("[::1]"), TargetError::NoPort(_)));
        assert!(matches!(error("fw1:0"), TargetError::Port { .. }));
        assert!(matches!(error("fw1:70000"), TargetError::Port { .. }));
        assert!(matches!(error("::1:7443"), TargetError::Host { .. }));
        assert!(matches!(error(":7443"), TargetError::Host { .. }));
        assert!(matches!(error("[fw1]:7443"), TargetError::Host { .. }));
        assert!(matches!(
            error("ftp://fw1:21"),
            TargetError::UnknownScheme { .. }
        ));
        assert!(matches!(
            error("https://fw1:1/x"),
            TargetError::MoreThanHost(_)
        ));
        assert!(matches!(
            error("https://me@fw1:1"),
            TargetError::MoreThanHost(_)
        ));
        assert!(matches!(error("unix:run/x"), TargetError::RelativePath(_)));
    }

    #[test]
    fn plaintext_leaves_the_host_only_when_asked_to() {
        let tls = |text: &str, insist: bool| target(text).uses_tls(insist);
        assert_eq!(tls("fw1:1", false), Ok(true));
        assert_eq!(tls("127.0.0.1:1", false), Ok(true));
        assert_eq!(tls("fw1:1", true), Ok(false));
        assert_eq!(tls("https://fw1:1", true), Ok(true));
        assert_eq!(tls("http://localhost:1", false), Ok(false));
        assert_eq!(tls("http://[::1]:1", false), Ok(false));
        assert!(matches!(
            tls("http://fw1:1", false),
            Err(TargetError::Plaintext(_))
        ));
        assert_eq!(tls("http://fw1:1", true), Ok(false));
        assert_eq!(tls("unix:/x", false), Ok(false));
    }
}
