//! Short calls: get, statistics, the table's size, flush, and what a namespace that is not
//! there answers.

use std::future::Future;
use std::net::SocketAddr;

use ctfleet::ctnetlink::{Conn, CreateMode, Error, FlowDump, FlowDumpRequest, Namespace};
use ctfleet::flow::{Direction, Family, FlowKey, L4, Protocol, Tuple, Zone};

use crate::harness::flows::{FAMILIES, expectation, flow, helped, host, tuple};
use crate::harness::traffic::{Tcp, udp};
use crate::harness::{Firewall, Netns, until};

/// Asks over a connection into the namespace.
fn ask<T>(ns: &Netns, question: impl AsyncFnOnce(Conn) -> T) -> T {
    block_on(async {
        let conn = Conn::open(&ns.namespace()).await.expect("a connection");
        question(conn).await
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn errno<T>(result: Result<T, Error>) -> Option<i32> {
    result.err().and_then(|error| error.errno())
}

#[test]
fn an_entry_is_got_by_either_tuple_and_only_in_its_zone() {
    let ns = Netns::new();
    for family in FAMILIES {
        let mut wanted = flow(family, Protocol::TCP, 1);
        wanted.reply.dst = host(family, 9);
        wanted.status = Some(ctfleet::flow::Status::SRC_NAT);
        wanted.zone = Zone::both(4);
        ns.create(std::slice::from_ref(&wanted));
        let [expected] = &ns.flows(None)[..] else {
            panic!("one")
        };
        let key = |tuple, direction, zone| FlowKey {
            tuple,
            direction,
            zone: Zone::both(zone),
            id: None,
        };
        ask(&ns, async |conn| {
            for (tuple, direction) in [
                (expected.orig, Direction::Orig),
                (expected.reply, Direction::Reply),
            ] {
                let mut got = conn.get_flow(&key(tuple, direction, 4)).await.expect("it");
                got.timeout = expected.timeout;
                assert_eq!(got.id, expected.id);
                assert_eq!((got.orig, got.reply), (expected.orig, expected.reply));
                let elsewhere = conn.get_flow(&key(tuple, direction, 5)).await;
                assert_eq!(errno(elsewhere), Some(libc::ENOENT));
            }
            let other = tuple(family, Protocol::TCP, 2);
            let missing = conn.get_flow(&key(other, Direction::Orig, 4)).await;
            assert_eq!(errno(missing), Some(libc::ENOENT));
        });
        ns.conntrack("-F");
    }
}

#[test]
fn many_calls_at_once_get_each_its_own_answer() {
    let ns = Netns::new();
    let flows: Vec<_> = (1..=200)
        .map(|port| flow(Family::V4, Protocol::UDP, port))
        .collect();
    ns.create(&flows);
    ask(&ns, async |conn| {
        let calls = flows.iter().map(|flow| {
            let conn = conn.clone();
            let key = flow.key();
            tokio::spawn(async move { conn.get_flow(&key).await })
        });
        for (call, flow) in calls.collect::<Vec<_>>().into_iter().zip(&flows) {
            let got = call.await.expect("no panic").expect("it");
            assert_eq!(got.orig, flow.orig);
        }
    });
}

#[test]
fn one_entry_is_created_changed_and_deleted() {
    let ns = Netns::new();
    let wanted = flow(Family::V6, Protocol::UDP, 1);
    ask(&ns, async |conn| {
        conn.create_flow(&wanted, CreateMode::Create)
            .await
            .expect("created");
        let again = conn.create_flow(&wanted, CreateMode::Create).await;
        assert_eq!(errno(again), Some(libc::EEXIST));
        let current = conn.get_flow(&wanted.key()).await.expect("it");
        let changes = ctfleet::flow::FlowChanges {
            mark: Some(ctfleet::flow::Masked {
                value: 6,
                mask: u32::MAX,
            }),
            ..Default::default()
        };
        conn.update_flow(&current, &changes).await.expect("changed");
        assert_eq!(ns.witness("-m 6").len(), 1);
        let wrong = FlowKey {
            id: current.id.map(|id| !id),
            ..current.key()
        };
        assert_eq!(errno(conn.delete_flow(&wrong).await), Some(libc::ENOENT));
        assert_eq!(ns.entries(), 1);
        conn.delete_flow(&current.key()).await.expect("deleted");
        assert_eq!(
            errno(conn.delete_flow(&current.key()).await),
            Some(libc::ENOENT)
        );
        assert_eq!(ns.entries(), 0);
    });
}

#[test]
fn a_flush_takes_one_family_or_both() {
    let ns = Netns::new();
    let fill = || {
        let flows = FAMILIES.map(|family| [1, 2, 3].map(|port| flow(family, Protocol::UDP, port)));
        ns.create(flows.as_flattened());
    };
    for (family, left) in [(Some(Family::V4), 3), (Some(Family::V6), 3), (None, 0)] {
        fill();
        ask(&ns, async |conn| {
            conn.flush_flows(family).await.expect("flushed")
        });
        assert_eq!(ns.entries(), left, "{family:?}");
        assert!(
            ns.flows(None)
                .iter()
                .all(|flow| Some(flow.family()) != family)
        );
        ns.conntrack("-F");
    }
}

#[test]
fn the_size_of_the_table_is_what_the_kernel_says() {
    let ns = Netns::new();
    ns.create(&[
        flow(Family::V4, Protocol::UDP, 1),
        flow(Family::V6, Protocol::UDP, 1),
    ]);
    let size = ask(&ns, async |conn| {
        conn.table_size().await.expect("an answer")
    });
    assert_eq!(u64::from(size.entries), ns.entries());
    let max = ns.sysctl("net/netfilter/nf_conntrack_max");
    assert_eq!(size.max.map(|max| max.to_string()), Some(max));
}

/// The counters of conntrack(8), processor by processor.
fn witnessed_stats(ns: &Netns) -> Vec<Vec<(String, u64)>> {
    let lines = ns.conntrack("-S");
    let words = |line: &str| {
        line.split_whitespace()
            .filter_map(|word| word.split_once('='))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    };
    lines.lines().map(words).collect()
}

#[test]
fn statistics_are_those_of_conntrack() {
    let firewall = Firewall::new();
    let Firewall {
        client,
        router,
        server,
    } = &firewall;
    let at = SocketAddr::new(Firewall::server_address(Family::V4), 0);
    let tcp = Tcp::open(client, server, at);
    udp(client, server, at);
    let stats = until("the counters to be at rest", || {
        let before = witnessed_stats(router);
        let stats = ask(router, async |conn| {
            conn.flow_stats().await.expect("an answer")
        });
        (before == witnessed_stats(router)).then_some((before, stats))
    });
    let (witnessed, stats) = stats;
    assert_eq!(witnessed.len(), stats.len());
    for (witnessed, cpu) in witnessed.iter().zip(&stats) {
        for (name, value) in witnessed {
            let name = match &name[..] {
                "chaintoolong" => "chain_toolong",
                name => name,
            };
            let found = match name {
                "cpu" => Some(u64::from(cpu.cpu)),
                name => cpu
                    .stats
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, value)| value),
            };
            assert_eq!(found, Some(*value), "{name} of processor {}", cpu.cpu);
        }
    }
    drop(tcp);
}

#[test]
fn expectations_are_got_counted_and_flushed() {
    let ns = Netns::new();
    for family in FAMILIES {
        let master = helped(flow(family, Protocol::TCP, 21), "ftp");
        ns.create(std::slice::from_ref(&master));
        let wanted = expectation(&master, 4001);
        ask(&ns, async |conn| {
            let sum = async || {
                let mut total = ctfleet::flow::ExpectationStats::default();
                for cpu in conn.expectation_stats().await.expect("an answer") {
                    total.add(&cpu.stats);
                }
                total
            };
            let before = sum().await;
            conn.create_expectation(&wanted, CreateMode::Create)
                .await
                .expect("created");
            let got = conn.get_expectation(&wanted.key()).await.expect("it");
            assert_eq!((got.tuple, got.master), (wanted.tuple, wanted.master));
            conn.delete_expectation(&got.key()).await.expect("deleted");
            assert_eq!(
                errno(conn.get_expectation(&wanted.key()).await),
                Some(libc::ENOENT)
            );
            conn.create_expectation(&wanted, CreateMode::Create)
                .await
                .expect("created");
            conn.flush_expectations().await.expect("flushed");
            assert_eq!(
                errno(conn.get_expectation(&wanted.key()).await),
                Some(libc::ENOENT)
            );
            let after = sum().await;
            let grown = |before: Option<u64>, after: Option<u64>| Some(after? - before?);
            assert_eq!(grown(before.create, after.create), Some(2));
            assert_eq!(grown(before.delete, after.delete), Some(2));
        });
    }
}

#[test]
fn what_cannot_be_said_to_the_kernel_is_refused_before() {
    let ns = Netns::new();
    let mut mixed = flow(Family::V4, Protocol::UDP, 1);
    mixed.orig.dst = host(Family::V6, 1);
    let mut portless = flow(Family::V4, Protocol::UDP, 1);
    portless.orig.l4 = L4::None;
    ask(&ns, async |conn| {
        for wrong in [mixed, portless] {
            let refused = conn.create_flow(&wrong, CreateMode::Create).await;
            let errno = match &refused {
                Err(Error::Unencodable(_)) => None,
                Err(Error::Kernel(error)) => Some(error.errno),
                other => panic!("{other:?}"),
            };
            assert!(matches!(errno, None | Some(libc::EINVAL)), "{refused:?}");
            let deleted = conn.delete_flow(&wrong.key()).await;
            assert!(deleted.is_err());
        }
    });
    assert_eq!(ns.entries(), 0);
}

#[test]
fn a_namespace_that_is_not_there_is_named_in_the_error() {
    // It needs the rights, and makes the directory.
    let _ns = Netns::new();
    let nowhere = Namespace::named("ct-nowhere").expect("a name");
    let errors = [
        FlowDump::open(&nowhere, FlowDumpRequest::default()).err(),
        block_on(Conn::open(&nowhere)).err(),
    ];
    for error in errors {
        let text = error.expect("no such namespace").to_string();
        assert!(
            text.contains("\"ct-nowhere\"") && text.contains("does not exist"),
            "{text}"
        );
    }
    for name in ["", ".", "..", "a/b", "../net", "a\0b"] {
        assert!(Namespace::named(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_dump_outlives_the_name_of_its_namespace() {
    let ns = Netns::new();
    ns.create(
        &(1..=2000)
            .map(|port| flow(Family::V4, Protocol::UDP, port))
            .collect::<Vec<_>>(),
    );
    let namespace = ns.namespace();
    let mut dump = FlowDump::open(&namespace, FlowDumpRequest::default()).expect("a dump");
    assert!(dump.read(&mut |_| ()).expect("a datagram"));
    drop(ns);
    while dump.read(&mut |_| ()).expect("a datagram") {}
    assert_eq!(dump.counts().matched, 2000);
    assert!(FlowDump::open(&namespace, FlowDumpRequest::default()).is_err());
}

#[test]
fn the_namespaces_of_the_host_are_listed_by_name() {
    let (one, other) = (Netns::new(), Netns::new());
    let listed = Namespace::list().expect("the directory");
    let find = |ns: &Netns| {
        let entry = listed
            .iter()
            .find(|entry| entry.namespace.name() == ns.name());
        entry.expect("listed").inode
    };
    let inside = |ns: &Netns| {
        let link = ns
            .enter(|| std::fs::read_link("/proc/thread-self/ns/net"))
            .expect("a link");
        link.to_string_lossy().into_owned()
    };
    assert_ne!(find(&one), find(&other));
    for ns in [&one, &other] {
        assert_eq!(inside(ns), format!("net:[{}]", find(ns)));
    }
    assert!(listed.is_sorted_by_key(|entry| entry.namespace.name()));
}

/// A tuple with nothing but addresses has none to mistake for ports.
#[test]
fn a_protocol_without_a_tracker_is_got_by_its_addresses() {
    let ns = Netns::new();
    let ospf = flow(Family::V4, Protocol(89), 0);
    ns.create(std::slice::from_ref(&ospf));
    let key = FlowKey {
        tuple: Tuple {
            l4: L4::None,
            ..ospf.orig
        },
        ..ospf.key()
    };
    let got = ask(&ns, async |conn| conn.get_flow(&key).await.expect("it"));
    assert_eq!(got.orig, ospf.orig);
}
