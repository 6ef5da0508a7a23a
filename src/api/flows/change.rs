//! UpdateFlows and DeleteFlows: by keys, by ids, or by filter.
//!
//! A change by filter reads the table and changes what matches as it goes, datagram by
//! datagram, so that nothing grows with the table. The kernel is never asked to select what
//! is destroyed: every deletion names one entry by tuple and id, also that of a key without
//! an id. By such a key the kernel would delete more than it names (see [`FlowKey::names`]).

use std::collections::{HashMap, HashSet};

use tonic::Status;

use crate::api::caller::Caller;
use crate::api::change::{Missing, Options, SAMPLES, Tally, Writer};
use crate::api::own::OwnConnections;
use crate::api::pull::blocking;
use crate::api::stop::Stop;
use crate::api::{Context, record, request, status};
use crate::audit::{self, Intent};
use crate::ctnetlink::{Error, FlowDump, FlowDumpRequest, Found, KernelError, Lookup, Namespace};
use crate::flow::filter::Kind;
use crate::flow::{Filter, Flow, FlowChanges, FlowKey};
use crate::pb;
use crate::wire::{At as _, FieldError};

/// Answers UpdateFlows.
pub(super) async fn update(
    context: &Context,
    caller: &Caller,
    message: pb::UpdateFlowsRequest,
) -> Result<pb::UpdateFlowsResponse, Status> {
    use pb::update_flows_request::Target as Message;
    let (ref caller, namespace) = caller.enter(&message)?;
    let target = match request::required(message.target, "target")? {
        Message::Keys(keys) => Target::Keys(caller.bounds().keys(keys.keys)?),
        Message::Filter(filter) => Target::filter(caller, filter)?,
        Message::Ids(ids) => Target::Ids(caller.bounds().ids(ids.ids)?),
    };
    let changes = FlowChanges::try_from(request::required(message.changes, "changes")?)
        .at("changes")
        .map_err(|error| status::field(&error))?;
    let what = What::Update(changes);
    let options = message.options.into();
    target.check(options)?;
    let (summary, samples) = run(context, caller, namespace, target, what, options).await?;
    Ok(pb::UpdateFlowsResponse {
        summary: Some(summary),
        samples,
    })
}

/// Answers DeleteFlows.
pub(super) async fn delete(
    context: &Context,
    caller: &Caller,
    message: pb::DeleteFlowsRequest,
) -> Result<pb::DeleteFlowsResponse, Status> {
    use pb::delete_flows_request::Target as Message;
    let (ref caller, namespace) = caller.enter(&message)?;
    let target = match request::required(message.target, "target")? {
        Message::Keys(keys) => Target::Keys(caller.bounds().keys(keys.keys)?),
        Message::Filter(filter) => Target::filter(caller, filter)?,
        Message::Ids(ids) => Target::Ids(caller.bounds().ids(ids.ids)?),
    };
    let options = message.options.into();
    target.check(options)?;
    let (summary, samples) = run(context, caller, namespace, target, What::Delete, options).await?;
    Ok(pb::DeleteFlowsResponse {
        summary: Some(summary),
        samples,
    })
}

/// Which entries.
pub(super) enum Target {
    /// Those of the keys.
    Keys(Vec<FlowKey>),
    /// All that match.
    Filter(Filter),
    /// Those with the ids; each has its place in the request.
    Ids(HashMap<u32, u64>),
}

impl Target {
    fn filter(caller: &Caller, message: pb::Filter) -> Result<Self, Status> {
        let filter = caller.flows(Some(caller.bounds().filter(message, Kind::Flow)?))?;
        Ok(Self::Filter(filter.unwrap_or_else(Filter::everything)))
    }

    /// An answer has no room for all that a filter can change.
    fn check(&self, options: Options) -> Result<(), Status> {
        if options.return_changed && !matches!(self, Self::Keys(_)) {
            let error = FieldError::new("options.return_changed", "goes with flows by keys alone");
            return Err(status::field(&error));
        }
        Ok(())
    }
}

/// What happens to them.
pub(super) enum What {
    /// They are deleted.
    Delete,
    /// They are changed.
    Update(FlowChanges),
}

impl What {
    /// What it means that an entry that was named is not there.
    fn missing(&self) -> Missing {
        match self {
            Self::Delete => Missing::Gone,
            Self::Update(_) => Missing::Failure,
        }
    }
}

/// Makes a change and gives its account.
pub(super) async fn run(
    context: &Context,
    caller: &Caller,
    namespace: Namespace,
    target: Target,
    what: What,
    options: Options,
) -> Result<(pb::ChangeSummary, Vec<pb::Flow>), Status> {
    let permit = context.changes.enter(caller.identity())?;
    let (stop, _waiting) = Stop::new(context.drain.clone());
    let own = context.own.clone();
    let caller = caller.clone();
    blocking(move || {
        let _permit = permit;
        let intent = intent(&caller, &namespace, &target, &what, options);
        let entry = caller.begin(intent)?;
        carry_out(
            &caller,
            &namespace,
            (target, what, options),
            (own, stop),
            entry,
        )
    })
    .await
}

/// Makes a change whose intent is logged, and has its end logged. Blocks.
pub(super) fn carry_out(
    caller: &Caller,
    namespace: &Namespace,
    (target, what, options): (Target, What, Options),
    (own, stop): (OwnConnections, Stop),
    entry: audit::Entry,
) -> Result<(pb::ChangeSummary, Vec<pb::Flow>), Status> {
    let spare = !options.include_own && request::is_own(namespace);
    let mut job = Job {
        caller,
        namespace,
        what,
        options,
        spared: spare.then_some(own),
        stop,
        tally: Tally::default(),
        samples: Vec::new(),
        asked: Vec::new(),
    };
    let result = job.run(target);
    record::end(entry, &result, Some(record::counts(&job.tally)));
    result.map(|()| (job.tally.into(), job.samples))
}

/// What the audit log is told.
fn intent(
    caller: &Caller,
    namespace: &Namespace,
    target: &Target,
    what: &What,
    options: Options,
) -> Intent {
    let mut intent = Intent {
        dry_run: Some(options.dry_run),
        max_affected: options.max_affected,
        include_own_connections: options.include_own,
        ..caller.intent(namespace)
    };
    let named = match target {
        Target::Keys(keys) => {
            intent.target = audit::Target::Keys;
            intent.items = Some(keys.len() as u64);
            Some(record::flows(keys))
        }
        Target::Ids(ids) => {
            intent.target = audit::Target::Ids;
            intent.items = Some(ids.len() as u64);
            Some(record::ids(ids.keys().copied()))
        }
        Target::Filter(filter) => {
            intent.target = audit::Target::Filter;
            intent.filter = Some(record::filter(filter));
            None
        }
    };
    let set = match what {
        What::Delete => None,
        What::Update(changes) => Some(record::changes(changes)),
    };
    let words: Vec<_> = set.into_iter().chain(named).collect();
    intent.detail = (!words.is_empty()).then(|| words.join("; "));
    intent
}

/// A change on its way.
struct Job<'a> {
    caller: &'a Caller,
    namespace: &'a Namespace,
    what: What,
    options: Options,
    /// The connections to leave alone.
    spared: Option<OwnConnections>,
    stop: Stop,
    tally: Tally,
    samples: Vec<pb::Flow>,
    /// With `return_changed`: the entries that the kernel was asked to change since the
    /// answer was last added to, by their index.
    asked: Vec<(u64, Flow)>,
}

impl Job<'_> {
    fn run(&mut self, target: Target) -> Result<(), Status> {
        match target {
            Target::Keys(keys) => self.by_keys(&keys)?,
            Target::Filter(filter) => self.by_reading(Some(filter), None)?,
            Target::Ids(ids) => self.by_reading(self.caller.flows(None)?, Some(&ids))?,
        }
        Ok(())
    }

    fn by_keys(&mut self, keys: &[FlowKey]) -> Result<(), Status> {
        let max = self.options.max_affected.filter(|_| !self.options.dry_run);
        if let Some(max) = max
            && keys.len() as u64 > max
        {
            let affected = self.count_keys(keys)?;
            if affected > max {
                return Err(request::too_many_affected(affected, max));
            }
        }
        let open = || Ok((Lookup::open(self.namespace)?, Writer::open(self.namespace)?));
        let (mut lookup, mut writer) = open().map_err(|error: Error| status::netlink(&error))?;
        let missing = self.what.missing();
        let mut seen = HashSet::new();
        let mut index = 0;
        for part in keys.chunks(Lookup::BATCH) {
            for found in self
                .find(&mut lookup, part)
                .map_err(|error| self.tally.broken(&error))?
            {
                match found {
                    // An entry that several keys name is changed, and counts, once.
                    Ok(flow) if !seen.insert(flow.key()) => {}
                    Ok(flow) => {
                        self.tally.matched += 1;
                        self.one_found(&mut writer, index, &flow, max)?;
                    }
                    Err(error) => {
                        self.tally.matched += 1;
                        self.tally.refuse(index, &error, missing);
                    }
                }
                index += 1;
            }
            self.commit(&mut writer)?;
            self.return_changed(&mut lookup)?;
            self.check_stop()?;
        }
        Ok(())
    }

    /// Adds what was changed to the answer.
    fn return_changed(&mut self, lookup: &mut Lookup) -> Result<(), Status> {
        let changed = std::mem::take(&mut self.asked);
        match self.what {
            What::Delete => {
                let gone: Vec<_> = changed.iter().map(|(_, flow)| self.shown(flow)).collect();
                self.samples.extend(gone);
            }
            What::Update(_) => {
                let keys: Vec<FlowKey> = changed.iter().map(|(_, flow)| flow.key()).collect();
                for part in keys.chunks(Lookup::BATCH) {
                    let found = self
                        .find(lookup, part)
                        .map_err(|error| self.tally.broken(&error))?;
                    // One that is gone by now was changed all the same, and is counted.
                    let there = found.iter().flatten();
                    let there: Vec<_> = there.map(|flow| self.shown(flow)).collect();
                    self.samples.extend(there);
                }
            }
        }
        Ok(())
    }

    /// How many entries that the keys name would be changed.
    fn count_keys(&self, keys: &[FlowKey]) -> Result<u64, Status> {
        let mut lookup = Lookup::open(self.namespace).map_err(|error| status::netlink(&error))?;
        let mut affected = HashSet::new();
        for part in keys.chunks(Lookup::BATCH) {
            let found = self
                .find(&mut lookup, part)
                .map_err(|error| status::netlink(&error))?;
            let there = found.iter().flatten();
            let changed = there.filter(|flow| !self.is_spared(flow));
            affected.extend(changed.map(Flow::key));
            self.check_stop()?;
        }
        Ok(affected.len() as u64)
    }

    /// Reads the table and changes what matches.
    fn by_reading(
        &mut self,
        filter: Option<Filter>,
        ids: Option<&HashMap<u32, u64>>,
    ) -> Result<(), Status> {
        let request = FlowDumpRequest {
            filter,
            ..Default::default()
        };
        let max = self.options.max_affected.filter(|_| !self.options.dry_run);
        if let Some(max) = max {
            let affected = self.count(request.clone(), ids)?;
            if affected > max {
                return Err(request::too_many_affected(affected, max));
            }
        }
        let open = || {
            let dump = FlowDump::open(self.namespace, request)?;
            Ok((dump, Writer::open(self.namespace)?))
        };
        let (mut dump, mut writer) = open().map_err(|error: Error| status::netlink(&error))?;
        let mut seen = HashSet::new();
        let mut more = true;
        while more {
            let mut outcome = Ok(());
            let read = dump.read(&mut |flow| {
                if outcome.is_ok() {
                    outcome = self.one_read(&mut writer, flow, ids, &mut seen, max);
                }
            });
            more = read.map_err(|error| self.tally.broken(&error))?;
            outcome?;
            self.commit(&mut writer)?;
            self.check_stop()?;
        }
        if let Some(ids) = ids {
            self.missing(ids, &seen);
        }
        Ok(())
    }

    /// One flow that was read: adds the request when it is one of the target's.
    fn one_read(
        &mut self,
        writer: &mut Writer,
        flow: &Flow,
        ids: Option<&HashMap<u32, u64>>,
        seen: &mut HashSet<u32>,
        max: Option<u64>,
    ) -> Result<(), Status> {
        let index = match ids {
            None => self.tally.matched,
            Some(ids) => match flow.id.and_then(|id| Some((id, *ids.get(&id)?))) {
                None => return Ok(()),
                Some((id, index)) => {
                    seen.insert(id);
                    index
                }
            },
        };
        self.tally.matched += 1;
        self.one_found(writer, index, flow, max)
    }

    /// One of the target's flows: adds the request, unless it is to be spared.
    fn one_found(
        &mut self,
        writer: &mut Writer,
        index: u64,
        flow: &Flow,
        max: Option<u64>,
    ) -> Result<(), Status> {
        if self.is_spared(flow) {
            self.tally.spared += 1;
            return Ok(());
        }
        if let Some(failure) = self.refusal(index, flow) {
            self.tally.fail(failure);
            return Ok(());
        }
        if self.options.dry_run {
            self.sample(flow);
            return Ok(());
        }
        if let Some(max) = max
            && self.tally.changed + writer.waiting() >= max
        {
            self.commit(writer)?;
            if self.tally.changed >= max {
                return Err(self.tally.outgrown(max));
            }
        }
        if let Err(error) = self.add(writer, index, flow) {
            self.tally.error(index, &error, Missing::Gone)?;
        } else if self.options.return_changed {
            self.asked.push((index, flow.clone()));
        }
        if writer.is_full() {
            self.commit(writer)?;
        }
        Ok(())
    }

    /// How many would be changed.
    fn count(
        &self,
        request: FlowDumpRequest,
        ids: Option<&HashMap<u32, u64>>,
    ) -> Result<u64, Status> {
        let mut affected = 0;
        let read = || {
            let mut dump = FlowDump::open(self.namespace, request)?;
            while self.stop.asked().is_none()
                && dump.read(&mut |flow| {
                    let named =
                        ids.is_none_or(|ids| flow.id.is_some_and(|id| ids.contains_key(&id)));
                    if named && !self.is_spared(flow) {
                        affected += 1;
                    }
                })?
            {}
            Ok(())
        };
        read().map_err(|error: Error| status::netlink(&error))?;
        self.check_stop()?;
        Ok(affected)
    }

    /// Ids that no entry has.
    fn missing(&mut self, ids: &HashMap<u32, u64>, seen: &HashSet<u32>) {
        let mut missing: Vec<_> = ids
            .iter()
            .filter(|(id, _)| !seen.contains(id))
            .map(|(_, index)| *index)
            .collect();
        missing.sort_unstable();
        let not_found = KernelError::from_errno(libc::ENOENT);
        for index in missing {
            self.tally.matched += 1;
            self.tally.refuse(index, &not_found, self.what.missing());
        }
    }

    /// Why the agent itself does not make of a flow what the changes make of it, also when
    /// they are only rehearsed.
    fn refusal(&self, index: u64, flow: &Flow) -> Option<pb::ItemFailure> {
        let What::Update(changes) = &self.what else {
            return None;
        };
        match fits(changes, flow) {
            Err(error) => Some(status::item_field(index, &error)),
            Ok(()) if !self.stays(changes, flow) => Some(status::item_out_of_scope(index)),
            Ok(()) => None,
        }
    }

    /// Adds the request for a flow that was read just now.
    fn add(&self, writer: &mut Writer, index: u64, flow: &Flow) -> Result<(), Error> {
        match &self.what {
            What::Delete => writer.add(index, |batch| batch.delete(&flow.key())),
            What::Update(changes) => writer.add(index, |batch| batch.update(flow, changes)),
        }
    }

    /// Whether the caller may make of a flow what the changes make of it: it must not be
    /// carried out of their sight. Of what a scope looks at, only the mark changes.
    fn stays(&self, changes: &FlowChanges, flow: &Flow) -> bool {
        let (Some(scope), Some(mark)) = (self.caller.scope(), changes.mark) else {
            return true;
        };
        let old = flow.mark.unwrap_or(0);
        scope.admits_with_mark(flow, (old & !mark.mask) | (mark.value & mark.mask))
    }

    fn commit(&mut self, writer: &mut Writer) -> Result<(), Status> {
        match writer.commit() {
            Ok(outcome) => {
                // What was read a moment ago and is not there any more is gone.
                self.tally.take(&outcome, Missing::Gone);
                let refused = |index| outcome.failures.iter().any(|(at, _)| *at == index);
                if !outcome.failures.is_empty() {
                    self.asked.retain(|(index, _)| !refused(*index));
                }
                Ok(())
            }
            Err(error) => Err(self.tally.broken(&error)),
        }
    }

    fn check_stop(&self) -> Result<(), Status> {
        match self.stop.asked() {
            None => Ok(()),
            Some(reason) => Err(reason.status(&self.tally.numbers())),
        }
    }

    fn is_spared(&self, flow: &Flow) -> bool {
        self.spared.as_ref().is_some_and(|own| own.carries(flow))
    }

    fn sample(&mut self, flow: &Flow) {
        if self.samples.len() < SAMPLES {
            self.samples.push(self.shown(flow));
        }
    }

    fn shown(&self, flow: &Flow) -> pb::Flow {
        pb::Flow::from(&*self.caller.shown(flow))
    }

    /// Reads the entries that keys name, and no others. What the caller may not see is not
    /// there.
    fn find(&self, lookup: &mut Lookup, keys: &[FlowKey]) -> Result<Vec<Found<Flow>>, Error> {
        let found = lookup.flows(keys)?.into_iter().zip(keys);
        let exact = |(found, key): (Found<Flow>, &FlowKey)| {
            found.and_then(|flow| match key.names(&flow) && self.caller.admits(&flow) {
                true => Ok(flow),
                false => Err(KernelError::from_errno(libc::ENOENT)),
            })
        };
        Ok(found.map(exact).collect())
    }
}

/// The kernel ignores protocol information of another protocol in silence.
fn fits(changes: &FlowChanges, flow: &Flow) -> Result<(), FieldError> {
    match &changes.protoinfo {
        None => Ok(()),
        Some(info) => crate::wire::protoinfo_fits(info, flow.orig.protocol).at("changes"),
    }
}
