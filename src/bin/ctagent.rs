//! `ctagent`, the daemon of a firewall host.

use std::process::ExitCode;

fn main() -> ExitCode {
    ctfleet::agent::main()
}
