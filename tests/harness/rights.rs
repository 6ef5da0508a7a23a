//! What the tests demand of the machine: rights and programs.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Programs, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 4] = [
    ("ip", "iproute2"),
    ("conntrack", "conntrack"),
    ("nft", "nftables"),
    ("unshare", "util-linux"),
];

/// `CAP_NET_ADMIN` and `CAP_SYS_ADMIN` of linux/capability.h.
const CAPABILITIES: u64 = 1 << 12 | 1 << 21;

/// Fails the test unless the machine has what all tests here need; looked up once.
#[track_caller]
pub(crate) fn demand() {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    if let Some(missing) = MISSING.get_or_init(missing) {
        panic!("{missing}");
    }
}

fn missing() -> Option<String> {
    if let Some(package) = missing_packages() {
        return Some(format!(
            "the tests need programs that are not here: apt-get install {package}"
        ));
    }
    if effective_capabilities() & CAPABILITIES != CAPABILITIES {
        return Some(
            "the tests make network namespaces and need CAP_NET_ADMIN and CAP_SYS_ADMIN: \
             run ./tests/run as root, or, as an ordinary user, \
             `cargo test --test kernel without_root`"
                .to_owned(),
        );
    }
    None
}

fn missing_packages() -> Option<String> {
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _)| {
            // Any answer will do: only whether it can be started counts.
            Command::new(program)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_err()
        })
        .map(|(_, package)| *package)
        .collect();
    (!missing.is_empty()).then(|| missing.join(" "))
}

fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let hex = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .expect("the kernel tells the capabilities");
    u64::from_str_radix(hex.trim(), 16).expect("hexadecimal")
}
