//! `ctctl pki revoke`: the list of certificates that were taken back.

use std::path::PathBuf;

use clap::Args;

use super::{Made, Place};
use crate::ctctl::pki::Authority;
use crate::tls::date;

/// What is taken back.
#[derive(Args, Clone, Debug)]
pub struct RevokeArgs {
    #[command(flatten)]
    place: Place,
    /// Certificates to take back; without any, the list is renewed as it is
    #[arg(value_name = "FILE")]
    certificates: Vec<PathBuf>,
    /// Days until the list is to be renewed
    #[arg(long, value_name = "N", default_value_t = 365)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

pub(super) fn run(args: &RevokeArgs) -> Made {
    let revoked = Authority::open(&args.place.dir)?.revoke(&args.certificates, args.days)?;
    Ok(format!(
        "wrote {list}  revokes {count}, to be renewed before {due}\n\
         Next: copy it to every agent, which takes it with --tls-crl and reads it again by itself\n",
        list = revoked.list.display(),
        count = revoked.certificates,
        due = date(revoked.due),
    ))
}
