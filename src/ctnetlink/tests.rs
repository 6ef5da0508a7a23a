//! Encoding and decoding against each other, against netlink-packet-netfilter as an
//! independent reader, against bytes captured from Linux 6.18, and against garbage.

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner};
use proptest::prelude::*;

use super::uapi::netlink::NLM_F_REQUEST;
use super::uapi::nfnetlink_conntrack::*;
use super::*;
use crate::flow::arbitrary;
use crate::flow::{
    Expectation, Family, Flow, FlowChanges, FlowKey, L4, Labels, Masked, ProtoInfo, SeqAdj, Status,
    Synproxy, TcpFlags, TcpInfo, TcpState, Timestamps, Zone,
};

/// A new flow as the kernel announced it to a listener (Linux 6.18, 10.0.0.1 -> 10.0.0.2).
const CAPTURED_NEW: &str = include_str!("testdata/flow_new.hex");
/// A destroyed flow with counters and timestamps.
const CAPTURED_DESTROY: &str = include_str!("testdata/flow_destroy.hex");
/// An expectation in a dump.
const CAPTURED_EXPECTATION: &str = include_str!("testdata/expectation.hex");

fn captured(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::bytes)
        .filter(u8::is_ascii_hexdigit)
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The one message in the buffer, and its attributes.
fn only(buffer: &[u8]) -> (decode::Message<'_>, &[u8]) {
    let mut all = decode::messages(buffer);
    let message = all.next().unwrap().unwrap();
    assert!(all.next().is_none(), "one request is one message");
    let (_, attributes) = message.netfilter().unwrap();
    (message, attributes)
}

/// What a creation carries: the kernel's own fields left out, and no translation, which is
/// told to the kernel in another form.
fn writable(mut flow: Flow) -> Flow {
    let settable = Status::SEEN_REPLY | Status::ASSURED | Status::FIXED_TIMEOUT | Status::HELPER;
    let status = flow.status.unwrap_or_default().0 & settable.0;
    flow.status = Some(Status(status) | Status::CONFIRMED);
    flow.id = None;
    flow.use_count = None;
    flow.counters_orig = None;
    flow.counters_reply = None;
    flow.timestamps = Timestamps::default();
    flow.secctx = None;
    if flow.zone.id == 0 {
        flow.zone = Zone::default();
    }
    if let Some(ProtoInfo::Tcp(tcp)) = &mut flow.protoinfo {
        for flags in [&mut tcp.flags_orig, &mut tcp.flags_reply] {
            if let Some(flags) = flags
                && flags.mask == 0
            {
                flags.mask = 0xff;
            }
        }
    }
    flow
}

proptest! {
    #[test]
    fn a_flow_survives_the_way_to_bytes_and_back(flow in arbitrary::flow()) {
        let mut without_nat = flow;
        let nat = Status::SRC_NAT | Status::DST_NAT | Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
        if let Some(status) = &mut without_nat.status {
            status.0 &= !nat.0;
        }
        let mut buffer = Vec::new();
        encode::create_flow(&mut buffer, 7, &without_nat, CreateMode::Create, true).unwrap();
        let (message, attributes) = only(&buffer);
        prop_assert_eq!(message.sequence, 7);
        let decoded = decode::flow(attributes).unwrap();
        prop_assert_eq!(decoded, writable(without_nat));
    }

    #[test]
    fn an_expectation_survives_the_way_to_bytes_and_back(expectation in arbitrary::expectation()) {
        let mut buffer = Vec::new();
        encode::create_expectation(&mut buffer, 1, &expectation, CreateMode::Create, true)
            .unwrap();
        let (_, attributes) = only(&buffer);
        let decoded = decode::expectation(attributes).unwrap();
        prop_assert_eq!(decoded, Expectation { id: None, ..expectation });
    }

    /// netlink-packet-netfilter reads the six attributes that it knows as we wrote them.
    #[test]
    fn another_reader_understands_what_is_written(flow in arbitrary::flow()) {
        let mut buffer = Vec::new();
        encode::create_flow(&mut buffer, 1, &flow, CreateMode::Create, true).unwrap();
        let message = NetlinkMessage::<NetfilterMessage>::deserialize(&buffer).unwrap();
        let NetlinkPayload::InnerMessage(message) = message.payload else {
            panic!("not a netfilter message");
        };
        let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner
        else {
            panic!("not a new conntrack");
        };
        let timeout = attributes.iter().find_map(|attribute| match attribute {
            ConntrackAttribute::CtaTimeout(seconds) => Some(*seconds),
            _ => None,
        });
        prop_assert_eq!(timeout, flow.timeout);
        let mark = attributes.iter().find_map(|attribute| match attribute {
            ConntrackAttribute::CtaMark(mark) => Some(*mark),
            _ => None,
        });
        prop_assert_eq!(mark, flow.mark);
        let text = format!("{attributes:?}");
        prop_assert!(text.contains(&format!("{:?}", flow.orig.src)), "{}", text);
        prop_assert!(text.contains(&format!("{:?}", flow.orig.dst)), "{}", text);
    }

    /// Whatever the key, a DELETE names a tuple with addresses: without one it is a flush.
    #[test]
    fn a_delete_always_names_a_tuple(key in arbitrary::flow_key()) {
        let mut buffer = Vec::new();
        encode::delete_flow(&mut buffer, 1, &key, true).unwrap();
        let (message, attributes) = only(&buffer);
        prop_assert_eq!(message.kind, 0x100 | u16::from(IPCTNL_MSG_CT_DELETE));
        let tuples = decode::attributes(attributes)
            .map(Result::unwrap)
            .filter(|attribute| matches!(attribute.kind, CTA_TUPLE_ORIG | CTA_TUPLE_REPLY))
            .collect::<Vec<_>>();
        prop_assert_eq!(tuples.len(), 1);
        let parts: Vec<u16> = decode::attributes(tuples[0].value)
            .map(|part| part.unwrap().kind)
            .collect();
        prop_assert!(parts.contains(&CTA_TUPLE_IP) && parts.contains(&CTA_TUPLE_PROTO));
    }

    #[test]
    fn a_delete_of_an_expectation_always_names_a_tuple(expectation in arbitrary::expectation()) {
        let mut buffer = Vec::new();
        encode::delete_expectation(&mut buffer, 1, &expectation.key(), true).unwrap();
        let (_, attributes) = only(&buffer);
        let found = decode::attributes(attributes)
            .any(|attribute| attribute.unwrap().kind == CTA_EXPECT_TUPLE);
        prop_assert!(found);
    }

    #[test]
    fn random_bytes_are_an_error_or_a_value_never_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        for message in decode::messages(&bytes) {
            let Ok(message) = message else { break };
            let _ = message.netfilter();
            let _ = KernelError::parse(message.flags, message.payload);
        }
        for flags in [0, 0x100, 0x200, 0x300] {
            let _ = KernelError::parse(flags, &bytes);
        }
        let _ = decode::flow(&bytes);
        let _ = decode::expectation(&bytes);
        let _ = decode::flow_stats(&bytes);
        let _ = decode::expectation_stats(&bytes);
        let _ = decode::table_size(&bytes);
    }

    /// Real messages with a few bytes changed reach deeper than random ones.
    #[test]
    fn damaged_messages_never_panic(
        flow in arbitrary::flow(),
        expectation in arbitrary::expectation(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut buffer = Vec::new();
        encode::create_flow(&mut buffer, 1, &flow, CreateMode::Create, true).unwrap();
        encode::create_expectation(&mut buffer, 1, &expectation, CreateMode::Create, true)
            .unwrap();
        for (at, byte) in &damage {
            let at = at.index(buffer.len());
            buffer[at] = *byte;
        }
        let cut = &buffer[..cut.index(buffer.len())];
        for bytes in [&buffer[..], cut] {
            for message in decode::messages(bytes) {
                let Ok(message) = message else { break };
                if let Ok((_, attributes)) = message.netfilter() {
                    let _ = decode::flow(attributes);
                    let _ = decode::expectation(attributes);
                }
            }
        }
    }

    /// What the encoder refuses, it does not leave behind in part.
    #[test]
    fn a_refused_request_leaves_the_buffer_as_it_was(flow in arbitrary::flow()) {
        let mut odd = flow.clone();
        odd.orig.l4 = match odd.orig.l4 {
            L4::Icmp { .. } => L4::Ports { src: 1, dst: 2 },
            _ => L4::Icmp { kind: 8, code: 0, id: 1 },
        };
        let mut buffer = Vec::new();
        encode::create_flow(&mut buffer, 1, &flow, CreateMode::Create, false).unwrap();
        let before = buffer.clone();
        prop_assert!(
            encode::create_flow(&mut buffer, 2, &odd, CreateMode::Create, false).is_err()
        );
        prop_assert!(encode::delete_flow(&mut buffer, 2, &odd.key(), false).is_err());
        prop_assert_eq!(buffer, before);
    }
}

#[test]
fn a_new_flow_of_the_kernel_is_decoded() {
    let bytes = captured(CAPTURED_NEW);
    let (message, attributes) = only(&bytes);
    let [_, kind] = message.kind.to_be_bytes();
    assert_eq!(
        decode::event_type(kind, message.flags),
        Some(crate::flow::EventType::New)
    );
    let flow = decode::flow(attributes).unwrap();
    assert_eq!(
        flow.orig.src,
        "10.0.0.1".parse::<std::net::IpAddr>().unwrap()
    );
    assert_eq!(flow.orig.ports(), Some((1000, 80)));
    assert_eq!(flow.reply, flow.orig.inverse());
    assert_eq!(flow.zone, Zone::both(5));
    assert_eq!(flow.mark, Some(7));
    assert_eq!(flow.timeout, Some(1000));
    assert_eq!(flow.labels, Some(Labels(1 << 100 | 5)));
    assert_eq!(flow.helper.unwrap().name.as_str(), "ftp");
    let all = |flags| Some(TcpFlags { flags, mask: 0 });
    assert_eq!(
        flow.protoinfo,
        Some(ProtoInfo::Tcp(TcpInfo {
            state: Some(TcpState(3)),
            window_scale_orig: Some(7),
            window_scale_reply: Some(8),
            flags_orig: all(0x23),
            flags_reply: all(0x23),
        }))
    );
    let offsets = |pos, before, after| SeqAdj {
        correction_pos: pos,
        offset_before: before,
        offset_after: after,
    };
    assert_eq!(flow.seqadj_orig, Some(offsets(1, -2, 3)));
    assert_eq!(flow.seqadj_reply, Some(offsets(11, 2, -3)));
    assert_eq!(
        flow.synproxy,
        Some(Synproxy {
            isn: 1,
            its: 2,
            tsoff: 3
        })
    );
}

#[test]
fn a_destroyed_flow_of_the_kernel_is_decoded() {
    let bytes = captured(CAPTURED_DESTROY);
    let (message, attributes) = only(&bytes);
    let [_, kind] = message.kind.to_be_bytes();
    assert_eq!(
        decode::event_type(kind, message.flags),
        Some(crate::flow::EventType::Destroy)
    );
    let flow = decode::flow(attributes).unwrap();
    assert_eq!(flow.family(), Family::V6);
    let (start, stop) = (
        flow.timestamps.start.unwrap(),
        flow.timestamps.stop.unwrap(),
    );
    assert!(start <= stop, "{start} {stop}");
    assert!(flow.counters_orig.is_some() && flow.counters_reply.is_some());
    assert_ne!(message.port_id, 0, "a process deleted it");
}

#[test]
fn an_expectation_of_the_kernel_is_decoded() {
    let bytes = captured(CAPTURED_EXPECTATION);
    let (_, attributes) = only(&bytes);
    let expectation = decode::expectation(attributes).unwrap();
    assert_eq!(expectation.tuple.ports(), Some((0, 2020)));
    assert_eq!(expectation.mask.ports(), Some((0, 0xffff)));
    assert_eq!(expectation.master.ports(), Some((1000, 80)));
    assert_eq!(expectation.helper.unwrap().as_str(), "ftp");
    assert!(expectation.timeout.unwrap() <= 60);
}

#[test]
fn a_flush_has_no_attributes_and_honours_its_family() {
    let mut buffer = Vec::new();
    encode::flush_flows(&mut buffer, 1, Some(Family::V6)).unwrap();
    let (message, attributes) = only(&buffer);
    assert_eq!(message.flags & NLM_F_REQUEST, NLM_F_REQUEST);
    assert!(attributes.is_empty());
    // family, version: with version 0 the kernel flushes both families.
    assert_eq!(message.payload[..2], [10, 1]);
}

#[test]
fn an_update_writes_masked_bits_only() {
    let key = Flow::new(
        decode::flow(only(&captured(CAPTURED_NEW)).1).unwrap().orig,
        decode::flow(only(&captured(CAPTURED_NEW)).1).unwrap().reply,
    );
    let changes = FlowChanges {
        mark: Some(Masked {
            value: 0xff,
            mask: 0x0f,
        }),
        ..FlowChanges::default()
    };
    let mut buffer = Vec::new();
    encode::update_flow(&mut buffer, 1, &key, &changes, true).unwrap();
    let (_, attributes) = only(&buffer);
    // The kernel computes (old & !mask) ^ value: bits outside the mask would be flipped.
    let value_of = |kind| {
        decode::attributes(attributes)
            .map(Result::unwrap)
            .find(|attribute| attribute.kind == kind)
            .map(|attribute| attribute.value.to_vec())
    };
    assert_eq!(value_of(CTA_MARK), Some(vec![0, 0, 0, 0x0f]));
    assert_eq!(value_of(CTA_MARK_MASK), Some(vec![0, 0, 0, 0x0f]));
}

#[test]
fn an_error_carries_the_kernels_text() {
    // struct nlmsgerr with a capped request, then NLMSGERR_ATTR_MSG.
    let mut payload = (-libc::EINVAL).to_ne_bytes().to_vec();
    payload.extend_from_slice(&[0; 16]);
    payload.extend_from_slice(&8u16.to_ne_bytes());
    payload.extend_from_slice(&1u16.to_ne_bytes());
    payload.extend_from_slice(b"odd\0");
    let error = KernelError::parse(0x300, &payload).unwrap().unwrap();
    assert_eq!(error.errno, libc::EINVAL);
    assert_eq!(error.message.as_deref(), Some("odd"));
    assert_eq!(error.to_string(), "Invalid argument (EINVAL): odd");
    assert_eq!(KernelError::parse(0, &[0; 20]).unwrap(), None);
}

#[test]
fn a_key_without_an_id_deletes_by_tuple_and_one_with_compares() {
    let flow = decode::flow(only(&captured(CAPTURED_NEW)).1).unwrap();
    let has_id = |key: &FlowKey| {
        let mut buffer = Vec::new();
        encode::delete_flow(&mut buffer, 1, key, true).unwrap();
        decode::attributes(only(&buffer).1).any(|attribute| attribute.unwrap().kind == CTA_ID)
    };
    assert!(has_id(&flow.key()));
    assert!(!has_id(&FlowKey {
        id: None,
        ..flow.key()
    }));
}
