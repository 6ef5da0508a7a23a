//! Certificates, keys and authorities in PEM files, and what can be wrong with them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem,
};
use tokio_rustls::rustls::{self, RootCertStore};

/// Where the agent's identity and the authority over its clients are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate chain, the own certificate first.
    pub cert: PathBuf,
    /// The private key of it: PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
    /// The authorities that clients' certificates must come from.
    pub ca: PathBuf,
    /// The authorities' lists of certificates that were revoked. Without any, none is asked for;
    /// with one, every authority has to have one.
    pub crls: Vec<PathBuf>,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The certificate chain.
    Certificate,
    /// The private key.
    Key,
    /// The authorities.
    Authority,
    /// What the authorities revoked.
    Revocations,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "private key",
            Self::Authority => "authority",
            Self::Revocations => "revocation list",
        })
    }
}

/// A file does not hold what TLS needs of it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read the TLS {purpose} {path}: {source}", path = path.display())]
    Read {
        /// What it is for.
        purpose: Purpose,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing of the kind in it.
    #[error("no TLS {purpose} in {path}: expected PEM with {expected}", path = path.display(), expected = match purpose {
        Purpose::Key => "BEGIN PRIVATE KEY, BEGIN RSA PRIVATE KEY or BEGIN EC PRIVATE KEY",
        Purpose::Revocations => "BEGIN X509 CRL",
        _ => "BEGIN CERTIFICATE",
    })]
    Nothing {
        /// What it is for.
        purpose: Purpose,
        /// The file.
        path: PathBuf,
    },
    /// It is damaged.
    #[error("the TLS {purpose} {path} is damaged: {reason}", path = path.display())]
    Damaged {
        /// What it is for.
        purpose: Purpose,
        /// The file.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// An authority cannot be used.
    #[error("the TLS authority {path} cannot be used: {reason}", path = path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A list of revoked certificates cannot be used.
    #[error("the TLS revocation list {path} cannot be used: {reason}", path = path.display())]
    Revocations {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key is not that of the certificate.
    #[error("the TLS private key {key} does not belong to the certificate {cert}", key = key.display(), cert = cert.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        cert: PathBuf,
    },
    /// Certificate and key cannot be used.
    #[error("the TLS certificate {cert} cannot be used: {source}", cert = cert.display())]
    Refused {
        /// The certificate's file.
        cert: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The cryptography does not offer TLS 1.2 or 1.3.
    #[error("TLS cannot be set up: {0}")]
    Provider(#[source] rustls::Error),
}

/// What the files hold.
#[derive(PartialEq)]
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// The lists of each file.
    pub(super) crls: Vec<Vec<CertificateRevocationListDer<'static>>>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            authorities: self.authorities.clone(),
            crls: self.crls.clone(),
        }
    }
}

impl Files {
    /// Reads all of them.
    pub(super) fn read(&self) -> Result<Identity, TlsError> {
        let crls = self.crls.iter().map(|path| revocations(path));
        Ok(Identity {
            chain: certificates(&self.cert, Purpose::Certificate)?,
            key: private_key(&self.key)?,
            authorities: certificates(&self.ca, Purpose::Authority)?,
            crls: crls.collect::<Result<_, _>>()?,
        })
    }

    /// Every one of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Path> {
        [&self.cert, &self.key, &self.ca]
            .into_iter()
            .chain(&self.crls)
            .map(PathBuf::as_path)
    }

    /// What rustls had against certificate and key, in terms of files.
    pub(super) fn refused(&self, source: rustls::Error) -> TlsError {
        refused(&self.cert, &self.key, source)
    }
}

/// What rustls had against a certificate and its key, in terms of files.
pub(super) fn refused(cert: &Path, key: &Path, source: rustls::Error) -> TlsError {
    match source {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
            key: key.to_owned(),
            cert: cert.to_owned(),
        },
        source => TlsError::Refused {
            cert: cert.to_owned(),
            source,
        },
    }
}

fn read(path: &Path, purpose: Purpose) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        purpose,
        path: path.to_owned(),
        source,
    })
}

pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(path, Purpose::Key)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| damage(error, path, Purpose::Key))
}

/// Authorities, ready to be asked.
pub(super) fn roots(
    authorities: Vec<CertificateDer<'static>>,
    path: &Path,
) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| TlsError::Authority {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

/// The lists of a file.
fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = read(path, Purpose::Revocations)?;
    let found = CertificateRevocationListDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| damage(error, path, Purpose::Revocations))?;
    if found.is_empty() {
        return Err(TlsError::Nothing {
            purpose: Purpose::Revocations,
            path: path.to_owned(),
        });
    }
    Ok(found)
}

pub(super) fn certificates(
    path: &Path,
    purpose: Purpose,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path, purpose)?;
    let found = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| damage(error, path, purpose))?;
    if found.is_empty() {
        return Err(TlsError::Nothing {
            purpose,
            path: path.to_owned(),
        });
    }
    Ok(found)
}

fn damage(error: pem::Error, path: &Path, purpose: Purpose) -> TlsError {
    match error {
        pem::Error::NoItemsFound => TlsError::Nothing {
            purpose,
            path: path.to_owned(),
        },
        error => TlsError::Damaged {
            purpose,
            path: path.to_owned(),
            reason: error.to_string(),
        },
    }
}
