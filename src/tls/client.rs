//! The client's side: which authority agents come from, how they are known, and what they are
//! shown.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{
    self, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::ALPN;
use super::files::{self, Purpose, TlsError};

/// How an agent is known by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerIdentity {
    /// By a DNS name or an address, that of each connection.
    Host,
    /// By the one URI of its certificate, such as a SPIFFE id, whatever its host is called.
    Id(String),
}

/// A configuration that trusts agents of this authority, and shows them a certificate (and
/// its key) if there is one.
pub fn client_config(
    ca: &Path,
    identity: Option<(&Path, &Path)>,
    server: &ServerIdentity,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let roots = files::roots(files::certificates(ca, Purpose::Authority)?, ca)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?;
    let builder = match server {
        ServerIdentity::Host => builder.with_root_certificates(roots),
        ServerIdentity::Id(id) => {
            let verifier = ById {
                id: id.clone(),
                roots,
                algorithms,
            };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = files::certificates(cert, Purpose::Certificate)?;
            builder
                .with_client_auth_cert(chain, files::private_key(key)?)
                .map_err(|error| files::refused(cert, key, error))?
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// From when until when the first certificate of a file holds, in seconds since 1970, where it
/// can be read.
pub fn validity(cert: &Path) -> Result<Option<(i64, i64)>, TlsError> {
    let chain = files::certificates(cert, Purpose::Certificate)?;
    let own = chain
        .first()
        .and_then(|own| X509Certificate::from_der(own).ok());
    Ok(own.map(|(_, own)| {
        let validity = own.validity();
        (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        )
    }))
}

/// Verifies all that is usually verified, but the URI instead of the host's name.
#[derive(Debug)]
struct ById {
    id: String,
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The certificate is in order, and another's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate is not that of {expected} (its URIs: {})", found.join(", "))]
pub struct WrongId {
    /// The id that was expected.
    pub expected: String,
    /// The URIs that it has.
    pub found: Vec<String>,
}

impl ServerCertVerifier for ById {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let found = uris(end_entity).ok_or(CertificateError::BadEncoding)?;
        // A second one is what SPIFFE's X.509-SVID forbids.
        if let [only] = &found[..]
            && *only == self.id
        {
            return Ok(ServerCertVerified::assertion());
        }
        let wrong = WrongId {
            expected: self.id.clone(),
            found,
        };
        Err(CertificateError::Other(OtherError(Arc::new(wrong))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The URIs that a certificate is for; `None` for what is no certificate.
fn uris(der: &[u8]) -> Option<Vec<String>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()?;
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    Some(uris.collect())
}
