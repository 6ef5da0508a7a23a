//! An authority, the certificates that it issues, and an agent that serves over TLS with them.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::agent::{Agent, CTAGENT};
use super::client::{Client, Said};
use super::{Netns, until};

/// An authority, with a directory for its files.
pub(crate) struct Authority {
    directory: TempDir,
    pub(crate) issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// One of this name. Its own certificate is in ca.pem.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let directory = TempDir::new().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { directory, issuer }
    }

    /// Where a file of this name is.
    pub(crate) fn at(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Issues a certificate and a key for this name, which is both common name and subject
    /// alternative name.
    pub(crate) fn issue(&self, name: &str) -> [String; 2] {
        self.issue_as(name, |_| {})
    }

    /// The same, otherwise than usual.
    pub(crate) fn issue_as(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> [String; 2] {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        [cert.pem(), key.serialize_pem()]
    }

    /// Writes a certificate and a key as NAME.pem and NAME.key, each in one step.
    pub(crate) fn put(&self, name: &str, [cert, key]: [String; 2]) {
        self.put_file(&format!("{name}.pem"), &cert);
        self.put_file(&format!("{name}.key"), &key);
    }

    /// Writes a file in one step.
    pub(crate) fn put_file(&self, file: &str, text: &str) {
        let new = self.at("new");
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, self.at(file)).expect("renamed");
    }

    /// Issues and writes.
    pub(crate) fn enrol(&self, name: &str) {
        self.put(name, self.issue(name));
    }

    /// A client's flags with the files of this name. It trusts agents of this authority.
    pub(crate) fn flags(&self, name: &str) -> String {
        format!("{} {}", self.shown(name), self.trusted())
    }

    /// The flags of whoever shows the certificate of this name.
    pub(crate) fn shown(&self, name: &str) -> String {
        let [cert, key] = ["pem", "key"].map(|suffix| self.at(&format!("{name}.{suffix}")));
        format!("--tls-cert={} --tls-key={}", cert.display(), key.display())
    }

    /// The flag of whoever trusts this authority.
    pub(crate) fn trusted(&self) -> String {
        format!("--tls-ca={}", self.at("ca.pem").display())
    }
}

/// Makes the clock of a program wrong, but not its timers. `by` is like "+10y".
pub(crate) fn misdate(command: &mut Command, by: &str) {
    let architectures = std::fs::read_dir("/usr/lib").expect("/usr/lib");
    let library = architectures
        .filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketimeMT.so.1")))
        .find(|path| path.exists())
        .expect("libfaketime: apt-get install libfaketime");
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME", by)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

/// The command of an agent that serves over TLS with tls.crt, tls.key and ca.crt of this
/// directory, as cert-manager calls them. Every client that it lets in is an admin.
pub(crate) fn tls_command(directory: &Path) -> Command {
    tls_command_at(directory, ANYWHERE)
}

/// The same, listening there.
pub(crate) fn tls_command_at(directory: &Path, place: &str) -> Command {
    let mut command = command_at(directory, place);
    command.arg("--allow=admin=cn:*");
    command
}

/// The same, but no client may do anything yet.
fn strict_command(directory: &Path) -> Command {
    command_at(directory, ANYWHERE)
}

/// Where the kernel chooses a port.
const ANYWHERE: &str = "127.0.0.1:0";

fn command_at(directory: &Path, place: &str) -> Command {
    let mut command = Command::new(CTAGENT);
    command.arg(format!("--listen={place}"));
    for (flag, file) in [("cert", "tls.crt"), ("key", "tls.key"), ("ca", "ca.crt")] {
        let path = directory.join(file);
        command.arg(format!("--tls-{flag}={}", path.display()));
    }
    command
}

/// An agent over TLS, and the directory of its files.
pub(crate) struct TlsAgent {
    pub(crate) agent: Agent,
    directory: TempDir,
    ns: Netns,
}

impl TlsAgent {
    /// Starts one with a certificate of the authority, whose clients are admins.
    pub(crate) fn start(authority: &Authority, flags: &[&str]) -> Self {
        Self::start_as(authority, tls_command, flags)
    }

    /// Starts one whose clients may do what the flags say.
    pub(crate) fn start_strict(authority: &Authority, flags: &[&str]) -> Self {
        Self::start_as(authority, strict_command, flags)
    }

    /// Starts one with this command, which is given the directory of the files.
    pub(crate) fn start_as(
        authority: &Authority,
        command: impl FnOnce(&Path) -> Command,
        flags: &[&str],
    ) -> Self {
        let directory = TempDir::new().expect("a directory");
        let [cert, key] = authority.issue("127.0.0.1");
        for (file, text) in [
            ("tls.crt", cert),
            ("tls.key", key),
            ("ca.crt", authority.issuer.pem()),
        ] {
            std::fs::write(directory.path().join(file), text).expect("a file");
        }
        let ns = Netns::new();
        let mut command = command(directory.path());
        let agent = Agent::start_as(&ns, command.args(flags));
        Self {
            agent,
            directory,
            ns,
        }
    }

    /// Its namespace.
    pub(crate) fn ns(&self) -> &Netns {
        &self.ns
    }

    /// Writes one of its files in one step.
    pub(crate) fn put(&self, file: &str, text: &str) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, self.directory.path().join(file)).expect("renamed");
    }

    /// Has one of its files hang whoever reads it: a pipe that nobody writes to.
    pub(crate) fn hang(&self, file: &str) {
        let new = self.directory.path().join("new");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &new, mode).expect("a pipe");
        std::fs::rename(new, self.directory.path().join(file)).expect("renamed");
    }

    /// A client of it, without a certificate.
    pub(crate) fn client(&self) -> Client {
        tcp_client(&self.agent)
    }

    /// Runs ctctl as "operator" of this authority.
    pub(crate) fn ask(&self, authority: &Authority, line: &str) -> Said {
        self.ask_as(authority, "operator", line)
    }

    /// Runs ctctl with the files of this name.
    pub(crate) fn ask_as(&self, authority: &Authority, name: &str, line: &str) -> Said {
        let flags = authority.flags(name);
        self.client().run_in(&self.ns, &format!("{flags} {line}"))
    }

    /// Waits until it has said this so many times.
    pub(crate) fn said(&self, words: &str, times: usize) {
        until(&format!("{words:?}, {times} times"), || {
            let said = self.agent.said();
            (said.matches(words).count() >= times).then_some(())
        });
    }
}

/// Where the agent listens for TCP.
pub(crate) fn tcp_place(agent: &Agent) -> String {
    let port = until("its port", || {
        let said = agent.said();
        let mut lines = said.lines();
        let place = lines.find_map(|line| line.split_once("listening on 127.0.0.1:"));
        place.map(|(_, port)| port.trim().to_owned())
    });
    format!("127.0.0.1:{port}")
}

/// A client of the agent's TCP port, without a certificate.
pub(crate) fn tcp_client(agent: &Agent) -> Client {
    Client::default().and(&tcp_place(agent))
}
