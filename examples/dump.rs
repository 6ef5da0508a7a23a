//! Dumps the connection tracking table and prints it: `cargo run --example dump [FILTER]`.
//!
//! Needs CAP_NET_ADMIN; `unshare -Urn` gives it, in an empty namespace.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use ctfleet::ctnetlink::{FlowDump, FlowDumpRequest, Namespace};
use ctfleet::expr;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let filter = match words.join(" ") {
        text if text.is_empty() => None,
        text => Some(expr::parse(&text)?),
    };
    let request = FlowDumpRequest {
        filter,
        ..FlowDumpRequest::default()
    };

    let mut dump = FlowDump::open(&Namespace::own(), request)?;
    let mut out = io::stdout().lock();
    let mut written = Ok(());
    // Each read brings at most 32 KiB from the kernel: the table is never held in memory.
    while written.is_ok()
        && dump.read(&mut |flow| {
            let line = format!(
                "{} {} -> {} mark {} timeout {}",
                flow.orig.protocol,
                flow.orig.src,
                flow.orig.dst,
                flow.mark.unwrap_or_default(),
                flow.timeout.unwrap_or_default(),
            );
            if written.is_ok() {
                written = writeln!(out, "{line}");
            }
        })?
    {}
    let counts = dump.counts();
    eprintln!("{} of {} entries", counts.matched, counts.scanned);
    match written {
        // Somebody closed the pipe: enough was seen.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
