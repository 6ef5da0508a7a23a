//! `ctctl delete`: the flows that a filter selects, or flows one by one.

use clap::Args;

use super::CommandError;
use super::change::{self, Changed, Consent, Verb};
use super::dump::entries;
use crate::ctctl::args::select::{Select, Selection};
use crate::ctctl::args::tuple::TupleArgs;
use crate::ctctl::connect::Session;
use crate::ctctl::context::Context;
use crate::flow::Flow;
use crate::pb;
use crate::pb::delete_flows_request::Target;

/// What to delete.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "A filter is first counted on every node, and you are asked. Ids and --exact \
                  name single flows and are deleted at once. A flow that is gone already is \
                  no error. `ctctl flush` deletes everything."
)]
pub struct DeleteArgs {
    /// The end points name one flow, not a filter
    #[arg(long)]
    exact: bool,
    /// Also delete the flows that carry the agents' own connections, ours among them
    #[arg(long)]
    include_own_connections: bool,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    consent: Consent,
}

const DELETE: Verb = Verb {
    verb: "delete",
    done: "deleted",
    what: "flows",
};

pub(super) async fn run(args: DeleteArgs, context: &mut Context) -> Result<u8, CommandError> {
    let target = target(&args)?;
    let asks = matches!(target, Target::Filter(_));
    let own = args.include_own_connections;
    change::run(
        context,
        &DELETE,
        args.consent,
        own,
        asks,
        move |session: Session, options| {
            let target = target.clone();
            async move {
                let request = pb::DeleteFlowsRequest {
                    network_namespace: session.namespace(),
                    target: Some(target),
                    options: Some(options),
                };
                let answer = session
                    .change(session.flows().delete_flows(request))
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

fn target(args: &DeleteArgs) -> Result<Target, CommandError> {
    if args.exact {
        let keys = vec![exact_key(&args.select)?];
        return Ok(Target::Keys(pb::FlowKeys { keys }));
    }
    if let Some(ids) = args.select.only_ids() {
        return Ok(Target::Ids(pb::FlowIds { ids: ids.to_vec() }));
    }
    match args.select.selection()? {
        Selection::Part(filter) => Ok(Target::Filter(filter)),
        Selection::Unsaid => Err(CommandError::Usage(
            "delete needs to know which flows: a filter, --id or --exact with end points; \
             `ctctl flush` deletes all",
        )),
        Selection::All => Err(CommandError::Usage(
            "this filter means all flows; `ctctl flush` deletes all",
        )),
    }
}

/// The one flow that the end points name.
pub(super) fn exact_key(select: &Select) -> Result<pb::FlowKey, CommandError> {
    if !select.expression.is_empty() {
        return Err(CommandError::Usage(
            "--exact names one flow by the flags for its end points, not by an expression",
        ));
    }
    let id = match select.flags.id.as_slice() {
        [] => None,
        [id] => Some(*id),
        _ => return Err(CommandError::Usage("one flow has one --id")),
    };
    let key = TupleArgs::try_from(&select.flags)?.key(id)?;
    Ok(pb::FlowKey::from(&key))
}
