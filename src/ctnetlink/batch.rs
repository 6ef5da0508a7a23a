//! Many changes in one datagram: the fast way in.
//!
//! The kernel works off every request of a datagram and answers only those that fail; the
//! last one is asked to answer in any case and so marks the end.

use super::decode::{self, messages};
use super::encode;
use super::error::{Error, KernelError};
use super::socket::Socket;
use super::uapi::netlink::{NLM_F_ACK, NLMSG_ERROR};
use super::{CreateMode, Namespace};
use crate::flow::{Expectation, ExpectationKey, Flow, FlowChanges, FlowKey, Status};

/// Requests in a datagram. More do not make it faster (measured).
const REQUESTS: usize = 128;

/// Bytes in a datagram at which it counts as full; well below the socket's send buffer.
const BYTES: usize = 96 * 1024;

/// Room for an answer to each request.
const RECEIVE_BUFFER: usize = 1024 * 1024;

/// How often an update of the status is tried again when packets changed it meanwhile.
const STATUS_RETRIES: usize = 3;

/// Offset of `nlmsg_flags` in a message.
const FLAGS_OFFSET: usize = 6;

/// A connection to the kernel for bulk changes.
#[derive(Debug)]
pub struct Batch {
    socket: Socket,
    requests: Vec<u8>,
    answers: Vec<u8>,
    /// What is needed to try a request again, one for each request.
    pending: Vec<Retry>,
    /// What is to do after success, with the place of the request.
    follow: Vec<(usize, Follow)>,
    /// Where the last message begins.
    last: usize,
    /// The sequence number of the first request.
    first_sequence: u32,
}

/// What became of the requests of a [`Batch::commit`]; all that are not listed succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Requests worked off.
    pub count: usize,
    /// The requests that failed, by their place in the batch, ascending.
    pub failures: Vec<(usize, KernelError)>,
}

/// How to go on when the kernel refuses a request.
#[derive(Debug)]
enum Retry {
    No,
    /// An upsert with translation: for an entry that exists, without it.
    AsUpdate(Box<Flow>),
    /// An update of status bits: with the status as it is now.
    WithFreshStatus(Box<(Flow, FlowChanges)>),
}

/// What is still to do for a request that succeeded.
#[derive(Debug)]
enum Follow {
    /// A flow with labels was written. The kernel drops them without a word when it creates
    /// an entry and no rule of the namespace uses labels.
    SeeLabels(FlowKey),
    /// The sequence adjustment of a flow was changed. The kernel passes over it without a
    /// word when the entry has no room for it.
    SeeSeqAdj(FlowKey),
    /// An expectation was created. The kernel gave it the time-out of the helper's policy.
    SetTimeout(Box<Expectation>),
}

impl Batch {
    /// Opens a connection.
    pub fn open(namespace: &Namespace) -> Result<Self, Error> {
        let socket = Socket::open(namespace)?;
        socket.set_receive_buffer(RECEIVE_BUFFER)?;
        Ok(Self {
            socket,
            requests: Vec::new(),
            answers: Vec::new(),
            pending: Vec::with_capacity(REQUESTS),
            follow: Vec::new(),
            last: 0,
            first_sequence: 1,
        })
    }

    /// Requests that wait for [`Batch::commit`].
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether it is time to commit.
    pub fn is_full(&self) -> bool {
        self.pending.len() >= REQUESTS || self.requests.len() >= BYTES
    }

    /// Adds a flow to write. The kernel sets up address translation and the master for new
    /// entries only; an upsert of a flow with one of them that exists becomes an update of
    /// the rest, and fails with EOPNOTSUPP when the entry has another one.
    ///
    /// A new entry whose labels the kernel could not keep is deleted again, and the item
    /// fails with ENOSPC.
    pub fn create(&mut self, flow: &Flow, mode: CreateMode) -> Result<(), Error> {
        let only_new = mode == CreateMode::Upsert && encode::only_for_new_entries(flow);
        let (mode, retry) = if only_new {
            (CreateMode::Create, Retry::AsUpdate(Box::new(flow.clone())))
        } else {
            (mode, Retry::No)
        };
        self.add(retry, |buffer, sequence| {
            encode::create_flow(buffer, sequence, flow, mode, false)
        })?;
        // An update is answered with ENOSPC by the kernel itself.
        let labelled = flow.labels.is_some_and(|labels| labels.0 != 0);
        if labelled && mode != CreateMode::Update {
            let key = FlowKey {
                id: None,
                ..flow.key()
            };
            self.follow
                .push((self.pending.len() - 1, Follow::SeeLabels(key)));
        }
        Ok(())
    }

    /// Adds a change of the entry that `current` was read from. The kernel finds it by its
    /// tuple and does not compare ids.
    ///
    /// What the kernel would pass over without a word, since the entry has no room for it,
    /// fails with EOPNOTSUPP; sequence adjustment only after the rest was changed.
    pub fn update(&mut self, current: &Flow, changes: &FlowChanges) -> Result<(), Error> {
        if changes.protoinfo.is_some() && current.protoinfo.is_none() {
            return Err(no_room("information of this protocol").into());
        }
        if changes.synproxy.is_some() && current.synproxy.is_none() {
            return Err(no_room("SYNPROXY state").into());
        }
        let retry = match changes.status_set {
            None => Retry::No,
            Some(_) => Retry::WithFreshStatus(Box::new((current.clone(), changes.clone()))),
        };
        self.add(retry, |buffer, sequence| {
            encode::update_flow(buffer, sequence, current, changes, false)
        })?;
        if changes.seqadj_orig.is_some() || changes.seqadj_reply.is_some() {
            let key = FlowKey {
                id: None,
                ..current.key()
            };
            self.follow
                .push((self.pending.len() - 1, Follow::SeeSeqAdj(key)));
        }
        Ok(())
    }

    /// Adds a deletion. ENOENT is the answer when the entry is gone, or when another one
    /// with another id took its place. By a key without an id the kernel deletes whatever it
    /// finds, which may be more than the key names: see [`FlowKey::names`].
    pub fn delete(&mut self, key: &FlowKey) -> Result<(), Error> {
        self.add(Retry::No, |buffer, sequence| {
            encode::delete_flow(buffer, sequence, key, false)
        })
    }

    /// Adds an expectation to write. Of one that exists only the timeout changes.
    pub fn create_expectation(
        &mut self,
        expectation: &Expectation,
        mode: CreateMode,
    ) -> Result<(), Error> {
        self.add(Retry::No, |buffer, sequence| {
            encode::create_expectation(buffer, sequence, expectation, mode, false)
        })?;
        if mode != CreateMode::Update && expectation.timeout.is_some() {
            let follow = Follow::SetTimeout(Box::new(expectation.clone()));
            self.follow.push((self.pending.len() - 1, follow));
        }
        Ok(())
    }

    /// Adds a deletion of an expectation. By a key without an id the kernel deletes whatever
    /// it finds, which may be more than the key names: see [`ExpectationKey::names`].
    pub fn delete_expectation(&mut self, key: &ExpectationKey) -> Result<(), Error> {
        self.add(Retry::No, |buffer, sequence| {
            encode::delete_expectation(buffer, sequence, key, false)
        })
    }

    fn add(
        &mut self,
        retry: Retry,
        encode: impl FnOnce(&mut Vec<u8>, u32) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let start = self.requests.len();
        let sequence = self.first_sequence.wrapping_add(self.pending.len() as u32);
        encode(&mut self.requests, sequence)?;
        self.last = start;
        self.pending.push(retry);
        Ok(())
    }

    /// Sends what waits and reads what failed. After an error it is not known which of the
    /// requests were worked off.
    pub fn commit(&mut self) -> Result<Committed, Error> {
        if self.pending.is_empty() {
            return Ok(Committed::default());
        }
        let result = self.exchange();
        // Also after an error: what is sent is sent.
        self.requests.clear();
        let pending = std::mem::take(&mut self.pending);
        let follow = std::mem::take(&mut self.follow);
        let first = self.first_sequence;
        self.first_sequence = first.wrapping_add(pending.len() as u32);
        let mut failures = result?;

        let mut retried = Vec::new();
        for (index, error) in failures.drain(..) {
            let outcome = match &pending[index] {
                Retry::AsUpdate(flow) if error.errno == libc::EEXIST => {
                    self.update_all_but_translation(flow)?
                }
                Retry::WithFreshStatus(update) if error.errno == libc::EBUSY => {
                    self.update_with_fresh_status(&update.0, &update.1, error)?
                }
                _ => Some(error),
            };
            retried.extend(outcome.map(|error| (index, error)));
        }
        for (index, follow) in follow {
            if retried.iter().any(|(failed, _)| *failed == index) {
                continue;
            }
            let outcome = match follow {
                Follow::SeeLabels(key) => self.take_back_without_labels(&key)?,
                Follow::SeeSeqAdj(key) => self.missing_seqadj(&key)?,
                Follow::SetTimeout(expectation) => self.single(|buffer, sequence| {
                    let mode = CreateMode::Update;
                    encode::create_expectation(buffer, sequence, &expectation, mode, true)
                })?,
            };
            retried.extend(outcome.map(|error| (index, error)));
        }
        retried.sort_by_key(|(index, _)| *index);
        Ok(Committed {
            count: pending.len(),
            failures: retried,
        })
    }

    /// Sends the datagram and reads the answers up to the last request's.
    fn exchange(&mut self) -> Result<Vec<(usize, KernelError)>, Error> {
        let flags = self.last + FLAGS_OFFSET;
        if let Some([low, high]) = self.requests.get_mut(flags..flags + 2) {
            let with_ack = u16::from_ne_bytes([*low, *high]) | NLM_F_ACK;
            [*low, *high] = with_ack.to_ne_bytes();
        }
        self.socket.send(&self.requests)?;
        let mut failures = Vec::new();
        loop {
            self.socket.receive(&mut self.answers)?;
            for message in messages(&self.answers) {
                let message = message?;
                let index = message.sequence.wrapping_sub(self.first_sequence) as usize;
                if message.kind != NLMSG_ERROR || index >= self.pending.len() {
                    continue;
                }
                if let Some(error) = KernelError::parse(message.flags, message.payload)? {
                    failures.push((index, error));
                }
                if index + 1 == self.pending.len() {
                    return Ok(failures);
                }
            }
        }
    }

    /// Sends one request that asks for an answer; `None` is success.
    fn single(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>, u32) -> Result<(), Error>,
    ) -> Result<Option<KernelError>, Error> {
        self.ask(encode, |_| Ok(())).map(|(_, error)| error)
    }

    /// Sends one request that asks for an answer, and decodes what comes before that.
    fn ask<T>(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>, u32) -> Result<(), Error>,
        decode: impl Fn(&[u8]) -> Result<T, super::DecodeError>,
    ) -> Result<(Option<T>, Option<KernelError>), Error> {
        let sequence = self.first_sequence;
        self.first_sequence = sequence.wrapping_add(1);
        self.requests.clear();
        encode(&mut self.requests, sequence)?;
        let sent = self.socket.send(&self.requests);
        self.requests.clear();
        sent?;
        let mut found = None;
        loop {
            self.socket.receive(&mut self.answers)?;
            for message in messages(&self.answers) {
                let message = message?;
                if message.sequence != sequence {
                    continue;
                }
                if message.kind == NLMSG_ERROR {
                    return Ok((found, KernelError::parse(message.flags, message.payload)?));
                }
                found = Some(decode(message.netfilter()?.1)?);
            }
        }
    }

    /// Deletes the entry that was just created, if it lacks its labels.
    fn take_back_without_labels(&mut self, key: &FlowKey) -> Result<Option<KernelError>, Error> {
        let entry = match self.read(key)? {
            Ok(entry) if entry.labels.is_none() => entry,
            Ok(_) | Err(_) => return Ok(None),
        };
        let _gone = self
            .single(|buffer, sequence| encode::delete_flow(buffer, sequence, &entry.key(), true))?;
        Ok(Some(KernelError {
            errno: libc::ENOSPC,
            message: Some(
                "the kernel keeps labels only while a rule of this namespace uses them \
                 (nft: ct label, iptables: -m connlabel)"
                    .to_owned(),
            ),
        }))
    }

    /// Makes the entry that exists like this flow, if it has its translation and its master.
    fn update_all_but_translation(&mut self, flow: &Flow) -> Result<Option<KernelError>, Error> {
        let key = FlowKey {
            id: None,
            ..flow.key()
        };
        let entry = match self.read(&key)? {
            Ok(entry) => entry,
            Err(error) => return Ok(Some(error)),
        };
        // The tuple may be that of another entry's reply: nothing is to be updated there.
        if !key.names(&entry) {
            return Ok(Some(KernelError::from_errno(libc::EEXIST)));
        }
        if (entry.reply, entry.master) != (flow.reply, flow.master) {
            let text = "the entry exists with another translation or master, which the kernel \
                        sets for new entries only";
            return Ok(Some(KernelError {
                errno: libc::EOPNOTSUPP,
                message: Some(text.to_owned()),
            }));
        }
        self.single(|buffer, sequence| {
            encode::create_flow(buffer, sequence, flow, CreateMode::Update, true)
        })
    }

    /// An error, if the entry has no sequence adjustment.
    fn missing_seqadj(&mut self, key: &FlowKey) -> Result<Option<KernelError>, Error> {
        Ok(match self.read(key)? {
            Ok(entry) if entry.seqadj_orig.is_none() && entry.seqadj_reply.is_none() => {
                Some(no_room("sequence adjustment"))
            }
            // Gone since it was changed, or as it should be.
            Ok(_) | Err(_) => None,
        })
    }

    /// Reads one entry.
    fn read(&mut self, key: &FlowKey) -> Result<Result<Flow, KernelError>, Error> {
        let (found, error) = self.ask(
            |buffer, sequence| encode::get_flow(buffer, sequence, key),
            decode::flow,
        )?;
        let not_found = || KernelError::from_errno(libc::ENOENT);
        Ok(found.ok_or_else(|| error.unwrap_or_else(not_found)))
    }

    /// The status travels whole, so packets that changed it between reading and writing make
    /// the kernel refuse it (EBUSY): read and write again.
    fn update_with_fresh_status(
        &mut self,
        before: &Flow,
        changes: &FlowChanges,
        mut error: KernelError,
    ) -> Result<Option<KernelError>, Error> {
        for _ in 0..STATUS_RETRIES {
            let current = match self.read(&before.key())? {
                Ok(flow) if flow.id == before.id => flow,
                Ok(_) => return Ok(Some(KernelError::from_errno(libc::ENOENT))),
                Err(error) => return Ok(Some(error)),
            };
            let dying = current
                .status
                .is_some_and(|status| status.contains(Status::DYING));
            if dying || current.status == before.status {
                // It was not the packets: the change itself is refused.
                return Ok(Some(error));
            }
            let outcome = self.single(|buffer, sequence| {
                encode::update_flow(buffer, sequence, &current, changes, true)
            })?;
            match outcome {
                Some(again) if again.errno == libc::EBUSY => error = again,
                other => return Ok(other),
            }
        }
        Ok(Some(error))
    }
}

/// An entry cannot keep what was asked for.
fn no_room(what: &str) -> KernelError {
    KernelError {
        errno: libc::EOPNOTSUPP,
        message: Some(format!(
            "the entry has no room for {what}, which the kernel makes for new entries only"
        )),
    }
}
