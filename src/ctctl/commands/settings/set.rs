//! `ctctl settings set`.

use std::str::FromStr;

use clap::Args;

use super::show;
use crate::ctctl::commands::CommandError;
use crate::ctctl::connect::Session;
use crate::ctctl::context::Context;
use crate::pb;

/// What to write.
#[derive(Args, Clone, Debug)]
pub struct SetArgs {
    /// NAME=VALUE, as in nf_conntrack_max=262144; time-outs are in seconds
    #[arg(value_name = "NAME=VALUE", required = true)]
    values: Vec<Assignment>,
}

/// A setting and its new value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Assignment {
    name: String,
    value: u64,
}

/// Text that is no assignment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no NAME=VALUE with a number, like nf_conntrack_max=262144")]
struct NoAssignment(String);

impl FromStr for Assignment {
    type Err = NoAssignment;

    fn from_str(text: &str) -> Result<Self, NoAssignment> {
        let wrong = || NoAssignment(text.to_owned());
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let value = value.trim().parse().map_err(|_| wrong())?;
        let name = bare(name.trim());
        if name.is_empty() {
            Err(wrong())
        } else {
            Ok(Self { name, value })
        }
    }
}

/// The name as the agent has it: sysctl(8) and /proc/sys show it with what stands before.
pub(super) fn bare(name: &str) -> String {
    [
        "net.netfilter.",
        "net/netfilter/",
        "/proc/sys/net/netfilter/",
    ]
    .into_iter()
    .find_map(|prefix| name.strip_prefix(prefix))
    .unwrap_or(name)
    .to_owned()
}

pub(super) async fn run(args: SetArgs, context: &mut Context) -> Result<u8, CommandError> {
    let updates: Vec<pb::SettingUpdate> = args
        .values
        .into_iter()
        .map(|Assignment { name, value }| pb::SettingUpdate { name, value })
        .collect();
    let found = context
        .ask(move |session: Session| {
            let updates = updates.clone();
            async move {
                let request = pb::UpdateSettingsRequest {
                    network_namespace: session.namespace(),
                    updates,
                };
                let answer = session
                    .change(session.agent().update_settings(request))
                    .await?;
                Ok(answer.settings)
            }
        })
        .await;
    Ok(show(context, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments() {
        let of = |text: &str| text.parse::<Assignment>();
        let max = Assignment {
            name: "nf_conntrack_max".into(),
            value: 7,
        };
        assert_eq!(of("nf_conntrack_max=7"), Ok(max.clone()));
        assert_eq!(of("net.netfilter.nf_conntrack_max = 7"), Ok(max));
        for wrong in ["", "a", "a=", "a=x", "=1", "a=-1"] {
            assert!(of(wrong).is_err(), "{wrong:?} passed");
        }
    }
}
