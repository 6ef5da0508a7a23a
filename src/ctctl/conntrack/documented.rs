//! docs/conntrack.md has a row for every option that there is, and for every option of
//! conntrack(8)'s manual page.

use super::protocol::dialect;
use super::vocabulary::{Action, Opt};
use super::words::EXTRAS;
use crate::flow::Protocol;

const PAGE: &str = include_str!("../../../docs/conntrack.md");

/// The options of the manual page of conntrack(8) 1.4.8, as it writes them.
const MANUAL: &str = "-L --dump -G --get -D --delete -I --create -A --add -U --update -E --event \
    -F --flush -C --count -S --stats -R --load-file -z --zero -o --output -e --event-mask \
    -b --buffer-size -s --src --orig-src -d --dst --orig-dst -r --reply-src -q --reply-dst \
    -p --proto -f --family -t --timeout -m --mark -l --label --label-add --label-del \
    -c --secmark -u --status -n --src-nat -g --dst-nat -j --any-nat -w --zone --orig-zone \
    --reply-zone --tuple-src --tuple-dst --mask-src --mask-dst --sport --orig-port-src --dport \
    --orig-port-dst --reply-port-src --reply-port-dst --state --icmp-type --icmp-code --icmp-id \
    --orig-vtag --reply-vtag --role --srckey --orig-key-src --dstkey --orig-key-dst \
    --reply-key-src --reply-key-dst";

/// The words in backticks of the rows of the tables of commands and options.
fn documented() -> Vec<&'static str> {
    let tables = PAGE
        .split("\n## Commands")
        .nth(1)
        .expect("a table of commands");
    let rows = tables.lines().filter(|line| line.starts_with("| "));
    let names = rows.filter_map(|row| row.split(" | ").next());
    names
        .flat_map(|names| names.split('`').skip(1).step_by(2))
        .flat_map(str::split_whitespace)
        .collect()
}

#[test]
fn every_option_has_a_row() {
    let documented = documented();
    let long = |name: &str| format!("--{name}");
    let actions = Action::ALL.iter().map(|(_, name, _)| long(name));
    let opts = Opt::ALL.iter().map(|(_, _, name, _)| long(name));
    let aliases = Opt::ALIASES.iter().map(|(name, _)| long(name));
    let extras = EXTRAS.iter().map(|(name, _)| long(name));
    let parts = Protocol::NAMES.iter().flat_map(|(protocol, _)| {
        let dialect = dialect(*protocol);
        let parts = dialect.parts.iter().map(|(_, name)| *name);
        let aliases = dialect.aliases.iter().map(|(name, _)| *name);
        parts.chain(aliases).map(|name| format!("--{name}"))
    });
    let manual = MANUAL.split_whitespace().map(str::to_owned);
    let all = actions.chain(opts).chain(aliases).chain(extras);
    for name in all.chain(parts).chain(manual) {
        assert!(documented.contains(&&*name), "{name} has no row");
    }
}

#[test]
fn no_option_is_missing() {
    for row in PAGE.lines().filter(|line| line.starts_with("| ")) {
        let state = row.trim_end_matches(" |").rsplit(" | ").next();
        let state = state.expect("a state");
        assert!(!state.is_empty() && !state.contains("missing"), "{row}");
    }
}
