//! The edge where a client's filter becomes the agent's: bytes, the message, the filter, and
//! all the way back; and on to text.

use ctfleet::expr;
use ctfleet::flow::filter::Kind;
use ctfleet::flow::{Filter, Flow, L4, Protocol, Tuple};
use ctfleet::pb;
use prost::Message as _;

pub(crate) fn run(data: &[u8]) {
    let Ok(message) = pb::Filter::decode(data) else {
        return;
    };
    let filter = match Filter::try_from(message) {
        Ok(filter) => filter,
        Err(error) => return assert!(!error.description.is_empty()),
    };
    let again = pb::Filter::from(&filter);
    let bytes = again.encode_to_vec();
    assert_eq!(pb::Filter::decode(&bytes[..]).as_ref(), Ok(&again));
    assert_eq!(Filter::try_from(again).as_ref(), Ok(&filter));

    for kind in [Kind::Flow, Kind::Expectation] {
        let _ = filter.check(kind).map_err(|error| error.to_string());
    }
    let normal = filter.clone().normal();
    for flow in samples() {
        for now in [0, u64::MAX / 2, u64::MAX] {
            assert_eq!(filter.matches(&flow, now), normal.matches(&flow, now));
        }
    }
    let text = expr::print(&filter);
    if text.len() <= expr::MAX_LENGTH {
        assert_eq!(expr::parse(&text), Ok(normal), "{text}");
    }
}

/// Entries for a filter to look at.
pub(crate) fn samples() -> [Flow; 3] {
    let v4 = Tuple {
        src: [10, 0, 0, 1].into(),
        dst: [192, 0, 2, 2].into(),
        protocol: Protocol::TCP,
        l4: L4::Ports { src: 1000, dst: 80 },
    };
    let v6 = Tuple {
        src: [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
        dst: [0x2001, 0xdb8, 0, 0, 0, 0, 0, 2].into(),
        protocol: Protocol(58),
        l4: L4::Icmp {
            kind: 128,
            code: 0,
            id: 7,
        },
    };
    let mut marked = Flow::new(v4, v4.inverse());
    marked.mark = Some(7);
    marked.timeout = Some(30);
    marked.timestamps.start = Some(5);
    [
        Flow::new(v4, v4.inverse()),
        marked,
        Flow::new(v6, v6.inverse()),
    ]
}
