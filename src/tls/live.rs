//! The agent's side while its files are exchanged: each handshake takes the configuration of what
//! was last read in good order, and connections that are there stay as they are.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio_rustls::rustls::ServerConfig;
use tracing::{info, warn};

use super::files::{Identity, TlsError};
use super::server::Settings;
use super::{time, watch};

/// Certificate and key are exchanged one after the other: so long after the first change they are
/// read. Whatever changes later is read after that.
const SETTLED: Duration = Duration::from_millis(10);

/// The configuration in force, and what becomes of it when the files change. Clones share it.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

struct Shared {
    settings: Settings,
    current: ArcSwap<Loaded>,
    /// One at a time.
    reading: Mutex<()>,
    /// What is wrong with the files as they are now.
    trouble: Mutex<Option<String>>,
}

/// What was read in good order.
struct Loaded {
    identity: Identity,
    config: Arc<ServerConfig>,
    /// When the certificate ends, in seconds since 1970.
    end: Option<i64>,
    at: SystemTime,
}

impl Loaded {
    fn of(settings: &Settings, identity: Identity) -> Result<Self, TlsError> {
        let config = settings.config(identity.clone())?;
        let (remarks, end) = settings.remarks(&identity);
        for remark in remarks {
            warn!("{remark}");
        }
        Ok(Self {
            identity,
            config,
            end,
            at: SystemTime::now(),
        })
    }
}

/// What came of reading the files again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// They hold something else, which is in force now.
    Changed,
    /// They hold what is in force.
    Same,
    /// They are not in order: what was in force stays.
    Broken(String),
}

/// How certificates stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is in force, in words.
    pub words: String,
    /// What is wrong with the files as they are now.
    pub trouble: Option<String>,
}

impl Live {
    /// Reads the files, which must be in order.
    pub fn load(settings: Settings) -> Result<Self, TlsError> {
        let loaded = Loaded::of(&settings, settings.files.read()?)?;
        Ok(Self(Arc::new(Shared {
            settings,
            current: ArcSwap::from_pointee(loaded),
            reading: Mutex::default(),
            trouble: Mutex::default(),
        })))
    }

    /// The configuration for the next handshake.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.current.load().config)
    }

    /// Reads the files again. Says what came of it in the log, a state once.
    pub fn reload(&self) -> Reloaded {
        let _alone = self
            .0
            .reading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let read = self.read();
        let trouble = match &read {
            Err(error) => Some(error.to_string()),
            Ok(_) => None,
        };
        let before = {
            let mut now = self
                .0
                .trouble
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *now, trouble.clone())
        };
        match (read, trouble) {
            (_, Some(trouble)) => {
                if before.as_ref() != Some(&trouble) {
                    warn!("{trouble}; TLS goes on with what it had");
                }
                Reloaded::Broken(trouble)
            }
            (Ok(Some(loaded)), _) => {
                self.0.current.store(Arc::new(loaded));
                info!("TLS files read again: {}", self.standing().words);
                Reloaded::Changed
            }
            _ => {
                if before.is_some() {
                    info!("the TLS files are in order again");
                }
                Reloaded::Same
            }
        }
    }

    /// What is to come into force, if it is anything else.
    fn read(&self) -> Result<Option<Loaded>, TlsError> {
        let settings = &self.0.settings;
        let identity = settings.files.read()?;
        if self.0.current.load().identity == identity {
            return Ok(None);
        }
        Loaded::of(settings, identity).map(Some)
    }

    /// Reads the files again whenever they change, for ever.
    pub async fn follow(self) {
        let (mut posts, mut happenings) = match watch::watch(self.0.settings.files.all()) {
            Ok(watch) => watch,
            Err(error) => return blind(&error),
        };
        loop {
            let live = self.clone();
            // Files may be far away.
            let read = tokio::task::spawn_blocking(move || {
                posts.take_up();
                live.reload();
                posts
            });
            posts = match read.await {
                Ok(posts) => posts,
                Err(error) => return blind(&error),
            };
            if let Err(error) = happenings.next(&posts).await {
                return blind(&error);
            }
            tokio::time::sleep(SETTLED).await;
            happenings.skip();
        }
    }

    #[cfg(test)]
    pub(super) fn holds(&self, identity: &Identity) -> bool {
        self.0.current.load().identity == *identity
    }

    /// How the certificates stand.
    pub fn standing(&self) -> Standing {
        let trouble = self
            .0
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let loaded = self.0.current.load();
        let read = loaded.at.duration_since(UNIX_EPOCH);
        let read = read.map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
        let read = time::words(read);
        let words = match loaded.end {
            Some(end) => format!("valid until {}, read {read}", time::words(end)),
            None => format!("read {read}"),
        };
        Standing {
            words,
            trouble: trouble.clone(),
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&self.0.settings).finish()
    }
}

fn blind(error: &dyn fmt::Display) {
    warn!(%error, "changes of the TLS files are not noticed any more; send SIGHUP after one");
}
