//! A `ctctl watch -o jsonl` whose lines are counted as fast as it writes them.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::{Netns, until};

/// What it has written so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) subscribed: bool,
    pub(crate) events: u64,
    /// Events that gaps told of.
    pub(crate) lost: u64,
    pub(crate) gaps: Vec<String>,
}

pub(crate) struct Watcher {
    child: Child,
    seen: Arc<Mutex<Seen>>,
    reader: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts it, and waits until it is subscribed.
    pub(crate) fn start(ns: &Netns, ctctl: &mut Command, words: &[&str]) -> Self {
        ctctl
            .args(["-o", "jsonl", "watch"])
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = ns.enter(|| ctctl.spawn()).expect("ctctl");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let reader = {
            let seen = Arc::clone(&seen);
            let mut output =
                BufReader::with_capacity(1 << 20, child.stdout.take().expect("a pipe"));
            std::thread::spawn(move || {
                while let Ok(block) = output.fill_buf()
                    && !block.is_empty()
                {
                    let mut now = lock(&seen);
                    // ctctl writes whole lines, a pipe may cut them: the rest waits.
                    let Some(end) = block.iter().rposition(|byte| *byte == b'\n') else {
                        drop(now);
                        let mut line = Vec::new();
                        let _ = output.read_until(b'\n', &mut line);
                        now = lock(&seen);
                        count(&mut now, &line);
                        continue;
                    };
                    block[..end]
                        .split(|byte| *byte == b'\n')
                        .for_each(|line| count(&mut now, line));
                    drop(now);
                    output.consume(end + 1);
                }
            })
        };
        let this = Self {
            child,
            seen,
            reader: Some(reader),
        };
        until("a subscription", || this.seen().subscribed.then_some(()));
        this
    }

    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until nothing has come for a second, and ends it.
    pub(crate) fn finish(mut self) -> Seen {
        let mut before = self.seen();
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = self.seen();
            if now == before {
                break;
            }
            before = now;
        }
        self.end();
        before
    }

    fn end(&mut self) {
        // Our own child; it has nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().expect("a count")
}

/// Counts a line: `{"node":"127.0.0.1:7447","event":"NEW",...`.
fn count(seen: &mut Seen, line: &[u8]) {
    const KEY: &[u8] = b"\"event\":\"";
    let start = line.windows(KEY.len()).position(|window| window == KEY);
    match start.map(|start| &line[start + KEY.len()..]) {
        Some([b'N' | b'U' | b'D', ..]) => seen.events += 1,
        Some([b'G', ..]) => {
            let line = String::from_utf8_lossy(line).into_owned();
            let lost = line.split("\"lost\":").nth(1).unwrap_or_default();
            let digits: String = lost.chars().take_while(char::is_ascii_digit).collect();
            seen.lost += digits.parse::<u64>().expect("a number");
            seen.gaps.push(line);
        }
        Some([b'S', b'U', ..]) => seen.subscribed = true,
        _ => {}
    }
}
