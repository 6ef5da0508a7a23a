//! One file of entries for many agents at once: a thread reads it line by line, and every
//! agent gets its batches through a bounded channel of its own. The slowest agent sets the
//! pace, so that a file of any length needs little memory; one that fails is left out.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::fleet::Target;
use super::print::say;
use super::progress;
use super::saved::{Entry, Reader, Saved, SavedError};
use crate::flow::{Expectation, Flow};
use crate::pb;
use crate::wire::bulk::Run;

/// Entries of a batch: about 100 KiB on the wire, and a few ms of the kernel's time.
const BATCH: usize = 1024;
/// Batches that wait for an agent.
const WAITING: usize = 4;

/// Where entries are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `-`.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "-" => Self::Stdin,
            path => Self::File(path.into()),
        })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The line of an entry that comes from no file.
pub const NO_LINE: u64 = 0;

/// An entry that goes to agents, in the form in which their requests carry it: it is
/// encoded once, however many agents there are.
pub trait Item: Entry + 'static {
    /// Entries of one request.
    type Load: Default + Send + Sync + 'static;

    /// Adds this one.
    fn load(&self, load: &mut Self::Load);
}

impl Item for Flow {
    type Load = Run;

    fn load(&self, load: &mut Run) {
        load.push_flow(self);
    }
}

impl Item for Expectation {
    type Load = Vec<pb::Expectation>;

    fn load(&self, load: &mut Vec<pb::Expectation>) {
        load.push(self.into());
    }
}

/// Entries that an agent gets at once.
#[derive(Debug, Default)]
pub struct Entries<L> {
    /// The line of each, counted from 1, or [`NO_LINE`].
    pub lines: Vec<u64>,
    /// The entries.
    pub load: L,
}

impl<L> Entries<L> {
    fn push<E: Item<Load = L>>(&mut self, line: u64, entry: &E) {
        self.lines.push(line);
        entry.load(&mut self.load);
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= BATCH
    }
}

/// What an agent gets at once; many agents share it.
pub type Batch<E> = Arc<Entries<<E as Item>::Load>>;

type Receivers<E> = HashMap<Arc<str>, mpsc::Receiver<Batch<E>>>;

/// The batches of every agent.
pub struct Feed<E: Item> {
    receivers: Arc<Mutex<Receivers<E>>>,
}

impl<E: Item> Clone for Feed<E> {
    fn clone(&self) -> Self {
        Self {
            receivers: Arc::clone(&self.receivers),
        }
    }
}

impl<E: Item> Feed<E> {
    /// For these agents; what is put into it comes through the [`Outlets`].
    fn open(targets: &[Arc<Target>]) -> (Self, Outlets<E>) {
        let mut receivers = HashMap::with_capacity(targets.len());
        let mut outlets = Vec::with_capacity(targets.len());
        for target in targets {
            let (sender, receiver) = mpsc::channel(WAITING);
            receivers.insert(Arc::clone(target.name()), receiver);
            outlets.push(Outlet {
                node: Arc::clone(target.name()),
                sender,
                own: Entries::default(),
                gone: false,
            });
        }
        let feed = Self {
            receivers: Arc::new(Mutex::new(receivers)),
        };
        (
            feed,
            Outlets {
                outlets,
                shared: Entries::default(),
            },
        )
    }

    /// One entry for all agents.
    pub fn of_one(entry: &E, targets: &[Arc<Target>]) -> Self {
        let (feed, outlets) = Self::open(targets);
        let mut entries = Entries::default();
        entries.push(NO_LINE, entry);
        let batch = Arc::new(entries);
        for outlet in outlets.outlets {
            // There is room for one.
            let _ = outlet.sender.try_send(Arc::clone(&batch));
        }
        feed
    }

    /// The batches of an agent; they come once.
    pub fn take(&self, node: &Target) -> Option<mpsc::Receiver<Batch<E>>> {
        self.receivers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(node.name())
    }
}

/// How a file is read.
pub struct Plan {
    /// From where.
    pub source: Source,
    /// Entries go to all agents, also those that say which node they were saved from.
    pub any_node: bool,
}

impl<E: Item> Feed<E> {
    /// Opens the file and reads it on a thread of its own.
    pub fn of_file(
        plan: Plan,
        targets: &[Arc<Target>],
        complaints: Arc<Complaints>,
    ) -> io::Result<Self> {
        let (feed, mut outlets) = Self::open(targets);
        let input: Box<dyn Read + Send> = match &plan.source {
            Source::Stdin => Box::new(io::stdin()),
            Source::File(path) => Box::new(File::open(path)?),
        };
        let input = BufReader::with_capacity(64 << 10, complaints.bar.wrap_read(input));
        std::thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || {
                outlets.read(input, &plan, &complaints);
            })?;
        Ok(feed)
    }
}

struct Outlet<E: Item> {
    node: Arc<str>,
    sender: mpsc::Sender<Batch<E>>,
    /// What goes to this agent alone.
    own: Entries<E::Load>,
    gone: bool,
}

struct Outlets<E: Item> {
    outlets: Vec<Outlet<E>>,
    /// What goes to all agents.
    shared: Entries<E::Load>,
}

impl<E: Item> Outlet<E> {
    fn send(&mut self, batch: Batch<E>) {
        if !self.gone {
            self.gone = self.sender.blocking_send(batch).is_err();
        }
    }

    fn send_own(&mut self) {
        if !self.own.lines.is_empty() {
            let batch = Arc::new(std::mem::take(&mut self.own));
            self.send(batch);
        }
    }
}

impl<E: Item> Outlets<E> {
    fn read(&mut self, input: impl BufRead, plan: &Plan, complaints: &Complaints) {
        // The kernel refuses a flow before the one that expected it.
        for line in Reader::<_, E>::new(input).masters_first() {
            match line {
                Ok(Saved { line, node, entry }) => {
                    complaints.entries.fetch_add(1, Ordering::Relaxed);
                    match node.filter(|_| !plan.any_node) {
                        None => self.share(line, &entry),
                        Some(node) => self.direct(line, &entry, &node, plan, complaints),
                    }
                }
                Err(error) => complaints.bad_line(&plan.source, &error),
            }
            if self.outlets.iter().all(|outlet| outlet.gone) {
                return;
            }
        }
        self.flush_shared();
        self.outlets.iter_mut().for_each(Outlet::send_own);
    }

    /// The order of the entries of an agent is the order of the file.
    fn share(&mut self, line: u64, entry: &E) {
        self.outlets.iter_mut().for_each(Outlet::send_own);
        self.shared.push(line, entry);
        if self.shared.is_full() {
            self.flush_shared();
        }
    }

    fn direct(&mut self, line: u64, entry: &E, node: &str, plan: &Plan, complaints: &Complaints) {
        self.flush_shared();
        match self.outlets.iter_mut().find(|outlet| &*outlet.node == node) {
            None => complaints.unknown_node(&plan.source, line, node),
            Some(outlet) => {
                outlet.own.push(line, entry);
                if outlet.own.is_full() {
                    outlet.send_own();
                }
            }
        }
    }

    fn flush_shared(&mut self) {
        if self.shared.lines.is_empty() {
            return;
        }
        let batch = Arc::new(std::mem::take(&mut self.shared));
        for outlet in &mut self.outlets {
            outlet.send(Arc::clone(&batch));
        }
    }
}

/// Says what is wrong with entries, up to so many of them, beside a progress bar.
pub struct Complaints {
    bar: ProgressBar,
    limit: u64,
    said: AtomicU64,
    entries: AtomicU64,
    bad_lines: AtomicU64,
    is_fleet: bool,
}

impl Complaints {
    /// About the entries of a file (or of none), `limit` of them in words.
    pub fn new(source: Option<&Source>, limit: u64, is_fleet: bool) -> Arc<Self> {
        let bar = match source {
            None => ProgressBar::hidden(),
            Some(Source::Stdin) => progress::of_bytes(None),
            Some(Source::File(path)) => {
                let size = path.metadata().ok().filter(std::fs::Metadata::is_file);
                progress::of_bytes(size.map(|file| file.len()))
            }
        };
        Arc::new(Self {
            bar,
            limit,
            said: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            bad_lines: AtomicU64::new(0),
            is_fleet,
        })
    }

    /// An entry that an agent could not take.
    pub fn refused(&self, node: &Target, line: u64, words: &str) {
        self.say(|| {
            if self.is_fleet {
                say(format_args!("{}: line {line}: {words}", node.name()));
            } else {
                say(format_args!("line {line}: {words}"));
            }
        });
    }

    fn bad_line(&self, source: &Source, error: &SavedError) {
        self.bad_lines.fetch_add(1, Ordering::Relaxed);
        self.say(|| say(format_args!("{source}, {error}")));
    }

    fn unknown_node(&self, source: &Source, line: u64, node: &str) {
        self.bad_lines.fetch_add(1, Ordering::Relaxed);
        self.say(|| {
            say(format_args!(
                "{source}, line {line}: saved from node {node:?}, which is not among the \
                 targets; name one so (-t {node}=ADDRESS), or send all to all with --any-node"
            ));
        });
    }

    fn say(&self, words: impl FnOnce()) {
        if self.said.fetch_add(1, Ordering::Relaxed) < self.limit {
            self.bar.suspend(words);
        }
    }

    /// How many entries were done.
    pub fn progress(&self, done: u64) {
        if !self.bar.is_hidden() {
            self.bar.set_message(format!("{done} entries"));
        }
    }

    /// The end: how many complaints were not put into words.
    pub fn conclude(&self) {
        self.bar.finish_and_clear();
        let said = self.said.load(Ordering::Relaxed);
        if said > self.limit {
            say(format_args!(
                "and {} more errors; --show-errors shows more",
                said - self.limit
            ));
        }
    }

    /// Lines that made no entry.
    pub fn bad_lines(&self) -> u64 {
        self.bad_lines.load(Ordering::Relaxed)
    }

    /// Entries that were read.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;

    use super::*;
    use crate::wire::bulk::{read_dump, read_flow};

    fn targets(names: &[&str]) -> Vec<Arc<Target>> {
        let target = |name: &&str| Arc::new(format!("{name}=unix:/{name}").parse().unwrap());
        names.iter().map(target).collect()
    }

    fn line(port: u16) -> String {
        format!("-A -t 60 -s 10.0.0.1 -d 10.0.0.2 -p udp --sport {port} --dport 53\n")
    }

    struct Fed {
        feed: Feed<Flow>,
        complaints: Arc<Complaints>,
        targets: Vec<Arc<Target>>,
        _file: tempfile::NamedTempFile,
    }

    fn feed(text: &str, names: &[&str], any_node: bool) -> Fed {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let complaints = Complaints::new(None, 0, true);
        let plan = Plan {
            source: Source::File(file.path().into()),
            any_node,
        };
        let targets = targets(names);
        let feed = Feed::of_file(plan, &targets, Arc::clone(&complaints)).unwrap();
        Fed {
            feed,
            complaints,
            targets,
            _file: file,
        }
    }

    fn flows(batch: &Batch<Flow>) -> Vec<Flow> {
        let message = batch.load.clone().into_dump().into_bytes();
        let message = read_dump(&message).unwrap();
        let flows: Vec<Flow> = message
            .flows
            .iter()
            .map(|b| read_flow(b).unwrap())
            .collect();
        assert_eq!(flows.len(), batch.lines.len());
        flows
    }

    impl Fed {
        /// Line and source port of all that the node of this place gets.
        fn got(&self, place: usize) -> Vec<(u64, u16)> {
            let mut batches = self.feed.take(&self.targets[place]).unwrap();
            let mut got = Vec::new();
            while let Some(batch) = batches.blocking_recv() {
                assert!(batch.lines.len() <= BATCH);
                let flows = flows(&batch).into_iter();
                let ports = flows.map(|flow| flow.orig.ports().unwrap().0);
                got.extend(batch.lines.iter().copied().zip(ports));
            }
            got
        }
    }

    #[test]
    fn all_get_what_names_no_node_and_each_its_own_in_the_order_of_the_file() {
        let text = [
            line(1),
            "# node b\n".into(),
            line(2),
            "# node a\n".into(),
            line(3),
        ];
        let fed = feed(&text.concat(), &["a", "b"], false);
        assert_eq!(fed.got(0), [(1, 1), (5, 3)]);
        assert_eq!(fed.got(1), [(1, 1), (3, 2)]);
        assert_eq!(
            (fed.complaints.entries(), fed.complaints.bad_lines()),
            (3, 0)
        );
        let everything = feed(&text.concat(), &["a", "b"], true);
        for place in [0, 1] {
            assert_eq!(everything.got(place), [(1, 1), (3, 2), (5, 3)]);
        }
    }

    #[test]
    fn what_belongs_nowhere_is_counted_and_goes_nowhere() {
        let text = ["nonsense\n".into(), line(1), "# node c\n".into(), line(2)].concat();
        let fed = feed(&text, &["a"], false);
        assert_eq!(fed.got(0), [(2, 1)]);
        assert_eq!(fed.complaints.bad_lines(), 2);
    }

    #[test]
    fn a_long_file_comes_in_batches_and_whoever_leaves_holds_nobody() {
        let many = u64::try_from(BATCH * (WAITING + 3)).unwrap();
        let mut text = String::new();
        for port in 0..many {
            text.write_str(&line(port as u16)).unwrap();
        }
        let fed = feed(&text, &["a", "b"], false);
        drop(fed.feed.take(&fed.targets[1]));
        let got = fed.got(0);
        assert_eq!(got.len() as u64, many);
        assert!(got.iter().zip(1..).all(|((line, _), n)| *line == n));
    }

    #[test]
    fn one_entry_goes_to_all() {
        let targets = targets(&["a", "b"]);
        let entry = Flow::from_line(line(7).trim_end(), None).unwrap();
        let feed = Feed::of_one(&entry, &targets);
        for target in &targets {
            let mut batches = feed.take(target).unwrap();
            let batch = batches.blocking_recv().unwrap();
            assert_eq!(batch.lines, [NO_LINE]);
            assert_eq!(flows(&batch), std::slice::from_ref(&entry));
            assert!(batches.blocking_recv().is_none());
            assert!(feed.take(target).is_none());
        }
    }
}
