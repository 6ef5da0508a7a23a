//! Dumps: entry by entry what conntrack(8) sees, whatever made the entries, and with a
//! filter exactly those that it lets through, whatever the kernel pre-selects.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ctfleet::ctnetlink::{FlowDump, FlowDumpRequest, Preselection, Table};
use ctfleet::flow::filter::{AddressField, NumberField, Predicate, PresenceField, Translation};
use ctfleet::flow::{Family, Filter, Flow, Labels, ProtoInfo, Status};

use crate::harness::filters::{is, masked, not, within};
use crate::harness::traffic::{Tcp, ping, sctp_init, udp};
use crate::harness::witness::Row;
use crate::harness::{Firewall, Netns};

/// One entry of each kind that conntrack(8) can write.
const SEEDS: [&str; 14] = [
    "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1001 --dport 80 --state ESTABLISHED \
     -u SEEN_REPLY,ASSURED -m 7",
    "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1002 --dport 443 --state SYN_SENT -m 0x10007",
    "-p tcp -s 10.9.0.1 -d 10.0.0.2 --sport 1002 --dport 443 --state TIME_WAIT -u SEEN_REPLY",
    "-p tcp -s 10.0.0.3 -d 198.51.100.1 --sport 1003 --dport 80 --state ESTABLISHED \
     -n 192.0.2.1 -u SEEN_REPLY,ASSURED",
    "-p tcp -s 10.0.0.4 -d 192.0.2.1 --sport 1004 --dport 8080 --state CLOSE_WAIT \
     -g 10.0.0.80 -u SEEN_REPLY",
    "-p tcp -s 2001:db8::1 -d 2001:db8::2 --sport 1001 --dport 80 --state ESTABLISHED \
     -u SEEN_REPLY,ASSURED -m 7",
    "-p udp -s 10.0.0.1 -d 10.0.0.53 --sport 5353 --dport 53",
    "-p udp -s 10.0.0.1 -d 10.0.0.53 --sport 5354 --dport 53 -w 9 -m 7",
    "-p udp -s 2001:db8::1 -d 2001:db8::53 --sport 5353 --dport 53 -w 9",
    "-p udplite -s 10.0.0.1 -d 10.0.0.2 --sport 7 --dport 8",
    "-p icmp -s 10.0.0.1 -d 10.0.0.2 --icmp-type 8 --icmp-code 0 --icmp-id 4242",
    "-p icmpv6 -s 2001:db8::1 -d 2001:db8::2 --icmpv6-type 128 --icmpv6-code 0 \
     --icmpv6-id 4243",
    "-p sctp -s 10.0.0.1 -d 10.0.0.2 --sport 9 --dport 10 --state ESTABLISHED \
     --orig-vtag 1 --reply-vtag 2 -u SEEN_REPLY,ASSURED",
    "-p gre -s 10.0.0.1 -d 10.0.0.2 --srckey 11 --dstkey 12",
];

fn seeded() -> Netns {
    let ns = Netns::new();
    for seed in SEEDS {
        ns.conntrack(&format!("-I -t 5000 {seed}"));
    }
    ns
}

#[test]
fn what_conntrack_wrote_is_dumped_entry_by_entry() {
    let ns = seeded();
    let flows = ns.witnessed_flows();
    assert_eq!(flows.len(), SEEDS.len());
    for flow in &flows {
        let status = flow.status.expect("a status");
        assert!(status.contains(Status::CONFIRMED), "{flow:?}");
        let translated = flow.reply != flow.orig.inverse();
        let bits = Status(Status::SRC_NAT.0 | Status::DST_NAT.0);
        assert_eq!(status.0 & bits.0 != 0, translated, "{flow:?}");
    }
}

#[test]
fn what_packets_made_is_dumped_entry_by_entry() {
    let firewall = Firewall::new();
    let Firewall {
        client,
        router,
        server,
    } = &firewall;
    router.set_sysctl("net/netfilter/nf_conntrack_acct", "1");
    router.set_sysctl("net/netfilter/nf_conntrack_timestamp", "1");
    router.nft(
        "table inet mangle {
            chain forward {
                type filter hook forward priority -150;
                ct mark set 0xbeef ct label set 1 ct label set 3 ct label set 127
            }
        }",
    );
    let mut held = Vec::new();
    for family in [Family::V4, Family::V6] {
        let at = SocketAddr::new(Firewall::server_address(family), 0);
        held.push(Tcp::open(client, server, at));
        udp(client, server, at);
        ping(client, at.ip());
    }
    let flows = router.witnessed_flows();
    let marked = |flow: &&Flow| flow.mark == Some(0xbeef);
    assert_eq!(flows.iter().filter(marked).count(), 6, "{flows:#?}");
    let now = nanoseconds_now();
    for flow in flows.iter().filter(marked) {
        assert_eq!(
            flow.labels,
            Some(Labels(0x8000_0000_0000_0000_0000_0000_0000_000a))
        );
        let start = flow.timestamps.start.expect("a start");
        assert!(start < now && now - start < 60_000_000_000, "{flow:?}");
        assert!(
            flow.counters_reply.is_some_and(|c| c.packets > 0),
            "{flow:?}"
        );
        if let Some(ProtoInfo::Tcp(info)) = flow.protoinfo {
            assert!(
                info.window_scale_orig > Some(0) && info.flags_orig.is_some(),
                "{flow:?}"
            );
        }
    }
}

#[test]
fn the_verification_tag_of_an_sctp_packet_is_read_as_it_was_sent() {
    let ns = Netns::tracking();
    // The packet has none.
    ns.set_sysctl("net/netfilter/nf_conntrack_checksum", "0");
    sctp_init(&ns, Ipv4Addr::LOCALHOST, (9, 10), 0x0102_0304);
    let flows = ns.flows(Some(is(NumberField::Protocol, 132)));
    let [flow] = &flows[..] else {
        panic!("{flows:#?}")
    };
    assert_eq!(flow.orig.ports(), Some((9, 10)));
    let Some(ProtoInfo::Sctp(info)) = flow.protoinfo else {
        panic!("{flow:?}")
    };
    // The tag that packets of the other direction must carry.
    assert_eq!(
        (info.vtag_orig, info.vtag_reply),
        (Some(0), Some(0x0102_0304))
    );
}

#[test]
fn a_zone_of_one_direction_is_told_from_one_of_both() {
    let firewall = Firewall::new();
    let Firewall {
        client,
        router,
        server,
    } = &firewall;
    router.nft(
        "table inet zones {
            chain pre {
                type filter hook prerouting priority -300;
                iifname left udp dport 1000 ct original zone set 5
                iifname left udp dport 1001 ct zone set 6
                iifname right udp sport 1001 ct zone set 6
            }
        }",
    );
    let address = Firewall::server_address(Family::V4);
    udp(client, server, SocketAddr::new(address, 1000));
    udp(client, server, SocketAddr::new(address, 1001));
    let flows = router.witnessed_flows();
    let zone = |port| {
        let port = |flow: &&Flow| flow.orig.ports().is_some_and(|(_, dst)| dst == port);
        let flow = flows.iter().find(port).expect("its flow");
        (flow.zone.id, flow.zone.direction)
    };
    use ctfleet::flow::ZoneDirection::{Both, Orig};
    assert_eq!((zone(1000), zone(1001)), ((5, Orig), (6, Both)));
}

#[test]
fn a_large_table_is_dumped_whole() {
    let ns = Netns::new();
    let template = ns_template(&seeded());
    let flows: Vec<Flow> = (0..20_000u32).map(|n| numbered(&template, n)).collect();
    ns.create(&flows);
    let mut dump = FlowDump::open(&ns.namespace(), FlowDumpRequest::default()).expect("a dump");
    let mut marks = Vec::new();
    let mut datagrams = 0;
    while dump
        .read(&mut |flow| marks.extend(flow.mark))
        .expect("a datagram")
    {
        datagrams += 1;
    }
    marks.sort();
    assert_eq!(marks, (0..20_000).collect::<Vec<_>>());
    assert!(datagrams > 50, "{datagrams}");
    assert_eq!(dump.counts().scanned, 20_000);
    assert!(
        !dump
            .read(&mut |_| panic!("more"))
            .expect("still at the end")
    );
}

/// A TCP flow to vary.
fn ns_template(ns: &Netns) -> Flow {
    let flow = ns
        .flows(None)
        .into_iter()
        .find(|flow| flow.mark == Some(0x10007));
    flow.expect("the seed")
}

/// The template with a source and a mark of its own.
fn numbered(template: &Flow, n: u32) -> Flow {
    let source = IpAddr::from((0x0b00_0000 + n).to_be_bytes());
    let mut flow = template.clone();
    flow.orig.src = source;
    flow.reply = flow.orig.inverse();
    flow.mark = Some(n);
    flow
}

#[test]
fn a_dump_that_is_dropped_ends() {
    let ns = Netns::new();
    let template = ns_template(&seeded());
    ns.create(
        &(0..5_000)
            .map(|n| numbered(&template, n))
            .collect::<Vec<_>>(),
    );
    for _ in 0..50 {
        let mut dump = FlowDump::open(&ns.namespace(), FlowDumpRequest::default()).expect("a dump");
        assert!(dump.read(&mut |_| ()).expect("a datagram"));
    }
    assert_eq!(ns.flows(None).len(), 5_000);
}

#[test]
fn counters_are_read_and_reset_in_one_step() {
    let firewall = Firewall::new();
    let Firewall {
        client,
        router,
        server,
    } = &firewall;
    router.set_sysctl("net/netfilter/nf_conntrack_acct", "1");
    let at = SocketAddr::new(Firewall::server_address(Family::V4), 2000);
    let client = udp(client, server, at);
    // One datagram each way, 8 bytes with 28 of headers.
    let expected = Some(ctfleet::flow::Counters {
        packets: 1,
        bytes: 36,
    });
    let zero = || {
        let request = FlowDumpRequest {
            zero_counters: true,
            filter: Some(is(NumberField::DstPort, 2000)),
            ..FlowDumpRequest::default()
        };
        let flows = router.dump(request).expect("a dump");
        let [flow] = &flows[..] else {
            panic!("{flows:#?}")
        };
        (flow.counters_orig, flow.counters_reply)
    };
    assert_eq!(zero(), (expected, expected));
    let nothing = Some(ctfleet::flow::Counters::default());
    assert_eq!(zero(), (nothing, nothing));
    drop(client);
}

#[test]
fn a_reset_spares_what_the_filter_leaves_out() {
    let ns = Netns::tracking();
    ns.set_sysctl("net/netfilter/nf_conntrack_acct", "1");
    ns.nft(
        "table ip marks {
            chain out {
                type filter hook output priority -150;
                udp dport 2001 ct mark set 1
                udp dport 2002 ct mark set 2
            }
        }",
    );
    for port in [2001, 2002] {
        udp(
            &ns,
            &ns,
            SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port),
        );
    }
    let request = FlowDumpRequest {
        zero_counters: true,
        filter: Some(is(NumberField::Mark, 1)),
        ..FlowDumpRequest::default()
    };
    assert_eq!(ns.dump(request).expect("a dump").len(), 1);
    for (mark, packets) in [(1, 0), (2, 1)] {
        let [row] = &ns.witness(&format!("-m {mark}"))[..] else {
            panic!("one row")
        };
        assert_eq!(row.orig.number("packets"), Some(packets), "mark {mark}");
    }
}

#[test]
fn the_other_lists_answer() {
    let ns = seeded();
    for table in [Table::Dying, Table::Unconfirmed] {
        let request = FlowDumpRequest {
            table,
            ..FlowDumpRequest::default()
        };
        assert_eq!(ns.dump(request).expect("a dump"), []);
    }
}

/// Filters, and the options with which conntrack(8) selects the same.
fn selections() -> Vec<(Filter, &'static str)> {
    use AddressField::{Dst, ReplyDst, ReplySrc, Src};
    use NumberField::{DstPort, Family, Mark, Protocol, SrcPort, Status as Bits, Zone};
    let all = Filter::And;
    vec![
        (is(Family, 4), "-f ipv4"),
        (is(Family, 6), "-f ipv6"),
        (is(Protocol, 6), "-p tcp"),
        (is(Protocol, 17), "-p udp"),
        (is(Protocol, 132), "-p sctp"),
        (within(Src, "10.0.0.1/32"), "-s 10.0.0.1"),
        (within(Src, "10.0.0.0/24"), "-s 10.0.0.0/24"),
        (within(Src, "2001:db8::1/128"), "-s 2001:db8::1"),
        (within(Dst, "2001:db8::/64"), "-d 2001:db8::/64"),
        (within(Dst, "10.0.0.53/32"), "-d 10.0.0.53"),
        (within(ReplySrc, "10.0.0.80/32"), "-r 10.0.0.80"),
        (within(ReplyDst, "192.0.2.1/32"), "-q 192.0.2.1"),
        (
            all(vec![is(Protocol, 6), is(SrcPort, 1002)]),
            "-p tcp --sport 1002",
        ),
        (
            all(vec![is(Protocol, 17), is(DstPort, 53)]),
            "-p udp --dport 53",
        ),
        // The kernel compares no ports of these.
        (
            all(vec![is(Protocol, 136), is(DstPort, 9)]),
            "-p udplite --dport 9",
        ),
        (
            all(vec![is(Protocol, 132), is(DstPort, 10)]),
            "-p sctp --dport 10",
        ),
        (
            all(vec![
                is(Protocol, 6),
                within(Src, "10.0.0.1/32"),
                is(DstPort, 443),
            ]),
            "-p tcp -s 10.0.0.1 --dport 443",
        ),
        (is(Mark, 7), "-m 7"),
        (masked(Mark, 7, 0xffff), "-m 7/0xffff"),
        (is(Zone, 9), "-w 9"),
        (masked(Bits, 4, 4), "-u ASSURED"),
        (masked(Bits, 2, 2), "-u SEEN_REPLY"),
        (masked(Bits, 6, 6), "-u SEEN_REPLY,ASSURED"),
        (not(masked(Bits, 2, 2)), "-u UNSET"),
        (
            all(vec![is(Protocol, 6), is(NumberField::TcpState, 3)]),
            "-p tcp --state ESTABLISHED",
        ),
        (Filter::Is(Predicate::Translated(Translation::Src)), "-n"),
        (Filter::Is(Predicate::Translated(Translation::Dst)), "-g"),
        (Filter::Is(Predicate::Translated(Translation::Any)), "-j"),
    ]
}

#[test]
fn a_filter_selects_what_conntrack_selects() {
    let ns = seeded();
    let everything = ns.flows(None);
    for (filter, options) in selections() {
        // "-u" has no word for a bit that must be off: the others, then.
        let ids = |rows: Vec<Row>| {
            let mut ids: Vec<_> = rows.into_iter().filter_map(|row| row.id).collect();
            ids.sort();
            ids
        };
        let witnessed = match options {
            "-u UNSET" => {
                let unreplied = |row: &Row| row.flags.contains("UNREPLIED");
                ids(ns.witness("").into_iter().filter(unreplied).collect())
            }
            options => ids(ns.witness(options)),
        };
        let flows = ns.flows(Some(filter.clone()));
        assert_eq!(
            ids(flows.iter().map(Row::of).collect()),
            witnessed,
            "{options}"
        );
        assert!(
            witnessed.len() < everything.len(),
            "{options} selects nothing out"
        );
        // And what the filter says of each entry by itself.
        let by_itself = everything.iter().filter(|flow| filter.matches(*flow, 0));
        assert_eq!(by_itself.count(), flows.len(), "{options}");
    }
}

#[test]
fn the_kernel_pre_selects_what_it_can() {
    let ns = seeded();
    let count = ns.flows(None).len() as u64;
    let scanned = |filter: &Filter| {
        let request = FlowDumpRequest {
            filter: Some(filter.clone()),
            ..FlowDumpRequest::default()
        };
        let mut dump = FlowDump::open(&ns.namespace(), request).expect("a dump");
        while dump.read(&mut |_| ()).expect("a datagram") {}
        (dump.counts().scanned, dump.counts().matched)
    };
    for (filter, options) in selections() {
        let (scanned, matched) = scanned(&filter);
        let everything = Preselection::of(&filter).is_everything();
        assert_eq!(
            scanned < count,
            !everything,
            "{options}: {scanned} of {count}"
        );
        assert!(matched <= scanned, "{options}");
    }
    let (exact, _) = scanned(&is(NumberField::Mark, 7));
    assert_eq!(exact, 3, "the kernel's own selection by mark");
    let presence = Filter::Is(Predicate::Present(PresenceField::Helper));
    assert_eq!(scanned(&presence), (count, 0));
}

fn nanoseconds_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_nanos() as u64
}
