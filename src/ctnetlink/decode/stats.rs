//! Counters: enum ctattr_stats_cpu, ctattr_stats_global, ctattr_expect_stats.

use super::super::TableSize;
use super::super::error::DecodeError;
use super::super::uapi::nfnetlink_conntrack::*;
use super::attributes;
use crate::flow::{ExpectationStats, FlowStats};

/// One processor's counters of the table.
pub fn flow_stats(bytes: &[u8]) -> Result<FlowStats, DecodeError> {
    let mut stats = FlowStats::default();
    for attribute in attributes(bytes) {
        let attribute = attribute?;
        let counter = match attribute.kind {
            CTA_STATS_SEARCHED => &mut stats.searched,
            CTA_STATS_FOUND => &mut stats.found,
            CTA_STATS_NEW => &mut stats.new,
            CTA_STATS_INVALID => &mut stats.invalid,
            CTA_STATS_IGNORE => &mut stats.ignore,
            CTA_STATS_DELETE => &mut stats.delete,
            CTA_STATS_DELETE_LIST => &mut stats.delete_list,
            CTA_STATS_INSERT => &mut stats.insert,
            CTA_STATS_INSERT_FAILED => &mut stats.insert_failed,
            CTA_STATS_DROP => &mut stats.drop,
            CTA_STATS_EARLY_DROP => &mut stats.early_drop,
            CTA_STATS_ERROR => &mut stats.error,
            CTA_STATS_SEARCH_RESTART => &mut stats.search_restart,
            CTA_STATS_CLASH_RESOLVE => &mut stats.clash_resolve,
            CTA_STATS_CHAIN_TOOLONG => &mut stats.chain_toolong,
            _ => continue,
        };
        *counter = Some(attribute.be32("CTA_STATS_*")?.into());
    }
    Ok(stats)
}

/// One processor's counters of expectations.
pub fn expectation_stats(bytes: &[u8]) -> Result<ExpectationStats, DecodeError> {
    let mut stats = ExpectationStats::default();
    for attribute in attributes(bytes) {
        let attribute = attribute?;
        let counter = match attribute.kind {
            CTA_STATS_EXP_NEW => &mut stats.new,
            CTA_STATS_EXP_CREATE => &mut stats.create,
            CTA_STATS_EXP_DELETE => &mut stats.delete,
            _ => continue,
        };
        *counter = Some(attribute.be32("CTA_STATS_EXP_*")?.into());
    }
    Ok(stats)
}

/// How many entries there are and may be.
pub fn table_size(bytes: &[u8]) -> Result<TableSize, DecodeError> {
    let mut size = TableSize::default();
    for attribute in attributes(bytes) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_STATS_GLOBAL_ENTRIES => {
                size.entries = attribute.be32("CTA_STATS_GLOBAL_ENTRIES")?
            }
            CTA_STATS_GLOBAL_MAX_ENTRIES => {
                size.max = Some(attribute.be32("CTA_STATS_GLOBAL_MAX_ENTRIES")?);
            }
            _ => {}
        }
    }
    Ok(size)
}
