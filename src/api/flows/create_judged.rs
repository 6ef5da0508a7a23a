//! CreateFlows where not every item may be written: the caller has a scope, or there are
//! connections of the agent to leave alone. Every item is held against the scope, and so is
//! the entry that is there already. What lies beyond cannot be told from what is refused.

use std::collections::HashSet;
use std::net::SocketAddr;

use crate::access::Scope;
use crate::api::change::{Unasked, Writer, write_items};
use crate::api::own::{OwnConnections, may_carry};
use crate::api::status;
use crate::ctnetlink::{CreateMode, Error, KernelError, Lookup, Namespace};
use crate::flow::{Direction, Flow, FlowKey, Status, ZoneDirection};
use crate::pb;
use crate::wire::FieldError;
use crate::wire::bulk::{Entries, read_writable_flow};

/// What decides about items.
pub(super) struct Judge<'a> {
    mode: CreateMode,
    scope: Option<&'a Scope>,
    spared: Option<Spared<'a>>,
}

/// The connections to leave alone.
struct Spared<'a> {
    own: &'a OwnConnections,
    ends: HashSet<SocketAddr>,
}

impl<'a> Judge<'a> {
    /// One for this scope and these connections; none where there is nothing to decide.
    pub(super) fn of(
        scope: Option<&'a Scope>,
        own: Option<&'a OwnConnections>,
        mode: CreateMode,
    ) -> Option<Self> {
        let spared = own.map(|own| Spared {
            own,
            ends: own.ends(),
        });
        let spared = spared.filter(|spared| !spared.ends.is_empty());
        (scope.is_some() || spared.is_some()).then_some(Self {
            mode,
            scope,
            spared,
        })
    }

    /// Writes flows and lists all that failed; the first is item `first` of the call. And how
    /// many of them were spared.
    pub(super) fn write(
        &self,
        writer: &mut Writer,
        namespace: &Namespace,
        flows: &Entries,
        first: u64,
    ) -> Result<(Vec<pb::ItemFailure>, u64), Error> {
        let creates = self.mode != CreateMode::Update;
        let mut lookup = Lookup::open(namespace)?;
        let items: Vec<&[u8]> = flows.iter().collect();
        let (mut failures, mut spared) = (Vec::new(), 0);
        let mut first = first;
        for part in items.chunks(Lookup::BATCH) {
            let read = part.iter().map(|item| read_writable_flow(item, creates));
            let judged = self.judge(&mut lookup, read.collect())?;
            let is_spared = |item: &&Item| matches!(item.verdict, Err(Unasked::Spared));
            spared += judged.iter().filter(is_spared).count() as u64;
            // Whose tuple the caller may know of.
            let known: Vec<bool> = judged.iter().map(|item| item.known).collect();
            let refused = write_items(writer, judged.into_iter(), first, |item, batch| {
                Ok(batch.create(&item.verdict?, self.mode)?)
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
        Ok((failures, spared))
    }

    /// Looks at what is there and decides about every item.
    fn judge(
        &self,
        lookup: &mut Lookup,
        flows: Vec<Result<Flow, FieldError>>,
    ) -> Result<Vec<Item>, Error> {
        let looked_at = flows.iter().flatten().filter(|flow| self.looks_at(flow));
        let keys: Vec<FlowKey> = looked_at.map(key).collect();
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
            let there = match self.looks_at(&flow) {
                true => found.next().and_then(Result::ok),
                false => None,
            };
            self.decide(flow, there.as_ref())
        });
        Ok(items.collect())
    }

    /// Whether it matters what entry is there already.
    fn looks_at(&self, flow: &Flow) -> bool {
        self.scope.is_some() || self.may_be_spared(flow)
    }

    fn may_be_spared(&self, flow: &Flow) -> bool {
        let spared = self.spared.as_ref();
        spared.is_some_and(|spared| may_carry(&spared.ends, &flow.orig))
    }

    fn decide(&self, flow: Flow, there: Option<&Flow>) -> Item {
        let mut item = match self.scope {
            None => Item {
                verdict: Ok(flow),
                known: true,
            },
            Some(scope) => Item {
                known: there.is_some_and(|there| scope.admits(there)),
                verdict: may_write(scope, self.mode, &flow, there).map(|()| unbound(flow)),
            },
        };
        if let (Some(spared), Ok(flow)) = (&self.spared, &item.verdict)
            && self.may_be_spared(flow)
        {
            // What is there is what is changed, whatever reply the item has. One that is not
            // there would carry the connection from now on.
            let new = Flow::new(flow.orig, flow.orig.inverse());
            if spared.own.carries(there.unwrap_or(&new)) {
                item.verdict = Err(Unasked::Spared);
            }
        }
        item
    }
}

/// An item, and what is made of it.
struct Item {
    /// The flow to write, or why not.
    verdict: Result<Flow, Unasked>,
    /// The caller may know of the entry that is there.
    known: bool,
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
