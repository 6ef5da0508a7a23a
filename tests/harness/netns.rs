//! A fresh network namespace for each test, named under /run/netns as `ip netns` does it,
//! gone when the test ends, also by a panic.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::rights;

/// Where `ip netns` keeps the names.
const DIRECTORY: &str = "/run/netns";

/// A network namespace of the test's own.
pub(crate) struct Netns {
    name: String,
}

impl Netns {
    /// A new one, with lo up and nothing else.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static SWEPT: OnceLock<()> = OnceLock::new();
        rights::demand();
        SWEPT.get_or_init(sweep);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ct-{}-{count}", std::process::id());
        check(Command::new("ip").args(["netns", "add", &name]));
        let ns = Self { name };
        ns.run(["ip", "link", "set", "lo", "up"]);
        ns
    }

    /// One where packets are tracked: conntrack registers its hooks for the first rule that
    /// asks for a state.
    pub(crate) fn tracking() -> Self {
        let ns = Self::new();
        ns.track();
        ns
    }

    /// Makes packets be tracked from now on.
    pub(crate) fn track(&self) {
        self.nft(
            "table inet tracking {
                chain in { type filter hook input priority 0; ct state new counter; }
                chain out { type filter hook output priority 0; ct state new counter; }
                chain forward { type filter hook forward priority 0; ct state new counter; }
            }",
        );
    }

    /// Its name, as `ip netns` lists it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Calls `f` on a thread inside. Sockets made and programs started there stay there;
    /// a panic there is the caller's.
    pub(crate) fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let path = format!("{DIRECTORY}/{}", self.name);
        let inside = move || {
            let file = File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
            move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&file),
                Some(LinkNameSpaceType::Network),
            )
            .unwrap_or_else(|e| panic!("setns({path}): {e}"));
            f()
        };
        std::thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a program inside and gives its standard output; panics when it fails.
    #[track_caller]
    pub(crate) fn run<'a>(&self, line: impl IntoIterator<Item = &'a str>) -> String {
        let mut command = command(line);
        self.enter(move || check(&mut command))
    }

    /// Runs conntrack(8) inside with these words, in one string; quotes mean nothing.
    #[track_caller]
    pub(crate) fn conntrack(&self, words: &str) -> String {
        self.run(std::iter::once("conntrack").chain(words.split_whitespace()))
    }

    /// Loads nft rules.
    #[track_caller]
    pub(crate) fn nft(&self, rules: &str) {
        self.run(["nft", rules]);
    }

    /// Reads a sysctl by its path below /proc/sys: "net/netfilter/nf_conntrack_acct".
    pub(crate) fn sysctl(&self, path: &str) -> String {
        let path = format!("/proc/sys/{path}");
        self.enter(|| std::fs::read_to_string(&path))
            .unwrap_or_else(|e| panic!("{path}: {e}"))
            .trim()
            .to_owned()
    }

    /// Writes a sysctl.
    #[track_caller]
    pub(crate) fn set_sysctl(&self, path: &str, value: &str) {
        let path = format!("/proc/sys/{path}");
        self.enter(|| std::fs::write(&path, value))
            .unwrap_or_else(|e| panic!("{path} = {value}: {e}"));
    }

    /// Reads a table of /proc/net, one row a line after the header, by column.
    pub(crate) fn proc_net(&self, table: &str) -> Vec<BTreeMap<String, String>> {
        // /proc/net is that of the process; the thread's is another one here.
        let path = format!("/proc/thread-self/net/{table}");
        let text = self
            .enter(|| std::fs::read_to_string(&path))
            .unwrap_or_else(|e| panic!("{path}: {e}"));
        let mut lines = text.lines();
        let header: Vec<_> = lines
            .next()
            .into_iter()
            .flat_map(str::split_whitespace)
            .map(str::to_owned)
            .collect();
        lines
            .map(|line| {
                let fields = line.split_whitespace().map(str::to_owned);
                header.iter().cloned().zip(fields).collect()
            })
            .collect()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

/// Deletes the namespaces of test processes that were killed before they could.
fn sweep() {
    let Ok(entries) = std::fs::read_dir(DIRECTORY) else {
        return;
    };
    for name in entries.flatten().map(|entry| entry.file_name()) {
        let Some(name) = name.to_str() else { continue };
        let pid = name
            .strip_prefix("ct-")
            .and_then(|rest| rest.split('-').next());
        let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else {
            continue;
        };
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            delete(name);
        }
    }
}

fn delete(name: &str) {
    let done = Command::new("ip").args(["netns", "del", name]).status();
    if !done.is_ok_and(|status| status.success()) {
        eprintln!("could not delete network namespace {name}");
    }
}

fn command<'a>(line: impl IntoIterator<Item = &'a str>) -> Command {
    let mut words = line.into_iter();
    let mut command = Command::new(words.next().expect("the name of a program"));
    command.args(words);
    command
}

/// Its standard output; panics with everything that it said when it fails.
#[track_caller]
pub(crate) fn check(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}
