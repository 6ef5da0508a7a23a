//! The client's side of mutual TLS: which files, and which name to expect.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};

use super::fault::Validity;
use crate::ctctl::print::say;
use crate::tls::{ServerIdentity, TlsError, client_config, validity};

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
    /// The one URI to expect in agents' certificates, whatever their hosts are called.
    pub server_id: Option<String>,
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
    /// No URI.
    #[error("{0:?} is no id: expected a URI such as spiffe://example.org/ctagent")]
    ServerId(String),
    /// The name cannot stand in a certificate.
    #[error("{name:?} is not a name that a certificate can have: {error}")]
    ServerName {
        /// The name.
        name: String,
        /// Why.
        error: InvalidDnsNameError,
    },
}

/// What every TLS connection needs, shared by all targets. A command that runs for long finds its
/// files exchanged: they are looked at, as a whole, before each connection.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    source: Source,
    server_name: Option<ServerName<'static>>,
    state: Mutex<State>,
}

/// Where it comes from.
struct Source {
    ca: PathBuf,
    identity: Option<(PathBuf, PathBuf)>,
    server: ServerIdentity,
}

/// What was read last.
struct State {
    connector: TlsConnector,
    /// How the files looked before they were read.
    look: Vec<Look>,
    /// Of the own certificate.
    validity: Option<Validity>,
}

/// What tells that a file holds something else.
#[derive(PartialEq, Eq)]
enum Look {
    /// All that is in it. Its size and its times do not tell: a key that is written again has
    /// the same size, and the kernel's clock for files may stand still for 10 ms.
    File(Vec<u8>),
    /// Which one it is: a pipe can be read only once.
    Other(u64, u64),
    /// It cannot be read.
    Nothing,
}

impl Look {
    fn at(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(file) if file.is_file() => std::fs::read(path).map_or(Self::Nothing, Self::File),
            Ok(other) => Self::Other(other.dev(), other.ino()),
            Err(_) => Self::Nothing,
        }
    }
}

impl Source {
    fn files(&self) -> impl Iterator<Item = &Path> {
        let own = self.identity.iter();
        let own = own.flat_map(|(cert, key)| [cert.as_path(), key.as_path()]);
        std::iter::once(self.ca.as_path()).chain(own)
    }

    fn look(&self) -> Vec<Look> {
        self.files().map(Look::at).collect()
    }

    fn read(&self) -> Result<State, TlsError> {
        let look = self.look();
        let identity = self.identity.as_ref();
        let identity = identity.map(|(cert, key)| (cert.as_path(), key.as_path()));
        let config = client_config(&self.ca, identity, &self.server)?;
        let validity = match identity {
            Some((cert, _)) => validity(cert)?.map(|(begin, end)| Validity { begin, end }),
            None => None,
        };
        Ok(State {
            connector: TlsConnector::from(config),
            look,
            validity,
        })
    }
}

impl Tls {
    /// Reads the files.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsSetupError> {
        let ca = files.ca.clone().ok_or(TlsSetupError::NoCa)?;
        let identity = match (files.cert.clone(), files.key.clone()) {
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
        let server = match &files.server_id {
            None => ServerIdentity::Host,
            Some(id) if id.contains("://") => ServerIdentity::Id(id.clone()),
            Some(id) => return Err(TlsSetupError::ServerId(id.clone())),
        };
        let source = Source {
            ca,
            identity,
            server,
        };
        Ok(Self(Arc::new(Shared {
            server_name: files.server_name.as_deref().map(server_name).transpose()?,
            state: Mutex::new(source.read()?),
            source,
        })))
    }

    /// Starts handshakes, and what they show of us: what the files hold now, or held when they
    /// were last in order.
    pub fn connector(&self) -> (TlsConnector, Option<Validity>) {
        let Shared { source, state, .. } = &*self.0;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let look = source.look();
        if look != state.look {
            match source.read() {
                Ok(new) => *state = new,
                // Certificate and key are exchanged one after the other.
                Err(error) => {
                    say(format_args!("{error}; going on with what was read before"));
                    state.look = look;
                }
            }
        }
        (state.connector.clone(), state.validity)
    }

    /// The name that the certificate of a target at `host` must have.
    pub fn name_for(&self, host: &str) -> Result<ServerName<'static>, TlsSetupError> {
        match (&self.0.server_name, &self.0.source.server) {
            (Some(name), _) => Ok(name.clone()),
            (None, ServerIdentity::Host) => server_name(host),
            // The host's name is not looked at, and need not be one that can be.
            (None, ServerIdentity::Id(_)) => server_name(host).or_else(|_| server_name("agent")),
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
        let id = TlsFiles {
            server_id: Some("ctagent".into()),
            ..whole.clone()
        };
        assert!(words(&id).contains("expected a URI such as spiffe://"));
        let name = TlsFiles {
            server_name: Some("a b".into()),
            ..whole
        };
        assert!(words(&name).contains("not a name"));
    }

    #[test]
    fn exchanged_files_are_read_for_the_next_connection_and_broken_ones_are_not() {
        let own = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (old, new) = (own("old"), own("new"));
        let cert = file(&old.cert.pem());
        let key = file(&old.signing_key.serialize_pem());
        let files = TlsFiles {
            ca: Some(cert.path().into()),
            cert: Some(cert.path().into()),
            key: Some(key.path().into()),
            ..TlsFiles::default()
        };
        let tls = Tls::load(&files).unwrap();
        let config = || Arc::clone(tls.connector().0.config());
        let first = config();
        assert!(Arc::ptr_eq(&first, &config()));
        // In place, and with the old times: of the key nothing but what it holds is new.
        let write = |file: &Path, text: String| {
            let before = std::fs::metadata(file).unwrap();
            std::fs::write(file, text).unwrap();
            let times = std::fs::FileTimes::new().set_modified(before.modified().unwrap());
            let file = std::fs::File::options().write(true).open(file).unwrap();
            file.set_times(times).unwrap();
        };
        write(cert.path(), new.cert.pem());
        assert!(Arc::ptr_eq(&first, &config()), "half of the new pair");
        write(key.path(), new.signing_key.serialize_pem());
        let second = config();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &config()));
    }
}
