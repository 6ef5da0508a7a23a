//! A line of options: which were given, and their values as numbers, addresses and names.

use std::cell::Cell;
use std::net::IpAddr;

use super::error::{LineError, Problem};
use super::options::{Command, Opt};
use crate::flow::{L4, Labels, Protocol, Tuple};

/// A value that was given.
#[derive(Clone, Copy)]
struct Given<'a> {
    /// The option as it was written, and where.
    option: &'a str,
    column: usize,
    /// The value, and where.
    value: &'a str,
    value_column: usize,
}

/// The options of a line.
pub(super) struct Line<'a> {
    given: Vec<Given<'a>>,
    /// Where in `given` an option is, counted from 1; 0 is nowhere.
    places: [u8; Opt::COUNT],
    /// Options that were given and not asked for: none may be left at the end.
    left: Cell<u64>,
    labels: Option<Labels>,
}

/// More than the lines of a saved flow have.
const USUAL: usize = 24;

/// `Opt::COUNT` bits.
const _: () = assert!(Opt::COUNT <= 64);

impl<'a> Line<'a> {
    /// Splits a line into its options. `table` is the one that the entries are of.
    pub(super) fn split(line: &'a str, table: &'static str) -> Result<Self, LineError> {
        let mut this = Self {
            given: Vec::with_capacity(USUAL),
            places: [0; Opt::COUNT],
            left: Cell::new(0),
            labels: None,
        };
        let mut words = words(line).peekable();
        let (column, command) = words.next().unwrap_or((1, ""));
        match Command::of(command) {
            Some(Command::Create) => {}
            Some(Command::Other) => return Err(error(column, command, Problem::OtherCommand)),
            None => return Err(error(column, command, Problem::NotAnEntry)),
        }
        // Without a table it is conntrack.
        let (at, named) = words
            .next_if(|(_, word)| !word.starts_with('-'))
            .unwrap_or((column, "conntrack"));
        if named != table {
            return Err(error(at, named, Problem::OtherTable { expected: table }));
        }
        while let Some((column, word)) = words.next() {
            let Some((option, name, attached)) = option(word) else {
                let problem = match word.starts_with('-') {
                    true => Problem::UnknownOption,
                    false => Problem::StrayWord,
                };
                return Err(error(column, word, problem));
            };
            let value = attached
                .map(|(offset, value)| (column + offset, value))
                .or_else(|| words.next_if(|(_, word)| !word.starts_with('-')));
            let Some((value_column, value)) = value else {
                // -n and -g without an address only select.
                if matches!(option, Opt::SrcNat | Opt::DstNat) {
                    continue;
                }
                return Err(error(column, name, Problem::NoValue));
            };
            let given = Given {
                option: name,
                column,
                value,
                value_column,
            };
            if option == Opt::Label {
                this.label(given)?;
            } else if this.places[option as usize] != 0 {
                return Err(error(column, name, Problem::Twice));
            } else {
                this.given.push(given);
                // No more than there are options.
                this.places[option as usize] = this.given.len() as u8;
                *this.left.get_mut() |= 1 << option as u32;
            }
        }
        Ok(this)
    }

    /// Several options with labels add up.
    fn label(&mut self, given: Given<'_>) -> Result<(), LineError> {
        let mut labels = self.labels.unwrap_or_default();
        for label in given.value.split(',') {
            match label.parse::<u8>() {
                Ok(n @ 0..=127) => labels.0 |= 1 << n,
                _ => {
                    let value = label.to_owned();
                    let problem = Problem::NamedLabel { value };
                    return Err(error(given.value_column, given.option, problem));
                }
            }
        }
        self.labels = Some(labels);
        Ok(())
    }

    /// The labels.
    pub(super) fn labels(&self) -> Option<Labels> {
        self.labels
    }

    fn get(&self, option: Opt) -> Option<Given<'a>> {
        self.left.set(self.left.get() & !(1 << option as u32));
        self.place(option as usize)
    }

    #[inline]
    fn place(&self, option: usize) -> Option<Given<'a>> {
        let place = usize::from(*self.places.get(option)?).checked_sub(1)?;
        self.given.get(place).copied()
    }

    /// A value that `read` understands.
    pub(super) fn value<T>(
        &self,
        option: Opt,
        expected: &'static str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, LineError> {
        let Some(given) = self.get(option) else {
            return Ok(None);
        };
        read(given.value).map(Some).ok_or_else(|| {
            let value = given.value.to_owned();
            let problem = Problem::BadValue { value, expected };
            error(given.value_column, given.option, problem)
        })
    }

    /// An address.
    pub(super) fn address(&self, option: Opt) -> Result<Option<IpAddr>, LineError> {
        self.value(option, "an IP address", |value| value.parse().ok())
    }

    /// A port, or what stands in its place.
    pub(super) fn u16(&self, option: Opt) -> Result<Option<u16>, LineError> {
        self.value(option, "a number from 0 to 65535", |value| {
            u16::try_from(number(value)?).ok()
        })
    }

    /// A number of 8 bits.
    pub(super) fn u8(&self, option: Opt) -> Result<Option<u8>, LineError> {
        self.value(option, "a number from 0 to 255", |value| {
            u8::try_from(number(value)?).ok()
        })
    }

    /// A number of 32 bits.
    pub(super) fn u32(&self, option: Opt) -> Result<Option<u32>, LineError> {
        self.value(option, "a number from 0 to 4294967295", |value| {
            u32::try_from(number(value)?).ok()
        })
    }

    /// The protocol.
    pub(super) fn protocol(&self) -> Result<Protocol, LineError> {
        let expected = "tcp, udp, udplite, sctp, dccp, icmp, icmpv6, gre or a number up to 255";
        self.value(Opt::Protocol, expected, |value| {
            let by_name = value.parse().ok();
            by_name.or_else(|| u8::try_from(number(value)?).ok().map(Protocol))
        })?
        .ok_or_else(|| missing("-p"))
    }

    /// The layer 4 part of a tuple from its two options, `None` when neither was given.
    pub(super) fn ends(
        &self,
        src: (Opt, &'static str),
        dst: (Opt, &'static str),
    ) -> Result<Option<(u16, u16)>, LineError> {
        match (self.u16(src.0)?, self.u16(dst.0)?) {
            (None, None) => Ok(None),
            (Some(src), Some(dst)) => Ok(Some((src, dst))),
            (None, Some(_)) => Err(missing(src.1)),
            (Some(_), None) => Err(missing(dst.1)),
        }
    }

    /// Refuses what was given and belongs to another protocol, and mixed families.
    pub(super) fn finish(&self, tuples: &[&Tuple]) -> Result<(), LineError> {
        let mut addresses = tuples.iter().flat_map(|t| [t.src, t.dst]);
        let first_v4 = tuples.first().map(|t| t.src.is_ipv4());
        let family = self.value(Opt::Family, "ipv4 or ipv6", |value| match value {
            "ipv4" => Some(true),
            "ipv6" => Some(false),
            _ => None,
        })?;
        if addresses.any(|a| Some(a.is_ipv4()) != family.or(first_v4)) {
            return Err(LineError::whole(Problem::MixedFamilies));
        }
        let left = self.left.get().trailing_zeros() as usize;
        match self.place(left) {
            None => Ok(()),
            Some(given) => {
                let protocol = tuples.first().map_or(Protocol(0), |t| t.protocol);
                let protocol = protocol.to_string();
                let problem = Problem::OtherProtocol { protocol };
                Err(error(given.column, given.option, problem))
            }
        }
    }
}

/// The layer 4 part of a protocol with these ends.
pub(super) fn l4(protocol: Protocol, ends: (u16, u16)) -> L4 {
    let (src, dst) = ends;
    if protocol.has_ports() {
        L4::Ports { src, dst }
    } else if protocol == Protocol::GRE {
        L4::Gre { src, dst }
    } else {
        L4::None
    }
}

/// An option that the line needs.
pub(super) fn missing(option: &'static str) -> LineError {
    LineError::whole(Problem::Missing { option })
}

fn error(column: usize, option: &str, problem: Problem) -> LineError {
    LineError {
        column,
        option: (!option.is_empty()).then(|| option.to_owned()),
        problem,
    }
}

/// The option of a word, its name as written, and the value that is attached to it with the
/// value's place.
#[expect(clippy::type_complexity, reason = "used once, taken apart at once")]
fn option(word: &str) -> Option<(Opt, &str, Option<(usize, &str)>)> {
    if let Some(long) = word.strip_prefix("--") {
        return match long.bytes().position(|byte| byte == b'=') {
            None => Some((Opt::long(long)?, word, None)),
            Some(at) => {
                let (name, value) = (&long[..at], &long[at + 1..]);
                let at = 2 + at;
                Some((Opt::long(name)?, &word[..at], Some((at + 1, value))))
            }
        };
    }
    let short = word.strip_prefix('-')?;
    let letter = short.chars().next()?;
    let option = Opt::short(letter)?;
    let at = 1 + letter.len_utf8();
    let attached = &word[at..];
    let attached = (!attached.is_empty()).then_some((at, attached));
    Some((option, &word[..at], attached))
}

/// The words of a line and their columns.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = line.as_bytes();
    let mut at = 0;
    // Blanks are ASCII, so that whatever is between them is text, too.
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    std::iter::from_fn(move || {
        let start = at + bytes.get(at..)?.iter().position(|byte| !blank(byte))?;
        let end = bytes[start..].iter().position(blank);
        at = end.map_or(bytes.len(), |length| start + length);
        Some((start + 1, line.get(start..at)?))
    })
}

/// A number as strtoul reads it with base 0, which conntrack(8) uses: 10, 0x0a, 012.
pub(super) fn number(text: &str) -> Option<u64> {
    // Nearly all of them: decimal, and too short to overflow.
    if let [b'1'..=b'9', ..] = text.as_bytes()
        && text.len() < 19
    {
        return text.bytes().try_fold(0, |number, digit| {
            let digit = digit.wrapping_sub(b'0');
            (digit < 10).then(|| number * 10 + u64::from(digit))
        });
    }
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    // from_str_radix would take a sign.
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, radix).ok())?
}
