//! Mutual TLS from certificate files, both sides: the agent shows a certificate and demands
//! one of every client, issued by the authority that it trusts; a client does the same the
//! other way round. With ring.

mod files;
mod live;
mod server;
mod time;
mod trail;
mod version;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::{ClientConfig, crypto};

pub use files::{Files, Purpose, TlsError};
pub use live::{Live, Reloaded, Standing};
pub use server::{Settings, server_config};
pub use version::{BadMinVersion, MinVersion};

/// HTTP/2, which is all that gRPC speaks.
const ALPN: &[u8] = b"h2";

/// The directories below which everything has to stay readable for a process that reads these
/// files again after they were exchanged: where they are, and where links on their paths lead.
pub fn readable_directories<'a>(files: impl IntoIterator<Item = &'a Path>) -> Vec<PathBuf> {
    trail::Trail::to(files).readable()
}

/// A configuration that trusts agents of this authority, and shows them a certificate (and
/// its key) if there is one.
pub fn client_config(
    ca: &Path,
    identity: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let authorities = files::certificates(ca, Purpose::Authority)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .with_root_certificates(files::roots(authorities, ca)?);
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
