//! What SIGHUP has read again or opened anew. Each part says itself what came of it.

use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::audit;
use crate::tls;

/// The parts.
#[derive(Clone)]
pub(super) struct Reload {
    /// Certificates, keys, authorities and revocation lists.
    pub(super) tls: Option<tls::Live>,
    /// The audit log's file.
    pub(super) audit: audit::Log,
}

impl Reload {
    /// All of them. What cannot be read stays as it was.
    pub(super) async fn all(self) {
        info!(signal = "SIGHUP", "reloading");
        let Self { tls, audit } = self;
        // Files may be far away.
        let reopened = spawn_blocking(move || match audit.reopen() {
            Ok(()) => info!("the audit log is open anew"),
            Err(error) => warn!(%error, "the old audit log is kept"),
        });
        if let Some(tls) = tls {
            let read = spawn_blocking(move || tls.reload()).await;
            if let Ok(tls::Reloaded::Same) = read {
                info!("the TLS files hold what is in force");
            }
        }
        let _ = reopened.await;
    }
}
