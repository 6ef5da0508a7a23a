//! `ctctl`: the client of a fleet.

use std::process::ExitCode;

fn main() -> ExitCode {
    ctfleet::ctctl::main()
}
