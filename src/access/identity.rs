//! Who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::certificate::{self, BadCertificate};

/// One name that somebody proved to have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// A URI of the certificate's subject alternative names, such as a SPIFFE id.
    Uri(String),
    /// A DNS name of the certificate's subject alternative names.
    Dns(String),
    /// The common name of the certificate's subject.
    CommonName(String),
    /// An organisation of the certificate's subject.
    Organization(String),
    /// The user of a process of this host.
    Uid(u32),
    /// A group of a process of this host.
    Gid(u32),
    /// Nobody was asked: plaintext on loopback.
    Anonymous,
}

impl fmt::Display for Name {
    /// As a binding's subject would have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(name) => write!(f, "uri:{name}"),
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::CommonName(name) => write!(f, "cn:{name}"),
            Self::Organization(name) => write!(f, "org:{name}"),
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::Gid(gid) => write!(f, "gid:{gid}"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

/// All names of somebody; the first is what logs call them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    names: Vec<Name>,
    text: String,
}

impl Identity {
    fn new(names: Vec<Name>) -> Self {
        let text = match names.first() {
            Some(name) => name.to_string(),
            None => "nameless".to_owned(),
        };
        Self { names, text }
    }

    /// Of the owner of a certificate, in DER, that was verified already.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has a name that would spoil a log.
    pub fn of_certificate(der: &[u8]) -> Result<Self, BadCertificate> {
        certificate::names(der).map(Self::new)
    }

    /// Of a process of this host, as SO_PEERCRED and SO_PEERGROUPS tell: user, primary group and
    /// the others.
    pub fn of_process(uid: u32, gid: u32, others: &[u32]) -> Self {
        let others = others.iter().filter(|other| **other != gid);
        let names = [Name::Uid(uid), Name::Gid(gid)].into_iter();
        Self::new(names.chain(others.copied().map(Name::Gid)).collect())
    }

    /// Of somebody who was not asked.
    pub fn anonymous() -> Self {
        Self::new(vec![Name::Anonymous])
    }

    /// Every name.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// What logs call them.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A process of this host.
    Unix {
        /// Its user.
        uid: u32,
    },
    /// A host.
    Tcp(SocketAddr),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { uid } => write!(f, "unix, uid {uid}"),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// Who is at the other end, and where; handlers find it in a request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub identity: Arc<Identity>,
    /// Where.
    pub place: Place,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.identity, self.place)
    }
}
