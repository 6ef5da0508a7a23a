//! Medians, ratios and the table that is printed.

use std::fs;
use std::time::Instant;

use comfy_table::{Table, presets};

use crate::Size;

/// Median seconds of some runs.
pub(crate) fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Seconds that something takes.
pub(crate) fn time(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Rows of job, figure, raw socket, conntrack(8).
pub(crate) struct Report {
    size: Size,
    table: Table,
}

impl Report {
    pub(crate) fn new(size: Size) -> Self {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header([
            "job",
            "target",
            "ctfleet",
            "raw socket",
            "conntrack(8)",
            "ctfleet / raw",
            "conntrack / raw",
            "agent MiB",
        ]);
        Self { size, table }
    }

    /// A job measured in seconds: less is better, and the ratio is of times.
    pub(crate) fn seconds(
        &mut self,
        job: &str,
        target: &str,
        ctfleet: f64,
        raw: f64,
        conntrack: Option<f64>,
        memory: Option<f64>,
    ) {
        let seconds = |value: f64| format!("{value:.2} s");
        self.table.add_row([
            job.to_owned(),
            target.to_owned(),
            seconds(ctfleet),
            seconds(raw),
            conntrack.map_or_else(String::new, seconds),
            format!("{:.2} x", ctfleet / raw),
            conntrack.map_or_else(String::new, |value| format!("{:.2} x", value / raw)),
            memory.map_or_else(String::new, |value| format!("{value:.0}")),
        ]);
        self.progress();
    }

    /// A job measured as a rate: more is better, and the ratio is of rates.
    pub(crate) fn rate(
        &mut self,
        job: &str,
        target: &str,
        [ctfleet, raw]: [f64; 2],
        conntrack: Option<f64>,
        memory: Option<f64>,
    ) {
        let rate = |value: f64| format!("{value:.0} /s");
        self.table.add_row([
            job.to_owned(),
            target.to_owned(),
            rate(ctfleet),
            rate(raw),
            conntrack.map_or_else(String::new, rate),
            format!("{:.2} x", ctfleet / raw),
            conntrack.map_or_else(String::new, |value| format!("{:.2} x", value / raw)),
            memory.map_or_else(String::new, |value| format!("{value:.0}")),
        ]);
        self.progress();
    }

    /// A job whose result is said in words.
    pub(crate) fn words(
        &mut self,
        job: &str,
        target: &str,
        result: &str,
        conntrack: Option<String>,
        memory: Option<f64>,
    ) {
        let memory = memory.map_or_else(String::new, |value| format!("{value:.0}"));
        let conntrack = conntrack.unwrap_or_default();
        self.table
            .add_row([job, target, result, "", &conntrack, "", "", &memory]);
        self.progress();
    }

    fn progress(&self) {
        if let Some(line) = self.table.to_string().lines().last() {
            eprintln!("{line}");
        }
    }

    pub(crate) fn print(&self) {
        let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = model
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1))
            .unwrap_or("unknown processor");
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        println!(
            "{} flows, median of {}; {cores} cores of {model}, Linux {}",
            self.size.flows,
            self.size.runs,
            kernel.trim(),
        );
        println!("{}", self.table);
    }
}

/// Settings of the kernel that can only be set in the initial network namespace, and hold for
/// all. What was there is put back.
pub(crate) struct Settings(Vec<(&'static str, String)>);

impl Settings {
    /// At least so much of each.
    pub(crate) fn at_least(wanted: &[(&'static str, u32)]) -> Self {
        let mut before = Vec::new();
        for (path, least) in wanted {
            let old = fs::read_to_string(path).expect("a setting of the kernel");
            let value: u32 = old.trim().parse().expect("a number");
            if value < *least {
                fs::write(path, least.to_string()).expect("the right to set it");
                before.push((*path, old));
            }
        }
        Self(before)
    }

    /// Room for a table of so many flows.
    pub(crate) fn for_flows(flows: u32) -> Self {
        Self::at_least(&[
            (
                "/proc/sys/net/netfilter/nf_conntrack_max",
                flows + flows / 8,
            ),
            ("/proc/sys/net/netfilter/nf_conntrack_buckets", flows / 2),
        ])
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        for (path, old) in &self.0 {
            let _ = fs::write(path, old);
        }
    }
}
