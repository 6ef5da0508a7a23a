//! Who makes a call and what that lets them do: handlers find it in a request's extensions,
//! where the [guard](super::guard) put it.

use std::borrow::Cow;
use std::sync::Arc;

use tonic::{Code, Request, Status};

use super::asked::Asks;
use super::denials::Denials;
use super::request::Bounds;
use super::withdrawal::InForce;
use super::{record, request, status};
use crate::access::{Grant, Identity, Peer, Role, Scope};
use crate::audit;
use crate::ctnetlink::{DumpCounts, Namespace};
use crate::flow::{Filter, Flow};

/// The caller of one call.
#[derive(Clone)]
pub(super) struct Caller {
    peer: Peer,
    grant: Arc<Grant>,
    /// Where the grant comes from.
    policy: InForce,
    /// The method's path in HTTP/2.
    method: Arc<str>,
    bounds: Bounds,
    /// With the audit log.
    denials: Denials,
    /// What the request asks for, once that was read and may still be denied.
    asked: Option<Arc<audit::Intent>>,
}

impl Caller {
    /// Somebody who was let in.
    pub(super) fn new(
        peer: Peer,
        (grant, policy): (Arc<Grant>, InForce),
        method: &str,
        bounds: Bounds,
        denials: Denials,
    ) -> Self {
        Self {
            peer,
            grant,
            policy,
            method: method.into(),
            bounds,
            denials,
            asked: None,
        }
    }

    /// Whoever made the request.
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>().cloned();
        // The guard lets nobody pass without.
        caller.ok_or_else(|| Status::internal("a call that came past the guard"))
    }

    /// What they may do.
    pub(super) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The policy that granted it, as it is now.
    pub(super) fn in_force(&self) -> &InForce {
        &self.policy
    }

    /// What their request may hold.
    pub(super) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Who and where they are.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Who they are.
    pub(super) fn identity(&self) -> &Identity {
        &self.peer.identity
    }

    /// What they may see and touch; everything when there is none.
    pub(super) fn scope(&self) -> Option<&Scope> {
        self.grant.scope.as_ref()
    }

    /// The caller of this very request, and its namespace, if their grant reaches there. One
    /// that it does not reach is refused unseen: whether it exists is not told.
    pub(super) fn enter(&self, request: &impl Asks) -> Result<(Self, Namespace), Status> {
        let name = request.network_namespace();
        let reaches = self.grant.reaches(name);
        let mut caller = self.clone();
        if !reaches || self.scope().is_some() || self.grant.role < Role::Operator {
            let mut asked = self.asked();
            asked.call.network_namespace = Some(name.to_owned());
            request.tell(&mut asked);
            caller.asked = Some(Arc::new(asked.bounded()));
        }
        if !reaches {
            let text = match name {
                "" => "the agent's own network namespace is not open to you".to_owned(),
                name => format!(
                    "network namespace {} is not open to you",
                    status::quoted(name)
                ),
            };
            let metadata = [("network_namespace", status::quoted(name))];
            return Err(caller.deny("NAMESPACE_DENIED", text, &metadata));
        }
        Ok((caller, request::namespace(name)?))
    }

    /// Refuses who has less than this role for what the request asks beyond its method.
    pub(super) fn require(&self, role: Role, what: &str) -> Result<(), Status> {
        if self.grant.role >= role {
            return Ok(());
        }
        Err(self.less_than(role, what))
    }

    /// The refusal of somebody whose role is less.
    pub(super) fn less_than(&self, role: Role, what: &str) -> Status {
        let own = self.grant.role;
        let text = format!(
            "{what} takes the role {role}, and {} has {own}",
            self.peer.identity
        );
        let metadata = [("role", own.to_string()), ("required", role.to_string())];
        self.deny("ROLE_REQUIRED", text, &metadata)
    }

    /// Refuses who has a scope: what is asked for tells of, or touches, what lies beyond any.
    pub(super) fn unscoped(&self, what: &str) -> Result<(), Status> {
        match self.scope() {
            None => Ok(()),
            Some(scope) => {
                let text = format!("{what} is not for callers with a scope, which you are");
                let metadata = [("scope", scope.as_str().to_owned())];
                Err(self.deny("SCOPE_DENIED", text, &metadata))
            }
        }
    }

    /// Denies the call, and has it logged, unless [too many](Denials) were.
    fn deny(
        &self,
        reason: &'static str,
        text: String,
        metadata: &[(&'static str, String)],
    ) -> Status {
        let refusal = status::own(Code::PermissionDenied, reason, text, metadata);
        self.denials.deny(self.identity(), self.asked(), refusal)
    }

    /// Has it logged that the rest of the call was denied.
    pub(super) fn was_denied(&self, refusal: &Status) {
        self.denials.write(self.asked(), refusal);
    }

    /// What is known of the call by now.
    fn asked(&self) -> audit::Intent {
        match &self.asked {
            Some(asked) => audit::Intent::clone(asked),
            None => call(&self.peer, Some(self.grant.role), &self.method).into(),
        }
    }

    /// What the audit log is to be told of a change in this namespace, still without the
    /// change.
    pub(super) fn intent(&self, namespace: &Namespace) -> audit::Intent {
        let mut call = call(&self.peer, Some(self.grant.role), &self.method);
        call.network_namespace = Some(namespace.name().to_owned());
        audit::Intent {
            dry_run: Some(false),
            ..call.into()
        }
    }

    /// Whether the audit log could not be written of late.
    pub(super) fn log_is_broken(&self) -> bool {
        self.denials.log().is_broken()
    }

    /// Has the intent logged; without that nothing may be changed. Blocks.
    pub(super) fn begin(&self, intent: audit::Intent) -> Result<audit::Entry, Status> {
        let begun = self.denials.log().begin(intent);
        begun.map_err(|error| record::unwritten(&error))
    }

    /// The filter for flows, with the scope added. A scope hides the masters of its flows, which may lie beyond
    /// it, so that nothing can be asked of them.
    pub(super) fn flows(&self, filter: Option<Filter>) -> Result<Option<Filter>, Status> {
        let Some(scope) = self.scope() else {
            return Ok(filter);
        };
        if filter.as_ref().is_some_and(Filter::asks_for_master) {
            self.unscoped("a filter on the master of a flow")?;
        }
        Ok(Some(scope.and(filter)))
    }

    /// Whether the caller may see and touch this flow.
    pub(super) fn admits(&self, flow: &Flow) -> bool {
        self.scope().is_none_or(|scope| scope.admits(flow))
    }

    /// What the caller gets to see of a flow.
    pub(super) fn shown<'a>(&self, flow: &'a Flow) -> Cow<'a, Flow> {
        shown(self.scope().is_some(), flow)
    }

    /// What the caller gets to know of a dump's counts.
    pub(super) fn counts(&self, counts: DumpCounts) -> DumpCounts {
        match self.scope() {
            None => counts,
            // What was scanned beside it is the rest of the table.
            Some(_) => DumpCounts {
                scanned: counts.matched,
                duplicates: 0,
                ..counts
            },
        }
    }
}

/// A call, as the audit log writes it before its request was read.
pub(super) fn call(peer: &Peer, role: Option<Role>, method: &str) -> audit::Call {
    audit::Call {
        caller: peer.identity.to_string(),
        role: role.map(|role| role.to_string()),
        peer: peer.place.to_string(),
        rpc: method.trim_start_matches('/').to_owned(),
        network_namespace: None,
    }
}

/// A flow, without its master if the caller has a scope: the master may lie beyond it.
pub(super) fn shown(scoped: bool, flow: &Flow) -> Cow<'_, Flow> {
    if scoped && flow.master.is_some() {
        let mut flow = flow.clone();
        flow.master = None;
        return Cow::Owned(flow);
    }
    Cow::Borrowed(flow)
}
