//! Values of options: numbers, addresses and words as conntrack(8) reads them, and refused
//! where conntrack(8) 1.4.7 would make 0 of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::LineError;
use super::line::{EventKinds, Nat, StatusWords};
use crate::ctctl::output::classic::Options;
use crate::flow::{Masked, Status};

/// A number: decimal, 0x for hexadecimal, 0 for octal.
pub(super) fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    // A sign would be read, too.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// A number of so many bits.
pub(super) fn bounded<N: TryFrom<u64>>(text: &str, option: &'static str) -> Result<N, LineError> {
    number(text)
        .and_then(|number| N::try_from(number).ok())
        .ok_or_else(|| LineError::Number {
            option,
            value: text.to_owned(),
        })
}

/// `MARK[/MASK]`.
pub(super) fn mark(text: &str) -> Result<Masked<u32>, LineError> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (value, Some(mask)),
        None => (text, None),
    };
    let part = |part| {
        number(part)
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| LineError::Number {
                option: "-m",
                value: text.to_owned(),
            })
    };
    Ok(Masked {
        value: part(value)?,
        mask: mask.map(part).transpose()?.unwrap_or(u32::MAX),
    })
}

/// An address, also the short IPv4 forms of inet_aton(3): `10.1` is 10.0.0.1.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let parts: Vec<&str> = text.split('.').collect();
    let (last, first) = parts.split_last()?;
    if first.len() > 3 {
        return None;
    }
    let mut bits = 0;
    for (part, shift) in first.iter().zip([24, 16, 8]) {
        bits |= u32::from(u8::try_from(number(part)?).ok()?) << shift;
    }
    let room = 32 - 8 * u32::try_from(first.len()).ok()?;
    let last = number(last).filter(|last| last >> room == 0)?;
    Some(Ipv4Addr::from_bits(bits | u32::try_from(last).ok()?).into())
}

/// An address, and the mask that a prefix length means.
pub(super) fn network(text: &str) -> Result<(IpAddr, Option<IpAddr>), LineError> {
    let (text, length) = match text.split_once('/') {
        Some((text, length)) => (text, Some(length)),
        None => (text, None),
    };
    let address = address(text).ok_or_else(|| LineError::Address(text.to_owned()))?;
    let Some(length) = length else {
        return Ok((address, None));
    };
    // Nothing behind the slash is 0 to conntrack(8), too.
    let length = match length {
        "" => Some(0),
        length => length.parse::<u8>().ok(),
    };
    let mask = match (address, length) {
        (IpAddr::V4(_), Some(length @ 0..=32)) => {
            Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)).into()
        }
        (IpAddr::V6(_), Some(length @ 0..=128)) => {
            Ipv6Addr::from_bits(u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)).into()
        }
        _ => return Err(LineError::Netmask),
    };
    Ok((address, Some(mask)))
}

/// `ADDRESS`, `IPV4:PORT` or `[IPV6]:PORT`.
pub(super) fn nat(text: &str, option: &'static str) -> Result<Nat, LineError> {
    let (place, port) = match text.find('[') {
        Some(open) => {
            let inside = &text[open + 1..];
            let close = inside.find(']').ok_or(LineError::NoBracket)?;
            if close == 0 {
                return Err(LineError::NoAddress);
            }
            match inside[close..].find(':') {
                Some(colon) => (&inside[..close], Some(&inside[close + colon + 1..])),
                // conntrack(8) takes brackets with a port alone.
                None => (text, None),
            }
        }
        None => match text.split_once(':') {
            Some((place, port)) if !port.contains(':') => (place, Some(port)),
            _ => (text, None),
        },
    };
    let port = match port {
        Some("") => return Err(LineError::NoPort),
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            Some(port.parse().map_err(|_| LineError::Port(port.to_owned()))?)
        }
        Some(port) => return Err(LineError::Port(port.to_owned())),
        None => None,
    };
    if place.contains('/') && network(place).is_ok() {
        return Err(LineError::NoNetwork(option));
    }
    let address = address(place).ok_or_else(|| LineError::Address(place.to_owned()))?;
    Ok(Nat {
        address: Some(address),
        port,
    })
}

/// Looks up the words of a list, each of which may be cut short.
fn each<'a>(text: &'a str, mut take: impl FnMut(&'a str) -> Option<()>) -> Result<(), LineError> {
    let mut rest = text;
    loop {
        let word = rest.split(',').next().unwrap_or_default();
        if word.is_empty() || take(word).is_none() {
            return Err(LineError::BadParameter(rest.to_owned()));
        }
        match rest.get(word.len() + 1..) {
            Some(more) => rest = more,
            None => return Ok(()),
        }
    }
}

/// Whether this is the word, or its beginning.
fn begins(word: &str, known: &str) -> bool {
    known
        .get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// What follows `-u`; words that cannot be followed are added to the warnings.
pub(super) fn status(
    text: &str,
    so_far: StatusWords,
    warnings: &mut Vec<String>,
) -> Result<StatusWords, LineError> {
    let known = [
        ("ASSURED", Status::ASSURED),
        ("SEEN_REPLY", Status::SEEN_REPLY),
        ("UNSET", Status(0)),
        ("FIXED_TIMEOUT", Status::FIXED_TIMEOUT),
        ("EXPECTED", Status::EXPECTED),
        ("OFFLOAD", Status::OFFLOAD),
        ("HW_OFFLOAD", Status::HW_OFFLOAD),
    ];
    let mut words = so_far;
    each(text, |word| {
        if word.starts_with("UNREPLIED") {
            words.clear = words.clear | Status::SEEN_REPLY;
            return Some(());
        }
        let (word, negated) = match word.strip_prefix('!') {
            Some(word) => (word, true),
            None => (word, false),
        };
        if word.is_empty() {
            return None;
        }
        for (name, option) in [("SRC_NAT", "--src-nat"), ("DST_NAT", "--dst-nat")] {
            if begins(word, name) {
                warnings.push(format!("ignoring {name}, use {option} instead"));
                return Some(());
            }
        }
        let (_, bit) = known.iter().find(|(name, _)| begins(word, name))?;
        if negated {
            words.clear = words.clear | *bit;
        } else {
            words.set = words.set | *bit;
        }
        Some(())
    })?;
    Ok(words)
}

/// What follows `-e`.
pub(super) fn events(text: &str, so_far: Option<EventKinds>) -> Result<EventKinds, LineError> {
    let mut kinds = so_far.unwrap_or(EventKinds::NONE);
    each(text, |word| {
        if begins(word, "ALL") {
            kinds = EventKinds::ALL;
        } else if begins(word, "NEW") {
            kinds.new = true;
        } else if begins(word, "UPDATES") {
            kinds.update = true;
        } else if begins(word, "DESTROY") {
            kinds.destroy = true;
        } else {
            return None;
        }
        Some(())
    })?;
    Ok(kinds)
}

/// What follows `-o`.
pub(super) fn output(text: &str, so_far: Options) -> Result<Options, LineError> {
    let mut output = so_far;
    each(text, |word| {
        let fields = [
            ("xml", &mut output.xml),
            ("extended", &mut output.extended),
            ("timestamp", &mut output.timestamp),
            ("id", &mut output.id),
            ("ktimestamp", &mut output.ktimestamp),
            ("labels", &mut output.labels),
            ("userspace", &mut output.userspace),
            ("save", &mut output.save),
        ];
        let (_, field) = fields.into_iter().find(|(name, _)| begins(word, name))?;
        *field = true;
        Some(())
    })?;
    let with = Options {
        save: false,
        userspace: false,
        ..output
    };
    if output.save && with != Options::default() {
        return Err(LineError::SaveAlone);
    }
    Ok(output)
}
