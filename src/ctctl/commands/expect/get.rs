//! `ctctl expect get`.

use clap::Args;

use crate::ctctl::args::expect::ExpectedArgs;
use crate::ctctl::args::values::number32;
use crate::ctctl::commands::CommandError;
use crate::ctctl::commands::get::{missing, show_found};
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::context::Context;
use crate::flow::Expectation;
use crate::pb;
use crate::pb::get_expectation_request::By;

/// Which expectation.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit code 1 when no node has such an expectation.")]
pub struct GetArgs {
    #[command(flatten)]
    expected: ExpectedArgs,
    /// Id, as the list shows it
    #[arg(long, value_name = "ID", value_parser = number32)]
    id: Option<u32>,
}

pub(super) async fn run(args: GetArgs, context: &mut Context) -> Result<u8, CommandError> {
    let by = match args.id {
        Some(id) if args.expected.is_empty() => By::Id(id),
        id => By::Key((&args.expected.key(id)?).into()),
    };
    let answers = context
        .ask(move |session: Session| {
            let by = by.clone();
            async move {
                let request = pb::GetExpectationRequest {
                    network_namespace: session.namespace(),
                    by: Some(by),
                };
                let mut client = session.expectations();
                let call = client.get_expectation(request);
                let found = session
                    .read(call)
                    .await?
                    .expectation
                    .ok_or_else(|| missing("expectation"))?;
                Expectation::try_from(found).map_err(|error| NodeError::Answer(error.to_string()))
            }
        })
        .await;
    Ok(show_found(context, answers, "expectation"))
}
