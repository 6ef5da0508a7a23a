//! The same command lines in twin namespaces, once through conntrack(8) and once through
//! `ctctl conntrack`: the same output, the same words beside it, the same exit code, and at the
//! end the same table.

use std::process::Command;

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::client::{Client, Said};

/// Two namespaces that are alike, of which the second has an agent.
struct Twins {
    witness: Netns,
    ours: Netns,
    client: Client,
    _agent: Agent,
}

/// What a command line came to, without what no two runs have in common.
#[derive(Debug, PartialEq, Eq)]
struct Result {
    code: i32,
    rows: Vec<String>,
    words: Vec<String>,
}

impl Twins {
    fn new() -> Self {
        let (witness, ours) = (Netns::new(), Netns::new());
        let agent = Agent::start(&ours);
        Self {
            client: Client::of([&agent]),
            witness,
            ours,
            _agent: agent,
        }
    }

    /// Runs a line on both sides.
    #[track_caller]
    fn run(&self, line: &str) -> (Result, Result) {
        let mut command = Command::new("conntrack");
        command.args(line.split_whitespace());
        let witness = self
            .witness
            .enter(|| command.output())
            .expect("conntrack(8)");
        let ours = self.client.conntrack(line);
        (Result::of(Said::of(witness)), Result::of(ours))
    }

    /// Runs a line on both sides and compares all that it came to.
    #[track_caller]
    fn same(&self, line: &str) -> Result {
        let (witness, ours) = self.run(line);
        assert_eq!(ours, witness, "{line}: ctctl, conntrack(8)");
        ours
    }

    /// Compares the tables.
    #[track_caller]
    fn same_tables(&self) {
        let table = |ns: &Netns| {
            let listed = ["-f ipv4", "-f ipv6"].map(|family| {
                let listed = ns.conntrack(&format!("-L {family} -o extended"));
                let mut rows: Vec<String> = listed.lines().map(masked).collect();
                rows.sort();
                rows
            });
            listed.concat()
        };
        assert_eq!(table(&self.ours), table(&self.witness));
    }
}

impl Result {
    fn of(said: Said) -> Self {
        let mut rows: Vec<String> = said.out.lines().map(masked).collect();
        // The order of a table is the order of its hashes.
        rows.sort();
        Self {
            code: said.code,
            rows,
            words: said.err.lines().map(masked).collect(),
        }
    }
}

/// A line without ids, without what the clock changes, and without who it is that speaks.
fn masked(line: &str) -> String {
    let line = match line.split_once("): ") {
        Some((speaker, words)) if speaker.starts_with("conntrack v") => format!("): {words}"),
        _ => line.to_owned(),
    };
    let mut masked = Vec::new();
    for word in line.split(' ') {
        let word = match word.split_once('=') {
            Some(("id", id)) if id.len() > 5 => "id=".to_owned(),
            Some(("delta-time", _)) => "delta-time=".to_owned(),
            _ => in_elements(word),
        };
        masked.push(word);
    }
    // Behind the number of the protocol: the seconds that are left.
    let protocol = masked.iter().position(|word| is_number(word));
    let seconds = match protocol {
        Some(family) if matches!(masked[0].as_str(), "ipv4" | "ipv6") => masked[family + 1..]
            .iter()
            .position(|word| is_number(word))
            .map(|at| family + 1 + at + 1),
        protocol => protocol.map(|at| at + 1),
    };
    if let Some(word) = seconds.and_then(|at| masked.get_mut(at)) {
        *word = tens(word);
    }
    masked.join(" ")
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// The timeouts here are multiples of a thousand, and no test takes as long as half of that.
fn tens(word: &str) -> String {
    match word.parse::<u32>() {
        Ok(seconds) => format!("~{}", (seconds + 500) / 1000 * 1000),
        Err(_) => word.to_owned(),
    }
}

/// The same inside XML.
fn in_elements(word: &str) -> String {
    let mut word = word.to_owned();
    for (name, mask) in [("id", false), ("timeout", true)] {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let Some(from) = word.rfind(&open).map(|at| at + open.len()) else {
            continue;
        };
        let Some(to) = word[from..].find(&close).map(|at| from + at) else {
            continue;
        };
        if to - from > 2 {
            let value = match mask {
                true => tens(&word[from..to]),
                false => String::new(),
            };
            word.replace_range(from..to, &value);
        }
    }
    word
}

/// One entry of each kind, in both families, with translations, zones and marks.
const ENTRIES: [&str; 19] = [
    "-p udp -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 -m 1",
    "-p udp -s 1.1.1.1 -d 1.1.1.3 --sport 3 --dport 53 -m 7",
    "-p tcp -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 --state ESTABLISHED -u ASSURED,SEEN_REPLY",
    "-p tcp -s 2001:db8::1 -d 2001:db8::2 --sport 1 --dport 2 --state SYN_SENT",
    "-p tcp -s 1.1.1.1 -d 1.1.1.2 --sport 5 --dport 2 --state LISTEN",
    "-p sctp -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 --state ESTABLISHED --orig-vtag 1 \
     --reply-vtag 2",
    "-p udplite -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2",
    "-p icmp -s 1.1.1.1 -d 1.1.1.2 --icmp-type 8 --icmp-code 0 --icmp-id 5",
    "-p icmpv6 -s ::1 -d ::2 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 5",
    "-p gre -s 1.1.1.1 -d 1.1.1.2 --srckey 0x10 --dstkey 17",
    "-p 89 -s ::1 -d ::2 -w 7",
    "-p 89 -s ::1 -d ::2 --orig-zone 8",
    "-p ospf -s ::1 -d ::2 --reply-zone 9",
    "-p udp -s 1.1.1.1 -d 1.1.1.2 -n 5.5.5.5:77 --sport 4 --dport 2",
    "-p udp -s 1.1.1.1 -d 1.1.1.2 -n 5.5.5.5 -g 6.6.6.6:9 --sport 6 --dport 2",
    "-p udp -s 1.1.1.1 -d 1.1.1.2 -g 6.6.6.6 --sport 9 --dport 2",
    "-p udp -r 1.1.1.2 -q 1.1.1.1 --reply-port-src 53 --reply-port-dst 54",
    "-p udp -s 1.1.1.1 -d 1.1.1.2 -r 1.1.1.2 -q 1.1.1.1 --sport 12 --dport 2 --reply-port-src 2 \
     --reply-port-dst 12",
    "-p udp -s 10.1 -d 0x0a000002 --sport 1 --dport 2 -u FIXED_TIMEOUT",
];

fn filled() -> Twins {
    let twins = Twins::new();
    for entry in ENTRIES {
        let made = twins.same(&format!("-I -t 50000 {entry}"));
        assert_eq!(made.code, 0, "{entry}: {made:?}");
    }
    twins.same_tables();
    twins
}

#[test]
fn entries_are_created_alike() {
    let twins = filled();
    for again in [
        "-I -t 50000 -p udp -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2",
        "-A -t 9000 -p udp -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2 -m 9",
        "-A -t 9000 -p udp -s 1.1.1.1 -d 1.1.1.2 --sport 13 --dport 2 -m 9/3",
        "-I -t 50000 -p udp -s 1.1.1.1 -d 1.1.1.2 -q 1.1.1.3 --sport 14 --dport 2",
        "-I -t 50000 -p udp -s 1.1.1.1 -d 1.1.1.2 -r 1.1.1.2 -q 1.1.1.3 --sport 15 --dport 2",
        "-I -t 50000 -p 89 -s ::1 -d ::2 --orig-zone 8 --reply-zone 9",
        "-I -t 50000 -p 89 -s ::1 -d 10.0.0.1",
    ] {
        twins.same(again);
    }
    twins.same_tables();
}

#[test]
fn lists_are_alike_whatever_selects_them() {
    let twins = filled();
    let formats = [
        "",
        "-o extended",
        "-o id,extended",
        "-o xml",
        "-o xml,extended,id",
    ];
    for format in formats
        .into_iter()
        .chain(["-o ktimestamp", "-o EXT", "-f ipv4", "-f ipv6"])
    {
        let listed = twins.same(&format!("-L {format}"));
        assert!(listed.rows.len() > 4, "{format}: {listed:?}");
    }
    let mut found = 0;
    for selection in [
        "-p tcp",
        "-p udp",
        "-p 17",
        "-p UDP",
        "-p ospf",
        "-p 254",
        "-s 1.1.1.1",
        "-s 1.1.1.0/24",
        "-s 1.1.1.0/8 -d 1.1.1.2",
        "-s 1.1.1.1 --mask-src 255.0.0.0",
        "-s 1.1.1.1 --mask-src 255.0.255.0",
        "-d 1.1.1.2/31",
        "-s 2001:db8::/32",
        "-s ::/0",
        "-s 0.0.0.0/0",
        "-s 2001:db8::1 --mask-src ffff::",
        "-r 1.1.1.2",
        "-q 1.1.1.1",
        "-p udp --sport 1",
        "-p udp --dport 2",
        "-p udp --orig-port-src 1 --orig-port-dst 2",
        "-p udp --reply-port-src 2",
        "-p udp --reply-port-dst 77",
        "-p tcp --state ESTABLISHED",
        "-p tcp --state LISTEN",
        "-p sctp --state ESTABLISHED",
        "-p icmp --icmp-type 8",
        "-p icmp --icmp-id 5",
        "-p icmp --icmp-code 1",
        "-p icmpv6 --icmpv6-type 128",
        "-p gre --srckey 0x10",
        "-p gre --dstkey 0x11",
        "-p gre --reply-key-src 17",
        "-m 1",
        "-m 7",
        "-m 0",
        "-m 1/1",
        "-m 7/3",
        "-m 3/3",
        "-m 0x1/0x1",
        "-u ASSURED",
        "-u SEEN_REPLY",
        "-u ASSURED,SEEN_REPLY",
        "-u UNSET",
        "-u UNREPLIED",
        "-u !ASSURED",
        "-u FIXED_TIMEOUT",
        "-w 7",
        "-w 0",
        "-w 1",
        "--orig-zone 8",
        "--reply-zone 9",
        "--orig-zone 0",
        "--reply-zone 0",
        "-n",
        "-g",
        "-j",
        "-n -g",
        "-n 5.5.5.5",
        "-n 5.5.5.5:77",
        "-n 5.5.5.5:78",
        "-n 5.5.5.6",
        "-g 6.6.6.6",
        "-g 6.6.6.6:9",
        "-j 5.5.5.5",
        "-j 6.6.6.6",
        "-j 6.6.6.6:9",
        "-c 1",
        "--src-nat",
        "--any 5.5.5.5",
    ] {
        found += twins.same(&format!("-L {selection}")).rows.len();
    }
    assert!(found > 100, "{found}");
    for line in [
        "-L dying",
        "-L unconfirmed",
        "-L expect",
        "-L exp -f ipv6",
        "-C",
        "-C expect",
        "-S expect",
        "-L -z",
        "-L -z -p udp",
    ] {
        twins.same(line);
    }
}
