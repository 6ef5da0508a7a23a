//! The client's side of mutual TLS, from certificate files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName,
};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// The files, as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// CA certificates that agents' certificates have to be issued by.
    pub ca: Option<PathBuf>,
    /// Our certificate, with its chain.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// The name to expect in agents' certificates instead of the target's host.
    pub server_name: Option<String>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// No CA at all: agents' certificates are private to the fleet.
    #[error(
        "a TLS target needs the CA of the agents' certificates; give --tls-ca FILE (and \
         --tls-cert and --tls-key, which agents demand)"
    )]
    NoCa,
    /// One without the other.
    #[error("{given} needs {missing} beside it")]
    Half {
        /// The flag that was given.
        given: &'static str,
        /// The flag that was not.
        missing: &'static str,
    },
    /// A file that cannot be read, or is not PEM.
    #[error("cannot read {what} in {}: {error}", path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: PemError,
    },
    /// A CA certificate that cannot anchor trust, or a key that does not fit.
    #[error("{what} in {} cannot be used: {error}", path.display())]
    Unusable {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: rustls::Error,
    },
    /// A file without a certificate.
    #[error("{} holds no certificate; it has to be in PEM form", .0.display())]
    NoCertificate(PathBuf),
    /// The name cannot stand in a certificate.
    #[error("{name:?} is not a name that a certificate can have: {error}")]
    ServerName {
        /// The name.
        name: String,
        /// Why.
        error: InvalidDnsNameError,
    },
    /// The library has no protocol version left.
    #[error("TLS cannot be set up: {0}")]
    Library(rustls::Error),
}

/// [`pem::Error`] with words for the common cases.
#[derive(Debug)]
pub struct PemError(pem::Error);

impl std::fmt::Display for PemError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            pem::Error::Io(error) => error.fmt(f),
            pem::Error::NoItemsFound => f.write_str("it holds none in PEM form"),
            other => other.fmt(f),
        }
    }
}

/// What every TLS connection needs; made once, shared by all targets.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// Reads the files.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsSetupError> {
        let ca = files.ca.as_deref().ok_or(TlsSetupError::NoCa)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsSetupError::Library)?
            .with_root_certificates(roots(ca)?);
        let mut config = match (&files.cert, &files.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(certificates(cert)?, private_key(key)?)
                .map_err(|error| TlsSetupError::Unusable {
                    what: "the certificate and its key",
                    path: cert.clone(),
                    error,
                })?,
            (Some(_), None) => {
                return Err(TlsSetupError::Half {
                    given: "--tls-cert",
                    missing: "--tls-key",
                });
            }
            (None, Some(_)) => {
                return Err(TlsSetupError::Half {
                    given: "--tls-key",
                    missing: "--tls-cert",
                });
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let server_name = files.server_name.as_deref().map(server_name).transpose()?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            server_name,
        })
    }

    /// Starts handshakes.
    pub fn connector(&self) -> &TlsConnector {
        &self.connector
    }

    /// The name that the certificate of a target at `host` must have.
    pub fn name_for(&self, host: &str) -> Result<ServerName<'static>, TlsSetupError> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => server_name(host),
        }
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsSetupError> {
    ServerName::try_from(name.to_owned()).map_err(|error| TlsSetupError::ServerName {
        name: name.to_owned(),
        error,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let unreadable = |error| TlsSetupError::File {
        what: "certificates",
        path: path.to_owned(),
        error: PemError(error),
    };
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable)?;
    if found.is_empty() {
        return Err(TlsSetupError::NoCertificate(path.to_owned()));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsSetupError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsSetupError::File {
        what: "a private key",
        path: path.to_owned(),
        error: PemError(error),
    })
}

fn roots(path: &Path) -> Result<RootCertStore, TlsSetupError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsSetupError::Unusable {
                what: "a CA certificate",
                path: path.to_owned(),
                error,
            })?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn words(files: &TlsFiles) -> String {
        match Tls::load(files) {
            Ok(_) => "it loads".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let own = rcgen::generate_simple_self_signed(["fw1".to_owned()]).unwrap();
        let cert = file(&own.cert.pem());
        let key = file(&own.signing_key.serialize_pem());
        let none = TlsFiles::default();
        assert!(words(&none).contains("--tls-ca"));
        let ca = TlsFiles {
            ca: Some(cert.path().into()),
            ..none.clone()
        };
        assert_eq!(words(&ca), "it loads");
        let half = TlsFiles {
            cert: Some(cert.path().into()),
            ..ca.clone()
        };
        assert!(words(&half).contains("--tls-cert needs --tls-key"));
        let whole = TlsFiles {
            key: Some(key.path().into()),
            ..half.clone()
        };
        assert_eq!(words(&whole), "it loads");
        let swapped = TlsFiles {
            key: Some(cert.path().into()),
            ..half
        };
        assert!(
            words(&swapped).contains("a private key"),
            "{}",
            words(&swapped)
        );
        let gone = TlsFiles {
            ca: Some("/nowhere/ca.pem".into()),
            ..none.clone()
        };
        assert!(
            words(&gone).contains("/nowhere/ca.pem: No such file"),
            "{}",
            words(&gone)
        );
        let not_pem = file("hello");
        let ca = TlsFiles {
            ca: Some(not_pem.path().into()),
            ..none
        };
        assert!(words(&ca).contains("PEM"), "{}", words(&ca));
        let name = TlsFiles {
            server_name: Some("a b".into()),
            ..whole
        };
        assert!(words(&name).contains("not a name"), "{}", words(&name));
    }
}
