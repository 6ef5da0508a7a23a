//! Points in time as conntrack(8) writes them: in the time zone of whoever looks.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::super::emit;

const NS: u64 = 1_000_000_000;

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The time zone of this process: `TZ`, or what the host is set to.
pub(in crate::ctctl::output) struct Clock {
    zone: TimeZone,
}

impl Clock {
    /// Looks the time zone up.
    pub(super) fn local() -> Self {
        Self {
            zone: TimeZone::system(),
        }
    }

    fn civil(&self, ns: u64) -> DateTime {
        let second = i64::try_from(ns / NS).unwrap_or(i64::MAX);
        // 64 bits of nanoseconds end in the year 2554, which jiff knows.
        let point = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        self.zone.to_datetime(point)
    }

    /// `Mon Nov 23 13:30:24 2026`, as ctime(3) does.
    pub(in crate::ctctl::output) fn date(&self, out: &mut Vec<u8>, ns: u64) {
        let at = self.civil(ns);
        let day = usize::from(at.weekday().to_sunday_zero_offset().unsigned_abs());
        let month = usize::from(at.month().unsigned_abs()).saturating_sub(1);
        out.extend_from_slice(DAYS.get(day).copied().unwrap_or_default().as_bytes());
        out.push(b' ');
        out.extend_from_slice(MONTHS.get(month).copied().unwrap_or_default().as_bytes());
        out.push(b' ');
        padded(out, at.day().unsigned_abs(), 2, b' ');
        for (separator, value) in [(b' ', at.hour()), (b':', at.minute()), (b':', at.second())] {
            out.push(separator);
            padded(out, value.unsigned_abs(), 2, b'0');
        }
        out.push(b' ');
        emit::number(out, at.year());
    }

    /// `<when>...</when>`, with the day of the week from 1, which is Sunday.
    pub(super) fn when(&self, out: &mut Vec<u8>, ns: u64) {
        let at = self.civil(ns);
        out.extend_from_slice(b"<when><hour>");
        emit::number(out, at.hour());
        out.extend_from_slice(b"</hour><min>");
        padded(out, at.minute().unsigned_abs(), 2, b'0');
        out.extend_from_slice(b"</min><sec>");
        padded(out, at.second().unsigned_abs(), 2, b'0');
        out.extend_from_slice(b"</sec><wday>");
        emit::number(out, at.weekday().to_sunday_one_offset());
        out.extend_from_slice(b"</wday><day>");
        emit::number(out, at.day());
        out.extend_from_slice(b"</day><month>");
        emit::number(out, at.month());
        out.extend_from_slice(b"</month><year>");
        emit::number(out, at.year());
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
        // `TZ=EST5EDT date -d @N '+%a %b %e %H:%M:%S %Y'`.
        let clock = Clock {
            zone: TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").expect("a zone"),
        };
        for (second, expected) in [
            (1_795_458_624, "Mon Nov 23 13:30:24 2026"),
            (1_783_314_005, "Mon Jul  6 01:00:05 2026"),
            (0, "Wed Dec 31 19:00:00 1969"),
        ] {
            assert_eq!(written(|o| clock.date(o, second * NS + 7)), expected);
        }
        assert_eq!(
            written(|o| clock.when(o, 1_783_314_005 * NS)),
            "<when><hour>1</hour><min>00</min><sec>05</sec><wday>2</wday><day>6</day>\
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
