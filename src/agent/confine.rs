//! What the agent still needs when it serves, and giving up the rest.

use std::collections::BTreeSet;
use std::fs;
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
        for path in [&files.cert, &files.key, &files.ca].into_iter().chain(crls) {
            policy.read.extend(readable(path));
        }
    }
    // The bindings in it are read again.
    policy.read.extend(file.into_iter().flat_map(readable));
    policy.read.sort_unstable();
    policy.read.dedup();
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

/// What stays readable, so that a file can be read again: where it is and where links on its path
/// lead, so that files and links can be exchanged. Where others have their files, too, it is the
/// file alone.
fn readable(file: &Path) -> BTreeSet<PathBuf> {
    let alone = || fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let directories = tls::readable_directories([file]).into_iter();
    directories
        .map(|directory| match is_shared(&directory) {
            true => alone(),
            false => directory,
        })
        .collect()
}

/// Whether a directory, which has no links in its path, belongs to more than one program: the
/// root, those of every host in it, and what stands in some of these.
fn is_shared(directory: &Path) -> bool {
    const IN_ROOT: [&str; 19] = [
        "bin", "boot", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "proc", "root",
        "run", "sbin", "srv", "sys", "tmp", "usr", "var",
    ];
    const OF_SUCH: [&str; 4] = ["/home", "/run/user", "/usr", "/var"];
    match directory.parent() {
        None => true,
        Some(root) if root == Path::new("/") => {
            IN_ROOT.iter().any(|name| directory == root.join(name))
        }
        Some(parent) => OF_SUCH.iter().any(|of| parent == Path::new(of)),
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
    use std::os::unix::fs::symlink;

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

    fn read(cert: &Path, file: &Path) -> Vec<PathBuf> {
        let config = Config::resolve(Settings {
            listen: vec!["127.0.0.1:7443".parse().expect("a place")],
            tls_cert: Some(cert.to_owned()),
            tls_key: Some(cert.to_owned()),
            tls_ca: Some(cert.to_owned()),
            ..Settings::default()
        });
        policy(&config.expect("a configuration"), Some(file)).read
    }

    #[test]
    fn files_are_read_where_they_are_and_nothing_beside_their_directories() {
        let temporary = tempfile::TempDir::new().expect("a directory");
        let top = temporary.path().canonicalize().expect("there");
        for directory in ["conf", "tls/v1"] {
            fs::create_dir_all(top.join(directory)).expect("a directory");
        }
        let (file, cert) = (top.join("conf/ctagent.toml"), top.join("tls/v1/tls.crt"));
        for path in [&file, &cert] {
            fs::write(path, "").expect("a file");
        }
        let conf = top.join("conf");
        assert_eq!(read(&cert, &file), [conf.clone(), top.join("tls/v1")]);
        // What a link is swapped for stands beside what it leads to.
        symlink("v1", top.join("tls/now")).expect("a link");
        assert_eq!(
            read(&top.join("tls/now/tls.crt"), &file),
            [conf, top.join("tls"), top.join("tls/v1")]
        );
    }

    #[test]
    fn where_others_have_their_files_it_is_the_file_alone() {
        let users = Path::new("/etc/passwd");
        assert_eq!(read(users, users), [users]);
        for shared in [
            "/",
            "/etc",
            "/root",
            "/run",
            "/home/x",
            "/var/lib",
            "/usr/share",
        ] {
            assert!(is_shared(Path::new(shared)), "{shared}");
        }
        for own in [
            "/etc/ctfleet",
            "/run/ctfleet",
            "/home/x/pki",
            "/var/lib/ctfleet",
            "/tls",
        ] {
            assert!(!is_shared(Path::new(own)), "{own}");
        }
    }
}
