//! What is written comes back whole; what others wrote means what it means to conntrack(8);
//! what makes no sense is an error that says where.

use proptest::prelude::*;

use super::*;
use crate::ctctl::output::{Format, Formatter, Layout, Origin, formatter};
use crate::flow::arbitrary;
use crate::flow::*;

fn written(format: Format, write: impl FnOnce(&mut dyn Formatter, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut formatter = formatter(format, Layout::default());
    write(&mut *formatter, &mut out);
    formatter.end(&mut out);
    out
}

fn flow_text(format: Format, flow: &Flow) -> Vec<u8> {
    written(format, |f, out| f.flow(out, Origin::default(), flow))
}

fn read<T: Entry>(text: &[u8]) -> Result<Vec<T>, SavedError> {
    Reader::new(text)
        .map(|saved| saved.map(|saved| saved.entry))
        .collect()
}

/// The one flow of a text.
#[track_caller]
fn flow(text: &str) -> Flow {
    match &read::<Flow>(text.as_bytes()).expect("a flow")[..] {
        [flow] => flow.clone(),
        other => panic!("{} flows", other.len()),
    }
}

/// The error of a text.
#[track_caller]
fn error(text: &str) -> String {
    match read::<Flow>(text.as_bytes()) {
        Err(error) => error.to_string(),
        Ok(flows) => panic!("no error but {flows:?}"),
    }
}

proptest! {
    #[test]
    fn a_saved_flow_comes_back_whole(flow in arbitrary::flow()) {
        let text = flow_text(Format::Save, &flow);
        prop_assert_eq!(read::<Flow>(&text).expect("readable"), [flow]);
    }

    #[test]
    fn a_flow_comes_back_whole_from_its_json(flow in arbitrary::flow()) {
        let text = flow_text(Format::Jsonl, &flow);
        let object: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        prop_assert!(object.is_object());
        prop_assert_eq!(read::<Flow>(&text).expect("readable"), [flow.clone()]);
        // One array of the very same objects.
        let array = flow_text(Format::Json, &flow);
        let array: serde_json::Value = serde_json::from_slice(&array).expect("JSON");
        prop_assert_eq!(array, serde_json::Value::Array(vec![object]));
    }

    #[test]
    fn an_expectation_comes_back_whole(expectation in arbitrary::expectation()) {
        for format in [Format::Save, Format::Jsonl] {
            let text = written(format, |f, out| {
                f.expectation(out, Origin::default(), &expectation);
            });
            let back = read::<Expectation>(&text).expect("readable");
            prop_assert_eq!(back, [expectation.clone()]);
        }
    }

    #[test]
    fn foreign_text_comes_back_whole(context in "\\PC{0,40}|(\\s|.){0,40}", name in "(?s).{1,3}") {
        let mut flow = flow("-A -t 1 -s 10.0.0.1 -d 10.0.0.2 -p 89");
        flow.secctx = Some(context.into());
        if let Ok(name) = name.parse() {
            flow.helper = Some(Helper { name, info: None });
        }
        for format in [Format::Save, Format::Jsonl] {
            let text = flow_text(format, &flow);
            prop_assert_eq!(read::<Flow>(&text).expect("readable"), [flow.clone()]);
        }
    }

    #[test]
    fn every_format_takes_every_entry(
        flow in arbitrary::flow(),
        expectation in arbitrary::expectation(),
    ) {
        for format in Format::ALL {
            let text = written(format, |f, out| {
                f.flow(out, Origin { node: Some("n"), event: None }, &flow);
            });
            prop_assert!(std::str::from_utf8(&text).is_ok());
            let text = written(format, |f, out| {
                f.expectation(out, Origin { node: Some("n"), event: None }, &expectation);
            });
            prop_assert!(text.len() > 20, "an expectation left no trace");
        }
    }

    #[test]
    fn random_bytes_are_an_error_or_skipped(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for _ in Reader::<_, Flow>::new(&bytes[..]) {}
        for _ in Reader::<_, Expectation>::new(&bytes[..]) {}
    }

    #[test]
    fn random_options_are_an_error_or_an_entry(line in options_line(), comment in ".{0,30}") {
        let text = format!("# ctfleet: {comment}\n{line}\n");
        for _ in Reader::<_, Flow>::new(text.as_bytes()) {}
        for _ in Reader::<_, Expectation>::new(text.as_bytes()) {}
    }

    #[test]
    fn a_damaged_save_never_panics(
        flow in arbitrary::flow(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut text = flow_text(Format::Save, &flow);
        let place = at.index(text.len());
        text[place] = byte;
        text.truncate(cut.index(text.len()) + 1);
        for _ in Reader::<_, Flow>::new(&text[..]) {}
    }
}

/// Words that look like a line for conntrack(8).
fn options_line() -> impl Strategy<Value = String> {
    let option = prop::sample::select(
        &[
            "-s",
            "-d",
            "-r",
            "-q",
            "-p",
            "-t",
            "-u",
            "-m",
            "-l",
            "-w",
            "-n",
            "-g",
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
            "--orig-zone",
            "--tuple-src",
            "-x",
            "--mask-dst=",
            "--orig-src=1.2.3.4",
            "-p6",
            "-puml\u{e4}ut",
        ][..],
    );
    let value = prop::sample::select(
        &[
            "10.0.0.1",
            "fe80::1",
            "[::1]:80",
            "1.2.3.4:99999",
            "tcp",
            "icmp",
            "gre",
            "89",
            "0x10",
            "070",
            "99999999999999999999",
            "ESTABLISHED",
            "ASSURED,UNSET",
            "client",
            "",
            "-1",
            "ä",
        ][..],
    );
    let pairs = proptest::collection::vec((option, value), 0..14);
    (
        prop::sample::select(&["-A", "-I", "-I expect", "-D", ""][..]),
        pairs,
    )
        .prop_map(|(command, pairs)| {
            pairs
                .into_iter()
                .fold(command.to_owned(), |line, (o, v)| format!("{line} {o} {v}"))
        })
}

/// As DCCP is told since Linux 6.16, and others by kernels without their trackers.
#[test]
fn a_protocol_that_the_kernel_tracks_by_addresses_alone_comes_back() {
    for protocol in [
        Protocol::DCCP,
        Protocol::SCTP,
        Protocol::UDPLITE,
        Protocol::GRE,
    ] {
        let orig = Tuple {
            src: [10, 0, 0, 1].into(),
            dst: [10, 0, 0, 2].into(),
            protocol,
            l4: L4::None,
        };
        let mut plain = Flow::new(orig, orig.inverse());
        plain.timeout = Some(600);
        for format in [Format::Save, Format::Jsonl] {
            let text = flow_text(format, &plain);
            assert_eq!(read::<Flow>(&text).expect("readable"), [plain.clone()]);
        }
    }
    let half =
        error("-A -t 9 -s 10.0.0.1 -d 10.0.0.2 -p sctp --reply-port-src 2 --reply-port-dst 1");
    assert!(half.contains("--sport is missing"), "{half}");
}

/// What conntrack(8) 1.4.7 printed with `-o save`.
#[test]
fn lines_of_conntrack_mean_what_they_mean_to_it() {
    let saved = flow(
        "-A -t 999 -u SEEN_REPLY,ASSURED -w 3 -s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -q 10.0.0.1 \
         -p tcp --sport 1 --dport 2 --reply-port-src 2 --reply-port-dst 1 --state ESTABLISHED",
    );
    assert_eq!(saved.orig.ports(), Some((1, 2)));
    assert_eq!(saved.reply, saved.orig.inverse());
    assert_eq!(saved.timeout, Some(999));
    assert_eq!(saved.zone, Zone::both(3));
    assert_eq!(
        saved.status,
        Some(Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED)
    );
    let Some(ProtoInfo::Tcp(tcp)) = saved.protoinfo else {
        panic!("no TCP information")
    };
    assert_eq!(tcp.state.and_then(|s| s.name()), Some("ESTABLISHED"));
    let liberal = TcpFlags {
        flags: 0x0a,
        mask: 0x0a,
    };
    assert_eq!(
        (tcp.flags_orig, tcp.flags_reply),
        (Some(liberal), Some(liberal))
    );

    let sctp = flow(
        "-A -t 999 -u UNSET -s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -q 10.0.0.1 -p sctp --sport 1 \
         --dport 2 --reply-port-src 2 --reply-port-dst 1 --state COOKIE_WAIT --orig-vtag 99 \
         --reply-vtag 88",
    );
    let info = SctpInfo {
        state: Some(SctpState(2)),
        vtag_orig: Some(99u32.to_be()),
        vtag_reply: Some(88u32.to_be()),
    };
    assert_eq!(sctp.protoinfo, Some(ProtoInfo::Sctp(info)));

    let gre = flow(
        "-A -t 999 -u UNSET -s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -q 10.0.0.1 -p gre --srckey 17 \
         --dstkey 0x16 --reply-key-src 22 --reply-key-dst 021",
    );
    assert_eq!(gre.reply, gre.orig.inverse());
    assert_eq!(gre.orig.l4, L4::Gre { src: 17, dst: 22 });

    let icmpv6 = flow(
        "-A -t 999 -u UNSET -s fe80::1 -d ::ffff:1.2.3.4 -r ::ffff:1.2.3.4 -q fe80::1 \
         -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 77",
    );
    assert_eq!(icmpv6.reply, icmpv6.orig.inverse());

    let dccp = flow(
        "-A -t 9 -s 10.0.0.1 -d 10.0.0.2 -p dccp --sport 1 --dport 2 --state OPEN --role server",
    );
    let info = DccpInfo {
        state: Some(DccpState(4)),
        role: Some(1),
        handshake_seq: None,
    };
    assert_eq!(dccp.protoinfo, Some(ProtoInfo::Dccp(info)));
}

#[test]
fn translations_set_the_reply_and_the_status() {
    let done = Status::CONFIRMED | Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
    let nat = flow(
        "-A -t 99 -s 10.0.0.1 -d 10.0.0.2 -n 1.2.3.4:99 -g 4.4.4.4 -p udp --sport 1 --dport 2",
    );
    assert_eq!(nat.reply.src.to_string(), "4.4.4.4");
    assert_eq!(nat.reply.dst.to_string(), "1.2.3.4");
    assert_eq!(nat.reply.ports(), Some((2, 99)));
    assert_eq!(nat.status, Some(done | Status::SRC_NAT | Status::DST_NAT));

    let nat = flow("-A -t 9 -s fe80::1 -d fe80::2 -g [::9]:80 -p udp --sport 1 --dport 2");
    assert_eq!(nat.reply.src.to_string(), "::9");
    assert_eq!(nat.reply.ports(), Some((80, 1)));
    assert_eq!(nat.status, Some(done | Status::DST_NAT));

    // conntrack(8) writes the translated port on its own, and loses it when it reads it.
    let nat = flow(
        "-A -t 99 -u SEEN_REPLY -s 10.0.0.1 -d 10.0.0.2 -g 127.0.0.1 -q 10.0.0.1 -p tcp \
         --sport 1 --dport 2 --reply-port-src 99 --reply-port-dst 1 --state SYN_SENT",
    );
    assert_eq!(nat.reply.ports(), Some((99, 1)));
}

#[test]
fn one_direction_is_enough() {
    let orig = flow("-I conntrack -t 9 -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2");
    let reply =
        flow("-A -t 9 -r 10.0.0.2 -q 10.0.0.1 -p udp --reply-port-src 2 --reply-port-dst 1");
    assert_eq!(orig, reply);
}

#[test]
fn long_names_and_attached_values_are_the_same() {
    let short = "-A -t 100 -s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -q 10.0.0.1 -p udp \
                 --sport 1 --dport 2 --reply-port-src 2 --reply-port-dst 1 -m 5/0xff -l 1,127";
    let long = "  --add\t--timeout 100 --orig-src=10.0.0.1 --orig-dst 10.0.0.2 --reply-src \
                10.0.0.2 --reply-dst 10.0.0.1 --protonum 17 --orig-port-src=1 --orig-port-dst 2 \
                --reply-port-src 2 --reply-port-dst 1 --mark 0x5 --label-add 1 --label 127\r";
    let attached = "-A -t100 -s10.0.0.1 -d10.0.0.2 -pudp --sport=1 --dport=2 -m5 -l1 -l127";
    assert_eq!(flow(short), flow(long));
    assert_eq!(flow(short), flow(attached));
    assert_eq!(flow(short).labels, Some(Labels(1 << 127 | 2)));
}

#[test]
fn comments_and_nodes_find_their_entries() {
    let text = "\
# made by hand

# node fw1
# ctfleet: {\"labels\":[3]}
-A -t 1 -s 10.0.0.1 -d 10.0.0.2 -p 89
-A -t 2 -s 10.0.0.1 -d 10.0.0.2 -p 89
# node fw2
# ctfleet: {\"labels\":[4]}
# the entry that this belonged to is gone
-A -t 3 -s 10.0.0.1 -d 10.0.0.2 -p 89
";
    let entries: Vec<_> = Reader::<_, Flow>::new(text.as_bytes())
        .map(|saved| saved.expect("an entry"))
        .map(|saved| {
            (
                saved.line,
                saved.node,
                saved.entry.timeout,
                saved.entry.labels,
            )
        })
        .collect();
    assert_eq!(
        entries,
        [
            (5, Some("fw1".into()), Some(1), Some(Labels(8))),
            (6, Some("fw1".into()), Some(2), None),
            (10, Some("fw2".into()), Some(3), None),
        ]
    );
}

#[test]
fn a_save_of_several_nodes_names_them_when_they_change() {
    let entry = flow("-A -t 1 -s 10.0.0.1 -d 10.0.0.2 -p 89");
    let text = written(Format::Save, |f, out| {
        for node in ["a", "a", "b"] {
            let origin = Origin {
                node: Some(node),
                event: None,
            };
            f.flow(out, origin, &entry);
        }
    });
    let line = "-A -t 1 -u UNSET -s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -q 10.0.0.1 -p 89\n";
    let expected = format!("# node a\n{line}{line}# node b\n{line}");
    assert_eq!(String::from_utf8(text).expect("UTF-8"), expected);
}

#[test]
fn a_line_never_outgrows_the_buffer_of_conntrack() {
    let mut entry = flow("-A -t 1 -s 10.0.0.1 -d 10.0.0.2 -p 89");
    entry.secctx = Some("ü-F\n".repeat(10_000).into());
    let text = flow_text(Format::Save, &entry);
    for line in text.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        assert!(line.len() < 10_239, "{}", line.len());
        assert!(line.starts_with(b"# ctfleet") || line.starts_with(b"-A "));
    }
    assert_eq!(read::<Flow>(&text).expect("readable"), [entry]);
}

#[test]
fn errors_say_where_and_what() {
    for (text, expected) in [
        (
            "-A -p 89 -s 10.0.0.1 -d 10.0.0.2 -t x",
            "line 1, column 37: \"-t\": \"x\" is not a number",
        ),
        (
            "\n\n-A -s 10.0.0.1 -y",
            "line 3, column 16: \"-y\": unknown option",
        ),
        ("-A -s", "column 4: \"-s\": a value must follow"),
        ("-A -s -d", "column 4: \"-s\": a value must follow"),
        ("-A tcp", "column 4: \"tcp\": expected conntrack"),
        (
            "-A -p udp tcp",
            "column 11: \"tcp\": a word without an option",
        ),
        ("-A -p udp -p udp", "column 11: \"-p\": given twice"),
        ("hello", "column 1: \"hello\": expected -A or -I"),
        ("-F", "column 1: \"-F\": this line creates nothing"),
        ("-I expect -p udp", "\"expect\": expected conntrack"),
        ("-A -s 10.0.0.1 -d 10.0.0.2", "column 1: -p is missing"),
        ("-A -t 1 -s 10.0.0.1 -p 89", "-d is missing"),
        ("-A -s 10.0.0.1 -d 10.0.0.2 -p 89", "-t is missing"),
        (
            "-A -t 1 -s 10.0.0.1 -d 10.0.0.2 -p udp",
            "--sport is missing",
        ),
        ("-A -t 1 -s 10.0.0.1 -d ::1 -p 89", "different families"),
        (
            "-A -t 1 -s 10.0.0.1 -d 10.0.0.2 -p 89 -f ipv6",
            "different families",
        ),
        (
            "-A -t 1 -s 10.0.0.1 -d 10.0.0.2 -p 89 --state NONE",
            "column 39: \"--state\": does not go with protocol 89",
        ),
        (
            "-A -l web",
            "\"web\" is not a label: give numbers from 0 to 127",
        ),
        (
            "-A -t 1 -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 65536",
            "column 58: \"--dport\": \"65536\" is not a number from 0 to 65535",
        ),
        (
            "# ctfleet: {\"later\":1}\n-A -t 1 -s 10.0.0.1 -d 10.0.0.2 -p 89",
            "line 2, column 8: the JSON object does not describe an entry: unknown field `later`",
        ),
        ("# ctfleet+ x", "this continues a comment that is not there"),
        ("{\"protocol\":\"udp\"}", "\"orig\" is missing"),
    ] {
        let message = error(text);
        assert!(message.contains(expected), "{text}\n{message}");
    }
}

#[test]
fn after_an_error_the_next_line_is_read() {
    let text = b"-A -t x\n\xff\xfe\n-A -t 1 -s 10.0.0.1 -d 10.0.0.2 -p 89\n";
    let results: Vec<_> = Reader::<_, Flow>::new(&text[..])
        .map(|saved| saved.map(|s| s.line).map_err(|e| e.to_string()))
        .collect();
    let [Err(_), Err(utf8), Ok(3)] = &results[..] else {
        panic!("{results:?}")
    };
    assert_eq!(utf8, "line 2, column 1: not UTF-8");
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let endless = io::repeat(b'x').take(3 << 20);
    let text = io::BufReader::new(endless.chain(&b"\n-A -t 1 -s 10.0.0.1 -d 10.0.0.2 -p 89"[..]));
    let mut reader = Reader::<_, Flow>::new(text);
    let first = reader.next().map(|r| r.map_err(|e| e.to_string()));
    assert_eq!(
        first,
        Some(Err("line 1, column 1: longer than 1 MiB".to_owned()))
    );
    assert!(reader.buffer.capacity() < 3 << 20);
    assert!(matches!(reader.next(), Some(Ok(Saved { line: 2, .. }))));
}

#[test]
fn times_are_read_as_they_are_written() {
    for (time, expected) in [
        ("1970-01-01T00:00:00Z", Some(0)),
        (
            "2000-02-29T00:00:00.000000001Z",
            Some(951_782_400_000_000_001),
        ),
        ("2554-07-21T23:34:33.709551615Z", Some(u64::MAX)),
        ("2554-07-21T23:34:33.709551616Z", None),
        ("2001-02-29T00:00:00Z", None),
        ("1969-12-31T23:59:59Z", None),
        ("2001-02-28T24:00:00Z", None),
        ("2001-02-28 23:00:00Z", None),
        ("2001-02-28T23:00:00.1234567890Z", None),
    ] {
        let text =
            format!("# ctfleet: {{\"start\":\"{time}\"}}\n-A -t 1 -s 10.0.0.1 -d 10.0.0.2 -p 89\n");
        let start = read::<Flow>(text.as_bytes()).map(|flows| flows[0].timestamps.start);
        assert_eq!(start.ok().flatten(), expected, "{time}");
    }
}

#[test]
fn expectations_are_read_as_conntrack_reads_them() {
    let line = "-I expect -t 60 --tuple-src 10.0.0.2 --tuple-dst 10.0.0.1 --mask-src \
                255.255.255.255 --mask-dst 255.255.255.255 -s 10.0.0.1 -d 10.0.0.2 -p tcp \
                --sport 1 --dport 21 --tuple-port-src 0 --tuple-port-dst 2000 --mask-port-src 0 \
                --mask-port-dst 65535";
    let expectations = read::<Expectation>(line.as_bytes()).expect("readable");
    let [expectation] = &expectations[..] else {
        panic!("{expectations:?}")
    };
    assert_eq!(expectation.tuple.ports(), Some((0, 2000)));
    assert_eq!(expectation.mask.ports(), Some((0, 65535)));
    assert_eq!(expectation.master.ports(), Some((1, 21)));
    assert_eq!(expectation.timeout, Some(60));
    let message = read::<Expectation>(b"-A -t 1")
        .expect_err("no expectation")
        .to_string();
    assert!(message.contains("expected expect"), "{message}");
}
