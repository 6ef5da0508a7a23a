//! The tables of ARCHITECTURE.md against the source: a room uses only the rooms that its row
//! names, all of them on lower floors, and a crate that has a place stands nowhere else. And
//! no document links to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the table of ARCHITECTURE.md whose first column has this title.
fn table(title: &str) -> Vec<Vec<String>> {
    let text = read(&root().join("ARCHITECTURE.md"));
    let head = format!("| {title} |");
    let rows: Vec<Vec<String>> = text
        .lines()
        .skip_while(|line| !line.starts_with(&head))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let line = line.trim_matches('|');
            line.split('|').map(|cell| cell.trim().to_owned()).collect()
        })
        .collect();
    assert!(!rows.is_empty(), "no table of {title}");
    rows
}

/// What stands between backticks in a cell.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

struct Room {
    floor: u32,
    uses: BTreeSet<String>,
}

fn rooms() -> BTreeMap<String, Room> {
    let mut rooms = BTreeMap::new();
    for row in table("floor") {
        let [floor, cell, uses, _purpose] = &row[..] else {
            panic!("a row with other than four columns: {row:?}");
        };
        for name in names(cell) {
            let room = Room {
                floor: floor.parse().expect("a floor's number"),
                uses: names(uses).map(Into::into).collect(),
            };
            assert!(
                rooms.insert(name.to_owned(), room).is_none(),
                "{name} twice"
            );
        }
    }
    rooms
}

/// A file of a room: its path, and its text without comments.
struct Source {
    path: PathBuf,
    /// How many modules it is below the crate's root.
    depth: usize,
    text: String,
}

fn sources(room: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let file = root().join("src").join(format!("{room}.rs"));
    if file.exists() {
        found.push(source(file, 1));
    }
    walk(&root().join("src").join(room), 1, &mut found);
    assert!(!found.is_empty(), "src/{room} has no files");
    found
}

fn walk(directory: &Path, depth: usize, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, depth + 1, found);
        } else if path.ends_with("mod.rs") {
            found.push(source(path, depth));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(source(path, depth + 1));
        }
    }
}

fn source(path: PathBuf, depth: usize) -> Source {
    let text = read(&path)
        .lines()
        .map(|line| {
            if line.trim_start().starts_with("//") {
                ""
            } else {
                line
            }
        })
        .collect::<Vec<_>>()
        .join("\n");
    Source { path, depth, text }
}

/// The first words of what follows each `crate::`, also inside braces.
fn rooms_named(text: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (at, prefix) in text.match_indices("crate::") {
        let rest = &text[at + prefix.len()..];
        if text[..at].ends_with('$') {
            panic!("$crate hides what it uses from this test");
        }
        match rest.strip_prefix('{') {
            None => named.extend(word(rest)),
            Some(group) => {
                let mut depth = 0;
                let mut begin = true;
                for (at, character) in group.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => begin = true,
                        _ if begin && !character.is_whitespace() => {
                            named.extend(word(&group[at..]));
                            begin = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    named
}

fn word(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

#[test]
fn a_room_uses_only_the_rooms_that_its_row_names() {
    let rooms = rooms();
    let mut seen = 0;
    for (name, room) in rooms.iter().filter(|(name, _)| *name != "bin") {
        for Source { path, text, .. } in sources(name) {
            for used in rooms_named(&text) {
                if used == *name {
                    continue;
                }
                seen += 1;
                assert!(
                    room.uses.contains(&used),
                    "{}: uses crate::{used}, which ARCHITECTURE.md does not grant to {name}",
                    path.display()
                );
            }
        }
    }
    assert!(
        seen > 50,
        "only {seen} uses: what was read is not the source"
    );
}

#[test]
fn a_room_uses_only_lower_floors() {
    let rooms = rooms();
    for (name, room) in &rooms {
        for used in &room.uses {
            let floor = rooms
                .get(used)
                .unwrap_or_else(|| panic!("{used} is no room"))
                .floor;
            assert!(
                floor < room.floor,
                "{name} on floor {} uses {used} on floor {floor}",
                room.floor
            );
        }
    }
}

/// Out of a room it goes by `crate::` alone, which the test above sees.
#[test]
fn super_stays_inside_its_room() {
    for name in rooms().keys() {
        for Source { path, depth, text } in sources(name) {
            for line in text.lines().filter(|line| line.contains("super::")) {
                let longest = line
                    .split(|c: char| c != ':' && !c.is_alphanumeric() && c != '_')
                    .map(|path| path.split("::").take_while(|part| *part == "super").count())
                    .max()
                    .unwrap_or_default();
                // A module inside the file, as that of the tests, is one deeper.
                let inline = usize::from(line.starts_with(' '));
                assert!(longest < depth + inline, "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn every_module_is_a_room_with_a_row() {
    let declared: BTreeSet<String> = read(&root().join("src/lib.rs"))
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(Into::into)
        .chain(["bin".to_owned()])
        .collect();
    let listed: BTreeSet<String> = rooms().into_keys().collect();
    assert_eq!(declared, listed);
}

#[test]
fn crates_and_unsafe_code_stand_where_they_belong() {
    let rooms = rooms();
    for row in table("word in the source") {
        let [words, places, _why] = &row[..] else {
            panic!("a row with other than three columns: {row:?}");
        };
        let places: Vec<&str> = names(places).collect();
        for word in names(words) {
            let mut found = false;
            for Source { path, text, .. } in rooms.keys().flat_map(|name| sources(name)) {
                if !contains_word(&text, word) {
                    continue;
                }
                found = true;
                let path = path.strip_prefix(root().join("src")).expect("below src");
                let allowed = places.iter().any(|place| {
                    path.starts_with(place) || path.with_extension("").starts_with(place)
                });
                assert!(allowed, "src/{} has {word}", path.display());
            }
            assert!(found, "nothing has {word}: its row is out of date");
        }
    }
}

/// Whether the word stands alone: `unsafe`, not `unsafe_code`; `tonic::`, not `my_tonic::`.
fn contains_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, found)| {
        let before = text[..at].chars().next_back();
        let after = text[at + found.len()..].chars().next();
        !before.is_some_and(part) && (word.ends_with(':') || !after.is_some_and(part))
    })
}

#[test]
fn the_reader_of_paths_sees_what_rust_means() {
    let text =
        "use crate::flow::Flow;\nlet x = crate::wire::y();\nuse crate::{pb, api::{own, z}, tls};";
    let expected = ["api", "flow", "pb", "tls", "wire"].map(String::from);
    assert_eq!(rooms_named(text), BTreeSet::from(expected));
    assert!(contains_word("unsafe { }", "unsafe"));
    assert!(!contains_word("allow(unsafe_code)", "unsafe"));
    assert!(contains_word("use tonic::Status", "tonic::"));
    assert!(!contains_word("use not_tonic::Status", "tonic::"));
}

/// The anchor that a heading gets: lower case, spaces become hyphens, other signs go.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_of_documents_lead_somewhere() {
    let mut pages: Vec<PathBuf> = ["README", "ARCHITECTURE", "CHANGELOG", "CONTRIBUTING"]
        .map(|name| root().join(name).with_extension("md"))
        .into();
    for entry in fs::read_dir(root().join("docs")).expect("docs") {
        pages.push(entry.expect("an entry").path());
    }
    let mut seen = 0;
    for page in pages {
        let text = read(&page);
        for (_, rest) in text
            .match_indices("](")
            .map(|(at, _)| text.split_at(at + 2))
        {
            let link = rest.split(')').next().unwrap_or_default();
            if link.starts_with("https://") {
                continue;
            }
            seen += 1;
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().expect("a directory").join(file),
            };
            assert!(target.exists(), "{}: {link}", page.display());
            let is_there = || {
                let headings = read(&target);
                let mut headings = headings.lines().filter(|line| line.starts_with('#'));
                headings.any(|heading| anchor(heading) == fragment)
            };
            assert!(
                fragment.is_empty() || is_there(),
                "{}: {link}",
                page.display()
            );
        }
    }
    assert!(seen > 20, "only {seen} links");
}

/// The names of all test functions below a directory.
fn tests_below(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = read(&path);
            let mut lines = text.lines();
            while let Some(line) = lines.next() {
                if !(line.contains("#[test]") || line.contains("#[tokio::test")) {
                    continue;
                }
                let name = lines.find_map(|line| line.split_once("fn "));
                found.extend(name.and_then(|(_, name)| word(name)));
            }
        }
    }
}

#[test]
fn every_promise_of_the_security_page_names_a_test_that_is_there() {
    let mut tests = BTreeSet::new();
    tests_below(&root().join("src"), &mut tests);
    tests_below(&root().join("tests"), &mut tests);
    assert!(tests.contains("every_promise_of_the_security_page_names_a_test_that_is_there"));
    let page = read(&root().join("docs/security.md"));
    let (_, promises) = page.split_once("\n## Promises").expect("promises");
    let mut rows = 0;
    for row in promises.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let Some(last) = cells.last().filter(|last| !["test", "---"].contains(last)) else {
            continue;
        };
        rows += 1;
        let named: Vec<_> = names(last).collect();
        assert!(!named.is_empty(), "no test: {row}");
        for name in named {
            assert!(tests.contains(name), "no test is called {name}");
        }
    }
    assert!(rows > 40, "only {rows} promises");
}
