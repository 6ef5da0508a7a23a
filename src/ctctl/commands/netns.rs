//! `ctctl netns`: the network namespaces that `--netns` can name on each host.

use super::CommandError;
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::context::Context;
use crate::ctctl::output::{Format, Value};
use crate::pb;

/// More namespaces than any host has: an agent that pages for ever is stopped here.
const MOST: usize = 1 << 20;

pub(super) async fn run(context: &mut Context) -> Result<u8, CommandError> {
    let found = context
        .ask(|session: Session| async move { all_pages(&session).await })
        .await;
    let for_people = matches!(context.format, Format::Table | Format::Wide);
    let mut table = context.table(["name", "inode", "entries"]);
    for (node, namespaces) in found.answers {
        for namespace in namespaces {
            let name: Value = if namespace.name.is_empty() && for_people {
                "(own)".into()
            } else {
                namespace.name.into()
            };
            table.push(
                node.name(),
                [name, namespace.inode.into(), namespace.entries.into()],
            );
        }
    }
    Ok(context.show(&table, found.outcome))
}

async fn all_pages(session: &Session) -> Result<Vec<pb::NetworkNamespace>, NodeError> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListNamespacesRequest {
            page_size: 0,
            page_token,
        };
        let page = session
            .read(session.agent().list_namespaces(request))
            .await?;
        let empty = page.namespaces.is_empty();
        found.extend(page.namespaces);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
        if empty || found.len() > MOST {
            return Err(NodeError::Answer(
                "its list of namespaces has no end".to_owned(),
            ));
        }
    }
}
