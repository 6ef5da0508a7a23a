//! What is fuzzed: each target takes bytes that a stranger chose and must not panic. Most of
//! them hold the answer against a second way to it, too.

mod bulk;
mod configuration;
mod conntrack_line;
mod expression;
mod filter_message;
mod frames;
mod netlink_answer;
mod netlink_event;
mod netlink_expectation;
mod netlink_flow;
mod netlink_write;
mod saved;
mod subject;
mod text;

/// A target: takes any bytes, and panics when something is wrong.
pub type Target = fn(&[u8]);

/// Every target, under the name of its program and its corpus.
pub const TARGETS: [(&str, Target); 13] = [
    ("bulk", bulk::run),
    ("configuration", configuration::run),
    ("conntrack_line", conntrack_line::run),
    ("expression", expression::run),
    ("filter_message", filter_message::run),
    ("frames", frames::run),
    ("netlink_answer", netlink_answer::run),
    ("netlink_event", netlink_event::run),
    ("netlink_expectation", netlink_expectation::run),
    ("netlink_flow", netlink_flow::run),
    ("netlink_write", netlink_write::run),
    ("saved", saved::run),
    ("subject", subject::run),
];

/// Runs the target of this name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = target.expect("a target");
    target(data);
}
