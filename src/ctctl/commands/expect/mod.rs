//! `ctctl expect`: the expectations of helpers.

mod create;
mod delete;
mod flush;
mod get;
mod list;
mod stats;
mod watch;

pub(super) use watch::Expectations;

use clap::Subcommand;

use super::CommandError;
use crate::ctctl::context::Context;

/// What to do with expectations.
#[derive(Subcommand, Clone, Debug)]
pub enum ExpectCommand {
    /// List expectations
    List(list::ListArgs),
    /// Show one expectation, by its flow or its id
    Get(get::GetArgs),
    /// Create expectations, one from flags or many from a file
    Create(create::CreateArgs),
    /// Delete expectations
    Delete(delete::DeleteArgs),
    /// Delete all expectations
    Flush(flush::FlushArgs),
    /// Show expectations as they come and go
    Watch(watch::WatchArgs),
    /// Show the kernel's counters of expectations
    Stats(super::stats::StatsArgs),
}

pub(super) async fn run(command: ExpectCommand, context: &mut Context) -> Result<u8, CommandError> {
    match command {
        ExpectCommand::List(args) => list::run(args, context).await,
        ExpectCommand::Get(args) => get::run(args, context).await,
        ExpectCommand::Create(args) => create::run(args, context).await,
        ExpectCommand::Delete(args) => delete::run(args, context).await,
        ExpectCommand::Flush(args) => flush::run(args, context).await,
        ExpectCommand::Watch(args) => watch::run(args, context).await,
        ExpectCommand::Stats(args) => stats::run(args, context).await,
    }
}
