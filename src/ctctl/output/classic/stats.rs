//! `-S` and `-C`: the kernel's counters.

use super::super::emit;
use crate::flow::{ExpectationStats, FlowStats, PerCpu};

/// A line of `-S`.
pub fn flow_statistics(out: &mut Vec<u8>, node: Option<&str>, of: &PerCpu<FlowStats>) {
    line(out, node, of.cpu, "", of.stats.iter());
}

/// A line of `-S expect`.
pub fn expectation_statistics(
    out: &mut Vec<u8>,
    node: Option<&str>,
    of: &PerCpu<ExpectationStats>,
) {
    line(out, node, of.cpu, "expect_", of.stats.iter());
}

/// The line of `-C`.
pub fn count(out: &mut Vec<u8>, node: Option<&str>, entries: u64) {
    lead(out, node);
    emit::number(out, entries);
    out.push(b'\n');
}

fn line(
    out: &mut Vec<u8>,
    node: Option<&str>,
    cpu: u16,
    prefix: &str,
    counters: impl Iterator<Item = (&'static str, u64)>,
) {
    lead(out, node);
    let start = out.len();
    out.extend_from_slice(b"cpu=");
    emit::number(out, cpu);
    let missing = "cpu=0000".len().saturating_sub(out.len() - start);
    out.extend(std::iter::repeat_n(b' ', missing));
    out.push(b'\t');
    for (name, value) in counters {
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(match name {
            // conntrack(8) writes this one without the kernel's underscore.
            "chain_toolong" => b"chaintoolong",
            name => name.as_bytes(),
        });
        out.push(b'=');
        emit::number(out, value);
        out.push(b' ');
    }
    out.push(b'\n');
}

fn lead(out: &mut Vec<u8>, node: Option<&str>) {
    if let Some(node) = node {
        emit::text(out, node);
        out.push(b' ');
    }
}
