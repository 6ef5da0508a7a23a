//! Files that are made all or not at all, and overwrite nothing; or exchange one in one step.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::PkiError;

/// A file to make.
pub(super) struct New<'a> {
    pub(super) name: String,
    pub(super) text: &'a str,
    /// For its owner alone, from the moment that it exists.
    pub(super) secret: bool,
}

/// Makes them in the directory, which is made, too.
pub(super) fn make(directory: &Path, files: &[New<'_>]) -> Result<Vec<PathBuf>, PkiError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => PkiError::Exists(path),
            _ => PkiError::Write { path, source },
        }
    };
    let mut made = Made::default();
    if !directory.is_dir() {
        let built = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        built.map_err(failed(directory))?;
        made.directory = Some(directory.to_owned());
    }
    let mut open = Vec::new();
    // Every name first: when one is taken, nothing has been written yet.
    for file in files {
        let path = directory.join(&file.name);
        let mode = if file.secret { 0o600 } else { 0o644 };
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path);
        open.push(opened.map_err(failed(&path))?);
        made.files.push(path);
    }
    for ((file, new), path) in open.iter_mut().zip(files).zip(&made.files) {
        let written = file
            .write_all(new.text.as_bytes())
            .and_then(|()| file.sync_all());
        written.map_err(failed(path))?;
    }
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(failed(directory))?;
    Ok(made.keep())
}

/// The next version of a file, which nobody else makes while this lives.
pub(super) struct Successor {
    /// Has its path, and removes it again.
    made: Made,
    path: PathBuf,
    file: File,
}

impl Successor {
    /// Makes it, empty, at this path. What it succeeds is to be read after that, and not before.
    pub(super) fn begin(path: PathBuf) -> Result<Self, PkiError> {
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&path);
        let file = opened.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => PkiError::Busy(path.clone()),
            _ => PkiError::Write {
                path: path.clone(),
                source,
            },
        })?;
        let made = Made {
            files: vec![path.clone()],
            directory: None,
        };
        Ok(Self { made, path, file })
    }

    /// Takes the place of that file.
    pub(super) fn succeed(mut self, predecessor: &Path, text: &str) -> Result<(), PkiError> {
        let written = self
            .file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_all());
        written.map_err(|source| PkiError::Write {
            path: self.path.clone(),
            source,
        })?;
        let failed = |source| PkiError::Write {
            path: predecessor.to_owned(),
            source,
        };
        std::fs::rename(&self.path, predecessor).map_err(failed)?;
        // The path is free, and may be somebody else's by now.
        self.made.keep();
        let directory = predecessor.parent().unwrap_or(Path::new("."));
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(failed)
    }
}

/// What was made, and goes again unless it is kept.
#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    directory: Option<PathBuf>,
}

impl Made {
    fn keep(mut self) -> Vec<PathBuf> {
        self.directory = None;
        std::mem::take(&mut self.files)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // What cannot be removed now is empty or half, and is never taken for more.
        for path in &self.files {
            let _ = std::fs::remove_file(path);
        }
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir(directory);
        }
    }
}
