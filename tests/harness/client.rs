//! `ctctl`, as cargo built it for this test: run to its end, beside the test, or on a
//! terminal.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::Netns;
use super::agent::Agent;

/// The program.
const CTCTL: &str = env!("CARGO_BIN_EXE_ctctl");

/// What a command said, and its exit code.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("no signal"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Its output, when all went well and nothing else was said.
    #[track_caller]
    pub(crate) fn well(self) -> String {
        assert_eq!((self.code, &*self.err), (0, ""), "{}", self.out);
        self.out
    }

    /// Its complaint, when it exited with this.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.err
    }
}

/// The objects of `-o jsonl`.
#[track_caller]
pub(crate) fn objects(text: &str) -> Vec<serde_json::Value> {
    let object = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    text.lines().map(object).collect()
}

/// A client of some agents.
#[derive(Clone, Default)]
pub(crate) struct Client {
    targets: Vec<String>,
}

impl Client {
    /// Of agents; the first is called a, the second b.
    pub(crate) fn of<'a>(agents: impl IntoIterator<Item = &'a Agent>) -> Self {
        let named = ('a'..).zip(agents);
        Self {
            targets: named
                .map(|(name, agent)| format!("{name}={}", agent.target()))
                .collect(),
        }
    }

    /// Of an agent that has no name of its own.
    pub(crate) fn alone(agent: &Agent) -> Self {
        Self {
            targets: vec![agent.target()],
        }
    }

    /// And of one more target.
    pub(crate) fn and(mut self, target: &str) -> Self {
        self.targets.push(target.to_owned());
        self
    }

    /// The command of this line; words are parted by spaces.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(CTCTL);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CTCTL_") {
                command.env_remove(name);
            }
        }
        for target in &self.targets {
            command.args(["-t", target]);
        }
        command.args(line.split_whitespace()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> Said {
        Said::of(self.command(line).output().expect("ctctl runs"))
    }

    /// Runs a command line of conntrack(8) through it.
    #[track_caller]
    pub(crate) fn conntrack(&self, line: &str) -> Said {
        self.run(&format!("conntrack {line}"))
    }

    /// Runs it inside a namespace.
    #[track_caller]
    pub(crate) fn run_in(&self, ns: &Netns, line: &str) -> Said {
        let mut command = self.command(line);
        Said::of(ns.enter(|| command.output()).expect("ctctl runs"))
    }

    /// Runs it with something on its standard input.
    #[track_caller]
    pub(crate) fn feed(&self, line: &str, input: &str) -> Said {
        let mut child = self
            .command(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ctctl runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_owned();
        // On a thread: it may answer before it has read all.
        let feeder = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let said = Said::of(child.wait_with_output().expect("it ends"));
        feeder.join().expect("a feeder").expect("it reads all");
        said
    }

    /// Runs it on a terminal, and types this when it asks. All that the terminal shows is
    /// its output.
    #[track_caller]
    pub(crate) fn type_to(&self, line: &str, typed: &str) -> Said {
        let command = self.command(line);
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().expect("UTF-8"));
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(quoted)
            .collect();
        let mut child = Command::new("script")
            .args(["-q", "-e", "-c", &words.join(" "), "/dev/null"])
            .env("TERM", "dumb")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script(1) runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut said = Vec::new();
        while !said.ends_with(b"[y/N] ") {
            let mut byte = [0];
            if out.read(&mut byte).expect("a terminal") == 0 {
                break;
            }
            said.extend(byte);
        }
        stdin.write_all(typed.as_bytes()).expect("a terminal");
        out.read_to_end(&mut said).expect("a terminal");
        drop(stdin);
        Said {
            code: child.wait().expect("it ends").code().expect("no signal"),
            out: String::from_utf8(said).expect("UTF-8"),
            err: String::new(),
        }
    }

    /// Starts it beside the test.
    pub(crate) fn start(&self, line: &str) -> Running {
        let mut child = self
            .command(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ctctl runs");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        Running { child, out }
    }
}

/// A client that runs beside the test.
pub(crate) struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    /// The next line that it prints; "" at the end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a pipe");
        line
    }

    /// Whether it has printed something that was not read yet.
    pub(crate) fn is_ready(&self) -> bool {
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut ready = [PollFd::new(self.out.get_ref(), PollFlags::IN)];
        !self.out.buffer().is_empty() || poll(&mut ready, Some(&at_once)).is_ok_and(|n| n > 0)
    }

    /// The next object that it prints.
    #[track_caller]
    pub(crate) fn object(&mut self) -> serde_json::Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
    }

    /// The most memory that it ever had, in KiB.
    pub(crate) fn most_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        number.expect("VmHWM").parse().expect("a number")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Closes the pipe that it prints to, and waits for its end.
    pub(crate) fn close(self) -> Said {
        let Self { child, out } = self;
        drop(out);
        Said::of(child.wait_with_output().expect("it ends"))
    }

    /// Reads what it still prints, and waits for its end.
    pub(crate) fn rest(mut self) -> Said {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("UTF-8");
        Said {
            out: rest,
            ..self.close()
        }
    }
}
