//! conntrack(8) as a witness: its lines, read into rows that a flow can be compared with.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ctfleet::flow::{Counters, Flow, L4, ProtoInfo, Protocol, Status, Tuple, Zone, ZoneDirection};

use super::Netns;

/// One entry, as far as conntrack(8) tells. It tells of few status bits, and not of every
/// attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    /// The id.
    pub(crate) id: Option<u32>,
    /// Protocol number.
    pub(crate) protocol: u8,
    /// Original direction.
    pub(crate) orig: Side,
    /// Reply direction.
    pub(crate) reply: Side,
    /// State of TCP or SCTP.
    pub(crate) state: Option<String>,
    /// Seconds left.
    pub(crate) timeout: Option<u32>,
    /// The mark.
    pub(crate) mark: Option<u32>,
    /// Zone of both directions, of the original, of the reply.
    pub(crate) zones: [u16; 3],
    /// Use count.
    pub(crate) use_count: Option<u32>,
    /// UNREPLIED, ASSURED, OFFLOAD, HW_OFFLOAD.
    pub(crate) flags: BTreeSet<String>,
    /// The helper.
    pub(crate) helper: Option<String>,
    /// Numbers of the labels.
    pub(crate) labels: BTreeSet<u8>,
}

/// One direction of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Side {
    /// Source address.
    pub(crate) src: Option<IpAddr>,
    /// Destination address.
    pub(crate) dst: Option<IpAddr>,
    /// Everything else: ports, ICMP type, code and id, keys, packets, bytes.
    pub(crate) numbers: Vec<(&'static str, u64)>,
}

/// The words of a direction, as conntrack(8) writes them.
const SIDE_NUMBERS: [&str; 9] = [
    "sport", "dport", "type", "code", "id", "srckey", "dstkey", "packets", "bytes",
];

impl Row {
    /// Reads one line of `conntrack -o extended,id`.
    pub(crate) fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace().peekable();
        let protocol = words.nth(3).and_then(|word| word.parse().ok());
        let mut row = Self {
            id: None,
            protocol: protocol.unwrap_or_else(|| panic!("no protocol: {line}")),
            orig: Side::default(),
            reply: Side::default(),
            state: None,
            timeout: words
                .next_if(|word| is_number(word))
                .and_then(|word| word.parse().ok()),
            mark: None,
            zones: [0; 3],
            use_count: None,
            flags: BTreeSet::new(),
            helper: None,
            labels: BTreeSet::new(),
        };
        let mut sides = 0;
        for word in words {
            let Some((name, value)) = word.split_once('=') else {
                row.flag(word);
                continue;
            };
            if name == "src" {
                sides += 1;
            }
            let side = if sides == 1 {
                &mut row.orig
            } else {
                &mut row.reply
            };
            if !side.take(name, value) {
                row.take(name, value, line);
            }
        }
        row
    }

    fn flag(&mut self, word: &str) {
        match word.strip_prefix('[').and_then(|w| w.strip_suffix(']')) {
            Some(flag) => {
                self.flags.insert(flag.to_owned());
            }
            None => self.state = Some(word.to_owned()),
        }
    }

    fn take(&mut self, name: &str, value: &str, line: &str) {
        let number = || {
            value
                .parse()
                .unwrap_or_else(|_| panic!("{name}={value}: {line}"))
        };
        match name {
            "id" => self.id = Some(number()),
            "mark" => self.mark = Some(number()),
            "use" => self.use_count = Some(number()),
            "zone" => self.zones[0] = number() as u16,
            "zone-orig" => self.zones[1] = number() as u16,
            "zone-reply" => self.zones[2] = number() as u16,
            // The age in seconds, which conntrack(8) reckons by its own clock.
            "delta-time" => {}
            "helper" => self.helper = Some(value.to_owned()),
            "labels" => {
                // The map that Witness::labelled gives it names label n "bitn".
                let labels = value.split(',').map(|name| {
                    let number = name.strip_prefix("bit").and_then(|n| n.parse().ok());
                    number.unwrap_or_else(|| panic!("label {name}: {line}"))
                });
                self.labels = labels.collect();
            }
            _ => panic!("a word that the witness does not know, {name}: {line}"),
        }
    }

    /// What conntrack(8) would have to tell of this flow.
    pub(crate) fn of(flow: &Flow) -> Self {
        let status = flow.status.unwrap_or_default();
        let shown = [
            ("UNREPLIED", !status.contains(Status::SEEN_REPLY)),
            ("ASSURED", status.contains(Status::ASSURED)),
            ("OFFLOAD", status.contains(Status::OFFLOAD)),
            ("HW_OFFLOAD", status.contains(Status::HW_OFFLOAD)),
        ];
        let flags = shown.into_iter().filter(|(_, on)| *on);
        let state = match flow.protoinfo {
            Some(ProtoInfo::Tcp(info)) => info.state.and_then(|state| state.name()),
            Some(ProtoInfo::Sctp(info)) => info.state.and_then(|state| state.name()),
            _ => None,
        };
        let Zone { id, direction } = flow.zone;
        let zones = match direction {
            ZoneDirection::Both => [id, 0, 0],
            ZoneDirection::Orig => [0, id, 0],
            ZoneDirection::Reply => [0, 0, id],
        };
        Self {
            id: flow.id,
            protocol: flow.orig.protocol.0,
            orig: Side::of(&flow.orig, flow.counters_orig),
            reply: Side::of(&flow.reply, flow.counters_reply),
            state: state.map(str::to_owned),
            timeout: flow.timeout,
            mark: flow.mark,
            zones,
            use_count: flow.use_count,
            flags: flags.map(|(name, _)| name.to_owned()).collect(),
            helper: flow.helper.as_ref().map(|helper| helper.name.to_string()),
            labels: flow
                .labels
                .iter()
                .flat_map(|labels| labels.iter())
                .collect(),
        }
    }
}

impl Side {
    /// Takes a word that belongs to a direction, once each.
    fn take(&mut self, name: &str, value: &str) -> bool {
        match name {
            "src" => self.src = value.parse().ok(),
            "dst" => self.dst = value.parse().ok(),
            _ => {
                let Some(known) = SIDE_NUMBERS.iter().find(|known| **known == name) else {
                    return false;
                };
                // An entry's own id comes after its directions; a direction's follows a code.
                let last = self.numbers.last().map(|(name, _)| *name);
                if name == "id" && last != Some("code") {
                    return false;
                }
                let number = match value.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16),
                    None => value.parse(),
                };
                let Ok(value) = number else { return false };
                self.numbers.push((known, value));
            }
        }
        true
    }

    fn of(tuple: &Tuple, counters: Option<Counters>) -> Self {
        let mut numbers: Vec<(&str, u64)> = match tuple.l4 {
            L4::None => Vec::new(),
            L4::Ports { src, dst } => vec![("sport", src.into()), ("dport", dst.into())],
            L4::Gre { src, dst } => vec![("srckey", src.into()), ("dstkey", dst.into())],
            L4::Icmp { kind, code, id } => {
                vec![
                    ("type", kind.into()),
                    ("code", code.into()),
                    ("id", id.into()),
                ]
            }
        };
        if let Some(Counters { packets, bytes }) = counters {
            numbers.extend([("packets", packets), ("bytes", bytes)]);
        }
        Self {
            src: Some(tuple.src),
            dst: Some(tuple.dst),
            numbers,
        }
    }

    /// One of its numbers.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.numbers
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| *value)
    }
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

impl Netns {
    /// The whole table of both families as conntrack(8) lists it, sorted; with `options`, a
    /// selection of it.
    #[track_caller]
    pub(crate) fn witness(&self, options: &str) -> Vec<Row> {
        // Label names need a file below /etc; a private one is laid over it.
        const LISTING: &str = "mount -t tmpfs none /etc && mkdir /etc/xtables \
            && for n in $(seq 0 127); do echo $n bit$n; done > /etc/xtables/connlabel.conf \
            && exec conntrack \"$@\"";
        let words = ["unshare", "--mount", "sh", "-c", LISTING, "conntrack"];
        let list = ["-L", "-o", "extended,id,labels"];
        let words = words
            .into_iter()
            .chain(list)
            .chain(options.split_whitespace());
        let mut rows: Vec<_> = self.run(words).lines().map(Row::parse).collect();
        rows.sort();
        rows
    }

    /// How many entries the kernel counts.
    pub(crate) fn entries(&self) -> u64 {
        self.conntrack("-C").trim().parse().expect("a count")
    }
}

/// The rows of these protocols: packets that a kernel sends by itself do not disturb.
pub(crate) fn of_protocols(rows: Vec<Row>, protocols: &[Protocol]) -> Vec<Row> {
    let wanted = |row: &Row| protocols.contains(&Protocol(row.protocol));
    rows.into_iter().filter(wanted).collect()
}
