//! CreateFlows: a stream of flows in, an account of every one of them out.
//!
//! What is in memory is one message with its account, and the next message, which is received
//! while the kernel works; it is looked at when the account is on its way. The kernel is
//! connected to for each part, by who has a place: a client that sends nothing, or reads
//! nothing, holds neither.

use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::create_judged::Judge;
use super::ends::Ends;
use super::told::Told;
use crate::api::caller::Caller;
use crate::api::change::{Writer, write_items};
use crate::api::gate::Gate;
use crate::api::own::OwnConnections;
use crate::api::pull::{Messages, blocking};
use crate::api::withdrawal::Withdrawal;
use crate::api::{Context, request, status};
use crate::ctnetlink::{CreateMode, Error, Namespace};
use crate::pb::{self, bulk};
use crate::wire::bulk::{CreateMessage, Entries, read_create, read_writable_flow};

/// Most items in one account: failures of all of them stay far below a message's limit.
const ITEMS: usize = 4096;

/// Answers the call, once its header is read.
pub(super) async fn create(
    context: &Context,
    caller: &Caller,
    mut messages: Streaming<bulk::CreateFlowsRequest>,
) -> Result<Messages<pb::CreateFlowsResponse>, Status> {
    let drain = context.drain.clone();
    let first = tokio::select! {
        biased;
        () = drain.started() => return Err(status::stopping(&[])),
        first = messages.message() => first?,
    };
    let Some(CreateMessage::Header(header)) = first.map(read).transpose()? else {
        return Err(request::refused(
            "header",
            "is required: the first message must be the header",
        ));
    };
    let (ref caller, namespace) = caller.enter(&header)?;
    let mode = mode(header.mode)?;
    let include_own = header.include_own_connections;
    // What must not exist can be no flow of theirs.
    let spares = mode != CreateMode::Create && !include_own && request::is_own(&namespace);
    // Refused now rather than in the middle of the stream.
    let permit = context.changes.enter(caller.identity())?;
    let (logged, opened) = (caller.clone(), namespace.clone());
    let told = blocking(move || {
        let _permit = permit;
        drop(Writer::open(&opened).map_err(|e| status::netlink(&e))?);
        Told::begin(logged, opened, (mode, include_own))
    })
    .await?;
    let (accounts, receiver) = mpsc::channel(1);
    let call = Call {
        ends: Ends::new(drain, Withdrawal::of(caller), accounts),
        caller: caller.clone(),
        namespace,
        mode,
        messages,
        gate: context.changes.clone(),
        spared: spares.then(|| context.own.clone()),
        done: Done::default(),
        told: Some(told),
    };
    tokio::spawn(call.run());
    Ok(ReceiverStream::new(receiver).boxed())
}

fn mode(number: i32) -> Result<CreateMode, Status> {
    match pb::CreateMode::try_from(number) {
        Ok(pb::CreateMode::Unspecified | pb::CreateMode::Create) => Ok(CreateMode::Create),
        Ok(pb::CreateMode::Upsert) => Ok(CreateMode::Upsert),
        Ok(pb::CreateMode::Update) => Ok(CreateMode::Update),
        Err(_) => Err(request::refused(
            "header.mode",
            format!("has the unknown value {number}"),
        )),
    }
}

/// A message; its flows are looked at one by one, when they are written.
fn read(message: bulk::CreateFlowsRequest) -> Result<CreateMessage, Status> {
    read_create(&message.into_bytes()).map_err(|error| status::field(&error))
}

/// The message that was received already, or the next one.
async fn next(
    messages: &mut Streaming<bulk::CreateFlowsRequest>,
    ahead: &mut Option<Result<Option<bulk::CreateFlowsRequest>, Status>>,
) -> Result<Option<bulk::CreateFlowsRequest>, Status> {
    match ahead.take() {
        Some(message) => message,
        None => messages.message().await,
    }
}

/// What came of a call up to now.
#[derive(Clone, Copy, Default)]
pub(super) struct Done {
    /// Items that were accounted for.
    pub(super) accounted: u64,
    /// Those among them that were left alone.
    pub(super) spared: u64,
    /// Those among them that failed otherwise.
    pub(super) failed: u64,
}

impl Done {
    fn add(&mut self, account: &pb::CreateFlowsResponse) {
        self.accounted += account.count;
        self.spared += account.spared;
        self.failed += account.failures.len() as u64 - account.spared;
    }
}

struct Call {
    caller: Caller,
    namespace: Namespace,
    mode: CreateMode,
    messages: Streaming<bulk::CreateFlowsRequest>,
    ends: Ends,
    /// Passed with every part: a client that sends nothing takes nobody's place.
    gate: Gate,
    /// The connections to leave alone.
    spared: Option<OwnConnections>,
    done: Done,
    /// None while a part is written, and when the log cannot be.
    told: Option<Told>,
}

impl Call {
    async fn run(mut self) {
        let end = self.write_all().await;
        if let Some(told) = self.told.take() {
            told.end(&end, self.done);
        }
        if let Err(end) = end {
            self.ends.end(end).await;
        }
    }

    async fn write_all(&mut self) -> Result<(), Status> {
        // The message after the one at hand.
        let mut ahead = None;
        loop {
            let (done, message) = (self.done(), next(&mut self.messages, &mut ahead));
            let message = self.ends.or(&done, message).await?;
            let mut flows = match message.map(read).transpose()? {
                None => return Ok(()),
                Some(CreateMessage::Batch(flows)) => flows,
                Some(CreateMessage::Header(_)) => {
                    return Err(request::refused(
                        "header",
                        "is accepted once, as the first message",
                    ));
                }
                Some(CreateMessage::Nothing) => {
                    return Err(request::refused("batch", "is required"));
                }
            };
            while !flows.is_empty() {
                let part = flows.split_to(ITEMS);
                let (mode, so_far) = (self.mode, self.done);
                let done = self.done();
                let place = self.gate.wait(self.caller.identity());
                let permit = self.ends.or(&done, place).await?;
                let mut told = self.told.take();
                let (caller, namespace) = (self.caller.clone(), self.namespace.clone());
                let own = self.spared.clone();
                let work = blocking(move || {
                    let _permit = permit;
                    if let Some(told) = &mut told {
                        told.go_on(so_far)?;
                    }
                    let judge = Judge::of(caller.scope(), own.as_ref(), mode);
                    let account = write(&namespace, judge, &part, mode, so_far.accounted);
                    Ok((told, account))
                });
                tokio::pin!(work);
                let (told, account) = loop {
                    tokio::select! {
                        done = &mut work => break done?,
                        message = self.messages.message(), if ahead.is_none() => {
                            ahead = Some(message);
                        }
                    }
                };
                self.told = told;
                let account = account.map_err(|error| self.broken(&error))?;
                self.done.add(&account);
                self.ends.account(account).await?;
            }
        }
    }

    /// What was done up to now.
    fn done(&self) -> [(&'static str, u64); 3] {
        let Done {
            accounted,
            spared,
            failed,
        } = self.done;
        [
            ("accounted", accounted),
            ("spared", spared),
            ("failed", failed),
        ]
    }

    fn broken(&self, error: &Error) -> Status {
        status::netlink_after(error, &self.done())
    }
}

/// Writes flows and accounts for them; the first is item `first` of the call.
fn write(
    namespace: &Namespace,
    judge: Option<Judge<'_>>,
    flows: &Entries,
    mode: CreateMode,
    first: u64,
) -> Result<pb::CreateFlowsResponse, Error> {
    let creates = mode != CreateMode::Update;
    let count = flows.len() as u64;
    let mut writer = Writer::open(namespace)?;
    let (failures, spared) = match judge {
        Some(judge) => judge.write(&mut writer, namespace, flows, first)?,
        None => {
            let failures = write_items(&mut writer, flows.iter(), first, |flow, batch| {
                Ok(batch.create(&read_writable_flow(flow, creates)?, mode)?)
            })?;
            (failures, 0)
        }
    };
    Ok(pb::CreateFlowsResponse {
        first_index: first,
        count,
        failures,
        spared,
    })
}
