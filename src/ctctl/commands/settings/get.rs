//! `ctctl settings get`.

use clap::Args;

use super::show;
use crate::ctctl::commands::CommandError;
use crate::ctctl::connect::Session;
use crate::ctctl::context::Context;
use crate::pb;

/// Which settings.
#[derive(Args, Clone, Debug)]
pub struct GetArgs {
    /// Names below net.netfilter, as in nf_conntrack_max; all when none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

pub(super) async fn run(args: GetArgs, context: &mut Context) -> Result<u8, CommandError> {
    let names: Vec<String> = args
        .names
        .iter()
        .map(|name| super::set::bare(name))
        .collect();
    let found = context
        .ask(move |session: Session| {
            let names = names.clone();
            async move {
                let request = pb::GetSettingsRequest {
                    network_namespace: session.namespace(),
                    names,
                };
                let answer = session.read(session.agent().get_settings(request)).await?;
                Ok(answer.settings)
            }
        })
        .await;
    Ok(show(context, found))
}
