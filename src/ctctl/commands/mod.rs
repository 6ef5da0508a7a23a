//! The commands: one verb a file.

mod bulk;
mod change;
mod completion;
mod conntrack;
mod count;
mod create;
mod delete;
mod dump;
mod expect;
mod flush;
mod follow;
mod get;
mod info;
mod list;
mod netns;
mod pki;
mod settings;
mod stats;
mod update;
mod watch;

use clap::Subcommand;

pub use completion::run as completion;
pub use conntrack::ConntrackArgs;
pub use pki::run as pki;

use super::args::changes::ChangeError;
use super::args::select::SelectError;
use super::args::tuple::TupleError;
use super::context::Context;

/// What to do.
#[derive(Subcommand, Clone, Debug)]
// There is one in a process.
#[allow(clippy::large_enum_variant)]
pub enum Command {
    /// List flows
    List(list::ListArgs),
    /// Show one flow, by its end points or its id
    Get(get::GetArgs),
    /// Count flows
    Count(count::CountArgs),
    /// Create flows, one from flags or many from a file
    Create(create::CreateArgs),
    /// Change the mark, the timeout, labels, ... of flows
    Update(update::UpdateArgs),
    /// Delete flows
    Delete(delete::DeleteArgs),
    /// Delete all flows, or all of a family
    Flush(flush::FlushArgs),
    /// Show flows as they come, change and go
    Watch(watch::WatchArgs),
    /// Show the kernel's counters
    Stats(stats::StatsArgs),
    /// Work on expectations: flows that helpers wait for
    #[command(subcommand)]
    Expect(expect::ExpectCommand),
    /// Read and write the connection tracking sysctls
    #[command(subcommand)]
    Settings(settings::SettingsCommand),
    /// Show the agents: version, kernel, what works there, limits
    Info,
    /// List the network namespaces of the agents' hosts
    Netns,
    /// Run a command line of conntrack(8) on all targets: ctctl conntrack -L -p tcp
    Conntrack(conntrack::ConntrackArgs),
    /// Make an authority and certificates, for trials and small fleets
    #[command(subcommand)]
    Pki(pki::PkiCommand),
    /// Print the completion script of a shell
    Completion(completion::CompletionArgs),
}

/// A command that cannot be followed: exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The filter.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// End points.
    #[error(transparent)]
    Tuple(#[from] TupleError),
    /// Changes.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// Flags that do not go together, or miss one another.
    #[error("{0}")]
    Usage(&'static str),
    /// A file.
    #[error("cannot read {path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A change that nobody can confirm.
    #[error(
        "refused: this would {verb} {what}, and nobody can be asked, since standard input is \
         no terminal; add --yes (--dry-run shows what it would be)"
    )]
    NobodyToAsk {
        /// "delete".
        verb: &'static str,
        /// "flows".
        what: &'static str,
    },
    /// More than the user allowed.
    #[error("refused: {matched} {what} match, more than --max-affected {max}; nothing was changed")]
    TooMany {
        /// How many would be touched.
        matched: u64,
        /// How many may be.
        max: u64,
        /// "flows".
        what: &'static str,
    },
    /// The user said no.
    #[error("not confirmed; nothing was changed")]
    Declined,
    /// The question cannot be asked.
    #[error("cannot ask for confirmation: {0}")]
    Prompt(std::io::Error),
}

impl Command {
    /// Does it and gives the exit code.
    pub async fn run(self, context: &mut Context) -> Result<u8, CommandError> {
        match self {
            Self::List(args) => list::run(args, context).await,
            Self::Get(args) => get::run(args, context).await,
            Self::Count(args) => count::run(args, context).await,
            Self::Create(args) => create::run(args, context).await,
            Self::Update(args) => update::run(args, context).await,
            Self::Delete(args) => delete::run(args, context).await,
            Self::Flush(args) => flush::run(args, context).await,
            Self::Watch(args) => watch::run(args, context).await,
            Self::Stats(args) => stats::run(args, context).await,
            Self::Expect(command) => expect::run(command, context).await,
            Self::Settings(command) => settings::run(command, context).await,
            Self::Info => info::run(context).await,
            Self::Netns => netns::run(context).await,
            Self::Conntrack(args) => Ok(conntrack::run(args, context).await),
            Self::Pki(command) => Ok(pki::run(&command)),
            Self::Completion(args) => Ok(completion::run(&args)),
        }
    }
}
