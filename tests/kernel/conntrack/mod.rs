//! `ctctl conntrack` beside conntrack(8): the same command lines, written from its manual
//! page, in the same namespace or in twins; the same output, the same summary, the same exit
//! code, and the same table afterwards.

mod change;
mod events;
mod expect;
mod file;
mod fleet;
mod mask;
mod read;
mod usage;

use std::process::{Command, Output};

use mask::{Masked, Whose, unnamed};

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::client::Client;
use crate::harness::witness::Row;

/// How far the clocks of twins may be apart: one is filled after the other.
const SECONDS: u64 = 6;

/// What a program answered.
#[derive(Clone, Debug)]
struct Answer {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Answer {
    /// Nothing went wrong.
    #[track_caller]
    fn well(&self) {
        assert_eq!(self.code, Some(0), "{}", self.err);
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

/// Names of labels for both programs: a file system over /etc that they alone see.
const NAMED: &str = "mount -t tmpfs none /etc && mkdir /etc/xtables \
    && printf '0 zero\\n1 web\\n5 five five\\n127 last\\n' > /etc/xtables/connlabel.conf \
    && exec \"$@\"";

/// A command that sees names of labels.
fn labelled(command: &Command) -> Command {
    let mut outer = Command::new("unshare");
    outer.args(["--mount", "sh", "-c", NAMED, "sh"]);
    outer.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

/// conntrack(8) with these words.
fn conntrack(line: &str) -> Command {
    let mut command = Command::new("conntrack");
    command.args(line.split_whitespace());
    command
}

/// conntrack(8) with these words, inside.
fn theirs(ns: &Netns, line: &str) -> Answer {
    let mut command = as_needed(conntrack(line), line);
    ns.enter(|| command.output()).expect("it runs").into()
}

/// `ctctl conntrack` with these words.
fn ours(client: &Client, line: &str) -> Answer {
    let command = client.command(&format!("conntrack {line}"));
    as_needed(command, line).output().expect("it runs").into()
}

/// Shown the names of labels only if the line is about labels: a mount costs time.
fn as_needed(command: Command, line: &str) -> Command {
    if line.contains("label") || line.contains("-l ") {
        labelled(&command)
    } else {
        command
    }
}

/// A namespace with an agent inside.
struct Host {
    client: Client,
    agent: Agent,
    ns: Netns,
}

impl Host {
    fn new(ns: Netns) -> Self {
        let agent = Agent::start(&ns);
        Self {
            client: Client::alone(&agent),
            agent,
            ns,
        }
    }
}

/// Twin namespaces: conntrack(8) works in one, ctctl in the other.
struct Twins {
    theirs: Netns,
    ours: Host,
}

/// What is to be seen of a table from outside.
#[derive(Debug)]
struct State {
    rows: Vec<Row>,
    timeouts: Vec<Option<u32>>,
    expectations: Vec<Masked>,
}

impl State {
    fn of(ns: &Netns) -> Self {
        let timed = ns.witness("").into_iter().map(|mut row| {
            // Each table has its own.
            row.id = None;
            let timeout = row.timeout.take();
            (row, timeout)
        });
        let mut timed: Vec<_> = timed.collect();
        timed.sort();
        let (rows, timeouts) = timed.into_iter().unzip();
        let mut expectations: Vec<Masked> = ["ipv4", "ipv6"]
            .into_iter()
            .map(|family| ns.conntrack(&format!("-L expect -f {family}")))
            .flat_map(|out| {
                let lines = out.lines().map(|line| Masked::of(line, Whose::TwinTables));
                lines.collect::<Vec<_>>()
            })
            .collect();
        expectations.sort();
        Self {
            rows,
            timeouts,
            expectations,
        }
    }

    fn difference(&self, ours: &Self) -> Option<String> {
        let mut rows = self.rows.iter().zip(&ours.rows);
        if let Some((theirs, ours)) = rows.find(|(a, b)| a != b) {
            return Some(format!("table:\n  {theirs:?}\n  {ours:?}"));
        }
        let mut timeouts = self.timeouts.iter().zip(&ours.timeouts);
        let far = |a: &Option<u32>, b: &Option<u32>| {
            a.unwrap_or_default().abs_diff(b.unwrap_or_default()) > SECONDS as u32
        };
        if let Some((theirs, ours)) = timeouts.find(|(a, b)| far(a, b)) {
            return Some(format!("timeout: {theirs:?}, {ours:?}"));
        }
        let mut expected = self.expectations.iter().zip(&ours.expectations);
        if let Some((theirs, ours)) = expected.find(|(a, b)| !a.is_like(b, SECONDS)) {
            return Some(format!("expectation:\n  {theirs:?}\n  {ours:?}"));
        }
        let sizes = |state: &Self| (state.rows.len(), state.expectations.len());
        (sizes(self) != sizes(ours)).then(|| format!("{:?}, {:?}", sizes(self), sizes(ours)))
    }
}

impl Twins {
    /// With these entries in both.
    fn with(seed: impl Fn(&Netns)) -> Self {
        let (theirs, ours) = (Netns::new(), Netns::new());
        seed(&theirs);
        seed(&ours);
        Self {
            theirs,
            ours: Host::new(ours),
        }
    }

    /// Runs each line in both, and compares the answers and what is there afterwards.
    #[track_caller]
    fn agree(&self, lines: &[&str]) {
        let mut campaign = Campaign::default();
        for line in lines {
            let (theirs, ours) = (theirs(&self.theirs, line), ours(&self.ours.client, line));
            campaign.note(line, difference(&theirs, &ours, Whose::TwinTables, true));
            let states = [&self.theirs, &self.ours.ns].map(State::of);
            let differ = states[0].difference(&states[1]);
            let over = differ.is_some();
            campaign.note(line, differ);
            if over {
                // All that follows would differ, too.
                break;
            }
        }
        campaign.end();
    }
}

/// How the two answers to one line differ.
fn difference(theirs: &Answer, ours: &Answer, whose: Whose, sorted: bool) -> Option<String> {
    let masked = |answer: &Answer| {
        let lines = answer.out.lines();
        // What ctctl adds to saved entries are comments.
        let lines = lines.filter(|line| !line.starts_with("# ctfleet"));
        let mut lines: Vec<Masked> = lines.map(|line| Masked::of(line, whose)).collect();
        if sorted {
            lines.sort();
        }
        lines
    };
    let (left, right) = (masked(theirs), masked(ours));
    let mut pairs = left.iter().zip(&right);
    if let Some((theirs, ours)) = pairs.find(|(a, b)| !a.is_like(b, SECONDS)) {
        return Some(format!("output:\n  {}\n  {}", theirs.text, ours.text));
    }
    if left.len() != right.len() {
        return Some(format!(
            "lines of output:\n  {}\n  {}",
            theirs.out, ours.out
        ));
    }
    let (left, right) = (unnamed(&theirs.err), unnamed(&ours.err));
    if left != right {
        return Some(format!("standard error:\n  {left}  {right}"));
    }
    (theirs.code != ours.code).then(|| format!("exit code: {:?}, {:?}", theirs.code, ours.code))
}

/// What is wrong with a whole campaign; every line is tried.
#[derive(Default)]
struct Campaign {
    differences: Vec<String>,
}

impl Campaign {
    fn note(&mut self, line: &str, difference: Option<String>) {
        if let Some(difference) = difference {
            self.differences.push(format!("{line}\n  {difference}"));
        }
    }

    #[track_caller]
    fn end(self) {
        let count = self.differences.len();
        assert!(
            count == 0,
            "{count} differ:\n{}",
            self.differences.join("\n")
        );
    }
}
