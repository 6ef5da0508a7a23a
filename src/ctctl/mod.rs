//! The client of a fleet: arguments, targets, connections, the fan-out, one verb a file, and
//! the output formats.

pub mod args;
pub mod commands;
pub mod connect;
pub mod connlabel;
pub mod conntrack;
pub mod context;
#[cfg(test)]
mod documented;
pub mod fanout;
pub mod feed;
pub mod fleet;
pub mod output;
pub mod pki;
pub mod print;
pub mod progress;
pub mod saved;

use std::process::ExitCode;

use args::Cli;
use context::Context;
use fanout::Interrupt;
use print::{say, say_own};

/// What the process exits with when a command could not be followed.
const USAGE: u8 = 2;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::read(std::env::args_os().collect()).unwrap_or_else(|error| error.exit());
    ExitCode::from(run(cli))
}

fn run(cli: Cli) -> u8 {
    // These need no agent, and must not fail over what is wrong with the targets.
    match &cli.command {
        commands::Command::Completion(args) => return commands::completion(args),
        commands::Command::Pki(command) => return commands::pki(command),
        _ => {}
    }
    let fleet = match cli.global.fleet(|name| std::env::var_os(name)) {
        Ok(fleet) => fleet,
        Err(error) => {
            say_own(format_args!("{error}"));
            return USAGE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("cannot start: {error}"));
            return USAGE;
        }
    };
    let code = runtime.block_on(async {
        let interrupt = match Interrupt::listen() {
            Ok(interrupt) => interrupt,
            Err(error) => {
                say(format_args!("cannot listen to signals: {error}"));
                return USAGE;
            }
        };
        let mut context = Context::new(&cli.global, fleet, interrupt);
        match cli.command.run(&mut context).await {
            Ok(code) => code,
            Err(error) => {
                say_own(format_args!("{error}"));
                USAGE
            }
        }
    });
    // A thread may hang in a write to a pager, or in a read from a terminal.
    runtime.shutdown_background();
    code
}
