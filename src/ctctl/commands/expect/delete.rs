//! `ctctl expect delete`.

use clap::Args;

use crate::ctctl::args::expect::ExpectSelect;
use crate::ctctl::args::select::Selection;
use crate::ctctl::commands::CommandError;
use crate::ctctl::commands::change::{self, Changed, Consent, Verb};
use crate::ctctl::commands::dump::entries;
use crate::ctctl::connect::Session;
use crate::ctctl::context::Context;
use crate::flow::Expectation;
use crate::pb;
use crate::pb::delete_expectations_request::Target;

/// What to delete.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "A filter is first counted on every node, and you are asked; ids are deleted \
                  at once. An expectation that is gone already is no error. `ctctl expect \
                  flush` deletes everything."
)]
pub struct DeleteArgs {
    #[command(flatten)]
    select: ExpectSelect,
    #[command(flatten)]
    consent: Consent,
}

const DELETE: Verb = Verb {
    verb: "delete",
    done: "deleted",
    what: "expectations",
};

pub(super) async fn run(args: DeleteArgs, context: &mut Context) -> Result<u8, CommandError> {
    let target = match (args.select.only_ids(), args.select.selection()?) {
        (Some(ids), _) => Target::Ids(pb::ExpectationIds { ids: ids.to_vec() }),
        (None, Selection::Part(filter)) => Target::Filter(filter),
        (None, Selection::Unsaid) => {
            return Err(CommandError::Usage(
                "delete needs to know which expectations: a filter or --id; `ctctl expect \
                 flush` deletes all",
            ));
        }
        (None, Selection::All) => {
            return Err(CommandError::Usage(
                "this filter means all expectations; `ctctl expect flush` deletes all",
            ));
        }
    };
    let asks = matches!(target, Target::Filter(_));
    change::run(
        context,
        &DELETE,
        args.consent,
        false,
        asks,
        move |session: Session, options| {
            let target = target.clone();
            async move {
                let request = pb::DeleteExpectationsRequest {
                    network_namespace: session.namespace(),
                    target: Some(target),
                    options: Some(options),
                };
                let mut client = session.expectations();
                let answer = session.change(client.delete_expectations(request)).await?;
                Ok(Changed {
                    summary: answer.summary.unwrap_or_default(),
                    samples: entries::<_, Expectation>(answer.samples)?,
                })
            }
        },
    )
    .await
}
