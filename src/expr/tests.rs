//! What is read, how it is written, and what is refused.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::flow::filter::{NumberField, NumberRange, Predicate, TextField};
use crate::flow::{Labels, arbitrary};

/// Reads the first, and expects it to be written as the second.
fn reads_as(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let filter = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(print(&filter), *expected, "{text}");
        assert_eq!(parse(expected).as_ref(), Ok(&filter), "{text}");
    }
}

#[test]
fn the_tree() {
    reads_as(&[
        (
            "src 10.0.0.0/8 and dport 443 and not state TIME_WAIT",
            "src 10.0.0.0/8 and dport 443 and not tcp-state TIME_WAIT",
        ),
        (
            "tcp or udp and dport 53",
            "proto tcp or proto udp and dport 53",
        ),
        (
            "(tcp or udp) and dport 53",
            "(proto tcp or proto udp) and dport 53",
        ),
        (
            "tcp && (dport 80 && sport 1)",
            "proto tcp and dport 80 and sport 1",
        ),
        (
            "tcp || (dport 80 || sport 1)",
            "proto tcp or dport 80 or sport 1",
        ),
        ("not tcp and udp", "not proto tcp and proto udp"),
        ("!(tcp and udp)", "not (proto tcp and proto udp)"),
        ("!tcp", "not proto tcp"),
        ("! ! tcp", "proto tcp"),
        ("not not not tcp", "not proto tcp"),
        ("((((tcp))))", "proto tcp"),
        ("NOT Tcp AnD uDP OR all", "all"),
        ("  \t\n tcp \n", "proto tcp"),
        ("tcp and none", "none"),
        ("tcp or none", "proto tcp"),
        ("not all", "none"),
    ]);
}

#[test]
fn addresses() {
    reads_as(&[
        ("addr 10.0.0.1", "addr 10.0.0.1"),
        ("src 10.1.2.3/8", "src 10.0.0.0/8"),
        ("dst 10.0.0.0/255.255.0.0", "dst 10.0.0.0/16"),
        ("src in {10.0.0.1, 10.1.0.0/16}", "src 10.0.0.1,10.1.0.0/16"),
        ("src {10.1.0.0/16 , 10.0.0.1}", "src 10.0.0.1,10.1.0.0/16"),
        ("src = 10.0.0.1,2001:DB8::/32", "src 10.0.0.1,2001:db8::/32"),
        ("dst ::ffff:10.0.0.1", "dst ::ffff:10.0.0.1"),
        ("reply-src != 10.0.0.1", "not reply-src 10.0.0.1"),
        ("orig-src ::/0", "src ::/0"),
        ("mask-dst 255.255.0.0", "mask-dst 255.255.0.0"),
    ]);
}

#[test]
fn numbers() {
    reads_as(&[
        ("dport 80,443,8000-8100", "dport 80,443,8000-8100"),
        ("dport {443, 80, 81}", "dport 80-81,443"),
        ("sport >= 1024", "sport >= 1024"),
        ("sport > 1023", "sport >= 1024"),
        ("sport < 1024", "sport <= 1023"),
        ("sport <= 1023", "sport <= 1023"),
        ("sport > 0", "sport > 0"),
        ("sport <= 65535", "sport 0-65535"),
        ("sport < 0", "none"),
        ("sport > 65535", "none"),
        ("port == 53", "port 53"),
        ("port != 53", "not port 53"),
        ("port != 53,80", "not port 53,80"),
        ("packets >= 10", "packets >= 10"),
        ("bytes > 1M", "bytes > 1000000"),
        ("bytes > 1MiB", "bytes >= 1048577"),
        (
            "bytes <= 9223372036854775807",
            "bytes 0-9223372036854775807",
        ),
        ("bytes > 9223372036854775807", "none"),
        ("timeout < 30", "timeout < 30"),
        ("timeout < 5m", "timeout < 300"),
        ("timeout 1m-2m", "timeout 60-120"),
        ("age > 1h", "age > 3600"),
        ("start > 1767225600s", "start > 1767225600000000000"),
        ("zone 3", "zone 3"),
        ("id 0xABC", "id 0xabc"),
        ("id 123", "id 0x7b"),
        ("mark 3", "mark 3"),
        ("mark 10", "mark 0xa"),
        ("mark 0x10/0xf0", "mark 0x10/0xf0"),
        ("mark 0/0xf0", "mark 0/0xf0"),
        ("mark 0x10/0xffffffff", "mark 0x10"),
        ("mark & 0xf0 = 16", "mark 0x10/0xf0"),
        ("mark & 0xf0 > 0x10", "mark & 0xf0 >= 0x11"),
        ("mark & 0xf0 0x20,0x10", "mark & 0xf0 = 0x10,0x20"),
        ("mark & 0xf0 != 0x10", "not mark 0x10/0xf0"),
        ("mark & 0xf0 <= 0xf0", "mark 0-0xffffffff"),
        ("mark 5,0x10/0xf0,7", "mark 5,7 or mark 0x10/0xf0"),
        ("mark != 0", "not mark 0"),
        ("seqadj-orig-after -5--1", "seqadj-orig-after -5--1"),
        ("seqadj-orig-after < 0", "seqadj-orig-after < 0"),
        (
            "seqadj-orig-after & 0xff = 255",
            "seqadj-orig-after 255/0xff",
        ),
        ("use 2", "use 2"),
    ]);
}

#[test]
fn names_of_values() {
    reads_as(&[
        ("proto tcp", "proto tcp"),
        ("proto TCP,17", "proto tcp,udp"),
        ("proto 89", "proto 89"),
        ("proto 6-8", "proto 6-8"),
        (
            "icmp6 or icmpv6 or proto ipv6-icmp",
            "proto icmpv6 or proto icmpv6 or proto icmpv6",
        ),
        ("master-proto udp", "master-proto udp"),
        ("ipv4 or family ipv6", "family ipv4 or family ipv6"),
        ("family 4", "family ipv4"),
        ("zone-direction orig", "zone-direction orig"),
        (
            "tcp-state established,syn_sent",
            "tcp-state SYN_SENT,ESTABLISHED",
        ),
        ("tcp-state 1-3", "tcp-state SYN_SENT,SYN_RECV,ESTABLISHED"),
        ("tcp-state >= CLOSE", "tcp-state >= 8"),
        ("tcp-state 11", "tcp-state 11"),
        ("sctp-state COOKIE_WAIT", "sctp-state COOKIE_WAIT"),
        ("dccp-role server", "dccp-role server"),
        ("state TIME_WAIT", "tcp-state TIME_WAIT"),
        ("state ESTABLISHED", "state ESTABLISHED"),
        ("not state ESTABLISHED", "not state ESTABLISHED"),
        (
            "tcp and state = ESTABLISHED",
            "proto tcp and state ESTABLISHED",
        ),
        ("state ESTABLISHED or udp", "state ESTABLISHED or proto udp"),
        (
            "tcp and (state ESTABLISHED or udp)",
            "proto tcp and (state ESTABLISHED or proto udp)",
        ),
        (
            "state in {established, TIME_WAIT}",
            "state ESTABLISHED,TIME_WAIT",
        ),
        ("state none", "state NONE"),
        ("state != OPEN", "not dccp-state OPEN"),
        (
            "tcp-state CLOSE or sctp-state ESTABLISHED",
            "tcp-state CLOSE or sctp-state ESTABLISHED",
        ),
    ]);
    let established = parse("tcp-state ESTABLISHED or sctp-state ESTABLISHED");
    assert_eq!(parse("state ESTABLISHED"), established);
}

#[test]
fn bits() {
    reads_as(&[
        ("status ASSURED", "status ASSURED"),
        ("status assured,SEEN_REPLY", "status SEEN_REPLY,ASSURED"),
        ("status = ASSURED", "status ASSURED"),
        ("status != ASSURED", "not status ASSURED"),
        ("assured", "status ASSURED"),
        ("unreplied", "not status SEEN_REPLY"),
        ("replied", "status SEEN_REPLY"),
        ("offload", "status OFFLOAD"),
        ("status 6", "status 6"),
        ("status 6/6", "status SEEN_REPLY,ASSURED"),
        ("status 2/6", "status 2/0x6"),
        ("status 0x10000/0x10000", "status 0x10000/0x10000"),
        ("status & 6 > 0", "status & 0x6 > 0"),
        ("expect-flags permanent", "expect-flags PERMANENT"),
        ("tcp-flags-orig 0x23", "tcp-flags-orig 0x23"),
        ("label 5", "label 5"),
        ("label 127,5", "label 5,127"),
        ("label != 5", "not label 5"),
        ("labels 0x20/0x20", "label 5"),
        ("labels 0x20", "labels 0x20"),
        ("labels 0/0x20", "labels 0x0/0x20"),
        ("labels 1,2/3", "labels 0x1 or labels 0x2/0x3"),
    ]);
    let status = parse("status ASSURED,SEEN_REPLY").unwrap();
    let six = NumberRange { min: 6, max: 6 };
    let expected = Predicate::Number(NumberField::Status, Some(6), vec![six]);
    assert_eq!(status, Filter::Is(expected));
    let label = Predicate::Labels {
        value: Labels(32),
        mask: Labels(32),
    };
    assert_eq!(parse("label 5"), Ok(Filter::Is(label)));
}

#[test]
fn texts_and_parts() {
    reads_as(&[
        ("helper ftp", "helper ftp"),
        ("helper FTP", "helper FTP"),
        ("helper in {sip, ftp}", "helper ftp,sip"),
        ("helper 'and'", "helper \"and\""),
        ("helper \"\"", "helper \"\""),
        (
            r#"helper "a \"b\" \\ \n\t\u{7f} ü""#,
            r#"helper "a \"b\" \\ \n\t\u{7f} ü""#,
        ),
        ("secctx system_u:object_r:x", "secctx system_u:object_r:x"),
        ("secctx 'a b'", "secctx \"a b\""),
        ("expect-fn nat-follow-master", "expect-fn nat-follow-master"),
        ("has helper", "has helper"),
        ("HAS Master", "has master"),
        ("snat", "snat"),
        ("dnat or nat", "dnat or nat"),
    ]);
}

/// Every field by its name, with a value.
#[test]
fn every_field_is_known() {
    use crate::flow::filter::{AddressField, PresenceField, Translation};
    let round_trip = |text: String| {
        let filter = parse(&text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(print(&filter), text);
    };
    for field in AddressField::ALL {
        round_trip(format!("{} 10.0.0.1", field.name()));
    }
    for field in NumberField::ALL {
        round_trip(format!("{} 200", field.name()).replace(
            "200",
            match field {
                NumberField::Id
                | NumberField::Status
                | NumberField::Mark
                | NumberField::TcpFlagsOrig
                | NumberField::TcpFlagsReply
                | NumberField::SctpVtagOrig
                | NumberField::SctpVtagReply
                | NumberField::ExpectFlags => "0xc8",
                _ => "200",
            },
        ));
    }
    for field in TextField::ALL {
        round_trip(format!("{} x", field.name()));
    }
    for field in PresenceField::ALL {
        round_trip(format!("has {}", field.name()));
    }
    for field in Translation::ALL {
        round_trip(field.name().to_owned());
    }
}

/// Text, column, what is found there, what a suggestion is.
#[test]
fn what_is_refused() {
    let cases: &[(&str, usize, Option<&str>, Option<&str>)] = &[
        ("", 1, None, None),
        ("   ", 1, None, None),
        ("dprt 443", 1, Some("dprt"), Some("dport")),
        ("tcp and dprt 443", 9, Some("dprt"), Some("dport")),
        ("tpc", 1, Some("tpc"), Some("tcp")),
        ("stat ESTABLISHED", 1, Some("stat"), Some("state")),
        (
            "ESTABLISHED",
            1,
            Some("ESTABLISHED"),
            Some("state ESTABLISHED"),
        ),
        (
            "seen_reply",
            1,
            Some("seen_reply"),
            Some("status seen_reply"),
        ),
        ("10.0.0.1", 1, Some("10.0.0.1"), Some("addr 10.0.0.1")),
        ("tcp and master", 9, Some("master"), Some("has master")),
        ("xyzzyplugh 3", 1, Some("xyzzyplugh"), None),
        ("has helpr", 5, Some("helpr"), Some("helper")),
        ("has", 4, None, None),
        ("tcp and", 8, None, None),
        ("and tcp", 1, Some("and"), None),
        ("tcp udp", 5, Some("udp"), None),
        ("tcp)", 4, Some(")"), None),
        ("(tcp", 5, None, None),
        ("(tcp udp)", 6, Some("udp"), None),
        ("()", 2, Some(")"), None),
        ("not", 4, None, None),
        ("dport", 6, None, None),
        ("dport and tcp", 7, Some("and"), None),
        ("dport =", 8, None, None),
        ("dport 70000", 7, Some("70000"), None),
        ("dport -1", 7, Some("-1"), None),
        ("dport 80,", 10, None, None),
        ("dport 80,443x", 10, Some("443x"), None),
        ("dport {80", 10, None, None),
        ("dport {80 443}", 11, Some("443"), None),
        ("dport 443-80", 7, Some("443-80"), None),
        ("dport > 80-90", 9, Some("80-90"), None),
        ("dport > 80,90", 11, Some(","), None),
        ("dport http", 7, Some("http"), None),
        ("proto tpc", 7, Some("tpc"), Some("tcp")),
        ("mark 0x100/0xf0", 6, Some("0x100/0xf0"), None),
        ("mark 0/0", 6, Some("0/0"), None),
        ("mark & 0 = 0", 8, Some("0"), None),
        ("mark & 0x1ffffffff = 0", 8, Some("0x1ffffffff"), None),
        ("mark & 3 = 1/1", 12, Some("1/1"), None),
        ("src & 3 = 1", 5, Some("&"), None),
        ("src > 10.0.0.1", 5, Some(">"), None),
        ("src 10.0.0.0/33", 5, Some("10.0.0.0/33"), None),
        ("src \"10.0.0.1\"", 5, Some("\"10.0.0.1\""), None),
        ("status ASURED", 8, Some("ASURED"), Some("ASSURED")),
        ("status ASSURED,4", 16, Some("4"), None),
        (
            "status in {ASSURED,SEEN_REPLY}",
            20,
            Some("SEEN_REPLY"),
            None,
        ),
        (
            "state ESTABLISED",
            7,
            Some("ESTABLISED"),
            Some("ESTABLISHED"),
        ),
        ("state 3", 7, Some("3"), None),
        ("label 128", 7, Some("128"), None),
        ("label {1,2}", 10, Some("2"), None),
        ("labels 2/1", 8, Some("2/1"), None),
        ("bytes > 1X", 9, Some("1X"), None),
        ("timeout < 5w", 11, Some("5w"), None),
        ("helper \"ftp", 8, Some("\"ftp"), None),
        ("helper 'a\\x'", 10, Some("\\"), None),
        ("tcp | udp", 5, Some("|"), Some("||")),
        ("helper in in", 11, Some("in"), None),
        ("größe 5", 1, Some("größe"), None),
        ("helper größe and dprt 1", 18, Some("dprt"), Some("dport")),
    ];
    for (text, column, found, suggestion) in cases {
        let error = parse(text).expect_err(text);
        assert_eq!(error.column(), *column, "{error}");
        assert_eq!(error.found(), *found, "{error}");
        assert_eq!(error.suggestion(), *suggestion, "{error}");
    }
}

#[test]
fn an_error_shows_where() {
    let error = parse("src 10.0.0.0/8 and dprt 443").unwrap_err();
    assert_eq!(
        error.to_string(),
        "column 20: found `dprt`, expected a field or a condition; did you mean `dport`?\n  \
         src 10.0.0.0/8 and dprt 443\n                     ^"
    );
    let error = parse("tcp and\n\tdport").unwrap_err();
    assert_eq!((error.line(), error.column()), (2, 7));
    assert_eq!(
        error.to_string(),
        "line 2, column 7: found the end, expected a number from 0 to 65535\n   dport\n        ^"
    );
}

#[test]
fn an_error_in_a_long_text_shows_its_surroundings() {
    let long = format!(
        "{} or dprt 1 or {}",
        "tcp or ".repeat(100) + "udp",
        "udp or ".repeat(100) + "udp"
    );
    let error = parse(&long).unwrap_err();
    let text = error.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines.iter().all(|line| line.chars().count() < 140),
        "{error}"
    );
    let caret = lines[2].find('^').unwrap();
    assert_eq!(&lines[1][caret..caret + 4], "dprt", "{error}");
}

#[test]
fn depth_and_length_are_limited() {
    let nested = |depth: usize| format!("{}tcp{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&nested(MAX_NESTING)).is_ok());
    let error = parse(&nested(MAX_NESTING + 1)).unwrap_err();
    assert_eq!(error.column(), MAX_NESTING + 1);
    assert!(
        error
            .to_string()
            .contains("at most 64 levels of parentheses and `not`"),
        "{error}"
    );
    assert!(parse(&nested(30_000)).is_err());
    assert!(parse(&"not ".repeat(15_000)).is_err());

    // Brackets that are not needed do not count as levels of the filter, others do.
    let mut deep = "tcp".to_owned();
    for level in 1..MAX_DEPTH {
        deep = format!("({deep}) {} udp", if level % 2 == 0 { "and" } else { "or" });
    }
    let filter = parse(&deep).unwrap();
    assert_eq!(filter.depth(), MAX_DEPTH);
    assert_eq!(parse(&print(&filter)), Ok(filter));
    let error = parse(&format!("({deep}) and udp")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("at most 32 levels of conditions"),
        "{error}"
    );

    let long = format!("tcp{}", " ".repeat(MAX_LENGTH - 3));
    assert!(parse(&long).is_ok());
    let error = parse(&format!("{long} ")).unwrap_err();
    assert!(
        error.to_string().contains("at most 65536 bytes, not 65537"),
        "{error}"
    );
}

/// Filters of values that the language has words for, which random numbers seldom hit.
fn wordy() -> impl Strategy<Value = Filter> {
    let range = (-2i64..20, 0i64..4).prop_map(|(min, more)| NumberRange {
        min,
        max: min + more,
    });
    let ranges = proptest::collection::vec(range, 1..4);
    let mask = proptest::option::of(1u64..32);
    let number = (select(NumberField::ALL), mask, ranges)
        .prop_map(|(field, mask, ranges)| Predicate::Number(field, mask, ranges));
    let text = (select(TextField::ALL), any::<Vec<String>>()).prop_map(|(field, values)| {
        Predicate::Text(field, values.into_iter().map(Into::into).collect())
    });
    let state = select(&["ESTABLISHED", "NONE", "CLOSE", "OPEN"][..])
        .prop_filter_map("a state", |name| vocabulary::state([name]));
    let leaf = prop_oneof![
        4 => prop_oneof![number, text].prop_map(Filter::Is),
        1 => state,
        1 => Just(Filter::everything()),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|filter| !filter),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_printed_reads_as_the_normal_form(
        filter in prop_oneof![arbitrary::filter(), wordy()]
    ) {
        let text = print(&filter);
        prop_assert_eq!(parse(&text), Ok(filter.normal()), "{}", text);
    }

    #[test]
    fn the_normal_form_selects_the_same_and_is_its_own(
        filter in prop_oneof![arbitrary::filter(), wordy()],
        flow in arbitrary::flow(),
        now in any::<u64>(),
    ) {
        let normal = filter.clone().normal();
        prop_assert_eq!(filter.matches(&flow, now), normal.matches(&flow, now));
        prop_assert_eq!(normal.clone().normal(), normal);
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = parse(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn no_text_of_the_language_panics(
        words in proptest::collection::vec(select(WORDS), 0..12)
    ) {
        let text = words.concat();
        match parse(&text) {
            Ok(filter) => prop_assert_eq!(parse(&print(&filter)), Ok(filter), "{}", text),
            Err(error) => {
                let text = error.to_string();
                prop_assert!(text.lines().count() == 3, "{}", text);
            }
        }
    }
}

/// Pieces to make expressions and near misses of.
const WORDS: &[&str] = &[
    " ",
    " ",
    "and ",
    "or ",
    "not ",
    "(",
    ")",
    "{",
    "}",
    ",",
    "&",
    "!",
    "=",
    "<",
    ">=",
    "-",
    "/",
    "\"",
    "\\",
    "\n",
    "in ",
    "has ",
    "src ",
    "addr ",
    "10.0.0.0/8 ",
    "::1 ",
    "dport ",
    "mark ",
    "bytes ",
    "timeout ",
    "5",
    "0x10",
    "5m ",
    "10K ",
    "status ",
    "ASSURED ",
    "state ",
    "CLOSE ",
    "tcp ",
    "label ",
    "labels ",
    "helper ",
    "ftp ",
    "nat ",
    "all ",
    "ü",
    "\u{301}",
];
