//! What every test on the real kernel stands on: fresh network namespaces, entries seeded
//! from outside, real packets, and conntrack(8) as a witness that shares no code with
//! ctfleet. Whatever is missing fails the test with the name of what to install.

pub(crate) mod agent;
pub(crate) mod client;
pub(crate) mod deadline;
pub(crate) mod ear;
pub(crate) mod filters;
pub(crate) mod firewall;
pub(crate) mod flows;
pub(crate) mod impostor;
pub(crate) mod netns;
pub(crate) mod pipe;
pub(crate) mod pki;
pub(crate) mod process;
mod rights;
mod socket;
mod table;
pub(crate) mod traffic;
pub(crate) mod witness;

pub(crate) use deadline::until;
pub(crate) use firewall::Firewall;
pub(crate) use netns::Netns;
pub(crate) use socket::socket;
