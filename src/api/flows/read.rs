//! GetFlow, CountFlows and GetStats.

use tonic::{Code, Status};

use crate::api::caller::Caller;
use crate::api::pull::blocking;
use crate::api::stop::Stop;
use crate::api::{Context, request, status};
use crate::ctnetlink::{
    Conn, DumpCounts, Error, FlowDump, FlowDumpRequest, KernelError, Namespace,
};
use crate::flow::filter::{Kind, NumberField, NumberRange, Predicate};
use crate::flow::{Filter, Flow, FlowKey, FlowStats};
use crate::pb;
use crate::wire::At as _;

/// Reads the entry that a key names; the kernel alone may find another one by it. What the
/// caller may not see is not there.
async fn by_key(caller: &Caller, namespace: &Namespace, key: &FlowKey) -> Result<Flow, Error> {
    let flow = Conn::open(namespace).await?.get_flow(key).await?;
    if !key.names(&flow) || !caller.admits(&flow) {
        return Err(Error::Kernel(KernelError::from_errno(libc::ENOENT)));
    }
    Ok(flow)
}

/// Answers GetFlow.
pub(super) async fn get(
    context: &Context,
    caller: &Caller,
    message: pb::GetFlowRequest,
) -> Result<pb::GetFlowResponse, Status> {
    let (ref caller, namespace) = caller.enter(&message)?;
    let flow = match request::required(message.by, "by")? {
        pb::get_flow_request::By::Key(key) => {
            let key = FlowKey::try_from(key)
                .at("key")
                .map_err(|error| status::field(&error))?;
            let flow = by_key(caller, &namespace, &key).await;
            let flow = flow.map_err(|error| status::netlink(&error))?;
            pb::Flow::from(&*caller.shown(&flow))
        }
        pb::get_flow_request::By::Id(id) => by_id(context, caller, namespace, id).await?,
    };
    Ok(pb::GetFlowResponse { flow: Some(flow) })
}

async fn by_id(
    context: &Context,
    caller: &Caller,
    namespace: Namespace,
    id: u32,
) -> Result<pb::Flow, Status> {
    let only = NumberRange {
        min: id.into(),
        max: id.into(),
    };
    let filter = Filter::Is(Predicate::Number(NumberField::Id, None, vec![only]));
    let filter = caller
        .flows(Some(filter))?
        .unwrap_or_else(Filter::everything);
    let sight = caller.clone();
    let (found, _) = scan(
        context,
        caller,
        namespace,
        filter,
        Vec::new(),
        move |found, flow| {
            // Two are as wrong as more.
            if found.len() < 2 {
                found.push(pb::Flow::from(&*sight.shown(flow)));
            }
        },
    )
    .await?;
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(flow), None) => Ok(flow),
        (None, _) => Err(Status::not_found(format!("there is no flow with id {id}"))),
        (Some(_), Some(_)) => Err(status::own(
            Code::FailedPrecondition,
            "AMBIGUOUS_ID",
            format!("several flows have id {id}: name the one by its tuple"),
            &[],
        )),
    }
}

/// Reads the table for the flows that match; gives what `take` made of them.
async fn scan<S: Send + 'static>(
    context: &Context,
    caller: &Caller,
    namespace: Namespace,
    filter: Filter,
    mut state: S,
    mut take: impl FnMut(&mut S, &Flow) + Send + 'static,
) -> Result<(S, DumpCounts), Status> {
    let permit = context.changes.enter(caller.identity())?;
    let (stop, _waiting) = Stop::new(context.drain.clone());
    blocking(move || {
        let _permit = permit;
        let request = FlowDumpRequest {
            filter: Some(filter),
            ..Default::default()
        };
        let read = || {
            let mut dump = FlowDump::open(&namespace, request)?;
            while stop.asked().is_none() && dump.read(&mut |flow| take(&mut state, flow))? {}
            Ok(dump.counts())
        };
        let counts = read().map_err(|error: Error| status::netlink(&error))?;
        match stop.asked() {
            None => Ok((state, counts)),
            Some(reason) => Err(reason.status(&[])),
        }
    })
    .await
}

/// Answers CountFlows.
pub(super) async fn count(
    context: &Context,
    caller: &Caller,
    message: pb::CountFlowsRequest,
) -> Result<pb::CountFlowsResponse, Status> {
    let (ref caller, namespace) = caller.enter(&message)?;
    let filter = caller.flows(
        caller
            .bounds()
            .optional_filter(message.filter, Kind::Flow)?,
    )?;
    let Some(filter) = filter else {
        let conn = Conn::open(&namespace).await;
        let conn = conn.map_err(|error| status::netlink(&error))?;
        let size = conn.table_size().await;
        let size = size.map_err(|error| status::netlink(&error))?;
        return Ok(pb::CountFlowsResponse {
            count: size.entries.into(),
            max: size.max.map(Into::into),
            scanned: 0,
        });
    };
    let ((), counts) = scan(context, caller, namespace, filter, (), |(), _| ()).await?;
    let counts = caller.counts(counts);
    Ok(pb::CountFlowsResponse {
        count: counts.matched,
        max: None,
        scanned: counts.scanned,
    })
}

/// Answers GetStats.
pub(super) async fn stats(
    caller: &Caller,
    message: pb::GetStatsRequest,
) -> Result<pb::GetStatsResponse, Status> {
    let (ref caller, namespace) = caller.enter(&message)?;
    caller.unscoped("GetStats, which counts the whole table,")?;
    let read = async {
        let conn = Conn::open(&namespace).await?;
        Ok((conn.table_size().await?, conn.flow_stats().await?))
    };
    let (size, cpus) = read.await.map_err(|error: Error| status::netlink(&error))?;
    let mut total = FlowStats::default();
    for cpu in &cpus {
        total.add(&cpu.stats);
    }
    Ok(pb::GetStatsResponse {
        entries: size.entries.into(),
        max: size.max.map(Into::into),
        cpus: cpus.into_iter().map(Into::into).collect(),
        total: Some(total.into()),
    })
}
