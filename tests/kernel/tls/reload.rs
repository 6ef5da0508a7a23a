//! What an agent does when its files change while it serves.

use std::os::unix::fs::symlink;
use std::process::Command;

use ctfleet::flow::{Family, Protocol};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::agent::Agent;
use crate::harness::client::Running;
use crate::harness::flows::flow;
use crate::harness::pki::{Authority, TlsAgent, tcp_client, tls_command};
use crate::harness::{Netns, until};

const READ: &str = "TLS files read again";
const STAYS: &str = "TLS goes on with what it had";

/// An authority with a client, "operator".
fn authority(name: &str) -> Authority {
    let authority = Authority::new(name);
    authority.enrol("operator");
    authority
}

/// A watch over TLS that is live.
fn watch(agent: &TlsAgent, authority: &Authority) -> Running {
    let line = format!("{} watch -e new -o jsonl", authority.flags("operator"));
    let mut watch = agent.ns().enter(|| agent.client().start(&line));
    assert_eq!(watch.object()["event"], "SUBSCRIBED");
    watch
}

/// What happens now comes through it.
fn still_lives(watch: &mut Running, ns: &Netns, port: u16) {
    ns.create(&[flow(Family::V4, Protocol::UDP, port)]);
    assert_eq!(watch.object()["orig"]["sport"], port);
}

#[test]
fn an_authority_that_is_removed_counts_no_more_at_once_and_a_live_watch_goes_on() {
    let (old, new) = (authority("old"), authority("new"));
    let agent = TlsAgent::start(&old, &[]);
    agent.ask(&old, "count").well();
    let mut watch = watch(&agent, &old);
    still_lives(&mut watch, agent.ns(), 1);

    agent.put("ca.crt", &new.issuer.pem());
    agent.said(READ, 1);
    let complaint = agent.ask(&old, "count").failed(2);
    assert!(
        complaint.contains("does not accept our certificate (unknown CA)"),
        "{complaint}"
    );
    // The agent's own certificate is still the old one's.
    new.put_file("ca.pem", &old.issuer.pem());
    agent.ask(&new, "count").well();

    still_lives(&mut watch, agent.ns(), 2);
    watch.signal(Signal::TERM);
    watch.rest().well();
}

#[test]
fn a_broken_file_is_reported_and_what_was_there_stays_until_a_good_one_comes() {
    let ours = authority("ours");
    let agent = TlsAgent::start(&ours, &[]);
    let mut times = 0;
    for (file, broken, words) in [
        ("tls.crt", "-----BEGIN CERTIFICATE-----\n", "is damaged"),
        ("tls.key", "", "no TLS private key"),
        ("ca.crt", "nothing", "no TLS authority"),
    ] {
        agent.put(file, broken);
        times += 1;
        agent.said(STAYS, times);
        let told = agent.agent.said();
        let line = told.lines().rfind(|line| line.contains(STAYS));
        assert!(
            line.is_some_and(|line| line.contains(words) && line.contains(file)),
            "{told}"
        );
        agent.ask(&ours, "count").well();
        let info = agent.ask(&ours, "info").well();
        let (_, broken) = info.split_once("DOES-NOT-WORK").expect("something");
        assert!(
            broken.contains("certificates") && broken.contains(words),
            "{info}"
        );

        let [cert, key] = ours.issue("127.0.0.1");
        agent.put("tls.crt", &cert);
        agent.put("tls.key", &key);
        agent.put("ca.crt", &ours.issuer.pem());
        agent.said(READ, times);
        let info = agent.ask(&ours, "info").well();
        let (works, _) = info.split_once("LIMITS").expect("limits");
        assert!(works.contains("certificates (valid until"), "{info}");
    }
}

/// As Kubernetes exchanges a secret: a new directory, and a link that is renamed over the old one.
#[test]
fn a_secret_of_kubernetes_is_read_again_when_its_link_is_swapped() {
    let ours = authority("ours");
    let directory = TempDir::new().expect("a directory");
    let top = directory.path();
    let version = |number: u32, authority: &Authority| {
        let name = format!("..2026_{number}");
        std::fs::create_dir(top.join(&name)).expect("a directory");
        let [cert, key] = ours.issue("127.0.0.1");
        for (file, text) in [
            ("tls.crt", cert),
            ("tls.key", key),
            ("ca.crt", authority.issuer.pem()),
        ] {
            std::fs::write(top.join(&name).join(file), text).expect("a file");
        }
        symlink(&name, top.join("..data_tmp")).expect("a link");
        std::fs::rename(top.join("..data_tmp"), top.join("..data")).expect("renamed");
    };
    version(0, &ours);
    for file in ["tls.crt", "tls.key", "ca.crt"] {
        symlink(format!("..data/{file}"), top.join(file)).expect("a link");
    }
    let ns = Netns::new();
    let agent = Agent::start_as(&ns, &mut tls_command(top));
    let client = tcp_client(&agent);
    let count = format!("{} count", ours.flags("operator"));
    client.run_in(&ns, &count).well();
    let theirs = Authority::new("theirs");
    for (number, authority, let_in) in [(1, &theirs, false), (2, &ours, true), (3, &theirs, false)]
    {
        version(number, authority);
        std::fs::remove_dir_all(top.join(format!("..2026_{}", number - 1))).expect("removed");
        until("the new files to count", || {
            let said = client.run_in(&ns, &count);
            ((said.code == 0) == let_in).then_some(())
        });
    }
}

/// What is mounted over the files is no change that inotify(7) tells of.
#[test]
fn sighup_has_the_files_read_that_were_exchanged_unnoticed() {
    let (ours, theirs) = (authority("ours"), Authority::new("theirs"));
    let directory = TempDir::new().expect("a directory");
    let write = |name: &str, authority: &Authority| {
        let directory = directory.path().join(name);
        std::fs::create_dir(&directory).expect("a directory");
        let [cert, key] = ours.issue("127.0.0.1");
        for (file, text) in [
            ("tls.crt", cert),
            ("tls.key", key),
            ("ca.crt", authority.issuer.pem()),
        ] {
            std::fs::write(directory.join(file), text).expect("a file");
        }
        directory
    };
    let (tls, other) = (write("tls", &ours), write("other", &theirs));
    let ns = Netns::new();
    let command = tls_command(&tls);
    let mut apart = Command::new("unshare");
    apart.arg("--mount").arg(command.get_program());
    let mut agent = Agent::start_as(&ns, apart.args(command.get_args()));
    let client = tcp_client(&agent);
    let count = format!("{} count", ours.flags("operator"));
    client.run_in(&ns, &count).well();

    let pid = agent.process().id().to_string();
    for file in ["tls.crt", "tls.key", "ca.crt"] {
        let mounted = Command::new("nsenter")
            .args(["--mount", "--target", &pid, "mount", "--bind"])
            .args([other.join(file), tls.join(file)])
            .status();
        assert!(mounted.expect("nsenter runs").success());
    }
    client.run_in(&ns, &count).well();
    agent.process().signal(Signal::HUP);
    agent.process().wait_for(READ);
    client.run_in(&ns, &count).failed(2);
    // And where nothing changed it says so.
    agent.process().signal(Signal::HUP);
    agent
        .process()
        .wait_for("the TLS files hold what is in force");
}

#[test]
fn a_certificate_that_cannot_be_read_keeps_no_binding_from_being_withdrawn() {
    let authority = authority("fleet");
    let directory = TempDir::new().expect("a directory");
    let config = directory.path().join("ctagent.toml");
    let bind = |name: &str| {
        let text = format!("[[bindings]]\nsubjects = [\"cn:{name}\"]\nrole = \"reader\"\n");
        std::fs::write(&config, text).expect("a file");
    };
    bind("operator");
    let flag = format!("--config={}", config.display());
    let agent = TlsAgent::start_strict(&authority, &[&flag]);
    agent.ask(&authority, "count").well();

    agent.hang("tls.crt");
    for (round, (name, lets_in)) in (1..).zip([("another", false), ("operator", true)]) {
        bind(name);
        agent.agent.signal(Signal::HUP);
        agent.said("the bindings were read again", round);
        agent.said("the audit log is open anew", round);
        let said = agent.ask(&authority, "count");
        if lets_in {
            said.well();
        } else {
            said.failed(2);
        }
    }
}

#[test]
fn sighup_does_not_end_an_agent_without_tls() {
    let ns = Netns::new();
    let mut agent = Agent::start(&ns);
    agent.process().signal(Signal::HUP);
    agent.process().wait_for("reloading");
    crate::harness::client::Client::alone(&agent)
        .run("count")
        .well();
}
