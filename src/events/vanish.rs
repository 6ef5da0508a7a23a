//! Notices that a named network namespace is deleted.
//!
//! A socket keeps its namespace alive: when `ip netns del` takes the name away, a listener
//! inside would go on for ever, hear nothing more of use, and hold the namespace's links.
//! The kernel says nothing on the socket; so the directory of the names is watched.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tracing::{debug, warn};

use super::hubs::Registry;
use crate::ctnetlink::Namespace;

/// Which namespace a name means: the device and inode of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// What the namespace's name means now; `None` for the agent's own, which has none,
    /// and for a name that does not exist.
    pub(super) fn of(namespace: &Namespace) -> Option<Self> {
        if namespace.is_own() {
            return None;
        }
        let file = fs::metadata(namespace.path()).ok()?;
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
        })
    }

    /// Whether the name still means this namespace. As long as a listener holds it open,
    /// no other namespace can get its inode.
    pub(super) fn still_is(self, namespace: &Namespace) -> bool {
        Self::of(namespace) == Some(self)
    }
}

/// Tells the registry when names are deleted, until it is dropped.
#[derive(Debug)]
pub(super) struct Lookout(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    inotify: OwnedFd,
    /// The number of the watch; `None` when it is over.
    watch: Mutex<Option<i32>>,
}

impl Drop for Lookout {
    fn drop(&mut self) {
        if let Some(watch) = self.0.lock().take() {
            // The thread reads that the watch is no more, and ends.
            if let Err(error) = inotify::remove_watch(&self.0.inotify, watch) {
                debug!(%error, "the watch for deleted namespaces was gone already");
            }
        }
    }
}

impl Lookout {
    /// Watches from now on.
    pub(super) fn start(registry: Weak<Registry>) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC)?;
        let watch = Mutex::new(Some(add_watch(&inotify)?));
        let watched = Arc::new(Watched { inotify, watch });
        let lookout = Self(Arc::clone(&watched));
        thread::Builder::new()
            .name("ctnetns".to_owned())
            .spawn(move || {
                if let Err(error) = watched.look(&registry) {
                    warn!(%error, "cannot see namespaces vanish any more");
                    if let Some(registry) = registry.upgrade() {
                        registry.blinded(&error);
                    }
                }
            })?;
        Ok(lookout)
    }
}

fn add_watch(inotify: &OwnedFd) -> io::Result<i32> {
    let vanishing = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
    Ok(inotify::add_watch(
        inotify,
        Namespace::DIRECTORY,
        vanishing,
    )?)
}

/// What disappeared.
enum Vanished {
    /// This name.
    Name(String),
    /// Any: the kernel's queue overflowed.
    Unknown,
    /// The directory, or the watch.
    Directory,
}

impl Watched {
    /// A number is written in one step: it is whole whatever panicked.
    fn lock(&self) -> MutexGuard<'_, Option<i32>> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: waits for names to vanish until the watch is over.
    fn look(&self, registry: &Weak<Registry>) -> io::Result<()> {
        // Room for a dozen names of the greatest length.
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            let vanished = match reader.next() {
                Ok(event) => vanished(&event),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if matches!(vanished, Vanished::Directory) && !self.watch_again()? {
                return Ok(());
            }
            let Some(registry) = registry.upgrade() else {
                return Ok(());
            };
            match vanished {
                Vanished::Name(name) => registry.look_after(Some(&name)),
                Vanished::Unknown | Vanished::Directory => registry.look_after(None),
            }
        }
    }

    /// Watches the directory that may be there anew. False when the watch is over.
    fn watch_again(&self) -> io::Result<bool> {
        let mut watch = self.lock();
        if watch.is_none() {
            return Ok(false);
        }
        *watch = Some(add_watch(&self.inotify)?);
        Ok(true)
    }
}

fn vanished(event: &inotify::Event<'_>) -> Vanished {
    if event.events().contains(ReadFlags::IGNORED) {
        Vanished::Directory
    } else {
        match event.file_name() {
            Some(name) => Vanished::Name(name.to_string_lossy().into_owned()),
            None => Vanished::Unknown,
        }
    }
}
