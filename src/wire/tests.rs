//! Round trips, and refusals by name.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::flow::{self, Filter, FlowChanges, FlowKey, L4, Protocol, Tuple, arbitrary};
use crate::pb;

/// From the domain to the message, over the wire and back.
macro_rules! round_trips {
    ($($name:ident: $strategy:expr, $domain:ty, $message:ty;)*) => {
        proptest! {
            $(
                #[test]
                fn $name(value in $strategy) {
                    let message = <$message>::from(&value);
                    let bytes = message.encode_to_vec();
                    let read = <$message>::decode(bytes.as_slice()).unwrap();
                    prop_assert_eq!(&read, &message);
                    prop_assert_eq!(<$domain>::try_from(read).unwrap(), value);
                }
            )*
        }
    };
}

round_trips! {
    tuples: arbitrary::tuple(), Tuple, pb::Tuple;
    flows: arbitrary::flow(), flow::Flow, pb::Flow;
    flow_keys: arbitrary::flow_key(), FlowKey, pb::FlowKey;
    flow_changes: arbitrary::flow_changes(), flow::FlowChanges, pb::FlowChanges;
    expectations: arbitrary::expectation(), flow::Expectation, pb::Expectation;
    expectation_keys: arbitrary::expectation_key(), flow::ExpectationKey, pb::ExpectationKey;
    filters: arbitrary::filter(), Filter, pb::Filter;
}

proptest! {
    #[test]
    fn flow_events(event in arbitrary::flow_event(), sequence: u64) {
        let message = flow_event(sequence, &event);
        prop_assert_eq!(message.sequence, sequence);
        prop_assert_eq!(flow::FlowEvent::try_from(message).unwrap(), event);
    }

    #[test]
    fn expectation_events(event in arbitrary::expectation_event(), sequence: u64) {
        let message = expectation_event(sequence, &event);
        prop_assert_eq!(message.sequence, sequence);
        prop_assert_eq!(flow::ExpectationEvent::try_from(message).unwrap(), event);
    }

    /// What may be written is a part of what may be read.
    #[test]
    fn writable_flows_read_the_same(flow in arbitrary::flow()) {
        let written = writable_flow(pb::Flow::from(&flow), false).unwrap();
        prop_assert_eq!(written, flow);
    }

    /// A message with any numbers in it is refused with the name of a field, or stands for
    /// a value that reads the same again.
    #[test]
    fn any_tuple_is_refused_by_name_or_round_trips(
        src in proptest::collection::vec(any::<u8>(), 0..20),
        dst in proptest::collection::vec(any::<u8>(), 0..20),
        protocol in 0..300u32,
        kind in 0..4u8,
        numbers in (0..70_000u32, 0..70_000u32, 0..70_000u32),
    ) {
        let (a, b, c) = numbers;
        let l4 = match kind {
            0 => None,
            1 => Some(pb::tuple::L4::Ports(pb::Ports { src: a, dst: b })),
            2 => Some(pb::tuple::L4::Icmp(pb::IcmpKey { r#type: a, code: b, id: c })),
            _ => Some(pb::tuple::L4::Gre(pb::GreKeys { src: a, dst: b })),
        };
        let message = pb::Tuple { src: src.into(), dst: dst.into(), protocol, l4 };
        match Tuple::try_from(message.clone()) {
            Ok(tuple) => prop_assert_eq!(pb::Tuple::from(&tuple), message),
            Err(error) => prop_assert!(!error.field.is_empty()),
        }
    }

    /// Bytes from outside never panic, whatever they decode to.
    #[test]
    fn any_bytes_are_survived(
        flow in arbitrary::flow(),
        filter in arbitrary::filter(),
        at: prop::sample::Index,
        byte: u8,
    ) {
        let mut bytes = pb::Flow::from(&flow).encode_to_vec();
        let index = at.index(bytes.len());
        bytes[index] = byte;
        if let Ok(message) = pb::Flow::decode(bytes.as_slice())
            && let Ok(read) = flow::Flow::try_from(message)
        {
            let again = flow::Flow::try_from(pb::Flow::from(&read));
            prop_assert_eq!(again, Ok(read));
        }
        let mut bytes = pb::Filter::from(&filter).encode_to_vec();
        let index = at.index(bytes.len());
        bytes[index] = byte;
        if let Ok(message) = pb::Filter::decode(bytes.as_slice())
            && let Ok(read) = Filter::try_from(message)
        {
            let again = Filter::try_from(pb::Filter::from(&read));
            prop_assert_eq!(again, Ok(read));
        }
    }
}

#[test]
fn statistics_keep_what_is_absent() {
    let stats = flow::FlowStats {
        found: Some(3),
        drop: Some(0),
        ..Default::default()
    };
    let cpu = flow::PerCpu { cpu: 7, stats };
    let message = pb::CpuStats::from(cpu);
    assert_eq!(message.stats.unwrap().insert, None);
    assert_eq!(flow::PerCpu::try_from(message), Ok(cpu));
    let error = flow::PerCpu::<flow::FlowStats>::try_from(pb::CpuStats {
        cpu: 70_000,
        stats: Some(stats.into()),
    });
    assert_eq!(error.unwrap_err().field, "cpu");
}

fn udp() -> pb::Tuple {
    pb::Tuple {
        src: Bytes::from_static(&[10, 0, 0, 1]),
        dst: Bytes::from_static(&[10, 0, 0, 2]),
        protocol: 17,
        l4: Some(pb::tuple::L4::Ports(pb::Ports { src: 1, dst: 53 })),
    }
}

fn with(change: impl FnOnce(&mut pb::Flow)) -> pb::Flow {
    let mut flow = pb::Flow {
        orig: Some(udp()),
        timeout_seconds: Some(30),
        ..Default::default()
    };
    change(&mut flow);
    flow
}

#[test]
fn a_flow_without_reply_is_not_translated() {
    let flow = writable_flow(with(|_| ()), true).unwrap();
    assert_eq!(flow.reply, flow.orig.inverse());
    assert_eq!(flow.reply.l4, L4::Ports { src: 53, dst: 1 });
}

#[test]
fn a_flow_is_refused_by_the_name_of_its_field() {
    let v6 = || pb::Tuple {
        src: Bytes::from_static(&[1; 16]),
        dst: Bytes::from_static(&[2; 16]),
        ..udp()
    };
    let icmp = |kind| pb::Tuple {
        protocol: 1,
        l4: Some(pb::tuple::L4::Icmp(pb::IcmpKey {
            r#type: kind,
            code: 0,
            id: 1,
        })),
        ..udp()
    };
    let ports = |src, dst| {
        Some(pb::Tuple {
            l4: Some(pb::tuple::L4::Ports(pb::Ports { src, dst })),
            ..udp()
        })
    };
    let tcp = |info| Some(pb::flow::Protoinfo::Tcp(info));
    type Case<'a> = (&'a str, &'a dyn Fn(&mut pb::Flow));
    let cases: &[Case<'_>] = &[
        ("orig", &|flow| flow.orig = None),
        ("orig.src", &|flow| {
            flow.orig.as_mut().unwrap().src = Bytes::from_static(&[1, 2, 3]);
        }),
        ("orig.dst", &|flow| {
            flow.orig.as_mut().unwrap().dst = Bytes::from_static(&[1; 16]);
        }),
        ("orig.protocol", &|flow| {
            flow.orig.as_mut().unwrap().protocol = 256;
        }),
        ("orig.ports.src", &|flow| flow.orig = ports(65_536, 1)),
        ("orig.ports.dst", &|flow| flow.orig = ports(1, u32::MAX)),
        ("orig.ports", &|flow| flow.orig.as_mut().unwrap().l4 = None),
        ("orig.ports", &|flow| {
            flow.orig.as_mut().unwrap().protocol = 1;
        }),
        ("orig.icmp", &|flow| {
            flow.orig = Some(pb::Tuple {
                l4: None,
                ..icmp(8)
            });
        }),
        ("orig.icmp.type", &|flow| flow.orig = Some(icmp(256))),
        ("reply", &|flow| flow.reply = Some(v6())),
        ("reply.protocol", &|flow| flow.reply = Some(icmp(0))),
        ("master", &|flow| flow.master = Some(v6())),
        ("zone", &|flow| flow.zone = 65_536),
        ("zone_direction", &|flow| flow.zone_direction = 3),
        ("labels", &|flow| {
            flow.labels = Some(Bytes::from_static(&[0; 15]));
        }),
        ("helper.name", &|flow| {
            flow.helper = Some(pb::Helper {
                name: "sixteen-bytes-no".into(),
                ..Default::default()
            });
        }),
        ("helper.name", &|flow| {
            flow.helper = Some(pb::Helper::default())
        }),
        ("tcp", &|flow| flow.protoinfo = tcp(pb::TcpInfo::default())),
        ("timeout_seconds", &|flow| flow.timeout_seconds = None),
    ];
    for (field, change) in cases {
        let error = writable_flow(with(change), true).unwrap_err();
        assert_eq!(error.field, *field, "{error}");
    }
}

#[test]
fn a_window_scale_that_the_kernel_would_shift_by_is_not_written() {
    let message = with(|flow| {
        flow.orig.as_mut().unwrap().protocol = Protocol::TCP.0.into();
        flow.protoinfo = Some(pb::flow::Protoinfo::Tcp(pb::TcpInfo {
            window_scale_reply: Some(15),
            ..Default::default()
        }));
    });
    assert!(flow::Flow::try_from(message.clone()).is_ok());
    let error = writable_flow(message, true).unwrap_err();
    assert_eq!(error.field, "tcp.window_scale_reply");
    assert_eq!(error.description, "is 15, must be at most 14");
}

#[test]
fn status_bits_that_an_update_would_pass_over_are_refused() {
    let change = |bits| {
        FlowChanges::try_from(pb::FlowChanges {
            status_set: Some(bits),
            ..Default::default()
        })
    };
    for bit in (0..32).map(|bit| 1 << bit) {
        assert_eq!(change(bit).is_ok(), bit & 0x260f != 0, "{bit:#x}");
    }
    let error = change(0x12).expect_err("SRC_NAT among them");
    assert_eq!(error.field, "status_set");
    assert!(error.description.contains("0x10"), "{error}");
    assert!(change(0).is_err());
}

#[test]
fn an_update_of_nothing_is_refused() {
    let error = flow::FlowChanges::try_from(pb::FlowChanges::default()).unwrap_err();
    assert_eq!(error.within("changes").field, "changes");
    let error = flow::FlowChanges::try_from(pb::FlowChanges {
        mark: Some(pb::MaskedUint32 {
            value: 1,
            mask: Some(0),
        }),
        ..Default::default()
    });
    assert_eq!(error.unwrap_err().field, "mark.mask");
}

#[test]
fn an_expectation_without_mask_counts_every_bit() {
    let expectation = flow::Expectation::try_from(pb::Expectation {
        tuple: Some(udp()),
        master: Some(udp()),
        ..Default::default()
    })
    .unwrap();
    assert_eq!(expectation.mask.src.to_string(), "255.255.255.255");
    assert_eq!(expectation.mask.ports(), Some((65_535, 65_535)));
    let error = flow::Expectation::try_from(pb::Expectation {
        tuple: Some(udp()),
        ..Default::default()
    });
    assert_eq!(error.unwrap_err().field, "master");
}

fn is(node: pb::filter::Node) -> pb::Filter {
    pb::Filter { node: Some(node) }
}

fn and(filters: Vec<pb::Filter>) -> pb::Filter {
    is(pb::filter::Node::And(pb::FilterList { filters }))
}

fn port(min: i64, max: i64) -> pb::Filter {
    is(pb::filter::Node::Number(pb::NumberPredicate {
        field: pb::NumberField::Port.into(),
        mask: None,
        ranges: vec![pb::NumberRange { min, max }],
    }))
}

fn refusal(filter: pb::Filter) -> FieldError {
    Filter::try_from(filter).unwrap_err().within("filter")
}

#[test]
fn a_filter_is_refused_by_the_path_of_its_field() {
    use pb::filter::Node;
    let network = |length: usize, prefix_length| {
        is(Node::Address(pb::AddressPredicate {
            field: pb::AddressField::Src.into(),
            networks: vec![pb::Network {
                address: vec![0; length].into(),
                prefix_length,
            }],
        }))
    };
    let labels = |value: u8, mask: u8| {
        is(Node::Labels(pb::LabelsPredicate {
            value: vec![value; 16].into(),
            mask: vec![mask; 16].into(),
        }))
    };
    let number = |field, mask, ranges| {
        is(Node::Number(pb::NumberPredicate {
            field,
            mask,
            ranges,
        }))
    };
    let cases = [
        (
            and(vec![port(1, 2), port(3, 3), port(5, 4)]),
            "filter.and.filters[2].number.ranges[0].max",
        ),
        (pb::Filter::default(), "filter.node"),
        (and(vec![]), "filter.and.filters"),
        (
            is(Node::Not(Box::new(and(vec![])))),
            "filter.not.and.filters",
        ),
        (network(4, 33), "filter.address.networks[0].prefix_length"),
        (network(16, 129), "filter.address.networks[0].prefix_length"),
        (network(5, 1), "filter.address.networks[0].address"),
        (
            is(Node::Address(pb::AddressPredicate::default())),
            "filter.address.field",
        ),
        (number(99, None, vec![]), "filter.number.field"),
        (number(14, None, vec![]), "filter.number.ranges"),
        (number(14, Some(0), vec![]), "filter.number.mask"),
        (labels(3, 1), "filter.labels.value"),
        (labels(0, 0), "filter.labels.mask"),
        (
            is(Node::Text(pb::TextPredicate {
                field: 1,
                values: vec![],
            })),
            "filter.text.values",
        ),
        (is(Node::Present(0)), "filter.present"),
        (is(Node::Translated(9)), "filter.translated"),
    ];
    for (filter, field) in cases {
        let error = refusal(filter);
        assert_eq!(error.field, field, "{error}");
    }
}

#[test]
fn a_filter_is_bounded_in_depth_and_in_size() {
    let nested = |levels| (1..levels).fold(port(1, 1), |inner, _| and(vec![inner]));
    let deepest = nested(MAX_FILTER_DEPTH);
    // Still readable by prost inside a request, so that the refusal beyond is ours.
    let request = pb::DumpFlowsRequest {
        filter: Some(nested(MAX_FILTER_DEPTH + 8)),
        ..Default::default()
    };
    let request = pb::DumpFlowsRequest::decode(request.encode_to_vec().as_slice()).unwrap();
    assert!(Filter::try_from(deepest).is_ok());
    let error = refusal(request.filter.unwrap());
    assert!(error.description.contains("nested too deeply"), "{error}");

    let wide = |count: usize| and(vec![port(1, 1); count]);
    assert!(Filter::try_from(wide(MAX_FILTER_NODES - 1)).is_ok());
    let error = refusal(wide(MAX_FILTER_NODES));
    assert_eq!(
        error.field,
        format!("filter.and.filters[{}]", MAX_FILTER_NODES - 1)
    );

    let texts = |count: usize| {
        is(pb::filter::Node::Text(pb::TextPredicate {
            field: pb::TextField::Helper.into(),
            values: vec!["ftp".into(); count],
        }))
    };
    assert!(Filter::try_from(texts(MAX_FILTER_VALUES)).is_ok());
    let error = refusal(texts(MAX_FILTER_VALUES + 1));
    assert_eq!(error.field, "filter.text.values");
}
