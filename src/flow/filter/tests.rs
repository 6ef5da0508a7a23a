//! Every field on a flow that has everything, on one that has nothing, and on an expectation.

use super::*;
use crate::flow::{
    Counters, DccpInfo, DccpState, Direction, Expectation, ExpectationNat, Flow, Helper, L4,
    ProtoInfo, Protocol, SctpInfo, SctpState, SeqAdj, Status, Synproxy, TcpFlags, TcpInfo,
    TcpState, Timestamps, Tuple, Zone, ZoneDirection,
};

/// 2001-09-09T01:46:40Z.
const NOW: u64 = 1_000_000_000_000_000_000;

fn tuple(src: &str, dst: &str, protocol: Protocol, l4: L4) -> Tuple {
    Tuple {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        protocol,
        l4,
    }
}

fn tcp(src: &str, sport: u16, dst: &str, dport: u16) -> Tuple {
    let l4 = L4::Ports {
        src: sport,
        dst: dport,
    };
    tuple(src, dst, Protocol::TCP, l4)
}

/// A TCP flow with a different number in every field.
fn full() -> Flow {
    Flow {
        id: Some(0xdead_beef),
        orig: tcp("10.0.0.1", 1001, "10.0.0.2", 1002),
        reply: tcp("10.0.0.3", 1003, "10.0.0.4", 1004),
        zone: Zone {
            id: 7,
            direction: ZoneDirection::Reply,
        },
        status: Some(Status::SEEN_REPLY | Status::ASSURED),
        timeout: Some(431_999),
        mark: Some(0x8000_0001),
        protoinfo: Some(ProtoInfo::Tcp(TcpInfo {
            state: TcpState::from_name("ESTABLISHED"),
            window_scale_orig: Some(8),
            window_scale_reply: Some(9),
            flags_orig: Some(TcpFlags { flags: 35, mask: 0 }),
            flags_reply: Some(TcpFlags { flags: 39, mask: 0 }),
        })),
        counters_orig: Some(Counters {
            packets: 10,
            bytes: 1000,
        }),
        counters_reply: Some(Counters {
            packets: 20,
            bytes: u64::MAX,
        }),
        use_count: Some(2),
        labels: Some(Labels(1 << 5 | 1 << 127)),
        timestamps: Timestamps {
            start: Some(NOW - 90_500_000_000),
            stop: Some(NOW - 500_000_000),
            event: Some(NOW - 100),
        },
        helper: Some(Helper {
            name: "ftp".parse().unwrap(),
            info: Some(Box::from(*b"\x01")),
        }),
        secctx: Some("system_u:object_r:t".into()),
        seqadj_orig: Some(SeqAdj {
            correction_pos: u32::MAX,
            offset_before: -1,
            offset_after: i32::MIN,
        }),
        seqadj_reply: Some(SeqAdj {
            correction_pos: 51,
            offset_before: 52,
            offset_after: 53,
        }),
        synproxy: Some(Synproxy {
            isn: 61,
            its: 62,
            tsoff: 63,
        }),
        master: Some(tcp("10.0.0.5", 1005, "10.0.0.6", 1006)),
    }
}

/// A flow of a protocol without ports and with nothing but its tuples.
fn bare() -> Flow {
    let orig = tuple("2001:db8::1", "2001:db8::2", Protocol(50), L4::None);
    Flow::new(orig, orig.inverse())
}

fn expectation() -> Expectation {
    Expectation {
        id: Some(0xcafe),
        tuple: tcp("10.0.0.1", 0, "10.0.0.2", 2002),
        mask: tcp("255.255.255.255", 0, "255.255.0.0", 65535),
        master: tcp("10.0.0.5", 1005, "10.0.0.6", 1006),
        zone: 3,
        timeout: Some(299),
        flags: Some(1),
        class: Some(4),
        helper: Some("ftp".parse().unwrap()),
        function: Some("nat-follow-master".into()),
        nat: Some(ExpectationNat {
            direction: Direction::Reply,
            tuple: tcp("10.0.0.9", 9, "0.0.0.0", 0),
        }),
    }
}

/// What a number field holds in [`full`].
fn in_full(field: NumberField) -> Vec<i128> {
    use NumberField as N;
    let numbers: &[i128] = match field {
        N::Family => &[4],
        N::Protocol => &[6],
        N::Id => &[0xdead_beef],
        N::Zone => &[7],
        N::ZoneDirection => &[2],
        N::Status => &[6],
        N::Timeout => &[431_999],
        N::Mark => &[0x8000_0001],
        N::Use => &[2],
        N::SrcPort => &[1001],
        N::DstPort => &[1002],
        N::ReplySrcPort => &[1003],
        N::ReplyDstPort => &[1004],
        N::Port => &[1001, 1002, 1003, 1004],
        N::TcpState => &[3],
        N::TcpWindowScaleOrig => &[8],
        N::TcpWindowScaleReply => &[9],
        N::TcpFlagsOrig => &[35],
        N::TcpFlagsReply => &[39],
        N::PacketsOrig => &[10],
        N::PacketsReply => &[20],
        N::Packets => &[30],
        N::BytesOrig => &[1000],
        N::BytesReply => &[0xffff_ffff_ffff_ffff],
        N::Bytes => &[0xffff_ffff_ffff_ffff],
        N::Start => &[999_999_909_500_000_000],
        N::Stop => &[999_999_999_500_000_000],
        N::Event => &[999_999_999_999_999_900],
        N::Age => &[90],
        N::SeqAdjOrigCorrectionPos => &[0xffff_ffff],
        N::SeqAdjOrigOffsetBefore => &[-1],
        N::SeqAdjOrigOffsetAfter => &[-0x8000_0000],
        N::SeqAdjReplyCorrectionPos => &[51],
        N::SeqAdjReplyOffsetBefore => &[52],
        N::SeqAdjReplyOffsetAfter => &[53],
        N::SynproxyIsn => &[61],
        N::SynproxyIts => &[62],
        N::SynproxyTsoff => &[63],
        N::MasterProtocol => &[6],
        N::MasterSrcPort => &[1005],
        N::MasterDstPort => &[1006],
        // Of other protocols, or of expectations.
        N::IcmpType
        | N::IcmpCode
        | N::IcmpId
        | N::GreSrcKey
        | N::GreDstKey
        | N::SctpState
        | N::SctpVtagOrig
        | N::SctpVtagReply
        | N::DccpState
        | N::DccpRole
        | N::DccpHandshakeSeq
        | N::ExpectFlags
        | N::ExpectClass
        | N::GreReplySrcKey
        | N::GreReplyDstKey => &[],
    };
    numbers.to_vec()
}

fn numbers(subject: &impl Subject, field: NumberField) -> Vec<i128> {
    subject.numbers(field, NOW).to_vec()
}

fn addresses(subject: &impl Subject, field: AddressField) -> Vec<String> {
    let found = subject.addresses(field);
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn every_number_of_a_full_flow() {
    for &field in NumberField::ALL {
        assert_eq!(numbers(&full(), field), in_full(field), "{}", field.name());
    }
}

#[test]
fn every_number_of_a_bare_flow() {
    for &field in NumberField::ALL {
        let expected: &[i128] = match field {
            NumberField::Family => &[6],
            NumberField::Protocol => &[50],
            NumberField::Zone | NumberField::ZoneDirection | NumberField::Mark => &[0],
            _ => &[],
        };
        assert_eq!(numbers(&bare(), field), expected, "{}", field.name());
    }
}

#[test]
fn every_number_of_an_expectation() {
    for &field in NumberField::ALL {
        let expected: &[i128] = match field {
            NumberField::Family => &[4],
            NumberField::Protocol | NumberField::MasterProtocol => &[6],
            NumberField::Id => &[0xcafe],
            NumberField::Timeout => &[299],
            NumberField::SrcPort => &[0],
            NumberField::DstPort => &[2002],
            NumberField::Port => &[0, 2002],
            NumberField::MasterSrcPort => &[1005],
            NumberField::MasterDstPort => &[1006],
            NumberField::ExpectFlags => &[1],
            NumberField::ExpectClass => &[4],
            _ => &[],
        };
        let found = numbers(&expectation(), field);
        assert_eq!(found, expected, "{}", field.name());
        assert!(
            found.is_empty() || field.is_of(Kind::Expectation),
            "{}",
            field.name()
        );
    }
}

#[test]
fn numbers_of_the_other_protocols() {
    use NumberField as N;
    let mut flow = full();
    let icmp = L4::Icmp {
        kind: 8,
        code: 1,
        id: 4242,
    };
    flow.orig = tuple("10.0.0.1", "10.0.0.2", Protocol::ICMP, icmp);
    flow.reply = flow.orig.inverse();
    flow.protoinfo = Some(ProtoInfo::Sctp(SctpInfo {
        state: SctpState::from_name("ESTABLISHED"),
        vtag_orig: Some(u32::MAX),
        vtag_reply: Some(72),
    }));
    let expected = [
        (N::IcmpType, 8),
        (N::IcmpCode, 1),
        (N::IcmpId, 4242),
        (N::SctpState, 4),
        (N::SctpVtagOrig, 0xffff_ffff),
        (N::SctpVtagReply, 72),
    ];
    for (field, number) in expected {
        assert_eq!(numbers(&flow, field), [number], "{}", field.name());
    }
    for field in [N::SrcPort, N::DstPort, N::Port, N::TcpState, N::DccpState] {
        assert!(numbers(&flow, field).is_empty(), "{}", field.name());
    }

    flow.orig = tuple(
        "10.0.0.1",
        "10.0.0.2",
        Protocol::GRE,
        L4::Gre { src: 1, dst: 2 },
    );
    flow.reply = flow.orig.inverse();
    flow.protoinfo = Some(ProtoInfo::Dccp(DccpInfo {
        state: DccpState::from_name("OPEN"),
        role: Some(1),
        handshake_seq: Some(1 << 47),
    }));
    let expected = [
        (N::GreSrcKey, 1),
        (N::GreDstKey, 2),
        (N::GreReplySrcKey, 2),
        (N::GreReplyDstKey, 1),
        (N::DccpState, 4),
        (N::DccpRole, 1),
        (N::DccpHandshakeSeq, 1 << 47),
    ];
    for (field, number) in expected {
        assert_eq!(numbers(&flow, field), [number], "{}", field.name());
    }
}

#[test]
fn age_ends_at_the_stop_or_now_and_is_never_negative() {
    let mut flow = full();
    flow.timestamps.stop = None;
    assert_eq!(numbers(&flow, NumberField::Age), [90]);
    assert_eq!(flow.numbers(NumberField::Age, NOW + 1_000_000_000)[0], 91);
    assert_eq!(flow.numbers(NumberField::Age, 0)[0], 0);
    flow.timestamps.start = None;
    assert!(numbers(&flow, NumberField::Age).is_empty());
}

#[test]
fn counters_of_one_direction_are_the_sum() {
    let mut flow = full();
    flow.counters_reply = None;
    assert_eq!(numbers(&flow, NumberField::Packets), [10]);
    assert_eq!(numbers(&flow, NumberField::Bytes), [1000]);
    assert!(flow.has(PresenceField::Counters));
}

#[test]
fn every_address() {
    for &field in AddressField::ALL {
        let (of_flow, of_expectation): (&[&str], &[&str]) = match field {
            AddressField::Src => (&["10.0.0.1"], &["10.0.0.1"]),
            AddressField::Dst => (&["10.0.0.2"], &["10.0.0.2"]),
            AddressField::ReplySrc => (&["10.0.0.3"], &[]),
            AddressField::ReplyDst => (&["10.0.0.4"], &[]),
            AddressField::Any => (
                &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"],
                &["10.0.0.1", "10.0.0.2"],
            ),
            AddressField::MasterSrc => (&["10.0.0.5"], &["10.0.0.5"]),
            AddressField::MasterDst => (&["10.0.0.6"], &["10.0.0.6"]),
            AddressField::MaskSrc => (&[], &["255.255.255.255"]),
            AddressField::MaskDst => (&[], &["255.255.0.0"]),
        };
        assert_eq!(addresses(&full(), field), of_flow, "{}", field.name());
        assert_eq!(
            addresses(&expectation(), field),
            of_expectation,
            "{}",
            field.name()
        );
    }
    assert_eq!(addresses(&bare(), AddressField::Src), ["2001:db8::1"]);
    assert!(addresses(&bare(), AddressField::MasterSrc).is_empty());
}

#[test]
fn every_text() {
    for &field in TextField::ALL {
        let (of_flow, of_expectation) = match field {
            TextField::Helper => (Some("ftp"), Some("ftp")),
            TextField::SecCtx => (Some("system_u:object_r:t"), None),
            TextField::ExpectFunction => (None, Some("nat-follow-master")),
        };
        assert_eq!(full().text(field), of_flow, "{}", field.name());
        assert_eq!(
            expectation().text(field),
            of_expectation,
            "{}",
            field.name()
        );
        assert_eq!(bare().text(field), None, "{}", field.name());
    }
}

#[test]
fn every_part() {
    for &field in PresenceField::ALL {
        let name = field.name();
        let of_expectation = matches!(
            field,
            PresenceField::Helper | PresenceField::Master | PresenceField::ExpectNat
        );
        assert_eq!(full().has(field), field.is_of(Kind::Flow), "{name}");
        assert!(!bare().has(field), "{name}");
        assert_eq!(expectation().has(field), of_expectation, "{name}");
    }
    let mut helped = bare();
    helped.helper = Some(Helper {
        name: "sip".parse().unwrap(),
        info: None,
    });
    assert!(helped.has(PresenceField::Helper) && !helped.has(PresenceField::HelperInfo));
    let mut adjusted = bare();
    adjusted.seqadj_reply = Some(SeqAdj::default());
    assert!(adjusted.has(PresenceField::SeqAdj));
}

/// Whether source, destination or either is translated.
fn translated(flow: &Flow) -> [bool; 3] {
    [Translation::Src, Translation::Dst, Translation::Any].map(|how| flow.is_translated(how))
}

#[test]
fn translation_is_read_from_addresses_and_ports() {
    let orig = tcp("10.0.0.1", 1, "10.0.0.2", 2);
    let cases = [
        (tcp("10.0.0.2", 2, "10.0.0.1", 1), [false, false, false]),
        (tcp("10.0.0.2", 2, "10.0.0.9", 1), [true, false, true]),
        (tcp("10.0.0.2", 2, "10.0.0.1", 9), [true, false, true]),
        (tcp("10.0.0.9", 2, "10.0.0.1", 1), [false, true, true]),
        (tcp("10.0.0.2", 9, "10.0.0.1", 1), [false, true, true]),
        (tcp("10.0.0.9", 9, "10.0.0.9", 9), [true, true, true]),
    ];
    for (reply, expected) in cases {
        assert_eq!(translated(&Flow::new(orig, reply)), expected, "{reply:?}");
    }
    assert_eq!(translated(&bare()), [false, false, false]);
}

#[test]
fn translation_of_gre_keys_counts_and_of_icmp_ids_does_not() {
    let icmp = |src: &str, dst: &str, kind, id| {
        let l4 = L4::Icmp { kind, code: 0, id };
        tuple(src, dst, Protocol::ICMP, l4)
    };
    let gre = |src: &str, dst: &str, from, to| {
        let l4 = L4::Gre { src: from, dst: to };
        tuple(src, dst, Protocol::GRE, l4)
    };
    let cases = [
        (
            icmp("1.1.1.1", "2.2.2.2", 8, 5),
            icmp("2.2.2.2", "1.1.1.1", 0, 6),
            false,
            false,
        ),
        (
            icmp("1.1.1.1", "2.2.2.2", 8, 5),
            icmp("2.2.2.2", "3.3.3.3", 0, 6),
            true,
            false,
        ),
        (
            icmp("1.1.1.1", "2.2.2.2", 8, 5),
            icmp("3.3.3.3", "1.1.1.1", 0, 5),
            false,
            true,
        ),
        (
            gre("1.1.1.1", "2.2.2.2", 1, 2),
            gre("2.2.2.2", "1.1.1.1", 2, 1),
            false,
            false,
        ),
        (
            gre("1.1.1.1", "2.2.2.2", 1, 2),
            gre("2.2.2.2", "1.1.1.1", 2, 9),
            true,
            false,
        ),
        (
            gre("1.1.1.1", "2.2.2.2", 1, 2),
            gre("2.2.2.2", "1.1.1.1", 9, 1),
            false,
            true,
        ),
    ];
    for (orig, reply, src, dst) in cases {
        assert_eq!(
            translated(&Flow::new(orig, reply)),
            [src, dst, src || dst],
            "{orig:?} {reply:?}"
        );
    }
}

#[test]
fn a_field_of_several_values_fits_when_one_fits() {
    let is = |predicate| Filter::Is(predicate).matches(&full(), NOW);
    for (port, expected) in [(1001, true), (1004, true), (1005, false)] {
        let range = NumberRange {
            min: port,
            max: port,
        };
        assert_eq!(
            is(Predicate::Number(NumberField::Port, None, vec![range])),
            expected
        );
    }
    for (network, expected) in [("10.0.0.4/32", true), ("10.0.0.5/32", false)] {
        let networks = vec![network.parse().unwrap()];
        assert_eq!(
            is(Predicate::Address(AddressField::Any, networks)),
            expected
        );
    }
}

#[test]
fn a_text_fits_to_the_letter() {
    let is = |values: &[&str]| {
        let values = values.iter().map(|&v| v.into()).collect();
        Filter::Is(Predicate::Text(TextField::Helper, values)).matches(&full(), NOW)
    };
    assert!(is(&["sip", "ftp"]));
    assert!(!is(&["FTP"]) && !is(&["ft"]) && !is(&["ftp-20"]) && !is(&[]));
}

#[test]
fn labels_compare_after_the_mask() {
    let is = |flow: &Flow, value, mask| {
        let (value, mask) = (Labels(value), Labels(mask));
        Filter::Is(Predicate::Labels { value, mask }).matches(flow, NOW)
    };
    assert!(is(&full(), 1 << 5, 1 << 5));
    assert!(is(&full(), 1 << 127, 1 << 127 | 1));
    assert!(!is(&full(), 1, 1) && !is(&full(), 0, 1 << 5));
    // No labels are labels of 0.
    assert!(is(&bare(), 0, u128::MAX) && !is(&bare(), 1, 1));
    let any = Predicate::Labels {
        value: Labels(0),
        mask: Labels(1),
    };
    assert!(!Filter::Is(any).matches(&expectation(), NOW));
}

#[test]
fn the_tree() {
    let yes = || Filter::Is(Predicate::Present(PresenceField::Helper));
    let no = || Filter::Is(Predicate::Present(PresenceField::ExpectNat));
    let not = |filter| Filter::Not(Box::new(filter));
    let cases = [
        (Filter::everything(), true),
        (Filter::And(vec![yes(), yes()]), true),
        (Filter::And(vec![yes(), no()]), false),
        (Filter::Or(vec![]), false),
        (Filter::Or(vec![no(), yes()]), true),
        (Filter::Or(vec![no(), no()]), false),
        (not(no()), true),
        (not(yes()), false),
        (
            Filter::And(vec![yes(), not(Filter::Or(vec![no(), no()]))]),
            true,
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(filter.matches(&full(), NOW), expected, "{filter:?}");
    }
}

#[test]
fn what_is_absent_makes_the_predicate_false_and_its_negation_true() {
    let long = Filter::Is(Predicate::Number(
        NumberField::Timeout,
        None,
        vec![NumberRange {
            min: i64::MIN,
            max: i64::MAX,
        }],
    ));
    assert!(long.matches(&full(), NOW));
    assert!(!long.matches(&bare(), NOW));
    assert!(Filter::Not(Box::new(long)).matches(&bare(), NOW));
}
