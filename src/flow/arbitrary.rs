//! Strategies for the domain types, for the property tests of every room that translates
//! them: whatever they yield could have come from a kernel.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::filter::{
    AddressField, Filter, NumberField, NumberRange, Predicate, PresenceField, TextField,
    Translation,
};
use super::*;

/// Either family.
pub(crate) fn family() -> impl Strategy<Value = Family> {
    select(&[Family::V4, Family::V6][..])
}

/// An address of the family.
pub(crate) fn address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => any::<[u8; 4]>().prop_map(IpAddr::from).boxed(),
        Family::V6 => any::<[u8; 16]>().prop_map(IpAddr::from).boxed(),
    }
}

/// Either direction.
pub(crate) fn direction() -> impl Strategy<Value = Direction> {
    select(&[Direction::Orig, Direction::Reply][..])
}

/// A protocol that a tuple of the family can have; those with a tracker are more likely.
pub(crate) fn protocol(family: Family) -> impl Strategy<Value = Protocol> {
    let icmp = match family {
        Family::V4 => Protocol::ICMP,
        Family::V6 => Protocol::ICMPV6,
    };
    let tracked = [
        Protocol::TCP,
        Protocol::UDP,
        Protocol::UDPLITE,
        Protocol::SCTP,
        Protocol::DCCP,
        Protocol::GRE,
        icmp,
    ];
    prop_oneof![
        8 => select(tracked.to_vec()),
        // Without a tracker: OSPF, ESP, an unassigned one.
        1 => select(&[Protocol(89), Protocol(50), Protocol(200)][..]),
    ]
}

/// What a tuple of the protocol has in the place of ports.
pub(crate) fn l4(protocol: Protocol) -> BoxedStrategy<L4> {
    if protocol.has_ports() {
        any::<(u16, u16)>()
            .prop_map(|(src, dst)| L4::Ports { src, dst })
            .boxed()
    } else if protocol.is_icmp() {
        any::<(u8, u8, u16)>()
            .prop_map(|(kind, code, id)| L4::Icmp { kind, code, id })
            .boxed()
    } else if protocol == Protocol::GRE {
        any::<(u16, u16)>()
            .prop_map(|(src, dst)| L4::Gre { src, dst })
            .boxed()
    } else {
        Just(L4::None).boxed()
    }
}

/// A tuple of the family and protocol.
pub(crate) fn tuple_of(family: Family, protocol: Protocol) -> impl Strategy<Value = Tuple> {
    (address(family), address(family), l4(protocol)).prop_map(move |(src, dst, l4)| Tuple {
        src,
        dst,
        protocol,
        l4,
    })
}

/// A tuple of the family.
pub(crate) fn tuple_of_family(family: Family) -> impl Strategy<Value = Tuple> {
    protocol(family).prop_flat_map(move |protocol| tuple_of(family, protocol))
}

/// Any tuple.
pub(crate) fn tuple() -> impl Strategy<Value = Tuple> {
    family().prop_flat_map(tuple_of_family)
}

/// A zone. The default one has no direction.
pub(crate) fn zone() -> impl Strategy<Value = Zone> {
    use ZoneDirection::{Both, Orig, Reply};
    prop_oneof![
        Just(Zone::default()),
        (1u16.., select(&[Both, Orig, Reply][..]))
            .prop_map(|(id, direction)| Zone { id, direction }),
    ]
}

/// Status bits, also unknown ones.
pub(crate) fn status() -> impl Strategy<Value = Status> {
    any::<u32>().prop_map(Status)
}

/// Labels.
pub(crate) fn labels() -> impl Strategy<Value = Labels> {
    any::<u128>().prop_map(Labels)
}

/// A helper's name.
pub(crate) fn helper_name() -> impl Strategy<Value = HelperName> {
    "[a-zA-Z0-9._-]{1,15}".prop_filter_map("a name", |name| name.parse().ok())
}

/// A helper.
pub(crate) fn helper() -> impl Strategy<Value = Helper> {
    (helper_name(), of(vec(any::<u8>(), 1..32))).prop_map(|(name, info)| Helper {
        name,
        info: info.map(Into::into),
    })
}

fn counters() -> impl Strategy<Value = Counters> {
    any::<(u64, u64)>().prop_map(|(packets, bytes)| Counters { packets, bytes })
}

fn timestamps() -> impl Strategy<Value = Timestamps> {
    (of(any::<u64>()), of(any::<u64>()), of(any::<u64>()))
        .prop_map(|(start, stop, event)| Timestamps { start, stop, event })
}

/// Sequence adjustment.
pub(crate) fn seqadj() -> impl Strategy<Value = SeqAdj> {
    any::<(u32, i32, i32)>().prop_map(|(correction_pos, offset_before, offset_after)| SeqAdj {
        correction_pos,
        offset_before,
        offset_after,
    })
}

/// SYNPROXY state.
pub(crate) fn synproxy() -> impl Strategy<Value = Synproxy> {
    any::<(u32, u32, u32)>().prop_map(|(isn, its, tsoff)| Synproxy { isn, its, tsoff })
}

fn tcp_flags() -> impl Strategy<Value = TcpFlags> {
    any::<(u8, u8)>().prop_map(|(flags, mask)| TcpFlags { flags, mask })
}

/// What the tracker of the protocol knows, with values that may also be written; nothing
/// for other protocols.
pub(crate) fn protoinfo(protocol: Protocol) -> BoxedStrategy<Option<ProtoInfo>> {
    match protocol {
        Protocol::TCP => of((
            of((0..=9u8).prop_map(TcpState)),
            of(0..=14u8),
            of(0..=14u8),
            of(tcp_flags()),
            of(tcp_flags()),
        )
            .prop_map(
                |(state, scale_orig, scale_reply, flags_orig, flags_reply)| {
                    ProtoInfo::Tcp(TcpInfo {
                        state,
                        window_scale_orig: scale_orig,
                        window_scale_reply: scale_reply,
                        flags_orig,
                        flags_reply,
                    })
                },
            ))
        .boxed(),
        Protocol::SCTP => of((
            of((0..=9u8).prop_map(SctpState)),
            of(any::<u32>()),
            of(any::<u32>()),
        )
            .prop_map(|(state, vtag_orig, vtag_reply)| {
                ProtoInfo::Sctp(SctpInfo {
                    state,
                    vtag_orig,
                    vtag_reply,
                })
            }))
        .boxed(),
        Protocol::DCCP => of((
            of((0..=9u8).prop_map(DccpState)),
            of(0..=1u8),
            of(0..1u64 << 48),
        )
            .prop_map(|(state, role, handshake_seq)| {
                ProtoInfo::Dccp(DccpInfo {
                    state,
                    role,
                    handshake_seq,
                })
            }))
        .boxed(),
        _ => Just(None).boxed(),
    }
}

/// A flow.
pub(crate) fn flow() -> impl Strategy<Value = Flow> {
    (family().prop_flat_map(|family| (Just(family), protocol(family))))
        .prop_flat_map(|(family, protocol)| {
            let tuples = (
                tuple_of(family, protocol),
                tuple_of(family, protocol),
                of(tuple_of_family(family)),
                protoinfo(protocol),
            );
            let numbers = (
                of(any::<u32>()),
                zone(),
                of(status()),
                of(any::<u32>()),
                of(any::<u32>()),
                of(any::<u32>()),
                of(labels()),
            );
            let extensions = (
                of(counters()),
                of(counters()),
                timestamps(),
                of(helper()),
                of("[a-z_:]{1,40}"),
                of(seqadj()),
                of(seqadj()),
                of(synproxy()),
            );
            (tuples, numbers, extensions)
        })
        .prop_map(|(tuples, numbers, extensions)| {
            let (orig, reply, master, protoinfo) = tuples;
            let (id, zone, status, timeout, mark, use_count, labels) = numbers;
            let (counters_orig, counters_reply, timestamps, helper, secctx, adj, adj_reply, syn) =
                extensions;
            Flow {
                id,
                orig,
                reply,
                zone,
                status,
                timeout,
                mark,
                protoinfo,
                counters_orig,
                counters_reply,
                use_count,
                labels,
                timestamps,
                helper,
                secctx: secctx.map(Into::into),
                seqadj_orig: adj,
                seqadj_reply: adj_reply,
                synproxy: syn,
                master,
            }
        })
}

/// A flow's key.
pub(crate) fn flow_key() -> impl Strategy<Value = FlowKey> {
    (tuple(), direction(), zone(), of(any::<u32>())).prop_map(|(tuple, direction, zone, id)| {
        FlowKey {
            tuple,
            direction,
            zone,
            id,
        }
    })
}

/// Changes of a flow, at least one.
pub(crate) fn flow_changes() -> impl Strategy<Value = FlowChanges> {
    let mark = (any::<u32>(), 1u32..).prop_map(|(value, mask)| Masked { value, mask });
    let labels = (labels(), 1u128..).prop_map(|(value, mask)| Masked {
        value,
        mask: Labels(mask),
    });
    let protoinfo = select(&[Protocol::TCP, Protocol::SCTP, Protocol::DCCP, Protocol::UDP][..])
        .prop_flat_map(protoinfo);
    // Bits that an update sets.
    let status = select(&[0x2, 0x4, 0x400, 0x2406][..]).prop_map(Status);
    (
        of(mark),
        of(any::<u32>()),
        of(status),
        of(labels),
        protoinfo,
        of(helper_name()),
        of(seqadj()),
        of(seqadj()),
        of(synproxy()),
    )
        .prop_map(
            |(mark, timeout, status_set, labels, protoinfo, helper, adj, adj_reply, synproxy)| {
                FlowChanges {
                    mark,
                    timeout,
                    status_set,
                    labels,
                    protoinfo,
                    helper,
                    seqadj_orig: adj,
                    seqadj_reply: adj_reply,
                    synproxy,
                }
            },
        )
        .prop_filter("no change", |changes| !changes.is_empty())
}

/// An expectation, with a zone as a request has it: the kernel reports none.
pub(crate) fn expectation() -> impl Strategy<Value = Expectation> {
    (family().prop_flat_map(|family| (Just(family), protocol(family))))
        .prop_flat_map(|(family, protocol)| {
            let nat = (direction(), tuple_of_family(family))
                .prop_map(|(direction, tuple)| ExpectationNat { direction, tuple });
            let tuples = (
                tuple_of(family, protocol),
                tuple_of(family, protocol),
                tuple_of_family(family),
                of(nat),
            );
            let rest = (
                of(any::<u32>()),
                any::<u16>(),
                of(any::<u32>()),
                of(any::<u32>()),
                of(any::<u32>()),
                of(helper_name()),
                of("[a-z-]{1,15}"),
            );
            (tuples, rest)
        })
        .prop_map(|((tuple, mask, master, nat), rest)| {
            let (id, zone, timeout, flags, class, helper, function) = rest;
            Expectation {
                id,
                tuple,
                mask,
                master,
                zone,
                timeout,
                flags,
                class,
                helper,
                function: function.map(Into::into),
                nat,
            }
        })
}

/// An expectation's key.
pub(crate) fn expectation_key() -> impl Strategy<Value = ExpectationKey> {
    (tuple(), any::<u16>(), of(any::<u32>())).prop_map(|(tuple, zone, id)| ExpectationKey {
        tuple,
        zone,
        id,
    })
}

/// What happened to a flow.
pub(crate) fn flow_event() -> impl Strategy<Value = FlowEvent> {
    let kind = select(&[EventType::New, EventType::Update, EventType::Destroy][..]);
    (kind, flow(), any::<u32>()).prop_map(|(kind, flow, port_id)| FlowEvent {
        kind,
        flow,
        port_id,
    })
}

/// What happened to an expectation.
pub(crate) fn expectation_event() -> impl Strategy<Value = ExpectationEvent> {
    let kind = select(&[EventType::New, EventType::Destroy][..]);
    (kind, expectation(), any::<u32>()).prop_map(|(kind, expectation, port_id)| ExpectationEvent {
        kind,
        expectation,
        port_id,
    })
}

/// A network without host bits.
pub(crate) fn network() -> impl Strategy<Value = IpNet> {
    family().prop_flat_map(|family| {
        let longest = match family {
            Family::V4 => 32u8,
            Family::V6 => 128,
        };
        (address(family), 0..=longest).prop_filter_map("a prefix length", |(address, length)| {
            Some(IpNet::new(address, length).ok()?.trunc())
        })
    })
}

/// One condition, of flows or of expectations.
pub(crate) fn predicate() -> impl Strategy<Value = Predicate> {
    let range = any::<(i64, i64)>().prop_map(|(a, b)| NumberRange {
        min: a.min(b),
        max: a.max(b),
    });
    let labels = (any::<u128>(), 1u128..).prop_map(|(value, mask)| Predicate::Labels {
        value: Labels(value & mask),
        mask: Labels(mask),
    });
    prop_oneof![
        (select(AddressField::ALL), vec(network(), 1..4))
            .prop_map(|(field, networks)| Predicate::Address(field, networks)),
        (select(NumberField::ALL), of(1u64..), vec(range, 1..4))
            .prop_map(|(field, mask, ranges)| Predicate::Number(field, mask, ranges)),
        labels,
        (select(TextField::ALL), vec("[a-z0-9_:-]{1,15}", 1..4)).prop_map(|(field, values)| {
            Predicate::Text(field, values.into_iter().map(Into::into).collect())
        }),
        select(PresenceField::ALL).prop_map(Predicate::Present),
        select(Translation::ALL).prop_map(Predicate::Translated),
    ]
}

/// A filter whose lists are not empty.
pub(crate) fn filter() -> impl Strategy<Value = Filter> {
    predicate()
        .prop_map(Filter::Is)
        .prop_recursive(5, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 1..4).prop_map(Filter::And),
                vec(inner.clone(), 1..4).prop_map(Filter::Or),
                inner.prop_map(|filter| Filter::Not(Box::new(filter))),
            ]
        })
}
