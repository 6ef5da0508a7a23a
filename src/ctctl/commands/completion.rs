//! `ctctl completion`: scripts that complete commands and flags in a shell.

use std::io::{self, Write as _};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::ctctl::args::Cli;

/// For which shell.
#[derive(Args, Clone, Debug)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script; needs no agent.
pub fn run(args: &CompletionArgs) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ctctl", &mut script);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => 2,
        _ => 0,
    }
}
