//! ListNamespaces.

use tonic::Status;

use crate::api::caller::Caller;
use crate::api::pull::blocking;
use crate::api::{request, status};
use crate::ctnetlink::{Conn, Namespace};
use crate::pb;

const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;

/// Answers the call.
pub(super) async fn list(
    caller: &Caller,
    message: pb::ListNamespacesRequest,
) -> Result<pb::ListNamespacesResponse, Status> {
    let page = match usize::try_from(message.page_size) {
        Ok(0) => DEFAULT_PAGE,
        Ok(size) => size.min(LARGEST_PAGE),
        Err(_) => return Err(request::refused("page_size", "is negative")),
    };
    // A token is the last name of the page before, behind a mark: "" is a name, too.
    let after = match message.page_token.as_str() {
        "" => None,
        token => match token.strip_prefix('+') {
            Some(name) => Some(name.to_owned()),
            None => return Err(request::refused("page_token", "is not one of this agent's")),
        },
    };
    let grant = caller.clone();
    let (entries, more) = blocking(move || {
        let failed = |error: std::io::Error| {
            status::system(&error, &format!("cannot list network namespaces: {error}"))
        };
        let own = Namespace::own();
        let inode = own.inode().map_err(failed)?;
        let named = Namespace::list().map_err(failed)?;
        let mut entries = std::iter::once((own, inode))
            .chain(
                named
                    .into_iter()
                    .map(|entry| (entry.namespace, entry.inode)),
            )
            .filter(|(namespace, _)| grant.grant().reaches(namespace.name()))
            .filter(|(namespace, _)| {
                after
                    .as_deref()
                    .is_none_or(|after| namespace.name() > after)
            });
        let entries_of_page: Vec<_> = entries.by_ref().take(page).collect();
        Ok((entries_of_page, entries.next().is_some()))
    })
    .await?;
    let mut namespaces = Vec::with_capacity(entries.len());
    for (namespace, inode) in entries {
        // With a scope, how many there are in all is not told.
        let counted = caller.scope().is_none();
        let size = async { Conn::open(&namespace).await?.table_size().await };
        namespaces.push(pb::NetworkNamespace {
            name: namespace.name().to_owned(),
            inode,
            entries: match counted {
                true => size.await.ok().map(|size| size.entries.into()),
                false => None,
            },
        });
    }
    let next_page_token = match namespaces.last() {
        Some(last) if more => format!("+{}", last.name),
        _ => String::new(),
    };
    Ok(pb::ListNamespacesResponse {
        namespaces,
        next_page_token,
    })
}
