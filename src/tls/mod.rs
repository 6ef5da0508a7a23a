//! The agent's side of mutual TLS, from certificate files: it shows a certificate and demands
//! one of every client, issued by the authority that it trusts. TLS 1.2 and 1.3, with ring.

mod files;

use std::sync::Arc;

use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{ServerConfig, crypto};

pub use files::{Files, TlsError};

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

#[cfg(test)]
mod tests;
