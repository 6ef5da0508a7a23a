//! Points in time as conntrack(8) writes them, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use super::super::emit;

const NS: u64 = 1_000_000_000;

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// What dates are reckoned by.
pub(in crate::ctctl::output) struct Clock;

impl Clock {
    /// That of this process.
    pub(super) fn local() -> Self {
        Self
    }

    /// `Mon Nov 23 13:30:24 2026`, as ctime(3) does.
    pub(in crate::ctctl::output) fn date(&self, out: &mut Vec<u8>, ns: u64) {
        let second = ns / NS;
        let (year, month, day) = emit::civil(second / 86_400);
        let weekday = (second / 86_400 + 4) % 7;
        let month = usize::try_from(month).unwrap_or(1) - 1;
        out.extend_from_slice(DAYS[weekday as usize % 7].as_bytes());
        out.push(b' ');
        out.extend_from_slice(MONTHS[month % 12].as_bytes());
        out.push(b' ');
        padded(out, day, 2, b' ');
        let of_day = second % 86_400;
        for (separator, value) in [
            (b' ', of_day / 3600),
            (b':', of_day / 60 % 60),
            (b':', of_day % 60),
        ] {
            out.push(separator);
            padded(out, value, 2, b'0');
        }
        out.push(b' ');
        emit::number(out, year);
    }

    /// `<when>...</when>`, with the day of the week from 1, which is Sunday.
    pub(super) fn when(&self, out: &mut Vec<u8>, ns: u64) {
        let second = ns / NS;
        let (year, month, day) = emit::civil(second / 86_400);
        let of_day = second % 86_400;
        out.extend_from_slice(b"<when><hour>");
        emit::number(out, of_day / 3600);
        out.extend_from_slice(b"</hour><min>");
        padded(out, of_day / 60 % 60, 2, b'0');
        out.extend_from_slice(b"</min><sec>");
        padded(out, of_day % 60, 2, b'0');
        out.extend_from_slice(b"</sec><wday>");
        emit::number(out, (second / 86_400 + 4) % 7 + 1);
        out.extend_from_slice(b"</wday><day>");
        emit::number(out, day);
        out.extend_from_slice(b"</day><month>");
        emit::number(out, month);
        out.extend_from_slice(b"</month><year>");
        emit::number(out, year);
        out.extend_from_slice(b"</year></when>");
    }
}

/// Nanoseconds since the Unix epoch.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// `[1700000000.000042]` and a tab, as before the events of flows.
pub(super) fn stamp(out: &mut Vec<u8>, ns: u64) {
    out.push(b'[');
    padded(out, ns / NS, 8, b'0');
    out.push(b'.');
    padded(out, ns % NS / 1000, 6, b'0');
    out.extend_from_slice(b"]\t");
}

/// The same as before expectations: conntrack(8) fills there with spaces, behind the
/// number, so that 42 microseconds read as 42 hundredths.
pub(super) fn loose_stamp(out: &mut Vec<u8>, ns: u64) {
    out.push(b'[');
    filled(out, ns / NS, 8);
    out.push(b'.');
    filled(out, ns % NS / 1000, 6);
    out.extend_from_slice(b"]\t");
}

fn padded<N: itoa::Integer>(out: &mut Vec<u8>, n: N, width: usize, with: u8) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(n);
    out.extend(std::iter::repeat_n(with, width.saturating_sub(text.len())));
    out.extend_from_slice(text.as_bytes());
}

fn filled(out: &mut Vec<u8>, n: u64, width: usize) {
    let start = out.len();
    emit::number(out, n);
    let missing = width.saturating_sub(out.len() - start);
    out.extend(std::iter::repeat_n(b' ', missing));
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
    fn dates_are_those_of_ctime() {
        // `date -u -d @N '+%a %b %e %H:%M:%S %Y'`.
        let clock = Clock::local();
        for (second, expected) in [
            (1_795_458_624, "Mon Nov 23 18:30:24 2026"),
            (1_783_314_005, "Mon Jul  6 05:00:05 2026"),
            (0, "Thu Jan  1 00:00:00 1970"),
        ] {
            assert_eq!(written(|o| clock.date(o, second * NS + 7)), expected);
        }
        assert_eq!(
            written(|o| clock.when(o, 1_783_314_005 * NS)),
            "<when><hour>5</hour><min>00</min><sec>05</sec><wday>2</wday><day>6</day>\
             <month>7</month><year>2026</year></when>"
        );
    }

    #[test]
    fn stamps_are_padded_as_conntrack_does() {
        assert_eq!(written(|o| stamp(o, 42_000)), "[00000000.000042]\t");
        assert_eq!(written(|o| loose_stamp(o, 42_000)), "[0       .42    ]\t");
        let ns = 1_795_458_624_460_464_999;
        assert_eq!(written(|o| stamp(o, ns)), "[1795458624.460464]\t");
        assert_eq!(written(|o| loose_stamp(o, ns)), "[1795458624.460464]\t");
    }
}
