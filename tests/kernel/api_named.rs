//! Tries to make a change touch more than it names: random keys, ids and filters, most of
//! them wrong by a little, on a table of entries that differ by a little. Whatever is asked,
//! conntrack(8) must find exactly the rest as it was.

use ctfleet::flow::filter::NumberField;
use ctfleet::flow::{Direction, Family, Filter, Flow, FlowKey, L4, Protocol, Zone, ZoneDirection};
use ctfleet::pb;
use ctfleet::pb::delete_expectations_request::Target as Expectations;
use ctfleet::pb::flow_service_client::FlowServiceClient;
use ctfleet::pb::{delete_flows_request as delete, update_flows_request as update};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::filters::{is, not};
use crate::harness::flows::{FAMILIES, expectation, flow, helped, protocols, translated};
use crate::harness::witness::Row;

/// How many requests are tried.
const REQUESTS: usize = 100;
/// The mark that updates set; no entry begins with it.
const MARK: u32 = 0xdead;

/// Entries that are easily taken for one another.
fn table() -> Vec<Flow> {
    let mut all = Vec::new();
    for family in FAMILIES {
        for protocol in protocols(family) {
            let plain = flow(family, protocol, 1);
            let mut zoned = plain.clone();
            zoned.zone = Zone::both(5);
            all.extend([plain, zoned]);
        }
        for protocol in [Protocol::TCP, Protocol::UDP] {
            let sides = [ZoneDirection::Orig, ZoneDirection::Reply];
            for (port, direction) in (2..).zip(sides) {
                let mut zoned = flow(family, protocol, port);
                zoned.zone = Zone { id: 5, direction };
                all.push(zoned);
            }
            for port in 4..8 {
                all.push(translated(
                    flow(family, protocol, port),
                    port & 1 == 0,
                    port & 2 == 0,
                ));
            }
            // One in the other direction.
            let mut back = flow(family, protocol, 8);
            std::mem::swap(&mut back.orig, &mut back.reply);
            all.push(back);
        }
    }
    for (index, flow) in (0..).zip(&mut all) {
        flow.mark = Some(index % 4);
    }
    all
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Nothing,
    /// The other direction, with the tuple of this one.
    Direction,
    Zone(u16),
    ZoneDirection(ZoneDirection),
    Port,
    Protocol(Protocol),
    NoPorts,
    Id,
}

#[derive(Clone, Debug)]
struct Pick {
    entry: Index,
    reply: bool,
    with_id: bool,
    wrong: Wrong,
}

#[derive(Clone, Debug)]
enum Target {
    Keys(Vec<Pick>),
    Ids(Vec<(Index, bool)>),
    Filter(Filter),
}

#[derive(Clone, Debug)]
struct Attempt {
    target: Target,
    delete: bool,
    dry_run: bool,
    max_affected: Option<u64>,
}

fn pick() -> impl Strategy<Value = Pick> {
    let direction = prop_oneof![
        Just(ZoneDirection::Both),
        Just(ZoneDirection::Orig),
        Just(ZoneDirection::Reply)
    ];
    let protocol = prop_oneof![
        Just(Protocol::TCP),
        Just(Protocol::UDP),
        Just(Protocol::UDPLITE),
        Just(Protocol::SCTP),
        Just(Protocol(50)),
    ];
    let wrong = prop_oneof![
        3 => Just(Wrong::Nothing),
        3 => Just(Wrong::Direction),
        2 => prop_oneof![Just(0), Just(5), Just(6)].prop_map(Wrong::Zone),
        3 => direction.prop_map(Wrong::ZoneDirection),
        1 => Just(Wrong::Port),
        1 => protocol.prop_map(Wrong::Protocol),
        1 => Just(Wrong::NoPorts),
        1 => Just(Wrong::Id),
    ];
    (any::<Index>(), any::<bool>(), any::<bool>(), wrong).prop_map(
        |(entry, reply, with_id, wrong)| Pick {
            entry,
            reply,
            with_id,
            wrong,
        },
    )
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let filter = prop_oneof![
        (0..5_i64).prop_map(|mark| is(NumberField::Mark, mark)),
        (0..9_i64).prop_map(|port| is(NumberField::SrcPort, port)),
        prop_oneof![Just(0_i64), Just(5), Just(6)].prop_map(|zone| is(NumberField::Zone, zone)),
        Just(is(NumberField::Family, 6)),
        Just(not(is(NumberField::Family, 6))),
        Just(Filter::And(vec![
            is(NumberField::Family, 4),
            is(NumberField::Family, 6)
        ])),
    ];
    let target = prop_oneof![
        4 => prop::collection::vec(pick(), 1..6).prop_map(Target::Keys),
        1 => prop::collection::vec(any::<(Index, bool)>(), 1..4).prop_map(Target::Ids),
        1 => filter.prop_map(Target::Filter),
    ];
    let max = prop::option::weighted(0.2, 0..4_u64);
    (target, any::<bool>(), prop::bool::weighted(0.1), max).prop_map(
        |(target, delete, dry_run, max_affected)| Attempt {
            target,
            delete,
            dry_run,
            max_affected,
        },
    )
}

fn key(pick: &Pick, flows: &[Flow]) -> FlowKey {
    let flow = pick.entry.get(flows);
    let mut key = flow.key();
    if pick.reply {
        key.direction = Direction::Reply;
        key.tuple = flow.reply;
    }
    if !pick.with_id {
        key.id = None;
    }
    match pick.wrong {
        Wrong::Nothing => {}
        Wrong::Direction => {
            key.direction = match key.direction {
                Direction::Orig => Direction::Reply,
                Direction::Reply => Direction::Orig,
            }
        }
        Wrong::Zone(zone) => key.zone.id = zone,
        Wrong::ZoneDirection(direction) => key.zone.direction = direction,
        Wrong::Port => {
            if let L4::Ports { dst, .. } = &mut key.tuple.l4 {
                *dst += 1;
            }
        }
        Wrong::Protocol(protocol) => key.tuple.protocol = protocol,
        Wrong::NoPorts => key.tuple.l4 = L4::None,
        Wrong::Id => key.id = key.id.or(flow.id).map(|id| id ^ 1),
    }
    key
}

/// Whether a key names an entry, said once more in the test's own words.
fn names(key: &FlowKey, flow: &Flow) -> bool {
    let tuple = match key.direction {
        Direction::Orig => flow.orig,
        Direction::Reply => flow.reply,
    };
    let default_zone = flow.zone.id == 0 && key.zone.id == 0;
    tuple == key.tuple
        && (default_zone || flow.zone == key.zone)
        && key.id.is_none_or(|id| flow.id == Some(id))
}

/// The table as conntrack(8) lists it.
fn witness(ns: &Netns) -> Vec<Row> {
    rows(ns.conntrack("-L -o extended,id").lines().map(Row::parse))
}

/// Rows without what the clock and the reader change.
fn rows(rows: impl IntoIterator<Item = Row>) -> Vec<Row> {
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|row| Row {
            timeout: None,
            use_count: None,
            ..row
        })
        .collect();
    rows.sort();
    rows
}

/// The message, and what it names of these flows.
fn message(attempt: &Attempt, flows: &[Flow]) -> (delete::Target, Vec<bool>, bool) {
    let touches = |named: &dyn Fn(&Flow) -> bool| flows.iter().map(named).collect::<Vec<_>>();
    match &attempt.target {
        Target::Keys(picks) => {
            let keys: Vec<_> = picks.iter().map(|pick| key(pick, flows)).collect();
            let valid = keys.iter().all(|key| key.tuple.l4_fits_protocol());
            let named = touches(&|flow| valid && keys.iter().any(|key| names(key, flow)));
            let keys = keys.iter().map(Into::into).collect();
            (delete::Target::Keys(pb::FlowKeys { keys }), named, valid)
        }
        Target::Ids(picks) => {
            let ids: Vec<_> = picks
                .iter()
                .map(|(entry, wrong)| {
                    let id = entry.get(flows).id.expect("the kernel tells ids");
                    id ^ u32::from(*wrong)
                })
                .collect();
            let named = touches(&|flow| flow.id.is_some_and(|id| ids.contains(&id)));
            (delete::Target::Ids(pb::FlowIds { ids }), named, true)
        }
        Target::Filter(filter) => {
            let named = touches(&|flow| filter.matches(flow, 0));
            (delete::Target::Filter(filter.into()), named, true)
        }
    }
}

async fn ask(
    client: &mut FlowServiceClient<Channel>,
    attempt: &Attempt,
    target: delete::Target,
) -> Result<pb::ChangeSummary, tonic::Status> {
    let return_changed = matches!(target, delete::Target::Keys(_)) && !attempt.dry_run;
    let options = Some(pb::ChangeOptions {
        dry_run: attempt.dry_run,
        max_affected: attempt.max_affected,
        include_own_connections: false,
        return_changed,
    });
    let network_namespace = String::new();
    let (summary, samples) = if attempt.delete {
        let request = pb::DeleteFlowsRequest {
            network_namespace,
            target: Some(target),
            options,
        };
        let answer = client.delete_flows(request).await?.into_inner();
        (answer.summary, answer.samples)
    } else {
        let request = pb::UpdateFlowsRequest {
            network_namespace,
            target: Some(match target {
                delete::Target::Keys(keys) => update::Target::Keys(keys),
                delete::Target::Ids(ids) => update::Target::Ids(ids),
                delete::Target::Filter(filter) => update::Target::Filter(filter),
            }),
            changes: Some(pb::FlowChanges {
                mark: Some(pb::MaskedUint32 {
                    value: MARK,
                    mask: None,
                }),
                ..Default::default()
            }),
            options,
        };
        let answer = client.update_flows(request).await?.into_inner();
        (answer.summary, answer.samples)
    };
    let summary = summary.expect("a summary");
    if return_changed {
        assert_eq!(
            samples.len() as u64,
            summary.changed,
            "all that was changed"
        );
        let marked = |flow: &pb::Flow| flow.mark == Some(MARK);
        assert!(attempt.delete || samples.iter().all(marked), "as it is now");
    }
    Ok(summary)
}

#[tokio::test]
async fn a_change_touches_what_it_names_and_nothing_else() {
    let ns = Netns::new();
    let table = table();
    ns.create(&table);
    assert_eq!(ns.entries(), table.len() as u64);
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    let mut runner = TestRunner::default();
    for _ in 0..REQUESTS {
        let attempt = attempt().new_tree(&mut runner).expect("a value").current();
        let flows = ns.flows(None);
        let (target, named, valid) = message(&attempt, &flows);
        let affected = named.iter().filter(|named| **named).count() as u64;
        let within = attempt.dry_run || attempt.max_affected.is_none_or(|max| affected <= max);

        let answer = ask(&mut client, &attempt, target.clone()).await;

        let told = format!("{attempt:?}\n{target:?}\n{answer:?}");
        match &answer {
            Ok(summary) => {
                assert!(valid && within, "{told}");
                let changed = if attempt.dry_run { 0 } else { affected };
                assert_eq!(summary.changed, changed, "{told}");
            }
            Err(status) => {
                let code = if valid {
                    Code::FailedPrecondition
                } else {
                    Code::InvalidArgument
                };
                assert!(!(valid && within), "{told}");
                assert_eq!(status.code(), code, "{told}");
            }
        }
        let takes = answer.is_ok() && !attempt.dry_run;
        let expected = flows.iter().zip(&named).filter_map(|(flow, named)| {
            let mut flow = flow.clone();
            if *named && takes {
                if attempt.delete {
                    return None;
                }
                flow.mark = Some(MARK);
            }
            Some(Row::of(&flow))
        });
        assert_eq!(witness(&ns), rows(expected), "{told}");

        // The table as it was.
        if takes && affected > 0 {
            ns.conntrack("-F");
            ns.create(&table);
        }
    }
    assert!(!agent.said().contains("panicked"), "{}", agent.said());
}

/// The destination ports of the expectations that conntrack(8) lists.
fn expected_ports(ns: &Netns) -> Vec<u16> {
    let lines = ["ipv4", "ipv6"].map(|family| ns.conntrack(&format!("-L expect -f {family}")));
    let mut ports: Vec<_> = lines
        .iter()
        .flat_map(|lines| lines.lines())
        .map(|line| {
            let port = line
                .split(" dport=")
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            port.and_then(|port| port.parse().ok())
                .unwrap_or_else(|| panic!("no port: {line}"))
        })
        .collect();
    ports.sort_unstable();
    ports
}

/// The kernel finds an expectation by every tuple that its mask covers, and a DELETE
/// without a tuple empties the list.
#[tokio::test]
async fn an_expectation_is_deleted_by_its_own_tuple_alone() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let mut client = agent.expectations();
    // A master each, since a helper's policy limits them; one in a zone.
    let families = [Family::V4, Family::V4, Family::V4, Family::V4, Family::V6];
    let mut masters: Vec<_> = (1..)
        .zip(families)
        .map(|(port, family)| helped(flow(family, Protocol::TCP, port), "ftp"))
        .collect();
    masters[3].zone = Zone::both(7);
    ns.create(&masters);
    let all: Vec<_> = (1..)
        .zip(&masters)
        .map(|(port, master)| {
            let mut expected = expectation(master, port);
            expected.zone = master.zone.id;
            expected
        })
        .collect();
    let request = pb::CreateExpectationsRequest {
        expectations: all.iter().map(Into::into).collect(),
        ..Default::default()
    };
    let created = client
        .create_expectations(request)
        .await
        .expect("an answer");
    assert_eq!(created.into_inner().created, 5);

    let mut delete = async |keys: Vec<pb::ExpectationKey>| {
        let request = pb::DeleteExpectationsRequest {
            target: Some(Expectations::Keys(pb::ExpectationKeys { keys })),
            ..Default::default()
        };
        let answer = client.delete_expectations(request).await;
        answer.map(|answer| answer.into_inner().summary.expect("a summary"))
    };
    let key = |n: usize| pb::ExpectationKey::from(&all[n].key());
    // Covered by the first one's mask, which lets any source port in.
    let mut covered = key(0);
    if let Some(pb::tuple::L4::Ports(ports)) = covered.tuple.as_mut().and_then(|t| t.l4.as_mut()) {
        ports.src = 99;
    }
    let wrong_zone = pb::ExpectationKey { zone: 0, ..key(3) };
    let wrong_id = pb::ExpectationKey {
        id: Some(1),
        ..key(1)
    };
    let summary = delete(vec![covered, wrong_zone, wrong_id])
        .await
        .expect("an answer");
    assert_eq!((summary.matched, summary.changed, summary.gone), (3, 0, 3));
    assert_eq!(expected_ports(&ns), [1, 2, 3, 4, 5]);

    for halves in [
        vec![],
        vec![pb::ExpectationKey::default()],
        vec![
            key(2),
            pb::ExpectationKey {
                tuple: None,
                ..key(2)
            },
        ],
        vec![
            key(2),
            pb::ExpectationKey {
                tuple: Some(pb::Tuple::default()),
                ..key(2)
            },
        ],
        vec![
            key(2),
            pb::ExpectationKey {
                zone: 65_536,
                ..key(2)
            },
        ],
    ] {
        let refused = delete(halves).await.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    assert_eq!(expected_ports(&ns), [1, 2, 3, 4, 5]);

    for (n, left) in [(3, &[1, 2, 3, 5][..]), (0, &[2, 3, 5]), (4, &[2, 3])] {
        // Named twice, it counts once.
        let summary = delete(vec![key(n), key(n)]).await.expect("an answer");
        let counted = (summary.matched, summary.changed, summary.gone);
        assert_eq!(counted, (1, 1, 0), "{n}");
        assert_eq!(expected_ports(&ns), left);
    }
}

/// By its original tuple, by its reply tuple, and once more with its id.
#[tokio::test]
async fn an_entry_that_several_keys_name_counts_once() {
    let ns = Netns::new();
    let entries = [1, 2].map(|port| flow(Family::V4, Protocol::TCP, port));
    ns.create(&entries);
    let agent = Agent::start(&ns);
    let mut client = agent.flows();
    let before = ns.flows(None);
    let picks = [(false, false), (true, false), (false, true)].map(|(reply, with_id)| {
        let one = before.iter().find(|flow| flow.orig == entries[0].orig);
        let one = one.expect("it was created");
        let mut key = one.key();
        if reply {
            key.direction = Direction::Reply;
            key.tuple = one.reply;
        }
        key.id = key.id.filter(|_| with_id);
        pb::FlowKey::from(&key)
    });
    let keys = || {
        delete::Target::Keys(pb::FlowKeys {
            keys: picks.to_vec(),
        })
    };
    // It does not count three times against the limit either.
    for (delete, left) in [(false, 2), (true, 1)] {
        let attempt = Attempt {
            target: Target::Keys(Vec::new()),
            delete,
            dry_run: false,
            max_affected: Some(1),
        };
        let summary = ask(&mut client, &attempt, keys()).await.expect("a summary");
        assert_eq!((summary.matched, summary.changed), (1, 1), "{summary:?}");
        assert_eq!((summary.gone, summary.failed), (0, 0), "{summary:?}");
        assert_eq!(ns.flows(None).len(), left);
    }
}
