//! Which versions of TLS an agent speaks.

use std::sync::Arc;

use ctfleet::tls::{ServerIdentity, client_config};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::harness::pki::{Authority, TlsAgent};

fn only_1_2(authority: &Authority) -> ClientConfig {
    let [cert, key] = authority.issue("operator");
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.issuer.der().clone())
        .expect("an authority");
    let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_protocol_versions(&[&TLS12])
        .expect("TLS 1.2")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("a client")
}

#[tokio::test]
async fn tls_1_2_is_refused_unless_the_configuration_allows_it() {
    let ours = Authority::new("ours");
    ours.enrol("operator");
    let old = Arc::new(only_1_2(&ours));
    let new = client_config(&ours.at("ca.pem"), None, &ServerIdentity::Host).expect("a client");
    for (flags, allowed) in [(&[][..], false), (&["--tls-min-version=1.2"], true)] {
        let agent = TlsAgent::start(&ours, flags);
        for (client, expected) in [(&old, allowed), (&new, true)] {
            let name = ServerName::try_from("127.0.0.1").expect("a name");
            let tcp = agent.agent.connect(agent.ns());
            let shaken = TlsConnector::from(Arc::clone(client))
                .connect(name, tcp)
                .await;
            assert_eq!(shaken.is_ok(), expected, "{flags:?}: {shaken:?}");
        }
        agent.ask(&ours, "count").well();
    }
}
