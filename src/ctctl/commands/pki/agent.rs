//! `ctctl pki agent`: a certificate for an agent.

use clap::Args;

use super::{Made, Place, lines};
use crate::ctctl::pki::{Agent, Authority};

/// For whom, and for how long.
#[derive(Args, Clone, Debug)]
pub struct AgentArgs {
    #[command(flatten)]
    place: Place,
    /// DNS names and addresses that clients reach it by; the first names the files
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// A URI beside the names, such as a SPIFFE id, for --tls-server-id
    #[arg(long, value_name = "URI")]
    uri: Option<String>,
    /// Days that it is valid
    #[arg(long, value_name = "N", default_value_t = 365)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

pub(super) fn run(args: &AgentArgs) -> Made {
    let agent = Agent {
        names: args.names.clone(),
        uri: args.uri.clone(),
    };
    let issued = Authority::open(&args.place.dir)?.issue_agent(&agent, args.days)?;
    let names: Vec<&str> = args
        .names
        .iter()
        .chain(&args.uri)
        .map(String::as_str)
        .collect();
    let first = names.first().copied().unwrap_or_default();
    Ok(format!(
        "{}\
         Next: copy both to the agent's host, with ca.crt but without ca.key, and start there\n  \
         ctagent --listen IP:PORT --tls-cert {first}.crt --tls-key {first}.key --tls-ca ca.crt \
         --allow admin=cn:CLIENT\n",
        lines(&issued, &format!("the agent {}", names.join(", "))),
    ))
}
