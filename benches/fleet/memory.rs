//! High-water marks of resident memory, from /proc.

use std::fs;

/// Forgets the high-water mark up to now.
pub(crate) fn reset(pid: u32) {
    // 5 resets VmHWM; proc_pid_clear_refs(5).
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("clear_refs of our own child");
}

/// The high-water mark in MiB since the last [`reset`].
pub(crate) fn high_water(pid: u32) -> f64 {
    high_water_if_running(pid).expect("a running process")
}

/// The same, unless the process has ended.
pub(crate) fn high_water_if_running(pid: u32) -> Option<f64> {
    mebibytes(pid, "VmHWM:")
}

/// What is resident now, in MiB.
pub(crate) fn resident(pid: u32) -> f64 {
    mebibytes(pid, "VmRSS:").expect("a running process")
}

fn mebibytes(pid: u32, field: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kibibytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(field))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(kibibytes / 1024.0)
}
