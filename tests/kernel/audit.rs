//! The audit log where it goes: files that are moved away, a disk without room, the journal,
//! and an agent that cannot have one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ctfleet::audit::{Call, Intent, Log, Outcome, Sink};
use ctfleet::pb::{Capability, GetInfoRequest};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::agent::{Agent, CTAGENT};
use crate::harness::process::Process;
use crate::harness::{Netns, until};

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    text.lines().map(line).collect()
}

/// What GetInfo says of the log.
async fn told(agent: &Agent) -> Capability {
    let info = agent.agent().get_info(GetInfoRequest {}).await;
    let mut found = info.expect("an answer").into_inner().capabilities;
    found.retain(|capability| capability.name == "audit");
    found.pop().expect("the capability")
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_made_anew_on_sighup() {
    let ns = Netns::new();
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("audit.log");
    let agent = Agent::start_with(&ns, &[&format!("--audit-log=file:{}", path.display())]);
    let mode = fs::metadata(&path).expect("the log").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let run = lines(&path);
    assert_eq!(run.len(), 1, "{run:?}");
    assert_eq!(run[0]["event"], "start");
    let capability = told(&agent).await;
    assert!(capability.available, "{capability:?}");
    assert_eq!(capability.detail, format!("file:{}", path.display()));

    // The agent keeps the right to make it, whatever else it gave up.
    let moved = directory.path().join("audit.log.1");
    fs::rename(&path, &moved).expect("moved");
    let mut agent = agent;
    agent.process().signal(Signal::HUP);
    until("a new file", || path.exists().then_some(()));
    agent.process().wait_for("the audit log is open anew");

    // Where nothing can be opened, the old one stays, and that is said.
    fs::rename(directory.path(), directory.path().with_extension("away")).expect("moved");
    agent.process().signal(Signal::HUP);
    agent.process().wait_for("the old audit log is kept");
    let capability = told(&agent).await;
    assert!(capability.available, "{capability:?}");
    let error = format!("last error: cannot open the audit log {}", path.display());
    assert!(capability.detail.contains(&error), "{capability:?}");
    fs::rename(directory.path().with_extension("away"), directory.path()).expect("back");
}

#[test]
fn an_agent_without_its_audit_log_does_not_start() {
    let ns = Netns::new();
    let directory = TempDir::new().expect("a directory");
    let listen = format!("--listen=unix:{}/s", directory.path().display());
    let log = format!(
        "--audit-log=file:{}/none/audit.log",
        directory.path().display()
    );
    let mut agent = Process::spawn(&ns, Command::new(CTAGENT).args([&listen, &log]));
    assert_eq!(agent.wait().code(), Some(1), "{}", agent.said());
    let said = agent.said();
    assert!(said.contains("cannot open the audit log"), "{said}");
    assert!(said.contains("none/audit.log"), "{said}");
}

/// journald's socket, with nobody behind it but this test: bound into the agent's /run.
#[tokio::test]
async fn the_journal_gets_each_line_with_its_fields() {
    let ns = Netns::new();
    let directory = TempDir::new().expect("a directory");
    let journal = UnixDatagram::bind(directory.path().join("socket")).expect("a socket");
    journal
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a socket");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec"]).arg(
        "mount -t tmpfs none /run; mkdir -p /run/systemd/journal;\
         mount --bind \"$0\" /run/systemd/journal; exec \"$@\"",
    );
    command.arg(directory.path());
    command.args([CTAGENT, "--audit-log=journal"]);
    let agent = Agent::start_as(&ns, &mut command);

    let mut datagram = [0; 1 << 16];
    let length = journal.recv(&mut datagram).expect("a line");
    let text = String::from_utf8(datagram[..length].to_vec()).expect("text");
    let fields: BTreeMap<_, _> = text
        .lines()
        .map(|line| line.split_once('=').expect("NAME=value"))
        .collect();
    assert_eq!(fields["SYSLOG_IDENTIFIER"], "ctagent");
    assert_eq!(fields["PRIORITY"], "5");
    assert_eq!(fields["CTFLEET_EVENT"], "start");
    assert_eq!(fields["CTFLEET_VERSION"], env!("CARGO_PKG_VERSION"));
    let message: Value = serde_json::from_str(fields["MESSAGE"]).expect("JSON");
    assert_eq!(message["run"], fields["CTFLEET_RUN"]);
    let capability = told(&agent).await;
    assert!(capability.available, "{capability:?}");
    assert_eq!(capability.detail, "journal");
}

/// A file system of five pages, in a mount namespace that lives as long as this.
struct SmallDisk {
    _holder: Process,
    root: PathBuf,
}

impl SmallDisk {
    fn new(ns: &Netns, directory: &Path) -> Self {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-ec"]).arg(
            "mount -t tmpfs -o size=20k none \"$0\"; echo mounted; \
             exec tail --follow /dev/null",
        );
        let mut holder = Process::spawn(ns, command.arg(directory));
        holder.wait_for("mounted");
        let root = format!("/proc/{}/root{}", holder.id(), directory.display());
        Self {
            root: root.into(),
            _holder: holder,
        }
    }
}

#[test]
fn a_disk_without_room_stops_changes_and_half_a_line_stays_alone() {
    let ns = Netns::new();
    let directory = TempDir::new().expect("a directory");
    let disk = SmallDisk::new(&ns, directory.path());
    let ballast = disk.root.join("ballast");
    fs::write(&ballast, [0; 8 << 10]).expect("room");
    let path = disk.root.join("audit.log");
    let log = Log::open(&Sink::File(path.clone())).expect("a log");
    let intent = || Intent {
        call: Call {
            caller: "cn:somebody".to_owned(),
            ..Call::default()
        },
        // No multiple of it fills a page.
        filter: Some("x".repeat(700)),
        ..Intent::default()
    };
    let begin_until_refused = || {
        let mut begun = 0;
        loop {
            match log.begin(intent()) {
                Ok(entry) => entry.end(Outcome::ok(None)),
                Err(error) => return (begun, error.to_string()),
            }
            begun += 1;
            assert!(begun < 100, "there are five pages");
        }
    };
    let (begun, error) = begin_until_refused();
    assert!(begun > 2, "{begun}: {error}");
    assert!(error.contains("the audit log"), "{error}");
    // It is refused as long as there is no room, and not only once.
    let refused = log.begin(intent()).err().expect("no room").to_string();
    assert!(refused.contains("No space left on device"), "{refused}");
    assert!(!log.status().working);
    // But for the rare line that ends with the last page.
    let cut = !fs::read_to_string(&path).expect("the log").ends_with('\n');

    fs::remove_file(&ballast).expect("room");
    let again = log.begin(intent()).expect("there is room");
    let call = again.call();
    again.end(Outcome::ok(None));
    assert!(log.flush(Duration::from_secs(10)));
    assert!(log.status().working);

    let text = fs::read_to_string(&path).expect("the log");
    let (mut whole, mut torn) = (Vec::new(), 0);
    for line in text.lines() {
        match serde_json::from_str::<Value>(line) {
            Ok(value) => whole.push(value),
            Err(_) => torn += 1,
        }
    }
    assert_eq!(torn, usize::from(cut), "{text}");
    let of = |event: &str, call: u64| {
        let found = whole.iter().filter(|line| line["event"] == event);
        found.filter(|line| line["call"] == call).count()
    };
    for begun in 1..=begun {
        assert_eq!(of("intent", begun), 1, "{text}");
    }
    assert_eq!((of("intent", call), of("result", call)), (1, 1));
    // What was refused in between is not there as something under way.
    for refused in begun + 1..call {
        assert_eq!(of("intent", refused), 0, "{text}");
    }
    // Results that were lost are told of.
    let lost: u64 = whole.iter().filter_map(|line| line["lines"].as_u64()).sum();
    assert_eq!(lost, log.status().lost);
    let results: usize = (1..=begun).map(|call| of("result", call)).sum();
    assert_eq!(results as u64 + lost, begun);
}
