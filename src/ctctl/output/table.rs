//! The formats `table` and `wide`: aligned columns without the whole list in memory. The
//! widths are measured on the first rows; a longer cell further down shifts its own line.

use super::columns::{self, Column};
use super::report::Report;
use super::{Formatter, Layout, Origin};
use crate::flow::{Expectation, Flow};

/// Rows that are held back to measure their columns.
const SAMPLE: usize = 200;

/// The space between columns.
const GAP: usize = 2;

/// The format `table` or `wide`.
pub(super) struct Table {
    layout: Layout,
    flows: Rows<Flow>,
    expectations: Rows<Expectation>,
}

impl Table {
    /// The columns that fit.
    pub(super) fn fitting(layout: Layout) -> Self {
        Self::new(layout, columns::FLOW, columns::EXPECTATION, true)
    }

    /// Every column, whatever the terminal's width.
    pub(super) fn wide(layout: Layout) -> Self {
        let layout = Layout {
            width: None,
            ..layout
        };
        Self::new(layout, columns::FLOW_WIDE, columns::EXPECTATION_WIDE, false)
    }

    fn new(
        layout: Layout,
        flow: &'static [Column<Flow>],
        expectation: &'static [Column<Expectation>],
        skip_empty: bool,
    ) -> Self {
        Self {
            layout,
            flows: Rows::new(flow, layout, skip_empty),
            expectations: Rows::new(expectation, layout, skip_empty),
        }
    }
}

impl Formatter for Table {
    fn flow(&mut self, out: &mut Vec<u8>, origin: Origin<'_>, flow: &Flow) {
        self.flows.row(out, origin, flow);
    }

    fn expectation(&mut self, out: &mut Vec<u8>, origin: Origin<'_>, expectation: &Expectation) {
        self.expectations.row(out, origin, expectation);
    }

    fn report(&mut self, out: &mut Vec<u8>, report: &Report) {
        report.draw(out, self.layout.width);
    }

    fn settle(&mut self, out: &mut Vec<u8>) {
        self.flows.settle(out);
        self.expectations.settle(out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.settle(out);
    }
}

/// The rows of one kind of entry.
struct Rows<R: 'static> {
    layout: Layout,
    columns: &'static [Column<R>],
    /// Columns that may be empty are left out when the sample has nothing in them.
    skip_empty: bool,
    /// The cells of the sample, and where each ends.
    sample: Vec<u8>,
    ends: Vec<usize>,
    /// Once the sample is written: the columns that are shown, and their widths.
    shown: Option<Vec<(&'static Column<R>, usize)>>,
}

impl<R> Rows<R> {
    fn new(columns: &'static [Column<R>], layout: Layout, skip_empty: bool) -> Self {
        Self {
            layout,
            columns,
            skip_empty,
            sample: Vec::new(),
            ends: Vec::new(),
            shown: None,
        }
    }

    fn row(&mut self, out: &mut Vec<u8>, origin: Origin<'_>, row: &R) {
        if let Some(shown) = &self.shown {
            let scratch = &mut self.sample;
            line(out, shown.iter().copied(), |column, out| {
                scratch.clear();
                (column.write)(scratch, origin, row);
                out.extend_from_slice(scratch);
            });
            return;
        }
        for column in self.columns {
            (column.write)(&mut self.sample, origin, row);
            self.ends.push(self.sample.len());
        }
        if self.ends.len() >= SAMPLE * self.columns.len() {
            self.settle(out);
        }
    }

    /// Fixes the columns and writes the header and the sample.
    fn settle(&mut self, out: &mut Vec<u8>) {
        if self.shown.is_some() || self.ends.is_empty() {
            return;
        }
        let per_row = self.columns.len();
        let mut widths = vec![0; per_row];
        let mut start = 0;
        for (i, end) in self.ends.iter().enumerate() {
            let width = &mut widths[i % per_row];
            *width = (*width).max(display_width(&self.sample[start..*end]));
            start = *end;
        }
        let chosen = self.choose(&widths);
        let shown: Vec<_> = chosen
            .iter()
            .map(|(i, width)| (&self.columns[*i], *width))
            .collect();

        line(out, shown.iter().copied(), |column, out| {
            out.extend_from_slice(column.name.as_bytes());
        });
        for row in 0..self.ends.len() / per_row {
            let mut indices = chosen.iter().map(|(i, _)| row * per_row + i);
            line(out, shown.iter().copied(), |_, out| {
                if let Some(i) = indices.next() {
                    let start = i.checked_sub(1).map_or(0, |before| self.ends[before]);
                    out.extend_from_slice(&self.sample[start..self.ends[i]]);
                }
            });
        }
        self.sample = Vec::new();
        self.ends = Vec::new();
        self.shown = Some(shown);
    }

    /// The columns to show, by index and with their widths: none that the list cannot have,
    /// none that would be empty, and of the others those that fit the terminal.
    fn choose(&self, widths: &[usize]) -> Vec<(usize, usize)> {
        let mut chosen: Vec<(usize, usize)> = Vec::new();
        for (i, column) in self.columns.iter().enumerate() {
            let possible = match column.name {
                "NODE" => self.layout.nodes,
                "EVENT" | "SEQUENCE" | "PORTID" => self.layout.events,
                _ => true,
            };
            let empty = self.skip_empty && column.may_be_empty && widths[i] == 0;
            if possible && !empty {
                // A watch begins with few rows to measure.
                let floor = if self.layout.events { column.usual } else { 0 };
                chosen.push((i, widths[i].max(column.name.len()).max(floor)));
            }
        }
        let Some(limit) = self.layout.width else {
            return chosen;
        };
        // What must be seen; then what fits beside it, the most important first.
        let rank = |i: usize| self.columns[i].rank;
        let (kept, mut others): (Vec<_>, Vec<_>) = chosen.iter().partition(|(i, _)| rank(*i) == 0);
        let mut total: usize = kept.iter().map(|(_, width)| width + GAP).sum();
        others.sort_by_key(|(i, _)| rank(*i));
        chosen = kept;
        for (i, width) in others {
            // The last column needs no gap.
            if total + width <= limit {
                total += width + GAP;
                chosen.push((i, width));
            }
        }
        chosen.sort_unstable();
        chosen
    }
}

/// Writes a line: the cells in their widths, "-" for an empty one, no space at the end.
fn line<'c, R: 'static>(
    out: &mut Vec<u8>,
    columns: impl Iterator<Item = (&'c Column<R>, usize)>,
    mut cell: impl FnMut(&Column<R>, &mut Vec<u8>),
) {
    let mut pending = 0;
    for (column, width) in columns {
        out.extend(std::iter::repeat_n(b' ', pending));
        let start = out.len();
        cell(column, out);
        if out.len() == start {
            out.push(b'-');
        }
        let missing = width.saturating_sub(display_width(&out[start..]));
        pending = GAP;
        if column.right {
            out.extend(std::iter::repeat_n(b' ', missing));
            out[start..].rotate_right(missing);
        } else {
            pending += missing;
        }
    }
    out.push(b'\n');
}

/// Characters, not bytes: names may be of any script.
fn display_width(cell: &[u8]) -> usize {
    // Bytes that do not continue a character.
    cell.iter().filter(|b| **b & 0xc0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::super::EventOrigin;
    use super::*;
    use crate::flow::*;

    fn flow(port: u16) -> Flow {
        let orig = Tuple {
            src: "10.0.0.1".parse().expect("an address"),
            dst: "192.0.2.80".parse().expect("an address"),
            protocol: Protocol::TCP,
            l4: L4::Ports { src: port, dst: 80 },
        };
        Flow {
            status: Some(Status::CONFIRMED),
            timeout: Some(120),
            protoinfo: Some(ProtoInfo::Tcp(TcpInfo {
                state: Some(TcpState(1)),
                ..TcpInfo::default()
            })),
            ..Flow::new(orig, orig.inverse())
        }
    }

    fn printed(mut table: Table, flows: &[Flow]) -> String {
        let mut out = Vec::new();
        for flow in flows {
            table.flow(&mut out, Origin::default(), flow);
        }
        table.end(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let mut translated = flow(40_001);
        translated.reply.dst = "203.0.113.7".parse().expect("an address");
        translated.timeout = Some(7);
        translated.status = None;
        assert_eq!(
            printed(Table::fitting(Layout::default()), &[flow(1), translated]),
            "\
PROTO  SOURCE          DESTINATION    NAT                    STATE     STATUS     TIMEOUT
tcp    10.0.0.1:1      192.0.2.80:80  -                      SYN_SENT  UNREPLIED      120
tcp    10.0.0.1:40001  192.0.2.80:80  src 203.0.113.7:40001  SYN_SENT  -                7
"
        );
    }

    #[test]
    fn a_narrow_terminal_gets_the_columns_that_matter() {
        for (width, header) in [
            (53, "PROTO  SOURCE      DESTINATION    STATE     STATUS"),
            (42, "PROTO  SOURCE      DESTINATION    STATE"),
            (1, "PROTO  SOURCE      DESTINATION"),
        ] {
            let layout = Layout {
                width: Some(width),
                ..Layout::default()
            };
            let text = printed(Table::fitting(layout), &[flow(1)]);
            assert_eq!(text.lines().next(), Some(header), "{width}");
        }
    }

    #[test]
    fn rows_are_written_as_they_come_once_the_sample_is_full() {
        let mut table = Table::fitting(Layout::default());
        let mut out = Vec::new();
        for i in 0..SAMPLE {
            assert!(out.is_empty(), "row {i} was not held back");
            table.flow(&mut out, Origin::default(), &flow(1));
        }
        for i in 1..=3 {
            let lines = out.iter().filter(|b| **b == b'\n').count();
            assert_eq!(lines, SAMPLE + i, "with a header");
            table.flow(&mut out, Origin::default(), &flow(65_535));
        }
        assert!(table.flows.sample.capacity() < 1024, "the sample is gone");
    }

    #[test]
    fn a_watch_shows_its_first_event_at_once() {
        let layout = Layout {
            events: true,
            ..Layout::default()
        };
        let mut table = Table::fitting(layout);
        let mut out = Vec::new();
        let origin = Origin {
            node: None,
            event: Some(EventOrigin::Event {
                kind: EventType::New,
                sequence: 1,
                port_id: 0,
            }),
        };
        table.flow(&mut out, origin, &flow(1));
        table.settle(&mut out);
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "\
EVENT     PROTO  SOURCE                 DESTINATION            STATE        STATUS     TIMEOUT
NEW       tcp    10.0.0.1:1             192.0.2.80:80          SYN_SENT     UNREPLIED      120
"
        );
    }

    #[test]
    fn the_wide_table_has_every_column() {
        let layout = Layout {
            width: Some(80),
            ..Layout::default()
        };
        let text = printed(Table::wide(layout), &[flow(1)]);
        let columns = text.lines().next().map(|l| l.split_whitespace().count());
        // All but the node, the event, its number and its cause.
        assert_eq!(columns, Some(columns::FLOW_WIDE.len() - 4));
    }

    #[test]
    fn names_of_any_script_keep_the_columns() {
        assert_eq!(display_width("größe".as_bytes()), 5);
    }
}
