//! Certificates of `ctctl pki`, between an agent and a client.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use crate::harness::Netns;
use crate::harness::agent::{Agent, CTAGENT};
use crate::harness::client::Client;
use crate::harness::pki::tcp_client;

const ID: &str = "spiffe://example.org/ctagent";

fn pki(directory: &Path, line: &str) -> crate::harness::client::Said {
    let dir = directory.display();
    // What is wrong with targets does not matter.
    let mut command = Client::default().command(&format!("pki {line} --dir {dir}"));
    let output = command.env("CTCTL_TARGETS", "::").output();
    crate::harness::client::Said::of(output.expect("ctctl runs"))
}

#[test]
fn an_agent_and_a_client_meet_with_what_was_made() {
    let top = TempDir::new().expect("a directory");
    let directory = top.path().join("pki");
    let at = |file: &str| directory.join(file).display().to_string();
    let said = pki(&directory, "init").well();
    assert!(
        said.contains("ca.key") && said.contains("ctctl pki agent"),
        "{said}"
    );
    pki(&directory, &format!("agent fw1 127.0.0.1 --uri {ID}")).well();
    let said = pki(&directory, "client operator --org ops").well();
    assert!(said.contains("cn:operator"), "{said}");
    for key in ["ca.key", "fw1.key", "operator.key"] {
        let mode = std::fs::metadata(directory.join(key))
            .expect("made")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{key}");
    }
    // Nothing is overwritten.
    let before = std::fs::read(directory.join("ca.key")).expect("made");
    for again in ["init", "agent fw1", "client operator", "client fw1"] {
        let complaint = pki(&directory, again).failed(2);
        assert!(complaint.contains("exists already"), "{again}: {complaint}");
    }
    assert_eq!(
        std::fs::read(directory.join("ca.key")).expect("made"),
        before
    );

    let said = pki(&directory, "revoke").well();
    assert!(said.contains("ca.crl  revokes 0"), "{said}");

    let ns = Netns::new();
    let flags = [
        format!("--tls-crl={}", at("ca.crl")),
        "--listen=127.0.0.1:0".to_owned(),
        "--allow=admin=cn:o*".to_owned(),
        format!("--tls-cert={}", at("fw1.crt")),
        format!("--tls-key={}", at("fw1.key")),
        format!("--tls-ca={}", at("ca.crt")),
    ];
    let mut agent = Agent::start_as(&ns, std::process::Command::new(CTAGENT).args(flags));
    let client = tcp_client(&agent);
    let own = format!(
        "--tls-ca {} --tls-cert {} --tls-key {}",
        at("ca.crt"),
        at("operator.crt"),
        at("operator.key")
    );
    for known_by in [
        String::new(),
        "--tls-server-name fw1".to_owned(),
        format!("--tls-server-id {ID}"),
    ] {
        client
            .run_in(&ns, &format!("{own} {known_by} count"))
            .well();
    }
    let other = format!("{own} --tls-server-id {ID}/other count");
    let complaint = client.run_in(&ns, &other).failed(2);
    assert!(
        complaint.contains(&format!("(it is for {ID})")) && complaint.contains("--tls-server-id"),
        "{complaint}"
    );
    // An agent's certificate is none for a client.
    let wrong = format!(
        "--tls-ca {} --tls-cert {} --tls-key {} count",
        at("ca.crt"),
        at("fw1.crt"),
        at("fw1.key")
    );
    let complaint = client.run_in(&ns, &wrong).failed(2);
    assert!(
        complaint.contains("does not accept our certificate"),
        "{complaint}"
    );

    // Taken back, it is refused, and the other one is not.
    pki(&directory, "client other").well();
    pki(&directory, &format!("revoke {}", at("operator.crt"))).well();
    agent.process().wait_for("TLS files read again");
    let complaint = client.run_in(&ns, &format!("{own} count")).failed(2);
    assert!(complaint.contains("(revoked)"), "{complaint}");
    let other = own.replace("operator", "other");
    client.run_in(&ns, &format!("{other} count")).well();
}

#[test]
fn what_is_printed_can_be_pasted_whatever_the_names() {
    let top = TempDir::new().expect("a directory");
    let directory = top.path().join("it's my pki");
    let pki = |args: &[&str]| {
        let mut command = Client::default().command("pki");
        command.args(args).arg("--dir").arg(&directory);
        crate::harness::client::Said::of(command.output().expect("ctctl runs")).well()
    };
    pki(&["init"]);
    pki(&["agent", "fw1", "127.0.0.1"]);
    let said = pki(&["client", "q[1]? x"]);
    let (_, allow) = said.split_once("such as ").expect("a flag");
    let (allow, rest) = allow.split_once(", and try\n").expect("a command");
    let at = |file: &str| format!("\"$0/{file}\"");
    let script = format!(
        "exec {CTAGENT} --listen 127.0.0.1:0 {allow} --tls-cert {} --tls-key {} --tls-ca {} \"$@\"",
        at("fw1.crt"),
        at("fw1.key"),
        at("ca.crt")
    );
    let ns = Netns::new();
    let mut shell = std::process::Command::new("sh");
    let agent = Agent::start_as(&ns, shell.arg("-c").arg(script).arg(&directory));
    let place = crate::harness::pki::tcp_place(&agent);
    let line = rest.trim().replace("HOST:PORT", &place);
    let line = line.replacen("ctctl", env!("CARGO_BIN_EXE_ctctl"), 1);
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(line);
    let output = ns.enter(|| shell.output()).expect("a shell");
    let info = crate::harness::client::Said::of(output).well();
    assert!(
        info.contains("cn:q[1]? x") && info.contains("role reader"),
        "{info}"
    );
}

#[test]
fn authorities_are_exchanged_with_a_list_of_each() {
    let top = TempDir::new().expect("a directory");
    let (old, new) = (top.path().join("old"), top.path().join("new"));
    for directory in [&old, &new] {
        for line in ["init", "client alice", "revoke"] {
            pki(directory, line).well();
        }
    }
    pki(&old, "agent fw1 127.0.0.1").well();
    let read = |directory: &Path| std::fs::read(directory.join("ca.crt")).expect("made");
    let both = top.path().join("both.crt");
    std::fs::write(&both, [read(&old), read(&new)].concat()).expect("a file");

    let ns = Netns::new();
    let flags = [
        "--listen=127.0.0.1:0".to_owned(),
        "--allow=admin=cn:alice".to_owned(),
        format!("--tls-cert={}", old.join("fw1.crt").display()),
        format!("--tls-key={}", old.join("fw1.key").display()),
        format!("--tls-ca={}", both.display()),
        format!("--tls-crl={}", old.join("ca.crl").display()),
        format!("--tls-crl={}", new.join("ca.crl").display()),
    ];
    let mut agent = Agent::start_as(&ns, std::process::Command::new(CTAGENT).args(flags));
    let client = tcp_client(&agent);
    let count = |directory: &Path| {
        let line = format!(
            "--tls-ca {} --tls-cert {} --tls-key {} count",
            old.join("ca.crt").display(),
            directory.join("alice.crt").display(),
            directory.join("alice.key").display()
        );
        client.run_in(&ns, &line)
    };
    count(&old).well();
    count(&new).well();
    let certificate = new.join("alice.crt");
    pki(&new, &format!("revoke {}", certificate.display())).well();
    agent.process().wait_for("TLS files read again");
    count(&old).well();
    let complaint = count(&new).failed(2);
    assert!(complaint.contains("(revoked)"), "{complaint}");
}
