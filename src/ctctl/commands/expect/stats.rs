//! `ctctl expect stats`.

use crate::ctctl::commands::CommandError;
use crate::ctctl::commands::stats::{StatsArgs, Whose, cells_of};
use crate::ctctl::connect::Session;
use crate::ctctl::context::Context;
use crate::ctctl::output::Value;
use crate::flow::ExpectationStats;
use crate::pb;

pub(super) async fn run(args: StatsArgs, context: &mut Context) -> Result<u8, CommandError> {
    let found = context
        .ask(|session: Session| async move {
            let request = pb::GetExpectationStatsRequest {
                network_namespace: session.namespace(),
            };
            session
                .read(session.expectations().get_expectation_stats(request))
                .await
        })
        .await;
    let mut every = ExpectationStats::default();
    let mut rows = Vec::new();
    for (node, answer) in found.answers {
        let total = ExpectationStats::from(answer.total.unwrap_or_default());
        every.add(&total);
        rows.push((
            node.name().clone(),
            Whose::All,
            Value::from(answer.max),
            total,
        ));
        for cpu in answer.cpus.into_iter().filter(|_| args.per_cpu) {
            let stats = ExpectationStats::from(cpu.stats.unwrap_or_default());
            rows.push((node.name().clone(), Whose::Cpu(cpu.cpu), Value::None, stats));
        }
    }
    let counters: Vec<&str> = every.iter().map(|(name, _)| name).collect();
    let mut table = context.table(["cpu", "max"].into_iter().chain(counters.iter().copied()));
    for (node, whose, max, stats) in rows {
        let cells = cells_of(&stats.iter().collect::<Vec<_>>(), &counters);
        table.push(&node, [whose.into(), max].into_iter().chain(cells));
    }
    Ok(context.show(&table, found.outcome))
}
