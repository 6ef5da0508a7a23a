//! What every command has at hand, and how every command ends.

use std::future::Future;
use std::sync::Arc;

use indicatif::ProgressBar;

use super::args::Global;
use super::connect::NodeError;
use super::connect::Session;
use super::fanout::{Ended, Failure, Fleet, Interrupt, Outcome, Sink, Stop, Width};
use super::fleet::Target;
use super::output::{Format, Report, Value};
use super::print::{Printer, say};
use super::progress::{self, Gather};

/// What every command has at hand.
pub struct Context {
    /// The agents.
    pub fleet: Fleet,
    /// Ctrl-C and `kill`.
    pub interrupt: Interrupt,
    /// The format that the user chose.
    pub format: Format,
    /// How many agents the command began with.
    nodes: usize,
}

/// What single answers of many agents came to.
pub struct Answers<T> {
    /// Who answered what, in the order of the targets.
    pub answers: Vec<(Arc<Target>, T)>,
    /// How it ended, and who failed.
    pub outcome: Outcome<()>,
}

impl Context {
    /// For a fleet.
    pub fn new(global: &Global, fleet: Fleet, interrupt: Interrupt) -> Self {
        let nodes = fleet.targets.len();
        Self {
            fleet,
            interrupt,
            format: global.output,
            nodes,
        }
    }

    /// How many agents the command began with.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Whether rows and messages have to say their node.
    pub fn is_fleet(&self) -> bool {
        self.nodes > 1
    }

    /// A document on standard output.
    pub fn printer(&self, events: bool) -> Printer {
        Printer::new(self.format, self.nodes, events)
    }

    /// Asks every agent for one answer.
    pub async fn ask<T, W, F>(&mut self, work: W) -> Answers<T>
    where
        T: Send + 'static,
        W: Fn(Session) -> F + Clone + Send + 'static,
        F: Future<Output = Result<T, NodeError>> + Send,
    {
        self.gather(ProgressBar::hidden(), work).await
    }

    /// The same for work that takes long: a terminal shows how many are done.
    pub async fn ask_slow<T, W, F>(&mut self, verb: &'static str, work: W) -> Answers<T>
    where
        T: Send + 'static,
        W: Fn(Session) -> F + Clone + Send + 'static,
        F: Future<Output = Result<T, NodeError>> + Send,
    {
        let bar = progress::of_nodes(verb, self.fleet.targets.len());
        self.gather(bar, work).await
    }

    async fn gather<T, W, F>(&mut self, bar: ProgressBar, work: W) -> Answers<T>
    where
        T: Send + 'static,
        W: Fn(Session) -> F + Clone + Send + 'static,
        F: Future<Output = Result<T, NodeError>> + Send,
    {
        let ask = move |session: Session, sink: Sink<T>| {
            let answer = work(session);
            async move {
                sink.send(answer.await?).await?;
                Ok::<(), Stop>(())
            }
        };
        let gather = Gather::new(bar);
        let run = self
            .fleet
            .run(Width::Bounded, &mut self.interrupt, gather, ask);
        let (gathered, outcome) = run.await.take();
        let answers = gathered.map_or_else(Vec::new, |g| g.in_order(&self.fleet.targets));
        Answers { answers, outcome }
    }

    /// A table for one row or more of every node.
    pub fn table<C>(&self, columns: impl IntoIterator<Item = C>) -> NodeTable
    where
        C: Into<String>,
    {
        let names_nodes = self.is_fleet() || self.format.always_names_node();
        let first = names_nodes.then(|| "node".to_owned());
        NodeTable {
            report: Report::new(first.into_iter().chain(columns.into_iter().map(Into::into))),
            names_nodes,
        }
    }

    /// Prints a table and ends.
    pub fn show<C>(&self, table: &NodeTable, outcome: Outcome<C>) -> u8 {
        let mut outcome = outcome;
        let mut printer = self.printer(false);
        printer.report(&table.report);
        if let Err(error) = printer.end() {
            outcome.ended = Ended::of_write_error(error);
        }
        self.finish(&outcome)
    }

    /// Says who failed and gives the exit code.
    pub fn finish<C>(&self, outcome: &Outcome<C>) -> u8 {
        if matches!(outcome.ended, Ended::PipeClosed) {
            return 0;
        }
        self.report_failures(&outcome.failures);
        if let Ended::Unwritable(error) = &outcome.ended {
            say(format_args!("cannot write the output: {error}"));
        }
        outcome.exit_code()
    }

    /// Says who failed, and why.
    pub fn report_failures(&self, failures: &[Failure]) {
        let many = self.is_fleet();
        for Failure { node, error } in failures {
            if many {
                say(format_args!("{}: {error}", node.name()));
            } else {
                say(format_args!("{error}"));
            }
        }
        if many && !failures.is_empty() {
            say(format_args!(
                "{} of {} nodes failed",
                failures.len(),
                self.nodes
            ));
        }
    }
}

/// The sum of numbers that agents tell, and no more than a number holds.
pub fn added_up(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::saturating_add)
}

/// A report whose first column is the node, where rows name it.
pub struct NodeTable {
    report: Report,
    names_nodes: bool,
}

impl NodeTable {
    /// For rows with many columns: people see each row as lines of name and value.
    #[must_use]
    pub fn as_records(mut self) -> Self {
        self.report = self.report.as_records();
        self
    }

    /// Adds a row.
    pub fn push(&mut self, node: &str, cells: impl IntoIterator<Item = Value>) {
        let name = self.names_nodes.then(|| Value::from(node));
        self.report.push(name.into_iter().chain(cells));
    }
}
