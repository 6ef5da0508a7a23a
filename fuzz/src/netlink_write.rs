//! From the kernel's bytes to an entry and back: a creation, an update and a deletion of
//! whatever was decoded.

use ctfleet::ctnetlink::{CreateMode, decode, encode, uapi};
use ctfleet::flow::{Flow, FlowChanges, Labels, Masked};
use uapi::nfnetlink_conntrack::{
    CTA_TUPLE_IP, CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_TUPLE_REPLY, IPCTNL_MSG_CT_DELETE,
};

pub(crate) fn run(data: &[u8]) {
    let Ok(flow) = decode::flow(data) else {
        return;
    };
    create(&flow);
    delete(&flow);
    let changes = FlowChanges {
        timeout: flow.timeout,
        mark: flow.mark.map(|mark| Masked {
            value: mark,
            mask: !0xff,
        }),
        labels: flow.labels.map(|labels| Masked {
            value: labels,
            mask: Labels(u128::MAX >> 1),
        }),
        status_set: flow.status,
        protoinfo: flow.protoinfo,
        ..FlowChanges::default()
    };
    let mut request = Vec::new();
    if encode::update_flow(&mut request, 1, &flow, &changes, true).is_ok() {
        one(&request);
    } else {
        assert!(request.is_empty(), "what is refused leaves nothing behind");
    }
}

/// What is written is what was read, and writing it again changes nothing.
fn create(flow: &Flow) {
    let Some(once) = written(flow) else {
        return;
    };
    assert_eq!(once.orig, flow.orig);
    assert_eq!(once.mark, flow.mark);
    assert_eq!(once.labels, flow.labels);
    assert_eq!(once.timeout, flow.timeout);
    assert_eq!(once.zone.id, flow.zone.id);
    let twice = written(&once).expect("what was written can be written");
    assert_eq!(twice, once);
}

fn written(flow: &Flow) -> Option<Flow> {
    let mut request = Vec::new();
    if encode::create_flow(&mut request, 1, flow, CreateMode::Create, true).is_err() {
        assert!(request.is_empty(), "what is refused leaves nothing behind");
        return None;
    }
    let (_, attributes) = one(&request);
    Some(decode::flow(attributes).expect("of our own"))
}

/// A deletion without a tuple is a flush.
fn delete(flow: &Flow) {
    let mut request = Vec::new();
    if encode::delete_flow(&mut request, 1, &flow.key(), true).is_err() {
        assert!(request.is_empty(), "what is refused leaves nothing behind");
        return;
    }
    let (kind, attributes) = one(&request);
    assert_eq!(kind, IPCTNL_MSG_CT_DELETE);
    let tuples: Vec<_> = decode::attributes(attributes)
        .map(|attribute| attribute.expect("of our own"))
        .filter(|attribute| matches!(attribute.kind, CTA_TUPLE_ORIG | CTA_TUPLE_REPLY))
        .collect();
    let [tuple] = tuples[..] else {
        panic!("{} tuples", tuples.len());
    };
    let parts: Vec<_> = decode::attributes(tuple.value)
        .map(|part| part.expect("of our own").kind)
        .collect();
    assert!(parts.contains(&CTA_TUPLE_IP) && parts.contains(&CTA_TUPLE_PROTO));
}

/// The one message of a request: its kind, and its attributes.
fn one(request: &[u8]) -> (u8, &[u8]) {
    let mut messages = decode::messages(request);
    let message = messages.next().expect("a message").expect("whole");
    assert!(messages.next().is_none(), "one request is one message");
    let (_, attributes) = message.netfilter().expect("a header");
    (message.kind.to_be_bytes()[1], attributes)
}
