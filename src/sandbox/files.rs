//! Files: Landlock rules for those that the process still needs, no connection and no new
//! port of TCP, nobody else's abstract sockets and processes.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    PathBeneath, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus,
    Scope,
};
use rustix::fs::{Mode, OFlags};

use super::Policy;

/// What the rules are written for, as of Linux 6.12; later kernels apply the same, earlier
/// ones what they can.
const KNOWN: ABI = ABI::V6;

/// Where `ip netns add` leaves the names of network namespaces.
const NAMESPACES: &str = "/run/netns";

/// Where no rule allows anything.
const FORBIDDEN: &str = "/";

/// Rules that are in force.
#[derive(Debug)]
pub(super) struct Landlock {
    words: String,
    /// A file of /proc that the kernel forgets comes back as another, which no rule knows.
    _held: Vec<File>,
}

impl Landlock {
    /// In words, when a directory cannot be opened that any process may list.
    pub(super) fn in_force(&self) -> Result<String, String> {
        match File::open(FORBIDDEN) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(self.words.clone()),
            _ => Err(format!("{FORBIDDEN} can be opened")),
        }
    }
}

/// What may be done below a path.
struct Rule {
    path: PathBuf,
    access: BitFlags<AccessFs>,
}

fn rules(policy: &Policy) -> Vec<Rule> {
    let rule = |path: &Path, access| Rule {
        path: path.to_owned(),
        access,
    };
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = vec![
        // Settings, what the kernel dropped, the process itself.
        rule(Path::new("/proc"), read),
        // The names of network namespaces: their directory may be made later.
        rule(Path::new("/run"), AccessFs::ReadDir.into()),
    ];
    // Settings that are written. Each namespace has a directory of its own of this name.
    let settings = match policy.other_namespaces {
        true => "/proc/sys/net",
        false => "/proc/sys/net/netfilter",
    };
    if policy.other_namespaces {
        // As the first `ip netns add` would: a directory that is not there can have no rule.
        // Where it cannot be made, there is nothing to enter.
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(NAMESPACES);
        if let Err(error) = made {
            tracing::debug!(%error, "cannot make {NAMESPACES}");
        }
        rules.push(rule(Path::new(NAMESPACES), AccessFs::ReadFile.into()));
    }
    rules.push(rule(
        Path::new(settings),
        AccessFs::WriteFile | AccessFs::Truncate,
    ));
    rules.extend(policy.read.iter().map(|path| {
        let whole = path.is_dir();
        rule(
            path,
            if whole {
                read
            } else {
                AccessFs::ReadFile.into()
            },
        )
    }));
    let directories = [
        (
            &policy.write,
            read | AccessFs::WriteFile | AccessFs::MakeReg,
        ),
        (&policy.remove, AccessFs::RemoveFile.into()),
    ];
    for (paths, access) in directories {
        rules.extend(paths.iter().map(|path| rule(path, access)));
    }
    rules
}

/// Puts the rules into force on the calling thread.
pub(super) fn restrict(policy: &Policy) -> Result<Landlock, String> {
    let restrict = || -> Result<_, landlock::RulesetError> {
        let mut ruleset = ruleset(scopes())?;
        let mut held = Vec::new();
        for rule in rules(policy) {
            // A path that does not exist now is one that the process cannot use later, either.
            let Ok(opened) = open(&rule) else {
                tracing::debug!(path = %rule.path.display(), "not there, and so not usable later");
                continue;
            };
            ruleset = ruleset.add_rule(PathBeneath::new(opened.as_fd(), rule.access))?;
            if rule.path.starts_with("/proc") {
                held.push(opened);
            }
        }
        Ok((ruleset.restrict_self()?, held))
    };
    let (status, held) = restrict().map_err(|error| error.to_string())?;
    let version = match status.landlock {
        LandlockStatus::NotImplemented => return Err("this kernel has none".to_owned()),
        LandlockStatus::NotEnabled => {
            return Err("this kernel was started without it (lsm=)".to_owned());
        }
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => kernel_abi.unwrap_or(effective_abi as i32),
    };
    let words = match status.ruleset {
        RulesetStatus::FullyEnforced => format!("ABI {version}"),
        RulesetStatus::PartiallyEnforced => {
            format!("ABI {version}: without what ABI {KNOWN} adds")
        }
        RulesetStatus::NotEnforced => return Err("no rule could be applied".to_owned()),
    };
    Ok(Landlock { words, _held: held })
}

fn ruleset(scopes: BitFlags<Scope>) -> Result<RulesetCreated, landlock::RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(scopes)?
        .create()
}

/// Signals to other processes; and their abstract sockets, unless the service manager has
/// one of these to be told at.
fn scopes() -> BitFlags<Scope> {
    let notify = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    if notify.as_encoded_bytes().starts_with(b"@") {
        Scope::Signal.into()
    } else {
        Scope::AbstractUnixSocket | Scope::Signal
    }
}

/// A handle that can be neither read nor written.
fn open(rule: &Rule) -> io::Result<File> {
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    // The kernel takes no rule of what is done in directories for anything else.
    if !AccessFs::from_file(KNOWN).contains(rule.access) {
        flags |= OFlags::DIRECTORY;
    }
    Ok(rustix::fs::open(&rule.path, flags, Mode::empty())?.into())
}
