//! DumpFlows: the kernel's dump, driven by the client's reading.

use tonic::Status;

use crate::access::Role;
use crate::api::caller::Caller;
use crate::api::pull::{self, Messages, Outlet};
use crate::api::withdrawal::Withdrawal;
use crate::api::{Context, record, request, status};
use crate::audit::{self, Intent};
use crate::ctnetlink::{FlowDump, FlowDumpRequest, Namespace, Table};
use crate::flow::filter::Kind;
use crate::pb::{self, bulk};
use crate::wire::bulk::Run;

/// Bytes of flows at which a message is sent: with what the last datagram adds, 32 to 64 KiB.
const CHUNK: usize = 40 * 1024;

/// Answers the call.
pub(super) fn dump(
    context: &Context,
    caller: &Caller,
    message: pb::DumpFlowsRequest,
) -> Result<Messages<bulk::DumpFlowsResponse>, Status> {
    let (ref caller, namespace) = caller.enter(&message)?;
    let table = table(message.table)?;
    let filter = caller.flows(
        caller
            .bounds()
            .optional_filter(message.filter, Kind::Flow)?,
    )?;
    if message.zero_counters {
        caller.require(Role::Operator, "zero_counters")?;
        // The kernel resets more than a filter lets pass: what it cannot select itself.
        caller.unscoped("zero_counters")?;
    }
    if message.zero_counters && table != Table::Conntrack {
        return Err(request::refused(
            "zero_counters",
            "is accepted for FLOW_TABLE_CONNTRACK only",
        ));
    }
    if message.zero_counters && message.limit != 0 {
        return Err(request::refused(
            "limit",
            "contradicts zero_counters: counters beyond the limit would be lost",
        ));
    }
    let dump = Dump {
        caller: caller.clone(),
        namespace,
        request: FlowDumpRequest {
            table,
            zero_counters: message.zero_counters,
            filter,
        },
        limit: match message.limit {
            0 => u64::MAX,
            limit => limit,
        },
    };
    let permit = context.gate.enter(caller.identity())?;
    let ends = (context.drain.clone(), Some(Withdrawal::of(caller)));
    Ok(pull::stream(permit, ends, |outlet| dump.run(outlet)))
}

fn table(number: i32) -> Result<Table, Status> {
    match pb::FlowTable::try_from(number) {
        Ok(pb::FlowTable::Unspecified | pb::FlowTable::Conntrack) => Ok(Table::Conntrack),
        Ok(pb::FlowTable::Dying) => Ok(Table::Dying),
        Ok(pb::FlowTable::Unconfirmed) => Ok(Table::Unconfirmed),
        Err(_) => Err(request::refused(
            "table",
            format!("has the unknown value {number}"),
        )),
    }
}

struct Dump {
    caller: Caller,
    namespace: Namespace,
    request: FlowDumpRequest,
    limit: u64,
}

impl Dump {
    /// Reads the table and sends it in chunks; gives the summary.
    fn run(
        self,
        outlet: &mut Outlet<bulk::DumpFlowsResponse>,
    ) -> Result<bulk::DumpFlowsResponse, Status> {
        if !self.request.zero_counters {
            return self.read(outlet);
        }
        // It changes what it reads.
        let filter = self.request.filter.as_ref();
        let intent = Intent {
            target: match filter {
                Some(_) => audit::Target::Filter,
                None => audit::Target::Everything,
            },
            filter: filter.map(record::filter),
            detail: Some("zero_counters".to_owned()),
            ..self.caller.intent(&self.namespace)
        };
        let entry = self.caller.begin(intent)?;
        let result = self.read(outlet);
        record::end(entry, &result, None);
        result
    }

    fn read(
        self,
        outlet: &mut Outlet<bulk::DumpFlowsResponse>,
    ) -> Result<bulk::DumpFlowsResponse, Status> {
        let (caller, limit) = (self.caller, self.limit);
        let zeroes = self.request.zero_counters;
        let mut dump =
            FlowDump::open(&self.namespace, self.request).map_err(|e| status::netlink(&e))?;
        let mut chunk = Run::with_capacity(CHUNK);
        let mut delivered = 0;
        let mut beyond = false;
        let mut more = true;
        // To a caller with a scope, what the kernel has still to send may not be theirs.
        let scoped = caller.scope().is_some();
        while more && (delivered < limit || (scoped && !beyond)) {
            if outlet.is_draining() {
                return Err(status::stopping(&[]));
            }
            let taken = dump.read(&mut |flow| {
                if delivered < limit {
                    delivered += 1;
                    chunk.push_flow(&caller.shown(flow));
                } else {
                    beyond = true;
                }
            });
            more = taken.map_err(|e| status::netlink(&e))?;
            let sent = if chunk.len() >= CHUNK {
                send(&mut chunk, outlet)
            } else {
                // A filter that nothing fits never finds out by sending.
                outlet.check()
            };
            if let Err(end) = sent {
                if zeroes {
                    // A table half reset would count two intervals at once.
                    finish(dump, outlet)?;
                }
                return Err(end);
            }
        }
        send(&mut chunk, outlet)?;
        let counts = caller.counts(dump.counts());
        let last = pb::DumpFlowsResponse {
            flows: Vec::new(),
            summary: Some(pb::DumpSummary {
                matched: delivered,
                scanned: counts.scanned,
                duplicates: counts.duplicates,
                truncated: beyond || (more && !scoped),
            }),
        };
        Ok(bulk::DumpFlowsResponse::from(&last))
    }
}

/// Reads the rest for nobody.
fn finish(mut dump: FlowDump, outlet: &Outlet<bulk::DumpFlowsResponse>) -> Result<(), Status> {
    while !outlet.is_draining() && dump.read(&mut |_| ()).map_err(|e| status::netlink(&e))? {}
    tracing::info!(
        scanned = dump.counts().scanned,
        "a dump that resets counters lost its caller; the rest was reset and not delivered"
    );
    Ok(())
}

/// Sends what there is and begins anew.
fn send(chunk: &mut Run, outlet: &mut Outlet<bulk::DumpFlowsResponse>) -> Result<(), Status> {
    if chunk.is_empty() {
        return Ok(());
    }
    outlet.send(chunk.take().into_dump())
}
