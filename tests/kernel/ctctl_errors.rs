//! What goes wrong, in words that say what to do, with the exit code that scripts read.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::client::Client;
use crate::harness::impostor::{Answer, Impostor};
use crate::harness::pki::{Authority, TlsAgent};

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

#[test]
fn what_is_wrong_with_tls_is_told() {
    // Of one name, so that only their keys tell them apart.
    let [ours, foreign] = [(); 2].map(|()| Authority::new("ours"));
    ours.enrol("client");
    foreign.enrol("client");
    let agent = TlsAgent::start(&ours, &[]);
    let ask = |flags: &str| agent.client().run_in(agent.ns(), &format!("{flags} count"));
    let (ca, other_ca) = (ours.trusted(), foreign.trusted());
    let own = ours.shown("client");
    ask(&format!("{ca} {own}")).well();
    for (flags, words) in [
        (format!("{other_ca} {own}"), "not issued by a CA"),
        (ca.clone(), "wants a client certificate"),
        (
            format!("{ca} {}", foreign.shown("client")),
            "does not accept our certificate",
        ),
        (
            format!("{ca} {own} --tls-server-name fw1"),
            "not valid for \"fw1\" (it is for 127.0.0.1)",
        ),
        ("--insecure-plaintext".to_owned(), "speaks TLS"),
        (
            format!("{ca} --tls-cert={}", ours.at("client.pem").display()),
            "needs --tls-key",
        ),
    ] {
        let complaint = ask(&flags).failed(2);
        assert!(complaint.contains(words), "{flags}: {complaint}");
    }
}

#[test]
fn an_agents_words_neither_steer_the_terminal_nor_pass_for_ours() {
    let evil = Impostor::start(Answer {
        code: 9,
        words: "evil%1B]0;PWNED%07%1B[2J%0Actctl: all good",
        ..Answer::default()
    });
    let client = Client::default().and(&evil.target());
    let shown = "evil\\u{1b}]0;PWNED\\u{7}\\u{1b}[2J\\u{a}ctctl: all good\n";
    let told = client.run("count").failed(2);
    assert_eq!(told, format!("ctctl: {shown}"));
    let told = client.run("watch").failed(2);
    assert_eq!(told, format!("ctctl: {shown}"));
    let told = client.conntrack("-C").failed(1);
    assert_eq!(told.lines().count(), 1, "{told:?}");
    assert!(told.ends_with(shown), "{told:?}");
}

#[test]
fn what_agents_count_is_added_up_however_much_it_is() {
    // CountFlowsResponse.count: as much as a number holds.
    let message = [&[0x08][..], &[0xff; 9], &[0x01]].concat();
    let boaster = || {
        Impostor::start(Answer {
            message: message.clone(),
            times: 1,
            ..Answer::default()
        })
    };
    let (one, another) = (boaster(), boaster());
    let client = Client::default().and(&one.target()).and(&another.target());
    let said = client.run("count").well();
    let total = said.lines().last().expect("a total");
    let words: Vec<_> = total.split_whitespace().collect();
    assert_eq!(words[..2], ["total", "18446744073709551615"], "{said}");
}

#[test]
fn an_agent_cannot_fill_the_client_with_names_of_namespaces() {
    // A page with one long name, and a token for the next page, which is alike.
    let name = [&[0x0a, 0x80, 0x80, 0x01][..], &[b'n'; 1 << 14]].concat();
    let page = [&[0x0a, 0x84, 0x80, 0x01][..], &name, b"\x12\x01m"].concat();
    let endless = Impostor::start(Answer {
        message: page,
        times: 1,
        ..Answer::default()
    });
    let told = Client::default()
        .and(&endless.target())
        .run("netns")
        .failed(2);
    assert!(told.contains("16384 bytes"), "{told}");
}

#[test]
fn a_stream_of_entries_comes_in_short_messages() {
    // Flows without anything in them: DumpFlowsResponse.flows.
    let long = Impostor::start(Answer {
        message: [0x0a, 0x00].repeat(150 << 10),
        times: 1,
        ..Answer::default()
    });
    let client = Client::default().and(&long.target());
    for line in ["list", "watch", "expect list", "expect watch"] {
        let told = client.run(line).failed(2);
        assert!(told.contains("length too large"), "{line}: {told}");
    }
}
