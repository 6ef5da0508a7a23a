//! `ctctl settings`: the net.netfilter.nf_conntrack_* sysctls of the agents' hosts.

mod get;
mod set;

use clap::Subcommand;

use super::CommandError;
use crate::ctctl::context::{Answers, Context};
use crate::pb;

/// What to do with settings.
#[derive(Subcommand, Clone, Debug)]
pub enum SettingsCommand {
    /// Show settings, all or by name
    Get(get::GetArgs),
    /// Write settings
    Set(set::SetArgs),
}

pub(super) async fn run(
    command: SettingsCommand,
    context: &mut Context,
) -> Result<u8, CommandError> {
    match command {
        SettingsCommand::Get(args) => get::run(args, context).await,
        SettingsCommand::Set(args) => set::run(args, context).await,
    }
}

/// A row for every setting of every node.
fn show(context: &Context, found: Answers<Vec<pb::Setting>>) -> u8 {
    let mut table = context.table(["name", "value", "writable"]);
    for (node, settings) in found.answers {
        for setting in settings {
            let cells = [
                setting.name.into(),
                setting.value.into(),
                setting.writable.into(),
            ];
            table.push(node.name(), cells);
        }
    }
    context.show(&table, found.outcome)
}
