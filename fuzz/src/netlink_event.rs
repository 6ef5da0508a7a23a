//! A datagram of the kernel: any number of messages, of events, dumps and answers.

use ctfleet::ctnetlink::{KernelError, decode, uapi};
use ctfleet::flow::{EventType, FlowEvent};
use ctfleet::wire::{self, bulk};
use prost::Message as _;

use super::netlink_flow;

/// `NFNL_SUBSYS_CTNETLINK` and `NFNL_SUBSYS_CTNETLINK_EXP`.
const FLOWS: u8 = 1;
const EXPECTATIONS: u8 = 2;

pub(crate) fn run(data: &[u8]) {
    let mut taken = 0;
    for message in decode::messages(data) {
        let message = match message {
            Ok(message) => message,
            Err(error) => return assert!(!error.to_string().is_empty()),
        };
        taken += 16 + message.payload.len();
        assert!(taken <= data.len(), "no byte is read twice");
        if message.kind == uapi::netlink::NLMSG_ERROR {
            let _ = KernelError::parse(message.flags, message.payload);
            continue;
        }
        let Ok((_, attributes)) = message.netfilter() else {
            continue;
        };
        let [subsystem, kind] = message.kind.to_be_bytes();
        let event = decode::event_type(kind, message.flags);
        match subsystem {
            FLOWS => flow(attributes, event, message.port_id),
            EXPECTATIONS => drop(decode::expectation(attributes)),
            _ => {}
        }
    }
}

fn flow(attributes: &[u8], event: Option<EventType>, port_id: u32) {
    let (Ok(flow), Some(kind)) = (decode::flow(attributes), event) else {
        return;
    };
    netlink_flow::passes(&flow);
    let event = FlowEvent {
        kind,
        flow,
        port_id,
    };
    let message = wire::flow_event(7, &event);
    let bytes = message.encode_to_vec();
    assert_eq!(FlowEvent::try_from(message).as_ref(), Ok(&event));
    assert_eq!(bulk::read_flow_event(&bytes), Ok((7, event)));
}
