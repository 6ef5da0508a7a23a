//! The client's side of mutual TLS: which files, and which name to expect.

use std::path::PathBuf;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};

use crate::tls::{TlsError, client_config};

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
    /// A file that does not serve.
    #[error(transparent)]
    File(#[from] TlsError),
    /// The name cannot stand in a certificate.
    #[error("{name:?} is not a name that a certificate can have: {error}")]
    ServerName {
        /// The name.
        name: String,
        /// Why.
        error: InvalidDnsNameError,
    },
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
        let identity = match (files.cert.as_deref(), files.key.as_deref()) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert, key)),
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
        Ok(Self {
            connector: TlsConnector::from(client_config(ca, identity)?),
            server_name: files.server_name.as_deref().map(server_name).transpose()?,
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
        assert!(words(&swapped).contains("private key"));
        let gone = TlsFiles {
            ca: Some("/nowhere/ca.pem".into()),
            ..none
        };
        assert!(words(&gone).contains("/nowhere/ca.pem: No such file"));
        let name = TlsFiles {
            server_name: Some("a b".into()),
            ..whole
        };
        assert!(words(&name).contains("not a name"));
    }
}
