//! FlushFlows: the kernel's own flush, or, where that would cut the agent's connections, a
//! deletion of everything else.

use tokio::runtime::Handle;
use tonic::Status;

use super::change::{self, Target, What};
use crate::api::caller::Caller;
use crate::api::change::{Options, left};
use crate::api::pull::blocking;
use crate::api::stop::Stop;
use crate::api::{Context, record, request, status};
use crate::audit::{self, Intent};
use crate::ctnetlink::{Conn, Namespace};
use crate::flow::filter::{NumberField, NumberRange, Predicate};
use crate::flow::{Family, Filter};
use crate::pb;

/// Answers the call.
pub(super) async fn flush(
    context: &Context,
    caller: &Caller,
    message: pb::FlushFlowsRequest,
) -> Result<pb::FlushFlowsResponse, Status> {
    let (ref caller, namespace) = caller.enter(&message)?;
    let family = family(message.family)?;
    let options = Options {
        include_own: message.include_own_connections,
        ..Options::default()
    };
    let all = caller.flows(Some(of_family(family)))?;
    let all = Target::Filter(all.unwrap_or_else(Filter::everything));
    let summary = if caller.scope().is_some() {
        // To a caller with a scope, everything is what is in it.
        let (summary, _) =
            change::run(context, caller, namespace, all, What::Delete, options).await?;
        summary
    } else {
        let intent = Intent {
            target: audit::Target::Everything,
            detail: family.map(|family| format!("{family:?} only")),
            include_own_connections: options.include_own,
            ..caller.intent(&namespace)
        };
        let permit = context.changes.enter(caller.identity())?;
        let (stop, _waiting) = Stop::new(context.drain.clone());
        let (caller, own) = (caller.clone(), context.own.clone());
        // On a thread that outlives the call: what is begun has an end in the log.
        blocking(move || {
            let _permit = permit;
            let entry = caller.begin(intent)?;
            // Not before: a client may have come while the intent was written.
            if !options.include_own && !own.is_empty() && request::is_own(&namespace) {
                let change = (all, What::Delete, options);
                let done = change::carry_out(&caller, &namespace, change, (own, stop), entry);
                return done.map(|(summary, _)| summary);
            }
            let flushed = at_once(&namespace, family);
            record::end(entry, &flushed, None);
            flushed.map(|()| pb::ChangeSummary::default())
        })
        .await?
    };
    left(&summary, "entries")?;
    Ok(pb::FlushFlowsResponse {
        spared: summary.spared,
    })
}

/// The kernel's own flush. Blocks.
fn at_once(namespace: &Namespace, family: Option<Family>) -> Result<(), Status> {
    let flush = async { Conn::open(namespace).await?.flush_flows(family).await };
    let flushed = Handle::current().block_on(flush);
    flushed.map_err(|error| status::netlink(&error))
}

fn family(number: i32) -> Result<Option<Family>, Status> {
    match pb::Family::try_from(number) {
        Ok(pb::Family::Unspecified) => Ok(None),
        Ok(pb::Family::Ipv4) => Ok(Some(Family::V4)),
        Ok(pb::Family::Ipv6) => Ok(Some(Family::V6)),
        Err(_) => Err(request::refused(
            "family",
            format!("has the unknown value {number}"),
        )),
    }
}

fn of_family(family: Option<Family>) -> Filter {
    let number = match family {
        None => return Filter::everything(),
        Some(Family::V4) => 4,
        Some(Family::V6) => 6,
    };
    let only = NumberRange {
        min: number,
        max: number,
    };
    Filter::Is(Predicate::Number(NumberField::Family, None, vec![only]))
}
