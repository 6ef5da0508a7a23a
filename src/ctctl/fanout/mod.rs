//! One command on many agents at once. Every agent has a task; what they bring goes through
//! one bounded channel to one consumer on a thread of its own. A consumer that is slow (a
//! pager, a full pipe) holds the channel, the channel holds the tasks, and HTTP/2 flow
//! control holds the agents: memory stays flat however large the fleet and its tables are.

mod interrupt;
mod outcome;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

pub use interrupt::{Interrupt, Signal};
use outcome::Finished;
pub use outcome::{Ended, Failure, Outcome};

use crate::ctctl::connect::{Dialler, NodeError, Session};
use crate::ctctl::fleet::Target;

/// Parcels that wait for the consumer. A parcel is a chunk of a table or of events, some
/// tens of KiB.
const PARCELS: usize = 16;
/// How long a consumer may take to end after a signal: it may hang in a write to a pager.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The agents of a command and how they are reached.
#[derive(Clone)]
pub struct Fleet {
    /// Whom to talk to, in the order they were given.
    pub targets: Vec<Arc<Target>>,
    /// How.
    pub dialler: Dialler,
    /// To how many at the same time.
    pub parallel: usize,
}

/// How many agents work at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// No more than the fleet's bound, the others wait for their turn.
    Bounded,
    /// All of them, for work that does not end by itself; only connecting is bounded.
    All,
}

/// Takes what the agents bring, on a thread of its own: it may block.
pub trait Consumer<T>: Send + 'static {
    /// Something from an agent; `Break` ends the command.
    fn item(&mut self, node: &Arc<Target>, item: T) -> io::Result<ControlFlow<()>>;

    /// An agent failed. It will be reported at the end, too.
    fn failed(&mut self, _node: &Target, _error: &NodeError) -> io::Result<()> {
        Ok(())
    }

    /// Nothing is at hand: show what is held back.
    fn idle(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Nothing will follow.
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where an agent's task puts what it has.
pub struct Sink<T> {
    node: Arc<Target>,
    parcels: mpsc::Sender<Parcel<T>>,
}

/// The consumer wants no more; the task should end quietly.
#[derive(Debug)]
pub struct Closed;

impl<T> Sink<T> {
    /// Waits for room.
    pub async fn send(&self, item: T) -> Result<(), Closed> {
        let parcel = Parcel {
            node: Arc::clone(&self.node),
            content: Ok(item),
        };
        self.parcels.send(parcel).await.map_err(|_| Closed)
    }
}

struct Parcel<T> {
    node: Arc<Target>,
    content: Result<T, NodeError>,
}

/// Why an agent's task ended early.
#[derive(Debug)]
pub enum Stop {
    /// It failed.
    Failed(NodeError),
    /// Nobody listens any more.
    Closed,
}

impl From<Closed> for Stop {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl<E: Into<NodeError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Fleet {
    /// Runs `work` on every agent and hands what it sends to `consumer`.
    pub async fn run<T, C, W, F>(
        &self,
        width: Width,
        interrupt: &mut Interrupt,
        consumer: C,
        work: W,
    ) -> Outcome<C>
    where
        T: Send + 'static,
        C: Consumer<T>,
        W: Fn(Session, Sink<T>) -> F + Clone + Send + 'static,
        F: Future<Output = Result<(), Stop>> + Send,
    {
        let (sender, parcels) = mpsc::channel(PARCELS);
        let stop = Arc::new(AtomicBool::new(false));
        let (done, mut consumed) = oneshot::channel();
        let consume = {
            let stop = Arc::clone(&stop);
            move || {
                // The other side goes away only after a signal.
                let _ = done.send(consume(parcels, consumer, &stop));
            }
        };
        if let Err(error) = std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(consume)
        {
            return Outcome::broken(error);
        }
        let mut failures = Vec::new();
        let ended = {
            let drive = self.drive(width, sender, work, &mut failures);
            tokio::pin!(drive);
            let mut driven = false;
            loop {
                tokio::select! {
                    () = &mut drive, if !driven => driven = true,
                    finished = &mut consumed => {
                        let saw_the_end = finished
                            .as_ref()
                            .is_ok_and(|finished| matches!(finished.result, Ok(false)));
                        if saw_the_end && !driven {
                            // The tasks have let go of the channel, which they do last; what
                            // became of them is not noted yet.
                            drive.as_mut().await;
                        }
                        break Finish::Consumer(finished);
                    }
                    signal = interrupt.recv() => break Finish::Signal(signal),
                }
            }
            // Dropping `drive` aborts the tasks that are left, and with them their calls.
        };
        let (finished, signal) = match ended {
            Finish::Consumer(finished) => (Some(finished), None),
            Finish::Signal(signal) => {
                stop.store(true, Ordering::Relaxed);
                (
                    tokio::time::timeout(LAST_WORDS, consumed).await.ok(),
                    Some(signal),
                )
            }
        };
        Outcome::new(
            finished.and_then(Result::ok),
            signal,
            failures,
            self.targets.len(),
        )
    }

    /// Starts the tasks, as many at once as allowed, and waits for all of them.
    async fn drive<T, W, F>(
        &self,
        width: Width,
        parcels: mpsc::Sender<Parcel<T>>,
        work: W,
        failures: &mut Vec<Failure>,
    ) where
        T: Send + 'static,
        W: Fn(Session, Sink<T>) -> F + Clone + Send + 'static,
        F: Future<Output = Result<(), Stop>> + Send,
    {
        let turns = Arc::new(Semaphore::new(self.parallel.max(1)));
        let mut tasks = JoinSet::new();
        for target in &self.targets {
            // The semaphore is never closed.
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
                break;
            };
            let (dialler, work) = (self.dialler.clone(), work.clone());
            let (node, sender) = (Arc::clone(target), parcels.clone());
            tasks.spawn(async move {
                let connected = dialler.connect(Arc::clone(&node)).await;
                let turn = match width {
                    Width::Bounded => Some(turn),
                    Width::All => {
                        drop(turn);
                        None
                    }
                };
                let sink = Sink {
                    node: Arc::clone(&node),
                    parcels: sender.clone(),
                };
                let result = match connected {
                    Ok(session) => work(session, sink).await,
                    Err(error) => Err(Stop::Failed(error)),
                };
                drop(turn);
                match result {
                    Ok(()) | Err(Stop::Closed) => None,
                    Err(Stop::Failed(error)) => {
                        let content = Err(error.clone());
                        // Nobody listens: the outcome still has it.
                        let _ = sender
                            .send(Parcel {
                                node: Arc::clone(&node),
                                content,
                            })
                            .await;
                        Some(Failure { node, error })
                    }
                }
            });
            while let Some(ended) = tasks.try_join_next() {
                note(ended, failures);
            }
        }
        drop(parcels);
        while let Some(ended) = tasks.join_next().await {
            note(ended, failures);
        }
    }
}

fn note(ended: Result<Option<Failure>, tokio::task::JoinError>, failures: &mut Vec<Failure>) {
    match ended {
        Ok(failure) => failures.extend(failure),
        Err(error) => {
            if let Ok(panic) = error.try_into_panic() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// What ended a run.
enum Finish<T> {
    Consumer(T),
    Signal(Signal),
}

/// The consumer's thread.
fn consume<T, C: Consumer<T>>(
    mut parcels: mpsc::Receiver<Parcel<T>>,
    mut consumer: C,
    stop: &AtomicBool,
) -> Finished<C> {
    let result = consume_all(&mut parcels, &mut consumer, stop);
    Finished { consumer, result }
}

/// Whether the consumer asked for the end.
fn consume_all<T, C: Consumer<T>>(
    parcels: &mut mpsc::Receiver<Parcel<T>>,
    consumer: &mut C,
    stop: &AtomicBool,
) -> io::Result<bool> {
    loop {
        let parcel = match parcels.try_recv() {
            Ok(parcel) => parcel,
            Err(mpsc::error::TryRecvError::Disconnected) => break,
            Err(mpsc::error::TryRecvError::Empty) => {
                consumer.idle()?;
                match parcels.blocking_recv() {
                    Some(parcel) => parcel,
                    None => break,
                }
            }
        };
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match parcel.content {
            Err(error) => consumer.failed(&parcel.node, &error)?,
            Ok(item) => {
                if consumer.item(&parcel.node, item)?.is_break() {
                    consumer.end()?;
                    return Ok(true);
                }
            }
        }
    }
    consumer.end()?;
    Ok(false)
}
