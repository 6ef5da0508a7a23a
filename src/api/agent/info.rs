//! GetInfo.

use std::sync::Arc;

use tonic::Status;

use super::probe;
use crate::api::Context;
use crate::api::caller::Caller;
use crate::api::pull::blocking;
use crate::api::status;
use crate::ctnetlink::Namespace;
use crate::pb;

/// Answers the call.
pub(super) async fn get(context: &Context, caller: &Caller) -> Result<pb::GetInfoResponse, Status> {
    let found = context.capabilities.clone();
    let audit = context.audit.status();
    let standing = Arc::clone(&context.standing);
    let (capabilities, namespaces) = blocking(move || {
        let namespaces = Namespace::list().map_err(|error| {
            status::system(&error, &format!("cannot list network namespaces: {error}"))
        })?;
        let standing = standing.iter().flat_map(|now| now());
        let capabilities = probe::now(&found, &audit).into_iter();
        Ok((capabilities.chain(standing).collect::<Vec<_>>(), namespaces))
    })
    .await?;
    let names = caller.peer().identity.names();
    let uname = rustix::system::uname();
    Ok(pb::GetInfoResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel_release: uname.release().to_string_lossy().into_owned(),
        host_name: uname.nodename().to_string_lossy().into_owned(),
        start_time: Some(context.started.into()),
        capabilities: capabilities
            .into_iter()
            .map(|capability| pb::Capability {
                name: capability.name.to_owned(),
                available: capability.available,
                detail: capability.detail,
            })
            .collect(),
        limits: context
            .limits
            .iter()
            .map(|&(name, value, unit)| pb::Limit {
                name: name.to_owned(),
                value,
                unit: unit.to_owned(),
            })
            .collect(),
        network_namespaces: namespaces
            .iter()
            .map(|entry| entry.namespace.name())
            .filter(|name| caller.grant().reaches(name))
            .map(str::to_owned)
            .collect(),
        caller: Some(pb::Caller {
            names: names.iter().map(ToString::to_string).collect(),
            role: caller.grant().role.name().to_owned(),
            scope: caller.scope().map(|scope| scope.as_str().to_owned()),
            network_namespaces: caller.grant().namespaces.clone().unwrap_or_default(),
            all_network_namespaces: caller.grant().namespaces.is_none(),
        }),
    })
}
