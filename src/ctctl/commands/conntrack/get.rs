//! `-G`: one entry by its tuple.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Job;
use super::report::{Parcel, say};
use crate::ctctl::commands::get::missing;
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::conntrack::LineError;
use crate::ctctl::fanout::{Sink, Width};
use crate::ctctl::output::classic::Command;
use crate::flow::{Expectation, Flow};
use crate::pb;

impl Job<'_> {
    pub(super) async fn get_flow(&mut self) -> Result<u8, LineError> {
        let by = pb::get_flow_request::By::Key((&self.line.key()?).into());
        // What the tuple does not say, like a state or an id, has to fit as well.
        let filter = self.line.flows()?;
        let work = move |session: Session, sink: Sink<Parcel<Flow>>| {
            let (by, filter) = (by.clone(), filter.clone());
            async move {
                let request = pb::GetFlowRequest {
                    network_namespace: session.namespace(),
                    by: Some(by),
                };
                let answer = session.read(session.flows().get_flow(request)).await?;
                let flow = answer.flow.ok_or_else(|| missing("flow"))?;
                let flow =
                    Flow::try_from(flow).map_err(|error| NodeError::Answer(error.to_string()))?;
                let rows: Vec<Flow> = [flow]
                    .into_iter()
                    .filter(|flow| filter.matches(flow, now()))
                    .collect();
                sink.send(Parcel::of(rows)).await?;
                Ok(())
            }
        };
        let brought = self.bring(Command::Get, Width::Bounded, work).await;
        Ok(match brought {
            Ok((ledger, code)) => {
                say(format_args!(
                    "{} flow entries have been shown.",
                    ledger.total()
                ));
                code.max(u8::from(ledger.is_lacking(self.context.nodes())))
            }
            Err(code) => code,
        })
    }

    pub(super) async fn get_expectation(&mut self) -> Result<u8, LineError> {
        let key = self.line.expectation_key()?;
        let by = pb::get_expectation_request::By::Key((&key).into());
        let work = move |session: Session, sink: Sink<Parcel<Expectation>>| {
            let by = by.clone();
            async move {
                let request = pb::GetExpectationRequest {
                    network_namespace: session.namespace(),
                    by: Some(by),
                };
                let mut client = session.expectations();
                let answer = session.read(client.get_expectation(request)).await?;
                let found = answer.expectation.ok_or_else(|| missing("expectation"))?;
                let found = Expectation::try_from(found)
                    .map_err(|error| NodeError::Answer(error.to_string()))?;
                sink.send(Parcel::of(vec![found])).await?;
                Ok(())
            }
        };
        let brought = self.bring(Command::Get, Width::Bounded, work).await;
        Ok(brought.map_or_else(|code| code, |(_, code)| code))
    }
}

/// The time of day, for conditions on ages.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}
