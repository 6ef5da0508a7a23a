//! The caller that behaves while others attack, and a look at what the agent uses meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ctfleet::pb::GetStatsRequest;
use ctfleet::pb::flow_service_client::FlowServiceClient;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::until;

/// What the agent may use more than before.
pub(super) const MIB: u64 = 1 << 20;
/// Between two calls: an agent that is idle answers within one.
const PACE: Duration = Duration::from_millis(5);

/// The fewest calls beside an attack.
const CALLS: usize = 100;

/// The attack is watched while this lives.
pub(super) struct Beside {
    row: &'static str,
    pid: u32,
    stop: Arc<AtomicBool>,
    /// No call for now.
    pause: Arc<AtomicBool>,
    caller: JoinHandle<Vec<Duration>>,
    gauge: std::thread::JoinHandle<()>,
    base: u64,
    peak: Arc<AtomicU64>,
    calls: Arc<AtomicUsize>,
    descriptors: usize,
    begun: Instant,
}

impl Beside {
    /// Begins to call over plaintext.
    pub(super) async fn plaintext(row: &'static str, agent: &mut Agent, ns: &Netns) -> Self {
        let channel = agent.channel_from(ns).await;
        Self::start(row, agent.process().id(), channel).await
    }

    /// Begins to call over this channel. The agent is warm when this comes back.
    pub(super) async fn start(row: &'static str, pid: u32, channel: Channel) -> Self {
        let mut client = FlowServiceClient::new(channel);
        for _ in 0..50 {
            ask(&mut client).await;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let base = memory(pid);
        let peak = Arc::new(AtomicU64::new(base));
        let (ended, most) = (Arc::clone(&stop), Arc::clone(&peak));
        let gauge = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                most.fetch_max(memory(pid), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let calls = Arc::new(AtomicUsize::new(0));
        let (ended, made) = (Arc::clone(&stop), Arc::clone(&calls));
        let pause = Arc::new(AtomicBool::new(false));
        let paused = Arc::clone(&pause);
        let caller = tokio::spawn(async move {
            let mut took = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                if paused.load(Ordering::Relaxed) {
                    tokio::time::sleep(PACE).await;
                    continue;
                }
                let begun = Instant::now();
                ask(&mut client).await;
                took.push(begun.elapsed());
                made.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PACE).await;
            }
            took
        });
        Self {
            row,
            pid,
            stop,
            pause,
            caller,
            gauge,
            base,
            peak,
            calls,
            descriptors: descriptors(pid),
            begun: Instant::now(),
        }
    }

    /// Whether an attack that is over at once is to be made once more: long enough that the
    /// other caller meets it.
    pub(super) fn goes_on(&self) -> bool {
        self.elapsed() < Duration::from_secs(1)
    }

    /// Makes no calls from now on, or calls again.
    pub(super) fn pause(&self, pause: bool) {
        self.pause.store(pause, Ordering::Relaxed);
    }

    /// Since the attack began.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The attack is over: all calls have succeeded, the agent had at most so much more memory, and
    /// has no more descriptors than before.
    pub(super) async fn finish(self, most: u64) {
        let attacked = self.begun.elapsed();
        let enough = |what: &str, is: &dyn Fn() -> bool| {
            // The other caller shares these threads.
            tokio::task::block_in_place(|| until(what, || is().then_some(())));
        };
        enough("the descriptors to be given back", &|| {
            descriptors(self.pid) <= self.descriptors
        });
        let back = self.begun.elapsed() - attacked;
        enough("some calls beside it", &|| {
            self.calls.load(Ordering::Relaxed) >= CALLS
        });
        self.stop.store(true, Ordering::Relaxed);
        let mut took = self.caller.await.expect("every call succeeds");
        self.gauge.join().expect("a gauge");
        took.sort();
        let p99 = took[took.len() * 99 / 100];
        let more = self.peak.load(Ordering::Relaxed) - self.base;
        println!(
            "{}: {attacked:.1?}, +{:.1} MiB, descriptors back after {back:.1?}; beside it {} calls, \
             p99 {p99:.1?}",
            self.row,
            more as f64 / MIB as f64,
            took.len(),
        );
        assert!(more <= most, "{} bytes more than {}", more, self.base);
        assert!(back < Duration::from_secs(15), "{back:?}");
    }
}

async fn ask(client: &mut FlowServiceClient<Channel>) {
    let answer = client.get_stats(GetStatsRequest::default());
    let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
    answer.expect("an answer in time").expect("an answer");
}

/// The resident memory of a process, in bytes.
fn memory(pid: u32) -> u64 {
    let path = format!("/proc/{pid}/statm");
    // It may have ended: its test says so.
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let pages = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// How many descriptors a process has.
pub(super) fn descriptors(pid: u32) -> usize {
    let path = format!("/proc/{pid}/fd");
    std::fs::read_dir(path).expect("a process").count()
}
