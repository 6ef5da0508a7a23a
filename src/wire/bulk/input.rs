//! Protobuf's wire format, in. Everything here answers `None` for what is broken or unusual:
//! the generated types then say what it is.

/// One field's value.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    /// A varint.
    Number(u64),
    /// Bytes, text or a message.
    Bytes(&'a [u8]),
    /// 32 bits.
    Fixed32(u32),
    /// 64 bits; no message of ours has them where entries are.
    Fixed64,
}

impl<'a> Value<'a> {
    /// As `uint32` reads it: the lower bits.
    #[inline]
    pub(super) fn u32(self) -> Option<u32> {
        self.u64().map(|number| number as u32)
    }

    #[inline]
    pub(super) fn u64(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }

    /// A number that must fit.
    #[inline]
    pub(super) fn narrow<T: TryFrom<u32>>(self) -> Option<T> {
        T::try_from(self.u32()?).ok()
    }

    /// As `sint32` reads it.
    #[inline]
    pub(super) fn zigzag(self) -> Option<i32> {
        let number = self.u32()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    #[inline]
    pub(super) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn fixed32(self) -> Option<u32> {
        match self {
            Self::Fixed32(number) => Some(number),
            _ => None,
        }
    }
}

/// What is left of a message.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// The next field's number and value; `Some(None)` at the end.
    // Some thirty times a flow, and most of it is about the field at hand.
    #[inline(always)]
    pub(super) fn field(&mut self) -> Option<Option<(u32, Value<'a>)>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        let key = u32::try_from(self.varint()?).ok()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => {
                (_, self.rest) = self.rest.split_first_chunk::<8>()?;
                Value::Fixed64
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (value, rest) = self.rest.split_at_checked(length)?;
                self.rest = rest;
                Value::Bytes(value)
            }
            5 => {
                let (value, rest) = self.rest.split_first_chunk::<4>()?;
                self.rest = rest;
                Value::Fixed32(u32::from_le_bytes(*value))
            }
            _ => return None,
        };
        Some(Some((key >> 3, value)))
    }

    #[inline(always)]
    fn varint(&mut self) -> Option<u64> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        if first < 0x80 {
            return Some(first.into());
        }
        self.long_varint(first)
    }

    #[inline]
    fn long_varint(&mut self, first: u8) -> Option<u64> {
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            // Of the tenth byte one bit is left.
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

/// Reads a message field by field; `take` answers `None` for one that it does not know.
#[inline]
pub(super) fn each<'a>(
    bytes: &'a [u8],
    mut take: impl FnMut(u32, Value<'a>) -> Option<()>,
) -> Option<()> {
    let mut input = Input::new(bytes);
    while let Some((field, value)) = input.field()? {
        take(field, value)?;
    }
    Some(())
}

/// Sets what was not set before: a message that comes twice is merged, the long way.
#[inline]
pub(super) fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    match place.replace(value) {
        None => Some(()),
        Some(_) => None,
    }
}
