//! Changes through `ctctl`: what it says is done is done, nothing else is, and nothing
//! happens that nobody confirmed.

use ctfleet::flow::{Family, Flow, Protocol};

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::client::{Client, objects};
use crate::harness::flows::flow;

/// Flows that differ in their port, in both families.
fn some(ports: std::ops::Range<u16>) -> Vec<Flow> {
    let of = |port| [Family::V4, Family::V6].map(|family| flow(family, Protocol::UDP, port));
    ports.flat_map(of).collect()
}

#[test]
fn flags_create_the_flow_that_they_describe() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let client = Client::of([&agent]);
    let ends = "-s 10.0.0.1 -d 10.0.0.2 --set-timeout 600";
    for line in [
        "-p tcp --sport 1 --dport 2 --state ESTABLISHED -m 7 -w 9 -u ASSURED,SEEN_REPLY",
        "-p udp --sport 3 --dport 53 -n 192.0.2.1:4000",
        "-p icmp --icmp-type 8 --icmp-id 77",
        "-p gre --srckey 8 --dstkey 7",
        "-p sctp --sport 5 --dport 6 --state ESTABLISHED --vtags 1:2",
    ] {
        client.run(&format!("create {ends} {line}")).well();
    }
    let one = |options: &str| {
        let mut rows = ns.witness(options);
        assert_eq!(rows.len(), 1, "{options}: {rows:?}");
        rows.remove(0)
    };
    let tcp = one("-p tcp");
    assert_eq!(
        (tcp.mark, tcp.zones[0], tcp.state.as_deref()),
        (Some(7), 9, Some("ESTABLISHED"))
    );
    assert!(tcp.flags.contains("ASSURED"));
    let udp = one("-p udp");
    assert_eq!(udp.reply.dst, "192.0.2.1".parse().ok());
    assert!(udp.reply.numbers.contains(&("dport", 4000)));
    one("-p icmp");
    one("-p gre");
    one("-p sctp");
    let again = client.run(&format!("create {ends} -p icmp --icmp-type 8 --icmp-id 77"));
    assert!(again.failed(2).contains("it exists already"));
    let upsert = "-p icmp --icmp-type 8 --icmp-id 77 --mode upsert -m 5";
    client.run(&format!("create {ends} {upsert}")).well();
    assert_eq!(one("-p icmp").mark, Some(5));
}

#[test]
fn a_bad_line_is_named_and_stops_no_other() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let client = Client::of([&agent]);
    let line =
        |port: u16| format!("-A -t 60 -s 10.0.0.1 -d 10.0.0.2 -p udp --sport {port} --dport 53\n");
    let file = [line(1), "-A -t 60 -p nonsense\n".into(), line(1), line(2)].concat();
    let said = client.feed("create --file -", &file);
    let complaint = said.failed(1);
    assert!(complaint.contains("line 2"), "{complaint}");
    assert!(
        complaint.contains("line 3: it exists already"),
        "{complaint}"
    );
    assert_eq!(ns.entries(), 2);
    let bad = client.feed("create --file -", "nonsense\n").failed(2);
    assert!(bad.contains("line 1"), "{bad}");
    let none = client.run("create --file /nonexistent").failed(2);
    assert!(none.contains("cannot read /nonexistent"), "{none}");
}

#[test]
fn what_a_fleet_saved_goes_back_to_each_node_its_own() {
    let (here, there) = (Netns::new(), Netns::new());
    here.create(&some(1..4));
    there.create(&some(3..9));
    let agents = [Agent::start(&here), Agent::start(&there)];
    let client = Client::of(&agents);
    let before = [here.entries(), there.entries()];
    let saved = client.run("list -o save").well();
    client.run("flush --yes").well();
    assert_eq!([here.entries(), there.entries()], [0, 0]);
    client.feed("create --file -", &saved).well();
    assert_eq!([here.entries(), there.entries()], before);

    let alone = Client::of([&agents[0]]);
    let complaint = alone
        .feed("create --mode upsert --file -", &saved)
        .failed(1);
    assert!(complaint.contains("saved from node \"b\""), "{complaint}");
    alone
        .feed("create --mode upsert --any-node --file -", &saved)
        .well();
    assert_eq!(here.witness("-p udp").len(), 16);
}

#[test]
fn an_update_changes_what_the_filter_selects_and_nothing_else() {
    let ns = Netns::new();
    // The kernel keeps labels only while a rule uses them.
    ns.nft("table inet labels { chain c { ct label set 1; }; }");
    ns.create(&some(1..5));
    let agent = Agent::start(&ns);
    let client = Client::of([&agent]);
    client.run("update sport 1-2 --set-mark 0xff --yes").well();
    client
        .run("update sport 2 --set-mark 0/0xf0 --set-label 3 --yes")
        .well();
    assert_eq!(ns.witness("-m 0xff").len(), 2);
    assert_eq!(ns.witness("-m 0x0f").len(), 2);
    assert_eq!(ns.witness("-m 0").len(), 4);
    let labelled = client.run("list -l 3 -o jsonl").well();
    assert_eq!(objects(&labelled).len(), 2);
    client
        .run("update all --clear-label 3 --set-timeout 77 --yes")
        .well();
    assert_eq!(client.run("list label 3 -o jsonl").well(), "");
    assert!(ns.witness("").iter().all(|row| row.timeout <= Some(77)));
    let refused = client.run("update all --set-status DYING --yes").failed(2);
    assert!(refused.contains("8 of 8 failed"), "{refused}");
    assert!(refused.contains("EBUSY"), "{refused}");
    assert_eq!(ns.entries(), 8);
}

#[test]
fn nothing_is_changed_that_nobody_confirmed() {
    let (here, there) = (Netns::new(), Netns::new());
    here.create(&some(1..4));
    there.create(&some(1..3));
    let agents = [Agent::start(&here), Agent::start(&there)];
    let client = Client::of(&agents);
    let untouched = || assert_eq!([here.entries(), there.entries()], [6, 4]);

    for line in [
        "delete sport 1",
        "update sport 1 --set-mark 1",
        "flush",
        "flush -f ipv4",
    ] {
        let complaint = client.run(line).failed(2);
        assert!(complaint.contains("add --yes"), "{line}: {complaint}");
        untouched();
    }
    for line in ["delete --yes", "delete all --yes"] {
        let complaint = client.run(line).failed(2);
        assert!(complaint.contains("ctctl flush"), "{line}: {complaint}");
        untouched();
    }
    let rehearsal = client.run("delete sport 1 --dry-run -o jsonl");
    assert_eq!(objects(&rehearsal.out).len(), 4);
    assert!(
        rehearsal
            .failed(0)
            .contains("this would delete 4 flows on 2 nodes")
    );
    untouched();
    let too_many = client
        .run("delete sport 1-2 --yes --max-affected 7")
        .failed(2);
    assert!(too_many.contains("8 flows match"), "{too_many}");
    untouched();

    for answer in ["n\n", "\n", "yess\n"] {
        let said = client.type_to("delete sport 1", answer);
        assert_eq!(said.code, 2, "{}", said.out);
        assert!(said.out.contains("4 flows on 2 nodes"), "{}", said.out);
        assert!(said.out.contains("nothing was changed"), "{}", said.out);
        untouched();
    }
    let said = client.type_to("flush", "\u{3}");
    assert_eq!(said.code, 130, "{}", said.out);
    untouched();

    let said = client.type_to("delete sport 1", "y\n");
    assert_eq!(said.code, 0, "{}", said.out);
    assert_eq!([here.entries(), there.entries()], [4, 2]);
    client.run("delete sport 2 --yes --max-affected 4").well();
    assert_eq!([here.entries(), there.entries()], [2, 0]);
    client.run("flush -f ipv6 --yes").well();
    assert_eq!(here.entries(), 1);
}

#[test]
fn a_flow_that_is_named_is_deleted_and_no_other() {
    let ns = Netns::new();
    ns.create(&some(1..4));
    let agent = Agent::start(&ns);
    let client = Client::of([&agent]);
    let wanted = flow(Family::V4, Protocol::UDP, 2).orig;
    let (sport, dport) = wanted.ports().expect("ports");
    let exact = format!(
        "delete --exact -p udp -s {} -d {} --sport {sport} --dport {dport} -o jsonl",
        wanted.src, wanted.dst
    );
    let done = objects(&client.run(&exact).well());
    assert_eq!(
        (&done[0]["deleted"], &done[0]["gone"]),
        (&1.into(), &0.into())
    );
    assert_eq!(ns.entries(), 5);
    let gone = objects(&client.run(&exact).well());
    assert_eq!(
        (&gone[0]["deleted"], &gone[0]["gone"]),
        (&0.into(), &1.into())
    );
    let ranged = client.run("delete --exact -p udp -s 10.0.0.0/8").failed(2);
    assert!(ranged.contains("single value"), "{ranged}");
    let id = ns.witness("-p udp --sport 3")[0].id.expect("an id");
    client.run(&format!("delete --id {id}")).well();
    assert_eq!(ns.entries(), 4);
}
