//! CreateFlows: a stream of flows in, an account of every one of them out.
//!
//! What is in memory is one message with its account, and the next message, which is received
//! while the kernel works; it is looked at when the account is on its way.

use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::create_scoped;
use super::told::Told;
use crate::access::Scope;
use crate::api::caller::Caller;
use crate::api::change::{Writer, write_items};
use crate::api::gate::Gate;
use crate::api::pull::{Messages, blocking};
use crate::api::withdrawal::Withdrawal;
use crate::api::{Context, request, status};
use crate::ctnetlink::{CreateMode, Error, Namespace};
use crate::lifecycle::Watch;
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
    let namespace = caller.namespace(&header.network_namespace)?;
    let mode = mode(header.mode)?;
    // Refused now rather than in the middle of the stream.
    let permit = context.changes.enter(caller.identity())?;
    let (logged, opened) = (caller.clone(), namespace.clone());
    let (writer, told) = blocking(move || {
        let _permit = permit;
        let writer = Writer::open(&opened).map_err(|e| status::netlink(&e))?;
        Ok((writer, Told::begin(logged, opened, mode)?))
    })
    .await?;
    let (accounts, receiver) = mpsc::channel(1);
    let call = Call {
        withdrawal: Withdrawal::of(caller),
        caller: caller.clone(),
        namespace,
        mode,
        messages,
        accounts,
        drain,
        gate: context.changes.clone(),
        accounted: 0,
        failed: 0,
        told: Some(told),
    };
    tokio::spawn(call.run(writer));
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

struct Call {
    caller: Caller,
    namespace: Namespace,
    mode: CreateMode,
    messages: Streaming<bulk::CreateFlowsRequest>,
    accounts: mpsc::Sender<Result<pb::CreateFlowsResponse, Status>>,
    drain: Watch,
    withdrawal: Withdrawal,
    /// Passed with every part: a client that sends nothing takes nobody's place.
    gate: Gate,
    /// Items that were accounted for.
    accounted: u64,
    failed: u64,
    /// None while a part is written, and when the log cannot be.
    told: Option<Told>,
}

impl Call {
    async fn run(mut self, writer: Writer) {
        let end = self.write_all(writer).await;
        if let Some(told) = self.told.take() {
            told.end(&end, self.accounted, self.failed);
        }
        if let Err(end) = end {
            // Nobody is left to hear of a failed send.
            let _ = self.accounts.send(Err(end)).await;
        }
    }

    async fn write_all(&mut self, mut writer: Writer) -> Result<(), Status> {
        // The message after the one at hand.
        let mut ahead = None;
        loop {
            let (drain, done) = (self.drain.clone(), self.done());
            let message = tokio::select! {
                biased;
                () = drain.started() => return Err(status::stopping(&done)),
                end = self.withdrawal.comes(&done) => return Err(end),
                // The caller may leave without ending its own stream.
                () = self.accounts.closed() => return Err(Status::cancelled("the caller left")),
                message = next(&mut self.messages, &mut ahead) => message?,
            };
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
                let done = self.done();
                if self.drain.is_draining() {
                    return Err(status::stopping(&done));
                }
                if let Some(end) = self.withdrawal.has_come(&done) {
                    return Err(end);
                }
                let part = flows.split_to(ITEMS);
                let (mode, first) = (self.mode, self.accounted);
                let permit = self.gate.wait(self.caller.identity()).await?;
                let mut told = self.told.take();
                let failed = self.failed;
                let (caller, namespace) = (self.caller.clone(), self.namespace.clone());
                let work = blocking(move || {
                    let _permit = permit;
                    if let Some(told) = &mut told {
                        told.go_on(first, failed)?;
                    }
                    let place = caller.scope().map(|scope| (scope, &namespace));
                    let account = write(&mut writer, place, &part, mode, first);
                    Ok((writer, told, account))
                });
                tokio::pin!(work);
                let (back, told, account) = loop {
                    tokio::select! {
                        done = &mut work => break done?,
                        message = self.messages.message(), if ahead.is_none() => {
                            ahead = Some(message);
                        }
                    }
                };
                writer = back;
                self.told = told;
                let account = account.map_err(|error| self.broken(&error))?;
                self.accounted += account.count;
                self.failed += account.failures.len() as u64;
                if self.accounts.send(Ok(account)).await.is_err() {
                    return Err(Status::cancelled("the caller left"));
                }
            }
        }
    }

    /// What was done up to now.
    fn done(&self) -> [(&'static str, u64); 2] {
        [("accounted", self.accounted), ("failed", self.failed)]
    }

    fn broken(&self, error: &Error) -> Status {
        status::netlink_after(error, &self.done())
    }
}

/// Writes flows and accounts for them; the first is item `first` of the call.
fn write(
    writer: &mut Writer,
    scope: Option<(&Scope, &Namespace)>,
    flows: &Entries,
    mode: CreateMode,
    first: u64,
) -> Result<pb::CreateFlowsResponse, Error> {
    let creates = mode != CreateMode::Update;
    let count = flows.len() as u64;
    let failures = match scope {
        Some(scope) => create_scoped::write(writer, scope, flows, mode, first)?,
        None => write_items(writer, flows.iter(), first, |flow, batch| {
            Ok(batch.create(&read_writable_flow(flow, creates)?, mode)?)
        })?,
    };
    Ok(pb::CreateFlowsResponse {
        first_index: first,
        count,
        failures,
    })
}
