//! How many events a second reach watchers, on the real kernel: `cargo bench --bench events`
//! as root. One thread creates and deletes entries as fast as the kernel takes them; the
//! listener, and one to eight watchers with a filter each, have to keep up.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use ctfleet::ctnetlink::{Batch, CreateMode, Group, Namespace};
use ctfleet::events::{Config, Delivery, GapSource, Hubs, Subscription};
use ctfleet::flow::{Event, Flow, L4, Protocol, Tuple};

const ENTRIES: u32 = 100_000;
const ROUNDS: u32 = 4;
/// Each entry is created and deleted.
const EVENTS: u64 = ENTRIES as u64 * ROUNDS as u64 * 2;
/// As proc(5) counts the time of a processor, on every architecture that Linux has.
const TICKS_A_SECOND: f64 = 100.0;

fn main() {
    // `cargo test --all-targets` starts benches, too, without this flag.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let name = format!("ctbench-{}", std::process::id());
    ip(&["netns", "add", &name]);
    let done = std::panic::catch_unwind(|| {
        println!("watchers  events/s   listener  lost by kernel  lost by watchers");
        println!("                      ns/event                  (sum)");
        for watchers in [1, 2, 4, 8] {
            run(&Namespace::named(&name).expect("a name"), watchers);
        }
    });
    ip(&["netns", "del", &name]);
    if let Err(panic) = done {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status();
    assert!(status.expect("ip: apt-get install iproute2").success());
}

fn run(namespace: &Namespace, watchers: usize) {
    // The last run's thread may take a moment to end.
    while listener_seconds().is_some() {
        std::thread::yield_now();
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let config = Config {
        grace: Duration::ZERO,
        ..Config::default()
    };
    let hubs = Hubs::new(config, runtime.handle().clone());
    let groups = [Group::FlowNew, Group::FlowDestroy].into_iter().collect();
    let tasks: Vec<_> = (0..watchers)
        .map(|_| {
            let subscription = hubs.subscribe(namespace, groups, None);
            runtime.spawn(watch(subscription.expect("root, and no events elsewhere")))
        })
        .collect();
    let begun = Instant::now();
    churn(namespace);
    let ended: Vec<_> = tasks
        .into_iter()
        .map(|task| runtime.block_on(task).expect("a watcher that ends"))
        .collect();
    let took = begun.elapsed().as_secs_f64();
    // While the subscriptions are still there, and the thread with them.
    let used = listener_seconds().expect("the listener's thread");
    let mut lost = [0; 2];
    for (_, told) in &ended {
        lost[0] = told[0];
        lost[1] += told[1];
    }
    println!(
        "{watchers:8} {:9.0} {:10.0} {:15} {:17}",
        EVENTS as f64 / took,
        used * 1e9 / EVENTS as f64,
        lost[0],
        lost[1],
    );
}

/// Reads until all events are accounted for; what the kernel and what this watcher lost.
async fn watch(mut subscription: Subscription) -> (Subscription, [u64; 2]) {
    let filter = ctfleet::expr::parse("src 10.9.0.0/16 and dport 53").expect("a filter");
    let mut lost = [0; 2];
    let mut last = subscription.cursor().sequence;
    let begin = last;
    while last - begin + lost[0] < EVENTS {
        match subscription.next().await.expect("an open listener") {
            Delivery::Events(mut events) => {
                while let Some((sequence, event)) = events.take_next() {
                    last = sequence;
                    if let Event::Flow(event) = event {
                        std::hint::black_box(filter.matches(&event.flow, 0));
                    }
                }
            }
            Delivery::Gap(gap) => match gap.source {
                GapSource::Kernel => lost[0] += gap.lost,
                GapSource::Subscriber => lost[1] += gap.lost,
            },
        }
    }
    (subscription, lost)
}

/// Creates and deletes, a hundred at a time.
fn churn(namespace: &Namespace) {
    let mut batch = Batch::open(namespace).expect("a connection");
    let flows: Vec<_> = (0..ENTRIES).map(flow).collect();
    for _ in 0..ROUNDS {
        for flow in &flows {
            batch.create(flow, CreateMode::Create).expect("encoded");
            commit_if(batch.is_full(), &mut batch);
        }
        commit_if(true, &mut batch);
        for flow in &flows {
            batch.delete(&flow.key()).expect("encoded");
            commit_if(batch.is_full(), &mut batch);
        }
        commit_if(true, &mut batch);
    }
}

fn commit_if(it_is_time: bool, batch: &mut Batch) {
    if it_is_time {
        assert_eq!(batch.commit().expect("an answer").failures, []);
    }
}

fn flow(n: u32) -> Flow {
    let [_, host, high, low] = n.to_be_bytes();
    let tuple = Tuple {
        src: IpAddr::V4(Ipv4Addr::new(10, 9, host, 1)),
        dst: IpAddr::V4(Ipv4Addr::new(10, 9, host, 2)),
        protocol: Protocol::UDP,
        l4: L4::Ports {
            src: u16::from_be_bytes([high, low]),
            dst: 53,
        },
    };
    let mut flow = Flow::new(tuple, tuple.inverse());
    flow.timeout = Some(1000);
    flow
}

/// What the listener's thread has used of a processor since it began, if there is one.
fn listener_seconds() -> Option<f64> {
    let tasks = fs::read_dir("/proc/self/task").expect("the threads");
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("stat")).ok())
        .filter(|stat| stat.contains("(ctevents)"))
        .find_map(|stat| {
            // utime and stime are the 14th and 15th; the name, the 2nd, ends with the last ).
            let (_, rest) = stat.rsplit_once(") ")?;
            let mut times = rest.split(' ').skip(11).map(str::parse::<f64>);
            Some((times.next()?.ok()? + times.next()?.ok()?) / TICKS_A_SECOND)
        })
}
