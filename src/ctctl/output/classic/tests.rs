//! Every expected line was printed by conntrack(8) 1.4.7.

use super::super::Notice;
use super::*;
use crate::flow::{
    Counters, Helper, L4, Labels, PerCpu, ProtoInfo, Protocol, SctpInfo, SctpState, Status,
    TcpInfo, TcpState, Tuple, Zone, ZoneDirection,
};

fn tuple(src: &str, dst: &str, protocol: Protocol, l4: L4) -> Tuple {
    Tuple {
        src: src.parse().expect("an address"),
        dst: dst.parse().expect("an address"),
        protocol,
        l4,
    }
}

fn tcp() -> Flow {
    let ports = L4::Ports { src: 5, dst: 80 };
    let mut reply = tuple("2.2.2.2", "1.1.1.1", Protocol::TCP, ports);
    reply.l4 = L4::Ports { src: 80, dst: 99 };
    Flow {
        timeout: Some(999),
        status: Some(Status::CONFIRMED | Status::SRC_NAT_DONE | Status::DST_NAT_DONE),
        mark: Some(7),
        zone: Zone::both(3),
        id: Some(1_290_360_473),
        use_count: Some(1),
        counters_orig: Some(Counters::default()),
        counters_reply: Some(Counters::default()),
        protoinfo: Some(ProtoInfo::Tcp(TcpInfo {
            state: Some(TcpState(3)),
            ..TcpInfo::default()
        })),
        labels: Some(Labels(0x102)),
        ..Flow::new(tuple("10.0.0.1", "10.0.0.9", Protocol::TCP, ports), reply)
    }
}

fn udp(zone: Zone) -> Flow {
    let orig = tuple(
        "10.0.0.1",
        "10.0.0.2",
        Protocol::UDP,
        L4::Ports { src: 2, dst: 2 },
    );
    Flow {
        timeout: Some(999),
        status: Some(Status::CONFIRMED),
        zone,
        ..Flow::new(orig, orig.inverse())
    }
}

fn names() -> Option<Arc<LabelNames>> {
    Some(Arc::new(LabelNames::parse("1 eins\n8 eight\n")))
}

fn words(words: &str) -> Options {
    let has = |word| words.split(',').any(|w| w == word);
    Options {
        extended: has("extended"),
        xml: has("xml"),
        save: has("save"),
        id: has("id"),
        timestamp: has("timestamp"),
        ktimestamp: has("ktimestamp"),
        labels: has("labels"),
        userspace: has("userspace"),
    }
}

fn event(kind: EventType, port_id: u32) -> Origin<'static> {
    Origin {
        node: None,
        event: Some(EventOrigin::Event {
            kind,
            sequence: 1,
            port_id,
        }),
    }
}

fn printed(of: &str, command: Command, origin: Origin<'_>, flow: &Flow) -> String {
    let mut classic = Classic::new(words(of), command, names());
    let mut out = Vec::new();
    classic.flow(&mut out, origin, flow);
    classic.notice(&mut out, None, &Notice::SnapshotBegin);
    classic.end(&mut out);
    String::from_utf8(out).expect("UTF-8")
}

const PLAIN: &str = "tcp      6 999 ESTABLISHED src=10.0.0.1 dst=10.0.0.9 sport=5 dport=80 \
    packets=0 bytes=0 [UNREPLIED] src=2.2.2.2 dst=1.1.1.1 sport=80 dport=99 packets=0 bytes=0 \
    mark=7 zone=3 use=1";

#[test]
fn lines_have_what_was_asked_for() {
    let list = |of| printed(of, Command::List, Origin::default(), &tcp());
    assert_eq!(list(""), format!("{PLAIN}\n"));
    assert_eq!(list("userspace,timestamp"), format!("{PLAIN}\n"));
    assert_eq!(list("extended"), format!("ipv4     2 {PLAIN}\n"));
    assert_eq!(list("id"), format!("{PLAIN} id=1290360473\n"));
    assert_eq!(
        list("id,labels"),
        format!("{PLAIN} id=1290360473 labels=eins,eight\n")
    );
    let deleted = printed("labels", Command::Delete, Origin::default(), &tcp());
    assert_eq!(deleted, format!("{PLAIN}\n"));
}

#[test]
fn labels_without_a_name_are_not_shown() {
    let mut flow = tcp();
    flow.labels = Some(Labels(1 << 5));
    let line = printed("labels", Command::List, Origin::default(), &flow);
    assert_eq!(line, format!("{PLAIN} labels\n"));
    flow.labels = None;
    let line = printed("labels", Command::List, Origin::default(), &flow);
    assert_eq!(line, format!("{PLAIN}\n"));
}

#[test]
fn dates_stand_behind_the_age() {
    let mut flow = tcp();
    flow.timestamps.start = Some(1_795_458_624_000_000_000);
    flow.timestamps.stop = Some(1_795_458_625_999_999_999);
    let line = |command| printed("ktimestamp", command, Origin::default(), &flow);
    let with_dates = line(Command::List);
    assert!(with_dates.contains(" delta-time=1 [start="), "{with_dates}");
    assert!(with_dates.contains(" 2026] [stop="), "{with_dates}");
    assert!(with_dates.ends_with(" 2026] use=1\n"), "{with_dates}");
    assert!(line(Command::Update).ends_with(" zone=3 delta-time=1 use=1\n"));
    let xml = printed("xml,ktimestamp", Command::List, Origin::default(), &flow);
    let expected = "<unreplied/><timestamp><start>1795458624000000000</start>\
        <stop>1795458625999999999</stop></timestamp><deltatime>1</deltatime></meta></flow>\n";
    assert!(xml.contains(expected), "{xml}");
}

#[test]
fn events_say_when_and_by_whom() {
    let mut flow = tcp();
    flow.timestamps.event = Some(1_795_458_624_000_042_999);
    let line = printed(
        "timestamp",
        Command::Events,
        event(EventType::Update, 22630),
        &flow,
    );
    assert_eq!(
        line,
        format!("[1795458624.000042]\t [UPDATE] {PLAIN} [USERSPACE] portid=22630\n")
    );
    let origin = Origin {
        node: Some("fw1"),
        ..event(EventType::New, 0)
    };
    assert_eq!(
        printed("timestamp", Command::Events, origin, &flow),
        format!("fw1 [1795458624.000042]\t    [NEW] {PLAIN}\n")
    );
}

#[test]
fn xml_is_one_document() {
    let flow = "<meta direction=\"original\"><layer3 protonum=\"2\" protoname=\"ipv4\">\
        <src>10.0.0.1</src><dst>10.0.0.9</dst></layer3><layer4 protonum=\"6\" \
        protoname=\"tcp\"><sport>5</sport><dport>80</dport></layer4><counters>\
        <packets>0</packets><bytes>0</bytes></counters></meta><meta direction=\"reply\">\
        <layer3 protonum=\"2\" protoname=\"ipv4\"><src>2.2.2.2</src><dst>1.1.1.1</dst></layer3>\
        <layer4 protonum=\"6\" protoname=\"tcp\"><sport>80</sport><dport>99</dport></layer4>\
        <counters><packets>0</packets><bytes>0</bytes></counters></meta>\
        <meta direction=\"independent\"><state>ESTABLISHED</state><timeout>999</timeout>\
        <mark>7</mark><labels><label>eins</label><label>eight</label></labels><zone>3</zone>\
        <use>1</use><id>1290360473</id><unreplied/></meta>";
    let header = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<conntrack>\n";
    let printed = |command, origin| printed("xml,labels", command, origin, &tcp());
    assert_eq!(
        printed(Command::List, Origin::default()),
        format!("{header}<flow>{flow}</flow>\n</conntrack>\n")
    );
    assert_eq!(
        printed(Command::Get, Origin::default()),
        format!("{header}<flow>{flow}</flow>\n")
    );
    assert_eq!(
        printed(Command::Update, Origin::default()),
        format!("<flow>{flow}</flow>\n")
    );
    assert_eq!(
        printed(Command::Events, event(EventType::Destroy, 7)),
        format!(
            "{header}<flow type=\"destroy\">{flow}</flow> [USERSPACE] portid=7\n</conntrack>\n"
        )
    );
    let node = Origin {
        node: Some("a\"<b"),
        event: None,
    };
    assert!(printed(Command::List, node).contains("<flow node=\"a&quot;&lt;b\"><meta"));
}

#[test]
fn nothing_found_is_no_document() {
    let mut out = Vec::new();
    Classic::new(words("xml"), Command::List, None).end(&mut out);
    assert_eq!(out, b"");
}

#[test]
fn xml_has_the_oddities_of_conntrack() {
    let zone = Zone {
        id: 4,
        direction: ZoneDirection::Orig,
    };
    let xml = printed("xml", Command::List, Origin::default(), &udp(zone));
    assert!(
        xml.contains("</layer4><zone>4</zone></meta><meta direction=\"reply\">"),
        "{xml}"
    );
    let mut flow = udp(Zone::default());
    flow.protoinfo = Some(ProtoInfo::Sctp(SctpInfo {
        state: SctpState::from_name("ESTABLISHED"),
        ..SctpInfo::default()
    }));
    flow.helper = Some(Helper {
        name: "ftp".parse().expect("a name"),
        info: None,
    });
    let xml = printed(
        "xml,timestamp",
        Command::Events,
        event(EventType::New, 0),
        &flow,
    );
    assert!(xml.contains("<state>FIN_WAIT</state>"), "{xml}");
    let end = "</year></when><helper>ftp</helper></flow>\n</conntrack>\n";
    assert!(xml.ends_with(end), "{xml}");
}

#[test]
fn saved_changes_are_commands() {
    let of = |kind| printed("save", Command::Events, event(kind, 9), &tcp());
    // conntrack(8) leaves the mark out.
    assert_eq!(
        of(EventType::Update),
        "-U -t 999 -u UNSET -m 7 -w 3 -s 10.0.0.1 -d 10.0.0.9 -g 2.2.2.2 -n 1.1.1.1 -p tcp \
         --sport 5 --dport 80 --reply-port-src 80 --reply-port-dst 99 --state ESTABLISHED \
         [USERSPACE] portid=9\n"
    );
    let deleted = "-D -t 999 -u UNSET -w 3 -s 10.0.0.1 -d 10.0.0.9 -g 2.2.2.2 -n 1.1.1.1 -p tcp \
         --sport 5 --dport 80 --reply-port-src 80 --reply-port-dst 99 --state ESTABLISHED";
    assert_eq!(
        of(EventType::Destroy),
        format!("{deleted} [USERSPACE] portid=9\n")
    );
    assert_eq!(
        printed("save", Command::Delete, Origin::default(), &tcp()),
        format!("{deleted}\n")
    );
    // The comment carries what a line cannot.
    let added = of(EventType::New);
    let (comment, line) = added.split_once('\n').expect("two lines");
    assert!(comment.starts_with("# ctfleet: {"), "{added}");
    assert!(
        line.starts_with("-A -t 999 -u UNSET -m 7 -w 3 -s 10.0.0.1"),
        "{added}"
    );
    assert!(line.ends_with(" [USERSPACE] portid=9\n"), "{added}");
}

#[test]
fn a_saved_update_has_nothing_that_was_not_reported() {
    let mut flow = udp(Zone::default());
    (flow.timeout, flow.status) = (None, None);
    assert_eq!(
        printed("save", Command::Events, event(EventType::Update, 0), &flow),
        "-U -s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -q 10.0.0.1 -p udp --sport 2 --dport 2 \
         --reply-port-src 2 --reply-port-dst 2\n"
    );
}

fn expectation() -> Expectation {
    let ports = |src, dst| L4::Ports { src, dst };
    let side = |host, l4| tuple(host, host, Protocol::TCP, l4);
    Expectation {
        id: Some(3),
        tuple: side("127.0.0.1", ports(0, 51210)),
        mask: side("255.255.255.255", ports(0, 65535)),
        master: side("127.0.0.1", ports(38632, 21)),
        zone: 0,
        timeout: Some(299),
        flags: Some(0),
        class: Some(0),
        helper: "ftp".parse().ok(),
        function: None,
        nat: None,
    }
}

#[test]
fn expectations_are_lines_or_xml() {
    let printed = |of, command, origin| {
        let mut classic = Classic::new(words(of), command, names());
        let mut out = Vec::new();
        classic.expectation(&mut out, origin, &expectation());
        classic.end(&mut out);
        String::from_utf8(out).expect("UTF-8")
    };
    let line = "299 proto=6 src=127.0.0.1 dst=127.0.0.1 sport=0 dport=51210 \
        mask-src=255.255.255.255 mask-dst=255.255.255.255 sport=0 dport=65535 \
        master-src=127.0.0.1 master-dst=127.0.0.1 sport=38632 dport=21 class=0 helper=ftp\n";
    for of in ["", "extended,id,labels,userspace", "save"] {
        assert_eq!(printed(of, Command::List, Origin::default()), line);
    }
    let new = event(EventType::New, 9);
    assert_eq!(
        printed("", Command::Events, new),
        format!("    [NEW] {line}")
    );
    let stamped = printed("timestamp", Command::Events, new);
    assert!(stamped.starts_with('['), "{stamped}");
    assert!(
        stamped.ends_with(&format!("]\t    [NEW] {line}")),
        "{stamped}"
    );
    assert_eq!(
        printed("xml", Command::List, Origin::default()),
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<expect>\n<flow><layer3 protonum=\"2\" \
         protoname=\"ipv4\"><expected><src>127.0.0.1</src><dst>127.0.0.1</dst></expected><mask>\
         <src>255.255.255.255</src><dst>255.255.255.255</dst></mask><master><src>127.0.0.1</src>\
         <dst>127.0.0.1</dst></master></layer3><layer4 protonum=\"6\" protoname=\"tcp\">\
         <expected><sport>0</sport><dport>51210</dport></expected><mask><sport>0</sport>\
         <dport>65535</dport></mask><master><sport>38632</sport><dport>21</dport></master>\
         </layer4><meta><helper-name>ftp</helper-name><timeout>299</timeout><class>0</class>\
         </meta></flow>\n</expect>\n"
    );
}

#[test]
fn counters_are_lines() {
    let mut out = Vec::new();
    let mut stats = PerCpu {
        cpu: 1,
        stats: crate::flow::FlowStats::default(),
    };
    (stats.stats.found, stats.stats.chain_toolong) = (Some(3), Some(4));
    flow_statistics(&mut out, None, &stats);
    let expected = PerCpu {
        cpu: 0,
        stats: crate::flow::ExpectationStats {
            new: Some(0),
            create: Some(2),
            delete: Some(1),
        },
    };
    expectation_statistics(&mut out, Some("fw1"), &expected);
    count(&mut out, None, 13);
    count(&mut out, Some("fw1"), 2);
    assert_eq!(
        String::from_utf8(out).expect("UTF-8"),
        "cpu=1   \tfound=3 chaintoolong=4 \n\
         fw1 cpu=0   \texpect_new=0 expect_create=2 expect_delete=1 \n13\nfw1 2\n"
    );
}
