//! `ctctl count`: how many flows there are, or how many a filter selects.

use clap::Args;

use super::CommandError;
use crate::ctctl::args::select::Select;
use crate::ctctl::connect::Session;
use crate::ctctl::context::{Context, added_up};
use crate::ctctl::output::{Format, Value};
use crate::pb;

/// What to count.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "With no filter it is the kernel's own count, which includes flows that are \
                  not confirmed yet or already dying; with a filter the agents read their \
                  tables."
)]
pub struct CountArgs {
    #[command(flatten)]
    select: Select,
}

pub(super) async fn run(args: CountArgs, context: &mut Context) -> Result<u8, CommandError> {
    let filter = args.select.selection()?.for_reading();
    let filtered = filter.is_some();
    let found = context
        .ask(move |session: Session| {
            let filter = filter.clone();
            async move {
                let request = pb::CountFlowsRequest {
                    network_namespace: session.namespace(),
                    filter,
                };
                session.read(session.flows().count_flows(request)).await
            }
        })
        .await;
    let columns: &[&str] = if filtered {
        &["count", "scanned"]
    } else {
        &["count", "max"]
    };
    let mut table = context.table(columns.iter().copied());
    for (node, answer) in &found.answers {
        let second = if filtered {
            Some(answer.scanned)
        } else {
            answer.max
        };
        table.push(node.name(), [answer.count.into(), second.into()]);
    }
    // For people alone: programs add up what they want.
    if matches!(context.format, Format::Table | Format::Wide) && found.answers.len() > 1 {
        let total = added_up(found.answers.iter().map(|(_, answer)| answer.count));
        table.push("total", [Value::from(total)]);
    }
    Ok(context.show(&table, found.outcome))
}
