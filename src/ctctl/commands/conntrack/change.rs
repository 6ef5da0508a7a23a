//! `-D`, `-U` and `-F`: changes of what is there. As in conntrack(8), a table is read and what
//! fits is changed entry by entry, each named by its tuple and id, and shown.

use std::collections::HashMap;
use std::sync::Arc;

use super::Job;
use super::report::{FAILED, Parcel, complain, item_words, kernel_words, say};
use super::stats::count_expectations;
use crate::ctctl::commands::CommandError;
use crate::ctctl::commands::change::{Consent, Preview, Verb, question};
use crate::ctctl::commands::dump::{Chunk, entries};
use crate::ctctl::commands::list::chunk;
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::conntrack::{Action, Line, LineError, Table};
use crate::ctctl::context::added_up;
use crate::ctctl::fanout::{Sink, Stop, Width};
use crate::ctctl::output::classic::Command;
use crate::flow::{Expectation, Flow, FlowChanges, FlowKey};
use crate::pb;

/// Entries that an agent is asked to change at once: some hundred KiB of them.
const BATCH: usize = 512;

/// Whether a change goes ahead, or the exit code of one that ends here.
pub(super) enum Go {
    Ahead,
    End(u8),
}

const DELETE: Verb = Verb {
    verb: "delete",
    done: "deleted",
    what: "flows",
};

const UPDATE: Verb = Verb {
    verb: "update",
    done: "updated",
    what: "flows",
};

const FLUSH: Verb = Verb {
    verb: "flush",
    done: "flushed",
    what: "flows",
};

const FLUSH_EXPECTATIONS: Verb = Verb {
    verb: "flush",
    done: "flushed",
    what: "expectations",
};

const DELETE_EXPECTATION: Verb = Verb {
    verb: "delete",
    done: "deleted",
    what: "expectations",
};

impl Job<'_> {
    pub(super) async fn delete_flows(&mut self) -> Result<u8, LineError> {
        self.change(&DELETE, Command::Delete).await
    }

    pub(super) async fn update_flows(&mut self) -> Result<u8, LineError> {
        self.change(&UPDATE, Command::Update).await
    }

    /// Changes what the line selects on every node, and shows it.
    async fn change(&mut self, verb: &Verb, command: Command) -> Result<u8, LineError> {
        let nodes = self.context.nodes();
        let filter = self.line.selection()?.for_reading();
        if let Go::End(code) = self.confirm_selected(verb, filter).await {
            return Ok(code);
        }
        let line = Arc::new(self.line.clone());
        let work = move |session: Session, sink: Sink<Parcel<Flow>>| {
            let line = Arc::clone(&line);
            async move { change_selected(&session, &sink, &line).await }
        };
        let brought = self.bring(command, Width::Bounded, work).await;
        Ok(match brought {
            Ok((ledger, code)) => {
                say(format_args!(
                    "{} flow entries have been {}.",
                    ledger.total(),
                    verb.done
                ));
                code.max(u8::from(ledger.is_lacking(nodes)))
            }
            Err(code) => code,
        })
    }

    pub(super) async fn flush_flows(&mut self) -> Result<u8, LineError> {
        let filter = self.line.selection()?.for_reading();
        if let Go::End(code) = self.confirm_selected(&FLUSH, filter).await {
            return Ok(code);
        }
        let line = self.line.clone();
        let found = self
            .context
            .ask_slow(FLUSH.verb, move |session: Session| {
                let line = line.clone();
                async move { flush(&session, &line).await }
            })
            .await;
        let spared = added_up(found.answers.iter().map(|(_, spared)| *spared));
        if spared > 0 {
            say(format_args!("{}", spared_words(spared)));
        }
        let code = self.failures(&found);
        if !found.answers.is_empty() {
            say(format_args!("connection tracking table has been emptied."));
        }
        Ok(code)
    }

    pub(super) async fn flush_expectations(&mut self) -> Result<u8, LineError> {
        if self.context.is_fleet() && !self.line.yes {
            let everything = pb::Filter::from(&crate::flow::Filter::number(
                crate::flow::filter::NumberField::Family,
                [0..=255],
            ));
            let counted = self
                .context
                .ask(move |session: Session| {
                    let filter = everything.clone();
                    async move { count_expectations(&session, filter).await }
                })
                .await;
            let preview = Preview::of_counts(counted);
            if let Go::End(code) = self.confirm(&FLUSH_EXPECTATIONS, preview).await {
                return Ok(code);
            }
        }
        let found = self
            .context
            .ask(|session: Session| async move {
                let request = pb::FlushExpectationsRequest {
                    network_namespace: session.namespace(),
                };
                session
                    .change(session.expectations().flush_expectations(request))
                    .await
            })
            .await;
        let code = self.failures(&found);
        if !found.answers.is_empty() {
            say(format_args!("expectation table has been emptied."));
        }
        Ok(code)
    }

    pub(super) async fn delete_expectation(&mut self) -> Result<u8, LineError> {
        let key = self.line.expectation_key()?;
        if let Go::End(code) = self.confirm_on_all(&DELETE_EXPECTATION).await {
            return Ok(code);
        }
        let keys = pb::ExpectationKeys {
            keys: vec![(&key).into()],
        };
        let work = move |session: Session, sink: Sink<Parcel<Expectation>>| {
            let keys = keys.clone();
            async move {
                let request = pb::DeleteExpectationsRequest {
                    network_namespace: session.namespace(),
                    target: Some(pb::delete_expectations_request::Target::Keys(keys)),
                    options: None,
                };
                let mut client = session.expectations();
                let answer = session.change(client.delete_expectations(request)).await?;
                let summary = answer.summary.unwrap_or_default();
                let words = |failure| item_words(failure, Action::Delete, Table::Expect);
                let mut complaints: Vec<String> = summary.failures.iter().map(words).collect();
                if summary.gone > 0 {
                    complaints.push(kernel_words(libc::ENOENT, Action::Delete, Table::Expect));
                }
                sink.send(Parcel {
                    rows: Vec::new(),
                    counted: summary.changed,
                    complaints,
                })
                .await?;
                Ok(())
            }
        };
        let brought = self.bring(Command::Delete, Width::All, work).await;
        Ok(match brought {
            Ok((ledger, code)) => {
                // conntrack(8) counts nothing here, and fails when it succeeds.
                if ledger.total() > 0 {
                    let total = ledger.total();
                    say(format_args!("{total} expectations have been deleted."));
                }
                code
            }
            Err(code) => code,
        })
    }

    /// Asks before a change of what a filter selects on more than one node.
    async fn confirm_selected(&mut self, verb: &Verb, filter: Option<pb::Filter>) -> Go {
        if !self.context.is_fleet() || self.line.yes {
            return Go::Ahead;
        }
        let preview = Preview::of_flows(self.context, filter).await;
        self.confirm(verb, preview).await
    }

    /// Asks before something that is done on every node alike.
    pub(super) async fn confirm_on_all(&mut self, verb: &Verb) -> Go {
        if !self.context.is_fleet() || self.line.yes {
            return Go::Ahead;
        }
        if let Err(error) = Consent::asking(true).check(verb) {
            return refused(&error);
        }
        let Verb { verb: word, .. } = verb;
        say(format_args!(
            "this would {word} {} on {} nodes",
            verb.what,
            self.context.nodes()
        ));
        match question(self.context, verb).await {
            Ok(Ok(true)) => Go::Ahead,
            Ok(Ok(false)) => refused(&CommandError::Declined),
            Ok(Err(code)) => Go::End(code),
            Err(error) => refused(&error),
        }
    }

    async fn confirm(&mut self, verb: &Verb, preview: Preview) -> Go {
        if preview.total() == 0 {
            // Nothing to ask about: the nodes say so themselves.
            return Go::Ahead;
        }
        let consent = Consent::asking(true);
        if let Err(error) = consent.check(verb) {
            return refused(&error);
        }
        match consent.ask(self.context, verb, preview).await {
            Ok(Ok(_)) => Go::Ahead,
            Ok(Err(code)) => Go::End(code),
            Err(error) => refused(&error),
        }
    }
}

/// A change that was not confirmed.
fn refused(error: &CommandError) -> Go {
    complain(None, format_args!("{error}"));
    Go::End(FAILED)
}

fn options(include_own_connections: bool) -> pb::ChangeOptions {
    pb::ChangeOptions {
        include_own_connections,
        return_changed: true,
        ..pb::ChangeOptions::default()
    }
}

/// The keys of flows, and the flows by their keys.
fn keyed(flows: Vec<Flow>) -> (pb::FlowKeys, HashMap<FlowKey, Flow>) {
    let keys = flows.iter().map(|flow| (&flow.key()).into()).collect();
    let known = flows.into_iter().map(|flow| (flow.key(), flow)).collect();
    (pb::FlowKeys { keys }, known)
}

/// What a change of some entries came to.
fn parcel(rows: Vec<Flow>, summary: Option<pb::ChangeSummary>, action: Action) -> Parcel<Flow> {
    let summary = summary.unwrap_or_default();
    let mut complaints: Vec<String> = summary
        .failures
        .iter()
        .filter(|failure| failure.errno != libc::ENOENT)
        .map(|failure| item_words(failure, action, Table::Conntrack))
        .collect();
    if summary.spared > 0 {
        complaints.push(spared_words(summary.spared));
    }
    Parcel {
        rows,
        counted: summary.changed,
        complaints,
    }
}

pub(super) fn spared_words(spared: u64) -> String {
    format!(
        "{spared} flows carry connections of the agents themselves and were left alone; \
         --include-own-connections takes them too"
    )
}

/// Reads what a line selects, changes it in batches, and hands on what was changed.
pub(super) async fn change_selected(
    session: &Session,
    sink: &Sink<Parcel<Flow>>,
    line: &Line,
) -> Result<(), Stop> {
    let request = pb::DumpFlowsRequest {
        network_namespace: session.namespace(),
        table: pb::FlowTable::Conntrack.into(),
        filter: line.selection().map_err(unfit)?.for_reading(),
        zero_counters: false,
        limit: 0,
    };
    let mut stream = session
        .read(session.flow_streams().dump_flows(request))
        .await?;
    while let Some(message) = session.next(&mut stream).await? {
        let Chunk {
            entries: mut flows,
            complete,
        } = chunk(message)?;
        while !flows.is_empty() {
            let rest = flows.split_off(flows.len().min(BATCH));
            let parcel = match line.action {
                Some(Action::Update) => update(session, line, flows).await?,
                _ => delete(session, line, flows).await?,
            };
            sink.send(parcel).await?;
            flows = rest;
        }
        if complete {
            return Ok(());
        }
    }
    Err(NodeError::Incomplete.into())
}

/// A line that was checked before it came here.
fn unfit(error: LineError) -> NodeError {
    NodeError::Item(error.to_string())
}

/// Empties the table; how many flows were left alone.
pub(super) async fn flush(session: &Session, line: &Line) -> Result<u64, NodeError> {
    let family = line
        .family
        .map_or(pb::Family::Unspecified, pb::Family::from);
    let request = pb::FlushFlowsRequest {
        network_namespace: session.namespace(),
        family: family.into(),
        include_own_connections: line.include_own,
    };
    let answer = session.change(session.flows().flush_flows(request)).await?;
    Ok(answer.spared)
}

/// Deletes flows that were read.
async fn delete(
    session: &Session,
    line: &Line,
    flows: Vec<Flow>,
) -> Result<Parcel<Flow>, NodeError> {
    let (keys, known) = keyed(flows);
    let request = pb::DeleteFlowsRequest {
        network_namespace: session.namespace(),
        target: Some(pb::delete_flows_request::Target::Keys(keys)),
        options: Some(options(line.include_own)),
    };
    let answer = session
        .change(session.flows().delete_flows(request))
        .await?;
    let deleted: Vec<Flow> = entries(answer.samples)?;
    // As they were when they were read, not when the agent looked again.
    let rows = deleted
        .into_iter()
        .map(|flow| known.get(&flow.key()).cloned().unwrap_or(flow));
    Ok(parcel(rows.collect(), answer.summary, Action::Delete))
}

/// Updates flows that were read. Those that are already as they shall be are left alone.
async fn update(
    session: &Session,
    line: &Line,
    flows: Vec<Flow>,
) -> Result<Parcel<Flow>, NodeError> {
    // Most often all of them change in the same way.
    let mut groups: Vec<(FlowChanges, Vec<Flow>)> = Vec::new();
    for flow in flows {
        let changes = line.changes(&flow);
        if changes.is_empty() {
            continue;
        }
        match groups.iter_mut().find(|(known, _)| *known == changes) {
            Some((_, flows)) => flows.push(flow),
            None => groups.push((changes, vec![flow])),
        }
    }
    let mut all = Parcel {
        rows: Vec::new(),
        counted: 0,
        complaints: Vec::new(),
    };
    for (changes, flows) in groups {
        let (keys, _) = keyed(flows);
        let request = pb::UpdateFlowsRequest {
            network_namespace: session.namespace(),
            target: Some(pb::update_flows_request::Target::Keys(keys)),
            changes: Some((&changes).into()),
            options: Some(options(line.include_own)),
        };
        let answer = session
            .change(session.flows().update_flows(request))
            .await?;
        let part = parcel(entries(answer.samples)?, answer.summary, Action::Update);
        all.rows.extend(part.rows);
        all.counted = all.counted.saturating_add(part.counted);
        all.complaints.extend(part.complaints);
    }
    Ok(all)
}
