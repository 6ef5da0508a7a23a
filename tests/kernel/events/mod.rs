//! Events of the real kernel, from the listener to the watcher.

mod client;
mod gaps;
mod groups;
mod resume;
mod sight;
mod vanish;
mod watch;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ctfleet::ctnetlink::{Batch, CreateMode, Group, Namespace};
use ctfleet::events::{Closed, Config, Cursor, Delivery, Error, Groups, Hubs, Subscription};
use ctfleet::flow::{Event, EventType, Flow, FlowChanges, FlowEvent, L4, Masked, Protocol, Tuple};
use tokio::runtime::Runtime;

use crate::harness::{Netns, until};

/// Far more than any event takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The three groups of flows.
const FLOWS: [Group; 3] = [Group::FlowNew, Group::FlowUpdate, Group::FlowDestroy];

/// A namespace and what watches it, as an agent does.
struct Watched {
    // Before the namespace: sockets would keep it.
    hubs: Hubs,
    runtime: Runtime,
    ns: Netns,
}

impl Watched {
    fn new(config: Config) -> Self {
        Self::on(Netns::new(), config)
    }

    fn on(ns: Netns, config: Config) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let hubs = Hubs::new(config, runtime.handle().clone());
        Self { hubs, runtime, ns }
    }

    #[track_caller]
    fn watch(&self, groups: impl IntoIterator<Item = Group>) -> Watcher<'_> {
        self.try_watch(groups, None).expect("a subscription")
    }

    fn try_watch(
        &self,
        groups: impl IntoIterator<Item = Group>,
        resume_after: Option<Cursor>,
    ) -> Result<Watcher<'_>, Error> {
        let groups: Groups = groups.into_iter().collect();
        let subscription = self
            .hubs
            .subscribe(&self.ns.namespace(), groups, resume_after)?;
        Ok(Watcher {
            subscription,
            runtime: &self.runtime,
        })
    }

    /// The `Groups` column of the listener's socket; `None` without one.
    fn joined(&self) -> Option<u32> {
        let rows = self.ns.proc_net("netlink");
        // Family 12 is netfilter, port id 0 the kernel's own end.
        let mut ours = rows
            .iter()
            .filter(|row| row["Eth"] == "12" && row["Pid"] != "0");
        let row = ours.next()?;
        assert!(ours.next().is_none(), "more than one socket: {rows:#?}");
        Some(u32::from_str_radix(&row["Groups"], 16).expect("a bit mask"))
    }

    fn until_joined(&self, groups: Option<u32>) {
        until(&format!("groups {groups:x?}"), || {
            (self.joined() == groups).then_some(())
        });
    }
}

/// Group n of linux/netfilter/nfnetlink_compat.h is bit n - 1 of the column.
const NEW: u32 = 1 << 0;
const UPDATE: u32 = 1 << 1;
const DESTROY: u32 = 1 << 2;
const EXPECT_NEW: u32 = 1 << 3;
const EXPECT_DESTROY: u32 = 1 << 5;

/// A subscription and the runtime that it waits on.
struct Watcher<'a> {
    subscription: Subscription,
    runtime: &'a Runtime,
}

impl Watcher<'_> {
    /// What comes next; panics when nothing does.
    #[track_caller]
    fn next(&mut self) -> Result<Delivery, Closed> {
        self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, self.subscription.next())
                .await
                .expect("something to come")
        })
    }

    /// The next events, as many as are asked for; panics on a gap.
    #[track_caller]
    fn events(&mut self, count: usize) -> Vec<(u64, Event)> {
        let mut got = Vec::new();
        while got.len() < count {
            match self.next().expect("an open listener") {
                Delivery::Events(mut events) => {
                    while let Some((sequence, event)) = events.take_next() {
                        got.push((sequence, event.clone()));
                    }
                }
                Delivery::Gap(gap) => panic!("{gap:?}"),
            }
        }
        assert_eq!(got.len(), count, "{got:#?}");
        got
    }

    /// The next events of flows.
    #[track_caller]
    fn flows(&mut self, count: usize) -> Vec<FlowEvent> {
        let events = self.events(count).into_iter();
        events
            .map(|(_, event)| match event {
                Event::Flow(event) => event,
                Event::Expectation(event) => panic!("{event:?}"),
            })
            .collect()
    }

    /// Nothing is waiting to be read.
    #[track_caller]
    fn nothing(&mut self) {
        while let Some(delivery) = self.subscription.try_next().expect("an open listener") {
            match delivery {
                Delivery::Events(mut events) => assert_eq!(events.take_next(), None),
                Delivery::Gap(gap) => panic!("{gap:?}"),
            }
        }
    }
}

/// The nth of the flows that these tests create: UDP between two hosts.
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

/// Creates the flows with these numbers.
#[track_caller]
fn create(ns: &Netns, numbers: std::ops::Range<u32>) {
    let flows: Vec<_> = numbers.map(flow).collect();
    ns.create(&flows);
}

/// Gives a flow that exists another mark.
#[track_caller]
fn set_mark(ns: &Netns, flow: &Flow, mark: u32) {
    let changes = FlowChanges {
        mark: Some(Masked {
            value: mark,
            mask: u32::MAX,
        }),
        ..FlowChanges::default()
    };
    let mut batch = Batch::open(&ns.namespace()).expect("a connection");
    batch.update(flow, &changes).expect("a change");
    let committed = batch.commit().expect("an answer");
    assert!(committed.failures.is_empty(), "{committed:?}");
}
