//! What delete, update and flush have in common: how many entries on which nodes would be
//! touched, the question whether that is meant, and what came of it.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;

use clap::Args;
use tokio::sync::oneshot;

use super::CommandError;
use crate::ctctl::connect::{NodeError, Session, item_words};
use crate::ctctl::context::{Answers, Context, added_up};
use crate::ctctl::fanout::{Ended, Failure, Outcome};
use crate::ctctl::fleet::Target;
use crate::ctctl::output::Value;
use crate::ctctl::print::{Entry, say};
use crate::pb;

/// Nodes that a question names one by one; of a large fleet the others are added up.
const NODES_SHOWN: usize = 20;

/// How a change is made sure to be meant.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Safety")]
pub(super) struct Consent {
    /// Do not ask
    #[arg(short = 'y', long)]
    yes: bool,
    /// Change nothing; show how many would be touched, and some of them
    #[arg(long)]
    dry_run: bool,
    /// Refuse when more than so many would be touched, on all nodes together
    #[arg(long, value_name = "N")]
    max_affected: Option<u64>,
}

/// The words of a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verb {
    /// "delete".
    pub(super) verb: &'static str,
    /// "deleted"; the column of the result, too.
    pub(super) done: &'static str,
    /// "flows".
    pub(super) what: &'static str,
}

/// How many entries would be touched, and where.
pub(super) struct Preview {
    counts: Vec<(Arc<Target>, u64)>,
    outcome: Outcome<()>,
}

impl Preview {
    /// Counts what a filter selects on every node.
    pub(super) async fn of_flows(context: &mut Context, filter: Option<pb::Filter>) -> Self {
        let count = move |session: Session| {
            let filter = filter.clone();
            async move {
                let request = pb::CountFlowsRequest {
                    network_namespace: session.namespace(),
                    filter,
                };
                let answer = session.read(session.flows().count_flows(request)).await?;
                Ok(answer.count)
            }
        };
        Self::of_counts(context.ask(count).await)
    }

    pub(super) fn of_counts(answers: Answers<u64>) -> Self {
        Self {
            counts: answers.answers,
            outcome: answers.outcome,
        }
    }

    pub(super) fn total(&self) -> u64 {
        added_up(self.counts.iter().map(|(_, count)| *count))
    }
}

/// What an agent says of a change.
pub(super) struct Changed<E> {
    /// The numbers.
    pub(super) summary: pb::ChangeSummary,
    /// Some of the entries, of a rehearsal.
    pub(super) samples: Vec<E>,
}

/// A change that may go ahead, or the exit code of one that ends here.
pub(super) type Go = Result<Vec<Failure>, u8>;

impl Consent {
    /// That of somebody who says no more than whether to ask.
    pub(super) fn asking(ask: bool) -> Self {
        Self {
            yes: !ask,
            ..Self::default()
        }
    }

    /// Refuses what nobody can confirm, before anything is asked of an agent.
    pub(super) fn check(&self, verb: &Verb) -> Result<(), CommandError> {
        if self.yes || self.dry_run || io::stdin().is_terminal() {
            return Ok(());
        }
        Err(CommandError::NobodyToAsk {
            verb: verb.verb,
            what: verb.what,
        })
    }

    /// Whether it has to be known beforehand how much will be touched.
    pub(super) fn needs_preview(&self) -> bool {
        !self.yes || self.dry_run || self.max_affected.is_some()
    }

    /// Shows what would be touched and asks. From then on the context's fleet is the nodes
    /// where there is something to do; those that failed are handed back.
    pub(super) async fn ask(
        &self,
        context: &mut Context,
        verb: &Verb,
        preview: Preview,
    ) -> Result<Go, CommandError> {
        let total = preview.total();
        let Preview { counts, outcome } = preview;
        if !matches!(outcome.ended, Ended::Complete) || counts.is_empty() {
            return Ok(Err(context.finish(&outcome)));
        }
        if let Some(max) = self.max_affected.filter(|max| total > *max) {
            context.report_failures(&outcome.failures);
            return Err(CommandError::TooMany {
                matched: total,
                max,
                what: verb.what,
            });
        }
        let asks = !self.yes && !self.dry_run;
        if asks || self.dry_run {
            let refused = |failure: &Failure| matches!(failure.error, NodeError::Items { .. });
            if total == 0 && outcome.failures.iter().any(refused) {
                say(format_args!("there is nothing to {}", verb.verb));
            } else {
                show(verb, &counts, total, context.is_fleet());
            }
        }
        if self.dry_run || total == 0 {
            return Ok(Err(context.finish(&outcome)));
        }
        if asks {
            if !outcome.failures.is_empty() {
                context.report_failures(&outcome.failures);
                say(format_args!("those are left alone"));
            }
            match question(context, verb).await? {
                Ok(true) => {}
                Ok(false) => return Err(CommandError::Declined),
                Err(code) => return Ok(Err(code)),
            }
        }
        context.fleet.targets = counts
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(node, _)| node)
            .collect();
        Ok(Ok(outcome.failures))
    }

    fn options(&self, dry_run: bool, include_own_connections: bool) -> pb::ChangeOptions {
        pb::ChangeOptions {
            dry_run,
            // What all nodes together may not exceed, none of them may. It holds also where
            // more flows came up since they were counted.
            max_affected: self.max_affected.filter(|_| !dry_run),
            include_own_connections,
            return_changed: false,
        }
    }
}

/// Runs a change of entries by a target; `asks` when the target can be wider than meant.
pub(super) async fn run<E, W, F>(
    context: &mut Context,
    verb: &Verb,
    consent: Consent,
    include_own: bool,
    asks: bool,
    call: W,
) -> Result<u8, CommandError>
where
    E: Entry,
    W: Fn(Session, pb::ChangeOptions) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Changed<E>, NodeError>> + Send,
{
    let consent = Consent {
        yes: consent.yes || !asks,
        ..consent
    };
    consent.check(verb)?;
    let mut earlier = Vec::new();
    if consent.needs_preview() {
        let (rehearse, options) = (call.clone(), consent.options(true, include_own));
        let found = context.ask(move |session| rehearse(session, options)).await;
        if consent.dry_run {
            print_samples(context, &found);
        }
        let mut preview = Preview {
            counts: Vec::new(),
            outcome: found.outcome,
        };
        for (node, Changed { summary, .. }) in found.answers {
            let touched = touched(&summary);
            // Elsewhere it is said when it has happened.
            if summary.failed > 0 && (consent.dry_run || touched == 0) {
                preview.outcome.failures.push(refused(&node, &summary));
            }
            preview.counts.push((node, touched));
        }
        match consent.ask(context, verb, preview).await? {
            Ok(failures) => earlier = failures,
            Err(code) => return Ok(code),
        }
    }
    let options = consent.options(false, include_own);
    let found = context
        .ask_slow(verb.verb, move |session| call(session, options))
        .await;
    let summaries = found
        .answers
        .into_iter()
        .map(|(node, a)| (node, a.summary))
        .collect();
    Ok(conclude(context, verb, summaries, found.outcome, earlier))
}

fn touched(summary: &pb::ChangeSummary) -> u64 {
    let not = added_up([summary.spared, summary.gone, summary.failed]);
    summary.matched.saturating_sub(not)
}

/// The entries of a node that were not changed.
fn refused(node: &Arc<Target>, summary: &pb::ChangeSummary) -> Failure {
    Failure {
        node: Arc::clone(node),
        error: NodeError::Items {
            failed: summary.failed,
            items: summary.matched,
            why: reasons(&summary.failures),
        },
    }
}

/// Prints what came of a change, and gives the exit code.
pub(super) fn conclude(
    context: &Context,
    verb: &Verb,
    summaries: Vec<(Arc<Target>, pb::ChangeSummary)>,
    mut outcome: Outcome<()>,
    earlier: Vec<Failure>,
) -> u8 {
    let mut table = context.table(["matched", verb.done, "gone", "spared", "failed"]);
    let mut spared: u64 = 0;
    for (node, summary) in summaries {
        let cells = [
            summary.matched,
            summary.changed,
            summary.gone,
            summary.spared,
            summary.failed,
        ];
        table.push(node.name(), cells.map(Value::from));
        spared = spared.saturating_add(summary.spared);
        if summary.failed > 0 {
            outcome.failures.push(refused(&node, &summary));
        }
    }
    say_spared(spared, verb.what);
    outcome.add_failures(earlier, context.nodes());
    context.show(&table, outcome)
}

/// Says how many entries were left alone, if any.
pub(super) fn say_spared(spared: u64, what: &str) {
    if spared > 0 {
        say(format_args!(
            "{spared} {what} carry connections of the agents themselves and were left alone; \
             --include-own-connections takes them too"
        ));
    }
}

/// Why entries could not be changed; the agent sends the first of them, most alike.
fn reasons(failures: &[pb::ItemFailure]) -> String {
    let words: BTreeSet<String> = failures.iter().map(item_words).collect();
    words.into_iter().collect::<Vec<_>>().join("; ")
}

fn print_samples<E: Entry>(context: &Context, found: &Answers<Changed<E>>) {
    let mut printer = context.printer(false);
    let printed = found.answers.iter().try_for_each(|(node, answer)| {
        answer
            .samples
            .iter()
            .try_for_each(|entry| printer.row(node, None, entry))
    });
    // The numbers follow on standard error; a pipe that was closed is its reader's right.
    if let Err(error) = printed.and_then(|()| printer.end())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        say(format_args!("cannot write the output: {error}"));
    }
}

/// How many would be touched, on standard error: the output may go elsewhere.
fn show(verb: &Verb, counts: &[(Arc<Target>, u64)], total: u64, is_fleet: bool) {
    let Verb { verb, what, .. } = verb;
    if total == 0 {
        say(format_args!("no {what} match: there is nothing to {verb}"));
        return;
    }
    if !is_fleet {
        say(format_args!("this would {verb} {total} {what}"));
        return;
    }
    let mut touched: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).collect();
    let nodes = touched.len();
    say(format_args!(
        "this would {verb} {total} {what} on {nodes} node{}:",
        if nodes == 1 { "" } else { "s" }
    ));
    if nodes > NODES_SHOWN {
        touched.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    }
    let (shown, rest) = touched.split_at(nodes.min(NODES_SHOWN));
    let width = shown
        .iter()
        .map(|(node, _)| node.name().chars().count())
        .max()
        .unwrap_or(0);
    let mut out = io::stderr().lock();
    for (node, count) in shown {
        let _ = writeln!(out, "  {:width$}  {count}", node.name());
    }
    if !rest.is_empty() {
        let count = added_up(rest.iter().map(|(_, count)| *count));
        let _ = writeln!(out, "  and {} more nodes with {count}", rest.len());
    }
}

/// Asks on the terminal; the exit code when a signal came instead of an answer.
pub(super) async fn question(
    context: &mut Context,
    verb: &Verb,
) -> Result<Result<bool, u8>, CommandError> {
    {
        let mut out = io::stderr().lock();
        let Verb { verb, .. } = verb;
        write!(out, "ctctl: {verb} them? [y/N] ")
            .and_then(|()| out.flush())
            .map_err(CommandError::Prompt)?;
    }
    let (send, answer) = oneshot::channel();
    std::thread::Builder::new()
        .name("question".to_owned())
        .spawn(move || {
            let mut line = String::new();
            let read = io::stdin().read_line(&mut line).map(|_| line);
            // The other side goes away only after a signal.
            let _ = send.send(read);
        })
        .map_err(CommandError::Prompt)?;
    tokio::select! {
        signal = context.interrupt.recv() => {
            let _ = writeln!(io::stderr());
            say(format_args!("nothing was changed"));
            Ok(Err(signal.exit_code()))
        }
        line = answer => match line {
            Ok(Ok(line)) => {
                let line = line.trim();
                Ok(Ok(line.eq_ignore_ascii_case("y") || line.eq_ignore_ascii_case("yes")))
            }
            Ok(Err(error)) => Err(CommandError::Prompt(error)),
            Err(_) => Ok(Ok(false)),
        },
    }
}
