//! More events than the agent can take: it is stopped, and its buffer is as small as can be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ctfleet::ctnetlink::Batch;
use ctfleet::flow::{Flow, FlowChanges, Masked};
use ctfleet::pb::watch_flows_response::Message;
use ctfleet::pb::{self, EventType, GapSource};
use rustix::process::Signal;
use tokio::task::JoinHandle;
use tonic::Streaming;

use super::flow;
use crate::harness::agent::Agent;
use crate::harness::{Netns, until};

/// Many times what the buffer holds.
const FLOWS: u32 = 2000;
const STORMS: u32 = 4;

/// What a client knows of the table: of each flow its id and its mark.
type Table = BTreeMap<String, (Option<u32>, Option<u32>)>;

#[derive(Default)]
struct Client {
    table: Table,
    /// Events that were lost, gap by gap, and by whom.
    lost: Vec<(GapSource, u64)>,
}

fn entry(flow: &Flow) -> (String, (Option<u32>, Option<u32>)) {
    (format!("{:?}", flow.orig), (flow.id, flow.mark))
}

impl Client {
    fn take(&mut self, message: Message) {
        match message {
            Message::Snapshot(chunk) => {
                if chunk.first {
                    self.table.clear();
                }
                let flows = chunk.flows.into_iter();
                let flows = flows.map(|flow| Flow::try_from(flow).expect("a flow"));
                self.table.extend(flows.map(|flow| entry(&flow)));
            }
            Message::Events(events) => events.events.into_iter().for_each(|event| {
                let kind = event.r#type();
                let flow = Flow::try_from(event.flow.expect("a flow")).expect("a flow");
                let (key, value) = entry(&flow);
                match kind {
                    EventType::Destroy => self.table.remove(&key),
                    _ => self.table.insert(key, value),
                };
            }),
            Message::Gap(gap) => {
                self.lost.push((gap.source(), gap.lost));
            }
            Message::Subscribed(_) | Message::SnapshotEnd(_) => {}
        }
    }
}

async fn follow(mut stream: Streaming<pb::WatchFlowsResponse>, client: Arc<Mutex<Client>>) {
    loop {
        match stream.message().await {
            Ok(Some(message)) => {
                let mut client = client.lock().expect("a client");
                client.take(message.message.expect("a message"));
            }
            // The test fails for it, and should say why.
            end => return eprintln!("the watch ended: {end:?}"),
        }
    }
}

/// A client that watches and resyncs behind each gap, and the task that reads for it.
async fn watch(agent: &Agent) -> (Arc<Mutex<Client>>, JoinHandle<()>) {
    let request = pb::WatchFlowsRequest {
        snapshot: true,
        resync_after_gap: true,
        ..Default::default()
    };
    let stream = agent.flows().watch_flows(request).await.expect("a watch");
    let client = Arc::new(Mutex::new(Client::default()));
    let following = tokio::spawn(follow(stream.into_inner(), Arc::clone(&client)));
    (client, following)
}

/// As conntrack(8) sees it.
fn witnessed(ns: &Netns) -> Table {
    ns.witnessed_flows().iter().map(entry).collect()
}

/// Creates, marks and deletes.
fn churn(ns: &Netns, storm: u32) {
    let flows: Vec<_> = (0..FLOWS).map(|n| flow(storm * FLOWS + n)).collect();
    ns.create(&flows);
    let mut batch = Batch::open(&ns.namespace()).expect("a socket");
    for (n, flow) in flows.iter().enumerate() {
        if n % 3 == 0 {
            batch.delete(&flow.key()).expect("encoded");
        } else {
            let changes = FlowChanges {
                mark: Some(Masked {
                    value: storm,
                    mask: u32::MAX,
                }),
                ..FlowChanges::default()
            };
            batch.update(flow, &changes).expect("encoded");
        }
        if batch.is_full() || n + 1 == flows.len() {
            assert_eq!(batch.commit().expect("an answer").failures, []);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_storm_is_a_gap_and_then_the_table_as_it_is() {
    let ns = Netns::new();
    ns.create(&[flow(u32::MAX >> 9)]);
    let mut agent = Agent::start_with(&ns, &["--receive-buffer=65536"]);
    let (client, following) = watch(&agent).await;
    until("the first snapshot", || {
        (client.lock().expect("a client").table.len() == 1).then_some(())
    });
    for storm in 0..STORMS {
        let before = client.lock().expect("a client").lost.len();
        agent.process().signal(Signal::STOP);
        churn(&ns, storm);
        agent.process().signal(Signal::CONT);
        let table = witnessed(&ns);
        until("a gap, and then the table", || {
            let client = client.lock().expect("a client");
            (client.lost.len() > before && client.table == table).then_some(())
        });
    }
    let lost = client.lock().expect("a client").lost.clone();
    let told = |(source, lost): &(GapSource, u64)| *source == GapSource::Kernel && *lost > 0;
    assert!(lost.iter().all(told), "{lost:?}");
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_that_never_pauses_ends_with_the_table_as_it_is() {
    let ns = Netns::new();
    let agent = Agent::start_with(&ns, &["--receive-buffer=65536", "--event-ring=1024"]);
    let (client, following) = watch(&agent).await;
    std::thread::scope(|scope| {
        for half in 0..2 {
            let ns = &ns;
            scope.spawn(move || (0..STORMS).for_each(|storm| churn(ns, half * STORMS + storm)));
        }
    });
    let table = witnessed(&ns);
    until("the table", || {
        (client.lock().expect("a client").table == table).then_some(())
    });
    following.abort();
}
