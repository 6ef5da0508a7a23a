//! Events. Their sequence numbers belong to the stream, not to the event.

use crate::flow::{Expectation, ExpectationEvent, Flow, FlowEvent};
use crate::pb;

use super::{At as _, FieldError, known, required};

/// The message of an event with its place in the stream.
pub fn flow_event(sequence: u64, event: &FlowEvent) -> pb::FlowEvent {
    pb::FlowEvent {
        sequence,
        r#type: pb::EventType::from(event.kind).into(),
        flow: Some((&event.flow).into()),
        port_id: event.port_id,
    }
}

/// The message of an event with its place in the stream.
pub fn expectation_event(sequence: u64, event: &ExpectationEvent) -> pb::ExpectationEvent {
    pb::ExpectationEvent {
        sequence,
        r#type: pb::EventType::from(event.kind).into(),
        expectation: Some((&event.expectation).into()),
        port_id: event.port_id,
    }
}

impl TryFrom<pb::FlowEvent> for FlowEvent {
    type Error = FieldError;

    fn try_from(message: pb::FlowEvent) -> Result<Self, FieldError> {
        Ok(Self {
            kind: known::<pb::EventType, _>(message.r#type).at("type")?,
            flow: Flow::try_from(required(message.flow, "flow")?).at("flow")?,
            port_id: message.port_id,
        })
    }
}

impl TryFrom<pb::ExpectationEvent> for ExpectationEvent {
    type Error = FieldError;

    fn try_from(message: pb::ExpectationEvent) -> Result<Self, FieldError> {
        let expectation = required(message.expectation, "expectation")?;
        Ok(Self {
            kind: known::<pb::EventType, _>(message.r#type).at("type")?,
            expectation: Expectation::try_from(expectation).at("expectation")?,
            port_id: message.port_id,
        })
    }
}
