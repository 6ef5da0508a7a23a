//! Lines, and the file that gets them.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::record::{Event, Record};
use super::*;

fn log_to(path: &Path) -> Log {
    Log::open(&Sink::File(path.to_owned())).expect("a log")
}

fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("audit.log");
    (directory, path)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the log");
    assert!(text.ends_with('\n'), "{text}");
    let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(line).collect()
}

fn intent() -> Intent {
    Intent {
        call: Call {
            caller: "spiffe://example.org/ops".to_owned(),
            role: Some("operator".to_owned()),
            peer: "192.0.2.100:47176".to_owned(),
            rpc: "ctfleet.v1.FlowService/DeleteFlows".to_owned(),
            network_namespace: Some(String::new()),
        },
        target: Target::Filter,
        filter: Some("dport 443".to_owned()),
        dry_run: Some(false),
        max_affected: Some(10),
        ..Intent::default()
    }
}

fn counts() -> Counts {
    Counts {
        matched: 3,
        changed: 2,
        spared: 1,
        ..Counts::default()
    }
}

#[track_caller]
fn begin(log: &Log) -> Entry {
    log.begin(intent())
        .unwrap_or_else(|error| panic!("{error}"))
}

fn settle(log: &Log) {
    assert!(log.flush(Duration::from_secs(10)), "it writes");
}

#[test]
fn a_line_is_as_it_is_documented() {
    let time: Timestamp = "2026-03-01T12:00:00.0000125Z".parse().expect("a time");
    let record = Record {
        time,
        call: Some(7),
        intent: Some(Arc::new(intent())),
        ..Record::of(Event::Intent)
    };
    let line = |record: &Record| String::from_utf8(record.line("1-2").expect("a line")).unwrap();
    let subject = concat!(
        r#""run":"1-2","call":7,"caller":"spiffe://example.org/ops","role":"operator","#,
        r#""peer":"192.0.2.100:47176","rpc":"ctfleet.v1.FlowService/DeleteFlows","#,
        r#""network_namespace":"","target":"filter","filter":"dport 443","dry_run":false,"#,
        r#""max_affected":10"#,
    );
    let head = r#"{"time":"2026-03-01T12:00:00.000012Z","event":"#;
    assert_eq!(line(&record), format!("{head}\"intent\",{subject}}}\n"));

    let result = Record {
        event: Event::Result,
        outcome: Some(Outcome::ok(Some(counts()))),
        duration: Some(Duration::from_micros(1500)),
        ..record
    };
    let end = r#""result":"OK","matched":3,"changed":2,"gone":0,"spared":1,"failed":0,"duration_us":1500"#;
    assert_eq!(
        line(&result),
        format!("{head}\"result\",{subject},{end}}}\n")
    );
}

#[test]
fn a_change_has_an_intent_before_it_and_a_result_behind() {
    let (_directory, path) = place();
    let log = log_to(&path);
    let entry = begin(&log);
    // No flush: it is there when `begin` comes back.
    let before = lines(&path);
    assert_eq!(before.len(), 2, "{before:?}");
    assert_eq!(before[0]["event"], "start");
    assert_eq!(before[0]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(before[1]["event"], "intent");
    assert_eq!(entry.call(), 1);
    entry.end(Outcome::ok(Some(counts())));
    drop(begin(&log));
    log.denied(
        Intent::from(intent().call),
        Outcome::failed("PERMISSION_DENIED", "a reader"),
    );
    settle(&log);

    let lines = lines(&path);
    let of = |index: usize| (&lines[index]["call"], &lines[index]["result"]);
    assert_eq!(of(2), (&json!(1), &json!("OK")));
    assert_eq!(lines[2]["filter"], "dport 443");
    assert_eq!(of(3), (&json!(2), &Value::Null));
    assert_eq!(of(4), (&json!(2), &json!("ABANDONED")));
    assert_eq!(of(5), (&json!(3), &json!("PERMISSION_DENIED")));
    assert_eq!(lines[5]["event"], "denied");
    assert_eq!(lines[5]["target"], "none");
    for line in &lines {
        assert_eq!(line["run"], log.run());
        let time = line["time"].as_str().expect("a time");
        let parsed: Timestamp = time.parse().expect("RFC 3339");
        assert_eq!(format!("{parsed:.6}"), time);
    }
}

#[test]
fn the_file_is_for_its_owner_and_is_never_shortened() {
    let (_directory, path) = place();
    let log = log_to(&path);
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(log);
    let second = log_to(&path);
    drop(begin(&second));
    settle(&second);
    assert_eq!(lines(&path).len(), 4);
}

#[test]
fn a_file_that_was_moved_away_is_made_anew_on_request() {
    let (directory, path) = place();
    let log = log_to(&path);
    let moved = directory.path().join("audit.log.1");
    fs::rename(&path, &moved).expect("moved");
    begin(&log).end(Outcome::ok(None));
    settle(&log);
    assert_eq!(lines(&moved).len(), 3, "until then the old one is written");
    log.reopen().expect("reopened");
    begin(&log).end(Outcome::ok(None));
    settle(&log);
    assert_eq!(lines(&moved).len(), 3);
    assert_eq!(lines(&path).len(), 2);
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_old_file_stays_when_the_new_one_cannot_be_opened() {
    let (directory, path) = place();
    let below = directory.path().join("gone");
    fs::create_dir(&below).expect("a directory");
    let log = log_to(&below.join("audit.log"));
    fs::rename(below.join("audit.log"), &path).expect("moved");
    fs::remove_dir(&below).expect("removed");
    let error = log.reopen().expect_err("nowhere").to_string();
    assert!(error.contains("cannot open the audit log"), "{error}");
    begin(&log).end(Outcome::ok(None));
    settle(&log);
    assert_eq!(lines(&path).len(), 3);
    let last = log.status().last_error.expect("an error");
    assert!(last.contains("gone/audit.log"), "{last}");
}

#[test]
fn nothing_may_be_changed_while_the_disk_is_full_and_everything_when_there_is_room() {
    let (directory, path) = place();
    symlink("/dev/full", &path).expect("a link");
    let log = log_to(&path);
    assert!(!log.status().working);
    for _ in 0..3 {
        let error = log.begin(intent()).err().expect("refused").to_string();
        assert!(error.contains("No space left on device"), "{error}");
        assert!(
            error.contains(&format!("file:{}", path.display())),
            "{error}"
        );
    }
    log.denied(intent(), Outcome::failed("PERMISSION_DENIED", ""));
    settle(&log);
    let status = log.status();
    // The start of the run and the denied call.
    assert_eq!((status.working, status.lost), (false, 2));

    let file = directory.path().join("disk");
    fs::write(&file, "").expect("a file");
    fs::remove_file(&path).expect("removed");
    symlink(&file, &path).expect("a link");
    begin(&log).end(Outcome::ok(None));
    settle(&log);
    let lines = lines(&file);
    assert_eq!(lines[0]["event"], "lost");
    assert_eq!(lines[0]["lines"], 2);
    assert_eq!(lines[1]["event"], "intent");
    assert_eq!(lines[2]["result"], "OK");
    let status = log.status();
    assert_eq!((status.working, status.lost), (true, 2));
    assert!(status.last_error.is_some());
}

#[test]
fn behind_half_a_line_begins_a_new_one() {
    let (_directory, path) = place();
    fs::write(&path, "{\"time\":\"2026-").expect("a file");
    let log = log_to(&path);
    drop(begin(&log));
    settle(&log);
    let text = fs::read_to_string(&path).expect("the log");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("{\"time\":\"2026-"));
    let whole = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    assert_eq!(whole.count(), 3);
}

#[test]
fn many_threads_write_whole_lines() {
    const THREADS: usize = 8;
    const CHANGES: usize = 1000;
    let (_directory, path) = place();
    let log = log_to(&path);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..CHANGES {
                    begin(&log).end(Outcome::ok(None));
                }
            });
        }
    });
    settle(&log);
    let lines = lines(&path);
    let mut events = [Vec::new(), Vec::new()];
    for line in &lines[1..] {
        let call = line["call"].as_u64().expect("a number");
        match line["event"].as_str() {
            Some("intent") => events[0].push(call),
            Some("result") => {
                assert_eq!(line["result"], "OK");
                events[1].push(call);
            }
            _ => panic!("{line}"),
        }
    }
    let all: Vec<u64> = (1..=(THREADS * CHANGES) as u64).collect();
    for calls in &mut events {
        calls.sort_unstable();
        assert_eq!(*calls, all);
    }
    assert_eq!(log.status().lost, 0);
}

/// A log into a pipe, which hangs when the pipe is full: what a disk that hangs looks like. The
/// descriptor belongs to this process, since one that is opened by its path does not block.
fn log_to_pipe() -> (Log, std::io::PipeReader, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
    let mut output = output::Output::open(&Sink::File(path.into()))
        .expect("a pipe")
        .expect("open");
    output.hang_instead_of_failing();
    let log = Log(Arc::new(Inner {
        sink: Sink::Stderr,
        run: "1-2".to_owned(),
        calls: AtomicU64::new(0),
        writer: Some(Writer::start("pipe".to_owned(), "1-2".to_owned(), output).unwrap()),
    }));
    (log, reader, writer)
}

#[test]
fn a_flood_of_denied_calls_keeps_no_change_from_its_lines() {
    let (log, mut reader, writer) = log_to_pipe();
    let change = begin(&log);
    while log.status().lost == 0 {
        log.denied(intent(), Outcome::failed("PERMISSION_DENIED", ""));
    }
    change.end(Outcome::ok(None));
    // A slow reader, until a change has been let in.
    let let_in = Arc::new(AtomicBool::new(false));
    let slow = Arc::clone(&let_in);
    let drained = std::thread::spawn(move || {
        let (mut text, mut some) = (Vec::new(), [0; 1024]);
        while let Ok(length @ 1..) = reader.read(&mut some) {
            text.extend_from_slice(&some[..length]);
            if !slow.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        String::from_utf8(text).expect("text")
    });
    let second = begin(&log);
    let_in.store(true, Ordering::Relaxed);
    second.end(Outcome::ok(None));
    settle(&log);
    drop((log, writer));

    let text = drained.join().expect("text");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let results = lines.iter().filter(|line| line["event"] == "result");
    assert_eq!(results.count(), 2);
    let last = |event: &str| lines.iter().rposition(|line| line["event"] == event);
    assert!(last("intent") < last("denied"), "it waited for all of them");
}

#[test]
fn a_sink_that_hangs_refuses_changes_and_holds_up_nobody_else() {
    let (log, reader, writer) = log_to_pipe();
    let mut begun = 0;
    let began = Instant::now();
    let error = loop {
        match log.begin(intent()) {
            Ok(entry) => {
                begun += 1;
                entry.end(Outcome::ok(None));
            }
            Err(error) => break error,
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "a pipe is full some day"
        );
    };
    assert!(matches!(error, AuditError::Slow { .. }), "{error}");
    let began = Instant::now();
    for _ in 0..2 * 1024 {
        log.denied(intent(), Outcome::failed("PERMISSION_DENIED", ""));
        assert!(log.begin(intent()).is_err());
    }
    assert!(began.elapsed() < PATIENCE, "refused without waiting");
    let status = log.status();
    assert!(!status.working);
    assert!(status.lost > 1000, "{status:?}");

    // Reading goes on: what waited comes, and changes are possible again.
    let drained = std::thread::spawn(move || {
        let mut text = String::new();
        let mut reader = reader;
        reader.read_to_string(&mut text).expect("text");
        text
    });
    assert!(log.flush(Duration::from_secs(10)));
    begin(&log).end(Outcome::ok(None));
    settle(&log);
    assert!(log.status().working);
    drop((log, writer));
    let text = drained.join().expect("text");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("whole lines"))
        .collect();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
    // The one that hung was refused, which stands in its result.
    let refused = lines.iter().filter(|line| line["result"] == "UNAVAILABLE");
    let hung = refused.count();
    assert!(hung <= 1);
    assert_eq!(of("intent"), begun + hung + 1);
    assert_eq!(of("result"), of("intent"));
    assert_eq!(of("lost"), 1);
}

#[test]
fn a_pipe_without_a_reader_does_not_hold_up_the_start() {
    let (_directory, path) = place();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &path,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .expect("a pipe");
    let error = Log::open(&Sink::File(path.clone())).err().expect("refused");
    assert!(matches!(error, AuditError::Open { .. }), "{error}");
    // With one it is a sink like others.
    let reader = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .expect("a reader");
    let log = log_to(&path);
    begin(&log).end(Outcome::ok(None));
    settle(&log);
    drop(reader);
    assert!(log.begin(intent()).is_err(), "a reader that has gone");
}

#[test]
fn a_log_that_is_off_lets_everything_pass() {
    for log in [Log::off(), Log::open(&Sink::Off).expect("off")] {
        begin(&log).end(Outcome::ok(None));
        log.denied(intent(), Outcome::failed("PERMISSION_DENIED", ""));
        log.reopen().expect("nothing to do");
        assert!(log.flush(Duration::ZERO));
        assert_eq!(log.status().sink, "off");
        assert!(!log.status().working);
    }
}

#[test]
fn the_journal_gets_a_field_for_each_key() {
    let record = Record {
        call: Some(7),
        intent: Some(Arc::new(intent())),
        outcome: Some(Outcome::failed("PERMISSION_DENIED", "two\nlines")),
        ..Record::of(Event::Denied)
    };
    let line = String::from_utf8(record.line("1-2").unwrap()).unwrap();
    let (priority, fields) = journal::fields(line.trim_end()).expect("fields");
    assert!(matches!(priority, libsystemd::logging::Priority::Warning));
    let value = |name: &str| {
        let found = fields.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    };
    for (name, expected) in [
        ("SYSLOG_IDENTIFIER", "ctagent"),
        ("CTFLEET_EVENT", "denied"),
        ("CTFLEET_CALL", "7"),
        ("CTFLEET_CALLER", "spiffe://example.org/ops"),
        ("CTFLEET_RPC", "ctfleet.v1.FlowService/DeleteFlows"),
        ("CTFLEET_FILTER", "dport 443"),
        ("CTFLEET_DRY_RUN", "false"),
        ("CTFLEET_MESSAGE", "two\nlines"),
    ] {
        assert_eq!(value(name), Some(expected), "{name}");
    }
    // What journald would not take is not sent: capitals, digits and underscores.
    for (name, _) in &fields {
        let fine = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        assert!(name.bytes().all(fine) && name.len() <= 64, "{name}");
    }
}

#[test]
fn a_place_is_one_of_four() {
    for text in [
        "stderr",
        "journal",
        "off",
        "file:/var/log/ctfleet/audit.log",
    ] {
        let sink: Sink = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(sink.to_string(), text);
    }
    let file: Sink = "file:/var/log/ctfleet/audit.log".parse().unwrap();
    assert_eq!(file.directory(), Some(Path::new("/var/log/ctfleet")));
    assert_eq!(Sink::Stderr.directory(), None);
    for text in [
        "",
        "syslog",
        "file:",
        "file:audit.log",
        "file:/",
        "file:/a/",
        "/a",
    ] {
        let error = text.parse::<Sink>().expect_err("none");
        assert!(error.to_string().contains("expected stderr, journal"));
    }
}

/// The longest line is one where every text is cut.
#[test]
fn a_line_is_bounded() {
    for filler in ["x", "\"", "\u{1}", "é", "\u{9b}", "\u{e0041}"] {
        let long = filler.repeat(100_000);
        let intent = Intent {
            call: Call {
                caller: long.clone(),
                role: Some(long.clone()),
                peer: long.clone(),
                rpc: long.clone(),
                network_namespace: Some(long.clone()),
            },
            filter: Some(long.clone()),
            detail: Some(long.clone()),
            ..Intent::default()
        };
        let record = Record {
            intent: Some(Arc::new(intent.bounded())),
            outcome: Some(Outcome::failed(long.clone(), long).bounded()),
            ..Record::of(Event::Result)
        };
        let line = record.line("1-2").expect("a line");
        assert!(line.len() < 16 << 10, "{filler:?}: {}", line.len());
        let value: Value = serde_json::from_slice(&line).expect("JSON");
        let filter = value["filter"].as_str().expect("text");
        assert!(filter.ends_with(text::MARK), "{filler:?}");
        assert!(filter.starts_with(filler));
    }
}

proptest! {
    #[test]
    fn no_text_breaks_a_line_and_none_is_lost(filter in ".{0,200}", message in any::<String>()) {
        let intent = Intent { filter: Some(filter.clone()), ..Intent::default() };
        let record = Record {
            intent: Some(Arc::new(intent.bounded())),
            outcome: Some(Outcome::failed("OK", message.clone()).bounded()),
            ..Record::of(Event::Result)
        };
        let line = String::from_utf8(record.line("1-2").unwrap()).unwrap();
        let text = line.strip_suffix('\n').expect("an end");
        prop_assert!(!text.contains(char::is_control), "{text:?}");
        let turns = text.contains('\u{202e}');
        prop_assert!(!turns);
        let value: Value = serde_json::from_str(text).expect("JSON");
        prop_assert_eq!(value["filter"].as_str(), Some(filter.as_str()));
        if !message.is_empty() {
            prop_assert_eq!(value["message"].as_str(), Some(message.as_str()));
        }
    }

    #[test]
    fn a_text_that_is_cut_fits(text in "(?s).{0,60}", max in 10_usize..60) {
        let mut shorter = text.clone();
        text::cut(&mut shorter, max);
        let json = text::json(&shorter).unwrap();
        prop_assert!(json.len() - 2 <= max, "{}", json.len());
        match shorter.strip_suffix(text::MARK) {
            Some(begin) if shorter != text => prop_assert!(text.starts_with(begin)),
            _ => prop_assert_eq!(shorter, text),
        }
    }
}
