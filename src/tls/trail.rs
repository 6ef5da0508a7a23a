//! Where a path leads, a step at a time: what has to be watched to notice that it leads
//! elsewhere, and what has to stay readable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// The way to some files. Directories are physical ones, without links in their paths.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trail {
    /// Directories with the names in them that decide where the way goes: links, the files, and
    /// what is missing.
    pub(super) decided: BTreeMap<PathBuf, BTreeSet<OsString>>,
    /// Directories that are passed. Only their own end matters, so that work of others in /tmp
    /// or /etc wakes nobody.
    pub(super) passed: BTreeSet<PathBuf>,
    /// The files that are there.
    pub(super) files: BTreeSet<PathBuf>,
    /// Directories of the files, and of what links lead to: what a link is swapped for stands
    /// beside that.
    readable: BTreeSet<PathBuf>,
}

impl Trail {
    /// The way to these files.
    pub(super) fn to<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut trail = Self::default();
        for file in files {
            trail.add(file);
        }
        trail
    }

    /// The directories below which everything has to stay readable, so that the files can be
    /// read again after they were exchanged.
    pub(super) fn readable(self) -> Vec<PathBuf> {
        let root = Path::new("/");
        let readable = self.readable.into_iter();
        readable.filter(|directory| directory != root).collect()
    }

    fn add(&mut self, file: &Path) {
        // Of a relative path there is no way without a working directory.
        let Ok(file) = std::path::absolute(file) else {
            return;
        };
        let mut at = PathBuf::from("/");
        let mut ahead: VecDeque<OsString> = names(&file);
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                at.pop();
                continue;
            }
            let here = at.join(&name);
            let Ok(metadata) = fs::symlink_metadata(&here) else {
                return self.decide(&at, name);
            };
            if metadata.is_symlink() {
                links += 1;
                let target = fs::read_link(&here);
                self.decide(&at, name);
                let Some(target) = target.ok().filter(|_| links <= MOST_LINKS) else {
                    return;
                };
                if let Some(beside) = at.join(&target).parent() {
                    self.readable.extend(fs::canonicalize(beside));
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                let mut further = names(&target);
                further.append(&mut ahead);
                ahead = further;
            } else if metadata.is_dir() && !ahead.is_empty() {
                self.passed.insert(here.clone());
                at = here;
            } else {
                self.readable.insert(at.clone());
                self.decide(&at, name);
                self.files.insert(here);
                return;
            }
        }
    }

    fn decide(&mut self, directory: &Path, name: OsString) {
        let names = self.decided.entry(directory.to_owned()).or_default();
        names.insert(name);
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            Component::ParentDir => Some(OsStr::new("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .map(OsStr::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_is_a_step() {
        let temporary = tempfile::TempDir::new().unwrap();
        let top = temporary.path().canonicalize().unwrap();
        let at = |path: &str| top.join(path);
        // As Kubernetes lays a secret out.
        fs::create_dir_all(at("tls/..2026_1")).unwrap();
        fs::write(at("tls/..2026_1/tls.crt"), "").unwrap();
        symlink("..2026_1", at("tls/..data")).unwrap();
        symlink("..data/tls.crt", at("tls/tls.crt")).unwrap();
        let trail = Trail::to([&*at("tls/tls.crt")]);
        let names = |directory: &str| {
            let names = trail.decided[&at(directory)].iter();
            names.map(|name| name.to_str().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names("tls"), ["..data", "tls.crt"]);
        assert_eq!(names("tls/..2026_1"), ["tls.crt"]);
        assert_eq!(trail.decided.len(), 2);
        assert!(trail.passed.contains(&at("tls")) && trail.passed.contains(&top));
        assert!(trail.files.contains(&at("tls/..2026_1/tls.crt")));
        assert_eq!(trail.readable(), [at("tls"), at("tls/..2026_1")]);
    }

    #[test]
    fn absolute_links_and_steps_back_are_followed() {
        let temporary = tempfile::TempDir::new().unwrap();
        let top = temporary.path().canonicalize().unwrap();
        let at = |path: &str| top.join(path);
        fs::create_dir_all(at("live/fw1")).unwrap();
        fs::create_dir_all(at("archive/fw1")).unwrap();
        fs::write(at("archive/fw1/cert2.pem"), "").unwrap();
        symlink("../../archive/fw1/cert2.pem", at("live/fw1/cert.pem")).unwrap();
        symlink(at("live"), at("current")).unwrap();
        let trail = Trail::to([&*at("current/fw1/cert.pem")]);
        let decided: Vec<_> = trail.decided.keys().cloned().collect();
        assert_eq!(decided, [top.clone(), at("archive/fw1"), at("live/fw1")]);
        assert!(trail.files.contains(&at("archive/fw1/cert2.pem")));
        assert_eq!(trail.readable(), [top.clone(), at("archive/fw1")]);
    }

    #[test]
    fn the_way_ends_at_what_is_missing_or_goes_in_a_circle() {
        let temporary = tempfile::TempDir::new().unwrap();
        let top = temporary.path().canonicalize().unwrap();
        let trail = Trail::to([&*top.join("not/yet/there.pem")]);
        assert_eq!(trail.decided[&top], BTreeSet::from(["not".into()]));
        assert!(trail.files.is_empty());

        symlink("round", top.join("round")).unwrap();
        let trail = Trail::to([&*top.join("round")]);
        assert_eq!(trail.decided[&top], BTreeSet::from(["round".into()]));
        assert!(trail.files.is_empty());
    }
}
