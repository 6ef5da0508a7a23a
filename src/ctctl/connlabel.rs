//! The names of labels: /etc/xtables/connlabel.conf, which conntrack(8), iptables and nft
//! share.
//!
//! A line has a number and a name behind it. As libnetfilter_conntrack does, the reader
//! passes over what is neither: comments, numbers from 1024 on, names with other characters
//! than ASCII letters, digits, spaces and dashes, and what is named a second time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the names stand.
pub const PATH: &str = "/etc/xtables/connlabel.conf";

/// Numbers from here on are not labels, even in the file.
const MAX_BITS: u64 = 1024;

/// The names could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConnlabelError {
    /// The file cannot be read.
    #[error("cannot read the names of labels in {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No line of it has a number and a name.
    #[error("no line of {} names a label", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

/// Names of labels by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelNames {
    /// In the order of the file. A file has a few dozen lines.
    names: Vec<(u16, Box<str>)>,
}

impl LabelNames {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConnlabelError> {
        let text = fs::read(path).map_err(|source| ConnlabelError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let names = Self::parse(&String::from_utf8_lossy(&text));
        if names.names.is_empty() {
            return Err(ConnlabelError::Empty {
                path: path.to_owned(),
            });
        }
        Ok(names)
    }

    /// The names in a text.
    pub fn parse(text: &str) -> Self {
        let mut names = Self::default();
        for (number, name) in text.lines().filter_map(entry) {
            let known = names
                .names
                .iter()
                .any(|(n, text)| *n == number || **text == *name);
            if !known {
                names.names.push((number, name.into()));
            }
        }
        names
    }

    /// The number of a name. The kernel's labels end at 127; an entry never has one beyond.
    pub fn number(&self, name: &str) -> Option<u16> {
        let mut names = self.names.iter();
        names.find(|(_, text)| **text == *name).map(|(n, _)| *n)
    }

    /// The name of a number.
    pub fn name(&self, number: u8) -> Option<&str> {
        let mut names = self.names.iter();
        names
            .find(|(n, _)| *n == u16::from(number))
            .map(|(_, text)| &**text)
    }
}

/// The number and the name of a line.
fn entry(line: &str) -> Option<(u16, &str)> {
    let (number, rest) = leading_number(line.trim_start_matches(is_space))?;
    let name = rest.trim_matches(is_space);
    let sane = |b: u8| b.is_ascii_alphanumeric() || b == b' ' || b == b'-';
    (!name.is_empty() && name.bytes().all(sane)).then_some((number, name))
}

/// A number as strtoul(3) reads it: decimal, `0x` hexadecimal, or `0` octal, up to the first
/// character that does not belong to it.
fn leading_number(text: &str) -> Option<(u16, &str)> {
    let (radix, digits) = match text.as_bytes() {
        [b'0', b'x' | b'X', digit, ..] if digit.is_ascii_hexdigit() => (16, &text[2..]),
        [b'0', ..] => (8, text),
        _ => (10, text),
    };
    let end = digits
        .find(|c: char| !c.is_digit(radix))
        .unwrap_or(digits.len());
    let number = u64::from_str_radix(&digits[..end], radix).ok()?;
    let number = u16::try_from(number)
        .ok()
        .filter(|n| u64::from(*n) < MAX_BITS)?;
    Some((number, &digits[end..]))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\x0b' | '\x0c' | '\r' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What conntrack(8) 1.4.7 knows of the same file, asked by `-L -l NAME`.
    #[test]
    fn the_file_is_read_as_conntrack_does() {
        let names = LabelNames::parse(
            "# comment\n0 zero\n1\teins\n5 five five\n7 bad_name\n9\n0x10 sixteen\n010 oct\n\
             8 again\n11 sixteen\n12\tdup name \r\n13 a,b\n 14 spaced\n15x\n127 max\n200 big\n\
             1024 huge\nword 3\n99999999999999999999 far\n",
        );
        for (name, number) in [
            ("zero", Some(0)),
            ("eins", Some(1)),
            ("five five", Some(5)),
            ("five", None),
            ("bad_name", None),
            ("sixteen", Some(16)),
            ("oct", Some(8)),
            ("again", None),
            ("dup name", Some(12)),
            ("a,b", None),
            ("spaced", Some(14)),
            ("x", Some(15)),
            ("max", Some(127)),
            ("big", Some(200)),
            ("huge", None),
            ("far", None),
            ("", None),
        ] {
            assert_eq!(names.number(name), number, "{name}");
        }
        assert_eq!(names.name(16), Some("sixteen"));
        assert_eq!(names.name(9), None);
    }

    #[test]
    fn a_file_that_names_nothing_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("connlabel.conf");
        assert!(matches!(
            LabelNames::read(&path),
            Err(ConnlabelError::Unreadable { .. })
        ));
        fs::write(&path, "# nothing\n9\n").expect("written");
        assert!(matches!(
            LabelNames::read(&path),
            Err(ConnlabelError::Empty { .. })
        ));
    }
}
