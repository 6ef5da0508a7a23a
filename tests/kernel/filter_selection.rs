//! The filter language against conntrack(8)'s own flags, and against the kernel's
//! pre-selection, in random combinations over a table of many kinds of entries.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ctfleet::ctnetlink::Preselection;
use ctfleet::expr;
use ctfleet::flow::filter::{
    AddressField, Filter, NumberField, NumberRange, Predicate, PresenceField, Subject as _,
    Translation,
};
use ctfleet::flow::{
    Family, Flow, L4, Labels, ProtoInfo, Protocol, SctpInfo, SctpState, Status, TcpInfo, TcpState,
    Tuple, Zone, ZoneDirection,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use crate::harness::Netns;

/// Entries in the table.
const ENTRIES: u16 = 250;

/// The values that entries and conditions have in common, so that a condition often holds.
const MARKS: [u32; 5] = [0, 1, 0x10, 0x11, 0x8000_0010];
const ZONES: [u16; 3] = [0, 3, 9];
const PORTS: [u16; 4] = [53, 80, 443, 8080];
/// `conntrack -u` knows few others.
const STATUS: [(&str, Status); 3] = [
    ("SEEN_REPLY", Status::SEEN_REPLY),
    ("ASSURED", Status::ASSURED),
    ("FIXED_TIMEOUT", Status::FIXED_TIMEOUT),
];
const TCP_STATES: [&str; 4] = ["SYN_SENT", "ESTABLISHED", "TIME_WAIT", "CLOSE"];
const PROTOCOLS: [&str; 6] = ["tcp", "udp", "udplite", "sctp", "gre", "icmp"];

/// One of them, by a number that need not be small.
fn pick<T: Copy>(from: &[T], number: u16) -> T {
    from[usize::from(number) % from.len()]
}

/// An address of a few networks.
fn address(family: Family, number: u16) -> IpAddr {
    let text = match family {
        Family::V4 => [
            "10.0.0.1",
            "10.0.0.2",
            "10.1.0.1",
            "192.0.2.1",
            "198.51.100.7",
        ],
        Family::V6 => [
            "2001:db8::1",
            "2001:db8::2",
            "2001:db8:1::1",
            "fd00::1",
            "::ffff:1.2.3.4",
        ],
    };
    pick(&text, number).parse().expect("an address")
}

/// The entry of a number; every one has a number of its own in the place of the source port.
fn entry(number: u16) -> Flow {
    // Small primes, so that the kinds meet in all combinations.
    let family = pick(&[Family::V4, Family::V4, Family::V6], number / 2);
    let own = 1000 + number;
    let port = pick(&PORTS, number / 3);
    let ports = L4::Ports {
        src: own,
        dst: port,
    };
    let icmp = |kind| L4::Icmp {
        kind,
        code: 0,
        id: own,
    };
    let (protocol, l4) = match (number % 11, family) {
        (0..=4, _) => (Protocol::TCP, ports),
        (5 | 6, _) => (Protocol::UDP, ports),
        (7, _) => (Protocol::UDPLITE, ports),
        (8, _) => (Protocol::SCTP, ports),
        (9, _) => (Protocol::GRE, L4::Gre { src: own, dst: 1 }),
        (_, Family::V4) => (Protocol::ICMP, icmp(8)),
        (_, Family::V6) => (Protocol::ICMPV6, icmp(128)),
    };
    let orig = Tuple {
        src: address(family, number / 5),
        dst: address(family, number / 7 + 1),
        protocol,
        l4,
    };
    let mut reply = orig.inverse();
    // conntrack(8) takes the type and code of an ICMP entry for a port that is translated
    // whenever anything is, so these stay as they are.
    if !protocol.is_icmp() {
        if number.is_multiple_of(4) {
            reply.dst = address(family, number / 4 + 2);
        }
        if number.is_multiple_of(5) {
            reply.src = address(family, number / 9 + 3);
        }
        if let (0, L4::Ports { dst, .. }) = (number % 6, reply.l4) {
            let src = pick(&PORTS, number / 6);
            reply.l4 = L4::Ports { src, dst };
        }
    }
    let mut flow = Flow::new(orig, reply);
    flow.timeout = Some(5000);
    flow.mark = Some(pick(&MARKS, number / 2));
    flow.zone = Zone {
        id: pick(&ZONES, number / 3),
        direction: ZoneDirection::Both,
    };
    if flow.zone.id != 0 && number.is_multiple_of(7) {
        flow.zone.direction = pick(&[ZoneDirection::Orig, ZoneDirection::Reply], number / 7);
    }
    let mut status = Status::CONFIRMED;
    for (place, (_, bit)) in STATUS.iter().enumerate() {
        if number >> place & 1 == 1 {
            status = status | *bit;
        }
    }
    // conntrack(8) sees a translation only when the kernel has set one up.
    for (how, bit) in [
        (Translation::Src, Status::SRC_NAT),
        (Translation::Dst, Status::DST_NAT),
    ] {
        if flow.is_translated(how) {
            status = status | bit;
        }
    }
    flow.status = Some(status);
    flow.protoinfo = match protocol {
        Protocol::TCP => Some(ProtoInfo::Tcp(TcpInfo {
            state: TcpState::from_name(pick(&TCP_STATES, number / 3)),
            ..TcpInfo::default()
        })),
        Protocol::SCTP => Some(ProtoInfo::Sctp(SctpInfo {
            state: SctpState::from_name("ESTABLISHED"),
            vtag_orig: Some(1),
            vtag_reply: Some(2),
        })),
        _ => None,
    };
    flow
}

/// A namespace with all entries.
fn seeded() -> Netns {
    let ns = Netns::new();
    ns.create(&(0..ENTRIES).map(entry).collect::<Vec<_>>());
    assert_eq!(ns.entries(), u64::from(ENTRIES));
    ns
}

fn ids<'a>(flows: impl IntoIterator<Item = &'a Flow>) -> BTreeSet<u32> {
    flows.into_iter().filter_map(|flow| flow.id).collect()
}

/// A flag of conntrack(8), and the expression that means the same.
type Flag = (String, String);

fn flag(flag: impl Into<String>, expression: impl Into<String>) -> Flag {
    (flag.into(), expression.into())
}

/// An address of the family, alone or, where conntrack(8) takes one, as a network.
fn network(family: Family, networks: bool) -> impl Strategy<Value = String> {
    let lengths: &[u8] = match (family, networks) {
        (Family::V4, true) => &[8, 15, 24, 31, 32],
        (Family::V6, true) => &[16, 47, 64, 127, 128],
        (Family::V4, false) => &[32],
        (Family::V6, false) => &[128],
    };
    (any::<u16>(), select(lengths)).prop_map(move |(number, length)| {
        let address = address(family, number);
        match length {
            32 if family == Family::V4 => address.to_string(),
            128 => address.to_string(),
            _ => format!("{address}/{length}"),
        }
    })
}

/// Flags of one family that may stand together, each at most once.
fn flags() -> impl Strategy<Value = Vec<Flag>> {
    select(&[Family::V4, Family::V6][..]).prop_flat_map(|family| {
        let name = match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        let addresses = [
            ("-s", "src", true),
            ("-d", "dst", true),
            ("-r", "reply-src", false),
            ("-q", "reply-dst", false),
        ];
        let addresses = addresses.map(|(short, field, networks)| {
            proptest::option::weighted(0.25, network(family, networks)).prop_map(move |network| {
                network
                    .map(|network| flag(format!("{short} {network}"), format!("{field} {network}")))
            })
        });
        let rest = (
            proptest::option::weighted(0.5, Just(flag(format!("-f {name}"), name))),
            proptest::option::weighted(0.5, protocol()),
            // Not both: conntrack(8) 1.4.7 takes the status for the mark.
            proptest::option::weighted(0.5, prop_oneof![mark(), status()]),
            proptest::option::weighted(0.2, zone()),
            proptest::option::weighted(0.3, translation(family)),
        );
        (addresses, rest).prop_map(|(addresses, rest)| {
            let (family, protocol, bits, zone, translation) = rest;
            let single = [family, bits, zone, translation];
            let mut flags: Vec<_> = addresses.into_iter().chain(single).flatten().collect();
            flags.extend(protocol.into_iter().flatten());
            flags
        })
    })
}

/// A protocol, with ports or a state where it has them.
fn protocol() -> impl Strategy<Value = Vec<Flag>> {
    let port = || proptest::option::weighted(0.3, select(&PORTS[..]));
    let own = proptest::option::weighted(0.1, 1000..1000 + ENTRIES);
    let state = proptest::option::weighted(0.4, select(&TCP_STATES[..]));
    (select(&PROTOCOLS[..]), own, port(), port(), state).prop_map(
        |(protocol, sport, dport, reply_sport, state)| {
            let mut flags = vec![flag(format!("-p {protocol}"), protocol)];
            if matches!(protocol, "tcp" | "udp" | "udplite" | "sctp") {
                let ports = [
                    ("--sport", "sport", sport),
                    ("--dport", "dport", dport),
                    ("--reply-port-src", "reply-sport", reply_sport),
                ];
                for (long, field, port) in ports {
                    flags.extend(
                        port.map(|port| flag(format!("{long} {port}"), format!("{field} {port}"))),
                    );
                }
            }
            if let ("tcp", Some(state)) = (protocol, state) {
                flags.push(flag(format!("--state {state}"), format!("state {state}")));
            }
            flags
        },
    )
}

fn mark() -> impl Strategy<Value = Flag> {
    let mask = proptest::option::of(select(&[0xf_u32, 0xf0, 0x8000_0001, u32::MAX][..]));
    (select(&MARKS[..]), mask).prop_map(|(mark, mask)| {
        let text = match mask {
            Some(mask) => format!("{:#x}/{mask:#x}", mark & mask),
            None => format!("{mark:#x}"),
        };
        flag(format!("-m {text}"), format!("mark {text}"))
    })
}

fn status() -> impl Strategy<Value = Flag> {
    proptest::sample::subsequence(&STATUS[..], 1..=STATUS.len()).prop_map(|bits| {
        let names: Vec<_> = bits.iter().map(|(name, _)| *name).collect();
        let names = names.join(",");
        flag(format!("-u {names}"), format!("status {names}"))
    })
}

/// `-w` leaves out the entries whose zone counts in one direction; it has a flag for each.
fn zone() -> impl Strategy<Value = Flag> {
    let directions = [
        ("-w", "both"),
        ("--orig-zone", "orig"),
        ("--reply-zone", "reply"),
    ];
    (select(directions.to_vec()), select(&ZONES[1..])).prop_map(|((flagged, direction), zone)| {
        let expression = format!("(zone {zone} and zone-direction {direction})");
        flag(format!("{flagged} {zone}"), expression)
    })
}

/// With an address, conntrack(8) passes over an entry whose port alone is translated; of
/// IPv6 it does not look at the address at all.
fn translation(family: Family) -> impl Strategy<Value = Flag> {
    let given = match family {
        Family::V4 => proptest::option::of(network(family, false)).boxed(),
        Family::V6 => Just(None).boxed(),
    };
    (select(&["-n", "-g", "-j"][..]), given).prop_map(|(short, address)| {
        let (word, field, original) = match short {
            "-n" => ("snat", "reply-dst", "src"),
            "-g" => ("dnat", "reply-src", "dst"),
            _ => return flag("-j", "nat"),
        };
        match address {
            Some(address) => flag(
                format!("{short} {address}"),
                format!("({word} and {field} {address} and not {original} {address})"),
            ),
            None => flag(short, word),
        }
    })
}

#[test]
fn an_expression_selects_what_the_flags_of_conntrack_select() {
    let ns = seeded();
    let mut runner = TestRunner::new(Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    });
    let selected = std::cell::Cell::new(0);
    let outcome = runner.run(&flags(), |flags| {
        let words: Vec<_> = flags.iter().map(|(flag, _)| flag.as_str()).collect();
        let expressions: Vec<_> = flags.iter().map(|(_, text)| text.as_str()).collect();
        let expression = match expressions[..] {
            [] => "all".to_owned(),
            _ => expressions.join(" and "),
        };
        let filter = expr::parse(&expression).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let witnessed = ns.witness(&words.join(" "));
        let witnessed: BTreeSet<_> = witnessed.iter().filter_map(|row| row.id).collect();
        let dumped = ns.flows(Some(filter));
        prop_assert_eq!(ids(&dumped), witnessed, "{:?}: {}", words, expression);
        if !dumped.is_empty() {
            selected.set(selected.get() + 1);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    // Or the comparison would be one of nothing with nothing.
    assert!(selected.get() > 50, "{} selected something", selected.get());
}

/// Conditions of the kinds that the kernel can pre-select, and some that it cannot.
fn predicate() -> impl Strategy<Value = Predicate> {
    use NumberField as N;
    let one = |number: i64| vec![NumberRange::from(number)];
    let number = move |field, values: &'static [i64]| {
        let list = proptest::collection::vec(select(values), 1..3);
        list.prop_map(move |values| {
            let ranges = values.into_iter().map(NumberRange::from).collect();
            Predicate::Number(field, None, ranges)
        })
    };
    let port = select(&[N::SrcPort, N::DstPort, N::ReplySrcPort, N::Port][..])
        .prop_flat_map(move |field| number(field, &[53, 80, 443, 1007, 1008, 1014, -1, 70_000]));
    let masks = select(
        &[
            0x1_u64,
            0x6,
            0xf0,
            0xff,
            0xffff_ffff,
            0xff_0000_0000,
            0xff_ffff_ffff,
            u64::MAX,
        ][..],
    );
    let values = select(
        &[
            0_i64,
            1,
            2,
            4,
            6,
            0x10,
            0x11,
            0x40e,
            0x1_0000_0000,
            -1,
            i64::MAX,
        ][..],
    );
    let bits = (
        select(&[N::Mark, N::Status][..]),
        proptest::option::of(masks),
        values,
    )
        .prop_map(move |(field, mask, value)| Predicate::Number(field, mask, one(value)));
    let status_bits = select(&[1_i64 << 1, 1 << 2, 1 << 4, 1 << 10, 6, 0x402, 0x30][..])
        .prop_map(move |bits| Predicate::Number(N::Status, Some(bits as u64), one(bits)));
    let fields = select(
        &[
            AddressField::Src,
            AddressField::Dst,
            AddressField::ReplySrc,
            AddressField::ReplyDst,
            AddressField::Any,
            AddressField::MasterSrc,
        ][..],
    );
    let networks = select(&[Family::V4, Family::V6][..])
        .prop_flat_map(|family| network(family, true))
        .prop_map(|text| match text.parse() {
            Ok(network) => network,
            Err(_) => text.parse::<IpAddr>().expect("an address").into(),
        });
    let addresses = (fields, proptest::collection::vec(networks, 1..3))
        .prop_map(|(field, networks)| Predicate::Address(field, networks));
    prop_oneof![
        2 => number(N::Family, &[4, 6, 5]),
        3 => number(N::Protocol, &[1, 6, 17, 47, 58, 132, 136, 200, -1]),
        2 => number(N::Zone, &[0, 3, 9, 70_000]),
        1 => number(N::ZoneDirection, &[0, 1]),
        1 => number(N::TcpState, &[1, 3, 7]),
        4 => port,
        4 => bits,
        4 => status_bits,
        4 => addresses,
        1 => select(Translation::ALL).prop_map(Predicate::Translated),
        1 => Just(Predicate::Present(PresenceField::ProtoInfo)),
        1 => Just(Predicate::Labels { value: Labels(0), mask: Labels(1) }),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let leaf = (predicate(), prop::bool::weighted(0.2)).prop_map(|(predicate, negated)| {
        let filter = Filter::Is(predicate);
        if negated { !filter } else { filter }
    });
    // Mostly conjunctions: those are what is pre-selected.
    leaf.prop_recursive(4, 12, 4, |inner| {
        prop_oneof![
            4 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            1 => proptest::collection::vec(inner.clone(), 0..3).prop_map(Filter::Or),
            2 => inner.prop_map(|filter| !filter),
        ]
    })
}

#[test]
fn a_preselected_dump_loses_nothing() {
    let ns = seeded();
    let everything = ns.flows(None);
    assert_eq!(everything.len(), usize::from(ENTRIES));
    let mut runner = TestRunner::new(Config {
        cases: 1000,
        failure_persistence: None,
        ..Config::default()
    });
    let [narrowed, found] = [0, 0].map(std::cell::Cell::new);
    let outcome = runner.run(&filter(), |filter| {
        let matching = everything.iter().filter(|flow| filter.matches(*flow, 0));
        let matching = ids(matching);
        let dumped = ids(&ns.flows(Some(filter.clone())));
        let preselection = Preselection::of(&filter);
        prop_assert_eq!(&dumped, &matching, "{:?}", preselection);
        if !preselection.is_everything() {
            narrowed.set(narrowed.get() + 1);
            found.set(found.get() + usize::from(!dumped.is_empty()));
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    let (narrowed, found) = (narrowed.get(), found.get());
    assert!(
        narrowed > 150 && found > 60,
        "{narrowed} narrowed, {found} of them found something"
    );
}
