//! A delete takes away the one entry that it names, or nothing, and can never become a
//! flush. To ctnetlink a DELETE without a tuple means the whole table, whatever else stands
//! in it: these tests try to make one.

use std::collections::BTreeMap;

use ctfleet::ctnetlink::encode;
use ctfleet::ctnetlink::uapi::nfnetlink_conntrack::{
    CTA_EXPECT_TUPLE, CTA_IP_V4_SRC, CTA_IP_V6_SRC, CTA_TUPLE_IP, CTA_TUPLE_ORIG, CTA_TUPLE_REPLY,
};
use ctfleet::ctnetlink::{Batch, decode};
use ctfleet::flow::filter::NumberField;
use ctfleet::flow::{
    Direction, ExpectationKey, Family, Flow, FlowKey, Protocol, Tuple, Zone, ZoneDirection,
};
use proptest::prelude::*;
use proptest::sample::select;

use crate::harness::filters::is;
use crate::harness::flows::{FAMILIES, flow, host, protocols};
use crate::harness::{Netns, until};

/// Entries of every kind, in zones of every kind, with neighbours that differ in one thing.
fn population() -> Vec<Flow> {
    let mut flows = Vec::new();
    for family in FAMILIES {
        for protocol in protocols(family) {
            for zone in zones() {
                for port in [1001, 1002] {
                    let mut flow = flow(family, protocol, port);
                    flow.zone = zone;
                    if zone.direction != ZoneDirection::Both {
                        // Its replies are in zone 0, where they must not meet another's.
                        flow.orig.src = host(family, 3);
                        flow.reply = flow.orig.inverse();
                    }
                    flows.push(flow);
                    if protocol == Protocol(89) {
                        // Its tuple has no port to differ in.
                        break;
                    }
                }
            }
        }
    }
    flows
}

fn zones() -> [Zone; 4] {
    [
        Zone::default(),
        Zone::both(1),
        Zone::both(2),
        Zone {
            id: 3,
            direction: ZoneDirection::Orig,
        },
    ]
}

/// Which entries a key can mean to the kernel: it looks the tuple up among the tuples of
/// both directions, in the zone that the found direction has.
fn meant(flow: &Flow, key: &FlowKey) -> bool {
    let number = |zone: Zone, direction| match (zone.direction, direction) {
        (ZoneDirection::Both, _)
        | (ZoneDirection::Orig, Direction::Orig)
        | (ZoneDirection::Reply, Direction::Reply) => zone.id,
        _ => 0,
    };
    // The encoder leaves the zone out where it is that of the other direction.
    let said = match (key.zone.direction, key.direction) {
        (ZoneDirection::Orig, Direction::Reply) | (ZoneDirection::Reply, Direction::Orig) => {
            Zone::default()
        }
        _ => key.zone,
    };
    let ends = [(Direction::Orig, flow.orig), (Direction::Reply, flow.reply)];
    let found = ends.into_iter().any(|(direction, tuple)| {
        tuple == key.tuple && number(flow.zone, direction) == number(said, direction)
    });
    found && key.id.is_none_or(|id| Some(id) == flow.id)
}

/// A key of the entry, with any of its parts exchanged.
fn near_miss(flow: Flow) -> impl Strategy<Value = FlowKey> {
    let key = FlowKey {
        tuple: flow.orig,
        direction: Direction::Orig,
        zone: flow.zone,
        id: flow.id,
    };
    let tuples = vec![
        flow.orig,
        flow.reply,
        Tuple {
            protocol: Protocol::UDP,
            ..flow.orig
        },
        Tuple {
            src: flow.orig.dst,
            ..flow.orig
        },
    ];
    let tuples: Vec<_> = tuples.into_iter().filter(Tuple::l4_fits_protocol).collect();
    let ids = vec![flow.id, flow.id, None, flow.id.map(|id| id ^ 1), Some(0)];
    let same = Just(key);
    let other = (
        select(tuples),
        select(&[Direction::Orig, Direction::Reply][..]),
        select(zones().to_vec()),
        select(ids),
    )
        .prop_map(|(tuple, direction, zone, id)| FlowKey {
            tuple,
            direction,
            zone,
            id,
        });
    prop_oneof![1 => same, 3 => other]
}

proptest! {
    // Every step asks the kernel: few cases, and no long search for a smaller one.
    #![proptest_config(ProptestConfig {
        cases: 24,
        max_shrink_iters: 20,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_delete_takes_away_what_it_names_and_nothing_else(
        choices in prop::collection::vec((any::<prop::sample::Index>(), any::<[u8; 32]>()), 20),
        together in any::<bool>(),
    ) {
        let ns = Netns::new();
        let seeded = population();
        ns.create(&seeded);
        let mut model: BTreeMap<_, _> = table(&ns);
        prop_assert_eq!(model.len(), seeded.len());
        let all: Vec<Flow> = model.values().cloned().collect();
        let mut batch = Batch::open(&ns.namespace())?;
        let mut expected = Vec::new();
        for (choice, seed) in choices {
            let key = drawn(near_miss(choice.get(&all).clone()), seed);
            let before = model.len();
            model.retain(|_, flow| !meant(flow, &key));
            prop_assert!(before - model.len() <= 1, "the key of one entry: {:?}", key);
            batch.delete(&key)?;
            if before == model.len() {
                expected.push(batch.len() - 1);
            }
            if !together {
                let failures = batch.commit()?.failures;
                let failed: Vec<_> = failures.iter().map(|(_, error)| error.errno).collect();
                prop_assert_eq!(failed, vec![libc::ENOENT; expected.len()], "{:?}", key);
                prop_assert_eq!(&table(&ns), &model, "{:?}", key);
                expected.clear();
            }
        }
        let failures = batch.commit()?.failures;
        prop_assert!(failures.iter().all(|(_, error)| error.errno == libc::ENOENT));
        let failed: Vec<_> = failures.iter().map(|(index, _)| *index).collect();
        prop_assert_eq!(failed, expected);
        prop_assert_eq!(&table(&ns), &model);
    }
}

/// The table, without what the clock changes.
fn table(ns: &Netns) -> BTreeMap<Option<u32>, Flow> {
    let timeless = |mut flow: Flow| {
        flow.timeout = None;
        (flow.id, flow)
    };
    ns.flows(None).into_iter().map(timeless).collect()
}

/// One value of a strategy, from a seed that proptest shrinks and repeats.
fn drawn<S: Strategy>(strategy: S, seed: [u8; 32]) -> S::Value {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    strategy.new_tree(&mut runner).expect("a value").current()
}

#[test]
fn an_id_that_another_entry_has_does_not_delete() {
    let ns = Netns::new();
    ns.create(&[
        flow(Family::V4, Protocol::UDP, 1),
        flow(Family::V4, Protocol::UDP, 2),
    ]);
    let flows = ns.flows(None);
    let swapped = FlowKey {
        id: flows[1].id,
        ..flows[0].key()
    };
    let mut batch = Batch::open(&ns.namespace()).expect("a socket");
    batch.delete(&swapped).expect("encoded");
    let committed = batch.commit().expect("an answer");
    assert_eq!(committed.failures[0].1.name(), "ENOENT");
    assert_eq!(ns.entries(), 2);
}

/// The id is a hash of the tuple and of the entry's place in memory: a successor with the
/// same tuple in the same place has the same id, one elsewhere has not.
#[test]
fn an_entry_that_took_another_s_place_is_left_alone() {
    let ns = Netns::new();
    let template = flow(Family::V6, Protocol::TCP, 1);
    ns.create(std::slice::from_ref(&template));
    let only = is(NumberField::Family, 6);
    let mut fillers = 1..;
    let (key, successor) = until("a successor elsewhere in memory", || {
        let key = ns.flows(Some(only.clone()))[0].key();
        ns.conntrack("-D -f ipv6");
        // Something else takes the place that became free.
        ns.create(&[flow(Family::V4, Protocol::TCP, fillers.next()?)]);
        ns.create(std::slice::from_ref(&template));
        let successor = ns.flows(Some(only.clone()))[0].key();
        (key.id != successor.id).then_some((key, successor))
    });
    let mut batch = Batch::open(&ns.namespace()).expect("a socket");
    batch.delete(&key).expect("encoded");
    assert_eq!(batch.commit().expect("an answer").failures.len(), 1);
    assert_eq!(ns.flows(Some(only.clone())).len(), 1);
    batch.delete(&successor).expect("encoded");
    assert_eq!(batch.commit().expect("an answer").failures, []);
    assert_eq!(ns.flows(Some(only)), []);
}

#[test]
fn deleting_a_filtered_dump_spares_everything_else() {
    let ns = Netns::new();
    ns.create(&population());
    let before = ns.entries();
    let filter = is(NumberField::Zone, 2);
    let doomed = ns.flows(Some(filter.clone()));
    assert!(!doomed.is_empty() && (doomed.len() as u64) < before);
    let mut batch = Batch::open(&ns.namespace()).expect("a socket");
    for flow in &doomed {
        batch.delete(&flow.key()).expect("encoded");
    }
    assert_eq!(batch.commit().expect("an answer").failures, []);
    assert_eq!(ns.entries(), before - doomed.len() as u64);
    assert_eq!(ns.flows(Some(filter)), []);
    // Once more: all gone already.
    for flow in &doomed {
        batch.delete(&flow.key()).expect("encoded");
    }
    let failures = batch.commit().expect("an answer").failures;
    assert!(
        failures
            .iter()
            .all(|(_, error)| error.errno == libc::ENOENT)
    );
    assert_eq!(failures.len(), doomed.len());
    assert_eq!(ns.entries(), before - doomed.len() as u64);
}

#[test]
fn a_batch_with_nothing_in_it_does_nothing() {
    let ns = Netns::new();
    ns.create(&[flow(Family::V4, Protocol::UDP, 1)]);
    let mut batch = Batch::open(&ns.namespace()).expect("a socket");
    let committed = batch.commit().expect("no answer");
    assert_eq!((committed.count, ns.entries()), (0, 1));
}

/// An arbitrary tuple, also one that makes no sense.
fn any_tuple() -> impl Strategy<Value = Tuple> {
    use ctfleet::flow::L4;
    use std::net::IpAddr;
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ];
    let l4 = prop_oneof![
        Just(L4::None),
        any::<(u16, u16)>().prop_map(|(src, dst)| L4::Ports { src, dst }),
        any::<(u8, u8, u16)>().prop_map(|(kind, code, id)| L4::Icmp { kind, code, id }),
        any::<(u16, u16)>().prop_map(|(src, dst)| L4::Gre { src, dst }),
    ];
    (address.clone(), address, any::<u8>(), l4).prop_map(|(src, dst, protocol, l4)| Tuple {
        src,
        dst,
        protocol: Protocol(protocol),
        l4,
    })
}

fn any_zone() -> impl Strategy<Value = Zone> {
    use ZoneDirection::{Both, Orig, Reply};
    (any::<u16>(), select(&[Both, Orig, Reply][..]))
        .prop_map(|(id, direction)| Zone { id, direction })
}

/// Whether the message has the attribute, and in it addresses.
fn names_a_tuple(message: &[u8], kinds: &[u16]) -> bool {
    let message = decode::messages(message)
        .next()
        .expect("a message")
        .expect("whole");
    let (_, attributes) = message.netfilter().expect("nfgenmsg");
    let find = |attributes, kinds: &[u16]| {
        decode::attributes(attributes)
            .filter_map(Result::ok)
            .find(|attribute| kinds.contains(&attribute.kind))
    };
    find(attributes, kinds)
        .and_then(|tuple| find(tuple.value, &[CTA_TUPLE_IP]))
        .and_then(|ip| find(ip.value, &[CTA_IP_V4_SRC, CTA_IP_V6_SRC]))
        .is_some()
}

proptest! {
    #[test]
    fn no_key_encodes_to_a_delete_without_a_tuple(
        tuple in any_tuple(),
        direction in select(&[Direction::Orig, Direction::Reply][..]),
        zone in any_zone(),
        id in any::<Option<u32>>(),
        answer in any::<bool>(),
    ) {
        let mut buffer = Vec::new();
        let key = FlowKey { tuple, direction, zone, id };
        // What cannot be said leaves nothing behind.
        match encode::delete_flow(&mut buffer, 1, &key, answer) {
            Ok(()) => prop_assert!(names_a_tuple(&buffer, &[CTA_TUPLE_ORIG, CTA_TUPLE_REPLY])),
            Err(_) => prop_assert!(buffer.is_empty()),
        }
        buffer.clear();
        let key = ExpectationKey { tuple, zone: zone.id, id };
        match encode::delete_expectation(&mut buffer, 1, &key, answer) {
            Ok(()) => prop_assert!(names_a_tuple(&buffer, &[CTA_EXPECT_TUPLE])),
            Err(_) => prop_assert!(buffer.is_empty()),
        }
    }
}
