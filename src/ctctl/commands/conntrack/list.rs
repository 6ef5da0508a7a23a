//! `-L`: a table, or the part of it that fits.

use std::future::Future;

use super::Job;
use super::report::{FAILED, Ledger, Parcel, Shown, account, complain, kernel_words, say};
use crate::ctctl::commands::dump::{Chunk, entries};
use crate::ctctl::commands::list::chunk;
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::conntrack::{Action, LineError, Table};
use crate::ctctl::fanout::{Consumer, Sink, Stop, Width};
use crate::ctctl::output::classic::Command;
use crate::flow::{Expectation, Flow};
use crate::pb;

impl Job<'_> {
    pub(super) async fn list_flows(&mut self) -> Result<u8, LineError> {
        if self.line.asks_for_no_status() {
            let words = kernel_words(libc::EINVAL, Action::List, Table::Conntrack);
            complain(None, format_args!("Operation failed: {words}"));
            return Ok(FAILED);
        }
        let table = match self.line.table {
            Table::Dying => pb::FlowTable::Dying,
            Table::Unconfirmed => pb::FlowTable::Unconfirmed,
            Table::Conntrack | Table::Expect => pb::FlowTable::Conntrack,
        };
        let request = pb::DumpFlowsRequest {
            network_namespace: String::new(),
            table: table.into(),
            filter: self.line.selection()?.for_reading(),
            zero_counters: self.line.zero && table == pb::FlowTable::Conntrack,
            limit: 0,
        };
        let work = move |session: Session, sink: Sink<Parcel<Flow>>| {
            let mut request = request.clone();
            async move {
                request.network_namespace = session.namespace();
                let mut stream = session
                    .read(session.flow_streams().dump_flows(request))
                    .await?;
                while let Some(message) = session.next(&mut stream).await? {
                    let Chunk { entries, complete } = chunk(message)?;
                    sink.send(Parcel::of(entries)).await?;
                    if complete {
                        return Ok(());
                    }
                }
                Err(NodeError::Incomplete.into())
            }
        };
        let brought = self.bring(Command::List, Width::Bounded, work).await;
        Ok(match brought {
            Ok((ledger, code)) => {
                say(format_args!(
                    "{} flow entries have been shown.",
                    ledger.total()
                ));
                code
            }
            Err(code) => code,
        })
    }

    pub(super) async fn list_expectations(&mut self) -> Result<u8, LineError> {
        let filter = pb::Filter::from(&self.line.expectations());
        let work = move |session: Session, sink: Sink<Parcel<Expectation>>| {
            let filter = filter.clone();
            async move {
                let request = pb::DumpExpectationsRequest {
                    network_namespace: session.namespace(),
                    filter: Some(filter),
                    master: None,
                };
                let mut client = session.expectation_streams();
                let mut stream = session.read(client.dump_expectations(request)).await?;
                while let Some(message) = session.next(&mut stream).await? {
                    let rows: Vec<Expectation> = entries(message.expectations)?;
                    sink.send(Parcel::of(rows)).await?;
                    if message.summary.is_some() {
                        return Ok(());
                    }
                }
                Err(NodeError::Incomplete.into())
            }
        };
        let brought = self.bring(Command::List, Width::Bounded, work).await;
        Ok(match brought {
            Ok((ledger, code)) => {
                say(format_args!(
                    "{} expectations have been shown.",
                    ledger.total()
                ));
                code
            }
            Err(code) => code,
        })
    }

    /// Where the rows of this command go.
    pub(super) fn shown(&self, command: Command) -> Shown {
        let action = self.line.action.unwrap_or(Action::List);
        Shown::new(self.context, self.printer(command), action, self.line.table)
    }

    /// Runs `work` on all nodes, shows the rows that they bring, and gives the account.
    pub(super) async fn bring<E, W, F>(
        &mut self,
        command: Command,
        width: Width,
        work: W,
    ) -> Result<(Ledger, u8), u8>
    where
        E: Send + 'static,
        Shown: Consumer<Parcel<E>>,
        W: Fn(Session, Sink<Parcel<E>>) -> F + Clone + Send + 'static,
        F: Future<Output = Result<(), Stop>> + Send,
    {
        let shown = self.shown(command);
        let run = self
            .context
            .fleet
            .run(width, &mut self.context.interrupt, shown, work);
        account(run.await)
    }
}
