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

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::path::Path;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use rustix::fs::{CWD, Mode, mkfifoat};
    use rustix::thread::{Pid, gettid};

    use super::*;
    use crate::access::Policy;
    use crate::agent::config::Settings;
    use crate::api::Limits;

    fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(value) = ask() {
                return value;
            }
            assert!(Instant::now() < end, "it does not happen");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn binding(name: &str) -> String {
        format!("[[bindings]]\nsubjects = [\"cn:{name}\"]\nrole = \"reader\"\n")
    }

    /// The writing end of a FIFO, which can be opened so only when it is open for reading.
    fn read_by_somebody(fifo: &Path) -> File {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(libc::O_NONBLOCK);
        until(|| options.open(fifo).ok())
    }

    /// Whether a thread waits for something that is no disk, such as a lock.
    fn is_asleep(thread: Pid) -> bool {
        let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat"));
        stat.is_ok_and(|stat| stat.contains(") S "))
    }

    #[test]
    fn of_two_signals_the_one_that_reads_the_file_later_decides() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("ctagent.toml");
        let cli = Cli {
            config: Some(file.clone()),
            settings: Settings::default(),
        };
        let audit = audit::Log::open(&audit::Sink::Off).expect("no log");
        let guard = Guard::new(Policy::new(Vec::new()), &Limits::default(), audit);
        let turn = Mutex::new(());
        let reload = || bindings(cli.clone(), &guard, &turn);

        mkfifoat(CWD, &file, Mode::RUSR | Mode::WUSR).expect("a FIFO");
        std::thread::scope(|scope| {
            scope.spawn(reload);
            // It has not read the file until this is closed.
            let mut earlier = read_by_somebody(&file);
            let new = directory.path().join("new");
            fs::write(&new, binding("later")).expect("a file");
            fs::rename(new, &file).expect("renamed");
            let (tell, told) = mpsc::channel();
            let later = scope.spawn(move || {
                tell.send(gettid()).expect("the test waits");
                reload();
            });
            let thread = told.recv().expect("it runs");
            // It waits for its turn; without one it would be done.
            until(|| (is_asleep(thread) || later.is_finished()).then_some(()));
            let text = binding("earlier");
            earlier.write_all(text.as_bytes()).expect("it is read");
        });
        let later = Config::load(cli.clone()).expect("a configuration").policy;
        assert!(!guard.follow(later), "another policy is in force");
    }
}
