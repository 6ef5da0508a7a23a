//! `ctctl pki`: an authority and its certificates, for trials and small fleets. Needs no agent.

mod agent;
mod client;
mod init;
mod revoke;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::ctctl::pki::{DIRECTORY, Issued, PkiError};
use crate::ctctl::print::say;
use crate::tls::date;

/// What to make.
#[derive(Subcommand, Clone, Debug)]
pub enum PkiCommand {
    /// Make an authority
    Init(init::InitArgs),
    /// Issue a certificate for an agent
    Agent(agent::AgentArgs),
    /// Issue a certificate for a client
    Client(client::ClientArgs),
    /// Take certificates back: write the list of them
    Revoke(revoke::RevokeArgs),
}

/// Where the files are.
#[derive(Args, Clone, Debug)]
struct Place {
    /// Directory of the authority and of what it issues
    #[arg(long, value_name = "DIRECTORY", default_value = DIRECTORY)]
    dir: PathBuf,
}

/// Makes it.
pub fn run(command: &PkiCommand) -> u8 {
    let made = match command {
        PkiCommand::Init(args) => init::run(args),
        PkiCommand::Agent(args) => agent::run(args),
        PkiCommand::Client(args) => client::run(args),
        PkiCommand::Revoke(args) => revoke::run(args),
    };
    match made {
        Ok(text) => match io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => 2,
            _ => 0,
        },
        Err(error) => {
            say(format_args!("{error}"));
            2
        }
    }
}

/// The lines of what was made.
fn lines(issued: &Issued, whose: &str) -> String {
    let cut = if issued.cut {
        ", when its authority ends"
    } else {
        ""
    };
    format!(
        "made {}  {whose}, valid until {}{cut}\n\
         made {}  its private key, for its owner alone\n",
        issued.certificate.display(),
        date(issued.end),
        issued.key.display(),
    )
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

type Made = Result<String, PkiError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_is_one_for_a_shell() {
        for plain in ["ctfleet-pki/fw1.crt", "reader=cn:alice", "2001:db8::1.key"] {
            assert_eq!(quoted(plain), plain);
        }
        for word in [
            "my pki/a.crt",
            "it's",
            "cn:q[[]1",
            "$(x)",
            "`x`",
            "a\"b\\",
            "~",
            "é",
            "",
        ] {
            let echoed = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(word))])
                .output()
                .expect("a shell");
            assert_eq!(String::from_utf8_lossy(&echoed.stdout), word);
        }
    }
}
