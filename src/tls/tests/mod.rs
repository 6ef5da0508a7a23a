//! Handshakes in memory with certificates made for the test, and files that are wrong.

mod client;
mod lists;
mod live;
mod revoked;

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    self, AlertDescription, ClientConfig, Error, HandshakeKind, ServerConfig,
    SupportedProtocolVersion, crypto,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::files::Identity;
use super::*;

/// An authority and the files of a side that it issued.
struct Issuer {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Issuer {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let directory = TempDir::new().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { directory, issuer }
    }

    fn issue(&self, name: &str) -> Files {
        self.issue_as(name, |_| {})
    }

    fn issue_as(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Files {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        change(&mut params);
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        let at = |file: &str| self.directory.path().join(file);
        std::fs::write(at(&format!("{name}.pem")), cert.pem()).expect("a file");
        std::fs::write(at(&format!("{name}.key")), key.serialize_pem()).expect("a file");
        Files {
            cert: at(&format!("{name}.pem")),
            key: at(&format!("{name}.key")),
            ca: at("ca.pem"),
            crls: Vec::new(),
        }
    }
}

/// An agent with these files.
fn of(files: &Files) -> Settings {
    Settings {
        files: files.clone(),
        min_version: MinVersion::default(),
    }
}

/// A client with the identity of these files, or without one.
fn client(files: &Files, anonymous: bool) -> Arc<ClientConfig> {
    client_with(files, anonymous, rustls::ALL_VERSIONS)
}

fn client_with(
    files: &Files,
    anonymous: bool,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let Identity {
        chain,
        key,
        authorities,
        ..
    } = files.read().expect("an identity");
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(files::roots(authorities, &files.ca).expect("authorities"));
    Arc::new(if anonymous {
        config.with_no_client_auth()
    } else {
        config
            .with_client_auth_cert(chain, key)
            .expect("an identity")
    })
}

/// A handshake over memory: what the client reads of the agent's greeting, and whether the
/// agent let it in.
async fn greet(server: &Files, client: Arc<ClientConfig>) -> (Result<String, Error>, bool) {
    greet_with(server_config(&of(server)).expect("a server"), client).await
}

async fn greet_with(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> (Result<String, Error>, bool) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let acceptor = TlsAcceptor::from(server);
    let agent = tokio::spawn(async move {
        let mut stream = acceptor.accept(far).await?;
        stream.write_all(b"hello").await?;
        stream.shutdown().await
    });
    let seen = async {
        let name = ServerName::try_from("agent").expect("a name");
        let mut stream = TlsConnector::from(client).connect(name, near).await?;
        let mut greeting = String::new();
        stream.read_to_string(&mut greeting).await?;
        Ok(greeting)
    };
    let seen: Result<_, std::io::Error> = seen.await;
    let seen = seen.map_err(|error| {
        let inner = error.into_inner().expect("an error of TLS");
        *inner.downcast::<Error>().expect("an error of TLS")
    });
    (seen, agent.await.expect("no panic").is_ok())
}

#[tokio::test]
async fn a_client_of_the_authority_is_let_in() {
    let issuer = Issuer::new("ours");
    let client = client(&issuer.issue("operator"), false);
    let (seen, let_in) = greet(&issuer.issue("agent"), client).await;
    assert_eq!(seen.as_deref(), Ok("hello"));
    assert!(let_in);
}

#[tokio::test]
async fn a_client_of_another_authority_is_kept_out() {
    let (issuer, other) = (Issuer::new("ours"), Issuer::new("theirs"));
    let mut files = other.issue("operator");
    files.ca = issuer.issue("unused").ca;
    let (seen, let_in) = greet(&issuer.issue("agent"), client(&files, false)).await;
    assert!(!let_in);
    assert_eq!(seen, Err(Error::AlertReceived(AlertDescription::UnknownCA)));
}

#[tokio::test]
async fn a_client_without_certificate_is_kept_out() {
    let issuer = Issuer::new("ours");
    let client = client(&issuer.issue("operator"), true);
    let (seen, let_in) = greet(&issuer.issue("agent"), client).await;
    assert!(!let_in);
    let demanded = AlertDescription::CertificateRequired;
    assert_eq!(seen, Err(Error::AlertReceived(demanded)));
}

#[tokio::test]
async fn tls_1_2_is_spoken_where_it_is_allowed() {
    let issuer = Issuer::new("ours");
    let files = issuer.issue("agent");
    let client = client_with(&issuer.issue("operator"), false, &[&TLS12]);
    let (seen, let_in) = greet(&files, Arc::clone(&client)).await;
    assert!(!let_in);
    let refused = AlertDescription::ProtocolVersion;
    assert_eq!(seen, Err(Error::AlertReceived(refused)));

    let min_version = MinVersion::Tls12;
    let server = server_config(&Settings { files, min_version }).expect("a server");
    let (seen, let_in) = greet_with(server, client).await;
    assert_eq!(seen.as_deref(), Ok("hello"));
    assert!(let_in);
}

/// A client that keeps what it needs for a resumption gets no ticket and no session: it is
/// verified anew each time.
#[tokio::test]
async fn no_session_is_resumed_with_either_version() {
    let issuer = Issuer::new("ours");
    for (version, min_version) in [(&TLS13, MinVersion::Tls13), (&TLS12, MinVersion::Tls12)] {
        let client = client_with(&issuer.issue("operator"), false, &[version]);
        let files = issuer.issue("agent");
        let server = server_config(&Settings { files, min_version }).expect("a server");
        for _ in 0..2 {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let acceptor = TlsAcceptor::from(Arc::clone(&server));
            let agent = tokio::spawn(async move {
                let mut stream = acceptor.accept(far).await.expect("a handshake");
                stream.write_all(b"hello").await.expect("written");
                stream.get_ref().1.handshake_kind()
            });
            let connector = TlsConnector::from(Arc::clone(&client));
            let name = ServerName::try_from("agent").expect("a name");
            let mut stream = connector.connect(name, near).await.expect("a handshake");
            // A ticket would come with the first bytes.
            stream.read_exact(&mut [0; 5]).await.expect("read");
            let kind = agent.await.expect("no panic");
            assert_eq!(kind, Some(HandshakeKind::Full));
        }
    }
}

fn refusal(files: &Files) -> String {
    server_config(&of(files)).expect_err("refused").to_string()
}

#[test]
fn a_wrong_file_is_named_with_the_reason() {
    let issuer = Issuer::new("ours");
    let good = issuer.issue("agent");
    let named = |error: &str, file: &Path, reason: &str| {
        assert!(error.contains(&file.display().to_string()), "{error}");
        assert!(error.contains(reason), "{error}");
    };

    let missing = issuer.directory.path().join("missing.pem");
    for (files, file) in [
        (
            Files {
                cert: missing.clone(),
                ..good.clone()
            },
            &missing,
        ),
        (
            Files {
                key: missing.clone(),
                ..good.clone()
            },
            &missing,
        ),
        (
            Files {
                ca: missing.clone(),
                ..good.clone()
            },
            &missing,
        ),
    ] {
        named(&refusal(&files), file, "No such file");
    }

    let swapped = Files {
        key: good.cert.clone(),
        ..good.clone()
    };
    named(&refusal(&swapped), &good.cert, "no TLS private key");
    let swapped = Files {
        cert: good.key.clone(),
        ..good.clone()
    };
    named(&refusal(&swapped), &good.key, "no TLS certificate");
    let swapped = Files {
        ca: good.key.clone(),
        ..good.clone()
    };
    named(&refusal(&swapped), &good.key, "no TLS authority");

    let damaged = issuer.directory.path().join("damaged.pem");
    std::fs::write(&damaged, "-----BEGIN CERTIFICATE-----\n!\n").expect("a file");
    let files = Files {
        cert: damaged.clone(),
        ..good.clone()
    };
    named(&refusal(&files), &damaged, "is damaged");

    let other = issuer.issue("other");
    let files = Files {
        key: other.key.clone(),
        ..good
    };
    named(&refusal(&files), &other.key, "does not belong to");
}
