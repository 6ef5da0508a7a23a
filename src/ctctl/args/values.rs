//! Values of flags, as conntrack(8) and people write them, read into types.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::ctctl::connlabel::{self, LabelNames};
use crate::flow::{DccpState, Family, Labels, Masked, Protocol, SctpState, Status, TcpState};

/// Text that is not such a value; says what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {expected}")]
pub struct ValueError {
    found: String,
    expected: &'static str,
}

fn wrong<T>(found: &str, expected: &'static str) -> Result<T, ValueError> {
    Err(ValueError {
        found: found.to_owned(),
        expected,
    })
}

/// A number: decimal, or hexadecimal behind `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        // from_str_radix takes a sign.
        Some(digits) if digits.starts_with('+') => None,
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text.starts_with('+') => None,
        None => text.parse().ok(),
    }
}

/// A number of 32 bits.
pub fn number32(text: &str) -> Result<u32, ValueError> {
    number(text)
        .and_then(|n| u32::try_from(n).ok())
        .map_or_else(|| wrong(text, "a number from 0 to 0xffffffff"), Ok)
}

/// A list with commas; clap would count its values one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T: FromStr> FromStr for List<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        text.split(',')
            .map(|item| item.trim().parse())
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// A network: an address, or one with a prefix length or an IPv4 netmask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const EXPECTED: &str = "an address or a network like 10.0.0.0/8";
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.into()));
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self(network.trunc()));
        }
        let masked = text.split_once('/').and_then(|(address, mask)| {
            let address: Ipv4Addr = address.parse().ok()?;
            Ipv4Net::with_netmask(address, mask.parse().ok()?).ok()
        });
        masked.map_or_else(|| wrong(text, EXPECTED), |net| Ok(Self(net.trunc().into())))
    }
}

/// A port, or ports from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub min: u16,
    /// The last.
    pub max: u16,
}

impl FromStr for PortRange {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (min, max) = text.split_once(['-', ':']).unwrap_or((text, text));
        match (min.parse(), max.parse()) {
            (Ok(min), Ok(max)) if min <= max => Ok(Self { min, max }),
            _ => wrong(text, "a port from 0 to 65535, or a range like 1024-2047"),
        }
    }
}

/// A mark, and which of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkMask(pub Masked<u32>);

impl FromStr for MarkMask {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const EXPECTED: &str = "a mark like 7, 0x10 or 0x10/0xff";
        let (value, mask) = match text.split_once('/') {
            Some((value, mask)) => (number32(value), number32(mask)),
            None => (number32(text), Ok(u32::MAX)),
        };
        match (value, mask) {
            (Ok(value), Ok(mask)) if mask != 0 => Ok(Self(Masked { value, mask })),
            (Ok(_), Ok(_)) => wrong(text, "a mark: a mask of 0 takes no bit at all"),
            _ => wrong(text, EXPECTED),
        }
    }
}

/// Labels by their numbers, or by the names that connlabel.conf of this host gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelSet(pub Labels);

impl FromStr for LabelSet {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut labels = 0;
        for item in text.split(',') {
            match label(item.trim()) {
                Some(label @ 0..128) => labels |= 1u128 << label,
                _ => {
                    return wrong(
                        item,
                        "a label: a number from 0 to 127, or a name from /etc/xtables/connlabel.conf",
                    );
                }
            }
        }
        Ok(Self(Labels(labels)))
    }
}

/// The number of a label. A name that looks like a number is one.
fn label(text: &str) -> Option<u16> {
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => LabelNames::read(Path::new(connlabel::PATH))
            .ok()?
            .number(text),
    }
}

/// All 128 labels: a hexadecimal number, as [`Labels`] are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelBits(pub Masked<Labels>);

impl FromStr for LabelBits {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bits = |text: &str| {
            let digits = text.strip_prefix("0x").filter(|d| !d.starts_with('+'))?;
            u128::from_str_radix(digits, 16).ok().map(Labels)
        };
        let (value, mask) = match text.split_once('/') {
            Some((value, mask)) => (bits(value), bits(mask)),
            None => (bits(text), Some(Labels(u128::MAX))),
        };
        match (value, mask) {
            (Some(value), Some(mask)) => Ok(Self(Masked { value, mask })),
            _ => wrong(text, "labels in hexadecimal like 0x6 or 0x6/0xff"),
        }
    }
}

/// Status bits that are set, and bits that are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusBits {
    /// These are set.
    pub set: Status,
    /// These are not.
    pub clear: Status,
}

impl FromStr for StatusBits {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut bits = Self::default();
        for item in text.split(',').map(str::trim) {
            if item.eq_ignore_ascii_case("UNREPLIED") {
                bits.clear = bits.clear | Status::SEEN_REPLY;
            } else if let Some(bit) = Status::from_name(item) {
                bits.set = bits.set | bit;
            } else if let Ok(bit @ 1..) = number32(item) {
                bits.set = bits.set | Status(bit);
            } else {
                return wrong(
                    item,
                    "a status: ASSURED, SEEN_REPLY, UNREPLIED, EXPECTED, FIXED_TIMEOUT, \
                     OFFLOAD, HW_OFFLOAD, SRC_NAT, DST_NAT, ..., or a number of bits",
                );
            }
        }
        Ok(bits)
    }
}

/// The name of a state, in every protocol that has one of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateName {
    /// TCP's.
    pub tcp: Option<TcpState>,
    /// SCTP's.
    pub sctp: Option<SctpState>,
    /// DCCP's.
    pub dccp: Option<DccpState>,
}

impl FromStr for StateName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let state = Self {
            // conntrack(8) still calls SYN_SENT2 by its old name.
            tcp: match text {
                "LISTEN" => TcpState::from_name("SYN_SENT2"),
                _ => TcpState::from_name(text),
            },
            sctp: SctpState::from_name(text),
            dccp: DccpState::from_name(text),
        };
        if state.tcp.is_none() && state.sctp.is_none() && state.dccp.is_none() {
            return wrong(
                text,
                "a state: NONE, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, \
                 LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2, or one of SCTP or DCCP",
            );
        }
        Ok(state)
    }
}

impl StateName {
    /// The protocol that is most often meant.
    pub fn likely_protocol(&self) -> Protocol {
        match self {
            Self { tcp: Some(_), .. } => Protocol::TCP,
            Self { sctp: Some(_), .. } => Protocol::SCTP,
            Self { .. } => Protocol::DCCP,
        }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyName(pub Family);

impl FamilyName {
    /// The number that filters know it by.
    pub fn number(self) -> i64 {
        match self.0 {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }
}

impl FromStr for FamilyName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.to_ascii_lowercase().as_str() {
            "ipv4" | "ip" | "inet" | "4" => Ok(Self(Family::V4)),
            "ipv6" | "ip6" | "inet6" | "6" => Ok(Self(Family::V6)),
            _ => wrong(text, "a family: ipv4 or ipv6"),
        }
    }
}

/// What a flow is translated to: an address, a port, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatTo {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Option<u16>,
}

impl FromStr for NatTo {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Ok(address) = text.parse() {
            return Ok(Self {
                address,
                port: None,
            });
        }
        match text.parse::<std::net::SocketAddr>() {
            Ok(socket) => Ok(Self {
                address: socket.ip(),
                port: Some(socket.port()),
            }),
            Err(_) => wrong(
                text,
                "an address like 192.0.2.1, 192.0.2.1:80 or [2001:db8::1]:80 (a filter \
                 expression stands in front of this flag)",
            ),
        }
    }
}

/// A time span: seconds, or a number with `ms`, `s`, `m` or `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (digits, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
            Some(at) => text.split_at(at),
            None => (text, "s"),
        };
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => f64::NAN,
        };
        digits
            .parse::<f64>()
            .ok()
            .and_then(|value| Duration::try_from_secs_f64(value * scale).ok())
            .filter(|span| !span.is_zero())
            .map_or_else(
                || wrong(text, "a time span like 30, 1.5s, 500ms or 2m"),
                |d| Ok(Self(d)),
            )
    }
}

/// Two numbers with a colon, for the two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The original direction's.
    pub orig: u32,
    /// The reply direction's.
    pub reply: u32,
}

impl FromStr for Pair {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text
            .split_once(':')
            .map(|(orig, reply)| (number32(orig), number32(reply)))
        {
            Some((Ok(orig), Ok(reply))) => Ok(Self { orig, reply }),
            _ => wrong(text, "two numbers like 7:7 (original:reply)"),
        }
    }
}

impl fmt::Display for NatTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => std::net::SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok<T: FromStr>(text: &str) -> T
    where
        T::Err: fmt::Debug,
    {
        text.parse().unwrap()
    }

    fn bad<T: FromStr>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_err(), "{text:?} passed");
        }
    }

    #[test]
    fn networks() {
        let net = |text: &str| ok::<Network>(text).0.to_string();
        assert_eq!(net("10.0.0.1"), "10.0.0.1/32");
        assert_eq!(net("10.1.2.3/8"), "10.0.0.0/8");
        assert_eq!(net("10.1.2.3/255.255.0.0"), "10.1.0.0/16");
        assert_eq!(net("2001:db8::1/32"), "2001:db8::/32");
        bad::<Network>(&["", "10.0.0", "10.0.0.0/33", "10.0.0.0/255.0.255.0", "fw1"]);
    }

    #[test]
    fn ports_and_lists() {
        assert_eq!(
            ok::<List<PortRange>>("80, 1024-2047").0,
            [
                PortRange { min: 80, max: 80 },
                PortRange {
                    min: 1024,
                    max: 2047
                }
            ]
        );
        bad::<List<PortRange>>(&["", "80,", "65536", "2-1", "http"]);
    }

    #[test]
    fn marks() {
        assert_eq!(
            ok::<MarkMask>("7").0,
            Masked {
                value: 7,
                mask: u32::MAX
            }
        );
        assert_eq!(
            ok::<MarkMask>("0x10/0xff").0,
            Masked {
                value: 16,
                mask: 255
            }
        );
        bad::<MarkMask>(&["", "x", "1/", "1/0", "0x100000000", "-1", "+1", "0x+1"]);
    }

    #[test]
    fn labels() {
        assert_eq!(ok::<LabelSet>("0,127").0, Labels(1 | 1 << 127));
        bad::<LabelSet>(&["", "128", "-1", "no-label-has-this-name"]);
        assert_eq!(
            ok::<LabelBits>("0x6/0xf").0,
            Masked {
                value: Labels(6),
                mask: Labels(15)
            }
        );
        bad::<LabelBits>(&["6", "0x", "0xg", "0x1/2"]);
    }

    #[test]
    fn status_and_states() {
        let bits: StatusBits = ok("assured,UNREPLIED,0x1");
        assert_eq!(bits.set, Status::ASSURED | Status::EXPECTED);
        assert_eq!(bits.clear, Status::SEEN_REPLY);
        bad::<StatusBits>(&["", "WHAT"]);
        let state: StateName = ok("established");
        assert!(state.tcp.is_some() && state.sctp.is_some() && state.dccp.is_none());
        assert_eq!(
            ok::<StateName>("LISTEN").tcp,
            TcpState::from_name("SYN_SENT2")
        );
        bad::<StateName>(&["", "UP"]);
    }

    #[test]
    fn spans() {
        assert_eq!(ok::<Span>("1.5").0, Duration::from_millis(1500));
        assert_eq!(ok::<Span>("250ms").0, Duration::from_millis(250));
        assert_eq!(ok::<Span>("2m").0, Duration::from_secs(120));
        bad::<Span>(&["", "0", "-1", "1d", "s", "inf", "nan", "1e400"]);
    }

    #[test]
    fn translations() {
        assert_eq!(ok::<NatTo>("192.0.2.1:80").to_string(), "192.0.2.1:80");
        assert_eq!(ok::<NatTo>("[2001:db8::1]:80").port, Some(80));
        assert_eq!(ok::<NatTo>("2001:db8::1").port, None);
        bad::<NatTo>(&["", ":80", "dport 443"]);
    }
}
