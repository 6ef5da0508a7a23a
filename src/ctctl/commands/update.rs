//! `ctctl update`: changes of flows that exist.

use clap::Args;

use super::CommandError;
use super::change::{self, Changed, Consent, Verb};
use super::delete::exact_key;
use super::dump::entries;
use crate::ctctl::args::changes::ChangeArgs;
use crate::ctctl::args::select::Select;
use crate::ctctl::connect::Session;
use crate::ctctl::context::Context;
use crate::flow::Flow;
use crate::pb;
use crate::pb::update_flows_request::Target;

/// Which flows, and what changes.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "A filter is first counted on every node, and you are asked. Ids and --exact \
                  name single flows and are changed at once. The filter `all` means all."
)]
pub struct UpdateArgs {
    /// The end points name one flow, not a filter
    #[arg(long)]
    exact: bool,
    /// Also change the flows that carry the agents' own connections, ours among them
    #[arg(long)]
    include_own_connections: bool,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    changes: ChangeArgs,
    #[command(flatten)]
    consent: Consent,
}

const UPDATE: Verb = Verb {
    verb: "update",
    done: "updated",
    what: "flows",
};

pub(super) async fn run(args: UpdateArgs, context: &mut Context) -> Result<u8, CommandError> {
    let protocol = match args.select.flags.proto.as_slice() {
        [one] => Some(*one),
        _ => None,
    };
    let changes = args.changes.changes(protocol)?;
    if changes.is_empty() {
        return Err(CommandError::Usage(
            "update needs to know what changes: --set-mark, --set-timeout, --set-label, ...",
        ));
    }
    let target = target(&args)?;
    let asks = matches!(target, Target::Filter(_));
    let changes = pb::FlowChanges::from(&changes);
    let own = args.include_own_connections;
    change::run(
        context,
        &UPDATE,
        args.consent,
        own,
        asks,
        move |session: Session, options| {
            let (target, changes) = (target.clone(), changes.clone());
            async move {
                let request = pb::UpdateFlowsRequest {
                    network_namespace: session.namespace(),
                    target: Some(target),
                    changes: Some(changes),
                    options: Some(options),
                };
                let answer = session
                    .change(session.flows().update_flows(request))
                    .await?;
                Ok(Changed {
                    summary: answer.summary.unwrap_or_default(),
                    samples: entries::<_, Flow>(answer.samples)?,
                })
            }
        },
    )
    .await
}

fn target(args: &UpdateArgs) -> Result<Target, CommandError> {
    if args.exact {
        let keys = vec![exact_key(&args.select)?];
        return Ok(Target::Keys(pb::FlowKeys { keys }));
    }
    if let Some(ids) = args.select.only_ids() {
        return Ok(Target::Ids(pb::FlowIds { ids: ids.to_vec() }));
    }
    args.select
        .selection()?
        .for_changing()
        .map(Target::Filter)
        .ok_or(CommandError::Usage(
            "update needs to know which flows: a filter (`all` for all), --id or --exact with end \
         points",
        ))
}
