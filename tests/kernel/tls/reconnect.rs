//! A watch that outlives its certificate, its authority and its agent.

use std::path::Path;

use ctfleet::flow::{Family, Protocol};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::flows::flow;
use crate::harness::pki::{Authority, tcp_client, tcp_place, tls_command, tls_command_at};

/// The agent's files, of this authority.
fn write(directory: &Path, authority: &Authority) {
    let [cert, key] = authority.issue("127.0.0.1");
    let ca = authority.issuer.pem();
    for (file, text) in [("tls.crt", cert), ("tls.key", key), ("ca.crt", ca)] {
        std::fs::write(directory.join(file), text).expect("a file");
    }
}

#[test]
fn a_watch_that_reconnects_waits_for_its_new_certificate_and_takes_it() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    old.enrol("operator");
    let directory = TempDir::new().expect("a directory");
    write(directory.path(), &old);
    let ns = Netns::new();
    let mut agent = Agent::start_as(&ns, &mut tls_command(directory.path()));
    let place = tcp_place(&agent);
    let line = format!(
        "{} watch --reconnect -e new -o jsonl",
        old.flags("operator")
    );
    let mut watch = ns.enter(|| tcp_client(&agent).start(&line));
    assert_eq!(watch.object()["event"], "SUBSCRIBED");

    // The agent moves to another authority while it is away.
    agent.process().signal(Signal::TERM);
    assert!(agent.process().wait().success());
    write(directory.path(), &new);
    let mut agent = Agent::start_as(&ns, &mut tls_command_at(directory.path(), &place));
    agent.process().wait_for("TLS handshake failed");
    // The client's files follow.
    old.put_file("ca.pem", &new.issuer.pem());
    old.put("operator", new.issue("operator"));
    while watch.object()["event"] != "SUBSCRIBED" {}
    ns.create(&[flow(Family::V4, Protocol::UDP, 7)]);
    assert_eq!(watch.object()["orig"]["sport"], 7);

    watch.signal(Signal::TERM);
    let said = watch.rest();
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("was not issued by a CA"), "{said:?}");
}

#[test]
fn a_watch_that_never_was_live_does_not_wait_for_a_certificate() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    theirs.enrol("operator");
    let directory = TempDir::new().expect("a directory");
    write(directory.path(), &ours);
    let ns = Netns::new();
    let agent = Agent::start_as(&ns, &mut tls_command(directory.path()));
    let line = format!("{} watch --reconnect", theirs.flags("operator"));
    let complaint = tcp_client(&agent).run_in(&ns, &line).failed(2);
    assert!(complaint.contains("was not issued by a CA"), "{complaint}");
}
