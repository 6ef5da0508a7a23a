//! Hosts whose clock is ten years off, one way and the other: a certificate error that says so,
//! and timers that run as ever.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::client::{Client, Said};
use crate::harness::pki::{misdate, tcp_client, tls_command};

/// Made now by `ctctl pki`, for a year.
fn certificates() -> TempDir {
    let directory = TempDir::new().expect("a directory");
    let at = |file: &str| directory.path().join(file);
    let dir = directory.path().display().to_string();
    for line in ["init", "agent 127.0.0.1", "client operator"] {
        Client::default()
            .run(&format!("pki {line} --dir {dir}"))
            .well();
    }
    std::fs::rename(at("127.0.0.1.crt"), at("tls.crt")).expect("renamed");
    std::fs::rename(at("127.0.0.1.key"), at("tls.key")).expect("renamed");
    directory
}

fn flags(directory: &Path) -> String {
    let at = |file: &str| directory.join(file).display().to_string();
    format!(
        "--tls-ca {} --tls-cert {} --tls-key {}",
        at("ca.crt"),
        at("operator.crt"),
        at("operator.key")
    )
}

fn run(ns: &Netns, mut command: Command) -> Said {
    let output: Output = ns.enter(|| command.output()).expect("ctctl runs");
    Said::of(output)
}

#[test]
fn a_client_whose_clock_is_off_says_so() {
    let directory = certificates();
    let ns = Netns::new();
    let agent = Agent::start_as(&ns, &mut tls_command(directory.path()));
    let client = tcp_client(&agent);
    let count = format!("{} count", flags(directory.path()));
    run(&ns, client.command(&count)).well();
    for (by, words) in [
        ("+10y", "expired on 20"),
        ("-10y", "is not valid before 20"),
    ] {
        let mut command = client.command(&count);
        misdate(&mut command, by);
        let complaint = run(&ns, command).failed(2);
        assert!(
            complaint.contains(&format!("the agent's certificate {words}"))
                && complaint.contains("correct this host's clock"),
            "{by}: {complaint}"
        );
    }
}

#[test]
fn an_agent_whose_clock_is_off_says_so_and_so_does_its_client() {
    let directory = certificates();
    for (by, words) in [
        ("+10y", "expired on 20"),
        ("-10y", "is not valid before 20"),
    ] {
        let ns = Netns::new();
        let mut command = tls_command(directory.path());
        misdate(command.arg("--first-frame-timeout=1"), by);
        let mut agent = Agent::start_as(&ns, &mut command);
        let told = format!("tls.crt {words}");
        agent.process().wait_for(&told);
        agent.process().wait_for("or this host's clock is wrong");
        let client = tcp_client(&agent);
        let line = format!("{} count", flags(directory.path()));
        let complaint = run(&ns, client.command(&line)).failed(2);
        assert!(
            complaint.contains("does not accept our certificate (out of its time)")
                && complaint.contains("correct the clock of the agent's host"),
            "{by}: {complaint}"
        );
        agent.process().wait_for("the client's certificate");
        // Who needs no certificate is served.
        Client::alone(&agent).run("count").well();

        // Its timers: a client that says nothing is left after a second, not before and not in
        // ten years.
        let begun = Instant::now();
        let mut silent = std::os::unix::net::UnixStream::connect(agent.socket()).expect("a socket");
        silent
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a time-out");
        silent.read_to_end(&mut Vec::new()).expect("it closes");
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(900), "{by}: {waited:?}");
        agent.process().signal(Signal::TERM);
        assert!(agent.process().wait().success());
    }
}

#[test]
fn a_client_whose_clock_is_off_waits_as_long_as_ever() {
    let ns = Netns::new();
    let (listener, port) = ns.enter(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        (listener, port)
    });
    let client = Client::default().and(&format!("127.0.0.1:{port}"));
    for by in ["+10y", "-10y"] {
        let mut command = client.command("--insecure-plaintext --timeout 1 count");
        misdate(&mut command, by);
        let begun = Instant::now();
        let complaint = run(&ns, command).failed(2);
        let waited = begun.elapsed();
        assert!(complaint.contains("no answer for 1 s"), "{by}: {complaint}");
        assert!(waited >= Duration::from_millis(900), "{by}: {waited:?}");
    }
    drop(listener);
}
