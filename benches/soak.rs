//! `cargo bench --bench soak -- MINUTES`: an agent under a steady load of 5,000 changes and
//! 2,000 events a second, and whether its memory and its descriptors stay where they are.
//!
//! Needs root; tests/soak runs it. Beside the load clients come and go over mutual TLS, count
//! and read the table. It fails when, after a warm-up, resident memory grows by more than
//! 1 MiB in ten minutes, when descriptors grow, or when the load was not reached.

#[path = "../tests/harness/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "written for the tests, which use all of it"
)]
mod harness;

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ctfleet::flow::filter::NumberField;
use ctfleet::flow::{Family, Flow, L4, Protocol, Tuple};
use ctfleet::pb;
use ctfleet::pb::create_flows_request::Message;
use ctfleet::pb::watch_flows_response::Message as Heard;
use tokio::time::{MissedTickBehavior, interval};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use harness::agent::Agent;
use harness::filters::between;
use harness::flows::host;
use harness::pki::Authority;
use harness::{Netns, until};

/// Changes in a second, half of them creations.
const CHANGES: u32 = 5000;
/// Events in a second that the watcher hears: those of two ports of five.
const EVENTS: u32 = 2000;
/// Calls of each kind in a second.
const TICKS: u32 = 10;
/// Flows of a call.
const FLOWS: u32 = CHANGES / 2 / TICKS;
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// The most that memory may grow in ten minutes, in MiB, and descriptors.
const GROWTH: f64 = 1.0;
const DESCRIPTORS: f64 = 0.5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` would run it too.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("run it with `cargo bench --bench soak -- MINUTES`");
        return ExitCode::SUCCESS;
    }
    let minutes = arguments.iter().find(|argument| !argument.starts_with('-'));
    let minutes: f64 = minutes.map_or(30.0, |text| text.parse().expect("minutes"));
    let duration = Duration::from_secs_f64(minutes * 60.0);

    let ns = Netns::new();
    let authority = Authority::new("soak");
    authority.enrol("127.0.0.1");
    authority.enrol("operator");
    let mut flags: Vec<String> = vec![
        "--listen=127.0.0.1:0".to_owned(),
        "--allow=admin=cn:operator".to_owned(),
        // Its own descriptors go with the last watcher.
        "--event-grace=1".to_owned(),
    ];
    let files = authority.flags("127.0.0.1");
    flags.extend(files.split(' ').map(str::to_owned));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut agent = Agent::start_with(&ns, &flags);
    let process = agent.process().id();
    agent.process().wait_for("agent: ready");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    // What the first caller has it open once.
    runtime.block_on(visit(&ns, &agent, &authority));
    let base = descriptors(process);
    let samples = runtime.block_on(load(&ns, &agent, &authority, process, duration));
    drop(runtime);
    until("the descriptors of clients that left", || {
        (descriptors(process) <= base).then_some(())
    });
    println!(
        "{} descriptors behind the last client",
        descriptors(process)
    );
    verdict(&samples, duration)
}

/// What was done, for all to count.
#[derive(Default)]
struct Done {
    changes: AtomicU64,
    events: AtomicU64,
    lost: AtomicU64,
    visits: AtomicU64,
    over: AtomicBool,
}

impl Done {
    fn count(&self, number: &AtomicU64, more: u64) {
        number.fetch_add(more, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// One look.
struct Sample {
    after: Duration,
    memory: f64,
    descriptors: f64,
    changes: u64,
    events: u64,
}

/// Runs the load, and looks at the agent meanwhile.
async fn load(
    ns: &Netns,
    agent: &Agent,
    authority: &Authority,
    process: u32,
    duration: Duration,
) -> Vec<Sample> {
    let done = Arc::new(Done::default());
    let mut watch = agent.flows();
    let request = pb::WatchFlowsRequest {
        event_types: vec![pb::EventType::New.into(), pb::EventType::Destroy.into()],
        filter: Some((&between(NumberField::DstPort, 1..=2)).into()),
        ..Default::default()
    };
    let watching = watch.watch_flows(request).await.expect("a watch");
    let watcher = tokio::spawn(listen(watching.into_inner(), Arc::clone(&done)));
    let changer = tokio::spawn(change(agent.flows(), Arc::clone(&done)));

    let start = Instant::now();
    let mut looks = interval(LOOK);
    let mut visits = interval(Duration::from_millis(500));
    visits.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut samples = Vec::new();
    while start.elapsed() < duration {
        tokio::select! {
            _ = looks.tick() => samples.push(look(process, start, &done)),
            _ = visits.tick() => {
                visit(ns, agent, authority).await;
                done.count(&done.visits, 1);
            }
        }
    }
    done.over.store(true, Ordering::Relaxed);
    changer.await.expect("the changes");
    watcher.abort();
    let lost = done.lost.load(Ordering::Relaxed);
    println!(
        "{} visits, {lost} events lost",
        done.visits.load(Ordering::Relaxed)
    );
    samples
}

fn look(process: u32, start: Instant, done: &Done) -> Sample {
    let sample = Sample {
        after: start.elapsed(),
        memory: resident(process),
        descriptors: descriptors(process) as f64,
        changes: done.changes.load(Ordering::Relaxed),
        events: done.events.load(Ordering::Relaxed),
    };
    let Sample {
        after,
        memory,
        descriptors,
        changes,
        events,
    } = &sample;
    println!(
        "{:>5} s  {memory:>6.2} MiB  {descriptors:>3} descriptors  {changes:>9} changes  \
         {events:>8} events",
        after.as_secs()
    );
    sample
}

/// Creates flows and deletes those of the tick before, at the rate.
async fn change(
    mut client: pb::flow_service_client::FlowServiceClient<tonic::transport::Channel>,
    done: Arc<Done>,
) {
    let mut ticks = interval(Duration::from_secs(1) / TICKS);
    let mut before: Vec<pb::FlowKey> = Vec::new();
    let mut next = 0;
    while !done.is_over() {
        ticks.tick().await;
        let flows: Vec<Flow> = (next..next + FLOWS).map(flow).collect();
        // Long after the first were deleted.
        next = (next + FLOWS) % 4_000_000;
        let keys: Vec<pb::FlowKey> = flows.iter().map(|flow| (&flow.key()).into()).collect();
        let header = pb::CreateFlowsHeader {
            mode: pb::CreateMode::Create.into(),
            ..Default::default()
        };
        let batch = pb::FlowBatch {
            flows: flows.iter().map(Into::into).collect(),
        };
        let messages = [Message::Header(header), Message::Batch(batch)];
        let requests = messages.map(|message| pb::CreateFlowsRequest {
            message: Some(message),
        });
        let answer = client.create_flows(tokio_stream::iter(requests)).await;
        let mut accounts = answer.expect("accounts").into_inner();
        while let Some(account) = accounts.message().await.expect("an account") {
            assert!(account.failures.is_empty(), "{account:?}");
            done.count(&done.changes, account.count);
        }
        let gone = std::mem::replace(&mut before, keys);
        let request = pb::DeleteFlowsRequest {
            target: Some(pb::delete_flows_request::Target::Keys(pb::FlowKeys {
                keys: gone,
            })),
            ..Default::default()
        };
        if next > FLOWS {
            let answer = client.delete_flows(request).await.expect("deleted");
            let summary = answer.into_inner().summary.expect("a summary");
            done.count(&done.changes, summary.changed);
        }
    }
}

fn flow(number: u32) -> Flow {
    let orig = Tuple {
        src: host(Family::V4, number),
        dst: host(Family::V4, 0x00ff_0001),
        protocol: Protocol::UDP,
        l4: L4::Ports {
            src: 1000,
            dst: 1 + (number % 5) as u16,
        },
    };
    let mut flow = Flow::new(orig, orig.inverse());
    flow.timeout = Some(600);
    flow
}

async fn listen(mut stream: tonic::Streaming<pb::WatchFlowsResponse>, done: Arc<Done>) {
    while let Ok(Some(message)) = stream.message().await {
        match message.message {
            Some(Heard::Events(events)) => done.count(&done.events, events.events.len() as u64),
            Some(Heard::Gap(gap)) => done.count(&done.lost, gap.lost),
            _ => {}
        }
    }
}

/// A client that comes over TLS, asks for this and that, and leaves.
async fn visit(ns: &Netns, agent: &Agent, authority: &Authority) {
    let [cert, key] = ["operator.pem", "operator.key"]
        .map(|file| fs::read_to_string(authority.at(file)).expect("a file"));
    let tls = ClientTlsConfig::new()
        .domain_name("127.0.0.1")
        .ca_certificate(Certificate::from_pem(authority.issuer.pem()))
        .identity(Identity::from_pem(cert, key));
    let endpoint = Endpoint::from_static("https://agent").tls_config(tls);
    let channel = agent
        .channel_over(endpoint.expect("TLS"), ns)
        .await
        .expect("a connection");
    let mut agent = pb::agent_service_client::AgentServiceClient::new(channel.clone());
    agent.get_info(pb::GetInfoRequest {}).await.expect("info");
    let mut flows = pb::flow_service_client::FlowServiceClient::new(channel);
    let filter = Some((&between(NumberField::DstPort, 2..=4)).into());
    let request = pb::CountFlowsRequest {
        filter,
        ..Default::default()
    };
    flows.count_flows(request).await.expect("a count");
    let dump = flows.dump_flows(pb::DumpFlowsRequest::default()).await;
    harness::agent::collect(dump.expect("a dump").into_inner())
        .await
        .expect("the table");
}

fn resident(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    let kibibytes: f64 = kibibytes.expect("a size").parse().expect("a number");
    kibibytes / 1024.0
}

fn descriptors(process: u32) -> usize {
    let listed = fs::read_dir(format!("/proc/{process}/fd"));
    listed.expect("it runs").count()
}

/// Growth in ten minutes, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (sum_x, sum_y) = points
        .iter()
        .fold((0.0, 0.0), |(sum_x, sum_y), (x, y)| (sum_x + x, sum_y + y));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (mut covariance, mut variance) = (0.0, 0.0);
    for (x, y) in points {
        covariance += (x - mean_x) * (y - mean_y);
        variance += (x - mean_x).powi(2);
    }
    600.0 * covariance / variance
}

/// Says how it went.
fn verdict(samples: &[Sample], duration: Duration) -> ExitCode {
    let warm: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.after >= duration / 6)
        .collect();
    let [first, .., last] = &warm[..] else {
        println!("too short to say anything");
        return ExitCode::FAILURE;
    };
    let points = |value: fn(&Sample) -> f64| -> Vec<(f64, f64)> {
        let point = |sample: &&Sample| (sample.after.as_secs_f64(), value(sample));
        warm.iter().map(point).collect()
    };
    let memory = slope(&points(|sample| sample.memory));
    let open = slope(&points(|sample| sample.descriptors));
    let seconds = (last.after - first.after).as_secs_f64();
    let rate = |count: fn(&Sample) -> u64| (count(last) - count(first)) as f64 / seconds;
    let (changes, events) = (rate(|sample| sample.changes), rate(|sample| sample.events));
    println!(
        "{seconds:.0} s behind a warm-up of {:.0} s: {changes:.0} changes/s, {events:.0} events/s, \
         {:.2} MiB at first and {:.2} MiB at last, {memory:+.3} MiB in 10 minutes, \
         {open:+.2} descriptors in 10 minutes",
        first.after.as_secs_f64(),
        first.memory,
        last.memory,
    );
    let enough = |rate: f64, wanted: u32| rate >= 0.98 * f64::from(wanted);
    let mut status = ExitCode::SUCCESS;
    for (holds, what) in [
        (memory <= GROWTH, "memory grows"),
        (open <= DESCRIPTORS, "descriptors grow"),
        (enough(changes, CHANGES), "there were too few changes"),
        (enough(events, EVENTS), "there were too few events"),
    ] {
        if !holds {
            println!("FAILED: {what}");
            status = ExitCode::FAILURE;
        }
    }
    status
}
