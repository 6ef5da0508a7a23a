//! Mutual TLS from certificate files, both sides: the agent shows a certificate and demands
//! one of every client, issued by the authority that it trusts; a client does the same the
//! other way round. With ring.

mod client;
mod files;
mod lists;
mod live;
mod name;
mod refusal;
mod server;
mod signature;
mod time;
mod trail;
mod version;
mod watch;

use std::path::{Path, PathBuf};

pub use client::{ServerIdentity, WrongId, client_config, validity};
pub use files::{Files, Purpose, TlsError};
pub use live::{Live, Reloaded, Standing};
pub use name::{MAX_NAME, UnfitName, check_name};
pub use refusal::refusal;
pub use server::{Settings, server_config};
pub use signature::is_signature;
pub use time::words as date;
pub use version::{BadMinVersion, MinVersion};

/// HTTP/2, which is all that gRPC speaks.
const ALPN: &[u8] = b"h2";

/// The directories below which everything has to stay readable for a process that reads these
/// files again after they were exchanged: where they are, and where links on their paths lead.
pub fn readable_directories<'a>(files: impl IntoIterator<Item = &'a Path>) -> Vec<PathBuf> {
    trail::Trail::to(files).readable()
}

#[cfg(test)]
mod tests;
