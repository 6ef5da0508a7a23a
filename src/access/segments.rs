//! Patterns for names that consist of segments between slashes. Each segment is matched by
//! itself: across slashes the library's matcher comes back to every `*` before it gives up, and
//! one long name keeps it busy for hours.

use std::fmt;
use std::str::FromStr;

use glob::{Pattern, PatternError};

/// A pattern: `*`, `?` and `[...]` within segments, `**` for any number of whole ones.
#[derive(Clone, PartialEq, Eq)]
pub struct Segments {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    One(Pattern),
    Any,
}

impl Segments {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole name fits.
    pub fn matches(&self, name: &str) -> bool {
        let names: Vec<_> = name.split('/').collect();
        let (mut part, mut segment) = (0, 0);
        // Behind the last `**` so far: where the parts go on, and the segments. What came before
        // it has matched as early as it can, so there is no reason to go back any further.
        let mut again = None;
        while let Some(name) = names.get(segment) {
            match self.parts.get(part) {
                Some(Part::Any) => {
                    part += 1;
                    again = Some((part, segment));
                }
                Some(Part::One(pattern)) if pattern.matches(name) => {
                    part += 1;
                    segment += 1;
                }
                _ => match &mut again {
                    Some((next, begun)) => {
                        *begun += 1;
                        (part, segment) = (*next, *begun);
                    }
                    None => return false,
                },
            }
        }
        self.parts[part..].iter().all(|part| *part == Part::Any)
    }
}

impl FromStr for Segments {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let mut parts = text
            .split('/')
            .map(|part| match part {
                "**" => Ok(Part::Any),
                part => Pattern::new(part).map(Part::One),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(Part::Any) = parts.last() {
            // What stands before the last slash does not fit without anything behind it.
            parts.insert(parts.len() - 1, Part::One(Pattern::new("*")?));
        }
        let text = text.to_owned();
        Ok(Self { text, parts })
    }
}

impl fmt::Display for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use glob::MatchOptions;
    use proptest::prelude::*;

    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        pattern.parse::<Segments>().unwrap().matches(name)
    }

    /// The library's own, which is right, if slow.
    fn fits_as_in_glob(pattern: &str, name: &str) -> bool {
        let options = MatchOptions {
            require_literal_separator: true,
            ..MatchOptions::new()
        };
        Pattern::new(pattern).unwrap().matches_with(name, options)
    }

    #[test]
    fn two_stars_are_any_number_of_whole_segments() {
        for (pattern, name) in [
            ("**", ""),
            ("**", "a/b"),
            ("a/**", "a/"),
            ("a/**", "a/b/c"),
            ("a/**/c", "a/c"),
            ("a/**/c", "a/b/c/c"),
            ("**/b/*", "b/b/b/c"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a/**", "a"),
            ("a/**/c", "a/bc"),
            ("a/**/b/**/c", "a/c/b"),
            ("a/*", "a/b/c"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    /// In one call: no number of stars makes it go over the name again and again.
    #[test]
    fn a_long_name_is_done_with_soon() {
        let long = format!("spiffe://{}/y", "-".repeat(100_000));
        assert!(!fits("spiffe://*-*-*-*-*-*/x", &long));
        let deep = format!("{}y", "a/".repeat(100_000));
        assert!(!fits("**/a/**/a/**/a/**/a/x", &deep));
    }

    proptest! {
        #[test]
        fn whatever_fits_fits_as_in_glob(
            parts in prop::collection::vec(r"\*\*|[ab?*]{0,2}[ab]", 1..5),
            name in "[ab/]{0,8}",
        ) {
            let pattern = parts.join("/");
            // The library takes no three stars in a row.
            prop_assume!(parts.iter().all(|part| part == "**" || !part.contains("**")));
            prop_assert_eq!(fits(&pattern, &name), fits_as_in_glob(&pattern, &name), "{}", pattern);
        }
    }
}
