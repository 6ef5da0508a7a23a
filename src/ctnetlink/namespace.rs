//! Network namespaces as `ip netns` names them: files below /run/netns.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::error::{Error, NamespaceReason};

/// A network namespace: the process's own, or one by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Option<Arc<str>>);

/// A network namespace as [`Namespace::list`] finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceEntry {
    /// The namespace.
    pub namespace: Namespace,
    /// Its inode: equal numbers are one namespace.
    pub inode: u64,
}

impl Namespace {
    /// Where `ip netns add` leaves its files.
    pub const DIRECTORY: &str = "/run/netns";

    /// The namespace that this process runs in.
    pub fn own() -> Self {
        Self(None)
    }

    /// The namespace of this name. Whether it exists is seen when it is entered.
    pub fn named(name: &str) -> Result<Self, Error> {
        // It becomes a path: nothing may lead out of the directory.
        let bad = name.is_empty()
            || name == "."
            || name == ".."
            || name.len() > 255
            || name.contains(['/', '\0']);
        if bad {
            return Err(Error::Namespace {
                name: name.to_owned(),
                reason: NamespaceReason::BadName,
            });
        }
        Ok(Self(Some(name.into())))
    }

    /// As requests name it: "" is the process's own.
    pub fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "" => Ok(Self::own()),
            name => Self::named(name),
        }
    }

    /// Its name; "" is the process's own.
    pub fn name(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether it is the process's own.
    pub fn is_own(&self) -> bool {
        self.0.is_none()
    }

    /// The file that holds a named namespace.
    pub fn path(&self) -> PathBuf {
        match &self.0 {
            None => PathBuf::from("/proc/thread-self/ns/net"),
            Some(name) => Path::new(Self::DIRECTORY).join(&**name),
        }
    }

    /// Runs something inside the namespace, on a thread of its own when it is not the
    /// process's: sockets and files of /proc/sys/net that are opened there belong to it.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let Some(name) = &self.0 else {
            return Ok(inside());
        };
        let failed = |source: io::Error| Error::Namespace {
            name: name.to_string(),
            reason: match source.kind() {
                io::ErrorKind::NotFound => NamespaceReason::NotFound,
                io::ErrorKind::PermissionDenied => NamespaceReason::NotPermitted,
                // A file in the directory that is no namespace, or one half removed.
                io::ErrorKind::InvalidInput => NamespaceReason::NotFound,
                _ => NamespaceReason::Io(source),
            },
        };
        let file = File::open(self.path()).map_err(|error| match error.kind() {
            // The file of a namespace half made or half removed is for nobody to open.
            io::ErrorKind::PermissionDenied if !self.is_one() => {
                failed(io::ErrorKind::NotFound.into())
            }
            _ => failed(error),
        })?;
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, move || {
                    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                    Ok::<T, io::Error>(inside())
                })
                .map_err(failed)?;
            match thread.join() {
                Ok(result) => result.map_err(failed),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Whether the name is that of a namespace, and not of any other file.
    fn is_one(&self) -> bool {
        let device = |namespace: &Self| fs::metadata(namespace.path()).map(|file| file.dev());
        matches!((device(self), device(&Self::own())), (Ok(a), Ok(b)) if a == b)
    }

    /// Its inode.
    pub fn inode(&self) -> io::Result<u64> {
        fs::metadata(self.path()).map(|metadata| metadata.ino())
    }

    /// The named namespaces of this host, in the order of their names.
    pub fn list() -> io::Result<Vec<NamespaceEntry>> {
        let directory = match fs::read_dir(Self::DIRECTORY) {
            Ok(directory) => directory,
            // Made by the first `ip netns add`.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in directory {
            let name = entry?.file_name();
            let Some(Ok(namespace)) = name.to_str().map(Self::named) else {
                continue;
            };
            // Gone since it was listed.
            let Ok(inode) = namespace.inode() else {
                continue;
            };
            found.push(NamespaceEntry { namespace, inode });
        }
        found.sort_by(|a, b| a.namespace.cmp(&b.namespace));
        Ok(found)
    }
}
