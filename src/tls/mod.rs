//! Mutual TLS from certificate files, both sides: the agent shows a certificate and demands
//! one of every client, issued by the authority that it trusts; a client does the same the
//! other way round. TLS 1.2 and 1.3, with ring.

mod files;

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{ClientConfig, ServerConfig, crypto};

pub use files::{Files, Purpose, TlsError};

use files::Identity;

/// HTTP/2, which is all that gRPC speaks.
const ALPN: &[u8] = b"h2";

/// A configuration that demands a certificate of every client.
pub fn server_config(files: &Files) -> Result<Arc<ServerConfig>, TlsError> {
    let Identity { chain, key, roots } = files.read()?;
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| TlsError::Authority {
                path: files.ca.clone(),
                reason: error.to_string(),
            })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| files.refused(error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session is not verified again: a client would outlive its authority.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// A configuration that trusts agents of this authority, and shows them a certificate (and
/// its key) if there is one.
pub fn client_config(
    ca: &Path,
    identity: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .with_root_certificates(files::authorities(ca)?);
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

#[cfg(test)]
mod tests;
