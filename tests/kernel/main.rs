//! Tests on the real kernel, in network namespaces of their own, with conntrack(8) as the
//! witness.

#[path = "../harness/mod.rs"]
mod harness;

mod dump;
mod events;
mod ground;
mod without_root;
