//! `-I` and `-A`: one flow, or one expectation, on every node.

use futures::stream;

use super::Job;
use super::change::Go;
use super::report::{Parcel, item_words, say};
use crate::ctctl::commands::change::Verb;
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::conntrack::{Action, LineError, Table};
use crate::ctctl::fanout::{Sink, Width};
use crate::ctctl::output::classic::Command;
use crate::flow::{Expectation, Flow};
use crate::pb::{self, bulk};
use crate::wire::bulk::Run;

const FLOW: Verb = Verb {
    verb: "create",
    done: "created",
    what: "flows",
};

const EXPECTATION: Verb = Verb {
    verb: "create",
    done: "created",
    what: "expectations",
};

/// What became of the flows of a request.
pub(super) struct Written {
    /// How many were created.
    pub(super) created: u64,
    /// Why others were not, by their place.
    pub(super) complaints: Vec<(u64, String)>,
}

/// Writes flows that must not exist; `-A` passes over those that do.
pub(super) async fn write_flows(
    session: &Session,
    flows: &[Flow],
    action: Action,
) -> Result<Written, NodeError> {
    let header = pb::CreateFlowsHeader {
        network_namespace: session.namespace(),
        mode: pb::CreateMode::Create.into(),
        // Nothing that is there is changed.
        include_own_connections: false,
    };
    let first = bulk::CreateFlowsRequest::from(&pb::CreateFlowsRequest {
        message: Some(pb::create_flows_request::Message::Header(header)),
    });
    let mut batch = Run::default();
    flows.iter().for_each(|flow| batch.push_flow(flow));
    let requests = stream::iter([first, batch.into_create()]);
    let mut answers = session
        .change(session.flows().create_flows(requests))
        .await?;
    let mut written = Written {
        created: 0,
        complaints: Vec::new(),
    };
    let mut accounted = 0;
    while let Some(answer) = session.next_event(&mut answers).await? {
        let failed = answer.failures.len() as u64;
        // Every failure is kept until the end: no more of them than flows were sent.
        if answer.count > flows.len() as u64 - accounted || failed > answer.count {
            let words = "it accounts for items that were not sent";
            return Err(NodeError::Answer(words.to_owned()));
        }
        accounted += answer.count;
        written.created += answer.count - failed;
        for failure in answer.failures {
            if action == Action::Add && failure.errno == libc::EEXIST {
                continue;
            }
            let words = item_words(&failure, action, Table::Conntrack);
            written.complaints.push((failure.index, words));
        }
    }
    match accounted == flows.len() as u64 {
        true => Ok(written),
        false => Err(NodeError::Incomplete),
    }
}

impl Job<'_> {
    pub(super) async fn create_flow(&mut self) -> Result<u8, LineError> {
        let flow = self.line.flow()?;
        if let Go::End(code) = self.confirm_on_all(&FLOW).await {
            return Ok(code);
        }
        let action = self.line.action.unwrap_or(Action::Create);
        let work = move |session: Session, sink: Sink<Parcel<Flow>>| {
            let flow = flow.clone();
            async move {
                let written = write_flows(&session, &[flow], action).await?;
                let complaints = written.complaints.into_iter().map(|(_, words)| words);
                sink.send(Parcel {
                    rows: Vec::new(),
                    counted: written.created,
                    complaints: complaints.collect(),
                })
                .await?;
                Ok(())
            }
        };
        let brought = self.bring(Command::List, Width::All, work).await;
        Ok(match brought {
            // conntrack(8) gives no account when the kernel refused the entry.
            Ok((ledger, code)) if code != 0 && ledger.total() == 0 => code,
            Ok((ledger, code)) => {
                let done = match action {
                    Action::Add => "added",
                    _ => "created",
                };
                say(format_args!(
                    "{} flow entries have been {done}.",
                    ledger.total()
                ));
                code
            }
            Err(code) => code,
        })
    }

    pub(super) async fn create_expectation(&mut self) -> Result<u8, LineError> {
        let expectation = self.line.expectation()?;
        if let Go::End(code) = self.confirm_on_all(&EXPECTATION).await {
            return Ok(code);
        }
        let work = move |session: Session, sink: Sink<Parcel<Expectation>>| {
            let expectation = expectation.clone();
            async move {
                let request = pb::CreateExpectationsRequest {
                    network_namespace: session.namespace(),
                    expectations: vec![(&expectation).into()],
                    mode: pb::ExpectationCreateMode::Create.into(),
                };
                let mut client = session.expectations();
                let answer = session.change(client.create_expectations(request)).await?;
                let words = |failure| item_words(&failure, Action::Create, Table::Expect);
                sink.send(Parcel {
                    rows: Vec::new(),
                    counted: answer.created,
                    complaints: answer.failures.into_iter().map(words).collect(),
                })
                .await?;
                Ok(())
            }
        };
        let brought = self.bring(Command::List, Width::All, work).await;
        Ok(brought.map_or_else(|code| code, |(_, code)| code))
    }
}
