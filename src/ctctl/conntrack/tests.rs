//! Lines are read as conntrack(8) reads them, and mean what it means by them.

use proptest::prelude::*;

use super::*;
use crate::ctctl::connlabel::LabelNames;
use crate::expr;
use crate::flow::filter::Kind;
use crate::flow::{Flow, FlowChanges, L4, Labels, Masked, ProtoInfo, Protocol, Status, TcpState};

fn read(line: &str) -> Result<Line, LineError> {
    let names = LabelNames::parse("3 web\n4 mail server\n");
    parse(&split(line)?, Some(&names))
}

fn line(text: &str) -> Line {
    read(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    let error = read(text).expect_err(text);
    error.to_string()
}

/// The filter of a line, in the filter language.
fn means(text: &str) -> String {
    let filter = line(text).flows().expect(text).normal();
    filter.check(Kind::Flow).expect(text);
    expr::print(&filter)
}

#[test]
fn options_select_what_the_language_says() {
    for (text, meaning) in [
        ("-L", "all"),
        ("-L -f ipv6", "ipv6"),
        ("-L -p tcp", "tcp"),
        ("-L -p 6 --sport 1", "tcp and sport 1"),
        ("-L -p TCP --orig-port-dst=2", "tcp and dport 2"),
        ("-L -s 10.1", "ipv4 and src 10.0.0.1"),
        ("-L -s 10.0.0.9/8", "ipv4 and src 10.0.0.0/8"),
        (
            "-L -s 10.1.2.3 --mask-src 255.254.254.0",
            "ipv4 and (src 10.0.2.0/23,10.1.2.0/23)",
        ),
        ("-L -d ::1/128", "ipv6 and dst ::1"),
        (
            "-L -r ::1 -q ::2",
            "ipv6 and reply-src ::1 and reply-dst ::2",
        ),
        ("-L -m 0x10", "mark 0x10"),
        ("-L -m 1/3", "mark 1/3"),
        ("-L -m 4/3", "not all"),
        ("-L -u ASSURED", "status 4/4"),
        ("-L -u assu,UNREPLIED", "status 4/6"),
        ("-L -u !ASSURED", "status 0/4"),
        ("-D -u UNSET", "all"),
        ("-L -w 3", "zone 3 and zone-direction both"),
        ("-L --orig-zone 3", "zone 3 and zone-direction orig"),
        ("-L --reply-zone=3", "zone 3 and zone-direction reply"),
        ("-L -l web,4", "label 3,4"),
        ("-L -l web -l 5", "label 3,5"),
        ("-L -n", "snat"),
        ("-L -g 10.0.0.1", "ipv4 and dnat and reply-src 10.0.0.1"),
        (
            "-L -n [::1]:80",
            "ipv6 and snat and reply-dst ::1 and reply-dport 80",
        ),
        ("-L -n10.0.0.1", "ipv4 and snat and reply-dst 10.0.0.1"),
        ("-L -j", "snat or dnat"),
        (
            "-L -p gre --reply-key-src 0x10",
            "proto gre and gre-reply-src-key 16",
        ),
        (
            "-L -p icmp --icmp-type 8 --icmp-id 0x7",
            "icmp and icmp-type 8 and icmp-id 7",
        ),
        (
            "-L -p sctp --state ESTABLISHED",
            "sctp and sctp-state ESTABLISHED",
        ),
        ("-L -p tcp --state LISTEN", "tcp and tcp-state 9"),
        ("-D -i 7", "id 7"),
        ("-D -t 7", "timeout 7"),
        (
            "-U -m 5 -t 9 -u ASSURED -p tcp --state CLOSE --sport 1",
            "tcp and sport 1",
        ),
        ("-L -c 5", "all"),
    ] {
        let expected = expr::parse(meaning).map(|filter| expr::print(&filter.normal()));
        assert_eq!(Ok(means(text)), expected, "{text}");
    }
    let zero = line("-L -w 0").flows().expect("a filter");
    let mut flow = line("-I -p 89 -s ::1 -d ::2 -t 1").flow().expect("a flow");
    assert!(zero.matches(&flow, 0));
    flow.zone = crate::flow::Zone::both(1);
    assert!(!zero.matches(&flow, 0));
}

#[test]
fn words_are_parted_as_getopt_does_it() {
    assert_eq!(line("-Lz"), line("-z -L"));
    assert_eq!(line("-L ex"), line("--dump=expect"));
    assert_eq!(line("-L -oxml,id"), line("stray -L -o xml -o id stray"));
    assert_eq!(line("--orig-s 10.0.0.1 -L"), line("-L --src=10.0.0.1"));
    assert_eq!(line("-L -- -s nonsense"), line("-L -"));
    assert_eq!(line("-U --label-del"), line("-U --label-d"));
    assert!(!line("-U --label-del web").no_labels);
    assert_eq!(line("-U --label-del=web").labels_changed, Labels(8));
    assert_eq!(line("").action, None);
    assert!(line("-D --yes --include-own-connections").yes);
    let quoted = split("-L\t-l \"mail server\"  -o \"i\\d\"");
    assert_eq!(
        quoted.as_deref(),
        Ok(&["-L", "-l", "mail server", "-o", "id"].map(String::from)[..])
    );
    assert!(split(&"x".repeat(2000)).is_err());
}

/// The words are those of conntrack(8) 1.4.7 and 1.4.8.
#[test]
fn what_is_wrong_is_said_as_conntrack_says_it() {
    for (text, expected) in [
        ("-L -D", "Invalid commands combination"),
        ("-L foo", "unknown type `foo'"),
        ("-A expect", "Can't do --add on expectations"),
        (
            "-D dying",
            "Can't do that command with tables `dying' and `unconfirmed'",
        ),
        ("-L -y", "unknown option `-y'"),
        ("-L --orig", "unknown option `--orig'"),
        ("-L --sport 1 -p tcp", "unknown option `--sport'"),
        ("-L --zero=1", "unknown option `--zero=1'"),
        ("-R", "unknown option `-R'"),
        ("-L -p", "option `-p' requires an argument"),
        ("-L -p tcp --sport", "option `--sport' requires an argument"),
        ("-L -p foo", "`foo' unsupported protocol"),
        ("-L -p 300", "`300' unsupported protocol"),
        ("-L -f ip", "`ip' unsupported protocol"),
        ("-L -s 1.1.1.1 -d ::1", "mismatched address family"),
        ("-L -f ipv6 -s 1.1.1.1", "mismatched address family"),
        ("-L -s x", "Invalid IP address `x'"),
        ("-L -s 1.1.1.1/33", "Invalid netmask"),
        (
            "-L -r 1.1.1.1/8",
            "CIDR notation unavailable for `--reply-src'",
        ),
        (
            "-L -n 1.1.1.1/24",
            "CIDR notation unavailable for `--src-nat'",
        ),
        ("-L -n x", "Invalid IP address `x'"),
        ("-L -n 1.1.1.1:", "No port specified after `:'"),
        ("-L -n 1.1.1.1:99999", "Invalid port `99999'"),
        ("-L -n [::1", "No closing ']' around IPv6 address"),
        ("-L -n []:1", "No IPv6 address specified"),
        (
            "-L -n -j",
            "cannot specify `--src-nat' or `--dst-nat' with `--any-nat'",
        ),
        ("-L -o foo", "Bad parameter `foo'"),
        ("-L -o id,", "Bad parameter `'"),
        ("-L -o ,id", "Bad parameter `,id'"),
        ("-L -u foo", "Bad parameter `foo'"),
        ("-E -e FOO", "Bad parameter `FOO'"),
        (
            "-L -e NEW",
            "Illegal option `--event-mask' with this command",
        ),
        ("-U -w 5", "Illegal option `--zone' with this command"),
        ("-L -t 5", "Illegal option `--timeout' with this command"),
        ("-C -p tcp", "Illegal option `--protonum' with this command"),
        ("-s 1.1.1.1", "Illegal option `--src' with this command"),
        (
            "-I -t 5",
            "You need to supply the `--protonum' option for this command",
        ),
        ("-I -t 5 -p udp", "you have to specify `--src' and `--dst'"),
        (
            "-G -p udp -r ::1",
            "you have to specify `--reply-src' and `--reply-dst'",
        ),
        (
            "-I -t 5 -p udp -s ::1 -d ::2 --sport 1",
            "you have to specify `--sport' and `--dport'",
        ),
        (
            "-G -p udp -s ::1 -d ::2 --reply-port-src 1",
            "you have to specify `--reply-src-port' and `--reply-dst-port'",
        ),
        (
            "-I -t 5 -p tcp -s ::1 -d ::2 --sport 1 --dport 2",
            "You need to supply the `--state' option for this command",
        ),
        (
            "-L -p tcp --mask-port-src 1",
            "Illegal option `--mask-port-src' with this command",
        ),
        ("-L -p tcp --state open", "unknown TCP state `open'"),
        ("-L -p dccp --state foo", "Unknown DCCP state `foo'"),
        (
            "-L --mask-src 255.0.0.0",
            "Can't use --mask-src without --src",
        ),
        ("-L -z -m 1", "Can't use -z with filtering parameters"),
        ("-L -l foo", "unknown label 'foo'"),
        ("-L -l 128", "unknown label '128'"),
    ] {
        assert_eq!(refused(text), expected, "{text}");
        assert_eq!(
            read(text).map_err(|error| error.exit_code()),
            Err(2),
            "{text}"
        );
    }
    for (text, expected) in [
        ("-L -w 70000", "unexpected value '70000' with -w option"),
        ("-L -m 1/x", "unexpected value '1/x' with -m option"),
        ("-U -t x", "unexpected value 'x' with -t option"),
        (
            "-L -o save,id",
            "cannot combine save output with any other output type, use -o save only",
        ),
        (
            "-U --label-add web --label-del web",
            "cannot use --label-add and --label-del at the same time",
        ),
    ] {
        assert_eq!(refused(text), expected, "{text}");
        assert_eq!(
            read(text).map_err(|error| error.exit_code()),
            Err(1),
            "{text}"
        );
    }
}

#[test]
fn a_new_flow_has_what_the_kernel_would_make_of_it() {
    let flow = |text: &str| line(text).flow();
    let ends = "-I -t 60 -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2";
    let plain = flow(ends).expect("a flow");
    assert_eq!(plain.reply, plain.orig.inverse());
    assert_eq!(plain.timeout, Some(60));
    let reply = "-A -t 60 -r 10.0.0.2 -q 10.0.0.1 -p udp --reply-port-src 2 --reply-port-dst 1";
    assert_eq!(flow(reply), Ok(plain));
    let nat = flow(&format!(
        "{ends} -n 192.0.2.1:77 -g 192.0.2.2 -u ASSURED -m 5/3 --label-add web"
    ));
    let nat = nat.expect("a flow");
    assert_eq!(nat.reply.dst.to_string(), "192.0.2.1");
    assert_eq!(nat.reply.src.to_string(), "192.0.2.2");
    assert_eq!(nat.reply.ports(), Some((2, 77)));
    assert!(
        nat.status
            .is_some_and(|s| s.contains(Status::SRC_NAT | Status::DST_NAT))
    );
    assert_eq!((nat.mark, nat.labels), (Some(5), Some(Labels(8))));
    let half = format!("{ends} -q 10.0.0.3");
    assert_eq!(
        flow(&half).map_err(|e| e.to_string()),
        Err("Operation failed: invalid parameters".into())
    );
    assert!(flow(&format!("{ends} --orig-zone 1 --reply-zone 2")).is_err());
    let icmp = flow("-I -t 1 -s ::1 -d ::2 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0");
    let of_icmp = L4::Icmp {
        kind: 128,
        code: 0,
        id: 0,
    };
    assert_eq!(icmp.map(|flow| flow.orig.l4), Ok(of_icmp));
}

#[test]
fn an_update_changes_only_what_is_not_so_yet() {
    let mut flow: Flow = line("-I -t 60 -s ::1 -d ::2 -p tcp --sport 1 --dport 2 --state CLOSE")
        .flow()
        .expect("a flow");
    flow.mark = Some(0x15);
    flow.labels = Some(Labels(0b1010));
    let changes = |text: &str| line(text).changes(&flow);
    let none = FlowChanges::default();
    assert_eq!(changes("-U -m 0x15"), none);
    assert_eq!(changes("-U -m 5/0xf"), none);
    let mark = |text: &str| changes(text).mark.map(|m| (m.value, m.mask));
    assert_eq!(mark("-U -m 7"), Some((7, u32::MAX)));
    assert_eq!(mark("-U -m 7/0xf"), Some((0x17, 0xf)));
    // Bits beside the mask are turned over.
    assert_eq!(mark("-U -m 0x10/0xf"), Some((0, u32::MAX)));
    assert_eq!(changes("-U -t 5").timeout, Some(5));
    assert_eq!(changes("-U -u ASSURED").status_set, Some(Status::ASSURED));
    assert_eq!(changes("-U -p tcp --state CLOSE"), none);
    let state = changes("-U -p tcp --state LAST_ACK").protoinfo;
    assert!(
        matches!(state, Some(ProtoInfo::Tcp(tcp)) if tcp.state == TcpState::from_name("LAST_ACK"))
    );
    assert_eq!(changes("-U --label-add web"), none);
    let labels = |value, mask| {
        Some(Masked {
            value: Labels(value),
            mask: Labels(mask),
        })
    };
    assert_eq!(changes("-U --label-add 0").labels, labels(1, 1));
    assert_eq!(changes("-U --label-del 1,7").labels, labels(0, 2));
    assert_eq!(changes("-U --label-del").labels, labels(0, 0b1010));
    assert_eq!(changes("-U"), none);
}

#[test]
fn expectations_have_three_tuples() {
    let text = "-I expect -t 60 -s 10.0.0.1 -d 10.0.0.2 --tuple-src 10.0.0.3 --tuple-dst 10.0.0.4 \
                --mask-src 255.255.255.255 --mask-dst 255.255.255.0 -p tcp --sport 1 --dport 21 \
                --tuple-port-src 0 --tuple-port-dst 99 --mask-port-src 0 --mask-port-dst 65535";
    let expectation = line(text).expectation().expect("an expectation");
    assert_eq!(expectation.master.ports(), Some((1, 21)));
    assert_eq!(expectation.tuple.ports(), Some((0, 99)));
    assert_eq!(expectation.mask.dst.to_string(), "255.255.255.0");
    assert_eq!(line("-L expect").family, Some(crate::flow::Family::V4));
    assert_eq!(line("-L").family, None);
    assert_eq!(line("-L -p icmp").protocol, Some(Protocol::ICMP));
}

proptest! {
    #[test]
    fn random_words_are_refused_or_mean_something(words in words()) {
        if let Ok(line) = parse(&words, None) {
            // None of them panics.
            let _ = (line.flows(), line.selection(), line.key());
            let _ = (line.expectation(), line.expectation_key());
            if let Ok(flow) = line.flow() {
                line.changes(&flow);
            }
        }
    }

    #[test]
    fn random_lines_of_a_file_are_words_or_an_error(line in ".{0,60}") {
        let words = split(&line);
        prop_assert!(words.is_ok());
    }
}

/// Words that look like a command line.
fn words() -> impl Strategy<Value = Vec<String>> {
    let word = prop::sample::select(
        &[
            "-L",
            "-D",
            "-I",
            "-A",
            "-U",
            "-G",
            "-E",
            "-Lz",
            "--dump=expect",
            "expect",
            "-s",
            "-d",
            "-r",
            "-q",
            "--mask-src",
            "--mask-dst",
            "--tuple-src",
            "--tuple-dst",
            "-p",
            "tcp",
            "gre",
            "icmp",
            "icmpv6",
            "sctp",
            "dccp",
            "89",
            "-t",
            "-u",
            "-m",
            "-l",
            "-w",
            "-n",
            "-g",
            "-j",
            "-o",
            "-e",
            "-f",
            "--sport",
            "--dport",
            "--reply-port-src",
            "--state",
            "--icmp-type",
            "--icmp-code",
            "--icmp-id",
            "--srckey",
            "--dstkey",
            "--orig-vtag",
            "--role",
            "--label-add",
            "--label-del",
            "--orig-zone",
            "10.0.0.1",
            "fe80::1",
            "10.0.0.0/8",
            "::/0",
            "0.0.0.0/0",
            "255.254.0.255",
            "[::1]:80",
            "1.2.3.4:99999",
            "[",
            "0x10",
            "070",
            "99999999999999999999",
            "ESTABLISHED",
            "ASSURED,UNSET",
            "!",
            "-",
            "--",
            "",
            "-1",
            "\u{e4}",
            "5/0",
            "1/",
            ",",
            "xml,id",
            "save",
            "ipv6",
            "client",
            "-n1",
            "-=",
        ][..],
    );
    prop::collection::vec(word.prop_map(str::to_owned), 0..16)
}
