//! `ctctl flush`: everything goes, or everything of a family.

use clap::Args;

use super::CommandError;
use super::change::{Consent, Preview, Verb};
use crate::ctctl::args::values::FamilyName;
use crate::ctctl::connect::Session;
use crate::ctctl::context::Context;
use crate::flow::Filter;
use crate::flow::filter::NumberField;
use crate::pb;

/// What to flush.
#[derive(Args, Clone, Debug)]
pub struct FlushArgs {
    /// This family alone: ipv4 or ipv6
    #[arg(short = 'f', long, value_name = "FAMILY")]
    family: Option<FamilyName>,
    /// Also flush the flows that carry the agents' own connections, ours among them
    #[arg(long)]
    include_own_connections: bool,
    #[command(flatten)]
    consent: Consent,
}

const FLUSH: Verb = Verb {
    verb: "flush",
    done: "flushed",
    what: "flows",
};

pub(super) async fn run(args: FlushArgs, context: &mut Context) -> Result<u8, CommandError> {
    args.consent.check(&FLUSH)?;
    let mut earlier = Vec::new();
    if args.consent.needs_preview() {
        let filter = args.family.map(|family| {
            pb::Filter::from(&Filter::number(NumberField::Family, [family.number()]))
        });
        let preview = Preview::of_flows(context, filter).await;
        match args.consent.ask(context, &FLUSH, preview).await? {
            Ok(failures) => earlier = failures,
            Err(code) => return Ok(code),
        }
    }
    let family = args
        .family
        .map_or(pb::Family::Unspecified, |FamilyName(family)| family.into());
    let include_own_connections = args.include_own_connections;
    let mut found = context
        .ask(move |session: Session| async move {
            let request = pb::FlushFlowsRequest {
                network_namespace: session.namespace(),
                family: family.into(),
                include_own_connections,
            };
            session.change(session.flows().flush_flows(request)).await
        })
        .await;
    let mut table = context.table(["flushed", "spared"]);
    for (node, answer) in found.answers {
        table.push(node.name(), [true.into(), answer.spared.into()]);
    }
    found.outcome.add_failures(earlier, context.nodes());
    Ok(context.show(&table, found.outcome))
}
