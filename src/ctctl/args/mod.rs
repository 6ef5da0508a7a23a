//! The command line: what is common to all commands. Each command's own arguments stand
//! beside it.

pub mod changes;
pub mod expect;
pub mod select;
#[cfg(test)]
mod tests;
pub mod tuple;
pub mod values;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser};

use super::commands::{Command, ConntrackArgs};
use super::connect::{Dialler, Tls, TlsFiles, TlsSetupError};
use super::conntrack;
use super::fanout::Fleet;
use super::fleet::{FleetError, Sources};
use super::output::Format;
use values::Span;

/// See and change the connection tracking tables of a fleet of hosts
///
/// ctctl talks to ctagent, on this host or on many. With several targets the agents work at
/// once, every row says its node, and one that fails is reported at the end.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "ctctl",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 all well, 1 some nodes failed or one did only a part, 2 wrong \
                  usage or all nodes failed, 130 and 143 ended by SIGINT and SIGTERM."
)]
pub struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads a command line. Behind the word `conntrack` begins another one, which is
    /// conntrack(8)'s; under the name of conntrack(8) there is nothing else.
    pub fn read(words: Vec<OsString>) -> Result<Self, clap::Error> {
        let name = words.first().map(|name| Path::new(name).file_name());
        if name.flatten().is_some_and(|name| name == conntrack::NAME) {
            let args = [OsString::from("ctctl"), conntrack::NAME.into()];
            return Self::with_conntrack(args.into(), &words[1..]);
        }
        for (at, _) in words
            .iter()
            .enumerate()
            .filter(|(_, word)| *word == conntrack::NAME)
        {
            // It may also be the value of an option, or a word of an expression.
            let (before, behind) = words.split_at(at + 1);
            let is_command = Self::try_parse_from(before)
                .is_ok_and(|cli| matches!(cli.command, Command::Conntrack(_)));
            if is_command {
                return Self::with_conntrack(before.to_vec(), behind);
            }
        }
        Self::try_parse_from(words)
    }

    fn with_conntrack(before: Vec<OsString>, behind: &[OsString]) -> Result<Self, clap::Error> {
        let mut cli = Self::try_parse_from(before)?;
        let text = |word: &OsString| word.to_string_lossy().into_owned();
        cli.command = Command::Conntrack(ConntrackArgs {
            args: behind.iter().map(text).collect(),
        });
        Ok(cli)
    }
}

/// Options of all commands.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Agents and output")]
pub struct Global {
    /// An agent: host:port, a URL, or unix:PATH; NAME= in front names its rows. Repeatable
    /// [env: CTCTL_TARGETS] [default: unix:/run/ctfleet/ctagent.sock]
    #[arg(short, long = "target", value_name = "TARGET", global = true)]
    pub targets: Vec<String>,
    /// A file with a target a line [env: CTCTL_TARGETS_FILE]
    #[arg(long, value_name = "FILE", global = true)]
    pub targets_file: Option<PathBuf>,
    /// Output format: table, wide, json, jsonl, conntrack or save
    #[arg(short, long, value_name = "FORMAT", default_value_t, global = true)]
    #[arg(hide_default_value = true)]
    pub output: Format,
    /// Network namespace on the agents' hosts, as `ip netns` lists it
    #[arg(
        short = 'N',
        long,
        value_name = "NAMESPACE",
        default_value = "",
        global = true
    )]
    #[arg(hide_default_value = true)]
    pub netns: String,
    /// Agents to work on at the same time
    #[arg(long, value_name = "N", default_value_t = 64, global = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub parallel: u16,
    /// Give up on a silent agent after this time [default: 10s to connect, 60s for answers,
    /// no limit for changes]
    #[arg(long, value_name = "TIME", global = true)]
    pub timeout: Option<Span>,
    /// CA certificates that agents' certificates have to come from
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        env = "CTCTL_TLS_CA",
        hide_env_values = true
    )]
    pub tls_ca: Option<PathBuf>,
    /// Certificate to show to agents
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        env = "CTCTL_TLS_CERT",
        hide_env_values = true
    )]
    pub tls_cert: Option<PathBuf>,
    /// Private key of that certificate
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        env = "CTCTL_TLS_KEY",
        hide_env_values = true
    )]
    pub tls_key: Option<PathBuf>,
    /// Name to expect in agents' certificates, instead of the target's host
    #[arg(long, value_name = "NAME", global = true)]
    #[arg(env = "CTCTL_TLS_SERVER_NAME", hide_env_values = true)]
    pub tls_server_name: Option<String>,
    /// URI to expect in agents' certificates, such as a SPIFFE id, whatever the hosts are called
    #[arg(
        long,
        value_name = "URI",
        global = true,
        conflicts_with = "tls_server_name"
    )]
    #[arg(env = "CTCTL_TLS_SERVER_ID", hide_env_values = true)]
    pub tls_server_id: Option<String>,
    /// Talk to host:port targets without any encryption
    #[arg(long, global = true)]
    pub insecure_plaintext: bool,
}

/// Options that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum GlobalError {
    /// No list of targets.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
}

impl Global {
    /// Reads the files and the environment.
    pub fn fleet(&self, variable: impl Fn(&str) -> Option<OsString>) -> Result<Fleet, GlobalError> {
        let targets = self.sources(variable).resolve()?;
        let mut tls_needed = false;
        for target in &targets {
            tls_needed |= target
                .uses_tls(self.insecure_plaintext)
                .map_err(FleetError::from)?;
        }
        let tls = tls_needed
            .then(|| {
                Tls::load(&TlsFiles {
                    ca: self.tls_ca.clone(),
                    cert: self.tls_cert.clone(),
                    key: self.tls_key.clone(),
                    server_name: self.tls_server_name.clone(),
                    server_id: self.tls_server_id.clone(),
                })
            })
            .transpose()?;
        let parallel = usize::from(self.parallel);
        let dialler = Dialler::new(
            tls,
            self.insecure_plaintext,
            self.patience(),
            &self.netns,
            targets.len(),
        );
        Ok(Fleet {
            targets,
            dialler,
            parallel,
        })
    }

    /// The command line alone when it names targets, the environment otherwise.
    fn sources(&self, variable: impl Fn(&str) -> Option<OsString>) -> Sources {
        let given = Sources {
            targets: self.targets.clone(),
            file: self.targets_file.clone(),
        };
        if !given.is_empty() {
            return given;
        }
        let list = variable("CTCTL_TARGETS").or_else(|| variable("CTCTL_TARGET"));
        Sources {
            targets: list
                .map(|list| list.to_string_lossy().into_owned())
                .into_iter()
                .collect(),
            file: variable("CTCTL_TARGETS_FILE").map(PathBuf::from),
        }
    }

    /// How long the user lets an agent be silent.
    pub fn patience(&self) -> Option<Duration> {
        self.timeout.map(|Span(time)| time)
    }
}
