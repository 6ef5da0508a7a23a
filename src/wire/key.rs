//! What names an entry, and what changes of it.

use crate::flow::{ExpectationKey, FlowChanges, FlowKey, Labels, Masked, ProtoInfo, Status};
use crate::pb;

use super::flow::{helper_name, labels, labels_bytes, zone};
use super::tuple::required_tuple;
use super::{At as _, FieldError, known, protoinfo, to_u16};

impl TryFrom<pb::FlowKey> for FlowKey {
    type Error = FieldError;

    fn try_from(message: pb::FlowKey) -> Result<Self, FieldError> {
        Ok(Self {
            tuple: required_tuple(message.tuple, "tuple")?,
            direction: known::<pb::Direction, _>(message.direction).at("direction")?,
            zone: zone(message.zone, message.zone_direction)?,
            id: message.id,
        })
    }
}

impl From<&FlowKey> for pb::FlowKey {
    fn from(key: &FlowKey) -> Self {
        Self {
            tuple: Some((&key.tuple).into()),
            direction: pb::Direction::from(key.direction).into(),
            zone: key.zone.id.into(),
            zone_direction: pb::ZoneDirection::from(key.zone.direction).into(),
            id: key.id,
        }
    }
}

impl TryFrom<pb::ExpectationKey> for ExpectationKey {
    type Error = FieldError;

    fn try_from(message: pb::ExpectationKey) -> Result<Self, FieldError> {
        Ok(Self {
            tuple: required_tuple(message.tuple, "tuple")?,
            zone: to_u16(message.zone, "zone")?,
            id: message.id,
        })
    }
}

impl From<&ExpectationKey> for pb::ExpectationKey {
    fn from(key: &ExpectationKey) -> Self {
        Self {
            tuple: Some(pb::Tuple::from(&key.tuple)),
            zone: key.zone.into(),
            id: key.id,
        }
    }
}

/// A mask that selects nothing is a mistake, not a change.
fn refuse_empty_mask(empty: bool) -> Result<(), FieldError> {
    if empty {
        return Err(FieldError::new(
            "mask",
            "is 0, so that nothing would change",
        ));
    }
    Ok(())
}

impl TryFrom<pb::MaskedUint32> for Masked<u32> {
    type Error = FieldError;

    fn try_from(message: pb::MaskedUint32) -> Result<Self, FieldError> {
        let mask = message.mask.unwrap_or(u32::MAX);
        refuse_empty_mask(mask == 0)?;
        Ok(Self {
            value: message.value,
            mask,
        })
    }
}

impl From<Masked<u32>> for pb::MaskedUint32 {
    fn from(masked: Masked<u32>) -> Self {
        Self {
            value: masked.value,
            mask: Some(masked.mask),
        }
    }
}

impl TryFrom<pb::MaskedLabels> for Masked<Labels> {
    type Error = FieldError;

    fn try_from(message: pb::MaskedLabels) -> Result<Self, FieldError> {
        let mask = match message.mask {
            Some(bytes) => labels(&bytes).at("mask")?,
            None => Labels(u128::MAX),
        };
        refuse_empty_mask(mask.0 == 0)?;
        Ok(Self {
            value: labels(&message.value).at("value")?,
            mask,
        })
    }
}

impl From<Masked<Labels>> for pb::MaskedLabels {
    fn from(masked: Masked<Labels>) -> Self {
        Self {
            value: labels_bytes(masked.value),
            mask: Some(labels_bytes(masked.mask)),
        }
    }
}

/// The bits that the kernel sets, or refuses to: all others it would pass over in silence.
const HEARD_STATUS: u32 = Status::SEEN_REPLY.0
    | Status::ASSURED.0
    | Status::FIXED_TIMEOUT.0
    | Status::HELPER.0
    | Status::EXPECTED.0
    | Status::CONFIRMED.0
    | Status::DYING.0;

/// Status bits to set.
fn status_set(bits: u32) -> Result<Status, FieldError> {
    let why = match (bits, bits & !HEARD_STATUS) {
        (0, _) => "is 0, so that nothing would change".to_owned(),
        (_, 0) => return Ok(Status(bits)),
        (_, ignored) => format!(
            "has {ignored:#x}, which no update sets; only SEEN_REPLY, ASSURED, FIXED_TIMEOUT \
             and HELPER (0x2406) can be"
        ),
    };
    Err(FieldError::new("status_set", why))
}

impl TryFrom<pb::FlowChanges> for FlowChanges {
    type Error = FieldError;

    fn try_from(message: pb::FlowChanges) -> Result<Self, FieldError> {
        let protoinfo = message.protoinfo.map(ProtoInfo::try_from).transpose()?;
        if let Some(info) = &protoinfo {
            protoinfo::writable(info)?;
        }
        let changes = Self {
            mark: message.mark.map(Masked::try_from).transpose().at("mark")?,
            timeout: message.timeout_seconds,
            status_set: message.status_set.map(status_set).transpose()?,
            labels: message
                .labels
                .map(Masked::try_from)
                .transpose()
                .at("labels")?,
            protoinfo,
            helper: message
                .helper
                .map(|name| helper_name(&name))
                .transpose()
                .at("helper")?,
            seqadj_orig: message.seqadj_orig.map(Into::into),
            seqadj_reply: message.seqadj_reply.map(Into::into),
            synproxy: message.synproxy.map(Into::into),
        };
        if changes.is_empty() {
            return Err(FieldError::new("", "is empty: name at least one change"));
        }
        Ok(changes)
    }
}

impl From<&FlowChanges> for pb::FlowChanges {
    fn from(changes: &FlowChanges) -> Self {
        Self {
            mark: changes.mark.map(Into::into),
            timeout_seconds: changes.timeout,
            status_set: changes.status_set.map(|status| status.0),
            labels: changes.labels.map(Into::into),
            helper: changes.helper.map(|name| name.as_str().to_owned()),
            seqadj_orig: changes.seqadj_orig.map(Into::into),
            seqadj_reply: changes.seqadj_reply.map(Into::into),
            synproxy: changes.synproxy.map(Into::into),
            protoinfo: changes.protoinfo.as_ref().map(Into::into),
        }
    }
}
