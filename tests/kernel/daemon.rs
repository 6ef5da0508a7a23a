//! The agent as a program: what it needs, what it tells, how it starts and stops.

use std::path::Path;
use std::process::Command;

use clap::Parser as _;
use ctfleet::agent::config::{Cli, Config, Settings};
use ctfleet::pb;
use ctfleet::pb::agent_service_client::AgentServiceClient;
use ctfleet::pb::flow_service_client::FlowServiceClient;
use rustix::process::Signal;

use crate::harness::Netns;
use crate::harness::agent::{Agent, CTAGENT};
use crate::harness::flows::flow;
use crate::harness::process::Process;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

#[test]
fn an_agent_says_who_it_is() {
    let ns = Netns::new();
    let agent = Agent::start(&ns);
    let info = block_on(async {
        let mut client = AgentServiceClient::new(agent.channel());
        let info = client.get_info(pb::GetInfoRequest {}).await;
        info.expect("an answer").into_inner()
    });
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    let kernel = ns.sysctl("kernel/osrelease");
    assert_eq!(info.kernel_release, kernel);
    assert!(info.network_namespaces.contains(&ns.name().to_owned()));
    let works = |name: &str| {
        let found = info
            .capabilities
            .iter()
            .find(|capability| capability.name == name);
        found.is_some_and(|capability| capability.available)
    };
    assert!(
        works("conntrack") && works("events"),
        "{:?}",
        info.capabilities
    );
}

#[test]
fn sigterm_ends_an_agent_well_and_takes_its_socket_away() {
    let mut agent = Agent::start(&Netns::new());
    agent.process().signal(Signal::TERM);
    let status = agent.process().wait();
    assert!(status.success(), "{status}:\n{}", agent.process().said());
    assert!(!agent.socket().exists());
}

/// ctagent with these capabilities of root's and no others, and no way to more.
fn confined(capabilities: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs", "--inh-caps=-all"]);
    command.arg(format!("--bounding-set=-all{capabilities}"));
    command.arg(CTAGENT);
    command
}

#[test]
fn without_cap_net_admin_an_agent_says_so_and_does_not_start() {
    let ns = Netns::new();
    let mut agent = Process::spawn(&ns, &mut confined(""));
    let status = agent.wait();
    assert_eq!(status.code(), Some(1));
    assert!(
        agent.said().contains("CAP_NET_ADMIN is missing"),
        "{}",
        agent.said()
    );
}

#[test]
fn cap_net_admin_alone_is_enough_for_the_agent_s_own_namespace() {
    let ns = Netns::new();
    ns.create(&[flow(
        ctfleet::flow::Family::V4,
        ctfleet::flow::Protocol::UDP,
        1,
    )]);
    let agent = Agent::start_as(&ns, &mut confined(",+net_admin"));
    block_on(async {
        let mut client = FlowServiceClient::new(agent.channel());
        let request = pb::FlushFlowsRequest::default();
        client.flush_flows(request).await.expect("flushed");
        let stats = client.get_stats(pb::GetStatsRequest::default()).await;
        assert_eq!(stats.expect("an answer").into_inner().entries, 0);
        // Another namespace is another matter.
        let elsewhere = pb::CountFlowsRequest {
            network_namespace: ns.name().to_owned(),
            filter: None,
        };
        let refused = client
            .count_flows(elsewhere)
            .await
            .expect_err("no CAP_SYS_ADMIN");
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
        assert!(refused.message().contains("CAP_SYS_ADMIN"), "{refused:?}");
    });
    assert_eq!(ns.entries(), 0);
}

/// The sample of deploy/ says what the defaults are, and each of its keys is one.
#[test]
fn the_sample_configuration_is_the_default_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/ctagent.toml");
    let load = |path: &Path| {
        let path = path.to_str().expect("UTF-8");
        Config::load(Cli::parse_from(["ctagent", "--config", path])).expect("accepted")
    };
    let default = Config::resolve(Settings::default()).expect("the defaults");
    assert_eq!(load(&path), default);

    let text = std::fs::read_to_string(&path).expect("the sample");
    // A line that is commented out has no space after its sign; TLS has no defaults.
    let keys = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.starts_with(' ') && !line.starts_with("tls-") && !line.is_empty());
    let directory = tempfile::TempDir::new().expect("a directory");
    let spelt_out = directory.path().join("ctagent.toml");
    std::fs::write(&spelt_out, keys.collect::<Vec<_>>().join("\n")).expect("written");
    assert_eq!(load(&spelt_out), default);
}
