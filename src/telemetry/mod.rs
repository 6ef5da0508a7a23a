//! What the agent says: tracing to standard error, as text or as JSON lines, which a thread of
//! their own writes: a reader that stops holds up nobody but that.

mod lines;
mod stderr;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use lines::{Lines, Sink};
pub(crate) use stderr::write_line;

/// How long somebody who ends waits for what hangs.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is none.
    #[error(
        "log level {level:?} is none: expected error, warn, info, debug, trace, or directives such as info,ctfleet::events=debug ({reason})"
    )]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else set up a log in this process.
    #[error("the log is set up already")]
    Twice,
}

/// Reads a level, or directives of tracing's `EnvFilter`.
pub fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(level)
        .map_err(|error| TelemetryError::Level {
            level: level.to_owned(),
            reason: error.to_string(),
        })
}

/// Starts the log of this process. What is said before [`Log::start`] waits.
pub fn init(level: &str, format: Format) -> Result<Log, TelemetryError> {
    let log = Log(Arc::new(Inner {
        lines: Lines::new(),
        look: Look {
            format,
            colours: io::stderr().is_terminal(),
        },
        started: AtomicBool::new(false),
    }));
    let inner = Arc::clone(&log.0);
    let writer = move || Handing(Arc::clone(&inner));
    let done = log.0.look.subscriber(filter(level)?, writer).try_init();
    done.map_err(|_| TelemetryError::Twice)?;
    let inner = Arc::clone(&log.0);
    std::panic::set_hook(Box::new(move |panic| inner.panicked(panic)));
    Ok(log)
}

/// The log of this process.
pub struct Log(Arc<Inner>);

struct Inner {
    lines: Lines,
    look: Look,
    /// There is a thread that writes.
    started: AtomicBool,
}

impl Log {
    /// Starts the thread that writes, which keeps the rights that the caller has now.
    pub fn start(&self) -> io::Result<()> {
        self.0.start()
    }

    /// Waits until all is written, or for a second when that hangs.
    pub fn finish(self) {
        self.0.finish();
    }
}

impl Inner {
    fn start(self: &Arc<Self>) -> io::Result<()> {
        if self.started.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let inner = Arc::clone(self);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || inner.lines.write(&mut &inner.look))
            .inspect_err(|_| self.started.store(false, Ordering::Release))?;
        Ok(())
    }

    fn finish(self: &Arc<Self>) {
        match self.start() {
            Ok(()) => drop(self.lines.flush(PATIENCE)),
            // There are no threads; somebody must say so.
            Err(_) => self.lines.write_waiting(&mut &self.look),
        }
    }

    /// Says it where everything is said. std would write it at once, and others who panic would
    /// wait for the lock that it holds meanwhile.
    fn panicked(self: &Arc<Self>, panic: &PanicHookInfo<'_>) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("<unnamed>");
        let mut text = format!("thread '{name}' {panic}\n");
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            // A string takes whatever there is room for.
            let _ = writeln!(text, "{backtrace}");
        }
        self.lines.hand_over(text.as_bytes());
        // It may be the last word of the process.
        self.finish();
    }
}

/// How lines look.
#[derive(Clone, Copy)]
struct Look {
    format: Format,
    colours: bool,
}

impl Look {
    fn subscriber<W>(self, filter: EnvFilter, writer: W) -> Dispatch
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(writer);
        match self.format {
            Format::Text => builder.with_ansi(self.colours).finish().into(),
            Format::Json => builder.json().flatten_event(true).finish().into(),
        }
    }
}

impl Sink for &Look {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        write_line(line)
    }

    /// A line as all others, whatever the level.
    fn missing(&self, lines: u64) -> Vec<u8> {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = self.subscriber(EnvFilter::new("warn"), move || writer.clone());
        tracing::dispatcher::with_default(&subscriber, || {
            tracing::warn!(
                lines,
                "lines of this log are missing here: nobody took them"
            );
        });
        let mut page = page.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut page)
    }
}

/// Hands over each line, which tracing writes in one go.
struct Handing(Arc<Inner>);

impl io::Write for Handing {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lines.hand_over(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut page = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        page.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_level_is_a_word_or_directives() {
        assert!(filter("info").is_ok());
        assert!(filter("warn,ctfleet::events=debug").is_ok());
        let error = filter("loud=very").unwrap_err().to_string();
        assert!(
            error.starts_with("log level \"loud=very\" is none"),
            "{error}"
        );
    }

    fn missing(format: Format) -> String {
        let look = Look {
            format,
            colours: false,
        };
        String::from_utf8((&look).missing(7)).expect("text")
    }

    #[test]
    fn what_is_missing_is_told_in_a_line_as_all_others() {
        const WORDS: &str = "lines of this log are missing here: nobody took them";
        let text = missing(Format::Text);
        let end = format!("  WARN ctfleet::telemetry: {WORDS} lines=7\n");
        assert!(text.ends_with(&end), "{text}");
        let json: serde_json::Value = serde_json::from_str(&missing(Format::Json)).expect("JSON");
        assert_eq!(
            (&json["message"], &json["lines"]),
            (&WORDS.into(), &7.into())
        );
    }

    const UNLUCKY: &str = "CTFLEET_TEST_UNLUCKY";

    /// This test as a program of its own, for a process has one log, that has two threads panic.
    fn unlucky(stderr: impl Into<Stdio>) -> Command {
        let name = "telemetry::tests::a_panic_is_told_and_waits_for_nobody_who_does_not_read";
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command
            .args(["--exact", name, "--nocapture"])
            .env(UNLUCKY, "")
            .stdout(Stdio::null())
            .stderr(stderr);
        command
    }

    fn be_unlucky() -> ! {
        let log = init("info", Format::Text).expect("a log");
        for _ in 0..2 {
            let thread = std::thread::Builder::new().name("unlucky".to_owned());
            let thread = thread.spawn(|| panic!("as it must")).expect("a thread");
            assert!(thread.join().is_err());
        }
        tracing::info!("the last word");
        log.finish();
        std::process::exit(7)
    }

    #[test]
    fn a_panic_is_told_and_waits_for_nobody_who_does_not_read() {
        if std::env::var_os(UNLUCKY).is_some() {
            be_unlucky();
        }
        let output = unlucky(Stdio::piped()).output().expect("it runs");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(7), "{said}");
        let panics = said.matches("thread 'unlucky' panicked at src/telemetry/mod.rs:");
        assert_eq!(panics.count(), 2, "{said}");
        assert!(said.contains("as it must\n"), "{said}");
        assert!(said.ends_with("the last word\n"), "{said}");

        let (mut full, _unread) = UnixStream::pair().expect("a pair");
        full.set_nonblocking(true).expect("a socket");
        while full.write(&[b'\n'; 4096]).is_ok() {}
        full.set_nonblocking(false).expect("a socket");
        let begun = Instant::now();
        let mut child = unlucky(OwnedFd::from(full)).spawn().expect("it runs");
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            if begun.elapsed() > Duration::from_secs(20) {
                child.kill().expect("it runs");
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        assert_eq!(status.code(), Some(7), "{status}");
    }
}
