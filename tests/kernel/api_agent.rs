//! The agent's account of itself, its settings and its namespaces.

use std::process::Command;

use ctfleet::pb;
use tonic::Code;

use crate::harness::Netns;
use crate::harness::agent::{Agent, CTAGENT};

fn update(name: &str, value: u64) -> pb::SettingUpdate {
    pb::SettingUpdate {
        name: name.to_owned(),
        value,
    }
}

#[tokio::test]
async fn info_tells_what_was_tried() {
    let ns = Netns::new();
    let agent = Agent::start_with(&ns, &["--max-dumps=3", "--other-namespaces"]);
    let mut client = agent.agent();
    let info = client
        .get_info(pb::GetInfoRequest {})
        .await
        .expect("info")
        .into_inner();
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    assert_eq!(info.kernel_release, release.trim());
    assert!(info.start_time.is_some());
    let capability = |name: &str| {
        let found = info
            .capabilities
            .iter()
            .find(|capability| capability.name == name);
        found
            .unwrap_or_else(|| panic!("{name}: {info:?}"))
            .available
    };
    for name in ["conntrack", "expectations", "events", "other_namespaces"] {
        assert!(capability(name), "{name}");
    }
    assert!(!capability("accounting"));
    // Settings may change while the agent runs.
    ns.set_sysctl("net/netfilter/nf_conntrack_acct", "1");
    ns.set_sysctl("net/netfilter/nf_conntrack_events", "0");
    let info = client
        .get_info(pb::GetInfoRequest {})
        .await
        .expect("info")
        .into_inner();
    let capability = |name: &str| {
        let found = info.capabilities.iter().find(|c| c.name == name);
        found.expect("the same capabilities").available
    };
    assert!(capability("accounting"));
    assert!(!capability("events"));
    let limit = info.limits.iter().find(|limit| limit.name == "max-dumps");
    assert_eq!(limit.expect("a limit").value, 3);
    assert!(info.network_namespaces.contains(&ns.name().to_owned()));
}

/// How often the process has read of a file.
fn reads(pid: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).expect("a process");
    let count = io.lines().find_map(|line| line.strip_prefix("syscr: "));
    count.expect("syscr").parse().expect("a number")
}

#[tokio::test]
async fn info_asks_every_thread_once_however_often_it_is_asked() {
    const CALLS: u64 = 50;
    let ns = Netns::new();
    let mut agent = Agent::start(&ns);
    let pid = agent.process().id();
    let mut client = agent.agent();
    let namespaces = client.list_namespaces(pb::ListNamespacesRequest::default());
    namespaces.await.expect("connected");
    let begun = reads(pid);
    let mut first = None;
    for _ in 0..=CALLS {
        let info = client.get_info(pb::GetInfoRequest {});
        info.await.expect("info");
        first.get_or_insert(reads(pid) - begun);
    }
    let first = first.expect("a call");
    let rest = reads(pid) - begun - first;
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let threads = tasks.count() as u64;
    println!("{first} reads at first, {rest} in {CALLS} calls more, {threads} threads");
    assert!(first > threads, "the sandbox is read back");
    assert!(rest < CALLS * (first - threads), "{rest}");
}

#[tokio::test]
async fn settings_are_those_of_the_namespace_and_written_all_or_none() {
    let ns = Netns::new();
    let agent = Agent::start_for_all(&Netns::new());
    let mut client = agent.agent();
    let request = pb::GetSettingsRequest {
        network_namespace: ns.name().to_owned(),
        names: vec![],
    };
    let all = client
        .get_settings(request)
        .await
        .expect("settings")
        .into_inner()
        .settings;
    let value = |name: &str| {
        let setting = all.iter().find(|setting| setting.name == name);
        setting.unwrap_or_else(|| panic!("{name}")).value
    };
    for name in [
        "nf_conntrack_max",
        "nf_conntrack_buckets",
        "nf_conntrack_acct",
        "nf_conntrack_timestamp",
        "nf_conntrack_events",
        "nf_conntrack_tcp_timeout_established",
    ] {
        let told = ns.sysctl(&format!("net/netfilter/{name}"));
        assert_eq!(value(name).to_string(), told, "{name}");
    }

    let mut write = async |updates: Vec<pb::SettingUpdate>| {
        let request = pb::UpdateSettingsRequest {
            network_namespace: ns.name().to_owned(),
            updates,
        };
        client
            .update_settings(request)
            .await
            .map(tonic::Response::into_inner)
    };
    let good = || update("nf_conntrack_udp_timeout", 77);
    let written = write(vec![good(), update("nf_conntrack_acct", 1)])
        .await
        .expect("written");
    let values: Vec<_> = written
        .settings
        .iter()
        .map(|setting| setting.value)
        .collect();
    assert_eq!(values, [77, 1]);
    assert_eq!(ns.sysctl("net/netfilter/nf_conntrack_udp_timeout"), "77");
    ns.set_sysctl("net/netfilter/nf_conntrack_udp_timeout", "30");

    for (wrong, code, words) in [
        (
            update("nf_conntrack_acct", 2),
            Code::InvalidArgument,
            "updates[1].value",
        ),
        (
            update("nf_conntrack_udp_timeout", 8),
            Code::InvalidArgument,
            "again",
        ),
        (
            update("nf_conntrack_typo", 1),
            Code::NotFound,
            "nf_conntrack_typo",
        ),
        (
            update("../ipv4/ip_forward", 1),
            Code::NotFound,
            "ip_forward",
        ),
        (
            update("nf_conntrack_count", 1),
            Code::FailedPrecondition,
            "read-only",
        ),
        // A namespace of its own cannot change what is the host's.
        (
            update("nf_conntrack_max", 1),
            Code::FailedPrecondition,
            "read-only",
        ),
    ] {
        let status = write(vec![good(), wrong]).await.expect_err("refused");
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(words), "{status:?}");
        assert_eq!(ns.sysctl("net/netfilter/nf_conntrack_udp_timeout"), "30");
    }
    let status = write(vec![]).await.expect_err("refused");
    assert!(status.message().starts_with("updates"), "{status:?}");
    let request = pb::GetSettingsRequest {
        network_namespace: String::new(),
        names: vec!["nf_conntrack_nothing".to_owned()],
    };
    let status = client.get_settings(request).await.expect_err("refused");
    assert_eq!(status.code(), Code::NotFound);
}

/// ctagent as a user that is not root and has CAP_NET_ADMIN (and, for the directory of the
/// test, CAP_DAC_OVERRIDE, which opens no sysctl).
pub(crate) fn unprivileged() -> Command {
    const CAPABILITIES: &str = "-all,+net_admin,+dac_override";
    let mut command = Command::new("setpriv");
    // A user namespace that has root alone knows no other user.
    let map = std::fs::read_to_string("/proc/self/uid_map").expect("/proc is mounted");
    let users: u64 = map
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok())
        .sum();
    if users > 65534 {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.args(["--no-new-privs", "--bounding-set", CAPABILITIES]);
    command.args(["--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES]);
    command.arg(CTAGENT);
    command
}

#[tokio::test]
async fn cap_net_admin_is_enough_to_write_settings() {
    let ns = Netns::new();
    let agent = Agent::start_as(&ns, &mut unprivileged());
    let request = pb::UpdateSettingsRequest {
        network_namespace: String::new(),
        updates: vec![update("nf_conntrack_udp_timeout", 78)],
    };
    agent
        .agent()
        .update_settings(request)
        .await
        .expect("written");
    assert_eq!(ns.sysctl("net/netfilter/nf_conntrack_udp_timeout"), "78");
}

#[tokio::test]
async fn namespaces_come_in_pages() {
    let ns = Netns::new();
    let others = [Netns::new(), Netns::new(), Netns::new()];
    let agent = Agent::start_for_all(&ns);
    let mut client = agent.agent();
    let mut found: Vec<pb::NetworkNamespace> = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListNamespacesRequest {
            page_size: 1,
            page_token,
        };
        let answer = client
            .list_namespaces(request)
            .await
            .expect("a page")
            .into_inner();
        assert!(answer.namespaces.len() <= 1);
        found.extend(answer.namespaces);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert!(found.is_sorted_by_key(|namespace| namespace.name.clone()));
    let own = &found[0];
    assert_eq!((&*own.name, own.entries), ("", Some(0)));
    let named = |ns: &Netns| found.iter().find(|found| found.name == ns.name());
    assert_eq!(named(&ns).expect("listed").inode, own.inode);
    for other in &others {
        let other = named(other).expect("listed");
        assert_ne!(other.inode, own.inode);
        assert_eq!(other.entries, Some(0));
    }
    for wrong in [
        pb::ListNamespacesRequest {
            page_size: -1,
            page_token: String::new(),
        },
        pb::ListNamespacesRequest {
            page_size: 1,
            page_token: "x".to_owned(),
        },
    ] {
        let status = client.list_namespaces(wrong).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}
