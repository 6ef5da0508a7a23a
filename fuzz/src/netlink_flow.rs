//! The attributes of an entry, as the kernel sends them. Whatever is decoded passes the wire
//! and every text format.

use ctfleet::ctnetlink::decode;
use ctfleet::flow::Flow;
use ctfleet::pb;
use ctfleet::wire::bulk;
use prost::Message as _;

use super::text;

pub(crate) fn run(data: &[u8]) {
    match decode::flow(data) {
        Ok(flow) => passes(&flow),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A client reads what an agent sends, by both ways that there are.
pub(crate) fn passes(flow: &Flow) {
    let message = pb::Flow::from(flow);
    let bytes = message.encode_to_vec();
    assert_eq!(Flow::try_from(message).as_ref(), Ok(flow));
    assert_eq!(bulk::read_flow(&bytes).as_ref(), Ok(flow));

    let mut run = bulk::Run::default();
    run.push_flow(flow);
    let dump = pb::DumpFlowsResponse {
        flows: vec![flow.into()],
        summary: None,
    };
    assert_eq!(run.into_dump().into_bytes(), dump.encode_to_vec());
    text::flow(flow);
}
