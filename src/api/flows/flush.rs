//! FlushFlows: the kernel's own flush, or, where that would cut the agent's connections, a
//! deletion of everything else.

use tonic::Status;

use super::change::{self, Target, What};
use crate::api::caller::Caller;
use crate::api::change::Options;
use crate::api::pull::blocking;
use crate::api::{Context, record, request, status};
use crate::audit::{self, Intent};
use crate::ctnetlink::{Conn, Error};
use crate::flow::filter::{NumberField, NumberRange, Predicate};
use crate::flow::{Family, Filter};
use crate::pb;

/// Answers the call.
pub(super) async fn flush(
    context: &Context,
    caller: &Caller,
    message: pb::FlushFlowsRequest,
) -> Result<pb::FlushFlowsResponse, Status> {
    let namespace = caller.namespace(&message.network_namespace)?;
    let family = family(message.family)?;
    let spares =
        !message.include_own_connections && !context.own.is_empty() && request::is_own(&namespace);
    // To a caller with a scope, everything is what is in it.
    if spares || caller.scope().is_some() {
        let all = caller.flows(Some(of_family(family)))?;
        let target = Target::Filter(all.unwrap_or_else(Filter::everything));
        let options = Options {
            include_own: message.include_own_connections,
            ..Options::default()
        };
        let (summary, _) =
            change::run(context, caller, namespace, target, What::Delete, options).await?;
        if let Some(failure) = summary.failures.first() {
            let text = format!(
                "{} of {} entries were not deleted; the first: {}",
                summary.failed, summary.matched, failure.message
            );
            return Err(Status::new(failure.code.into(), text));
        }
        return Ok(pb::FlushFlowsResponse {
            spared: summary.spared,
        });
    }
    let intent = Intent {
        target: audit::Target::Everything,
        detail: family.map(|family| format!("{family:?} only")),
        include_own_connections: message.include_own_connections,
        ..caller.intent(&namespace)
    };
    let logged = caller.clone();
    let entry = blocking(move || logged.begin(intent)).await?;
    let kernel = async {
        let conn = Conn::open(&namespace).await?;
        conn.flush_flows(family).await
    };
    let flushed = kernel.await.map_err(|error: Error| status::netlink(&error));
    record::end(entry, &flushed, None);
    flushed.map(|()| pb::FlushFlowsResponse { spared: 0 })
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
