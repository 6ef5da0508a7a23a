//! Lines that change: conntrack(8) works in one namespace, ctctl in its twin.

use super::read::seed;
use super::*;

/// A namespace where labels are kept.
fn labelling(ns: &Netns) {
    ns.nft("table inet labels { chain c { ct label set 1; }; }");
}

#[test]
fn entries_are_created_as_by_conntrack() {
    let created = [
        "-I -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1 --dport 2 --state ESTABLISHED -t 1000",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1 --dport 2 --state ESTABLISHED -t 1000",
        "-A -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1 --dport 2 --state CLOSE -t 2000 -m 9",
        "-A -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 3 --dport 2 --state LAST_ACK -t 1000",
        "--create -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 4 --dport 2 --state SYN_SENT --timeout 1000 --status SEEN_REPLY,ASSURED --mark 0x10",
        "-I conntrack -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2 -t 1000 -u FIXED_TIMEOUT",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 2 --dport 2 -t 1000 -m 7/0xf",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 3 --dport 2 -t 1000 -w 3",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 3 --dport 2 -t 1000 --orig-zone 4",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 4 --dport 2 -t 1000 --reply-zone 5",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 5 --dport 2 -t 1000 --label-add web",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 6 --dport 2 -t 1000 --label-add web,last",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 7 --dport 2 -t 1000 -u UNSET",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 8 --dport 2 --reply-port-src 20 --reply-port-dst 80 -t 1000",
        "-I -s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.7 -q 10.0.0.8 -p udp --sport 9 --dport 2 -t 1000",
        "-I -r 10.0.0.7 -q 10.0.0.8 -p udp --reply-port-src 9 --reply-port-dst 2 -t 1000",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p udplite --sport 1 --dport 2 -t 1000",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p sctp --sport 1 --dport 2 --state COOKIE_WAIT --orig-vtag 1 --reply-vtag 0x2 -t 1000",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 7 -t 1000",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p icmp --icmp-type 13 --icmp-code 0 -t 1000",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p gre --srckey 0x10 --dstkey 0x20 -t 1000",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p gre --srckey 0x11 --dstkey 0x20 --reply-key-src 3 --reply-key-dst 4 -t 1000",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p 89 -t 1000",
        "-I -s 2001:db8::1 -d 2001:db8::2 -p tcp --sport 1 --dport 2 --state ESTABLISHED -t 1000 -u ASSURED,SEEN_REPLY -m 5",
        "-I -s 2001:db8::1 -d 2001:db8::2 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 7 -t 1000",
        "-I -f ipv6 -s 2001:db8::1 -d 2001:db8::2 -p 89 -t 1000 -w 9",
    ];
    Twins::with(labelling).agree(&created);
}

#[test]
fn translations_are_created_as_by_conntrack() {
    let created = [
        "-I -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1 --dport 2 --state ESTABLISHED -t 1000 -n 192.0.2.1",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 2 --dport 2 --state ESTABLISHED -t 1000 -n 192.0.2.1:77",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 3 --dport 2 --state ESTABLISHED -t 1000 -g 192.0.2.2",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 4 --dport 2 --state ESTABLISHED -t 1000 --dst-nat 192.0.2.2:80",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 5 --dport 2 -t 1000 --src-nat 192.0.2.1:99 -g 192.0.2.2:53",
        "-I -s 10.0.0.1 -d 10.0.0.2 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 7 -t 1000 -n 192.0.2.1",
        "-I -s 2001:db8::1 -d 2001:db8::2 -p tcp --sport 1 --dport 2 --state ESTABLISHED -t 1000 -n 2001:db8::9",
        "-I -s 2001:db8::1 -d 2001:db8::2 -p tcp --sport 2 --dport 2 --state ESTABLISHED -t 1000 -g [2001:db8::9]:80",
    ];
    Twins::with(|_| ()).agree(&created);
}

#[test]
fn entries_are_updated_as_by_conntrack() {
    // One entry a line: of several, conntrack(8) 1.4.7 shows only some.
    let updated = [
        "-U -s 10.0.1.1 -m 1",
        "--update -s 10.0.1.1 -m 0xf0/0xff",
        "-U -s 10.0.1.1 -m 0xf0/0xff",
        "-U -s 10.0.0.1 -p udp --sport 1025 -t 777 -o id",
        "-U -s 10.0.0.1 -p udp --sport 1025 --dport 53 -m 3 -o extended",
        "-U -s 10.0.0.1 -p tcp --sport 1024 --dport 443 -m 4 -o xml",
        "-U -s 10.0.0.1 -p tcp --sport 1025 --dport 22 -u SEEN_REPLY",
        "-U -s 10.0.0.1 -p tcp --sport 1025 --dport 22 -u ASSURED -t 500 -m 8",
        "-U -d 10.0.0.3 -u SEEN_REPLY -m 9 -o save",
        "-U -s 10.0.0.1 -p udp --sport 1024 --label-add web",
        "-U -s 10.0.0.1 -p udp --sport 1024 --label-add last",
        "-U -s 10.0.0.1 -p udp --sport 1024 --label-del web -o labels",
        "-U -s 10.0.0.1 -p udp --sport 1024 --label-del",
        "-U -s 10.0.0.1 -p udp --sport 1025 -l web --label-add zero",
        "-U -s 10.0.0.1 -p gre --srckey 17 -m 6",
        "-U -s 10.0.0.1 -p icmp -m 6",
        "-U -d 2001:db8::/64 -p tcp --dport 443 -m 16",
        "-U -s 2001:db8::1 -p tcp --dport 443 -m 6 -t 300",
        "-U -q 198.51.100.1 -f ipv4 -p tcp --reply-port-dst 99 -m 12",
        "-U -r 10.1.0.7 -f ipv4 -p tcp --reply-port-src 8080 -m 13",
        "-U -s 203.0.113.1 -m 1",
        "-U -s 10.0.1.1 -g 192.0.2.7 -m 1",
    ];
    Twins::with(seed).agree(&updated);
}

#[test]
fn entries_are_deleted_as_by_conntrack() {
    let deleted = [
        "-D -s 203.0.113.1",
        "-D -p tcp --dport 443 -o extended,id",
        "-D -m 0x17",
        "--delete -s 10.0.1.0/24 -o xml",
        "-D -p sctp -o save",
        "-D -p icmp --icmp-type 8",
        "-D -p gre --srckey 17 --dstkey 22",
        "-D -w 3 -p udp",
        "-D --orig-zone 4",
        "-D --reply-zone 5",
        "-D -l web -o labels",
        "-D -f ipv6 -n",
        "-D -g 10.1.0.7:8080",
        "-D -n",
        "-D -u SEEN_REPLY",
        "-D -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1024 --dport 53",
        "-D -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1024 --dport 53",
        "-D -d 2001:db8:0:1::2",
        "-D -f ipv6",
        "-D conntrack -r 10.0.0.2",
        "-D",
    ];
    Twins::with(seed).agree(&deleted);
}

#[test]
fn tables_are_flushed_as_by_conntrack() {
    Twins::with(seed).agree(&["-F", "-F", "-F conntrack", "-L"]);
    // conntrack(8) 1.4.7 empties both families.
    Twins::with(seed).agree(&["--flush conntrack", "-C"]);
}

#[test]
fn odd_changes_are_those_of_conntrack() {
    let ends = "-s 10.8.0.1 -d 10.8.0.2";
    let made = |rest: &str| format!("-I {ends} {rest}");
    let lines = [
        made("-p udp --sport 1 --dport 2 -t 60 -u ASSURED"),
        made("-p udp --sport 3 --dport 2 -t 4294967295"),
        made("-p udp --sport 4 --dport 2 -t 60 -u SRC_NAT"),
        made("-p udp --sport 5 --dport 2 -t 60 -n 192.0.2.0/24"),
        made("-p udp --sport 6 --dport 2 -t 60 -w 3 --orig-zone 4"),
        made("-p udp --sport 7 --dport 2 -t 60 -m 5/1"),
        made("-p udp --sport 8 --dport 2 -t 60 -r 2001:db8::1"),
        made("-p udp --sport 9 --dport 2 -t 60 -r 10.8.0.2"),
        made("-p udp --sport 10 --dport 2 -t 60 -r 10.8.0.2 -q 10.8.0.1"),
        made("-p udp --sport 11 --dport 2 -t 60 -r 10.8.0.2 -n 192.0.2.1"),
        made("-p udp --sport 0 --dport 0 -t 60"),
        made("-p udp --sport 12 --dport 2 -t 60 -t 90 -m 1 -m 2"),
        made("-p udplite --sport 13 --dport 2 -t 60 -f ipv4"),
        made("-p udp --sport 14 --dport 2 -t 60 -f ipv6"),
        made("-p tcp --sport 15 --dport 2 -t 60 --state NONE"),
        made("-p tcp --sport 16 --dport 2 -t 60 --state LISTEN"),
        made("-p tcp --sport 17 --dport 2 -t 60 --state SYN_SENT2"),
        made("-p dccp --sport 18 --dport 2 -t 60 --state OPEN --role client"),
        made("-p icmp --icmp-type 9 --icmp-code 0 -t 60"),
        made("-p gre --srckey 1 -t 60"),
        made("-p 0 -t 60"),
        made("-p 255 -t 60"),
        "-I -s 0.0.0.0 -d 255.255.255.255 -p udp --sport 1 --dport 2 -t 60".to_owned(),
        "-I -s :: -d ::1 -p udp --sport 1 --dport 2 -t 60".to_owned(),
        "-A -s 10.8.0.1 -d 10.8.0.2 -p udp --sport 1 --dport 2 -t 90 -n 192.0.2.9".to_owned(),
        "-A -s 10.8.0.1 -d 10.8.0.2 -p udp --sport 1 --dport 2 -t 90 -u UNSET".to_owned(),
        "-U -s 10.8.0.1 -p udp --sport 7".to_owned(),
        "-U -s 10.8.0.1 -p udp --sport 7 -u UNSET".to_owned(),
        "-U -s 10.8.0.1 -p udp --sport 7 -m 5 -t 60".to_owned(),
        "-U -s 10.8.0.1 -p tcp --sport 15 --state CLOSE -m 3".to_owned(),
        "-U -s 10.0.1.1 -u CONFIRMED".to_owned(),
        "-D -p tcp --state TIME_WAIT".to_owned(),
        "-D -m 7/7 -p tcp -s 10.0.0.1".to_owned(),
        "-D -t 5 -p udp --sport 12".to_owned(),
        "-D -u ASSURED -f ipv6".to_owned(),
        "-D -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 78".to_owned(),
        "-D -s 10.0.0.1 --mask-src 255.255.255.254 -p udp --dport 53".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    Twins::with(seed).agree(&lines);
}
