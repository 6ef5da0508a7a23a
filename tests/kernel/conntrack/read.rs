//! Lines that read: both programs look at the same table.

use std::io::Write as _;
use std::net::Ipv4Addr;

use super::*;
use crate::harness::traffic::sctp_init;
use crate::output::busy;

/// A table with something for every option of the manual page.
pub(super) const ENTRIES: [&str; 22] = [
    "-s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1024 --dport 443 --state ESTABLISHED -t 9000 -u ASSURED,SEEN_REPLY -m 7",
    "-s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1025 --dport 22 --state SYN_SENT -t 9000 -m 0x17",
    "-s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1026 --dport 80 --state TIME_WAIT -t 9000 -u SEEN_REPLY -w 3",
    "-s 10.0.1.1 -d 10.0.0.3 -p tcp --sport 1027 --dport 80 --state CLOSE -t 9000 -u SEEN_REPLY,ASSURED,FIXED_TIMEOUT",
    "-s 10.0.0.1 -d 192.0.2.80 -p tcp --sport 1028 --dport 80 --state ESTABLISHED -t 9000 -n 198.51.100.1",
    "-s 10.0.0.1 -d 192.0.2.80 -p tcp --sport 1029 --dport 80 --state ESTABLISHED -t 9000 -g 10.1.0.7:8080",
    "-s 10.0.0.1 -d 192.0.2.80 -p tcp --sport 1030 --dport 80 --state ESTABLISHED -t 9000 -n 198.51.100.1:99 -g 10.1.0.7",
    "-s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1024 --dport 53 -t 9000",
    "-s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1025 --dport 53 -t 9000 -u SEEN_REPLY --label-add web",
    "-s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1026 --dport 53 -t 9000 --orig-zone 4 --label-add web,last",
    "-s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1027 --dport 53 -t 9000 --reply-zone 5",
    "-s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1028 --dport 53 -t 9000 -w 3 -m 7",
    "-s 10.0.0.1 -d 10.0.0.2 -p udplite --sport 1024 --dport 53 -t 9000",
    "-s 10.0.0.1 -d 10.0.0.2 -p sctp --sport 1024 --dport 53 --state ESTABLISHED --orig-vtag 17 --reply-vtag 0x12 -t 9000",
    "-s 10.0.0.1 -d 10.0.0.2 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77 -t 9000",
    "-s 10.0.0.1 -d 10.0.0.2 -p gre --srckey 0x11 --dstkey 22 -t 9000",
    "-s 10.0.0.1 -d 10.0.0.2 -p 89 -t 9000",
    "-s 2001:db8::1 -d 2001:db8::2 -p tcp --sport 1024 --dport 443 --state ESTABLISHED -t 9000 -u ASSURED,SEEN_REPLY -m 7",
    "-s 2001:db8::1 -d 2001:db8:0:1::2 -p udp --sport 1024 --dport 53 -t 9000 -w 3",
    "-s 2001:db8::1 -d 2001:db8::2 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 77 -t 9000",
    "-s 2001:db8::1 -d 2001:db8::2 -p tcp --sport 1025 --dport 80 --state ESTABLISHED -t 9000 -n 2001:db8::9",
    "-r 2001:db8::2 -q 2001:db8::1 -p 89 -t 9000",
];

/// Makes the entries.
pub(super) fn seed(ns: &Netns) {
    // The kernel keeps labels only while a rule uses them.
    ns.nft("table inet labels { chain c { ct label set 1; }; }");
    // One after the other, conntrack(8) 1.4.7 crashes when lines of a file name labels.
    let (labelled, plain): (Vec<&str>, Vec<&str>) =
        ENTRIES.iter().partition(|line| line.contains("label"));
    let lines: String = plain.iter().map(|line| format!("-I {line}\n")).collect();
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(lines.as_bytes()).expect("written");
    theirs(ns, &format!("-R {}", file.path().display())).well();
    for line in labelled {
        theirs(ns, &format!("-I {line}")).well();
    }
}

/// Lists of every form, and by every filter.
const LISTS: &[&str] = &[
    "-L",
    "-L conntrack",
    "-L conn",
    "--dump",
    "-L dying",
    "-L unconfirmed",
    "-L expect",
    "-L exp -f ipv6",
    // Forms of output.
    "-L -o extended",
    "-L -o id",
    "-L -o xml",
    "-L -o timestamp",
    "-L -o ktimestamp",
    "-L -o labels",
    "-L -o userspace",
    "-L -o ext",
    "-L -o EXTENDED,Id",
    "-L -o extended,id,ktimestamp,labels,timestamp,userspace",
    "-L -o xml,labels,ktimestamp,id,extended",
    "-L --output xml,timestamp",
    "-L -o id -o extended",
    "-L -o xml -s 203.0.113.9",
    "-L -o save -d 10.0.0.2",
    "-L -o save -f ipv6 -d 2001:db8:0:1::2",
    // Families and addresses.
    "-L -f ipv4",
    "-L -f ipv6",
    "-L --family ipv6 -o extended",
    "-L -s 10.0.0.1",
    "-L --src 10.0.1.1",
    "-L --orig-src 10.0.0.1 --orig-dst 10.0.0.2",
    "-L -d 10.0.0.2",
    "-L --dst 192.0.2.80",
    "-L -s 10.0.0.0/24",
    "-L -s 10.0.0.0/8 -d 10.0.0.3/32",
    "-L -s 10.0.0.0/0",
    "-L -d 192.0.2.0/24",
    "-L -s 10.0.0.1 --mask-src 255.255.0.0",
    "-L -d 10.0.0.2 --mask-dst 255.255.255.0",
    "-L -s 2001:db8::1",
    "-L -s 2001:db8::/32",
    "-L -d 2001:db8:0:1::/64",
    "-L -d 2001:db8::7 --mask-dst ffff:ffff:ffff:ffff::",
    "-L -r 10.1.0.7",
    "-L --reply-src 10.0.0.2",
    "-L -q 198.51.100.1",
    "-L --reply-dst 10.0.0.1 -r 10.0.0.2",
    "-L -r 2001:db8::2",
    "-L -s 203.0.113.1",
    // Protocols.
    "-L -p tcp",
    "-L -p TCP",
    "-L -p 6",
    "-L --proto udp",
    "-L --protonum udp",
    "-L -p 89",
    "-L -p 253",
    "-L -p tcp --sport 1024",
    "-L -p tcp --dport 80",
    "-L -p tcp --orig-port-src 1025 --orig-port-dst 22",
    "-L -p tcp --reply-port-src 8080",
    "-L -p tcp --reply-port-dst 99",
    "-L -p tcp --state ESTABLISHED",
    "-L -p tcp --state TIME_WAIT",
    "-L -p tcp --state LISTEN",
    "-L -p tcp --state NONE",
    "-L -p udp --sport 1024 --dport 53",
    "-L -p udp --reply-port-src 53 --reply-port-dst 1025",
    "-L -p udplite --sport 1024",
    "-L -p sctp --sport 1024 --dport 53",
    "-L -p sctp --state ESTABLISHED",
    "-L -p sctp --state CLOSED",
    "-L -p sctp --orig-vtag 17",
    "-L -p sctp --orig-vtag 17 --reply-vtag 19",
    "-L -p dccp",
    "-L -p dccp --state OPEN",
    "-L -p icmp",
    "-L -p icmp --icmp-type 8",
    "-L -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77",
    "-L -p icmp --icmp-type 0",
    "-L -p icmpv6 --icmpv6-type 128",
    "-L -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 77",
    "-L -p gre",
    "-L -p gre --srckey 0x11",
    "-L -p gre --srckey 17 --dstkey 22",
    "-L -p gre --orig-key-src 17 --orig-key-dst 0x16",
    "-L -p gre --reply-key-src 22 --reply-key-dst 17",
    // Marks, status, zones.
    "-L -m 7",
    "-L --mark 0x17",
    "-L -m 7/0xf",
    "-L -m 0x10/0x10",
    "-L -m 0",
    "-L -m 99",
    "-L -c 0",
    "-L -c 1",
    "-L -u ASSURED",
    "-L -u SEEN_REPLY",
    "-L -u ASSURED,SEEN_REPLY",
    "-L --status assured,seen_reply",
    "-L -u FIXED_TIMEOUT",
    "-L -u EXPECTED",
    "-L -u OFFLOAD",
    "-L -w 3",
    "-L --zone 3 -p udp",
    "-L -w 0x3",
    "-L -w 9",
    "-L --orig-zone 4",
    "-L --reply-zone 5",
    // Translations.
    "-L -n",
    "-L -g",
    "-L -j",
    "-L -n -g",
    "-L --src-nat",
    "-L --dst-nat",
    "-L --any-nat",
    "-L -n 198.51.100.1",
    "-L -n 198.51.100.1:99",
    "-L -n 198.51.100.9",
    "-L -g 10.1.0.7",
    "-L -g 10.1.0.7:8080",
    "-L -g 10.1.0.7:9",
    "-L -j 10.1.0.7",
    "-L -j 198.51.100.1",
    // Labels.
    "-L -l web",
    "-L --label web -l last",
    "-L -l web,last",
    "-L -l zero",
    "-L -l web -o id,extended",
    // Several at once.
    "-L -p tcp -s 10.0.0.1 -m 7 -f ipv4 --dport 443",
    "-L -p udp -w 3 -m 7 -o extended,id",
];

/// Ways to write the same that few know.
const ODD: &[&str] = &[
    "-s 10.0.0.1 -L",
    "-p tcp --sport 1024 -L -o id",
    "-L -ptcp -m7",
    "-L -s10.0.0.1",
    "-L --src=10.0.0.1 --proto=udp",
    "-L --orig-src=10.0.0.1",
    "-L --repl=10.0.0.2",
    "-L --reply-s=10.0.0.2",
    "-L -s 10.1",
    "-L -s 0x0a000001",
    "-L -s 10.0.0.01",
    "-L -s ::ffff:10.0.0.1",
    "-L -s 2001:DB8::1",
    "-L -s 10.0.0.1/8 -d 10.0.0.2/31",
    "-L -s 10.0.0.1/",
    "-L -f ipv4x",
    "-L -f IPV4",
    "-L -p 0x6",
    "-L -p 06",
    "-L -p tc",
    "-L -p icmp6",
    "-L -p ipv6-icmp",
    "-L -p tcp --sport 0",
    "-L -p tcp --sport 1024 --sport 1025",
    "-L -p tcp -p udp",
    "-L -p udp --sport 1024 -p tcp",
    "-L -p tcp --state established",
    "-L -p tcp --state EST",
    "-L -m 07",
    "-L -m 0x7/0xF",
    "-L -m 7 -m 0x17",
    "-L -w 03",
    "-L -w 3 -w 4",
    "-L -w 3 --orig-zone 4",
    "-L --orig-zone 4 --reply-zone 5",
    "-L -u A",
    "-L -u ASSURED,ASSURED",
    "-L -u UNSET,ASSURED",
    "-L -u SRC_NAT",
    "-L -u CONFIRMED",
    "-L -n 198.51.100.1 -n",
    "-L -g -g 10.1.0.7",
    "-L -n -p tcp --dport 80",
    "-L -s 10.0.0.1 -s 10.0.1.1",
    "-L expect conntrack",
    "-L conntrack something else",
    "-L -- -p tcp",
    "-L e",
    "-L d",
    "-L u",
    "-L -o x",
    "-L -o e,i",
    "-L -o i -o e -o k",
    "-Lz -o id",
    "-C c",
    "-L -a 10.0.0.1",
    "-L -i 5",
    "-D -i 5",
    "-U -i 5 -m 1",
    "-L -p tcp --state ESTABLISHED --state CLOSE",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p 89",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1028 --dport 53",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p icmp --icmp-type 8 --icmp-code 0",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1024 --dport 443 -l web",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1024 --dport 443 --state CLOSE",
];

/// One entry, the counters, and what else only reads.
const OTHERS: &[&str] = &[
    "-G -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1024 --dport 443",
    "--get -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1024 --dport 53 -o extended,id",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1025 --dport 53 -o labels",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1025 --dport 53 -o xml,labels",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1025 --dport 53 -o save",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p gre --srckey 17 --dstkey 22",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p sctp --sport 1024 --dport 53",
    "-G -s 2001:db8::1 -d 2001:db8::2 -p tcp --sport 1024 --dport 443",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1 --dport 443",
    "-G -s 2001:db8::1 -d 2001:db8::2 -p tcp --sport 1 --dport 443",
    "-C",
    "--count",
    "-C conntrack",
    "-C expect",
    "-S",
    "--stats",
    "-S expect",
];

/// Tries each line until both agree, a few times: a second may go by between them.
pub(super) fn agree(host: &Host, lines: &[&str]) -> Campaign {
    let mut campaign = Campaign::default();
    for line in lines {
        let differ = || {
            let (theirs, ours) = (theirs(&host.ns, line), ours(&host.client, line));
            difference(&theirs, &ours, Whose::SameTable, false)
        };
        let mut tries = std::iter::repeat_with(differ).take(3);
        let first = tries.next().flatten();
        if first.is_some() && !tries.any(|again| again.is_none()) {
            campaign.note(line, first);
        }
    }
    campaign
}

#[test]
fn lists_are_those_of_conntrack() {
    let ns = Netns::new();
    ns.set_sysctl("net/netfilter/nf_conntrack_acct", "1");
    ns.set_sysctl("net/netfilter/nf_conntrack_timestamp", "1");
    seed(&ns);
    agree(&Host::new(ns), LISTS).end();
}

#[test]
fn odd_lines_are_understood_as_by_conntrack() {
    let ns = Netns::new();
    seed(&ns);
    agree(&Host::new(ns), ODD).end();
}

#[test]
fn without_counters_and_times_they_are_too() {
    let ns = Netns::new();
    seed(&ns);
    let lines = [
        "-L",
        "-L -o xml",
        "-L -o extended,id,ktimestamp",
        "-L -o xml,ktimestamp",
    ];
    agree(&Host::new(ns), &lines).end();
}

#[test]
fn an_empty_table_is_that_of_conntrack() {
    let lines = [
        "-L",
        "-L -o xml",
        "-L -o save",
        "-L expect -o xml",
        "-C",
        "-L -f ipv6",
    ];
    agree(&Host::new(Netns::new()), &lines).end();
}

#[test]
fn entries_and_counters_are_those_of_conntrack() {
    let ns = Netns::new();
    seed(&ns);
    agree(&Host::new(ns), OTHERS).end();
}

#[test]
fn tags_of_real_packets_are_those_of_conntrack() {
    let ns = Netns::tracking();
    sctp_init(&ns, Ipv4Addr::LOCALHOST, (5000, 5001), 0x0102_0304);
    let host = Host::new(ns);
    let lines = ["-L -p sctp -o save", "-L -p sctp -o id"];
    agree(&host, &lines).end();
    let saved = ours(&host.client, "-L -p sctp -o save");
    assert!(saved.out.contains("-vtag 67305985"), "{}", saved.out);
}

#[test]
fn real_connections_are_those_of_conntrack() {
    let (firewall, _held) = busy();
    let host = Host::new(firewall.router);
    let lines = [
        "-L -o extended,id,ktimestamp",
        "-L -o xml,ktimestamp",
        "-L -n",
        "-L -g -p tcp",
        "-L -p tcp --state ESTABLISHED -o id",
        "-L -p icmp",
        "-L -u ASSURED",
        "-L -z",
        "-L",
    ];
    agree(&host, &lines).end();
}
