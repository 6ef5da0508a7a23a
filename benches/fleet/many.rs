//! A fleet: one agent a namespace, all reached over one bridge with mutual TLS.

use std::io::Write as _;
use std::process::{Command, Stdio};

use tempfile::NamedTempFile;

use crate::Size;
use crate::agent::Pki;
use crate::harness::Netns;
use crate::harness::process::Process;
use crate::memory;
use crate::report::{Report, Settings, median};

const PORT: u16 = 7447;

/// The address of agent `n`: 10.77.0.0/16 inside namespaces of our own.
fn address(n: u32) -> String {
    format!("10.77.{}.{}", 1 + n / 250, 1 + n % 250)
}

/// `ctctl stats` over all agents.
pub(crate) fn stats(size: Size, report: &mut Report) {
    let center = Netns::new();
    center.run(["ip", "link", "add", "br0", "type", "bridge"]);
    center.run(["ip", "addr", "add", "10.77.0.1/16", "dev", "br0"]);
    center.run(["ip", "link", "set", "br0", "up"]);
    // 500 hosts do not fit into the neighbour table's default, which all namespaces share.
    let neighbours = "/proc/sys/net/ipv4/neigh/default/gc_thresh3";
    let _room = Settings::at_least(&[(neighbours, 4 * size.agents)]);

    let pki = Pki::make((0..size.agents).map(address).collect());
    let mut hosts = Vec::new();
    let mut agents = Vec::new();
    let mut targets = NamedTempFile::new().expect("a temporary file");
    for n in 0..size.agents {
        let host = Netns::new();
        let (place, port) = (address(n), format!("v{n}"));
        center.run([
            "ip",
            "link",
            "add",
            &port,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            host.name(),
        ]);
        center.run(["ip", "link", "set", &port, "master", "br0", "up"]);
        host.run(["ip", "addr", "add", &format!("{place}/16"), "dev", "eth0"]);
        host.run(["ip", "link", "set", "eth0", "up"]);
        agents.push(Process::spawn(
            &host,
            Command::new(env!("CARGO_BIN_EXE_ctagent"))
                .args(["--listen", &format!("{place}:{PORT}")])
                .args(pki.flags("agent")),
        ));
        writeln!(targets, "{place}:{PORT}").expect("a line");
        hosts.push(host);
    }
    for agent in &mut agents {
        agent.wait_for("ready");
    }

    let (mut seconds, mut resident, mut descriptors) = (Vec::new(), 0.0_f64, 0);
    for _ in 0..size.runs {
        let start = std::time::Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ctctl"));
        command
            .arg("--targets-file")
            .arg(targets.path())
            .args(pki.flags("client"))
            .arg("stats")
            .stdout(Stdio::null());
        let mut child = center.enter(|| command.spawn()).expect("ctctl");
        let status = loop {
            if let Some(status) = child.try_wait().expect("our own child") {
                break status;
            }
            if let Some(now) = memory::high_water_if_running(child.id()) {
                resident = resident.max(now);
            }
            let open = std::fs::read_dir(format!("/proc/{}/fd", child.id()));
            descriptors = open.map_or(0, Iterator::count).max(descriptors);
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        seconds.push(start.elapsed().as_secs_f64());
        assert!(status.success(), "an agent did not answer");
    }
    report.words(
        &format!("stats of {} agents (Tls)", size.agents),
        "4 s, ctctl 100 MiB",
        &format!(
            "{:.2} s, ctctl {resident:.0} MiB, at most {descriptors} descriptors",
            median(seconds)
        ),
        None,
        None,
    );
}
