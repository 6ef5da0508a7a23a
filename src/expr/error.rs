//! What is wrong with an expression, and where.

use std::fmt;
use std::ops::Range;

use winnow::error::{ErrMode, ParserError};
use winnow::stream::{Location, Stream};

/// How much of the text around the column an error shows, to each side.
const SHOWN: usize = 60;

/// The expression is not one of the filter language. The display form has two more lines:
/// the text, and a caret below the column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    line: usize,
    column: usize,
    found: Option<String>,
    expected: String,
    suggestion: Option<String>,
    /// The line, or the part of it around the column.
    shown: String,
    /// How many characters of it stand before the column.
    before: usize,
}

impl ParseError {
    /// The line where it is wrong, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column of that line, from 1, in characters.
    pub fn column(&self) -> usize {
        self.column
    }

    /// What stands there; `None` at the end of the text.
    pub fn found(&self) -> Option<&str> {
        self.found.as_deref()
    }

    /// What could stand there.
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// What was probably meant.
    pub fn suggestion(&self) -> Option<&str> {
        self.suggestion.as_deref()
    }

    /// The error of a fault in this text.
    pub(super) fn new(text: &str, fault: Fault) -> Self {
        let start = fault.at.start.min(text.len());
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..]
            .find('\n')
            .map_or(text.len(), |newline| start + newline);
        let before = text[line_start..start].chars().count();
        let skipped = before.saturating_sub(SHOWN);
        let line = &text[line_start..line_end];
        let mut shown: String = line
            .chars()
            .skip(skipped)
            .take(2 * SHOWN)
            // What a terminal would obey, and what would shift the caret.
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let mut shown_before = before - skipped;
        if skipped > 0 {
            shown.insert_str(0, "... ");
            shown_before += 4;
        }
        if line.chars().count() > skipped + 2 * SHOWN {
            shown.push_str(" ...");
        }
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: before + 1,
            found: text
                .get(fault.at)
                .filter(|found| !found.is_empty())
                .map(shortened),
            expected: fault.expected,
            suggestion: fault.suggestion,
            shown,
            before: shown_before,
        }
    }
}

/// The beginning of a text that is too long to be shown, on one line.
fn shortened(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().count() > SHOWN {
        short.push_str("...");
    }
    short
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 1 {
            write!(f, "line {}, ", self.line)?;
        }
        write!(f, "column {}: found ", self.column)?;
        match &self.found {
            Some(found) => write!(f, "`{found}`")?,
            None => f.write_str("the end")?,
        }
        write!(f, ", expected {}", self.expected)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean `{suggestion}`?")?;
        }
        write!(f, "\n  {}\n  {:2$}^", self.shown, "", self.before)
    }
}

impl std::error::Error for ParseError {}

/// What the parsers report; together with the text, a [`ParseError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The bytes that are wrong; empty at the end of the text.
    pub(super) at: Range<usize>,
    /// What could stand there.
    pub(super) expected: String,
    /// What was probably meant.
    pub(super) suggestion: Option<String>,
}

impl Fault {
    /// Something else was expected there.
    pub(super) fn new(at: Range<usize>, expected: impl Into<String>) -> Self {
        Self {
            at,
            expected: expected.into(),
            suggestion: None,
        }
    }

    /// With what was probably meant.
    pub(super) fn suggest(self, suggestion: Option<String>) -> Self {
        Self { suggestion, ..self }
    }

    /// No other branch of the grammar is to be tried.
    pub(super) fn cut(self) -> ErrMode<Self> {
        ErrMode::Cut(self)
    }
}

impl<I: Stream + Location> ParserError<I> for Fault {
    type Inner = Self;

    fn from_input(input: &I) -> Self {
        let start = input.current_token_start();
        Self::new(start..start, "something else")
    }

    fn into_inner(self) -> Result<Self::Inner, Self> {
        Ok(self)
    }
}

/// The candidate that is the fewest keystrokes away, if they are few.
pub(super) fn similar<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let word = word.to_lowercase();
    let tolerance = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}
