//! Which agents a command talks to: targets from the command line, a file or the
//! environment, made unique.

mod target;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use target::{Address, DEFAULT_TARGET, Scheme, Target, TargetError};

/// Why there is no list of targets.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A target of the command line or the environment.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A line of a file.
    #[error("{}, line {line}: {error}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        error: TargetError,
    },
    /// The file cannot be read.
    #[error("cannot read the targets in {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file without a target: never a reason to talk to the default one instead.
    #[error("{} names no target; write one a line", .0.display())]
    NoTargets(PathBuf),
    /// One name for two places: rows could not be told apart.
    #[error("two targets are called {name:?}: {first} and {second}")]
    SameName {
        /// The name.
        name: String,
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
}

/// Targets as they were given, before anything was read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Of the command line; each may be a list with commas.
    pub targets: Vec<String>,
    /// A file with a target a line; `#` starts a comment.
    pub file: Option<PathBuf>,
}

impl Sources {
    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.file.is_none()
    }

    /// Reads and checks them. The same target given twice counts once; the default when
    /// nothing was given.
    pub fn resolve(&self) -> Result<Vec<Arc<Target>>, FleetError> {
        let mut found = Vec::new();
        for list in &self.targets {
            for text in split_list(list) {
                found.push(text.parse()?);
            }
        }
        if let Some(path) = &self.file {
            read_file(path, &mut found)?;
        }
        if self.is_empty() {
            found.push(DEFAULT_TARGET.parse()?);
        }
        if found.is_empty() {
            // `-t ''`, or an empty variable in a script.
            return Err(TargetError::Empty.into());
        }
        unique(found)
    }
}

fn split_list(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

fn read_file(path: &Path, found: &mut Vec<Target>) -> Result<(), FleetError> {
    let text = std::fs::read_to_string(path).map_err(|error| FleetError::Read {
        path: path.to_owned(),
        error,
    })?;
    let before = found.len();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            found.push(line.parse().map_err(|error| FleetError::Line {
                path: path.to_owned(),
                line: index + 1,
                error,
            })?);
        }
    }
    if found.len() == before {
        return Err(FleetError::NoTargets(path.to_owned()));
    }
    Ok(())
}

fn unique(found: Vec<Target>) -> Result<Vec<Arc<Target>>, FleetError> {
    let mut by_name: HashMap<Arc<str>, Arc<Target>> = HashMap::with_capacity(found.len());
    let mut targets = Vec::with_capacity(found.len());
    for target in found.into_iter().map(Arc::new) {
        match by_name.get(target.name()) {
            None => {
                by_name.insert(Arc::clone(target.name()), Arc::clone(&target));
                targets.push(target);
            }
            Some(same) if *same == target => {}
            Some(other) => {
                return Err(FleetError::SameName {
                    name: target.name().to_string(),
                    first: other.to_string(),
                    second: target.to_string(),
                });
            }
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(sources: &Sources) -> Vec<String> {
        let targets = sources.resolve().unwrap();
        targets.iter().map(|t| t.name().to_string()).collect()
    }

    #[test]
    fn nothing_means_the_default_socket() {
        assert_eq!(names(&Sources::default()), [DEFAULT_TARGET]);
    }

    #[test]
    fn an_empty_target_never_means_the_default() {
        let sources = Sources {
            targets: vec!["".into()],
            file: None,
        };
        assert!(matches!(
            sources.resolve(),
            Err(FleetError::Target(TargetError::Empty))
        ));
        let mut empty = tempfile::NamedTempFile::new().unwrap();
        writeln!(empty, "# nothing\n").unwrap();
        let sources = Sources {
            targets: vec![],
            file: Some(empty.path().into()),
        };
        assert!(matches!(sources.resolve(), Err(FleetError::NoTargets(_))));
    }

    #[test]
    fn lists_and_files_add_up_and_twins_count_once() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "fw2:1  # the second\n\n  edge=fw3:1\nfw1:1").unwrap();
        let sources = Sources {
            targets: vec!["fw1:1, fw2:1".into()],
            file: Some(file.path().into()),
        };
        assert_eq!(names(&sources), ["fw1:1", "fw2:1", "edge"]);
    }

    #[test]
    fn a_bad_line_is_named() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "fw2:1\nfw3").unwrap();
        let sources = Sources {
            targets: vec![],
            file: Some(file.path().into()),
        };
        let error = sources.resolve().unwrap_err().to_string();
        assert!(
            error.contains("line 2") && error.contains("no port"),
            "{error}"
        );
    }

    #[test]
    fn one_name_for_two_places_is_refused() {
        let sources = Sources {
            targets: vec!["a=h:1,a=h:2".into()],
            file: None,
        };
        let error = sources.resolve().unwrap_err().to_string();
        assert!(error.contains("h:1 and h:2"), "{error}");
    }
}
