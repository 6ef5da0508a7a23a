//! `ctctl pki client`: a certificate for a client.

use clap::Args;
use glob::Pattern;

use super::{Made, Place, lines, quoted, quoted_path};
use crate::ctctl::pki::{Authority, Client};

/// For whom, and for how long.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    #[command(flatten)]
    place: Place,
    /// Common name of the client, which names the files, too
    #[arg(value_name = "NAME")]
    name: String,
    /// The organisation that it belongs to
    #[arg(long = "org", value_name = "ORGANISATION")]
    organisation: Option<String>,
    /// A URI that it is known by, such as a SPIFFE id
    #[arg(long, value_name = "URI")]
    uri: Option<String>,
    /// Days that it is valid
    #[arg(long, value_name = "N", default_value_t = 365)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

pub(super) fn run(args: &ClientArgs) -> Made {
    let client = Client {
        name: args.name.clone(),
        organisation: args.organisation.clone(),
        uri: args.uri.clone(),
    };
    let issued = Authority::open(&args.place.dir)?.issue_client(&client, args.days)?;
    let (kind, name) = match &args.uri {
        Some(uri) => ("uri", uri),
        None => ("cn", &args.name),
    };
    // A subject is a pattern.
    let binding = format!("reader={kind}:{}", Pattern::escape(name));
    Ok(format!(
        "{}\
         Next: let the agents know what {kind}:{name} may do, such as --allow {}, and try\n  \
         ctctl -t HOST:PORT --tls-ca {} --tls-cert {} --tls-key {} info\n",
        lines(&issued, &format!("the client {}", args.name)),
        quoted(&binding),
        quoted_path(&args.place.dir.join("ca.crt")),
        quoted_path(&issued.certificate),
        quoted_path(&issued.key),
    ))
}
