//! Notices by inotify(7) that files, or links on the way to them, are exchanged. It costs nothing
//! while nothing changes.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use futures::{FutureExt as _, StreamExt as _};
use inotify::{Event, EventMask, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use tracing::warn;

use super::trail::Trail;

/// What can happen to a name in a directory.
const NAMES: WatchMask = WatchMask::CREATE
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVE)
    .union(CONTENT);
/// What can happen to a file.
const CONTENT: WatchMask = WatchMask::MODIFY
    .union(WatchMask::CLOSE_WRITE)
    .union(WatchMask::ATTRIB);
/// What can happen to anything.
const END: WatchMask = WatchMask::DELETE_SELF.union(WatchMask::MOVE_SELF);

/// How often the way is gone anew when it changes meanwhile.
const ATTEMPTS: usize = 16;

/// What is watched.
pub(super) struct Posts {
    files: Vec<PathBuf>,
    watches: Watches,
    /// The names that matter under each watch; without any, only the end of the thing itself.
    held: HashMap<WatchDescriptor, BTreeSet<OsString>>,
    /// What could not be watched, and was said.
    blind: BTreeSet<PathBuf>,
}

/// What happens there.
pub(super) struct Happenings(EventStream<[u8; 4096]>);

/// For these files. Nothing is watched yet.
pub(super) fn watch<'a>(
    files: impl IntoIterator<Item = &'a Path>,
) -> io::Result<(Posts, Happenings)> {
    let happenings = Inotify::init()?.into_event_stream([0; 4096])?;
    let posts = Posts {
        files: files.into_iter().map(Path::to_owned).collect(),
        watches: happenings.watches(),
        held: HashMap::new(),
        blind: BTreeSet::new(),
    };
    Ok((posts, Happenings(happenings)))
}

impl Posts {
    /// Watches the way to the files as it is now. What is read afterwards is what is told of when
    /// it changes.
    pub(super) fn take_up(&mut self) {
        let mut trail = self.trail();
        for _ in 0..ATTEMPTS {
            self.watch(&trail);
            // It may have changed before it was watched.
            let now = self.trail();
            if now == trail {
                return;
            }
            trail = now;
        }
    }

    fn trail(&self) -> Trail {
        Trail::to(self.files.iter().map(PathBuf::as_path))
    }

    fn watch(&mut self, trail: &Trail) {
        let mut held: HashMap<WatchDescriptor, BTreeSet<OsString>> = HashMap::new();
        let nothing = BTreeSet::new();
        let directory = WatchMask::ONLYDIR | WatchMask::MASK_ADD | END;
        let decided = trail.decided.iter();
        let decided = decided.map(|(path, names)| (path, directory | NAMES, names));
        let passed = trail.passed.iter();
        let passed = passed.map(|path| (path, directory, &nothing));
        let files = trail.files.iter();
        let files = files.map(|path| (path, WatchMask::MASK_ADD | END | CONTENT, &nothing));
        for (path, mask, names) in decided.chain(passed).chain(files) {
            match self.watches.add(path, mask) {
                // Two paths may be one directory.
                Ok(watch) => held.entry(watch).or_default().extend(names.iter().cloned()),
                // It is gone already; the way will be gone anew.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    if self.blind.insert(path.clone()) {
                        warn!(
                            path = %path.display(), %error,
                            "cannot notice changes there; send SIGHUP after one"
                        );
                    }
                }
            }
        }
        for watch in self.held.drain().map(|(watch, _)| watch) {
            if !held.contains_key(&watch) {
                // One whose directory is gone is over by itself.
                let _ = self.watches.remove(watch);
            }
        }
        self.held = held;
    }

    fn matters(&self, event: &Event<OsString>) -> bool {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            return true;
        }
        match (self.held.get(&event.wd), &event.name) {
            (None, _) => false,
            (Some(names), Some(name)) => names.contains(name),
            (Some(_), None) => true,
        }
    }
}

impl Happenings {
    /// Comes back when something happened that matters.
    pub(super) async fn next(&mut self, posts: &Posts) -> io::Result<()> {
        loop {
            match self.0.next().await {
                Some(Ok(event)) if posts.matters(&event) => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Passes over what has happened up to now.
    pub(super) fn skip(&mut self) {
        while let Some(Some(Ok(_))) = self.0.next().now_or_never() {}
    }
}
