//! The keys of the JSON objects, and the words that stand for values.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, Unexpected, Visitor};

use crate::flow::Protocol;

/// What is wrong with a value, in words.
pub(super) type Wrong = String;

/// A key that may be absent, null, or have a value.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Text that is borrowed from the line unless it has escapes.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

pub(super) enum NameOrNumber<'a> {
    Number(u8),
    Name(Text<'a>),
}

/// By hand, since serde's `untagged` words an error for each kind that it tries.
impl<'de: 'a, 'a> Deserialize<'de> for NameOrNumber<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = NameOrNumber<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or a number from 0 to 255")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<NameOrNumber<'de>, E> {
                u8::try_from(number)
                    .map(NameOrNumber::Number)
                    .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<NameOrNumber<'de>, E> {
                Ok(NameOrNumber::Name(Text(name.into())))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<NameOrNumber<'de>, E> {
                Ok(NameOrNumber::Name(Text(name.to_owned().into())))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TupleObject<'a> {
    #[serde(borrow)]
    pub(super) protocol: Option<Text<'a>>,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) sport: Option<u16>,
    pub(super) dport: Option<u16>,
    #[serde(rename = "type")]
    pub(super) kind: Option<u8>,
    pub(super) code: Option<u8>,
    pub(super) id: Option<u16>,
    pub(super) srckey: Option<u16>,
    pub(super) dstkey: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TcpObject<'a> {
    #[serde(borrow)]
    pub(super) state: Option<NameOrNumber<'a>>,
    pub(super) wscale_orig: Option<u8>,
    pub(super) wscale_reply: Option<u8>,
    #[serde(borrow)]
    pub(super) flags_orig: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub(super) flags_mask_orig: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub(super) flags_reply: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub(super) flags_mask_reply: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SctpObject<'a> {
    #[serde(borrow)]
    pub(super) state: Option<NameOrNumber<'a>>,
    pub(super) vtag_orig: Option<u32>,
    pub(super) vtag_reply: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DccpObject<'a> {
    #[serde(borrow)]
    pub(super) state: Option<NameOrNumber<'a>>,
    #[serde(borrow)]
    pub(super) role: Option<NameOrNumber<'a>>,
    pub(super) handshake_seq: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CountersObject {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeqAdjObject {
    pub(super) correction_pos: u32,
    pub(super) offset_before: i32,
    pub(super) offset_after: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SynproxyObject {
    pub(super) isn: u32,
    pub(super) its: u32,
    pub(super) tsoff: u32,
}

/// A flow, or a part of one. A key of a later version is an error: ignoring it would lose
/// what it says. What is large and mostly absent is boxed, since the whole is moved.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowObject<'a> {
    /// Where it came from, not what it is.
    #[serde(rename = "node")]
    _node: Option<IgnoredAny>,
    #[serde(rename = "event")]
    _event: Option<IgnoredAny>,
    #[serde(rename = "sequence")]
    _sequence: Option<IgnoredAny>,
    #[serde(rename = "port_id")]
    _port_id: Option<IgnoredAny>,
    /// The addresses tell.
    #[serde(rename = "family")]
    _family: Option<IgnoredAny>,
    #[serde(borrow)]
    pub(super) protocol: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) orig: Option<Box<TupleObject<'a>>>,
    #[serde(borrow)]
    pub(super) reply: Option<Box<TupleObject<'a>>>,
    pub(super) zone: Option<u16>,
    #[serde(borrow)]
    pub(super) zone_direction: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    pub(super) status: Option<Option<Vec<Text<'a>>>>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) timeout: Option<Option<u32>>,
    pub(super) mark: Option<u32>,
    #[serde(borrow)]
    pub(super) tcp: Option<TcpObject<'a>>,
    #[serde(borrow)]
    pub(super) sctp: Option<SctpObject<'a>>,
    #[serde(borrow)]
    pub(super) dccp: Option<DccpObject<'a>>,
    /// Only null.
    #[serde(default, deserialize_with = "nullable")]
    pub(super) protoinfo: Option<Option<()>>,
    pub(super) counters_orig: Option<CountersObject>,
    pub(super) counters_reply: Option<CountersObject>,
    #[serde(rename = "use")]
    pub(super) use_count: Option<u32>,
    pub(super) id: Option<u32>,
    pub(super) labels: Option<Vec<u8>>,
    #[serde(borrow)]
    pub(super) start: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) stop: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) event_time: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) helper: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) helper_info: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) secctx: Option<Text<'a>>,
    pub(super) seqadj_orig: Option<SeqAdjObject>,
    pub(super) seqadj_reply: Option<SeqAdjObject>,
    pub(super) synproxy: Option<SynproxyObject>,
    #[serde(borrow)]
    pub(super) master: Option<Box<TupleObject<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NatObject<'a> {
    #[serde(borrow)]
    pub(super) direction: Text<'a>,
    #[serde(borrow)]
    pub(super) tuple: TupleObject<'a>,
}

/// An expectation, or a part of one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectationObject<'a> {
    #[serde(rename = "node")]
    _node: Option<IgnoredAny>,
    #[serde(rename = "event")]
    _event: Option<IgnoredAny>,
    #[serde(rename = "sequence")]
    _sequence: Option<IgnoredAny>,
    #[serde(rename = "port_id")]
    _port_id: Option<IgnoredAny>,
    pub(super) id: Option<u32>,
    #[serde(borrow)]
    pub(super) tuple: Option<TupleObject<'a>>,
    #[serde(borrow)]
    pub(super) mask: Option<TupleObject<'a>>,
    #[serde(borrow)]
    pub(super) master: Option<TupleObject<'a>>,
    pub(super) zone: Option<u16>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) timeout: Option<Option<u32>>,
    #[serde(borrow)]
    pub(super) flags: Option<Vec<Text<'a>>>,
    pub(super) class: Option<u32>,
    #[serde(borrow)]
    pub(super) helper: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) function: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) nat: Option<NatObject<'a>>,
}

impl Text<'_> {
    pub(super) fn parse(&self) -> Result<Protocol, Wrong> {
        self.0.parse().map_err(|e| format!("{e}"))
    }

    /// Nanoseconds since the Unix epoch from RFC 3339 in UTC.
    pub(super) fn time(&self) -> Result<u64, Wrong> {
        let text = &*self.0;
        nanoseconds(text)
            .ok_or_else(|| format!("{text:?} is not a time: expected 1970-01-01T00:00:00.0Z"))
    }

    pub(super) fn hex(&self) -> Result<Box<[u8]>, Wrong> {
        let digit = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let bytes = self.0.as_bytes();
        let pairs = bytes.chunks(2).map(|pair| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        });
        pairs
            .collect::<Option<Box<[u8]>>>()
            .ok_or_else(|| format!("{:?} is not a row of hexadecimal bytes", self.0))
    }
}

/// `YYYY-MM-DDTHH:MM:SS[.n]Z`, from 1970 to the end of 64 bits of nanoseconds.
fn nanoseconds(text: &str) -> Option<u64> {
    let (whole, fraction) = match text.strip_suffix('Z')?.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (text.strip_suffix('Z')?, "0"),
    };
    let b = whole.as_bytes();
    let separated = b.len() == 19
        && [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')]
            .iter()
            .all(|(at, separator)| b[*at] == *separator);
    if !separated || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0u64, |n, d| {
            d.is_ascii_digit().then(|| n * 10 + u64::from(d - b'0'))
        })
    };
    let (year, month, day) = (number(&b[..4])?, number(&b[5..7])?, number(&b[8..10])?);
    let (hour, minute, second) = (
        number(&b[11..13])?,
        number(&b[14..16])?,
        number(&b[17..19])?,
    );
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_in_month = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let valid = year >= 1970
        && (1..=days_in_month).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return None;
    }
    // The inverse of the formatter's conversion: years begin in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    let scale = 10u64.pow(9 - u32::try_from(fraction.len()).ok()?);
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(number(fraction.as_bytes())? * scale)
}
