//! Which expectations, and one expectation: the flags of `ctctl expect`.

use std::net::IpAddr;

use clap::Args;

use super::select::{SelectError, Selection, expression, in_networks, in_ranges};
use super::tuple::{TupleArgs, TupleError};
use super::values::{List, Network, PortRange, number32};
use crate::flow::filter::{AddressField, Kind, NumberField, TextField};
use crate::flow::{ExpectationKey, Filter, HelperName, Protocol, Tuple};

/// Which expectations a command is about.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filters, as in conntrack(8); all of them have to fit")]
pub struct ExpectSelect {
    /// A filter, as in 'dst 10.0.0.0/8 and helper ftp'
    ///
    /// Flags beside it narrow it further. docs/filter.md describes the language.
    #[arg(value_name = "EXPRESSION", help_heading = None::<&str>)]
    pub expression: Vec<String>,
    /// Protocol of the expected flow
    #[arg(short = 'p', long, value_name = "PROTO", visible_alias = "protonum")]
    #[arg(value_delimiter = ',')]
    proto: Vec<Protocol>,
    /// Source of the expected flow
    #[arg(long, value_name = "NET")]
    tuple_src: Option<List<Network>>,
    /// Destination of the expected flow
    #[arg(long, value_name = "NET")]
    tuple_dst: Option<List<Network>>,
    /// Source port of the expected flow
    #[arg(long, value_name = "PORTS")]
    tuple_port_src: Option<List<PortRange>>,
    /// Destination port of the expected flow
    #[arg(long, value_name = "PORTS")]
    tuple_port_dst: Option<List<PortRange>>,
    /// Source of the connection that expects it
    #[arg(short = 's', long, value_name = "NET", visible_alias = "orig-src")]
    src: Option<List<Network>>,
    /// Destination of the connection that expects it
    #[arg(short = 'd', long, value_name = "NET", visible_alias = "orig-dst")]
    dst: Option<List<Network>>,
    /// Source port of the connection that expects it
    #[arg(long, value_name = "PORTS", visible_alias = "orig-port-src")]
    sport: Option<List<PortRange>>,
    /// Destination port of the connection that expects it
    #[arg(long, value_name = "PORTS", visible_alias = "orig-port-dst")]
    dport: Option<List<PortRange>>,
    /// Helper's name
    #[arg(long, value_name = "NAME")]
    helper: Option<HelperName>,
    /// Id, as the list shows it; repeatable
    #[arg(long, value_name = "ID", value_parser = number32)]
    id: Vec<u32>,
}

impl ExpectSelect {
    /// What was selected.
    pub fn selection(&self) -> Result<Selection, SelectError> {
        let mut all: Vec<Filter> = expression(&self.expression)?.into_iter().collect();
        all.extend(self.conditions());
        Ok(Selection::new(all, Kind::Expectation)?)
    }

    /// The ids, when they are all that was said.
    pub fn only_ids(&self) -> Option<&[u32]> {
        let without = Self {
            id: Vec::new(),
            ..self.clone()
        };
        let alone = self.expression.is_empty() && without.conditions().is_empty();
        (alone && !self.id.is_empty()).then_some(self.id.as_slice())
    }

    fn conditions(&self) -> Vec<Filter> {
        let mut all = Vec::new();
        if !self.proto.is_empty() {
            let numbers = self.proto.iter().map(|p| i64::from(p.0));
            all.push(Filter::number(NumberField::Protocol, numbers));
        }
        let addresses = [
            (AddressField::Src, &self.tuple_src),
            (AddressField::Dst, &self.tuple_dst),
            (AddressField::MasterSrc, &self.src),
            (AddressField::MasterDst, &self.dst),
        ];
        for (field, networks) in addresses {
            all.extend(
                networks
                    .as_ref()
                    .map(|networks| in_networks(field, networks)),
            );
        }
        let ports = [
            (NumberField::SrcPort, &self.tuple_port_src),
            (NumberField::DstPort, &self.tuple_port_dst),
            (NumberField::MasterSrcPort, &self.sport),
            (NumberField::MasterDstPort, &self.dport),
        ];
        for (field, ranges) in ports {
            all.extend(ranges.as_ref().map(|ranges| in_ranges(field, ranges)));
        }
        if let Some(helper) = self.helper {
            all.push(Filter::text(TextField::Helper, [helper.as_str()]));
        }
        if !self.id.is_empty() {
            all.push(Filter::number(
                NumberField::Id,
                self.id.iter().map(|id| i64::from(*id)),
            ));
        }
        all
    }
}

/// The expected flow of one expectation.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "The expected flow")]
pub struct ExpectedArgs {
    /// Protocol: tcp, udp, ...
    #[arg(short = 'p', long, value_name = "PROTO", visible_alias = "protonum")]
    pub proto: Option<Protocol>,
    /// Its source
    #[arg(long, value_name = "IP")]
    pub tuple_src: Option<IpAddr>,
    /// Its destination
    #[arg(long, value_name = "IP")]
    pub tuple_dst: Option<IpAddr>,
    /// Its source port
    #[arg(long, value_name = "PORT")]
    pub tuple_port_src: Option<u16>,
    /// Its destination port
    #[arg(long, value_name = "PORT")]
    pub tuple_port_dst: Option<u16>,
    /// Conntrack zone
    #[arg(short = 'w', long, value_name = "ZONE")]
    pub zone: Option<u16>,
}

impl ExpectedArgs {
    /// Its tuple.
    pub fn tuple(&self) -> Result<Tuple, TupleError> {
        TupleArgs {
            proto: self.proto,
            src: self.tuple_src,
            dst: self.tuple_dst,
            sport: self.tuple_port_src,
            dport: self.tuple_port_dst,
            ..TupleArgs::default()
        }
        .orig_called([
            "--tuple-src",
            "--tuple-dst",
            "--tuple-port-src",
            "--tuple-port-dst",
        ])
    }

    /// The expectation of this flow.
    pub fn key(&self, id: Option<u32>) -> Result<ExpectationKey, TupleError> {
        Ok(ExpectationKey {
            tuple: self.tuple()?,
            zone: self.zone.unwrap_or(0),
            id,
        })
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.proto.is_none() && self.tuple_src.is_none() && self.tuple_dst.is_none()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::expr;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        select: ExpectSelect,
    }

    fn select(line: &str) -> ExpectSelect {
        Line::parse_from(["list"].into_iter().chain(line.split_whitespace())).select
    }

    #[test]
    fn flags_mean_what_the_language_says() {
        for (line, meaning) in [
            ("-p tcp --tuple-src 10.0.0.1", "proto tcp and src 10.0.0.1"),
            (
                "--tuple-dst ::1 --tuple-port-dst 80",
                "dst ::1 and dport 80",
            ),
            (
                "-s 10.0.0.1 --dport 21",
                "master-src 10.0.0.1 and master-dport 21",
            ),
            ("--helper ftp dport 80", "dport 80 and helper ftp"),
        ] {
            let expected = expr::parse(meaning).unwrap();
            let Ok(Selection::Part(filter)) = select(line).selection() else {
                panic!("{line} selects no part");
            };
            let filter = Filter::try_from(filter).unwrap();
            assert_eq!(expr::print(&filter), expr::print(&expected), "{line}");
        }
    }

    #[test]
    fn fields_of_flows_are_refused() {
        assert!(matches!(
            select("zone 5").selection(),
            Err(SelectError::Unfit(_))
        ));
        assert_eq!(select("--id 5").only_ids(), Some(&[5][..]));
    }
}
