//! Linux connection tracking: as a library for one host, and over gRPC for a fleet.
//!
//! The kernel tracks every connection that passes a firewall, and lets programs read, change
//! and watch its table over netlink. This crate is
//!
//! - ctnetlink for Rust programs: [`ctnetlink`] speaks to the kernel, in terms of the types
//!   in [`flow`]; [`expr`] reads and prints filters; [`events`] lets many readers share one
//!   listener;
//! - the agent and the client of a fleet: [`agent`] and [`ctctl`] are the programs,
//!   [`pb`] the messages and clients of the API between them, [`wire`] their conversion from
//!   and to [`flow`].
//!
//! Everything that meets the kernel needs CAP_NET_ADMIN. `unshare -Urn` gives it to anybody,
//! in an empty network namespace of its own.
//!
//! # Read
//!
//! A dump is pulled: each [`read`](ctnetlink::FlowDump::read) brings one datagram of at most
//! 32 KiB, so a table of any size needs no memory, and dropping the dump ends it. The kernel
//! pre-selects what it can of the filter; the whole of it is evaluated on every entry.
//!
//! ```no_run
//! use ctfleet::ctnetlink::{FlowDump, FlowDumpRequest, Namespace};
//! use ctfleet::expr;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let request = FlowDumpRequest {
//!     filter: Some(expr::parse("dport 443 and not tcp-state TIME_WAIT")?),
//!     ..FlowDumpRequest::default()
//! };
//! let mut dump = FlowDump::open(&Namespace::own(), request)?;
//! while dump.read(&mut |flow| println!("{} -> {}", flow.orig.src, flow.orig.dst))? {}
//! println!("{:?}", dump.counts());
//! # Ok(())
//! # }
//! ```
//!
//! A filter can be built in Rust, too, and evaluated without a kernel:
//!
//! ```
//! use ctfleet::flow::filter::{AddressField, NumberField};
//! use ctfleet::flow::{Filter, Flow, L4, Protocol, Tuple};
//!
//! let network: ipnet::IpNet = "10.0.0.0/8".parse()?;
//! let filter = Filter::address(AddressField::Src, [network])
//!     & Filter::number(NumberField::DstPort, [80, 443]);
//!
//! let orig = Tuple {
//!     src: "10.0.0.7".parse()?,
//!     dst: "192.0.2.80".parse()?,
//!     protocol: Protocol::TCP,
//!     l4: L4::Ports { src: 40000, dst: 443 },
//! };
//! let flow = Flow::new(orig, orig.inverse());
//! // The second argument is the time, for conditions on a flow's age.
//! assert!(filter.matches(&flow, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Write
//!
//! A [`Batch`](ctnetlink::Batch) sends up to 128 requests in one datagram and says which of
//! them the kernel refused, and why. A deletion always names an entry: there is no
//! [`FlowKey`](flow::FlowKey) without a tuple, which to the kernel would mean the whole
//! table. With the id in the key, an entry that took the place of the one that was read is
//! left alone.
//!
//! ```no_run
//! use ctfleet::ctnetlink::{Batch, CreateMode, FlowDump, FlowDumpRequest, Namespace};
//! use ctfleet::flow::{Flow, L4, Protocol, Tuple};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let here = Namespace::own();
//! let orig = Tuple {
//!     src: "10.0.0.7".parse()?,
//!     dst: "192.0.2.80".parse()?,
//!     protocol: Protocol::UDP,
//!     l4: L4::Ports { src: 40000, dst: 53 },
//! };
//! let mut flow = Flow::new(orig, orig.inverse());
//! flow.timeout = Some(120);
//! flow.mark = Some(7);
//!
//! let mut batch = Batch::open(&here)?;
//! batch.create(&flow, CreateMode::Create)?;
//! for (place, error) in batch.commit()?.failures {
//!     eprintln!("item {place}: {error}");
//! }
//!
//! // Deletes what was read, entry by entry.
//! let mut keys = Vec::new();
//! let mut dump = FlowDump::open(&here, FlowDumpRequest::default())?;
//! while dump.read(&mut |flow| keys.push(flow.key()))? {}
//! for key in &keys {
//!     batch.delete(key)?;
//!     if batch.is_full() {
//!         batch.commit()?;
//!     }
//! }
//! batch.commit()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Watch
//!
//! A [`Listener`](ctnetlink::Listener) hears what the kernel multicasts, and how many
//! messages the kernel had to drop: that number is exact. Open it before you dump, and the
//! two together have no hole.
//!
//! ```no_run
//! use ctfleet::ctnetlink::{Group, Heard, ListenOptions, Listener, Namespace};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut listener = Listener::open(&Namespace::own(), ListenOptions::default())?;
//! listener.handle().join(Group::FlowNew)?;
//! listener.handle().join(Group::FlowDestroy)?;
//! loop {
//!     listener.receive(&mut |heard| match heard {
//!         Heard::Event(event) => println!("{event:?}"),
//!         Heard::Lost(count) => println!("{count} events were lost"),
//!         Heard::Malformed(error) => println!("{error}"),
//!         // Comes only after `ListenerHandle::mark`.
//!         Heard::Mark => {}
//!     })?;
//! }
//! # }
//! ```
//!
//! With the sysctl `net.netfilter.nf_conntrack_events` = 2, the kernel's default, an entry
//! that was created while nobody listened ends without an event.
//!
//! [`events::Hubs`] puts sequence numbers, a bounded ring and any number of readers behind
//! one listener a namespace.
//!
//! # Ask
//!
//! [`Conn`](ctnetlink::Conn) is for short questions from asynchronous code: one entry,
//! statistics, the size of the table, a flush. The other three block and belong on a thread
//! of their own, such as that of `tokio::task::spawn_blocking`.
//!
//! # Over gRPC
//!
//! [`pb`] has the clients of the API in `proto/ctfleet/v1`. A [`Filter`](flow::Filter)
//! becomes a message by `pb::Filter::from(&filter)`, a message a flow by
//! `Flow::try_from(message)`.
//!
//! ```no_run
//! use ctfleet::flow::Flow;
//! use ctfleet::pb;
//! use ctfleet::pb::flow_service_client::FlowServiceClient;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut client = FlowServiceClient::connect("unix:/run/ctfleet/ctagent.sock").await?;
//! let filter = ctfleet::expr::parse("dport 443")?;
//! let request = pb::DumpFlowsRequest {
//!     filter: Some(pb::Filter::from(&filter)),
//!     ..pb::DumpFlowsRequest::default()
//! };
//! let mut messages = client.dump_flows(request).await?.into_inner();
//! while let Some(message) = messages.message().await? {
//!     for flow in message.flows {
//!         println!("{:?}", Flow::try_from(flow)?.orig);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The programs in `examples/` are whole ones: `dump`, `watch`, and `controller`, which
//! watches several agents and cuts the flows of a blocked network.

pub mod access;
pub mod agent;
pub mod api;
pub mod audit;
pub mod ctctl;
pub mod ctnetlink;
pub mod events;
pub mod expr;
pub mod flow;
pub mod lifecycle;
pub mod pb;
pub mod sandbox;
pub mod telemetry;
pub mod tls;
pub mod wire;
