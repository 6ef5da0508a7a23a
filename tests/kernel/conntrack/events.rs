//! Events: watchers of both programs beside each other on the same table.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::*;
use crate::expectations::{announce, delete, write};
use crate::harness::flows::{expectation, flow, helped};
use crate::harness::traffic::{Tcp, ping, udp};
use crate::harness::{Firewall, until};
use ctfleet::ctnetlink::CreateMode;
use ctfleet::flow::{Family, Protocol};

/// A program that runs until it is told to stop.
struct Watcher {
    child: Child,
    directory: TempDir,
}

impl Watcher {
    fn start(ns: &Netns, command: &Command) -> Self {
        let directory = TempDir::new().expect("a directory");
        let file = |name| File::create(directory.path().join(name)).expect("a file");
        let mut command = labelled(command);
        command
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"));
        let child = ns.enter(|| command.spawn()).expect("it runs");
        Self { child, directory }
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).expect("UTF-8")
    }

    fn stop(mut self, signal: Signal) -> Answer {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        let status = until("a watcher to end", || {
            self.child.try_wait().expect("a child")
        });
        Answer {
            code: status.code(),
            out: self.said("out"),
            err: self.said("err"),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // One that has ended already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both programs with the same line.
struct Pair {
    line: &'static str,
    theirs: Watcher,
    ours: Watcher,
}

impl Pair {
    fn start(host: &Host, line: &'static str) -> Self {
        Self {
            line,
            theirs: Watcher::start(&host.ns, &conntrack(line)),
            ours: Watcher::start(&host.ns, &host.client.command(&format!("conntrack {line}"))),
        }
    }

    /// Whether both have heard of this.
    fn heard(&self, words: &[String]) -> bool {
        [&self.theirs, &self.ours].iter().all(|watcher| {
            let out = watcher.said("out");
            words.iter().any(|word| out.contains(word))
        })
    }
}

/// How a port is written in lines and in XML.
fn written(port: u16) -> [String; 4] {
    [
        format!(" dport={port} "),
        format!(" --dport {port} "),
        format!("<dport>{port}</dport>"),
        format!(" dport={port}\n"),
    ]
}

/// Something that every watcher hears: an entry comes, changes and goes.
fn knock(ns: &Netns, port: u16) {
    let ends = format!("-s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 9 --dport {port}");
    ns.conntrack(&format!(
        "-I {ends} --state ESTABLISHED -t 60 -u SEEN_REPLY"
    ));
    ns.conntrack(&format!("-U {ends} -m 1"));
    ns.conntrack(&format!("-D {ends}"));
}

const KNOCK: u16 = 9;
const END: u16 = 19;

/// Waits until both programs of each pair have said one of these words.
#[track_caller]
fn hear(pairs: &[Pair], words: &[String], mut knock: impl FnMut()) {
    for pair in pairs {
        until(pair.line, || {
            let heard = pair.heard(words);
            if !heard {
                knock();
            }
            heard.then_some(())
        });
    }
}

/// Starts all, waits until all listen, and after `act` compares what they say.
fn agree(host: &Host, lines: &[&'static str], act: impl FnOnce()) {
    let pairs: Vec<Pair> = lines.iter().map(|line| Pair::start(host, line)).collect();
    hear(&pairs, &written(KNOCK), || knock(&host.ns, KNOCK));
    act();
    knock(&host.ns, END);
    hear(&pairs, &written(END), || ());
    let mut campaign = Campaign::default();
    for (Pair { line, theirs, ours }, signal) in pairs
        .into_iter()
        .zip([Signal::INT, Signal::TERM].into_iter().cycle())
    {
        let [theirs, ours] = [theirs, ours].map(|watcher| between(watcher.stop(signal)));
        campaign.note(line, difference(&theirs, &ours, Whose::SameTable, false));
    }
    campaign.end();
}

/// Without the knocks, of which each heard another number, and the number of events in
/// their words.
fn between(mut answer: Answer) -> Answer {
    let knocks = [written(KNOCK), written(END)].concat();
    let is_event =
        |line: &&str| line.contains("src=") || line.contains(" -s ") || line.starts_with("<flow");
    let events = answer.out.lines().filter(is_event);
    let comments = |line: &&str| !line.starts_with('#');
    let count = format!(" {} ", events.filter(comments).count());
    answer.err = answer.err.replace(&count, " N ");
    let lines = answer.out.lines().map(|line| format!("{line}\n"));
    answer.out = lines
        .filter(|line| !knocks.iter().any(|knock| line.contains(knock)))
        .collect();
    answer
}

#[test]
fn events_are_those_of_conntrack() {
    let firewall = Firewall::new();
    let Firewall {
        client,
        router,
        server,
    } = firewall;
    router.nft("table inet labels { chain post { type filter hook postrouting priority 0; ct label set 5; }; }");
    router.set_sysctl("net/netfilter/nf_conntrack_acct", "1");
    router.set_sysctl("net/netfilter/nf_conntrack_timestamp", "1");
    let host = Host::new(router);
    let lines = [
        "-E",
        "-E conntrack",
        "--event",
        "-E -o extended",
        "-E -o id",
        "-E -o xml",
        "-E -o save",
        "-E -o timestamp",
        "-E -o ktimestamp",
        "-E -o labels",
        "-E -o userspace",
        "-E -o extended,id,timestamp,ktimestamp,labels",
        "-E -o xml,timestamp,ktimestamp,labels",
        "-E -e ALL",
        "-E -e NEW",
        "-E -e UPDATES -o id",
        "-E -e DESTROY",
        "-E -e NEW,DESTROY -o xml",
        "-E -f ipv4",
        "-E -p tcp",
        "-E -s 10.0.0.0/8",
        "-E -d 10.0.0.2",
        "-E -p tcp --sport 9",
        "-E -s 10.0.0.1 --mask-src 255.255.0.0 -o id",
        "-E -r 10.0.0.2",
        "-E -q 10.0.0.1 -p tcp --reply-port-dst 9",
        "-E -w 0",
    ];
    agree(&host, &lines, || {
        let mut held = Vec::new();
        for family in [Family::V4, Family::V6] {
            let at = std::net::SocketAddr::new(Firewall::server_address(family), 0);
            held.push(Tcp::open(&client, &server, at));
            udp(&client, &server, at);
            ping(&client, at.ip());
        }
        for line in super::read::ENTRIES {
            theirs(&host.ns, &format!("-I {line}"));
        }
        theirs(&host.ns, "-U -s 10.0.0.1 -p udp --sport 1024 -m 77");
        theirs(&host.ns, "-D -p tcp -s 10.0.0.1");
        theirs(&host.ns, "-F");
    });
}

#[test]
fn expectations_come_and_go_as_for_conntrack() {
    let Firewall {
        client,
        router,
        server,
    } = Firewall::new();
    let host = Host::new(router);
    let lines = [
        "-E expect",
        "-E expect -o timestamp",
        "-E expect -o xml",
        "-E expect -o id,extended,labels",
        "-E expect -o xml,timestamp",
        "-E expect -o save",
    ];
    let pairs: Vec<Pair> = lines.iter().map(|line| Pair::start(&host, line)).collect();
    // What a knock is here: an expectation comes and goes. Of a connection of its own, for ftp
    // has room for one of each; and of a new one, for an older one may have no events.
    let ports = std::cell::Cell::new(4000);
    let knock = |address: &str| {
        let port = ports.replace(ports.get() + 1);
        let master = helped(flow(Family::V4, Protocol::TCP, port), "ftp");
        host.ns.create(std::slice::from_ref(&master));
        let mut expectation = expectation(&master, 99);
        expectation.tuple.src = address.parse().expect("an address");
        assert_eq!(write(&host.ns, &expectation, CreateMode::Create), None);
        assert_eq!(delete(&host.ns, &expectation.key()), None);
    };
    let written = |address: &str| [format!("src={address} "), format!("<src>{address}<")];
    hear(&pairs, &written("10.7.0.1"), || knock("10.7.0.1"));
    // What ftp waits for is taken up by the connection that it is for.
    let (_control, data) = announce(&client, &host.ns, &server, Family::V4);
    let at = data.local_addr().expect("bound");
    let gone = Tcp::through(&server, &data, at);
    knock("10.7.0.3");
    hear(&pairs, &written("10.7.0.3"), || ());
    let mut campaign = Campaign::default();
    for Pair { line, theirs, ours } in pairs {
        let [theirs, ours] = [theirs, ours].map(|watcher| {
            let mut answer = watcher.stop(Signal::INT);
            let shown = |line: &&str| line.contains("src=") || line.starts_with("<flow");
            let count = format!(" {} ", answer.out.lines().filter(shown).count());
            answer.err = answer.err.replace(&count, " N ");
            let lines = answer.out.lines().map(|line| format!("{line}\n"));
            answer.out = lines
                .filter(|line| !line.contains("10.7.0.1") && !line.contains("10.7.0.3"))
                .collect();
            answer
        });
        assert_ne!(theirs.out, "", "{line}");
        campaign.note(line, difference(&theirs, &ours, Whose::SameTable, false));
    }
    campaign.end();
    drop(gone);
}
