//! `ctctl conntrack` on several nodes, and where it is asked for in another way: who said what,
//! sums, the worst exit code, and no change that nobody confirmed.

use std::io::Write as _;
use std::process::Command;

use ctfleet::flow::{Family, Flow, Protocol};
use rustix::process::Signal;

use crate::harness::agent::Agent;
use crate::harness::client::{Client, Said};
use crate::harness::flows::{flow, host};
use crate::harness::{Netns, until};

/// Two namespaces with an agent each, called a and b.
struct Pair {
    here: Netns,
    there: Netns,
    client: Client,
    agents: [Agent; 2],
}

impl Pair {
    /// With udp flows from ports 1 and 2 on a, and from port 2 on b.
    fn new() -> Self {
        let (here, there) = (Netns::new(), Netns::new());
        let udp = |port| flow(Family::V4, Protocol::UDP, port);
        here.create(&[udp(1), udp(2)]);
        there.create(&[udp(2)]);
        let agents = [Agent::start(&here), Agent::start(&there)];
        Self {
            client: Client::of(&agents),
            here,
            there,
            agents,
        }
    }

    fn entries(&self) -> [u64; 2] {
        [self.here.entries(), self.there.entries()]
    }
}

/// What stands in front of each line, sorted.
fn leads(text: &str) -> Vec<&str> {
    let mut leads: Vec<_> = text
        .lines()
        .map(|line| line.split(' ').next().unwrap_or(""))
        .collect();
    leads.sort_unstable();
    leads
}

#[test]
fn lines_say_their_node_and_summaries_add_up() {
    let pair = Pair::new();
    let listed = pair.client.conntrack("-L -p udp");
    assert_eq!((listed.code, leads(&listed.out)), (0, vec!["a", "a", "b"]));
    assert!(listed.err.ends_with("): 3 flow entries have been shown.\n"));
    assert_eq!(pair.client.conntrack("-C").well(), "a 2\nb 1\n");
    assert_eq!(pair.client.conntrack("-C expect").well(), "a 0\nb 0\n");
    let stats = pair.client.conntrack("-S").well();
    assert!(stats.lines().all(|line| line[1..].starts_with(" cpu=")));
    let saved = pair.client.conntrack("-L -o save");
    assert_eq!(saved.out.matches("# node ").count(), 2, "{}", saved.out);
    let got = pair
        .client
        .conntrack("-G -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 80");
    assert_eq!((got.code, leads(&got.out)), (1, vec!["a"]));
    assert!(
        got.err
            .contains("b: Operation failed: such conntrack doesn't exist"),
        "{}",
        got.err
    );
    let both = pair
        .client
        .conntrack("-G -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 2 --dport 80");
    assert_eq!((both.code, leads(&both.out)), (0, vec!["a", "b"]));
}

#[test]
fn a_node_that_is_down_is_named_and_makes_the_exit_code() {
    let pair = Pair::new();
    let client = pair.client.clone().and("gone=unix:/nonexistent/agent.sock");
    for line in ["-L", "-C", "-S", "-D -p udp --sport 2 --yes"] {
        let said = client.conntrack(line);
        assert_eq!(said.code, 1, "{line}: {said:?}");
        assert!(
            said.err.contains("gone: Operation failed"),
            "{line}: {}",
            said.err
        );
        assert!(said.out.contains("a "), "{line}: {}", said.out);
    }
    assert_eq!(pair.entries(), [1, 0]);
    let nobody = Client::default().and("unix:/nonexistent/agent.sock");
    let said = nobody.conntrack("-L");
    assert_eq!((said.code, &*said.out), (1, ""));
    assert!(!said.err.contains("have been shown"), "{}", said.err);
}

#[test]
fn a_change_of_several_nodes_is_confirmed_first() {
    let pair = Pair::new();
    let new = "-t 600 -p udp -s 10.9.0.1 -d 10.9.0.2 --sport 7 --dport 7";
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "-A {new}").expect("written");
    let file = format!("-R {}", file.path().display());
    let lines = [
        "-D -p udp",
        "-D",
        "-U -p udp -m 5",
        "-F",
        &format!("-I {new}"),
        &format!("-A {new}"),
        &file,
    ];
    for line in lines {
        let said = pair.client.conntrack(line);
        let complaint = said.failed(1);
        assert!(complaint.contains("add --yes"), "{line}: {complaint}");
        assert_eq!(pair.entries(), [2, 1], "{line}");
        let said = pair.client.type_to(&format!("conntrack {line}"), "n\n");
        assert_eq!(said.code, 1, "{line}: {}", said.out);
        assert!(
            said.out.contains("nothing was changed"),
            "{line}: {}",
            said.out
        );
        assert_eq!(pair.entries(), [2, 1], "{line}");
    }
    assert!(pair.here.witness("-m 5").is_empty());
    let said = pair
        .client
        .type_to("conntrack -U -p udp --sport 2 -m 5", "y\n");
    assert_eq!(said.code, 0, "{}", said.out);
    assert!(said.out.contains("2 flows on 2 nodes"), "{}", said.out);
    assert!(
        said.out.contains("2 flow entries have been updated."),
        "{}",
        said.out
    );
    assert_eq!(pair.here.witness("-m 5").len(), 1);

    // The exit code is that of the node where there was nothing to do.
    let said = pair.client.conntrack("-D -p udp --sport 1 --yes");
    assert_eq!((said.code, leads(&said.out)), (1, vec!["a"]));
    assert!(said.err.ends_with("): 1 flow entries have been deleted.\n"));
    let said = pair.client.type_to("conntrack -D -p udp --sport 2", "y\n");
    assert_eq!(said.code, 0, "{}", said.out);
    assert_eq!(pair.entries(), [0, 0]);
    let nothing = pair.client.conntrack("-D");
    assert_eq!(nothing.code, 1, "nothing to ask about: {nothing:?}");
    assert!(
        nothing
            .err
            .ends_with("): 0 flow entries have been deleted.\n")
    );
    let added = pair.client.conntrack(&format!("-A {new} --yes"));
    assert!(added.err.ends_with("): 2 flow entries have been added.\n"));
    assert_eq!(pair.client.conntrack(&format!("{file} --yes")).code, 0);
    assert_eq!(pair.client.conntrack("-F --yes").code, 0);
    assert_eq!(pair.entries(), [0, 0]);
}

#[test]
fn one_node_is_changed_without_a_question() {
    let ns = Netns::new();
    ns.create(&[flow(Family::V4, Protocol::UDP, 1)]);
    let agent = Agent::start(&ns);
    let said = Client::of([&agent]).conntrack("-D");
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(ns.entries(), 0);
}

#[test]
fn a_saved_fleet_goes_back_node_by_node() {
    let pair = Pair::new();
    let saved = pair.client.conntrack("-L -o save").out;
    let before = pair.entries();
    pair.client.conntrack("-F --yes");
    let restored = pair.client.feed("conntrack --yes -R -", &saved);
    assert_eq!((restored.code, &*restored.err), (0, ""));
    assert_eq!(pair.entries(), before);
    // What belongs nowhere goes nowhere.
    pair.client.conntrack("-F --yes");
    let alone = Client::of([&pair.agents[0]]);
    let complaint = alone.feed("conntrack -R -", &saved).failed(2);
    assert!(complaint.contains("saved from node \"b\""), "{complaint}");
    assert_eq!(pair.entries(), [0, 0]);
}

#[test]
fn a_file_ends_at_the_flow_that_the_kernel_refuses() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let client = Client::of([&agent]);
    let line = |verb: &str, port: u16| {
        format!("{verb} -t 600 -p udp -s 10.0.0.1 -d 10.0.0.2 --sport {port} --dport 80\n")
    };
    let text = [
        line("-A", 1),
        line("-A", 1),
        line("-I", 2),
        line("-I", 2),
        line("-I", 3),
    ];
    let said = client.feed("conntrack -R -", &text.concat());
    let complaint = said.failed(1);
    assert!(
        complaint.contains("line 4: Such conntrack exists, try -U to update"),
        "{complaint}"
    );
    assert_eq!(ns.entries(), 2);
    let wrong = [
        line("-A", 9),
        "\n  # comment\n\t-A -t 1 -p nonsense\n".into(),
    ];
    let said = client.feed("conntrack -R -", &wrong.concat());
    let complaint = said.failed(2);
    assert!(
        complaint.contains("line 4: `nonsense' unsupported protocol"),
        "{complaint}"
    );
    assert_eq!(ns.entries(), 2, "no line is run when one is wrong");
    let many: Vec<String> = (1..=1000).map(|port| line("-A", port)).collect();
    let said = client.feed("conntrack -R -", &many.concat());
    assert_eq!((said.code, &*said.err), (0, ""));
    assert_eq!(ns.entries(), 1000);
}

#[test]
fn events_come_from_all_nodes_until_a_signal() {
    let pair = Pair::new();
    for signal in [Signal::INT, Signal::TERM] {
        let mut events = pair.client.start("conntrack -E -e NEW -p udp -b 1000000");
        let new: [Flow; 1] = [flow(Family::V4, Protocol::UDP, 7)];
        let mut shown = 0;
        for (ns, lead) in [
            (&pair.here, "a     [NEW] udp "),
            (&pair.there, "b     [NEW] udp "),
        ] {
            // What happens before the client has subscribed it does not hear.
            until(lead, || {
                ns.create(&new);
                ns.conntrack("-D -p udp --sport 7");
                let mut heard = None;
                while events.is_ready() {
                    shown += 1;
                    heard = events.line().starts_with(lead).then_some(()).or(heard);
                }
                heard
            });
        }
        events.signal(signal);
        let said = events.rest();
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.err.contains("NOTICE: "), "{}", said.err);
        shown += said.out.lines().count();
        let summary = format!("): {shown} flow events have been shown.\n");
        assert!(said.err.ends_with(&summary), "{shown}: {}", said.err);
    }
}

#[test]
fn under_the_name_of_conntrack_it_takes_nothing_else() {
    let ns = Netns::new();
    ns.create(&[flow(Family::V6, Protocol::UDP, 1)]);
    let agent = Agent::start(&ns);
    let directory = tempfile::TempDir::new().expect("a directory");
    let link = directory.path().join("conntrack");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ctctl"), &link).expect("a link");
    let run = |line: &str| {
        let mut command = Command::new(&link);
        command
            .args(line.split_whitespace())
            .env("CTCTL_TARGETS", agent.target());
        Said::of(command.output().expect("it runs"))
    };
    let listed = run("-L -o extended -f ipv6");
    assert!(listed.out.starts_with("ipv6     10 udp "), "{listed:?}");
    // `-t` is a timeout here, and no target.
    let updated = run("-U -p udp -t 77 -o extended");
    assert!(
        updated.out.starts_with("ipv6     10 udp      17 7"),
        "{updated:?}"
    );
    assert_eq!(
        run("list").code,
        0,
        "a stray word, and no command: the help"
    );
    assert_eq!(run("--help").code, 0);
    assert!(run("-V").well().starts_with("conntrack v1.4.8 ("));
    assert!(run("-L -y").failed(2).contains("unknown option `-y'"));
    // Behind the word, ctctl's own options are conntrack(8)'s.
    let client = Client::of([&agent]);
    assert!(
        client
            .conntrack("-L -t 5")
            .failed(2)
            .contains("Illegal option `--timeout'")
    );
    let help = client.run("conntrack --help").well();
    assert!(help.contains("--include-own-connections"), "{help}");
}

/// While a batch is deleted nobody reads the dump: it must not keep the answer from coming.
#[test]
fn a_table_larger_than_what_a_connection_holds_is_deleted() {
    const FLOWS: u32 = 60_000;
    let ns = Netns::new();
    let flows: Vec<Flow> = (0..FLOWS)
        .map(|n| {
            let mut flow = flow(Family::V6, Protocol::UDP, 1);
            flow.orig.src = host(Family::V6, 1000 + n);
            flow.reply = flow.orig.inverse();
            flow
        })
        .collect();
    ns.create(&flows);
    let agent = Agent::start(&ns);
    let said = Client::of([&agent]).conntrack("-D -p udp");
    assert_eq!((said.code, said.out.lines().count()), (0, 60_000));
    assert_eq!(ns.entries(), 0);
}
