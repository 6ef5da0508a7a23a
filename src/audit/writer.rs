//! The thread that writes, and the bounded queues before it: of changes, and of denied calls,
//! which come as often as anybody likes and must not keep a change from its lines.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::output::Output;
use super::record::{Event, Outcome, Record};
use super::{AuditError, PATIENCE, Status};

/// Lines of changes that wait: of some KiB each at the most.
const QUEUE: usize = 512;
/// Lines of denied calls that wait.
const DENIED: usize = 512;

/// The caller waits.
const WAITING: u8 = 0;
/// The caller has gone, and changes nothing.
const GIVEN_UP: u8 = 1;
/// The thread has written, or tried to.
const DONE: u8 = 2;

/// The queues' near end.
pub(super) struct Writer {
    sender: SyncSender<Job>,
    sink: String,
    state: Arc<Mutex<State>>,
}

/// What the thread and the callers know of the sink.
#[derive(Default)]
struct State {
    /// Why the last line could not be written.
    broken: Option<String>,
    last_error: Option<String>,
    lost: u64,
    /// Of these, the ones that the log was not told of yet.
    untold: u64,
    /// Since when the thread has been writing one line.
    busy: Option<Instant>,
    /// Denied calls whose lines wait.
    denied: VecDeque<Record>,
}

enum Job {
    Line(Record),
    /// There is a denied call, for a thread that may be asleep.
    Denied,
    Intent(Record, Ticket),
    Reopen(SyncSender<Result<(), AuditError>>),
    Flush(SyncSender<()>),
}

/// Of somebody who waits for a line.
struct Ticket {
    state: Arc<AtomicU8>,
    answer: SyncSender<Result<(), String>>,
}

impl Writer {
    /// Starts the thread, which ends with the last sender.
    pub(super) fn start(sink: String, run: String, output: Output) -> Result<Self, AuditError> {
        let (sender, receiver) = sync_channel(QUEUE);
        let state = Arc::default();
        let mut thread = Thread {
            output,
            run,
            state: Arc::clone(&state),
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || thread.run(&receiver))
            .map_err(AuditError::Thread)?;
        Ok(Self {
            sender,
            sink,
            state,
        })
    }

    /// Hands over a line that nobody waits for.
    pub(super) fn submit(&self, record: Record) {
        if self.sender.try_send(Job::Line(record)).is_err() {
            lose(&mut lock(&self.state));
        }
    }

    /// Hands over the line of a denied call.
    pub(super) fn submit_denied(&self, record: Record) {
        let mut state = lock(&self.state);
        if state.denied.len() == DENIED {
            return lose(&mut state);
        }
        state.denied.push_back(record);
        let first = state.denied.len() == 1;
        drop(state);
        if first {
            // Where this has no room the thread is awake, and looks before it sleeps.
            let _ = self.sender.try_send(Job::Denied);
        }
    }

    /// Writes a line, or says why it is not written; it will not be later.
    pub(super) fn write(&self, record: Record, patience: Duration) -> Result<(), AuditError> {
        if self.is_stuck() {
            return Err(self.slow());
        }
        let state = Arc::new(AtomicU8::new(WAITING));
        let (answer, answered) = sync_channel(1);
        let ticket = Ticket {
            state: Arc::clone(&state),
            answer,
        };
        self.send(Job::Intent(record, ticket))?;
        let answer = match answered.recv_timeout(patience) {
            Err(RecvTimeoutError::Timeout) => {
                let gave_up =
                    state.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire);
                if gave_up.is_ok() {
                    return Err(self.slow());
                }
                // It was written in this very moment.
                answered.recv().ok()
            }
            other => other.ok(),
        };
        match answer {
            Some(outcome) => outcome.map_err(|reason| AuditError::Write {
                sink: self.sink.clone(),
                reason,
            }),
            None => Err(self.ended()),
        }
    }

    /// Opens the sink anew.
    pub(super) fn reopen(&self, patience: Duration) -> Result<(), AuditError> {
        let (answer, answered) = sync_channel(1);
        let deadline = Instant::now() + patience;
        self.send_before(deadline, Job::Reopen(answer))?;
        answered
            .recv_timeout(left(deadline))
            .unwrap_or_else(|_| Err(self.slow()))
    }

    /// Waits until all that was handed over is done with, unless one line has already taken as
    /// long as that.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        if self.is_busy_for(patience) {
            return false;
        }
        let (answer, answered) = sync_channel(1);
        let deadline = Instant::now() + patience;
        self.send_before(deadline, Job::Flush(answer)).is_ok()
            && answered.recv_timeout(left(deadline)).is_ok()
    }

    /// How the sink is doing.
    pub(super) fn status(&self, sink: String) -> Status {
        let stuck = self.is_stuck().then(|| self.slow().to_string());
        let state = lock(&self.state);
        Status {
            sink,
            working: state.broken.is_none() && stuck.is_none(),
            last_error: stuck.or_else(|| state.last_error.clone()),
            lost: state.lost,
        }
    }

    fn send(&self, job: Job) -> Result<(), AuditError> {
        self.sender.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => self.slow(),
            TrySendError::Disconnected(_) => self.ended(),
        })
    }

    /// Hands over what is not worth a place of its own in the queue, as soon as there is one.
    fn send_before(&self, deadline: Instant, mut job: Job) -> Result<(), AuditError> {
        loop {
            job = match self.sender.try_send(job) {
                Err(TrySendError::Full(job)) if Instant::now() < deadline => job,
                Err(TrySendError::Full(_)) => return Err(self.slow()),
                Err(TrySendError::Disconnected(_)) => return Err(self.ended()),
                Ok(()) => return Ok(()),
            };
            // The standard library's queue cannot wait for so long and no longer.
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether a line takes so long that another one need not wait in vain.
    fn is_stuck(&self) -> bool {
        self.is_busy_for(PATIENCE)
    }

    fn is_busy_for(&self, patience: Duration) -> bool {
        let busy = lock(&self.state).busy;
        busy.is_some_and(|since| since.elapsed() > patience)
    }

    fn ended(&self) -> AuditError {
        AuditError::Write {
            sink: self.sink.clone(),
            reason: "its thread has ended".to_owned(),
        }
    }

    fn slow(&self) -> AuditError {
        AuditError::Slow {
            sink: self.sink.clone(),
            seconds: PATIENCE.as_secs(),
        }
    }
}

/// The far end.
struct Thread {
    output: Output,
    run: String,
    state: Arc<Mutex<State>>,
}

impl Thread {
    fn run(&mut self, jobs: &Receiver<Job>) {
        loop {
            let job = match jobs.try_recv() {
                Ok(job) => job,
                Err(_) if self.denied(None) => continue,
                Err(_) => match jobs.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                },
            };
            // One of those that came before it: neither waits for all of the other.
            if let Job::Line(record) | Job::Intent(record, _) = &job {
                self.denied(Some(record.time));
            }
            match job {
                Job::Line(record) => self.line(&record),
                Job::Denied => {}
                Job::Intent(record, ticket) => self.intent(&record, &ticket),
                // Whoever asked may have gone.
                Job::Reopen(answer) => drop(answer.send(self.reopen())),
                Job::Flush(answer) => {
                    // No more than there are now: others may come all the time.
                    let waiting = lock(&self.state).denied.len();
                    for _ in 0..waiting {
                        self.denied(None);
                    }
                    let _ = answer.send(());
                }
            }
        }
    }

    /// Writes the line of one denied call, if any waits, from before this time.
    fn denied(&mut self, before: Option<Timestamp>) -> bool {
        let next = lock(&self.state)
            .denied
            .pop_front_if(|record| before.is_none_or(|before| record.time <= before));
        let Some(record) = next else { return false };
        self.line(&record);
        true
    }

    fn line(&mut self, record: &Record) {
        if self.write(record).is_err() {
            lose(&mut lock(&self.state));
        }
    }

    fn intent(&mut self, record: &Record, ticket: &Ticket) {
        if ticket.state.load(Ordering::Acquire) == GIVEN_UP {
            return;
        }
        let outcome = self.write(record);
        let written = outcome.is_ok();
        let waiting =
            ticket
                .state
                .compare_exchange(WAITING, DONE, Ordering::AcqRel, Ordering::Acquire);
        if waiting.is_ok() {
            // There is room for one, and whoever waits is still there.
            let _ = ticket.answer.try_send(outcome);
        } else if written {
            // The change was refused, and must not look like one that was under way.
            let refused = "the change was refused: this log took too long";
            self.line(&Record {
                call: record.call,
                intent: record.intent.clone(),
                outcome: Some(Outcome::failed("UNAVAILABLE", refused)),
                ..Record::of(Event::Result)
            });
        }
    }

    fn reopen(&mut self) -> Result<(), AuditError> {
        let outcome = self.timed(Output::reopen);
        if let Err(error) = &outcome {
            lock(&self.state).last_error = Some(error.to_string());
        }
        outcome
    }

    /// Writes a line, behind one about those that are missing.
    fn write(&mut self, record: &Record) -> Result<(), String> {
        let untold = lock(&self.state).untold;
        let mut outcome = Ok(());
        if untold > 0 {
            outcome = self.put(&Record {
                lines: Some(untold),
                ..Record::of(Event::Lost)
            });
            if outcome.is_ok() {
                lock(&self.state).untold -= untold;
            }
        }
        let outcome = outcome
            .and_then(|()| self.put(record))
            .map_err(|error| error.to_string());
        let mut state = lock(&self.state);
        match &outcome {
            Ok(()) => {
                if state.broken.take().is_some() {
                    tracing::info!("the audit log can be written again");
                }
            }
            Err(reason) => {
                if state.broken.is_none() {
                    tracing::error!(%reason, "the audit log cannot be written: changes are refused");
                }
                state.broken = Some(reason.clone());
                state.last_error = Some(reason.clone());
            }
        }
        outcome
    }

    fn put(&mut self, record: &Record) -> std::io::Result<()> {
        let line = record.line(&self.run)?;
        self.timed(|output| output.write(&line))
    }

    /// Does what may hang, and lets others know since when.
    fn timed<T>(&mut self, work: impl FnOnce(&mut Output) -> T) -> T {
        lock(&self.state).busy = Some(Instant::now());
        let outcome = work(&mut self.output);
        lock(&self.state).busy = None;
        outcome
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn lose(state: &mut State) {
    state.lost += 1;
    state.untold += 1;
}

/// A panic elsewhere leaves these numbers as good as they were.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
