//! What goes wrong, in words that say what to do, with the exit code that scripts read.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::agent::Agent;
use crate::harness::client::Client;
use crate::harness::{Netns, until};

#[test]
fn wrong_usage_is_exit_2_and_says_what_is_wrong() {
    let nobody = Client::default().and("unix:/nonexistent.sock");
    for (line, words) in [
        ("list dport 443 and sprot 1", "column 15"),
        ("list expect-class 1", "no field of flows"),
        ("list -o xml", "unknown format"),
        ("list --mark x", "is not a mark"),
        ("get -p tcp -s 10.0.0.1", "--dst is missing"),
        ("update all --yes", "what changes"),
        ("create -p udp", "--src is missing"),
        ("settings set nf_conntrack_max=x", "NAME=VALUE"),
        ("-t nowhere list", "has no port"),
        ("-t fw1:7443 list", "--tls-ca"),
        ("-t http://192.0.2.1:1 list", "--insecure-plaintext"),
        (
            "--targets-file /nonexistent list",
            "cannot read the targets",
        ),
        ("nonsense", "nonsense"),
    ] {
        let complaint = nobody.run(line).failed(2);
        assert!(complaint.contains(words), "{line}: {complaint}");
    }
}

#[test]
fn an_agent_that_is_silent_is_given_up() {
    let ns = Netns::new();
    let mut agent = Agent::start(&ns);
    agent.process().signal(Signal::STOP);
    let said = Client::of([&agent]).run("--timeout 500ms count");
    agent.process().signal(Signal::CONT);
    let complaint = said.failed(2);
    assert!(complaint.contains("no answer for 0.5 s"), "{complaint}");
}

#[test]
fn a_socket_that_may_not_be_opened_says_so() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let closed = Permissions::from_mode(0o000);
    std::fs::set_permissions(agent.socket(), closed).expect("our own socket");
    // Without capabilities root is a user like others; there may be no other one here.
    let said = Command::new("setpriv")
        .args(["--bounding-set", "-all", "--inh-caps", "-all"])
        .arg(env!("CARGO_BIN_EXE_ctctl"))
        .args(["-t", &agent.target(), "count"])
        .output()
        .expect("setpriv(1) runs");
    let complaint = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(2), "{complaint}");
    assert!(
        complaint.contains("permission denied on the socket"),
        "{complaint}"
    );
}

/// A certificate authority and what it issues, in PEM files.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let directory = TempDir::new().expect("a directory");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).expect("a file");
        Self {
            issuer: Issuer::new(params, key),
            directory,
        }
    }

    /// Issues a certificate of this name.
    fn issue(&self, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let write = |suffix: &str, text: String| {
            std::fs::write(self.directory.path().join(format!("{name}.{suffix}")), text)
        };
        write("pem", certificate.pem()).expect("a file");
        write("key", key.serialize_pem()).expect("a file");
    }

    fn path(&self, file: &str) -> String {
        self.directory.path().join(file).display().to_string()
    }

    /// The flags for a certificate of this name.
    fn flags(&self, name: &str) -> String {
        let (cert, key) = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        format!("--tls-cert {cert} --tls-key {key}")
    }
}

#[test]
fn what_is_wrong_with_tls_is_told() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    ours.issue("127.0.0.1");
    ours.issue("client");
    foreign.issue("client");
    let ns = Netns::new();
    let flags = format!(
        "--listen 127.0.0.1:0 --allow admin=cn:* --tls-ca {} {}",
        ours.path("ca.pem"),
        ours.flags("127.0.0.1")
    );
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let agent = Agent::start_with(&ns, &flags);
    let port = until("its port", || {
        let said = agent.said();
        let place = said
            .lines()
            .find_map(|line| line.split_once("listening on 127.0.0.1:"));
        place.map(|(_, port)| port.trim().to_owned())
    });
    let target = Client::default().and(&format!("127.0.0.1:{port}"));
    let (ca, other_ca) = (ours.path("ca.pem"), foreign.path("ca.pem"));
    let own = ours.flags("client");
    target
        .run_in(&ns, &format!("--tls-ca {ca} {own} count"))
        .well();
    for (flags, words) in [
        (format!("--tls-ca {other_ca} {own}"), "not issued by a CA"),
        (format!("--tls-ca {ca}"), "wants a client certificate"),
        (
            format!("--tls-ca {ca} {}", foreign.flags("client")),
            "does not accept our certificate",
        ),
        (
            format!("--tls-ca {ca} {own} --tls-server-name fw1"),
            "not valid for \"fw1\" (it is for 127.0.0.1)",
        ),
        ("--insecure-plaintext".to_owned(), "speaks TLS"),
        (format!("--tls-ca {ca} --tls-cert {ca}"), "needs --tls-key"),
    ] {
        let complaint = target.run_in(&ns, &format!("{flags} count")).failed(2);
        assert!(complaint.contains(words), "{flags}: {complaint}");
    }
}
