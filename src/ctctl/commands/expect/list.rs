//! `ctctl expect list`.

use clap::Args;

use crate::ctctl::args::expect::ExpectSelect;
use crate::ctctl::commands::CommandError;
use crate::ctctl::commands::dump::{Chunk, Rows, entries, forward};
use crate::ctctl::connect::Session;
use crate::ctctl::context::Context;
use crate::ctctl::fanout::{Sink, Width};
use crate::flow::Expectation;
use crate::pb;

/// What to list.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    select: ExpectSelect,
}

pub(super) async fn run(args: ListArgs, context: &mut Context) -> Result<u8, CommandError> {
    let filter = args.select.selection()?.for_reading();
    let work = move |session: Session, sink: Sink<Vec<Expectation>>| {
        let filter = filter.clone();
        async move {
            let request = pb::DumpExpectationsRequest {
                network_namespace: session.namespace(),
                filter,
                master: None,
            };
            let stream = session
                .read(session.expectation_streams().dump_expectations(request))
                .await?;
            forward(
                &session,
                &sink,
                stream,
                |message: pb::DumpExpectationsResponse| {
                    Ok(Chunk {
                        entries: entries(message.expectations)?,
                        complete: message.summary.is_some(),
                    })
                },
            )
            .await
        }
    };
    let rows = Rows::new(context.printer(false), 0);
    let outcome = context
        .fleet
        .run(Width::Bounded, &mut context.interrupt, rows, work)
        .await;
    Ok(context.finish(&outcome))
}
