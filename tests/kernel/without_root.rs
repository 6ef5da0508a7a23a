//! All of these tests once more, with no right outside a user namespace of their own.

use std::process::Command;

/// Everything but this very module: the test binary calls itself.
const OTHERS: [&str; 2] = ["--skip", "without_root"];

#[test]
fn every_test_passes_in_a_user_namespace() {
    // Names of network namespaces need a /run of their own.
    const INSIDE: &str = "mount -t tmpfs tmpfs /run && exec \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .args(["sh", "-c", INSIDE])
        .arg(std::env::current_exe().expect("the path of this binary"))
        .args(OTHERS)
        .output()
        .expect("unshare: apt-get install util-linux");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let result = said
        .lines()
        .find(|line| line.starts_with("test result: ok."));
    let result = result.unwrap_or_else(|| panic!("no result:\n{said}"));
    assert!(!result.contains(" 0 passed"), "{result}");
}
