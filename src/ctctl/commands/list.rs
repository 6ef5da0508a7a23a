//! `ctctl list`: the table, or the part of it that a filter selects.

use clap::{Args, ValueEnum};

use super::CommandError;
use super::dump::{Chunk, Rows, encoded, forward, unreadable};
use crate::ctctl::args::select::Select;
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::context::Context;
use crate::ctctl::fanout::{Sink, Width};
use crate::flow::Flow;
use crate::pb;
use crate::wire::bulk::{read_dump, read_flow};

/// What to list.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Which of the kernel's lists
    #[arg(long, value_enum, value_name = "TABLE", default_value_t = TableName::Conntrack)]
    table: TableName,
    /// Read the counters and set them to zero; let it run to its end, or counts are lost
    #[arg(short = 'z', long, conflicts_with = "limit")]
    zero: bool,
    /// End after so many flows, of all nodes together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    select: Select,
}

/// One of the kernel's lists.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum TableName {
    /// Confirmed flows
    Conntrack,
    /// Flows whose destroy event waits for delivery
    Dying,
    /// Flows whose first packet is still on its way; empty since Linux 6.3
    Unconfirmed,
}

pub(super) fn chunk(message: pb::bulk::DumpFlowsResponse) -> Result<Chunk<Flow>, NodeError> {
    let message = read_dump(&message.into_bytes()).map_err(unreadable)?;
    Ok(Chunk {
        entries: encoded(&message.flows, read_flow)?,
        complete: message.summary.is_some(),
    })
}

pub(super) async fn run(args: ListArgs, context: &mut Context) -> Result<u8, CommandError> {
    let limit = args.limit.unwrap_or(0);
    let table = match args.table {
        TableName::Conntrack => pb::FlowTable::Conntrack,
        TableName::Dying => pb::FlowTable::Dying,
        TableName::Unconfirmed => pb::FlowTable::Unconfirmed,
    };
    if args.zero && args.table != TableName::Conntrack {
        return Err(CommandError::Usage(
            "--zero works on the table conntrack alone",
        ));
    }
    let request = pb::DumpFlowsRequest {
        network_namespace: String::new(),
        table: table.into(),
        filter: args.select.selection()?.for_reading(),
        zero_counters: args.zero,
        limit,
    };
    let work = move |session: Session, sink: Sink<Vec<Flow>>| {
        let mut request = request.clone();
        async move {
            request.network_namespace = session.namespace();
            let stream = session
                .read(session.flow_streams().dump_flows(request))
                .await?;
            forward(&session, &sink, stream, chunk).await
        }
    };
    let rows = Rows::new(context.printer(false), limit);
    let outcome = context
        .fleet
        .run(Width::Bounded, &mut context.interrupt, rows, work)
        .await;
    Ok(context.finish(&outcome))
}
