//! Expectations: those that a real FTP client causes, entry by entry what conntrack(8)
//! sees, and those that ctfleet writes.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};

use ctfleet::ctnetlink::{Batch, CreateMode, ExpectationDumpRequest};
use ctfleet::flow::filter::{NumberField, Predicate, PresenceField};
use ctfleet::flow::{Expectation, ExpectationKey, Family, Filter, Flow, Protocol, Status};

use crate::harness::filters::is;
use crate::harness::flows::{FAMILIES, expectation, flow, helped, tuple};
use crate::harness::traffic::{Tcp, listen, send};
use crate::harness::{Firewall, Netns, until};

/// What conntrack(8) writes of an expectation: everything before "mask-src" is the expected
/// tuple, then the mask, then the master.
fn witnessed(ns: &Netns) -> Vec<BTreeMap<String, String>> {
    let lines = ["ipv4", "ipv6"].map(|family| ns.conntrack(&format!("-L expect -f {family}")));
    let mut rows: Vec<_> = lines
        .iter()
        .flat_map(|lines| lines.lines())
        .map(words)
        .collect();
    rows.sort();
    rows
}

fn words(line: &str) -> BTreeMap<String, String> {
    let mut part = "";
    let mut words = BTreeMap::new();
    for word in line.split_whitespace() {
        let Some((name, value)) = word.split_once('=') else {
            // The timeout, or a flag.
            words
                .entry("flags".to_owned())
                .or_insert_with(String::new)
                .push_str(word);
            continue;
        };
        for next in ["mask-", "master-"] {
            if name.starts_with(next) {
                part = next;
            }
        }
        let name = name.strip_prefix(part).unwrap_or(name);
        words.insert(format!("{part}{name}"), value.to_owned());
    }
    words.remove("flags");
    words
}

fn told(expectation: &Expectation) -> BTreeMap<String, String> {
    let mut words = BTreeMap::new();
    let ends = [
        ("", expectation.tuple),
        ("mask-", expectation.mask),
        ("master-", expectation.master),
    ];
    for (part, tuple) in ends {
        let (sport, dport) = tuple.ports().expect("ports");
        for (name, value) in [
            ("src", tuple.src.to_string()),
            ("dst", tuple.dst.to_string()),
            ("sport", sport.to_string()),
            ("dport", dport.to_string()),
        ] {
            words.insert(format!("{part}{name}"), value);
        }
    }
    // It writes class and helper after the master's words, and so among them.
    let class = expectation.class.expect("a class").to_string();
    let helper = expectation.helper.expect("a helper").to_string();
    words.insert("proto".to_owned(), expectation.tuple.protocol.0.to_string());
    words.insert("master-class".to_owned(), class);
    words.insert("master-helper".to_owned(), helper);
    words
}

fn all(ns: &Netns) -> Vec<Expectation> {
    ns.expectations(ExpectationDumpRequest::default())
}

/// A firewall that watches FTP, and a client that has announced where it waits for data.
pub(crate) struct Ftp {
    pub(crate) firewall: Firewall,
    pub(crate) control: Tcp,
    pub(crate) data: TcpListener,
}

impl Ftp {
    /// Begins one.
    pub(crate) fn announced(family: Family) -> Self {
        let firewall = Firewall::new();
        let Firewall {
            client,
            router,
            server,
        } = &firewall;
        let (control, data) = announce(client, router, server, family);
        Self {
            firewall,
            control,
            data,
        }
    }
}

/// Lets a firewall watch FTP, and a client announce where it waits for data: the control
/// connection, and that place.
pub(crate) fn announce(
    client: &Netns,
    router: &Netns,
    server: &Netns,
    family: Family,
) -> (Tcp, TcpListener) {
    let (table, protocol) = match family {
        Family::V4 => ("ip", "1"),
        Family::V6 => ("ip6", "2"),
    };
    router.nft(&format!(
        "table {table} ftp {{
            ct helper std {{ type \"ftp\" protocol tcp; }}
            chain pre {{
                type filter hook prerouting priority 0;
                tcp dport 21 ct helper set \"std\"
            }}
        }}"
    ));
    let at = SocketAddr::new(Firewall::server_address(family), 21);
    let mut control = Tcp::open(client, server, at);
    let address = Firewall::client_address(family);
    let data = listen(client, SocketAddr::new(address, 0));
    let port = data.local_addr().expect("bound").port();
    // The helper looks only at lines that begin where one ended.
    let announcement = format!("EPRT |{protocol}|{address}|{port}|\r\n");
    for line in ["USER anonymous\r\n", &announcement] {
        send(&mut control.client, &mut control.server, line.as_bytes());
    }
    (control, data)
}

#[test]
fn what_ftp_announces_is_expected_and_what_comes_is_related() {
    for family in FAMILIES {
        let ftp = Ftp::announced(family);
        let Firewall { router, server, .. } = &ftp.firewall;
        let expectations = until("the expectation", || {
            let expectations = all(router);
            (!expectations.is_empty()).then_some(expectations)
        });
        let [expectation] = &expectations[..] else {
            panic!("{expectations:#?}")
        };
        assert_eq!([told(expectation)], witnessed(router)[..]);
        let at = ftp.data.local_addr().expect("bound");
        assert_eq!(expectation.tuple.dst, at.ip());
        assert_eq!(
            expectation.tuple.ports().map(|(_, dst)| dst),
            Some(at.port())
        );
        assert_eq!(
            expectation
                .helper
                .map(|helper| helper.to_string())
                .as_deref(),
            Some("ftp")
        );
        assert!(
            expectation
                .timeout
                .is_some_and(|timeout| (280..=300).contains(&timeout))
        );

        // Of this master, and of no other.
        let control = is(NumberField::DstPort, 21);
        let [master] = &router.flows(Some(control))[..] else {
            panic!("one master")
        };
        assert_eq!(expectation.master, master.orig);
        let of = |key| {
            let request = ExpectationDumpRequest {
                master: Some(key),
                ..ExpectationDumpRequest::default()
            };
            router.expectations(request)
        };
        assert_eq!(of(master.key()).len(), 1);

        // The server opens the data connection.
        let data = Tcp::through(server, &ftp.data, at);
        let related = Filter::Is(Predicate::Present(PresenceField::Master));
        let flows = router.flows(Some(related));
        let [flow] = &flows[..] else {
            panic!("{flows:#?}")
        };
        assert_eq!(flow.orig.dst, at.ip());
        assert_eq!(flow.master, Some(master.orig));
        assert!(
            flow.status
                .is_some_and(|status| status.contains(Status::EXPECTED))
        );
        assert_eq!(all(router), []);
        assert_eq!(of(master.key()), []);
        drop((data, ftp.control));
    }
}

/// A connection with this helper.
fn master(ns: &Netns, family: Family, helper: &str) -> Flow {
    let helped = helped(flow(family, Protocol::TCP, 4000), helper);
    ns.create(std::slice::from_ref(&helped));
    helped
}

/// One request, and the errno that it came to.
fn ask(ns: &Netns, add: impl FnOnce(&mut Batch)) -> Option<&'static str> {
    let mut batch = Batch::open(&ns.namespace()).expect("a socket");
    add(&mut batch);
    let committed = batch.commit().expect("an answer");
    assert_eq!(committed.count, 1);
    committed.failures.first().map(|(_, error)| error.name())
}

/// Writes one.
pub(crate) fn write(
    ns: &Netns,
    expectation: &Expectation,
    mode: CreateMode,
) -> Option<&'static str> {
    ask(ns, |batch| {
        batch
            .create_expectation(expectation, mode)
            .expect("encoded")
    })
}

/// Deletes one.
pub(crate) fn delete(ns: &Netns, key: &ExpectationKey) -> Option<&'static str> {
    ask(ns, |batch| batch.delete_expectation(key).expect("encoded"))
}

#[test]
fn an_expectation_is_created_read_back_and_its_timeout_changed() {
    for family in FAMILIES {
        let ns = Netns::new();
        let master = master(&ns, family, "ftp");
        let mut wanted = expectation(&master, 4001);
        assert_eq!(write(&ns, &wanted, CreateMode::Update), Some("ENOENT"));
        assert_eq!(write(&ns, &wanted, CreateMode::Create), None);
        assert_eq!(write(&ns, &wanted, CreateMode::Create), Some("EEXIST"));
        let [got] = &all(&ns)[..] else { panic!("one") };
        assert_eq!([told(got)], witnessed(&ns)[..]);
        assert_eq!((got.tuple, got.master), (wanted.tuple, wanted.master));
        for (mode, timeout) in [(CreateMode::Update, 1000), (CreateMode::Upsert, 2000)] {
            wanted.timeout = Some(timeout);
            assert_eq!(write(&ns, &wanted, mode), None);
            let [got] = &all(&ns)[..] else { panic!("one") };
            let left = got.timeout.expect("a timeout");
            assert!(
                (timeout - 10..=timeout).contains(&left),
                "{left} of {timeout}"
            );
        }
    }
}

#[test]
fn an_expectation_needs_a_master_with_a_helper() {
    let ns = Netns::new();
    let mut wanted = expectation(&master(&ns, Family::V4, "irc"), 4001);
    wanted.master = tuple(Family::V4, Protocol::TCP, 4002);
    assert_eq!(write(&ns, &wanted, CreateMode::Create), Some("ENOENT"));
    ns.create(&[flow(Family::V4, Protocol::TCP, 4002)]);
    assert_eq!(write(&ns, &wanted, CreateMode::Create), Some("EOPNOTSUPP"));
    assert_eq!(all(&ns), []);
}

#[test]
fn a_delete_takes_away_the_expectation_that_it_names_and_no_other() {
    let ns = Netns::new();
    let master = master(&ns, Family::V4, "irc");
    let ports = [4001, 4002, 4003];
    for port in ports {
        assert_eq!(
            write(&ns, &expectation(&master, port), CreateMode::Create),
            None
        );
    }
    let left = || {
        let mut left: Vec<_> = all(&ns).iter().filter_map(|e| e.tuple.ports()).collect();
        left.sort();
        left
    };
    let mut expected: Vec<_> = ports.map(|port| (0, port)).to_vec();
    let expectations = all(&ns);
    let unknown = ExpectationKey {
        tuple: expectation(&master, 4004).tuple,
        zone: 0,
        id: None,
    };
    assert_eq!(delete(&ns, &unknown), Some("ENOENT"));
    let swapped = ExpectationKey {
        id: expectations[1].id,
        ..expectations[0].key()
    };
    assert_eq!(delete(&ns, &swapped), Some("ENOENT"));
    let elsewhere = ExpectationKey {
        zone: 7,
        ..expectations[0].key()
    };
    assert_eq!(delete(&ns, &elsewhere), Some("ENOENT"));
    assert_eq!(left(), expected);
    for expectation in expectations {
        let ports = expectation.tuple.ports();
        assert_eq!(delete(&ns, &expectation.key()), None);
        expected.retain(|left| Some(*left) != ports);
        assert_eq!(left(), expected);
    }
}

#[test]
fn a_filter_selects_expectations() {
    let ns = Netns::new();
    for family in FAMILIES {
        // ftp's connections expect one at a time, and irc knows IPv4 alone.
        let (helper, ports) = match family {
            Family::V4 => ("irc", &[4001, 4002][..]),
            Family::V6 => ("ftp", &[4001][..]),
        };
        let master = master(&ns, family, helper);
        for &port in ports {
            assert_eq!(
                write(&ns, &expectation(&master, port), CreateMode::Create),
                None
            );
        }
    }
    let count = |filter| {
        let request = ExpectationDumpRequest {
            filter: Some(filter),
            master: None,
        };
        ns.expectations(request).len()
    };
    assert_eq!(count(is(NumberField::DstPort, 4001)), 2);
    assert_eq!(count(is(NumberField::Family, 6)), 1);
    assert_eq!(count(is(NumberField::MasterSrcPort, 4000)), 3);
    let both = vec![is(NumberField::Family, 4), is(NumberField::DstPort, 4002)];
    assert_eq!(count(Filter::And(both)), 1);
}
