//! `-C` and `-S`: how many entries there are, and the kernel's statistics.

use super::Job;
use super::report::{FAILED, complain, node_words, write_out};
use crate::ctctl::commands::dump::entries;
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::conntrack::{Action, LineError};
use crate::ctctl::context::Answers;
use crate::ctctl::fanout::Ended;
use crate::ctctl::output::classic;
use crate::flow::{ExpectationStats, FlowStats, PerCpu};
use crate::pb;

impl Job<'_> {
    pub(super) async fn count_flows(&mut self) -> Result<u8, LineError> {
        let found = self
            .context
            .ask(|session: Session| async move {
                let request = pb::CountFlowsRequest {
                    network_namespace: session.namespace(),
                    filter: None,
                };
                let answer = session.read(session.flows().count_flows(request)).await?;
                Ok(answer.count)
            })
            .await;
        Ok(self.print(found, |out, node, count| classic::count(out, node, *count)))
    }

    pub(super) async fn count_expectations(&mut self) -> Result<u8, LineError> {
        let filter = pb::Filter::from(&self.line.expectations());
        let found = self
            .context
            .ask(move |session: Session| {
                let filter = filter.clone();
                async move { count_expectations(&session, filter).await }
            })
            .await;
        Ok(self.print(found, |out, node, count| classic::count(out, node, *count)))
    }

    pub(super) async fn flow_stats(&mut self) -> Result<u8, LineError> {
        let found = self
            .context
            .ask(|session: Session| async move {
                let request = pb::GetStatsRequest {
                    network_namespace: session.namespace(),
                };
                let answer = session.read(session.flows().get_stats(request)).await?;
                entries::<_, PerCpu<FlowStats>>(answer.cpus)
            })
            .await;
        Ok(self.print(found, |out, node, cpus| {
            for cpu in cpus {
                classic::flow_statistics(out, node, cpu);
            }
        }))
    }

    pub(super) async fn expectation_stats(&mut self) -> Result<u8, LineError> {
        let found = self
            .context
            .ask(|session: Session| async move {
                let request = pb::GetExpectationStatsRequest {
                    network_namespace: session.namespace(),
                };
                let mut client = session.expectations();
                let answer = session.read(client.get_expectation_stats(request)).await?;
                entries::<_, PerCpu<ExpectationStats>>(answer.cpus)
            })
            .await;
        Ok(self.print(found, |out, node, cpus| {
            for cpu in cpus {
                classic::expectation_statistics(out, node, cpu);
            }
        }))
    }

    /// Prints one answer of each node, and says who failed.
    fn print<T>(&self, found: Answers<T>, line: impl Fn(&mut Vec<u8>, Option<&str>, &T)) -> u8 {
        let many = self.context.is_fleet();
        let mut out = Vec::new();
        for (node, answer) in &found.answers {
            line(&mut out, many.then(|| &**node.name()), answer);
        }
        if let Err(error) = write_out(&out) {
            complain(None, format_args!("cannot write the output: {error}"));
            return FAILED;
        }
        self.failures(&found)
    }

    /// Says which nodes failed; the exit code of that.
    pub(super) fn failures<T>(&self, found: &Answers<T>) -> u8 {
        let many = self.context.is_fleet();
        let action = self.line.action.unwrap_or(Action::List);
        for failure in &found.outcome.failures {
            let node = many.then(|| &**failure.node.name());
            let words = node_words(&failure.error, action, self.line.table);
            complain(node, format_args!("Operation failed: {words}"));
        }
        match &found.outcome.ended {
            Ended::Signal(signal) => signal.exit_code(),
            _ if found.outcome.failures.is_empty() => 0,
            _ => FAILED,
        }
    }
}

/// The API has no count of expectations; lists are short (nf_conntrack_expect_max).
pub(super) async fn count_expectations(
    session: &Session,
    filter: pb::Filter,
) -> Result<u64, NodeError> {
    let request = pb::DumpExpectationsRequest {
        network_namespace: session.namespace(),
        filter: Some(filter),
        master: None,
    };
    let mut client = session.expectation_streams();
    let mut stream = session.read(client.dump_expectations(request)).await?;
    while let Some(message) = session.next(&mut stream).await? {
        if let Some(summary) = message.summary {
            return Ok(summary.matched);
        }
    }
    Err(NodeError::Incomplete)
}
