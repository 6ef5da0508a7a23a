//! Which flows: the filter expression, and the flags of conntrack(8) beside it, made one
//! filter.

use clap::Args;

use super::values::{
    FamilyName, LabelSet, List, MarkMask, NatTo, Network, PortRange, StateName, StatusBits,
    number32,
};
use crate::flow::filter::{AddressField, Kind, NumberField, TextField, Translation, UnfitField};
use crate::flow::{Filter, HelperName, Protocol};
use crate::{expr, pb};

/// Which flows a command is about.
#[derive(Args, Clone, Debug, Default)]
pub struct Select {
    /// A filter, as in 'src 10.0.0.0/8 and dport 443 and not state TIME_WAIT'
    ///
    /// Flags beside it narrow it further. docs/filter.md describes the language.
    #[arg(value_name = "EXPRESSION")]
    pub expression: Vec<String>,
    #[command(flatten)]
    pub(crate) flags: SelectFlags,
}

/// The flags of conntrack(8).
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filters, as in conntrack(8); all of them have to fit")]
pub(crate) struct SelectFlags {
    /// Protocol: tcp, udp, icmp, ... or a number
    #[arg(short = 'p', long, value_name = "PROTO", visible_alias = "protonum")]
    #[arg(value_delimiter = ',')]
    pub(crate) proto: Vec<Protocol>,
    /// Source address or network
    #[arg(short = 's', long, value_name = "NET", visible_alias = "orig-src")]
    pub(crate) src: Option<List<Network>>,
    /// Destination address or network
    #[arg(short = 'd', long, value_name = "NET", visible_alias = "orig-dst")]
    pub(crate) dst: Option<List<Network>>,
    /// Source port, range, or several: 1024-2047,8080
    #[arg(long, value_name = "PORTS", visible_alias = "orig-port-src")]
    pub(crate) sport: Option<List<PortRange>>,
    /// Destination port, range, or several
    #[arg(long, value_name = "PORTS", visible_alias = "orig-port-dst")]
    pub(crate) dport: Option<List<PortRange>>,
    /// Source address or network of the reply direction
    #[arg(short = 'r', long, value_name = "NET")]
    pub(crate) reply_src: Option<List<Network>>,
    /// Destination address or network of the reply direction
    #[arg(short = 'q', long, value_name = "NET")]
    pub(crate) reply_dst: Option<List<Network>>,
    /// Source port of the reply direction
    #[arg(long, value_name = "PORTS", visible_alias = "reply-sport")]
    pub(crate) reply_port_src: Option<List<PortRange>>,
    /// Destination port of the reply direction
    #[arg(long, value_name = "PORTS", visible_alias = "reply-dport")]
    pub(crate) reply_port_dst: Option<List<PortRange>>,
    /// ICMP type
    #[arg(long, value_name = "TYPE")]
    pub(crate) icmp_type: Option<u8>,
    /// ICMP code
    #[arg(long, value_name = "CODE")]
    pub(crate) icmp_code: Option<u8>,
    /// ICMP id
    #[arg(long, value_name = "ID")]
    pub(crate) icmp_id: Option<u16>,
    /// GRE key of the source
    #[arg(long, value_name = "KEY")]
    pub(crate) srckey: Option<u16>,
    /// GRE key of the destination
    #[arg(long, value_name = "KEY")]
    pub(crate) dstkey: Option<u16>,
    /// State of TCP, SCTP or DCCP: ESTABLISHED, or several
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<List<StateName>>,
    /// Status bits: ASSURED, UNREPLIED, ...; several have to be set together
    #[arg(short = 'u', long, value_name = "STATUS")]
    pub(crate) status: Option<StatusBits>,
    /// Mark, with a mask if wanted: 0x10/0xff
    #[arg(short = 'm', long, value_name = "MARK[/MASK]")]
    pub(crate) mark: Option<MarkMask>,
    /// Labels that are set, by number or name
    #[arg(short = 'l', long, value_name = "LABELS", visible_alias = "labels")]
    pub(crate) label: Option<LabelSet>,
    /// Conntrack zone
    #[arg(short = 'w', long, value_name = "ZONE")]
    pub(crate) zone: Option<u16>,
    /// Conntrack zone of the original direction alone
    #[arg(long, value_name = "ZONE", conflicts_with_all = ["zone", "reply_zone"])]
    pub(crate) orig_zone: Option<u16>,
    /// Conntrack zone of the reply direction alone
    #[arg(long, value_name = "ZONE", conflicts_with = "zone")]
    pub(crate) reply_zone: Option<u16>,
    /// Family: ipv4 or ipv6
    #[arg(short = 'f', long, value_name = "FAMILY")]
    pub(crate) family: Option<FamilyName>,
    /// Source translated, or translated to this address
    #[arg(short = 'n', long, value_name = "IP[:PORT]", num_args = 0..=1)]
    pub(crate) src_nat: Option<Option<NatTo>>,
    /// Destination translated, or translated to this address
    #[arg(short = 'g', long, value_name = "IP[:PORT]", num_args = 0..=1)]
    pub(crate) dst_nat: Option<Option<NatTo>>,
    /// Source or destination translated, or translated to this address
    #[arg(short = 'j', long, value_name = "IP[:PORT]", num_args = 0..=1)]
    pub(crate) any_nat: Option<Option<NatTo>>,
    /// Helper's name
    #[arg(long, value_name = "NAME")]
    pub(crate) helper: Option<HelperName>,
    /// Id, as the list shows it; repeatable
    #[arg(long, value_name = "ID", value_parser = number32)]
    pub(crate) id: Vec<u32>,
}

/// What a user selected.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    /// Nothing was said.
    Unsaid,
    /// It was said, and means every entry: `all`.
    All,
    /// The entries that pass.
    Part(pb::Filter),
}

impl Selection {
    /// Of conditions that all have to hold, for this kind of entry.
    pub fn new(conditions: Vec<Filter>, kind: Kind) -> Result<Self, UnfitField> {
        if conditions.is_empty() {
            return Ok(Self::Unsaid);
        }
        let filter = Filter::And(conditions).normal();
        filter.check(kind)?;
        if filter == Filter::everything() {
            return Ok(Self::All);
        }
        if filter == Filter::nothing() {
            // The wire has no empty lists; no entry is of family 0.
            return Ok(Self::Part(
                (&Filter::number(NumberField::Family, [0])).into(),
            ));
        }
        Ok(Self::Part((&filter).into()))
    }

    /// For a request that reads: no filter means everything.
    pub fn for_reading(self) -> Option<pb::Filter> {
        match self {
            Self::Unsaid | Self::All => None,
            Self::Part(filter) => Some(filter),
        }
    }

    /// For a request that changes: everything has to be said. Every entry has a family.
    pub fn for_changing(self) -> Option<pb::Filter> {
        match self {
            Self::Unsaid => None,
            Self::All => Some((&Filter::number(NumberField::Family, [0..=255])).into()),
            Self::Part(filter) => Some(filter),
        }
    }
}

/// A filter that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// The expression.
    #[error("{0}")]
    Expression(#[from] expr::ParseError),
    /// A field of the other kind of entries.
    #[error(transparent)]
    Unfit(#[from] UnfitField),
}

/// The condition of an expression that came in one word or in several.
pub(crate) fn expression(words: &[String]) -> Result<Option<Filter>, expr::ParseError> {
    if words.is_empty() {
        return Ok(None);
    }
    expr::parse(&words.join(" ")).map(Some)
}

impl Select {
    /// What was selected.
    pub fn selection(&self) -> Result<Selection, SelectError> {
        let mut all: Vec<Filter> = expression(&self.expression)?.into_iter().collect();
        all.extend(self.flags.conditions());
        Ok(Selection::new(all, Kind::Flow)?)
    }

    /// The ids, when they are all that was said.
    pub fn only_ids(&self) -> Option<&[u32]> {
        let without = SelectFlags {
            id: Vec::new(),
            ..self.flags.clone()
        };
        let alone = self.expression.is_empty() && without.conditions().is_empty();
        (alone && !self.flags.id.is_empty()).then_some(self.flags.id.as_slice())
    }
}

impl SelectFlags {
    fn conditions(&self) -> Vec<Filter> {
        let mut all = Vec::new();
        if !self.proto.is_empty() {
            let numbers = self.proto.iter().map(|p| i64::from(p.0));
            all.push(Filter::number(NumberField::Protocol, numbers));
        }
        self.add_addresses(&mut all);
        self.add_numbers(&mut all);
        if let Some(List(states)) = &self.state {
            all.push(state(states));
        }
        if let Some(LabelSet(labels)) = self.label {
            all.push(Filter::labels(labels));
        }
        if let Some(to) = self.src_nat {
            all.push(translated(Translation::Src, to));
        }
        if let Some(to) = self.dst_nat {
            all.push(translated(Translation::Dst, to));
        }
        if let Some(to) = self.any_nat {
            all.push(translated(Translation::Src, to) | translated(Translation::Dst, to));
        }
        if let Some(helper) = self.helper {
            all.push(Filter::text(TextField::Helper, [helper.as_str()]));
        }
        all
    }

    fn add_addresses(&self, all: &mut Vec<Filter>) {
        let fields = [
            (AddressField::Src, &self.src),
            (AddressField::Dst, &self.dst),
            (AddressField::ReplySrc, &self.reply_src),
            (AddressField::ReplyDst, &self.reply_dst),
        ];
        for (field, networks) in fields {
            all.extend(
                networks
                    .as_ref()
                    .map(|networks| in_networks(field, networks)),
            );
        }
    }

    fn add_numbers(&self, all: &mut Vec<Filter>) {
        let ports = [
            (NumberField::SrcPort, &self.sport),
            (NumberField::DstPort, &self.dport),
            (NumberField::ReplySrcPort, &self.reply_port_src),
            (NumberField::ReplyDstPort, &self.reply_port_dst),
        ];
        for (field, ranges) in ports {
            all.extend(ranges.as_ref().map(|ranges| in_ranges(field, ranges)));
        }
        let zone = self.zone.or(self.orig_zone).or(self.reply_zone);
        let direction = match (self.orig_zone, self.reply_zone) {
            (Some(_), _) => Some(1),
            (None, Some(_)) => Some(2),
            (None, None) => None,
        };
        let numbers = [
            (NumberField::IcmpType, self.icmp_type.map(i64::from)),
            (NumberField::IcmpCode, self.icmp_code.map(i64::from)),
            (NumberField::IcmpId, self.icmp_id.map(i64::from)),
            (NumberField::GreSrcKey, self.srckey.map(i64::from)),
            (NumberField::GreDstKey, self.dstkey.map(i64::from)),
            (NumberField::Zone, zone.map(i64::from)),
            (NumberField::ZoneDirection, direction),
            (
                NumberField::Family,
                self.family.map(|family| family.number()),
            ),
        ];
        for (field, number) in numbers {
            all.extend(number.map(|number| Filter::number(field, [number])));
        }
        if !self.id.is_empty() {
            all.push(Filter::number(
                NumberField::Id,
                self.id.iter().map(|id| i64::from(*id)),
            ));
        }
        if let Some(bits) = self.status {
            let mask = (bits.set | bits.clear).0;
            all.push(Filter::masked(NumberField::Status, bits.set.0, mask));
        }
        if let Some(MarkMask(mark)) = self.mark {
            all.push(Filter::masked(
                NumberField::Mark,
                mark.value & mark.mask,
                mark.mask,
            ));
        }
    }
}

/// The address lies in one of the networks.
pub(crate) fn in_networks(field: AddressField, List(networks): &List<Network>) -> Filter {
    Filter::address(field, networks.iter().map(|network| network.0))
}

/// The port lies in one of the ranges.
pub(crate) fn in_ranges(field: NumberField, List(ports): &List<PortRange>) -> Filter {
    Filter::number(
        field,
        ports.iter().map(|p| i64::from(p.min)..=i64::from(p.max)),
    )
}

/// The state in whichever protocol has one of that name.
fn state(states: &[StateName]) -> Filter {
    let of = |field, number: fn(&StateName) -> Option<u8>| {
        Filter::number(field, states.iter().filter_map(number).map(i64::from))
    };
    of(NumberField::TcpState, |s| s.tcp.map(|s| s.0))
        | of(NumberField::SctpState, |s| s.sctp.map(|s| s.0))
        | of(NumberField::DccpState, |s| s.dccp.map(|s| s.0))
}

/// A flow whose source is translated gets its replies at the translated address; one whose
/// destination is translated, from it.
fn translated(translation: Translation, to: Option<NatTo>) -> Filter {
    let kind = Filter::translated(translation);
    let Some(NatTo { address, port }) = to else {
        return kind;
    };
    let (address_field, port_field) = match translation {
        Translation::Dst => (AddressField::ReplySrc, NumberField::ReplySrcPort),
        Translation::Src | Translation::Any => (AddressField::ReplyDst, NumberField::ReplyDstPort),
    };
    let at_address = kind & Filter::address(address_field, [address]);
    match port {
        Some(port) => at_address & Filter::number(port_field, [i64::from(port)]),
        None => at_address,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        select: Select,
    }

    fn select(line: &[&str]) -> Select {
        Line::parse_from([&["list"], line].concat()).select
    }

    /// The filter that the flags mean, in the filter language.
    fn means(line: &[&str]) -> String {
        match select(line).selection().unwrap() {
            Selection::Part(filter) => expr::print(&Filter::try_from(filter).unwrap()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn flags_mean_what_the_language_says() {
        for (line, meaning) in [
            (&["-p", "tcp,17"][..], "proto tcp,udp"),
            (
                &["-s", "10.0.0.1", "-d", "192.0.2.9/24"],
                "src 10.0.0.1 and dst 192.0.2.0/24",
            ),
            (&["--orig-src", "::1"], "src ::1"),
            (
                &["--sport", "1-3,7", "--dport", "443"],
                "sport 1-3,7 and dport 443",
            ),
            (
                &["-r", "10.0.0.1", "-q", "10.0.0.2"],
                "reply-src 10.0.0.1 and reply-dst 10.0.0.2",
            ),
            (
                &["--reply-port-src", "1", "--reply-dport", "2"],
                "reply-sport 1 and reply-dport 2",
            ),
            (&["-m", "0x10/0xff"], "mark 0x10/0xff"),
            (&["-m", "7"], "mark 7"),
            (&["-l", "1,3"], "label 1,3"),
            (&["-w", "5"], "zone 5"),
            (&["--orig-zone", "5"], "zone 5 and zone-direction orig"),
            (&["-f", "ipv6"], "family 6"),
            (&["-u", "ASSURED,UNREPLIED"], "status 0x4/0x6"),
            (&["-n"], "snat"),
            (&["-n", "192.0.2.1"], "snat and reply-dst 192.0.2.1"),
            (
                &["-g=192.0.2.1:80"],
                "dnat and reply-src 192.0.2.1 and reply-sport 80",
            ),
            (&["-j"], "snat or dnat"),
            (&["--helper", "ftp"], "helper ftp"),
            (&["--id", "7", "--id", "0x10"], "id 7,16"),
            (
                &["--icmp-type", "8", "--icmp-id", "3"],
                "icmp-type 8 and icmp-id 3",
            ),
            (&["--srckey", "1"], "gre-src-key 1"),
            (&["--state", "TIME_WAIT"], "tcp-state TIME_WAIT"),
            (
                &["-p", "tcp", "dport 443", "or", "dport", "80"],
                "(dport 443 or dport 80) and proto tcp",
            ),
        ] {
            let expected = expr::print(&expr::parse(meaning).unwrap());
            let got = expr::parse(&means(line)).map(|filter| expr::print(&filter));
            assert_eq!(got.as_ref(), Ok(&expected), "{line:?}");
        }
    }

    #[test]
    fn a_state_that_several_protocols_have_is_looked_for_in_all() {
        let line = &["--state", "ESTABLISHED,TIME_WAIT"];
        assert_eq!(means(line), "state ESTABLISHED,TIME_WAIT");
    }

    #[test]
    fn everything_is_said_or_it_is_not_meant() {
        assert_eq!(select(&[]).selection(), Ok(Selection::Unsaid));
        assert_eq!(select(&["all"]).selection(), Ok(Selection::All));
        assert_eq!(Selection::Unsaid.for_changing(), None);
        assert!(Selection::All.for_changing().is_some());
        assert_eq!(Selection::All.for_reading(), None);
    }

    #[test]
    fn a_filter_that_nothing_passes_is_never_one_that_all_pass() {
        let nothing = select(&["not all"]).selection().unwrap();
        assert!(matches!(nothing, Selection::Part(_)));
        assert!(nothing.for_reading().is_some());
    }

    #[test]
    fn ids_alone_are_known_as_such() {
        assert_eq!(select(&["--id", "7"]).only_ids(), Some(&[7][..]));
        assert_eq!(select(&["--id", "7", "-p", "tcp"]).only_ids(), None);
        assert_eq!(select(&["--id", "7", "dport 1"]).only_ids(), None);
        assert_eq!(select(&["-p", "tcp"]).only_ids(), None);
    }

    #[test]
    fn fields_of_expectations_are_refused() {
        assert!(matches!(
            select(&["expect-class 1"]).selection(),
            Err(SelectError::Unfit(_))
        ));
    }
}
