//! Which values the sysctls take, where the kernel would cut, ignore or misunderstand
//! others (net/netfilter/nf_conntrack_standalone.c).

use std::ops::RangeInclusive;

/// `proc_dointvec` and its kin hold an int.
const INT: RangeInclusive<u64> = 0..=i32::MAX as u64;
/// Seconds that are kept as jiffies, in an int; HZ is at least 100.
const SECONDS: RangeInclusive<u64> = 0..=i32::MAX as u64 / 100;

/// The values of a setting.
pub(super) fn of(name: &str) -> RangeInclusive<u64> {
    match name {
        "nf_conntrack_acct"
        | "nf_conntrack_timestamp"
        | "nf_conntrack_checksum"
        | "nf_conntrack_tcp_be_liberal"
        | "nf_conntrack_tcp_ignore_invalid_rst"
        | "nf_conntrack_tcp_loose"
        | "nf_conntrack_dccp_loose" => 0..=1,
        "nf_conntrack_events" => 0..=2,
        // An IP protocol number, or 255 for all.
        "nf_conntrack_log_invalid" | "nf_conntrack_tcp_max_retrans" => 0..=255,
        "nf_conntrack_buckets" | "nf_conntrack_expect_max" => 1..=*INT.end(),
        name if name.contains("timeout") => SECONDS,
        _ => INT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_fit_into_jiffies() {
        assert!(of("nf_conntrack_tcp_timeout_established").contains(&432_000));
        assert!(!of("nf_conntrack_udp_timeout").contains(&(1 << 31)));
        assert!(!of("nf_conntrack_acct").contains(&2));
    }
}
