//! What the process gives up for good before it serves anybody: capabilities, new privileges,
//! system calls and files that it has no use for.
//!
//! All of it is a property of a thread that its children inherit, so it is applied on the
//! first thread, before there is another. What a kernel cannot do is told, and the rest is
//! applied.

mod calls;
mod capabilities;
mod files;
mod status;

use std::path::PathBuf;

pub use calls::allowed as allowed_calls;
pub use capabilities::may_administer_network;

use files::Landlock;
use status::Threads;

/// What the process still needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether it enters other network namespaces: CAP_SYS_ADMIN and setns(2) stay.
    pub other_namespaces: bool,
    /// Directories whose files it reads, and single files.
    pub read: Vec<PathBuf>,
    /// Directories where it makes files and writes to them.
    pub write: Vec<PathBuf>,
    /// Directories where it removes a file.
    pub remove: Vec<PathBuf>,
}

/// A part of the sandbox as it is now: what is in force, or why it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Its name.
    pub name: &'static str,
    /// What is in force, in words, or why nothing is.
    pub state: Result<String, String>,
}

/// What was applied. Belongs to the process: what it holds open is part of the sandbox.
#[derive(Debug)]
pub struct Sandbox {
    other_namespaces: bool,
    landlock: Result<Landlock, String>,
    failures: Vec<Failure>,
}

/// A part of the sandbox that could not be applied.
#[derive(Debug, thiserror::Error)]
#[error("{measure}: {reason}")]
pub struct Failure {
    /// Which.
    pub measure: &'static str,
    /// Why.
    pub reason: String,
}

const CAPABILITIES: &str = "least_capabilities";
const NO_NEW_PRIVILEGES: &str = "no_new_privs";
const SECCOMP: &str = "seccomp";
const LANDLOCK: &str = "landlock";

impl Sandbox {
    /// Gives everything up, on the calling thread and on those that it makes from now on.
    pub fn apply(policy: &Policy) -> Self {
        let mut failures = Vec::new();
        let mut note = |measure, reason: String| failures.push(Failure { measure, reason });
        if let Err(errno) = rustix::thread::set_no_new_privs(true) {
            note(NO_NEW_PRIVILEGES, errno.to_string());
        }
        // While paths can be opened that only a capability opens.
        let landlock = files::restrict(policy);
        if let Err(reason) = &landlock {
            note(LANDLOCK, reason.clone());
        }
        for reason in capabilities::keep(policy.other_namespaces) {
            note(CAPABILITIES, reason);
        }
        // The last: it would refuse the others.
        if let Err(reason) = calls::restrict(policy.other_namespaces) {
            note(SECCOMP, reason);
        }
        Self {
            other_namespaces: policy.other_namespaces,
            landlock,
            failures,
        }
    }

    /// Nothing is given up.
    pub fn off() -> Self {
        Self {
            other_namespaces: true,
            landlock: Err("the setting sandbox is false".to_owned()),
            failures: Vec::new(),
        }
    }

    /// What could not be applied.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// What is in force, read back from the kernel for every thread of the process.
    pub fn measures(&self) -> Vec<Measure> {
        let measure = |name, state| Measure { name, state };
        let landlock = match &self.landlock {
            Ok(landlock) => landlock.in_force(),
            Err(reason) => Err(reason.clone()),
        };
        let [capabilities, no_new_privileges, seccomp] = match Threads::read() {
            Ok(threads) => [
                threads.capabilities(self.other_namespaces),
                threads.no_new_privileges(),
                threads.seccomp(),
            ],
            Err(error) => {
                let unknown = format!("cannot read /proc/self/task: {error}");
                [Err(unknown.clone()), Err(unknown.clone()), Err(unknown)]
            }
        };
        vec![
            measure(CAPABILITIES, capabilities),
            measure(NO_NEW_PRIVILEGES, no_new_privileges),
            measure(SECCOMP, seccomp),
            measure(LANDLOCK, landlock),
        ]
    }
}
