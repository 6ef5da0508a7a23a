//! `ctctl pki init`: an authority.

use clap::Args;

use super::{Made, Place, lines};
use crate::ctctl::pki::Authority;

/// Of what name, and for how long.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    #[command(flatten)]
    place: Place,
    /// Name of the authority
    #[arg(long, value_name = "NAME", default_value = "ctfleet CA")]
    name: String,
    /// Days that it is valid
    #[arg(long, value_name = "N", default_value_t = 3650)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

pub(super) fn run(args: &InitArgs) -> Made {
    let issued = Authority::create(&args.place.dir, &args.name, args.days)?;
    Ok(format!(
        "{}\
         Whoever has that key can be any agent and any client: keep it off the firewalls.\n\
         Next: ctctl pki agent NAME..., for each agent, and ctctl pki client NAME\n",
        lines(&issued, &format!("the authority \"{}\"", args.name))
    ))
}
