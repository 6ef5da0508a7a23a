//! Writing: whatever the kernel accepts arrives whole, and reads back the same, to ctfleet
//! and to conntrack(8).

use ctfleet::ctnetlink::{Batch, Committed, CreateMode};
use ctfleet::flow::filter::NumberField;
use ctfleet::flow::{
    Family, Flow, FlowChanges, Labels, Masked, ProtoInfo, Protocol, SeqAdj, Status, Synproxy,
    TcpFlags, TcpInfo, TcpState, Zone, ZoneDirection,
};

use crate::harness::Netns;
use crate::harness::filters::is;
use crate::harness::flows::{FAMILIES, flow, helped, protocols, translated, tuple};

/// Holds what was read against what was written, field by field.
#[track_caller]
fn assert_written(wanted: &Flow, got: &Flow) {
    // What the kernel itself decides.
    let mut expected = wanted.clone();
    expected.id = got.id;
    expected.use_count = got.use_count;
    expected.timestamps = got.timestamps;
    expected.counters_orig = got.counters_orig;
    expected.counters_reply = got.counters_reply;
    let left = got.timeout.expect("a timeout");
    let given = wanted.timeout.expect("a timeout");
    assert!(
        (given.saturating_sub(10)..=given).contains(&left),
        "{left} of {given}"
    );
    expected.timeout = got.timeout;
    // Absent and 0 are the same to the kernel.
    expected.mark = Some(wanted.mark.unwrap_or(0));
    expected.labels = wanted.labels.filter(|labels| labels.0 != 0);
    // Every entry that netlink makes has room for it.
    expected.synproxy = Some(wanted.synproxy.unwrap_or_default());
    // Confirmed, and what follows from the rest.
    let mut status = wanted.status.unwrap_or_default() | Status::CONFIRMED;
    if wanted.seqadj_orig.is_some() || wanted.seqadj_reply.is_some() {
        status = status | Status::SEQ_ADJUST;
    }
    if wanted.master.is_some() {
        status = status | Status::EXPECTED;
    }
    if wanted.helper.is_some() {
        status = status | Status::HELPER;
    }
    expected.status = Some(status);
    if let Some(ProtoInfo::Tcp(wanted)) = wanted.protoinfo {
        let Some(ProtoInfo::Tcp(found)) = got.protoinfo else {
            panic!("{got:?}")
        };
        assert_eq!(found.state, wanted.state);
        for (found, wanted) in [
            (found.window_scale_orig, wanted.window_scale_orig),
            (found.window_scale_reply, wanted.window_scale_reply),
            (
                found.flags_orig.map(|f| f.flags),
                wanted.flags_orig.map(|f| f.flags),
            ),
            (
                found.flags_reply.map(|f| f.flags),
                wanted.flags_reply.map(|f| f.flags),
            ),
        ] {
            assert!(wanted.is_none() || found == wanted, "{found:?}, {wanted:?}");
        }
        expected.protoinfo = got.protoinfo;
    }
    assert_eq!(expected, *got);
}

/// A namespace where entries get every extension.
fn ready() -> Netns {
    let ns = Netns::new();
    // Entries have room for labels while a rule sets one.
    ns.nft("add table ip l; add chain ip l c; add rule ip l c ct label set 1");
    ns
}

/// Writes flows and reads them back; conntrack(8) must see the same.
#[track_caller]
fn round_trip(ns: &Netns, wanted: &[Flow]) {
    ns.create(wanted);
    let flows = ns.witnessed_flows();
    for wanted in wanted {
        let same = |flow: &&Flow| flow.orig == wanted.orig && flow.zone == wanted.zone;
        let got = flows.iter().find(same);
        assert_written(
            wanted,
            got.unwrap_or_else(|| panic!("not there: {wanted:?}")),
        );
    }
}

#[test]
fn every_protocol_of_both_families_is_written_and_read_back() {
    let ns = ready();
    let all = FAMILIES.map(|family| protocols(family).map(|p| flow(family, p, 1)));
    round_trip(&ns, all.as_flattened());
    assert_eq!(ns.entries(), 14);
}

#[test]
fn marks_labels_zones_and_status_bits_are_written_and_read_back() {
    let ns = ready();
    let zones = [
        Zone::both(7),
        Zone {
            id: 8,
            direction: ZoneDirection::Orig,
        },
        Zone {
            id: 9,
            direction: ZoneDirection::Reply,
        },
    ];
    let mut all = Vec::new();
    for family in FAMILIES {
        for (port, zone) in (1..).zip(zones) {
            let mut wanted = flow(family, Protocol::UDP, port);
            wanted.zone = zone;
            wanted.mark = Some(u32::MAX - u32::from(port));
            wanted.labels = Some(Labels(1 << 127 | 1 << 64 | 1 << 63 | 1));
            wanted.status = Some(Status::SEEN_REPLY | Status::ASSURED);
            wanted.timeout = Some(u32::from(port) * 1000);
            all.push(wanted);
        }
        let mut fixed = flow(family, Protocol::UDP, 20);
        fixed.status = Some(Status::SEEN_REPLY | Status::FIXED_TIMEOUT);
        fixed.mark = Some(0);
        all.push(fixed);
    }
    round_trip(&ns, &all);
}

#[test]
fn every_tcp_state_and_window_scale_is_written_and_read_back() {
    let ns = Netns::new();
    let mut all = Vec::new();
    for (port, (state, _)) in (1..).zip(TcpState::NAMES) {
        let mut wanted = flow(Family::V4, Protocol::TCP, port);
        let flags = |flags| Some(TcpFlags { flags, mask: 0xff });
        wanted.protoinfo = Some(ProtoInfo::Tcp(TcpInfo {
            state: Some(*state),
            window_scale_orig: Some(14),
            window_scale_reply: Some(port as u8),
            // Window scaling, selective acknowledgements (IP_CT_TCP_FLAG_*).
            flags_orig: flags(0x03),
            flags_reply: flags(0x0b),
        }));
        all.push(wanted);
    }
    round_trip(&ns, &all);
}

#[test]
fn helpers_masters_and_adjustments_are_written_and_read_back() {
    let ns = Netns::new();
    let mut all = Vec::new();
    for family in FAMILIES {
        let master = helped(flow(family, Protocol::TCP, 21), "ftp");
        let mut child = flow(family, Protocol::TCP, 20);
        child.master = Some(master.orig);
        let adjustment = |offset: i32| SeqAdj {
            correction_pos: 0xdead_beef,
            offset_before: -offset,
            offset_after: offset,
        };
        let mut adjusted = flow(family, Protocol::TCP, 22);
        adjusted.seqadj_orig = Some(adjustment(5));
        adjusted.seqadj_reply = Some(adjustment(i32::MAX));
        adjusted.synproxy = Some(Synproxy {
            isn: u32::MAX,
            its: 1,
            tsoff: 2,
        });
        all.extend([master, child, adjusted]);
    }
    round_trip(&ns, &all);
}

#[test]
fn translations_are_written_and_read_back() {
    let ns = Netns::new();
    let mut all = Vec::new();
    for family in FAMILIES {
        for protocol in protocols(family) {
            for (port, source, destination) in [
                (1, true, false),
                (2, false, true),
                (3, true, true),
                (4, false, false),
            ] {
                let plain = flow(family, protocol, port);
                if protocol == Protocol(89) && port > 1 {
                    // Its tuple has no port: one entry is all there can be.
                    continue;
                }
                all.push(translated(plain, source, destination));
            }
        }
    }
    round_trip(&ns, &all);
    // The witness's own selection agrees, except of ICMP: there it compares an id with a
    // type.
    let ported = |protocol: Protocol| !protocol.is_icmp();
    let flows = ns.flows(None);
    for (options, bit) in [("-n", Status::SRC_NAT), ("-g", Status::DST_NAT)] {
        let witnessed = ns.witness(options);
        let witnessed = witnessed
            .iter()
            .filter(|row| ported(Protocol(row.protocol)));
        let set = |flow: &&Flow| flow.status.unwrap_or_default().contains(bit);
        let expected = flows
            .iter()
            .filter(set)
            .filter(|flow| ported(flow.orig.protocol));
        assert_eq!(witnessed.count(), expected.count(), "{options}");
    }
}

/// Commits one request of each kind that `add` makes.
fn commit(ns: &Netns, add: impl FnOnce(&mut Batch)) -> Committed {
    let mut batch = Batch::open(&ns.namespace()).expect("a socket");
    add(&mut batch);
    let count = batch.len();
    let committed = batch.commit().expect("an answer");
    assert_eq!(committed.count, count);
    assert!(batch.is_empty());
    committed
}

/// The name of the errno of a single request.
fn outcome(ns: &Netns, add: impl FnOnce(&mut Batch)) -> Option<&'static str> {
    let committed = commit(ns, add);
    assert_eq!(committed.count, 1);
    committed.failures.first().map(|(_, error)| error.name())
}

fn write(ns: &Netns, flow: &Flow, mode: CreateMode) -> Option<&'static str> {
    outcome(ns, |batch| batch.create(flow, mode).expect("encoded"))
}

#[test]
fn the_mode_decides_what_happens_to_an_entry_that_exists() {
    let ns = Netns::new();
    for family in FAMILIES {
        for nat in [false, true] {
            let mut wanted = flow(family, Protocol::TCP, 1 + u16::from(nat));
            if nat {
                wanted = translated(wanted, true, true);
            }
            wanted.mark = Some(1);
            assert_eq!(write(&ns, &wanted, CreateMode::Update), Some("ENOENT"));
            assert_eq!(write(&ns, &wanted, CreateMode::Create), None);
            wanted.mark = Some(2);
            assert_eq!(write(&ns, &wanted, CreateMode::Create), Some("EEXIST"));
            let mark = || {
                let port = is(NumberField::SrcPort, 1 + i64::from(nat));
                let flows = ns.flows(Some(port));
                let flow = flows.iter().find(|flow| flow.family() == family);
                flow.and_then(|flow| flow.mark)
            };
            assert_eq!(mark(), Some(1));
            assert_eq!(write(&ns, &wanted, CreateMode::Update), None);
            assert_eq!(mark(), Some(2));
            wanted.mark = Some(3);
            assert_eq!(write(&ns, &wanted, CreateMode::Upsert), None);
            assert_eq!(mark(), Some(3));
            ns.conntrack(&format!(
                "-D -f {}",
                if family == Family::V4 { "ipv4" } else { "ipv6" }
            ));
            assert_eq!(write(&ns, &wanted, CreateMode::Upsert), None);
            assert_eq!(mark(), Some(3));
        }
    }
}

#[test]
fn failures_keep_their_places_and_spare_the_others() {
    let ns = Netns::new();
    ns.create(&[10, 50, 99].map(|port| flow(Family::V4, Protocol::TCP, port)));
    let mut scaled = flow(Family::V4, Protocol::TCP, 60);
    scaled.protoinfo = Some(ProtoInfo::Tcp(TcpInfo {
        // Linux 6.11 and later take 14 at most.
        window_scale_orig: Some(15),
        ..TcpInfo::default()
    }));
    let mut timeless = flow(Family::V4, Protocol::TCP, 70);
    timeless.timeout = None;
    let committed = commit(&ns, |batch| {
        for port in 0..100 {
            let flow = match port {
                60 => scaled.clone(),
                70 => timeless.clone(),
                port => flow(Family::V4, Protocol::TCP, port),
            };
            batch.create(&flow, CreateMode::Create).expect("encoded");
        }
    });
    let failures: Vec<_> = committed
        .failures
        .iter()
        .map(|(index, error)| (*index, error.name()))
        .collect();
    let expected = [
        (10, "EEXIST"),
        (50, "EEXIST"),
        (60, "ERANGE"),
        (70, "EINVAL"),
        (99, "EEXIST"),
    ];
    assert_eq!(failures, expected);
    assert_eq!(ns.entries(), 98);
}

#[test]
fn a_batch_is_worked_off_whole_however_often_it_is_filled() {
    let ns = Netns::new();
    let mut batch = Batch::open(&ns.namespace()).expect("a socket");
    let mut written = 0;
    for port in 1..=2000 {
        let flow = flow(Family::V6, Protocol::UDP, port);
        batch.create(&flow, CreateMode::Create).expect("encoded");
        if batch.is_full() {
            let committed = batch.commit().expect("an answer");
            assert_eq!(committed.failures, []);
            written += committed.count;
        }
    }
    written += batch.commit().expect("an answer").count;
    assert_eq!((written, ns.entries()), (2000, 2000));
}

/// The entry of this port.
fn current(ns: &Netns, port: u16) -> Flow {
    let flows = ns.flows(Some(is(NumberField::SrcPort, port.into())));
    let [flow] = &flows[..] else {
        panic!("{flows:#?}")
    };
    flow.clone()
}

fn update(ns: &Netns, current: &Flow, changes: FlowChanges) -> Option<&'static str> {
    outcome(ns, |batch| {
        batch.update(current, &changes).expect("encoded")
    })
}

#[test]
fn an_update_changes_what_it_names_and_leaves_the_rest() {
    let ns = ready();
    let mut wanted = flow(Family::V4, Protocol::TCP, 1);
    wanted.mark = Some(0xaaaa_0000);
    wanted.labels = Some(Labels(0b1100));
    wanted.status = Some(Status::SEEN_REPLY);
    round_trip(&ns, std::slice::from_ref(&wanted));
    let before = current(&ns, 1);
    let all = FlowChanges {
        mark: Some(Masked {
            value: 0xffff_5555,
            mask: 0x0000_ffff,
        }),
        timeout: Some(77),
        status_set: Some(Status::ASSURED),
        labels: Some(Masked {
            value: Labels(0b0010),
            mask: Labels(0b0110),
        }),
        protoinfo: Some(ProtoInfo::Tcp(TcpInfo {
            state: TcpState::from_name("FIN_WAIT"),
            ..TcpInfo::default()
        })),
        seqadj_orig: Some(SeqAdj {
            correction_pos: 1,
            offset_before: 2,
            offset_after: -3,
        }),
        ..FlowChanges::default()
    };
    assert_eq!(update(&ns, &before, all), None);
    wanted.mark = Some(0xaaaa_5555);
    wanted.timeout = Some(77);
    wanted.status = Some(Status::SEEN_REPLY | Status::ASSURED);
    wanted.labels = Some(Labels(0b1010));
    wanted.protoinfo = Some(ProtoInfo::Tcp(TcpInfo {
        state: TcpState::from_name("FIN_WAIT"),
        ..TcpInfo::default()
    }));
    wanted.seqadj_orig = Some(SeqAdj {
        correction_pos: 1,
        offset_before: 2,
        offset_after: -3,
    });
    let after = current(&ns, 1);
    wanted.seqadj_reply = after.seqadj_reply;
    assert_written(&wanted, &after);
    assert_eq!(after.id, before.id);
    // Nothing is no change.
    assert_eq!(update(&ns, &after, FlowChanges::default()), None);
    assert_written(&wanted, &current(&ns, 1));
}

#[test]
fn the_kernel_refuses_updates_in_its_own_words() {
    let ns = Netns::new();
    ns.create(&[
        flow(Family::V4, Protocol::UDP, 1),
        helped(flow(Family::V4, Protocol::TCP, 2), "ftp"),
    ]);
    let mut fixed = flow(Family::V4, Protocol::UDP, 3);
    fixed.status = Some(Status::FIXED_TIMEOUT);
    ns.create(&[fixed]);
    let [plain, helped, fixed] = [1, 2, 3].map(|port| current(&ns, port));
    let none = FlowChanges::default;
    let helper = |name: &str| FlowChanges {
        helper: Some(name.parse().expect("a name")),
        ..none()
    };
    assert_eq!(update(&ns, &plain, helper("ftp")), Some("EOPNOTSUPP"));
    assert_eq!(update(&ns, &helped, helper("irc")), Some("EBUSY"));
    assert_eq!(update(&ns, &helped, helper("ftp")), None);
    let timeout = FlowChanges {
        timeout: Some(5),
        ..none()
    };
    assert_eq!(update(&ns, &fixed, timeout), Some("EPERM"));
    let dying = FlowChanges {
        status_set: Some(Status::DYING),
        ..none()
    };
    assert_eq!(update(&ns, &plain, dying), Some("EBUSY"));
    let labels = FlowChanges {
        labels: Some(Masked {
            value: Labels(1),
            mask: Labels(1),
        }),
        ..none()
    };
    assert_eq!(update(&ns, &plain, labels), Some("ENOSPC"));
    let mut gone = plain.clone();
    gone.orig = tuple(Family::V4, Protocol::UDP, 4);
    let mark = FlowChanges {
        mark: Some(Masked {
            value: 1,
            mask: u32::MAX,
        }),
        ..none()
    };
    assert_eq!(update(&ns, &gone, mark), Some("ENOENT"));
    assert_eq!(ns.flows(Some(is(NumberField::Mark, 1))), []);
}

#[test]
fn an_update_that_fails_has_been_applied_up_to_there() {
    let ns = Netns::new();
    ns.create(&[flow(Family::V4, Protocol::UDP, 1)]);
    let changes = FlowChanges {
        mark: Some(Masked {
            value: 9,
            mask: u32::MAX,
        }),
        // After the mark; there is no room for it.
        labels: Some(Masked {
            value: Labels(1),
            mask: Labels(1),
        }),
        ..FlowChanges::default()
    };
    assert_eq!(update(&ns, &current(&ns, 1), changes), Some("ENOSPC"));
    assert_eq!(current(&ns, 1).mark, Some(9));
}
