//! CreateExpectations, DeleteExpectations and FlushExpectations.

use std::collections::{HashMap, HashSet};

use tokio::runtime::Handle;
use tonic::Status;

use super::visible::Visible;
use crate::api::caller::Caller;
use crate::api::change::{Missing, Options, SAMPLES, Tally, Writer, left, write_items};
use crate::api::pull::blocking;
use crate::api::stop::Stop;
use crate::api::{Context, record, request, status};
use crate::audit::{self, Counts, Intent};
use crate::ctnetlink::{
    Conn, CreateMode, Error, ExpectationDump, ExpectationDumpRequest, FlowDump, FlowDumpRequest,
    Found, KernelError, Lookup, Namespace,
};
use crate::flow::filter::Kind;
use crate::flow::{Expectation, ExpectationKey, Filter, Tuple};
use crate::pb;
use crate::wire::FieldError;

/// Deletions in a datagram.
const PART: usize = 128;

/// Answers CreateExpectations.
pub(super) async fn create(
    context: &Context,
    caller: &Caller,
    message: pb::CreateExpectationsRequest,
) -> Result<pb::CreateExpectationsResponse, Status> {
    let (ref caller, namespace) = caller.enter(&message)?;
    // A firewall lets pass what is expected, wherever it goes.
    caller.unscoped("CreateExpectations")?;
    let mode = mode(message.mode)?;
    let items = message.expectations.len();
    caller.bounds().at_most(items, "expectations")?;
    let intent = Intent {
        target: audit::Target::Entries,
        items: Some(items as u64),
        detail: Some(format!("{mode:?}")),
        ..caller.intent(&namespace)
    };
    let permit = context.changes.enter(caller.identity())?;
    let caller = caller.clone();
    blocking(move || {
        let _permit = permit;
        let entry = caller.begin(intent)?;
        let write = || {
            let mut writer = Writer::open(&namespace)?;
            write_items(
                &mut writer,
                message.expectations.into_iter(),
                0,
                |item, batch| Ok(batch.create_expectation(&writable(item, mode)?, mode)?),
            )
        };
        let written = write().map_err(|error| status::netlink(&error));
        let counts = written.as_ref().ok().map(|failures| Counts {
            matched: items as u64,
            changed: (items - failures.len()) as u64,
            failed: failures.len() as u64,
            ..Counts::default()
        });
        record::end(entry, &written, counts);
        written.map(|failures| pb::CreateExpectationsResponse {
            created: (items - failures.len()) as u64,
            failures,
        })
    })
    .await
}

fn mode(number: i32) -> Result<CreateMode, Status> {
    use pb::ExpectationCreateMode as Message;
    match Message::try_from(number) {
        Ok(Message::Unspecified | Message::Create) => Ok(CreateMode::Create),
        Ok(Message::Upsert) => Ok(CreateMode::Upsert),
        Ok(Message::Update) => Ok(CreateMode::Update),
        Err(_) => Err(request::refused(
            "mode",
            format!("has the unknown value {number}"),
        )),
    }
}

/// An expectation to write; a new one needs a timeout.
fn writable(message: pb::Expectation, mode: CreateMode) -> Result<Expectation, FieldError> {
    let expectation = Expectation::try_from(message)?;
    if expectation.timeout.is_none() && mode != CreateMode::Update {
        return Err(FieldError::new(
            "timeout_seconds",
            "is required to create an expectation",
        ));
    }
    Ok(expectation)
}

/// Answers FlushExpectations.
pub(super) async fn flush(
    context: &Context,
    caller: &Caller,
    message: pb::FlushExpectationsRequest,
) -> Result<pb::FlushExpectationsResponse, Status> {
    let (ref caller, namespace) = caller.enter(&message)?;
    if caller.scope().is_some() {
        // To a caller with a scope, everything is what is in it.
        let all = Target::Filter(Filter::everything());
        let answer = run(context, caller, namespace, all, Options::default()).await?;
        if let Some(summary) = &answer.summary {
            left(summary, "expectations")?;
        }
        return Ok(pb::FlushExpectationsResponse {});
    }
    let intent = Intent {
        target: audit::Target::Everything,
        ..caller.intent(&namespace)
    };
    let permit = context.changes.enter(caller.identity())?;
    let caller = caller.clone();
    // On a thread that outlives the call: what is begun has an end in the log.
    blocking(move || {
        let _permit = permit;
        let entry = caller.begin(intent)?;
        let flush = async { Conn::open(&namespace).await?.flush_expectations().await };
        let flushed = Handle::current().block_on(flush);
        let flushed = flushed.map_err(|error| status::netlink(&error));
        record::end(entry, &flushed, None);
        flushed.map(|()| pb::FlushExpectationsResponse {})
    })
    .await
}

/// Answers DeleteExpectations.
pub(super) async fn delete(
    context: &Context,
    caller: &Caller,
    message: pb::DeleteExpectationsRequest,
) -> Result<pb::DeleteExpectationsResponse, Status> {
    use pb::delete_expectations_request::Target as Message;
    let (ref caller, namespace) = caller.enter(&message)?;
    let target = match request::required(message.target, "target")? {
        Message::Keys(keys) => Target::Keys(caller.bounds().keys(keys.keys)?),
        Message::Filter(filter) => {
            Target::Filter(caller.bounds().filter(filter, Kind::Expectation)?)
        }
        Message::Ids(ids) => Target::Ids(caller.bounds().ids(ids.ids)?),
    };
    let options = Options::from(message.options);
    if options.return_changed {
        let error = FieldError::new("options.return_changed", "is for flows alone");
        return Err(status::field(&error));
    }
    run(context, caller, namespace, target, options).await
}

async fn run(
    context: &Context,
    caller: &Caller,
    namespace: Namespace,
    target: Target,
    options: Options,
) -> Result<pb::DeleteExpectationsResponse, Status> {
    let permit = context.changes.enter(caller.identity())?;
    let (stop, _waiting) = Stop::new(context.drain.clone());
    let caller = caller.clone();
    blocking(move || {
        let _permit = permit;
        let visible = Visible::of(&caller, &namespace).map_err(|e| status::netlink(&e))?;
        let entry = caller.begin(intent(&caller, &namespace, &target, options))?;
        let mut job = Job {
            namespace: &namespace,
            visible,
            options,
            stop,
            tally: Tally::default(),
            samples: Vec::new(),
        };
        let result = match target {
            Target::Keys(keys) => job.by_keys(&keys),
            Target::Filter(filter) => job.by_reading(Some(filter), None),
            Target::Ids(ids) => job.by_reading(None, Some(&ids)),
        };
        let Job { tally, samples, .. } = job;
        record::end(entry, &result, Some(record::counts(&tally)));
        result.map(|()| pb::DeleteExpectationsResponse {
            summary: Some(tally.into()),
            samples,
        })
    })
    .await
}

/// What the audit log is told.
fn intent(caller: &Caller, namespace: &Namespace, target: &Target, options: Options) -> Intent {
    let mut intent = Intent {
        dry_run: Some(options.dry_run),
        max_affected: options.max_affected,
        ..caller.intent(namespace)
    };
    match target {
        Target::Keys(keys) => {
            intent.target = audit::Target::Keys;
            intent.items = Some(keys.len() as u64);
            intent.detail = Some(record::expectations(keys));
        }
        Target::Ids(ids) => {
            intent.target = audit::Target::Ids;
            intent.items = Some(ids.len() as u64);
            intent.detail = Some(record::ids(ids.keys().copied()));
        }
        Target::Filter(filter) => {
            intent.target = audit::Target::Filter;
            intent.filter = Some(record::filter(filter));
        }
    }
    intent
}

/// Which expectations.
enum Target {
    Keys(Vec<ExpectationKey>),
    Filter(Filter),
    Ids(HashMap<u32, u64>),
}

/// A deletion on its way.
struct Job<'a> {
    namespace: &'a Namespace,
    /// What the caller may not see is not there.
    visible: Visible,
    options: Options,
    stop: Stop,
    tally: Tally,
    samples: Vec<pb::Expectation>,
}

/// An expectation to delete: its index, its key, and whose it is.
type Named = (u64, ExpectationKey, Tuple);

impl Job<'_> {
    fn by_keys(&mut self, keys: &[ExpectationKey]) -> Result<(), Status> {
        let found = self.find(keys)?;
        let affected: HashSet<_> = found.iter().flatten().map(Expectation::key).collect();
        self.refuse_too_many(affected.len() as u64)?;
        let mut writer = Writer::open(self.namespace).map_err(|e| status::netlink(&e))?;
        let mut seen = HashSet::new();
        for ((index, key), found) in (0..).zip(keys).zip(&found) {
            // One that several keys name is deleted, and counts, once.
            if let Ok(expectation) = found
                && !seen.insert(expectation.key())
            {
                continue;
            }
            self.tally.matched += 1;
            let added = match found {
                Ok(expectation) if self.options.dry_run => {
                    self.sample(expectation);
                    Ok(())
                }
                Ok(expectation) => {
                    // By a key without an id the kernel deletes any expectation that
                    // expects the tuple.
                    let id = expectation.id;
                    let key = ExpectationKey { id, ..*key };
                    writer.add(index, |batch| batch.delete_expectation(&key))
                }
                Err(error) => Err(Error::Kernel(error.clone())),
            };
            if let Err(error) = added {
                self.tally.error(index, &error, Missing::Gone)?;
            }
            if writer.is_full() {
                self.commit(&mut writer)?;
                self.check_stop()?;
            }
        }
        self.commit(&mut writer)
    }

    /// Reads the expectations that keys name, and no others.
    fn find(&self, keys: &[ExpectationKey]) -> Result<Vec<Found<Expectation>>, Status> {
        let mut lookup = Lookup::open(self.namespace).map_err(|e| status::netlink(&e))?;
        let mut all = Vec::with_capacity(keys.len());
        for part in keys.chunks(Lookup::BATCH) {
            let found = lookup.expectations(part).map_err(|e| status::netlink(&e))?;
            all.extend(found.into_iter().zip(part).map(|(found, key)| {
                found.and_then(|expectation| {
                    match key.names(&expectation) && self.visible.shows(&expectation) {
                        true => Ok(expectation),
                        false => Err(KernelError::from_errno(libc::ENOENT)),
                    }
                })
            }));
            self.check_stop()?;
        }
        Ok(all)
    }

    /// Reads the list, which is short beside the table (nf_conntrack_expect_max), as a
    /// whole, and deletes what matches.
    fn by_reading(
        &mut self,
        filter: Option<Filter>,
        ids: Option<&HashMap<u32, u64>>,
    ) -> Result<(), Status> {
        let named = self.read(filter, ids)?;
        self.refuse_too_many(self.tally.matched)?;
        let gone = self.delete(&named)?;
        if !gone.is_empty() {
            let again = self.with_zones(&gone).map_err(|e| self.tally.broken(&e))?;
            let before = self.tally.changed + self.tally.failed;
            self.delete(&again)?;
            let met = self.tally.changed + self.tally.failed - before;
            self.tally.gone += (gone.len() as u64).saturating_sub(met);
        }
        if let Some(ids) = ids {
            let found: HashSet<_> = named.iter().map(|(index, ..)| *index).collect();
            let missing = ids.values().filter(|index| !found.contains(index)).count() as u64;
            self.tally.matched += missing;
            self.tally.gone += missing;
        }
        Ok(())
    }

    /// What matches; nothing to delete when it is only a rehearsal.
    fn read(
        &mut self,
        filter: Option<Filter>,
        ids: Option<&HashMap<u32, u64>>,
    ) -> Result<Vec<Named>, Status> {
        let request = ExpectationDumpRequest {
            filter,
            master: None,
        };
        let mut named = Vec::new();
        let mut dump =
            ExpectationDump::open(self.namespace, request).map_err(|e| status::netlink(&e))?;
        let mut more = true;
        while more {
            let read = dump.read(&mut |expectation| {
                let index = match ids {
                    None => Some(self.tally.matched),
                    Some(ids) => expectation.id.and_then(|id| ids.get(&id).copied()),
                };
                let Some(index) = index else { return };
                if !self.visible.shows(expectation) {
                    return;
                }
                self.tally.matched += 1;
                if self.options.dry_run {
                    self.sample(expectation);
                } else {
                    named.push((index, expectation.key(), expectation.master));
                }
            });
            more = read.map_err(|error| status::netlink(&error))?;
            self.check_stop()?;
        }
        Ok(named)
    }

    /// Deletes them; gives those that the kernel did not find.
    fn delete(&mut self, named: &[Named]) -> Result<Vec<Named>, Status> {
        let mut writer = Writer::open(self.namespace).map_err(|e| self.tally.broken(&e))?;
        let mut gone = Vec::new();
        for part in named.chunks(PART) {
            for (place, (_, key, _)) in (0..).zip(part) {
                let added = writer.add(place, |batch| batch.delete_expectation(key));
                added.map_err(|error| self.tally.broken(&error))?;
            }
            let outcome = writer.commit().map_err(|e| self.tally.broken(&e))?;
            self.tally.changed += outcome.count - outcome.failures.len() as u64;
            for (place, error) in outcome.failures {
                let named = part[place as usize];
                if error.errno == libc::ENOENT {
                    gone.push(named);
                } else {
                    self.tally.refuse(named.0, &error, Missing::Gone);
                }
            }
            self.check_stop()?;
        }
        Ok(gone)
    }

    /// The kernel looks an expectation up in the zone of its master, and a dump does not
    /// tell it: those whose masters are in a zone, with that zone.
    fn with_zones(&self, named: &[Named]) -> Result<Vec<Named>, Error> {
        let masters: HashSet<_> = named.iter().map(|(.., master)| *master).collect();
        let mut zones: HashMap<Tuple, HashSet<u16>> = HashMap::new();
        let mut dump = FlowDump::open(self.namespace, FlowDumpRequest::default())?;
        while dump.read(&mut |flow| {
            if flow.zone.id != 0 && masters.contains(&flow.orig) {
                zones.entry(flow.orig).or_default().insert(flow.zone.id);
            }
        })? {}
        let mut found = Vec::new();
        for (index, key, master) in named {
            for zone in zones.get(master).into_iter().flatten() {
                let key = ExpectationKey {
                    zone: *zone,
                    ..*key
                };
                found.push((*index, key, *master));
            }
        }
        Ok(found)
    }

    fn refuse_too_many(&self, affected: u64) -> Result<(), Status> {
        match self.options.max_affected {
            Some(max) if affected > max && !self.options.dry_run => {
                Err(request::too_many_affected(affected, max))
            }
            _ => Ok(()),
        }
    }

    fn commit(&mut self, writer: &mut Writer) -> Result<(), Status> {
        let outcome = writer.commit().map_err(|e| self.tally.broken(&e))?;
        self.tally.take(&outcome, Missing::Gone);
        Ok(())
    }

    fn check_stop(&self) -> Result<(), Status> {
        match self.stop.asked() {
            None => Ok(()),
            Some(reason) => Err(reason.status(&self.tally.numbers())),
        }
    }

    fn sample(&mut self, expectation: &Expectation) {
        if self.samples.len() < SAMPLES {
            self.samples.push(expectation.into());
        }
    }
}
