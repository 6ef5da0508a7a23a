//! A small authority in a directory: its own certificate, and those that it issues to agents and
//! clients. ECDSA on P-256, which everything that speaks TLS understands.

mod authority;
mod files;
mod revocation;
mod subject;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

pub use authority::{Authority, Issued};
pub use revocation::Revoked;
pub use subject::{Agent, Client};

/// Where the files are unless the user says otherwise.
pub const DIRECTORY: &str = "ctfleet-pki";

/// A certificate that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file that is there already.
    #[error(
        "{0} exists already, and nothing is overwritten; take another --dir or name, or move it \
         away"
    )]
    Exists(PathBuf),
    /// The list is being written by somebody else, or was when they were killed.
    #[error(
        "{0} exists: another ctctl pki revoke is at work, or was cut off; if none runs, remove \
         that file, and try again"
    )]
    Busy(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no authority.
    #[error("cannot read {path}: {source}; make an authority first: ctctl pki init", path = path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its files do not serve.
    #[error("{path} is not the file of an authority: {reason}", path = path.display())]
    BadAuthority {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A certificate, or the list, that cannot be used to revoke.
    #[error("cannot revoke with {path}: {reason}", path = path.display())]
    Revocation {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The authority is out of its time.
    #[error("the authority {path} ended on {end}, or this host's clock is wrong", path = path.display())]
    Ended {
        /// The file.
        path: PathBuf,
        /// When.
        end: String,
    },
    /// A name that cannot stand in a certificate, or name a file.
    #[error("{name:?} cannot be the name of {what}: {reason}")]
    Name {
        /// The name.
        name: String,
        /// "an agent".
        what: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// The cryptography fails.
    #[error("cannot make a certificate: {0}")]
    Crypto(String),
}

impl From<rcgen::Error> for PkiError {
    fn from(error: rcgen::Error) -> Self {
        Self::Crypto(error.to_string())
    }
}
