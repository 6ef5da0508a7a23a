//! What SIGHUP has read again or opened anew. Each part says itself what came of it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::config::{Cli, Config};
use crate::api::Guard;
use crate::audit;
use crate::tls;

/// The parts.
#[derive(Clone)]
pub(super) struct Reload {
    /// Certificates, keys, authorities and revocation lists.
    pub(super) tls: Option<tls::Live>,
    /// The audit log's file.
    pub(super) audit: audit::Log,
    /// The bindings, and where they stand.
    pub(super) guard: Guard,
    pub(super) cli: Cli,
    /// Of two signals in a row the one that read the file later must decide.
    pub(super) turn: Arc<Mutex<()>>,
}

impl Reload {
    /// All of them. What cannot be read stays as it was.
    pub(super) async fn all(self) {
        info!(signal = "SIGHUP", "reloading");
        let Self {
            tls,
            audit,
            guard,
            cli,
            turn,
        } = self;
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
        let _ = spawn_blocking(move || bindings(cli, &guard, &turn)).await;
        let _ = reopened.await;
    }
}

/// Reads the configuration again for its bindings; the rest of it counts at the next start.
fn bindings(cli: Cli, guard: &Guard, turn: &Mutex<()>) {
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    match Config::load(cli) {
        Ok(config) => match guard.follow(config.policy) {
            true => info!("the bindings were read again"),
            false => info!("the bindings are what is in force"),
        },
        Err(error) => warn!(%error, "the bindings stay as they were"),
    }
}
