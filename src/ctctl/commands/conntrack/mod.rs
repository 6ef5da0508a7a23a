//! `ctctl conntrack`, and ctctl under the name `conntrack`: the command line of conntrack(8)
//! on every target, by the same requests as the other commands.

mod change;
mod create;
mod get;
mod list;
mod load;
mod report;
mod stats;
mod watch;

use std::sync::Arc;

use clap::Args;

use crate::ctctl::connlabel::{self, ConnlabelError, LabelNames};
use crate::ctctl::conntrack::{self, Action, Banner, Line, LineError, Opt, Table};
use crate::ctctl::context::Context;
use crate::ctctl::output::classic::{Classic, Command};
use crate::ctctl::print::Printer;
use report::{complain, warn};

/// A command line of conntrack(8).
#[derive(Args, Clone, Debug, Default)]
#[command(
    disable_help_flag = true,
    after_help = "Every option behind the word conntrack is conntrack(8)'s; those of ctctl, like \
                  -t, stand before it: ctctl -t fw1:7443 conntrack -L. `ctctl conntrack -h` \
                  lists them. A link to ctctl with the name conntrack takes them alone, and \
                  its targets from CTCTL_TARGETS."
)]
pub struct ConntrackArgs {
    /// conntrack(8)'s command and options
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub args: Vec<String>,
}

/// One command line at work.
struct Job<'a> {
    context: &'a mut Context,
    line: Line,
    names: Option<Arc<LabelNames>>,
}

/// Runs a command line and gives the exit code: that of the node that fared worst.
pub(super) async fn run(args: ConntrackArgs, context: &mut Context) -> u8 {
    let words = args.args;
    if let Some(file) = load::file(&words) {
        return load::run(&file, context).await;
    }
    let labels = Labels::load();
    let line = match read(&words, labels.names.as_deref()) {
        Ok(line) => line,
        Err(error) => {
            labels.announce_for(&error);
            return refuse(None, &error);
        }
    };
    labels.announce(&line);
    let names = labels.names.filter(|_| line.output.labels);
    Job {
        context,
        line,
        names,
    }
    .run()
    .await
}

/// The names of labels on this host, or why there are none.
struct Labels {
    names: Option<Arc<LabelNames>>,
    missing: Option<ConnlabelError>,
}

impl Labels {
    fn load() -> Self {
        match LabelNames::read(connlabel::PATH.as_ref()) {
            Ok(names) => Self {
                names: Some(Arc::new(names)),
                missing: None,
            },
            Err(error) => Self {
                names: None,
                missing: Some(error),
            },
        }
    }

    /// Says what was passed over in a line.
    fn announce(&self, line: &Line) {
        if let Some(error) = self.missing.as_ref().filter(|_| line.output.labels) {
            warn(format_args!("{error}"));
        }
        for warning in &line.warnings {
            warn(format_args!("{warning}"));
        }
    }

    /// Says why a label is not known.
    fn announce_for(&self, error: &LineError) {
        if let (Some(missing), LineError::Label(_)) = (&self.missing, error) {
            warn(format_args!("{missing}"));
        }
    }
}

/// Reads a command line. Who speaks of labels sees them.
fn read(words: &[String], names: Option<&LabelNames>) -> Result<Line, LineError> {
    let mut line = conntrack::parse(words, names)?;
    let of_labels = [Opt::Label, Opt::LabelAdd, Opt::LabelDel];
    if of_labels.into_iter().any(|opt| line.has(opt)) {
        line.output.labels = true;
    }
    Ok(line)
}

/// Says what is wrong with a line, and gives the exit code.
fn refuse(number: Option<u64>, error: &LineError) -> u8 {
    match number {
        Some(number) => complain(None, format_args!("line {number}: {error}")),
        None => complain(None, format_args!("{error}")),
    }
    if error.is_usage() {
        report::line(format_args!(
            "Try `conntrack -h' or 'conntrack --help' for more information."
        ));
    }
    error.exit_code()
}

impl Job<'_> {
    async fn run(mut self) -> u8 {
        let Some(action) = self.line.action else {
            return show(&conntrack::help(None));
        };
        let done = match (action, self.line.table) {
            (Action::Help, _) => return show(&conntrack::help(self.line.protocol)),
            (Action::Version, _) => return show(&format!("{Banner}\n")),
            (Action::List, Table::Expect) => self.list_expectations().await,
            (Action::List, _) => self.list_flows().await,
            (Action::Get, Table::Expect) => self.get_expectation().await,
            (Action::Get, _) => self.get_flow().await,
            (Action::Create, Table::Expect) => self.create_expectation().await,
            (Action::Create | Action::Add, _) => self.create_flow().await,
            (Action::Delete, Table::Expect) => self.delete_expectation().await,
            (Action::Delete, _) => self.delete_flows().await,
            (Action::Update, _) => self.update_flows().await,
            (Action::Flush, Table::Expect) => self.flush_expectations().await,
            (Action::Flush, _) => self.flush_flows().await,
            (Action::Event, Table::Expect) => self.watch_expectations().await,
            (Action::Event, _) => self.watch_flows().await,
            (Action::Count, Table::Expect) => self.count_expectations().await,
            (Action::Count, _) => self.count_flows().await,
            (Action::Stats, Table::Expect) => self.expectation_stats().await,
            (Action::Stats, _) => self.flow_stats().await,
        };
        done.unwrap_or_else(|error| refuse(None, &error))
    }

    /// A document of rows on standard output.
    fn printer(&self, command: Command) -> Printer {
        let formatter = Classic::new(self.line.output, command, self.names.clone());
        Printer::classic(formatter, self.context.nodes())
    }
}

/// Writes a text to standard output.
fn show(text: &str) -> u8 {
    u8::from(report::write_out(text.as_bytes()).is_err())
}
