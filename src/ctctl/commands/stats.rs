//! `ctctl stats`: the kernel's counters.

use clap::Args;

use super::CommandError;
use crate::ctctl::connect::Session;
use crate::ctctl::context::Context;
use crate::ctctl::output::Value;
use crate::flow::FlowStats;
use crate::pb;

/// How much to show.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = "The counters run since boot; the kernel's are 32 bits wide and wrap.")]
pub struct StatsArgs {
    /// A row for every processor, too
    #[arg(long)]
    pub(super) per_cpu: bool,
}

/// What a row is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The sum of all processors.
    All,
    /// One processor.
    Cpu(u32),
}

pub(super) async fn run(args: StatsArgs, context: &mut Context) -> Result<u8, CommandError> {
    let found = context
        .ask(|session: Session| async move {
            let request = pb::GetStatsRequest {
                network_namespace: session.namespace(),
            };
            session.read(session.flows().get_stats(request)).await
        })
        .await;
    let mut every = FlowStats::default();
    let mut rows = Vec::new();
    for (node, answer) in found.answers {
        let total = FlowStats::from(answer.total.unwrap_or_default());
        every.add(&total);
        let size = [Value::from(answer.entries), answer.max.into()];
        rows.push((node.name().clone(), Whose::All, size, total));
        for cpu in answer.cpus.into_iter().filter(|_| args.per_cpu) {
            let none = [Value::None, Value::None];
            let stats = FlowStats::from(cpu.stats.unwrap_or_default());
            rows.push((node.name().clone(), Whose::Cpu(cpu.cpu), none, stats));
        }
    }
    let counters: Vec<&str> = every.iter().map(|(name, _)| name).collect();
    let fixed = ["cpu", "entries", "max"];
    let mut table = context.table(fixed.into_iter().chain(counters.iter().copied()));
    for (node, whose, size, stats) in rows {
        let cells = [whose.into()].into_iter().chain(size);
        table.push(
            &node,
            cells.chain(cells_of(&stats.iter().collect::<Vec<_>>(), &counters)),
        );
    }
    Ok(context.show(&table, found.outcome))
}

impl From<Whose> for Value {
    fn from(whose: Whose) -> Self {
        match whose {
            Whose::All => "all".into(),
            Whose::Cpu(cpu) => cpu.to_string().into(),
        }
    }
}

/// The cells of a row with these columns.
pub(super) fn cells_of(values: &[(&'static str, u64)], columns: &[&str]) -> Vec<Value> {
    columns
        .iter()
        .map(|column| {
            let value = values
                .iter()
                .find(|(name, _)| name == column)
                .map(|(_, v)| *v);
            value.into()
        })
        .collect()
}
