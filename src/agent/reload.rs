//! What SIGHUP has read again or opened anew. Each part says itself what came of it.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::config::{Cli, Config};
use crate::api::Guard;
use crate::audit;
use crate::tls;

/// The parts, each read apart from the others: the files of one may be far away.
pub(super) struct Reload(Vec<Part>);

impl Reload {
    /// Certificates, keys, authorities and revocation lists; the audit log's file; and the
    /// bindings, with where they stand.
    pub(super) fn of(tls: Option<tls::Live>, audit: audit::Log, guard: Guard, cli: Cli) -> Self {
        let mut parts = vec![
            Part::new(move || bindings(cli.clone(), &guard)),
            Part::new(move || match audit.reopen() {
                Ok(()) => info!("the audit log is open anew"),
                Err(error) => warn!(%error, "the old audit log is kept"),
            }),
        ];
        parts.extend(tls.map(|tls| {
            Part::new(move || {
                if tls.reload() == tls::Reloaded::Same {
                    info!("the TLS files hold what is in force");
                }
            })
        }));
        Self(parts)
    }

    /// Has all of them read again; what cannot be read stays as it was. Waits for none.
    pub(super) fn all(&self) {
        info!(signal = "SIGHUP", "reloading");
        for part in &self.0 {
            part.read_again();
        }
    }
}

/// Something that is read again when that is asked for: once at a time, and once more after
/// the last time it was asked for, so that what was read later decides, and a file that hangs
/// holds one thread however often it is asked for.
struct Part(Arc<Notify>);

impl Part {
    fn new(read: impl Fn() + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Notify::new());
        let part = Self(Arc::clone(&asked));
        let read = Arc::new(read);
        tokio::spawn(async move {
            loop {
                asked.notified().await;
                let read = Arc::clone(&read);
                // One that panicked has said so, and is read the next time it is asked for.
                let _ = spawn_blocking(move || read()).await;
            }
        });
        part
    }

    /// Whoever has not begun to read by now does so after this.
    fn read_again(&self) {
        self.0.notify_one();
    }
}

/// Reads the configuration again for its bindings; the rest of it counts at the next start.
fn bindings(cli: Cli, guard: &Guard) {
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
    use std::sync::mpsc::{self, RecvTimeoutError};
    use std::time::{Duration, Instant};

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;
    use crate::access::Policy;
    use crate::agent::config::Settings;
    use crate::api::Limits;

    const SOON: Duration = Duration::from_secs(20);

    fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + SOON;
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

    fn fifo(path: &Path) {
        mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).expect("a FIFO");
    }

    /// The writing end of a FIFO, which can be opened so only when it is open for reading.
    fn read_by_somebody(fifo: &Path) -> File {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(libc::O_NONBLOCK);
        until(|| options.open(fifo).ok())
    }

    /// An agent's guard, and where its configuration is to stand.
    fn guard(directory: &Path) -> (Guard, Cli) {
        let audit = audit::Log::off();
        let guard = Guard::new(Policy::new(Vec::new()), &Limits::default(), audit);
        let cli = Cli {
            config: Some(directory.join("ctagent.toml")),
            settings: Settings::default(),
        };
        (guard, cli)
    }

    fn in_force(guard: &Guard, cli: &Cli) -> bool {
        let policy = Config::load(cli.clone()).expect("a configuration").policy;
        !guard.follow(policy)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_two_signals_the_one_that_reads_the_file_later_decides() {
        let directory = tempfile::tempdir().expect("a directory");
        let (guard, cli) = guard(directory.path());
        let file = directory.path().join("ctagent.toml");
        fifo(&file);
        let (tell, told) = mpsc::channel();
        let part = {
            let (guard, cli) = (guard.clone(), cli.clone());
            Part::new(move || {
                bindings(cli.clone(), &guard);
                tell.send(()).expect("the test waits");
            })
        };
        part.read_again();
        // It has not read the file until this is closed.
        let mut earlier = read_by_somebody(&file);
        let new = directory.path().join("new");
        fs::write(&new, binding("later")).expect("a file");
        fs::rename(new, &file).expect("renamed");
        part.read_again();
        let early = told.recv_timeout(Duration::from_millis(50));
        assert_eq!(early, Err(RecvTimeoutError::Timeout), "not beside it");
        let text = binding("earlier");
        earlier.write_all(text.as_bytes()).expect("it is read");
        drop(earlier);
        for _ in 0..2 {
            told.recv_timeout(SOON).expect("it is read");
        }
        assert!(in_force(&guard, &cli), "another policy is in force");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_part_that_hangs_holds_one_thread_however_often_it_is_asked_for() {
        let (begin, begun) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let part = Part::new(move || {
            begin.send(()).expect("the test waits");
            let held = held.lock().expect("nobody panicked");
            held.recv().expect("the test releases it");
        });
        part.read_again();
        begun.recv_timeout(SOON).expect("it begins");
        for _ in 0..100 {
            part.read_again();
        }
        let nobody = || begun.recv_timeout(Duration::from_millis(50));
        assert_eq!(nobody(), Err(RecvTimeoutError::Timeout));
        release.send(()).expect("it hangs");
        // What was asked for while it hung is read once.
        begun.recv_timeout(SOON).expect("it is read again");
        release.send(()).expect("it hangs");
        assert_eq!(nobody(), Err(RecvTimeoutError::Timeout));
    }
}
