//! `ctctl expect flush`.

use clap::Args;

use crate::ctctl::commands::CommandError;
use crate::ctctl::commands::change::{Consent, Preview, Verb};
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::context::Context;
use crate::pb;

/// How to flush.
#[derive(Args, Clone, Debug)]
pub struct FlushArgs {
    #[command(flatten)]
    consent: Consent,
}

const FLUSH: Verb = Verb {
    verb: "flush",
    done: "flushed",
    what: "expectations",
};

pub(super) async fn run(args: FlushArgs, context: &mut Context) -> Result<u8, CommandError> {
    args.consent.check(&FLUSH)?;
    let mut earlier = Vec::new();
    if args.consent.needs_preview() {
        let counted = context
            .ask(|session: Session| async move { count(&session).await })
            .await;
        match args
            .consent
            .ask(context, &FLUSH, Preview::of_counts(counted))
            .await?
        {
            Ok(failures) => earlier = failures,
            Err(code) => return Ok(code),
        }
    }
    let mut found = context
        .ask(|session: Session| async move {
            let request = pb::FlushExpectationsRequest {
                network_namespace: session.namespace(),
            };
            session
                .change(session.expectations().flush_expectations(request))
                .await
        })
        .await;
    let mut table = context.table(["flushed"]);
    for (node, _) in found.answers {
        table.push(node.name(), [true.into()]);
    }
    found.outcome.add_failures(earlier, context.nodes());
    Ok(context.show(&table, found.outcome))
}

/// The API has no count of expectations; lists are short (nf_conntrack_expect_max).
async fn count(session: &Session) -> Result<u64, NodeError> {
    let request = pb::DumpExpectationsRequest {
        network_namespace: session.namespace(),
        filter: None,
        master: None,
    };
    let mut stream = session
        .read(session.expectation_streams().dump_expectations(request))
        .await?;
    while let Some(message) = session.next(&mut stream).await? {
        if let Some(summary) = message.summary {
            return Ok(summary.matched);
        }
    }
    Err(NodeError::Incomplete)
}
