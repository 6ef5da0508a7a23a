//! `ctctl netns`: the network namespaces that `--netns` can name on each host.

use std::time::Duration;

use tokio::time::Instant;

use super::CommandError;
use crate::ctctl::connect::{NodeError, Session};
use crate::ctctl::context::Context;
use crate::ctctl::output::{Format, Value};
use crate::pb;

/// More namespaces than any host has: an agent that pages for ever is stopped here.
const MOST: usize = 1 << 17;
/// A name is that of a file in /run/netns, and no file has a longer one (NAME_MAX).
const LONGEST_NAME: usize = 255;
/// Longer than any host takes for its namespaces: one that sends them one by one is stopped here.
const PATIENCE: Duration = Duration::from_secs(300);

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
    let began = Instant::now();
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
        check_names(&page.namespaces)?;
        let empty = page.namespaces.is_empty();
        found.extend(page.namespaces);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
        if empty || found.len() > MOST || began.elapsed() > PATIENCE {
            return Err(NodeError::Answer(
                "its list of namespaces has no end".to_owned(),
            ));
        }
    }
}

/// What is kept until the end has a bound in bytes, too.
fn check_names(page: &[pb::NetworkNamespace]) -> Result<(), NodeError> {
    match page.iter().map(|namespace| namespace.name.len()).max() {
        Some(longest) if longest > LONGEST_NAME => Err(NodeError::Answer(format!(
            "it names a namespace with {longest} bytes, and no file's name is longer than \
             {LONGEST_NAME}"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_longer_than_a_files() {
        let page = |lengths: &[usize]| -> Vec<pb::NetworkNamespace> {
            let named = |length: &usize| pb::NetworkNamespace {
                name: "n".repeat(*length),
                ..Default::default()
            };
            lengths.iter().map(named).collect()
        };
        assert!(check_names(&page(&[])).is_ok());
        assert!(check_names(&page(&[0, LONGEST_NAME])).is_ok());
        let error = check_names(&page(&[1, LONGEST_NAME + 1])).unwrap_err();
        assert!(error.to_string().contains("256 bytes"), "{error}");
    }
}
