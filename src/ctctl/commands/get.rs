//! `ctctl get`: one flow, wherever in the fleet it is.

use clap::Args;
use tonic::Code;

use super::CommandError;
use crate::ctctl::args::tuple::TupleArgs;
use crate::ctctl::args::values::number32;
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::context::{Answers, Context};
use crate::ctctl::fanout::{Ended, Outcome};
use crate::ctctl::print::{Entry, say};
use crate::flow::Flow;
use crate::pb;

/// Which flow.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit code 1 when no node has such a flow.")]
pub struct GetArgs {
    #[command(flatten)]
    tuple: TupleArgs,
    /// Id, as the list shows it; alone it makes the agents search their tables
    #[arg(long, value_name = "ID", value_parser = number32)]
    id: Option<u32>,
}

pub(super) async fn run(args: GetArgs, context: &mut Context) -> Result<u8, CommandError> {
    let by = match args.id {
        Some(id) if args.tuple.is_empty() => pb::get_flow_request::By::Id(id),
        id => pb::get_flow_request::By::Key((&args.tuple.key(id)?).into()),
    };
    let answers = context
        .ask(move |session: Session| {
            let by = by.clone();
            async move {
                let request = pb::GetFlowRequest {
                    network_namespace: session.namespace(),
                    by: Some(by),
                };
                let answer = session.read(session.flows().get_flow(request)).await?;
                let flow = answer.flow.ok_or_else(|| missing("flow"))?;
                Flow::try_from(flow).map_err(|error| NodeError::Answer(error.to_string()))
            }
        })
        .await;
    Ok(show_found(context, answers, "flow"))
}

/// An answer without what it is an answer for.
pub(super) fn missing(field: &str) -> NodeError {
    NodeError::Answer(format!("it has no {field}"))
}

/// Prints what was found. A node without it is no failure, unless no node has it.
pub(super) fn show_found<E: Entry>(
    context: &Context,
    answers: Answers<E>,
    what: &'static str,
) -> u8 {
    let Answers {
        answers,
        mut outcome,
    } = answers;
    let before = outcome.failures.len();
    outcome
        .failures
        .retain(|failure| failure.error.code() != Some(Code::NotFound));
    let without = before - outcome.failures.len();
    let mut printer = context.printer(false);
    let printed = answers
        .iter()
        .try_for_each(|(node, entry)| printer.row(node, None, entry))
        .and_then(|()| printer.end());
    if let Err(error) = printed {
        outcome.ended = Ended::of_write_error(error);
    }
    let code = context.finish(&outcome);
    let complete = matches!(
        outcome,
        Outcome {
            ended: Ended::Complete,
            ..
        }
    );
    if answers.is_empty() && without > 0 && complete {
        if context.is_fleet() {
            say(format_args!("no node has this {what}"));
        } else {
            say(format_args!("there is no such {what}"));
        }
        return code.max(1);
    }
    code
}
