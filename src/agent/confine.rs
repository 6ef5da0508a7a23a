//! What the agent still needs when it serves, and giving up the rest.

use std::path::{Path, PathBuf};

use tracing::warn;

use super::config::{Config, Listen, Transport};
use crate::sandbox::{Policy, Sandbox};
use crate::tls;

/// Gives up what this configuration has no use for, on the only thread.
pub(super) fn confine(config: &Config, file: Option<&Path>) -> Sandbox {
    if !config.sandbox {
        warn!("no sandbox: the agent keeps every right that it was started with");
        return Sandbox::off();
    }
    let sandbox = Sandbox::apply(&policy(config, file));
    for failure in sandbox.failures() {
        warn!(%failure, "a part of the sandbox cannot be applied");
    }
    sandbox
}

/// The rights that an agent of this configuration keeps.
fn policy(config: &Config, file: Option<&Path>) -> Policy {
    let mut policy = Policy {
        other_namespaces: config.other_namespaces,
        ..Policy::default()
    };
    if let Transport::Tls(tls::Settings { files, .. }) = &config.transport {
        // They are read after this: what cannot be read again is seen at once.
        let crls = files.crls.iter();
        let all = [&files.cert, &files.key, &files.ca].into_iter().chain(crls);
        let directories = tls::readable_directories(all.map(PathBuf::as_path));
        policy.read = directories.iter().map(|path| around(path)).collect();
        policy.read.extend(directories);
    }
    // The bindings in it are read again.
    policy.read.extend(file.map(parent));
    policy
        .write
        .extend(config.audit.directory().map(Path::to_owned));
    for place in &config.listen {
        if let Listen::Unix(path) = place {
            // The drain removes the socket.
            policy.remove.push(parent(path));
        }
    }
    policy
}

/// A directory, or what it stands in when that is the agent's affair too: then the directory
/// itself can be exchanged. Of /etc and the like everything would be readable.
fn around(directory: &Path) -> PathBuf {
    // The root, and a name in it.
    const TOP: usize = 2;
    match directory.parent() {
        Some(parent) if parent.components().count() > TOP => parent.to_owned(),
        _ => directory.to_owned(),
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::config::Settings;

    #[test]
    fn an_agent_reads_where_its_certificates_are_and_removes_its_socket() {
        let config = Config::resolve(Settings {
            listen: vec![
                "unix:/run/ctfleet/ctagent.sock".parse().expect("a place"),
                "unix:ctagent.sock".parse().expect("a place"),
            ],
            audit_log: Some("file:/var/log/ctfleet/audit.log".parse().expect("a sink")),
            ..Settings::default()
        });
        let found = policy(&config.expect("a configuration"), None);
        assert!(!found.other_namespaces);
        assert_eq!(found.read, [] as [PathBuf; 0]);
        assert_eq!(found.write, [PathBuf::from("/var/log/ctfleet")]);
        assert_eq!(found.remove, ["/run/ctfleet", "."].map(PathBuf::from));
    }

    #[test]
    fn a_directory_of_certificates_can_be_exchanged_unless_that_opens_too_much() {
        let around = |path: &str| around(Path::new(path));
        assert_eq!(around("/etc/ctfleet/tls"), Path::new("/etc/ctfleet"));
        assert_eq!(around("/etc/ctfleet"), Path::new("/etc/ctfleet"));
        assert_eq!(around("/etc"), Path::new("/etc"));
    }
}
