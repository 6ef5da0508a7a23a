//! How numbers, addresses, times and foreign text become bytes, without an allocation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Writes a number in decimal.
pub(super) fn number(out: &mut Vec<u8>, n: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Writes a number in lower-case hexadecimal, without a prefix and without leading zeros.
pub(super) fn hex(out: &mut Vec<u8>, n: u64) {
    let digits = (16 - n.leading_zeros() / 4).max(1);
    for shift in (0..digits).rev() {
        out.push(hex_digit((n >> (shift * 4)) as u8));
    }
}

/// Writes bytes as pairs of hexadecimal digits.
pub(super) fn hex_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    for b in bytes {
        out.push(hex_digit(b >> 4));
        out.push(hex_digit(*b));
    }
}

fn hex_digit(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble & 0xf)]
}

/// Writes an address as glibc's `inet_ntop` does, which conntrack(8) uses.
pub(super) fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(a) => v4(out, a),
        IpAddr::V6(a) => v6(out, a),
    }
}

fn v4(out: &mut Vec<u8>, address: Ipv4Addr) {
    let [a, b, c, d] = address.octets();
    number(out, a);
    for octet in [b, c, d] {
        out.push(b'.');
        number(out, octet);
    }
}

/// RFC 5952, and the last 32 bits of `::/96` and `::ffff:0:0/96` in dotted decimal.
fn v6(out: &mut Vec<u8>, address: Ipv6Addr) {
    let words = address.segments();
    let (start, len) = longest_zero_run(&words);
    let dotted = start == 0 && (len == 6 || (len == 5 && words[5] == 0xffff));
    let hex_words = if dotted { 6 } else { 8 };
    let mut i = 0;
    while i < hex_words {
        if len > 1 && i == start {
            out.extend_from_slice(b"::");
            i += len;
            continue;
        }
        hex(out, words[i].into());
        i += 1;
        if i < 8 && !(len > 1 && i == start) {
            out.push(b':');
        }
    }
    if dotted {
        let [.., a, b, c, d] = address.octets();
        v4(out, Ipv4Addr::new(a, b, c, d));
    }
}

/// Where the first of the longest runs of zero words begins, and its length.
fn longest_zero_run(words: &[u16; 8]) -> (usize, usize) {
    let (mut best, mut current) = ((0, 0), (0, 0));
    for (i, word) in words.iter().enumerate() {
        if *word != 0 {
            current = (i + 1, 0);
            continue;
        }
        current.1 += 1;
        if current.1 > best.1 {
            best = current;
        }
    }
    best
}

/// Writes nanoseconds since the Unix epoch as RFC 3339 in UTC, with all nine decimals.
pub(super) fn time(out: &mut Vec<u8>, ns: u64) {
    let seconds = ns / 1_000_000_000;
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    padded(out, year, 4);
    for (separator, value) in [
        (b'-', month),
        (b'-', day),
        (b'T', of_day / 3600),
        (b':', of_day / 60 % 60),
        (b':', of_day % 60),
    ] {
        out.push(separator);
        padded(out, value, 2);
    }
    out.push(b'.');
    padded(out, ns % 1_000_000_000, 9);
    out.push(b'Z');
}

/// Writes a number with leading zeros.
fn padded(out: &mut Vec<u8>, n: u64, digits: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(n);
    out.extend(std::iter::repeat_n(b'0', digits.saturating_sub(text.len())));
    out.extend_from_slice(text.as_bytes());
}

/// The Gregorian date of a day counted from 1970-01-01 (H. Hinnant, "chrono-compatible
/// low-level date algorithms": years begin in March, so that the leap day is the last).
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// Writes text that somebody else chose (a helper's name, a security context, a node's
/// name) so that it can neither end the line nor steer the terminal: control characters
/// become `\u{..}`.
pub(in crate::ctctl) fn text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut utf8 = [0; 4];
    for c in text.chars() {
        if steers(c) {
            out.extend_from_slice(b"\\u{");
            hex(out, u32::from(c).into());
            out.push(b'}');
        } else {
            out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
        }
    }
}

/// Control characters, line separators and the marks that reorder what is displayed.
pub(super) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn addresses_are_written_as_glibc_does() {
        // Pairs from glibc 2.36's inet_ntop.
        for (address_text, expected) in [
            ("0.0.0.0", "0.0.0.0"),
            ("192.0.2.255", "192.0.2.255"),
            ("::", "::"),
            ("::1", "::1"),
            ("1::", "1::"),
            ("::1:0", "::0.1.0.0"),
            ("::1.2.3.4", "::1.2.3.4"),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
            ("::ffff:0:0", "::ffff:0.0.0.0"),
            ("::fffe:102:304", "::fffe:102:304"),
            ("64:ff9b::c000:201", "64:ff9b::c000:201"),
            ("fe80::1", "fe80::1"),
            ("2001:db8:0:1:0:0:0:1", "2001:db8:0:1::1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("2001:0:1:2:3:4:5:6", "2001:0:1:2:3:4:5:6"),
            ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
            ("1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"),
        ] {
            let parsed: IpAddr = address_text.parse().expect("an address");
            assert_eq!(written(|o| address(o, parsed)), expected);
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        for (ns, expected) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (4_107_542_399_999_999_999, "2100-02-28T23:59:59.999999999Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000000Z"),
            (1_234_567_890_000_000_000, "2009-02-13T23:31:30.000000000Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            assert_eq!(written(|o| time(o, ns)), expected);
        }
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(written(|o| text(o, "ftp-0")), "ftp-0");
        assert_eq!(written(|o| text(o, "ä\n\x1b[2J")), "ä\\u{a}\\u{1b}[2J");
        assert_eq!(
            written(|o| text(o, "a\u{202e}b\u{9b}")),
            "a\\u{202e}b\\u{9b}"
        );
    }

    #[test]
    fn hexadecimal_has_no_leading_zeros() {
        for n in [0, 1, 0xf, 0x10, 0xabc, u64::MAX] {
            assert_eq!(written(|o| hex(o, n)), format!("{n:x}"));
        }
    }
}
