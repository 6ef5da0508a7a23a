//! CreateFlows by a caller with a scope: every item is held against the scope, and so is the
//! entry that is there already. What lies beyond cannot be told from what is refused.

use crate::access::Scope;
use crate::api::change::{Unasked, Writer, write_items};
use crate::api::status;
use crate::ctnetlink::{CreateMode, Error, KernelError, Lookup, Namespace};
use crate::flow::{Direction, Flow, FlowKey, Status, ZoneDirection};
use crate::pb;
use crate::wire::FieldError;
use crate::wire::bulk::{Entries, read_writable_flow};

/// Writes flows and lists all that failed; the first is item `first` of the call.
pub(super) fn write(
    writer: &mut Writer,
    (scope, namespace): (&Scope, &Namespace),
    flows: &Entries,
    mode: CreateMode,
    first: u64,
) -> Result<Vec<pb::ItemFailure>, Error> {
    let creates = mode != CreateMode::Update;
    let mut lookup = Lookup::open(namespace)?;
    let items: Vec<&[u8]> = flows.iter().collect();
    let mut failures = Vec::new();
    let mut first = first;
    for part in items.chunks(Lookup::BATCH) {
        let read = part.iter().map(|item| read_writable_flow(item, creates));
        let judged = judge(scope, &mut lookup, mode, read.collect())?;
        // Whose tuple the caller may know of.
        let known: Vec<bool> = judged.iter().map(|item| item.known).collect();
        let refused = write_items(writer, judged.into_iter(), first, |item, batch| {
            Ok(batch.create(&item.verdict?, mode)?)
        })?;
        failures.extend(refused.into_iter().map(|failure| {
            let place = usize::try_from(failure.index - first).unwrap_or(usize::MAX);
            let hidden = !known.get(place).copied().unwrap_or(false);
            match failure.errno {
                // An entry beyond the scope has the tuple, or had it a moment ago.
                libc::EEXIST | libc::ENOENT if hidden && creates => {
                    status::item_out_of_scope(failure.index)
                }
                _ => failure,
            }
        }));
        first += part.len() as u64;
    }
    Ok(failures)
}

/// An item, and what is made of it.
struct Item {
    /// The flow to write, or why not.
    verdict: Result<Flow, Unasked>,
    /// The entry that is there is one of the scope.
    known: bool,
}

/// Looks at what is there and decides about every item.
fn judge(
    scope: &Scope,
    lookup: &mut Lookup,
    mode: CreateMode,
    flows: Vec<Result<Flow, FieldError>>,
) -> Result<Vec<Item>, Error> {
    let keys: Vec<FlowKey> = flows.iter().flatten().map(key).collect();
    let mut found = match keys.is_empty() {
        true => Vec::new(),
        false => lookup.flows(&keys)?,
    }
    .into_iter();
    let items = flows.into_iter().map(|flow| {
        let flow = match flow {
            Ok(flow) => flow,
            Err(error) => {
                return Item {
                    verdict: Err(error.into()),
                    known: false,
                };
            }
        };
        let there = found.next().and_then(Result::ok);
        let known = there.as_ref().is_some_and(|there| scope.admits(there));
        let verdict = match may_write(scope, mode, &flow, there.as_ref()) {
            Ok(()) => Ok(unbound(flow)),
            Err(unasked) => Err(unasked),
        };
        Item { verdict, known }
    });
    Ok(items.collect())
}

fn key(flow: &Flow) -> FlowKey {
    FlowKey {
        tuple: flow.orig,
        direction: Direction::Orig,
        zone: flow.zone,
        id: None,
    }
}

fn may_write(
    scope: &Scope,
    mode: CreateMode,
    flow: &Flow,
    there: Option<&Flow>,
) -> Result<(), Unasked> {
    let update = mode == CreateMode::Update;
    if let Some(there) = there {
        if !scope.admits(there) {
            let missing = Error::Kernel(KernelError::from_errno(libc::ENOENT));
            return Err(match update {
                true => missing.into(),
                false => Unasked::OutOfScope,
            });
        }
        // The rest of what a scope looks at never changes.
        let mark = flow.mark.or(there.mark).unwrap_or(0);
        if !scope.admits_with_mark(there, mark) {
            return Err(Unasked::OutOfScope);
        }
    }
    match update || (scope.admits(flow) && is_plain(flow)) {
        true => Ok(()),
        false => Err(Unasked::OutOfScope),
    }
}

/// Whether nothing of a new flow reaches beyond its tuple. A translation would take packets of
/// others for this flow's, and so tell by a collision of any of them; a master may lie
/// beyond; a helper makes expectations of what the caller sends; and with a zone that counts
/// in one direction the flow lies in zone 0 with the other, and opens the way there.
fn is_plain(flow: &Flow) -> bool {
    flow.reply == flow.orig.inverse()
        && flow.master.is_none()
        && flow.helper.is_none()
        && (flow.zone.id == 0 || flow.zone.direction == ZoneDirection::Both)
}

/// The flow without a word of translations. One to nothing is one as soon as the reply is
/// taken: the kernel finds another port for it, and its caller would see that it had to.
fn unbound(mut flow: Flow) -> Flow {
    const TRANSLATED: u32 =
        Status::SRC_NAT.0 | Status::DST_NAT.0 | Status::SRC_NAT_DONE.0 | Status::DST_NAT_DONE.0;
    flow.status = flow.status.map(|status| Status(status.0 & !TRANSLATED));
    flow
}
