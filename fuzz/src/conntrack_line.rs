//! Command lines of conntrack(8): words, options, and what they mean as flows, filters and
//! changes.

use ctfleet::ctctl::connlabel::LabelNames;
use ctfleet::ctctl::conntrack::{self, Line};

use super::filter_message::samples;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let names = LabelNames::parse("1 a\n2 b-c\n127 last\n");
    for line in text.lines() {
        let words = match conntrack::split(line) {
            Ok(words) => words,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        for names in [None, Some(&names)] {
            match conntrack::parse(&words, names) {
                Ok(line) => means(&line),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

/// Asks a line for everything that it can mean, whether the command does or not.
fn means(line: &Line) {
    if let Ok(flow) = line.flow() {
        let mut request = Vec::new();
        let mode = ctfleet::ctnetlink::CreateMode::Create;
        let _ = ctfleet::ctnetlink::encode::create_flow(&mut request, 1, &flow, mode, true);
    }
    let _ = line.key();
    let _ = line.expectation();
    let _ = line.expectation_key();
    let _ = line.selection();
    let filters = line.flows().into_iter().chain([line.expectations()]);
    for filter in filters {
        for flow in samples() {
            let normal = filter.clone().normal();
            assert_eq!(filter.matches(&flow, 9), normal.matches(&flow, 9));
        }
    }
    for flow in samples() {
        let _ = line.changes(&flow);
    }
}
