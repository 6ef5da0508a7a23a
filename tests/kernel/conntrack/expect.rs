//! Expectations: those of a real FTP client, and those that are written.

use ctfleet::ctnetlink::CreateMode;
use ctfleet::flow::{Family, Flow, Protocol};

use super::*;
use crate::expectations::{Ftp, write};
use crate::harness::flows::{expectation, flow, helped};
use crate::harness::until;

/// A connection that ftp follows.
fn followed(family: Family) -> Flow {
    helped(flow(family, Protocol::TCP, 4000), "ftp")
}

/// One of each family.
fn master(ns: &Netns) {
    ns.create(&[Family::V4, Family::V6].map(followed));
}

#[test]
fn what_ftp_expects_is_listed_as_by_conntrack() {
    for family in [Family::V4, Family::V6] {
        let Ftp {
            firewall,
            control,
            data,
        } = Ftp::announced(family);
        let host = Host::new(firewall.router);
        until("the expectation", || {
            let count = host.ns.expectations(Default::default()).len();
            (count == 1).then_some(())
        });
        let at = data.local_addr().expect("bound");
        let server = crate::harness::Firewall::server_address(family);
        let key = format!(
            "-s {server} -d {} -p tcp --sport 0 --dport {} --reply-port-src 1 --reply-port-dst 2",
            at.ip(),
            at.port()
        );
        let lines = [
            "-L expect".to_owned(),
            "-L expect -f ipv4".to_owned(),
            "-L expect -f ipv6".to_owned(),
            "-L expect -f ipv6 -o xml".to_owned(),
            "-L expect -o xml".to_owned(),
            "-L expect -o xml,timestamp".to_owned(),
            "-L expect -o timestamp".to_owned(),
            "-L expect -o extended,id,labels".to_owned(),
            "-L expect -o save".to_owned(),
            "-C expect".to_owned(),
            "-S expect".to_owned(),
            "-L -o extended,id".to_owned(),
            format!("-G expect {key}"),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        super::read::agree(&host, &lines).end();
        drop((control, firewall.client, firewall.server));
    }
}

#[test]
fn expectations_are_deleted_as_by_conntrack() {
    let lines = [
        "-L expect",
        "-C expect",
        "-D expect -s 10.0.0.9 -d 10.0.0.1 -p tcp --sport 0 --dport 4001 --reply-port-src 2 --reply-port-dst 1",
        "-D expect -s 10.0.0.2 -d 10.0.0.1 -p tcp --sport 0 --dport 4001 --reply-port-src 2 --reply-port-dst 1",
        "-G expect -s 10.0.0.2 -d 10.0.0.1 -p tcp --sport 0 --dport 4001 --reply-port-src 2 --reply-port-dst 1",
        "-G expect -s 10.0.0.2 -d 10.0.0.1 -p tcp --sport 0 --dport 4002 --reply-port-src 2 --reply-port-dst 1",
        "-F expect",
        "-F expect",
        "-L expect",
    ];
    Twins::with(|ns| {
        master(ns);
        for family in [Family::V4, Family::V6] {
            for port in [4001, 4002, 4003] {
                let expectation = expectation(&followed(family), port);
                assert_eq!(write(ns, &expectation, CreateMode::Create), None);
            }
        }
    })
    .agree(&lines);
}

#[test]
fn expectations_are_those_of_the_line() {
    // What conntrack(8) 1.4.7 writes has protocol 0 and the time of the helper instead.
    let host = Host::new(Netns::new());
    master(&host.ns);
    let ends = "-s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 4000 --dport 80";
    let masks = "--mask-src 255.255.255.255 --mask-dst 255.255.255.255 \
        --mask-port-src 0 --mask-port-dst 65535";
    let line = |src: &str, ends: &str| {
        format!(
            "-I expect -t 100 {ends} --tuple-src {src} --tuple-dst 10.0.0.1 \
             --tuple-port-src 0 --tuple-port-dst 99 {masks}"
        )
    };
    let made = ours(&host.client, &line("10.0.0.2", ends));
    assert_eq!((made.code, &*made.out, &*made.err), (Some(0), "", ""));
    let listed = theirs(&host.ns, "-L expect");
    let expected = " proto=6 src=10.0.0.2 dst=10.0.0.1 sport=0 dport=99 mask-src=255.255.255.255 \
        mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.0.0.1 master-dst=10.0.0.2 \
        sport=4000 dport=80 class=0 helper=ftp\n";
    assert!(listed.out.ends_with(expected), "{}", listed.out);
    // Without a master, both complain alike.
    let orphan = line(
        "10.0.0.3",
        "-s 10.0.0.9 -d 10.0.0.2 -p tcp --sport 1 --dport 2",
    );
    let (theirs, ours) = (theirs(&host.ns, &orphan), ours(&host.client, &orphan));
    assert_eq!(difference(&theirs, &ours, Whose::SameTable, false), None);
}
