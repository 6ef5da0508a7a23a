//! What bulk work has in common: entries from a file go to every agent, which accounts for
//! them one by one; what fails is said with its line.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use clap::Args;

use super::CommandError;
use super::change::say_spared;
use crate::ctctl::connect::{NodeError, Session, item_words};
use crate::ctctl::context::{Context, added_up};
use crate::ctctl::fanout::{Consumer, Failure, Outcome, Sink, Stop, Width};
use crate::ctctl::feed::{Complaints, Feed, Item, NO_LINE, Plan, Source};
use crate::ctctl::fleet::Target;
use crate::ctctl::output::Value;
use crate::ctctl::print::say;
use crate::pb;

/// Where entries come from.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "From a file")]
pub(super) struct BulkArgs {
    /// A file with an entry a line; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<Source>,
    /// Send entries to all targets, also those that were saved from one node
    #[arg(long, requires = "file")]
    any_node: bool,
    /// Say of so many entries what is wrong with them
    #[arg(long, value_name = "N", default_value_t = 20, requires = "file")]
    show_errors: u64,
}

/// Items that an agent accounted for.
pub(super) struct Accounted {
    /// How many.
    pub(super) count: u64,
    /// How many of the failures carry connections of the agent.
    pub(super) spared: u64,
    /// The lines of those that failed, and why; no item twice.
    pub(super) failures: Vec<(u64, String)>,
}

/// The lines of the items that an agent could not write, in any order, but each only once: else
/// there would be more failures than items. The first of `lines` is that of the item `first`.
pub(super) fn failed_lines<'a>(
    mut failures: Vec<pb::ItemFailure>,
    first: u64,
    mut lines: impl Iterator<Item = &'a u64>,
) -> Result<Vec<(u64, String)>, NodeError> {
    failures.sort_by_key(|failure| failure.index);
    let mut next = first;
    let mut named = Vec::with_capacity(failures.len());
    for failure in failures {
        let skipped = failure.index.checked_sub(next);
        let line = skipped.and_then(|skipped| lines.nth(usize::try_from(skipped).ok()?));
        let Some(line) = line else {
            let words = "it names an item that it does not account for, or one twice";
            return Err(NodeError::Answer(words.to_owned()));
        };
        next = failure.index.saturating_add(1);
        named.push((*line, item_words(&failure)));
    }
    Ok(named)
}

/// Runs `work` on all agents with the entries of the file, or with one entry.
pub(super) async fn run<E, W, F>(
    context: &mut Context,
    args: &BulkArgs,
    one: Option<E>,
    done: &'static str,
    work: W,
) -> Result<u8, CommandError>
where
    E: Item,
    W: Fn(Session, Feed<E>, Sink<Accounted>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<(), Stop>> + Send,
{
    let targets = &context.fleet.targets;
    let complaints = Complaints::new(args.file.as_ref(), args.show_errors, context.is_fleet());
    let feed = match (one, &args.file) {
        (Some(entry), _) => Feed::of_one(&entry, targets),
        (None, Some(source)) => {
            let plan = Plan {
                source: source.clone(),
                any_node: args.any_node,
            };
            Feed::of_file(plan, targets, Arc::clone(&complaints)).map_err(|error| {
                CommandError::File {
                    path: source.to_string(),
                    error,
                }
            })?
        }
        (None, None) => return Err(CommandError::Usage("there is nothing to do; see --file")),
    };
    let tally = Tally {
        rows: targets
            .iter()
            .map(|t| (Arc::clone(t.name()), Row::default()))
            .collect(),
        complaints: Arc::clone(&complaints),
        feed: feed.clone(),
        only: BTreeMap::new(),
    };
    let each = move |session: Session, sink| work(session, feed.clone(), sink);
    // All of them: they share one file, and it is read once.
    let run = context
        .fleet
        .run(Width::All, &mut context.interrupt, tally, each);
    let (tally, outcome) = run.await.take();
    complaints.conclude();
    let (rows, only) = tally.map(|t| (t.rows, t.only)).unwrap_or_default();
    let written = rows.values().any(|row| row.failed < row.items);
    let code = conclude(context, done, &rows, only, outcome);
    let bad = complaints.bad_lines();
    if bad == 0 {
        return Ok(code);
    }
    say(format_args!(
        "{bad} lines of the input are no entries, or belong nowhere"
    ));
    Ok(code.max(if written { 1 } else { 2 }))
}

/// Prints what became of the entries on every node.
fn conclude(
    context: &Context,
    done: &'static str,
    rows: &BTreeMap<Arc<str>, Row>,
    mut only: BTreeMap<Arc<str>, String>,
    mut outcome: Outcome<()>,
) -> u8 {
    let mut table = context.table([done, "failed"]);
    for target in &context.fleet.targets {
        let Row { items, failed, .. } = rows.get(target.name()).copied().unwrap_or_default();
        let refused = only.remove(target.name());
        if refused.is_none() {
            table.push(target.name(), [Value::from(items - failed), failed.into()]);
        }
        if failed > 0
            && !outcome
                .failures
                .iter()
                .any(|failure| failure.node == *target)
        {
            let error = match refused {
                Some(words) => NodeError::Item(words),
                None => NodeError::Items {
                    failed,
                    items,
                    why: String::new(),
                },
            };
            outcome.failures.push(Failure {
                node: Arc::clone(target),
                error,
            });
        }
    }
    say_spared(added_up(rows.values().map(|row| row.spared)), "flows");
    context.show(&table, outcome)
}

/// What became of the entries on a node.
#[derive(Clone, Copy, Default)]
struct Row {
    items: u64,
    failed: u64,
    /// Of those that failed.
    spared: u64,
}

/// Adds up what became of the entries.
struct Tally<E: Item> {
    rows: BTreeMap<Arc<str>, Row>,
    complaints: Arc<Complaints>,
    feed: Feed<E>,
    /// Why the one entry that came from flags was refused.
    only: BTreeMap<Arc<str>, String>,
}

impl<E: Item> Consumer<Accounted> for Tally<E> {
    fn item(&mut self, node: &Arc<Target>, item: Accounted) -> io::Result<ControlFlow<()>> {
        if let Some(row) = self.rows.get_mut(node.name()) {
            row.items += item.count;
            row.failed += item.failures.len() as u64;
            row.spared = row.spared.saturating_add(item.spared);
        }
        for (line, words) in item.failures {
            if line == NO_LINE {
                self.only.insert(Arc::clone(node.name()), words);
            } else {
                self.complaints.refused(node, line, &words);
            }
        }
        self.complaints
            .progress(self.rows.values().map(|row| row.items).sum());
        Ok(ControlFlow::Continue(()))
    }

    fn failed(&mut self, node: &Target, _error: &NodeError) -> io::Result<()> {
        // The file is read at the pace of the slowest: nobody may wait for this one.
        drop(self.feed.take(node));
        Ok(())
    }
}
