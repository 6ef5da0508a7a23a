//! Prints the events of the connection tracking table: `cargo run --example watch [COUNT]`
//! ends after so many.
//!
//! Needs CAP_NET_ADMIN; `unshare -Urn` gives it, in an empty namespace.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use ctfleet::ctnetlink::{Group, Heard, ListenOptions, Listener, Namespace};
use ctfleet::flow::Event;

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
    let limit: u64 = match std::env::args().nth(1) {
        Some(count) => count.parse()?,
        None => u64::MAX,
    };

    let mut listener = Listener::open(&Namespace::own(), ListenOptions::default())?;
    let handle = listener.handle();
    // The kernel builds events only for groups that somebody has joined.
    for group in [Group::FlowNew, Group::FlowUpdate, Group::FlowDestroy] {
        handle.join(group)?;
    }
    eprintln!("listening");

    let mut seen = 0;
    while seen < limit {
        let mut lines = Vec::new();
        listener.receive(&mut |heard| match heard {
            Heard::Event(Event::Flow(event)) => lines.push(format!(
                "{:?} {} {} -> {}",
                event.kind, event.flow.orig.protocol, event.flow.orig.src, event.flow.orig.dst,
            )),
            Heard::Event(Event::Expectation(_)) => {}
            // Never in silence: the number is exact.
            Heard::Lost(count) => lines.push(format!("lost {count} events")),
            Heard::Malformed(error) => lines.push(error.to_string()),
            // Only when asked for.
            Heard::Mark => {}
        })?;
        let mut out = io::stdout().lock();
        for line in lines {
            seen += 1;
            writeln!(out, "{line}")?;
        }
        out.flush()?;
    }
    Ok(())
}
