//! Tests on the real kernel, in network namespaces of their own, with conntrack(8) as the
//! witness.

#[path = "../harness/mod.rs"]
mod harness;

mod agent_drain;
mod agent_log;
mod agent_start;
mod api_agent;
mod api_change;
mod api_create;
mod api_errors;
mod api_expectations;
mod api_garbage;
mod api_named;
mod api_own;
mod api_read;
mod api_word;
mod audit;
mod calls;
mod conntrack;
mod conntrack_fleet;
mod ctctl_change;
mod ctctl_errors;
mod ctctl_read;
mod ctctl_watch;
mod daemon;
mod delete;
mod dump;
mod events;
mod examples;
mod expectations;
mod faults;
mod filter_selection;
mod ground;
mod hostile;
mod listen;
mod output;
mod resources;
mod sandbox;
mod tls;
mod trust;
mod without_root;
mod write;
