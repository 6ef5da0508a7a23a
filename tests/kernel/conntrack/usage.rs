//! Lines that cannot be followed: the same complaint and exit code, and nothing happens.

use super::read::seed;
use super::*;

const WRONG: &[&str] = &[
    "-L -D",
    "-L nonsense",
    "-D dying",
    "-F unconfirmed",
    "-U expect",
    "-A expect",
    "-L --nonsense",
    "-L -Q",
    "-L -s",
    "-L -s nonsense",
    "-L -s 10.0.0.1/33",
    "-L -s 10.0.0.1/x",
    "-L -s 2001:db8::/129",
    "-L -r 10.0.0.0/8",
    "-L -q 10.0.0.0/8",
    "-L -s 10.0.0.1 -d 2001:db8::1",
    "-L -f ipv4 -s 2001:db8::1",
    "-L -f ipv5",
    "-L -n 10.0.0.1 -s 2001:db8::1",
    "-L --mask-src 255.0.0.0",
    "-L --mask-dst 255.0.0.0",
    "-L -s 10.0.0.1 --mask-src ffff::",
    "-L -p nonsense",
    "-L -p 256",
    "-L -p tcp --state NONSENSE",
    "-L -p dccp --role NONSENSE",
    "-L --sport 1",
    "-L -p icmp --sport 1",
    "-L -p tcp --icmp-type 1",
    "-L -u NONSENSE",
    "-L -u ASSURED,",
    "-L -u ,ASSURED",
    "-L -o nonsense",
    "-L -o id,,xml",
    "-L -o save,id",
    "-L -o save -o xml",
    "-L -l nonsense",
    "-L -t 5",
    "-L -e NEW",
    "-L --label-add web",
    "-L --tuple-src 10.0.0.1",
    "-L -n 10.0.0.1 -j",
    "-L -n 10.0.0.1:",
    "-L -n 10.0.0.1:x",
    "-L -n 10.0.0.1:70000",
    "-L -n []:1",
    "-L -n [2001:db8::1",
    "-L -n nonsense",
    "-L -z -s 10.0.0.1",
    "-L expect -s 10.0.0.1",
    "-E -u ASSURED",
    "-E -e NONSENSE",
    "-E -t 7",
    "-E -z",
    "-E expect -p tcp",
    "-I",
    "-I -s 10.0.0.1 -d 10.0.0.2",
    "-I -s 10.0.0.1 -d 10.0.0.2 -t 60",
    "-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2",
    "-I -s 10.0.0.1 -p udp --sport 1 --dport 2 -t 60",
    "-I -r 10.0.0.1 -p udp --sport 1 --dport 2 -t 60",
    "-I -p udp --sport 1 --dport 2 -t 60",
    "-I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 60",
    "-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 -t 60",
    "-I -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1 --dport 2 -t 60",
    "-I -s 10.0.0.1 -d 10.0.0.2 -p sctp --sport 1 --dport 2 -t 60",
    "-I -s 10.0.0.1 -d 10.0.0.2 -p icmp -t 60",
    "-I -s 10.0.0.1 -d 10.0.0.2 -p gre -t 60",
    "-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2 -t 60 -o id",
    "-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2 -t 60 -l web",
    "-I -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2 -t 60 --label-add nonsense",
    "-I expect",
    "-I expect -s 10.0.0.1 -d 10.0.0.2 -p tcp -t 60",
    "-D expect",
    "-D expect -s 10.0.0.1",
    "-G",
    "-G -p tcp",
    "-G -s 10.0.0.1 -d 10.0.0.2",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p tcp",
    "-G -s 10.0.0.1 -p tcp --sport 1 --dport 2",
    "-G -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 1 --dport 2 -m 1",
    "-G expect",
    "-U -w 3",
    "-U --label-add web --label-del last",
    "-U -s 10.0.1.1 --label-add nonsense",
    "-U -z",
    "-D -z",
    "-D -j",
    "-F -s 10.0.0.1",
    "-F expect -f ipv4",
    "-C -s 10.0.0.1",
    "-S -s 10.0.0.1",
    "-S -o xml",
    "-V -s 10.0.0.1",
];

/// Numbers that are none: conntrack(8) 1.4.7 takes them for others, 1.4.8 refuses them.
const NO_NUMBERS: &[&str] = &[
    "-L -m nonsense",
    "-L -m 4294967296",
    "-L -m 1x",
    "-L -w 65536",
    "-L -w x",
    "-L -c x",
    "-U -s 10.0.1.1 -m x",
    "-D -w 3x",
];

/// The same of protocols.
const NO_NUMBERS_OF_PROTOCOLS: &[&str] = &[
    "-L -p tcp --sport x",
    "-L -p tcp --sport 0x400",
    "-D -p tcp --dport 70000",
    "-D -p udp --sport -1",
    "-L -p icmp --icmp-type 300",
    "-D -p icmp --icmp-id 70000",
    "-L -p gre --srckey 99999",
];

#[test]
fn what_is_no_number_is_not_taken_for_another() {
    let host = Host::new(Netns::new());
    seed(&host.ns);
    let before = State::of(&host.ns);
    for line in NO_NUMBERS {
        let said = ours(&host.client, line);
        assert_eq!((said.code, &*said.out), (Some(1), ""), "{line}");
        assert!(
            said.err.contains("unexpected value"),
            "{line}: {}",
            said.err
        );
    }
    for line in NO_NUMBERS_OF_PROTOCOLS {
        let said = ours(&host.client, line);
        assert_eq!(said.out, "", "{line}");
        assert!(matches!(said.code, Some(1 | 2)), "{line}: {said:?}");
        assert!(!said.err.contains("have been"), "{line}: {}", said.err);
    }
    assert_eq!(before.difference(&State::of(&host.ns)), None);
}

#[test]
fn wrong_lines_are_refused_as_by_conntrack() {
    let twins = Twins::with(seed);
    let mut campaign = Campaign::default();
    for line in WRONG {
        let (theirs, ours) = (theirs(&twins.theirs, line), ours(&twins.ours.client, line));
        assert_ne!(theirs.code, Some(0), "{line}");
        campaign.note(line, difference(&theirs, &ours, Whose::TwinTables, true));
    }
    let states = [&twins.theirs, &twins.ours.ns].map(State::of);
    campaign.note("afterwards", states[0].difference(&states[1]));
    campaign.end();
}
