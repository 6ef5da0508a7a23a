//! Peers that mean harm or are broken, one test each, and beside each a caller that behaves:
//! its calls all succeed, the agent's memory stays where it was, and its descriptors come back.

mod bystander;
mod floods;
mod messages;
mod open;
mod peer;
mod places;
mod silence;
mod stopping;
mod strangers;
mod streams;
mod unread;
mod watchers;
mod writers;

use crate::harness::Netns;
use crate::harness::agent::Agent;
use crate::harness::pki::{Authority, TlsAgent};

/// The flags of an agent on plaintext loopback. Who comes over plaintext is one caller to
/// it, attackers and others, so that the rate of calls must not be what stops them.
const PLAINTEXT: [&str; 3] = [
    "--insecure-plaintext",
    "--listen=127.0.0.1:0",
    "--max-requests=1000000",
];

/// An agent on plaintext loopback.
fn plaintext(ns: &Netns, flags: &[&str]) -> Agent {
    Agent::start_with(ns, &[&PLAINTEXT, flags].concat())
}

/// An agent over TLS, whose clients of the authority may do all.
fn tls(authority: &Authority, flags: &[&str]) -> TlsAgent {
    authority.enrol("operator");
    TlsAgent::start(authority, &[&["--allow=admin=cn:operator"], flags].concat())
}
