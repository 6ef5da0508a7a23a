//! `-R`: the creations, updates, deletions and flushes of a file, in its order, on every node.
//!
//! All lines are read before the first is run. Comments that `-o save` wrote say what options
//! cannot, and which node an entry was saved from: it goes back there.
//!
//! A flow that the kernel refuses is the end for its node, as it is for conntrack(8). Additions
//! go in batches, though, of which the rest is written all the same.

use std::fs;
use std::io::{self, Read as _};
use std::sync::Arc;

use super::change::{Go, change_selected, flush, spared_words};
use super::create::write_flows;
use super::report::{Parcel, Shown, account, say};
use super::{Job, Labels, read, refuse};
use crate::ctctl::commands::change::Verb;
use crate::ctctl::connect::Session;
use crate::ctctl::connlabel::LabelNames;
use crate::ctctl::conntrack::{Action, Line, LineError, Table, split};
use crate::ctctl::context::Context;
use crate::ctctl::fanout::{Sink, Stop, Width};
use crate::ctctl::output::classic::{Classic, Command, Options};
use crate::ctctl::print::Printer;
use crate::ctctl::saved;
use crate::flow::Flow;

/// Flows that an agent gets at once.
const BATCH: usize = 256;

const RUN: Verb = Verb {
    verb: "run",
    done: "run",
    what: "the lines of a file",
};

/// A file to run.
pub(super) struct File {
    path: String,
    yes: bool,
    include_own: bool,
}

/// The file of `-R FILE`, which has to be the first option.
pub(super) fn file(words: &[String]) -> Option<File> {
    let is_own = |word: &&String| *word == "--yes" || *word == "--include-own-connections";
    let given = |name: &str| words.iter().any(|word| word == name);
    let mut rest = words.iter().filter(|word| !is_own(word));
    let first = rest.next()?;
    let path = match first.as_str() {
        "-R" | "--load-file" => rest.next()?.clone(),
        _ => return None,
    };
    Some(File {
        path,
        yes: given("--yes"),
        include_own: given("--include-own-connections"),
    })
}

pub(super) async fn run(file: &File, context: &mut Context) -> u8 {
    let text = match text(&file.path) {
        Ok(text) => text,
        Err(_) => return refuse(None, &LineError::File(file.path.clone())),
    };
    let mut output = Options::default();
    let mut count = 0;
    let labels = Labels::load();
    for step in Steps::of(&text, labels.names.clone()) {
        match step {
            Ok(step) => {
                count += 1;
                let is_known =
                    |node: &String| context.fleet.targets.iter().any(|t| **t.name() == **node);
                if let Some(node) = step.node.filter(|node| !is_known(node)) {
                    return refuse(Some(step.number), &LineError::Node(node));
                }
                labels.announce(&step.line);
                merge(&mut output, step.line.output);
            }
            Err((number, error)) => {
                labels.announce_for(&error);
                return refuse(Some(number), &error);
            }
        }
    }
    let nodes = context.nodes();
    let names = labels.names;
    let formatter = Classic::new(output, Command::Update, names.clone());
    let printer = Printer::classic(formatter, nodes);
    let shown = Shown::new(context, printer, Action::Add, Table::Conntrack);
    let mut line = Line::default();
    line.yes = file.yes || count == 0;
    let mut job = Job {
        context,
        line,
        names: None,
    };
    if let Go::End(code) = job.confirm_on_all(&RUN).await {
        return code;
    }
    let include_own = file.include_own;
    let text: Arc<str> = text.into();
    let work = move |session: Session, sink: Sink<Parcel<Flow>>| {
        let (text, names) = (Arc::clone(&text), names.clone());
        async move {
            let steps = Steps::of(&text, names);
            on_node(&session, &sink, steps, include_own).await
        }
    };
    let run = job
        .context
        .fleet
        .run(Width::All, &mut job.context.interrupt, shown, work);
    account(run.await).map_or_else(|code| code, |(_, code)| code)
}

fn text(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    match path {
        "-" => io::stdin().read_to_end(&mut bytes)?,
        path => fs::File::open(path)?.read_to_end(&mut bytes)?,
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn merge(all: &mut Options, one: Options) {
    all.extended |= one.extended;
    all.xml |= one.xml;
    all.save |= one.save;
    all.id |= one.id;
    all.timestamp |= one.timestamp;
    all.ktimestamp |= one.ktimestamp;
    all.labels |= one.labels;
    all.userspace |= one.userspace;
}

/// Runs the lines on one node.
async fn on_node(
    session: &Session,
    sink: &Sink<Parcel<Flow>>,
    steps: Steps<'_>,
    include_own: bool,
) -> Result<(), Stop> {
    let own = session.target().name();
    let mut waiting = Waiting::default();
    // Steps that are wrong were found before.
    for mut step in steps.flatten() {
        if step.node.as_ref().is_some_and(|node| *node != **own) {
            continue;
        }
        step.line.include_own |= include_own;
        let action = step.line.action.unwrap_or(Action::Add);
        if matches!(action, Action::Add | Action::Create) {
            if waiting.is_full_for(action) && !waiting.write(session, sink, action).await? {
                return Ok(());
            }
            waiting.add(step);
            continue;
        }
        if !waiting.write_all(session, sink).await? {
            return Ok(());
        }
        if action == Action::Flush {
            let spared = flush(session, &step.line).await?;
            if spared > 0 {
                say(format_args!("{}", spared_words(spared)));
            }
            say(format_args!("connection tracking table has been emptied."));
        } else {
            change_selected(session, sink, &step.line).await?;
        }
    }
    waiting.write_all(session, sink).await?;
    Ok(())
}

/// Flows that wait to be written, and their lines.
#[derive(Default)]
struct Waiting {
    action: Option<Action>,
    flows: Vec<Flow>,
    lines: Vec<u64>,
    /// Those that the kernel refuses before the flow that expected them is there.
    dependants: Vec<(Action, u64, Flow)>,
}

impl Waiting {
    fn add(&mut self, step: Step) {
        let action = step.line.action.unwrap_or(Action::Add);
        let Some(flow) = step.flow else { return };
        if flow.master.is_some() {
            self.dependants.push((action, step.number, flow));
        } else {
            self.flows.push(flow);
            self.lines.push(step.number);
        }
    }

    /// Whether what waits has to be written before a flow of this command. A creation is
    /// meant to fail where the flow exists, and then to be the last: it goes alone.
    fn is_full_for(&self, action: Action) -> bool {
        let most = if action == Action::Create { 1 } else { BATCH };
        self.action != Some(action) || self.flows.len() >= most
    }

    /// Writes what waits; what follows is of this command. False when something failed.
    async fn write(
        &mut self,
        session: &Session,
        sink: &Sink<Parcel<Flow>>,
        next: Action,
    ) -> Result<bool, Stop> {
        let action = self.action.replace(next).unwrap_or(next);
        let (flows, lines) = (
            std::mem::take(&mut self.flows),
            std::mem::take(&mut self.lines),
        );
        if flows.is_empty() {
            return Ok(true);
        }
        send(session, sink, action, &flows, &lines).await
    }

    /// Writes all that waits, dependants last. False when something failed.
    async fn write_all(
        &mut self,
        session: &Session,
        sink: &Sink<Parcel<Flow>>,
    ) -> Result<bool, Stop> {
        if !self.write(session, sink, Action::Add).await? {
            return Ok(false);
        }
        for (action, line, flow) in std::mem::take(&mut self.dependants) {
            if !send(session, sink, action, &[flow], &[line]).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

async fn send(
    session: &Session,
    sink: &Sink<Parcel<Flow>>,
    action: Action,
    flows: &[Flow],
    lines: &[u64],
) -> Result<bool, Stop> {
    let written = write_flows(session, flows, action).await?;
    let complaint = |(index, words): (u64, String)| {
        let at = usize::try_from(index).ok().and_then(|at| lines.get(at));
        match at {
            Some(line) => format!("line {line}: {words}"),
            None => words,
        }
    };
    let is_well = written.complaints.is_empty();
    sink.send(Parcel {
        rows: Vec::new(),
        counted: written.created,
        complaints: written.complaints.into_iter().map(complaint).collect(),
    })
    .await?;
    Ok(is_well)
}

/// A line of a file.
struct Step {
    number: u64,
    node: Option<String>,
    line: Line,
    /// The flow of a creation.
    flow: Option<Flow>,
}

/// The lines of a file, with what the comments before them say.
struct Steps<'a> {
    lines: std::iter::Zip<std::ops::RangeFrom<u64>, std::str::Split<'a, char>>,
    names: Option<Arc<LabelNames>>,
    node: Option<String>,
    comment: Option<String>,
}

impl<'a> Steps<'a> {
    fn of(text: &'a str, names: Option<Arc<LabelNames>>) -> Self {
        Self {
            names,
            lines: (1..).zip(text.split('\n')),
            node: None,
            comment: None,
        }
    }

    /// Takes a comment that means something.
    fn comment(&mut self, text: &str) {
        if let Some(object) = text.strip_prefix(saved::COMMENT) {
            self.comment = Some(object.to_owned());
        } else if let Some(more) = text.strip_prefix(saved::CONTINUED) {
            if let Some(object) = &mut self.comment {
                object.push_str(more);
            }
        } else {
            self.comment = None;
            if let Some(node) = text.strip_prefix(saved::NODE) {
                self.node = Some(node.trim().to_owned());
            }
        }
    }

    fn step(&mut self, number: u64, text: &str) -> Result<Step, LineError> {
        let comment = self.comment.take();
        let words = split(text)?;
        let line = read(&words, self.names.as_deref())?;
        let command = match (line.action, line.table) {
            (
                Some(
                    Action::Create | Action::Add | Action::Update | Action::Delete | Action::Flush,
                ),
                Table::Conntrack,
            ) => None,
            (Some(Action::List), Table::Expect) => Some("-L expect"),
            (Some(Action::Create), _) => Some("-I expect"),
            (Some(Action::Delete), _) => Some("-D expect"),
            (Some(Action::Get), Table::Expect) => Some("-G expect"),
            (Some(Action::Flush), _) => Some("-F expect"),
            (Some(Action::Event), Table::Expect) => Some("-E expect"),
            (Some(Action::Count), Table::Expect) => Some("-C expect"),
            (Some(Action::Stats), Table::Expect) => Some("-S expect"),
            (Some(Action::List), _) => Some("-L"),
            (Some(Action::Get), _) => Some("-G"),
            (Some(Action::Event), _) => Some("-E"),
            (Some(Action::Version), _) => Some("-V"),
            (Some(Action::Help), _) => Some("-h"),
            (Some(Action::Count), _) => Some("-C"),
            (Some(Action::Stats), _) => Some("-S"),
            (_, _) => Some("unknown"),
        };
        if let Some(command) = command {
            return Err(LineError::NotInFile(command));
        }
        let mut flow = match line.action {
            Some(Action::Create | Action::Add) => Some(line.flow()?),
            _ => None,
        };
        if let (Some(flow), Some(comment)) = (&mut flow, comment)
            && let Err(error) = saved::complete_flow(flow, &comment)
        {
            return Err(LineError::Comment(error.to_string()));
        }
        Ok(Step {
            number,
            node: self.node.clone(),
            line,
            flow,
        })
    }
}

impl Iterator for Steps<'_> {
    type Item = Result<Step, (u64, LineError)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (number, text) = self.lines.next()?;
            let text = text.trim_start_matches([' ', '\t']).trim_end_matches('\r');
            if text.starts_with('#') {
                self.comment(text);
            } else if !text.trim_end().is_empty() {
                return Some(self.step(number, text).map_err(|error| (number, error)));
            }
        }
    }
}
