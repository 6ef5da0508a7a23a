//! The examples do what they say, on the real kernel and, the controllers, against real
//! agents.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use ctfleet::ctnetlink::Group;
use ctfleet::flow::{Family, Protocol};
use tempfile::TempDir;

use crate::harness::agent::{Agent, CTAGENT};
use crate::harness::ear::Ear;
use crate::harness::flows::{FAMILIES, flow};
use crate::harness::netns::check;
use crate::harness::process::Process;
use crate::harness::traffic::udp;
use crate::harness::{Netns, until};

/// An example that cargo built beside the programs.
fn example(name: &str) -> PathBuf {
    let programs = Path::new(CTAGENT).parent().expect("a directory");
    let path = programs.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build --examples",
        path.display()
    );
    path
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn dump_prints_what_the_filter_lets_through() {
    let ns = Netns::new();
    ns.create(&FAMILIES.map(|family| flow(family, Protocol::UDP, 5353)));
    let mut command = Command::new(example("dump"));
    command.args(["src", "10.0.0.1", "and", "sport", "5353"]);
    let printed = ns.enter(|| check(&mut command));
    assert_eq!(
        printed,
        "udp 10.0.0.1 -> 10.0.0.2 mark 0 timeout 4999\n".replace("4999", {
            let timeout = printed.trim().rsplit(' ').next().expect("a word");
            assert!(timeout == "4999" || timeout == "5000", "{printed}");
            timeout
        })
    );
}

#[test]
fn watch_prints_events_and_ends_after_as_many_as_it_was_told() {
    let ns = Netns::new();
    let mut watch = Process::spawn(&ns, Command::new(example("watch")).arg("2"));
    watch.wait_for("listening");
    ns.create(&[flow(Family::V4, Protocol::UDP, 1)]);
    ns.conntrack("-F");
    watch.wait_for("Destroy udp 10.0.0.1 -> 10.0.0.2");
    assert!(watch.said().contains("New udp 10.0.0.1 -> 10.0.0.2"));
    assert!(watch.wait().success());
}

/// Two firewalls, each with a flow of a guest that is blocked and one of another; then a
/// packet of each. `start` starts a controller that blocks the guest on both agents.
fn the_flows_of_a_blocked_address_are_cut(start: impl FnOnce(&Netns, &[String]) -> Process) {
    let guest = IpAddr::from([127, 0, 0, 66]);
    let nodes = [Netns::tracking(), Netns::tracking()];
    for ns in &nodes {
        let mut blocked = flow(Family::V4, Protocol::UDP, 1);
        blocked.orig.src = guest;
        blocked.reply = blocked.orig.inverse();
        ns.create(&[blocked, flow(Family::V4, Protocol::UDP, 2)]);
    }
    let agents = nodes.each_ref().map(Agent::start);
    let targets = agents.each_ref().map(Agent::target);
    let mut controller = start(&nodes[0], &targets);
    let left = |ns: &Netns| {
        let with_guest = |tuple: &ctfleet::flow::Tuple| tuple.src == guest || tuple.dst == guest;
        let flows = ns.flows(None);
        let blocked = flows.iter().filter(|flow| with_guest(&flow.orig)).count();
        (blocked, flows.len() - blocked)
    };
    for (ns, target) in nodes.iter().zip(&targets) {
        controller.wait_for(&format!("{target}: watching"));
        until("the old flow to be cut", || {
            (left(ns) == (0, 1)).then_some(())
        });
        // One comes while the controller watches.
        let ear = Ear::open(ns, &[Group::FlowDestroy]);
        udp(ns, ns, SocketAddr::new(guest, 0));
        ear.event();
        until("the new flow to be cut", || {
            (left(ns) == (0, 1)).then_some(())
        });
    }
    for target in &targets {
        // The answer may have come as a flow of its own, and been cut, too.
        for ends in ["127.0.0.66 -> 10.0.0.2", "127.0.0.1 -> 127.0.0.66"] {
            let told =
                |line: &str| line.starts_with(&format!("{target}: cut ")) && line.ends_with(ends);
            until(&format!("{target} to have cut {ends}"), || {
                controller.said().lines().any(told).then_some(())
            });
        }
    }
}

#[test]
fn the_controller_cuts_the_flows_of_a_blocked_address() {
    the_flows_of_a_blocked_address_are_cut(|ns, targets| {
        let mut command = Command::new(example("controller"));
        command.arg("127.0.0.66").args(targets);
        Process::spawn(ns, &mut command)
    });
}

#[test]
fn the_controller_in_python_cuts_the_flows_of_a_blocked_address() {
    let python = project("target/python/bin/python");
    assert!(
        python.exists(),
        "the Python environment is missing: run tests/python"
    );
    let stubs = TempDir::new().expect("a temporary directory");
    let mut protoc = Command::new(&python);
    protoc.args(["-m", "grpc_tools.protoc"]);
    for (option, value) in [
        ("-I", project("proto").as_path()),
        ("--python_out=", stubs.path()),
        ("--grpc_python_out=", stubs.path()),
    ] {
        protoc.arg(format!("{option}{}", value.display()));
    }
    for entry in project("proto/ctfleet/v1")
        .read_dir()
        .expect("the contract")
    {
        protoc.arg(entry.expect("a file").path());
    }
    check(&mut protoc);
    the_flows_of_a_blocked_address_are_cut(|ns, targets| {
        let mut command = Command::new(&python);
        command.arg(project("examples/python/controller.py"));
        command.args(["--block", "127.0.0.66/32"]).args(targets);
        command.env("PYTHONPATH", stubs.path());
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        Process::spawn(ns, &mut command)
    });
}
