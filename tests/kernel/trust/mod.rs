//! Who may do what: roles, scopes, namespaces, and what the audit log says of it.

mod audit;
mod hanging_log;
mod roles;
mod scope;
mod scope_changes;
mod withdrawal;

use std::path::PathBuf;

use ctfleet::pb::agent_service_client::AgentServiceClient;
use ctfleet::pb::expectation_service_client::ExpectationServiceClient;
use ctfleet::pb::flow_service_client::FlowServiceClient;
use rustix::process::Signal;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use crate::harness::agent::Agent;
use crate::harness::{Netns, until};

/// An agent that knows two callers: at its unix socket somebody who may do everything, and on
/// plaintext somebody whom the bindings limit.
struct Bound {
    agent: Agent,
    limited: Channel,
    directory: TempDir,
}

impl Bound {
    /// Starts one; `grant` is what the limited caller's table of bindings says beside them.
    async fn start(ns: &Netns, grant: &str) -> Self {
        Self::start_with(ns, grant, &[]).await
    }

    async fn start_with(ns: &Netns, grant: &str, flags: &[&str]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let config = directory.path().join("config.toml");
        write(&directory, grant);
        let config = config.to_str().expect("UTF-8").to_owned();
        let mut all = vec!["--config", &config, "--listen=127.0.0.1:0"];
        all.extend(flags);
        let agent = Agent::start_with(ns, &all);
        let limited = agent.channel_from(ns).await;
        Self {
            agent,
            limited,
            directory,
        }
    }

    /// Writes another table of bindings.
    fn write(&self, grant: &str) {
        write(&self.directory, grant);
    }

    /// Writes another table of bindings and has it read.
    fn rebind(&self, grant: &str) {
        const WORDS: &str = "the bindings were read again";
        let before = self.agent.said().matches(WORDS).count();
        self.write(grant);
        self.agent.signal(Signal::HUP);
        until(WORDS, || {
            (self.agent.said().matches(WORDS).count() > before).then_some(())
        });
    }

    fn flows(&self) -> FlowServiceClient<Channel> {
        FlowServiceClient::new(self.limited.clone())
    }

    fn expectations(&self) -> ExpectationServiceClient<Channel> {
        ExpectationServiceClient::new(self.limited.clone())
    }

    fn info(&self) -> AgentServiceClient<Channel> {
        AgentServiceClient::new(self.limited.clone())
    }

    fn audit_file(&self) -> PathBuf {
        self.directory.path().join("audit.log")
    }
}

fn write(directory: &TempDir, grant: &str) {
    let audit = directory.path().join("audit.log");
    let text = format!(
        "insecure-plaintext = true\naudit-log = \"file:{}\"\n[[bindings]]\n\
         subjects = [\"anonymous\"]\n{grant}\n",
        audit.display()
    );
    std::fs::write(directory.path().join("config.toml"), text).expect("a file");
}

/// The reason of a refusal.
fn reason(status: &tonic::Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}
