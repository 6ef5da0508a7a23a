//! The values of conditions: numbers with units, ranges, masks, networks.

use std::net::IpAddr;

use ipnet::IpNet;
use winnow::ascii::{Caseless, digit1};
use winnow::combinator::{alt, eof, opt, preceded, repeat, separated_pair, terminated};
use winnow::error::EmptyError;
use winnow::prelude::*;
use winnow::stream::AsChar;
use winnow::token::take_while;

use super::vocabulary::Unit;

type Parsed<T> = Result<T, EmptyError>;

/// One value of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A number, or those from one to another.
    Range(i128, i128),
    /// The bits of a mask.
    Masked(u64, u64),
}

/// A number, a range or value/mask.
pub(super) fn item(text: &str, unit: Unit) -> Option<Item> {
    let number = |input: &mut &str| signed(input, unit);
    let range = separated_pair(number, '-', number).map(|(min, max)| Item::Range(min, max));
    let masked = separated_pair(bits, '/', bits).map(|(value, mask)| Item::Masked(value, mask));
    let single = number.map(|number| Item::Range(number, number));
    alt((
        terminated(range, eof),
        terminated(masked, eof),
        terminated(single, eof),
    ))
    .parse(text)
    .ok()
}

/// A number from 0 on, without a unit.
pub(super) fn unsigned(text: &str) -> Option<u64> {
    bits.parse(text).ok()
}

/// Labels as a number of 128 bits, and which of them count.
pub(super) fn labels(text: &str) -> Option<(u128, u128)> {
    (wide, opt(preceded('/', wide)))
        .map(|(value, mask)| (value, mask.unwrap_or(u128::MAX)))
        .parse(text)
        .ok()
}

/// A network: an address, with a prefix length or a netmask or alone.
pub(super) fn network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.into());
    }
    if let Ok(network) = text.parse() {
        return Some(network);
    }
    let (address, netmask) = text.split_once('/')?;
    IpNet::with_netmask(address.parse().ok()?, netmask.parse().ok()?).ok()
}

fn signed(input: &mut &str, unit: Unit) -> Parsed<i128> {
    (opt('-'), |input: &mut &str| natural(input, unit))
        .map(|(sign, number)| match sign {
            Some(_) => -i128::from(number),
            None => i128::from(number),
        })
        .parse_next(input)
}

fn natural(input: &mut &str, unit: Unit) -> Parsed<u64> {
    match unit {
        Unit::Plain => bits.parse_next(input),
        Unit::Packets => {
            alt((hexadecimal, (decimal, multiple).verify_map(product))).parse_next(input)
        }
        Unit::Bytes => alt((
            hexadecimal,
            (decimal, terminated(multiple, opt(Caseless("b")))).verify_map(product),
        ))
        .parse_next(input),
        Unit::Seconds => alt((hexadecimal, duration, decimal)).parse_next(input),
        Unit::Nanoseconds => {
            alt((hexadecimal, (decimal, instant).verify_map(product))).parse_next(input)
        }
    }
}

fn product((number, factor): (u64, u64)) -> Option<u64> {
    number.checked_mul(factor)
}

/// A number without a unit.
fn bits(input: &mut &str) -> Parsed<u64> {
    alt((hexadecimal, decimal)).parse_next(input)
}

fn hexadecimal(input: &mut &str) -> Parsed<u64> {
    preceded(Caseless("0x"), take_while(1.., AsChar::is_hex_digit))
        .verify_map(|digits| u64::from_str_radix(digits, 16).ok())
        .parse_next(input)
}

fn decimal(input: &mut &str) -> Parsed<u64> {
    digit1.parse_to().parse_next(input)
}

fn wide(input: &mut &str) -> Parsed<u128> {
    let hexadecimal = preceded(Caseless("0x"), take_while(1.., AsChar::is_hex_digit))
        .verify_map(|digits| u128::from_str_radix(digits, 16).ok());
    alt((hexadecimal, digit1.parse_to())).parse_next(input)
}

/// The factor of a decimal (1000) or binary (1024) suffix.
fn multiple(input: &mut &str) -> Parsed<u64> {
    alt((
        Caseless("ki").value(1 << 10),
        Caseless("mi").value(1 << 20),
        Caseless("gi").value(1 << 30),
        Caseless("ti").value(1 << 40),
        Caseless("k").value(1_000),
        Caseless("m").value(1_000_000),
        Caseless("g").value(1_000_000_000),
        Caseless("t").value(1_000_000_000_000),
        "".value(1),
    ))
    .parse_next(input)
}

/// Parts such as 1h30m, added up.
fn duration(input: &mut &str) -> Parsed<u64> {
    let unit = alt((
        Caseless("s").value(1),
        Caseless("m").value(60),
        Caseless("h").value(3_600),
        Caseless("d").value(86_400),
    ));
    repeat(1.., (decimal, unit).verify_map(product))
        .fold(|| Some(0_u64), |sum, part: u64| sum?.checked_add(part))
        .verify_map(|sum| sum)
        .parse_next(input)
}

/// The factor to nanoseconds.
fn instant(input: &mut &str) -> Parsed<u64> {
    alt((
        Caseless("ns").value(1),
        Caseless("us").value(1_000),
        Caseless("ms").value(1_000_000),
        Caseless("s").value(1_000_000_000),
        "".value(1),
    ))
    .parse_next(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items() {
        use Unit::{Bytes, Nanoseconds, Packets, Plain, Seconds};
        let one = |number| Some(Item::Range(number, number));
        let cases = [
            ("0", Plain, one(0)),
            ("0x1F", Plain, one(31)),
            ("-5", Plain, one(-5)),
            ("80-90", Plain, Some(Item::Range(80, 90))),
            ("-5--1", Plain, Some(Item::Range(-5, -1))),
            ("0x10/0xf0", Plain, Some(Item::Masked(16, 240))),
            ("1K", Plain, None),
            ("1K", Packets, one(1000)),
            ("1kb", Packets, None),
            ("1Ki", Bytes, one(1024)),
            ("2gIb", Bytes, one(2 << 30)),
            ("1TB", Bytes, one(1_000_000_000_000)),
            ("1K-1M", Bytes, Some(Item::Range(1000, 1_000_000))),
            ("90", Seconds, one(90)),
            ("1d2h3m4s", Seconds, one(86_400 + 7_200 + 180 + 4)),
            ("30s-5m", Seconds, Some(Item::Range(30, 300))),
            ("1h30", Seconds, None),
            ("2s", Nanoseconds, one(2_000_000_000)),
            ("2ms", Nanoseconds, one(2_000_000)),
            ("5", Nanoseconds, one(5)),
            ("18446744073709551615", Plain, one(u64::MAX.into())),
            ("18446744073709551616", Plain, None),
            ("18446744073709551615K", Packets, None),
            ("213503982334602d", Seconds, None),
            ("213503982334601d213503982334601d", Seconds, None),
            ("", Plain, None),
            ("0x", Plain, None),
            ("--5", Plain, None),
            ("5-", Plain, None),
            ("5/", Plain, None),
            ("1/2/3", Plain, None),
            ("1-2-3", Plain, None),
            ("٣", Plain, None),
            ("+5", Plain, None),
        ];
        for (text, unit, expected) in cases {
            assert_eq!(item(text, unit), expected, "{text}");
        }
    }

    #[test]
    fn networks() {
        for (text, expected) in [
            ("10.0.0.1", Some("10.0.0.1/32")),
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.0.0.0/255.0.0.0", Some("10.0.0.0/8")),
            ("2001:db8::/ffff:ffff::", Some("2001:db8::/32")),
            ("::1", Some("::1/128")),
            ("10.0.0.0/33", None),
            ("10.0.0.0/255.0.255.0", None),
            ("10.0.0.0/", None),
            ("10.0.0", None),
            ("fe80::1%eth0", None),
        ] {
            assert_eq!(
                network(text),
                expected.map(|e| e.parse().unwrap()),
                "{text}"
            );
        }
    }

    #[test]
    fn label_bits() {
        assert_eq!(labels("0x20"), Some((32, u128::MAX)));
        assert_eq!(labels("5/7"), Some((5, 7)));
        let widest = "0xffffffffffffffffffffffffffffffff";
        assert_eq!(labels(widest), Some((u128::MAX, u128::MAX)));
        assert_eq!(labels(&format!("{widest}f")), None);
        assert_eq!(labels("5/"), None);
    }
}
