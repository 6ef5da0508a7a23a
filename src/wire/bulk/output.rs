//! Protobuf's wire format, out (protobuf.dev/programming-guides/encoding).

/// Wire types.
pub(super) const VARINT: u32 = 0;
pub(super) const LENGTH: u32 = 2;
pub(super) const FIXED32: u32 = 5;

/// Appends a varint.
#[inline]
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How long a varint is.
fn varint_len(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Appends a field's number and wire type.
#[inline]
pub(super) fn key(out: &mut Vec<u8>, field: u32, wire: u32) {
    varint(out, u64::from(field << 3 | wire));
}

/// Appends a number.
#[inline]
pub(super) fn number(out: &mut Vec<u8>, field: u32, value: impl Into<u64>) {
    key(out, field, VARINT);
    varint(out, value.into());
}

/// Appends a number that may be absent.
#[inline]
pub(super) fn number_if(out: &mut Vec<u8>, field: u32, value: Option<impl Into<u64>>) {
    if let Some(value) = value {
        number(out, field, value);
    }
}

/// Appends a number without presence: 0 is left out.
#[inline]
pub(super) fn number_unless_zero(out: &mut Vec<u8>, field: u32, value: impl Into<u64>) {
    let value = value.into();
    if value != 0 {
        number(out, field, value);
    }
}

/// Appends a signed number without presence, in zigzag.
#[inline]
pub(super) fn signed_unless_zero(out: &mut Vec<u8>, field: u32, value: i32) {
    number_unless_zero(out, field, ((value << 1) ^ (value >> 31)).cast_unsigned());
}

/// Appends bytes or text.
#[inline]
pub(super) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    key(out, field, LENGTH);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a message of a known field; its length is put before it when it is known.
#[inline]
pub(super) fn message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    key(out, field, LENGTH);
    // Most are shorter than 128 bytes: one byte for the length.
    let at = out.len();
    out.push(0);
    write(out);
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
    } else {
        lengthen(out, at, length);
    }
}

/// Makes room for a length of more than one byte.
#[inline]
fn lengthen(out: &mut Vec<u8>, at: usize, length: usize) {
    let more = varint_len(length) - 1;
    let end = out.len();
    out.resize(end + more, 0);
    out.copy_within(at + 1..end, at + 1 + more);
    let mut value = length;
    for byte in &mut out[at..at + more] {
        *byte = value as u8 | 0x80;
        value >>= 7;
    }
    out[at + more] = value as u8;
}
