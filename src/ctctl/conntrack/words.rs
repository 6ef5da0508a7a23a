//! Words to options, as getopt_long(3) does it for conntrack(8): letters in one word, values
//! attached or behind, long names that may be cut short, and words that are no options
//! anywhere between them.
//!
//! An optional value that is attached (`-n192.0.2.1`, `--label-del=web`) counts here.
//! conntrack(8) passes over it in silence, and would then delete every translated flow, or
//! all labels.

use super::error::LineError;
use super::protocol::{Dialect, Part};
use super::vocabulary::{Action, Opt, Value};

/// An option of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// A command.
    Action(Action),
    /// An option of conntrack(8)'s own.
    Opt(Opt),
    /// An option of the protocol that `-p` named.
    Part(Part),
    /// An option that ctctl adds.
    Extra(Extra),
}

/// Options that conntrack(8) does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    /// Do not ask.
    Yes,
    /// Also change the flows that carry the agents' own connections.
    IncludeOwn,
}

/// Their names. Whoever cuts a name short means one of conntrack(8)'s.
pub(super) const EXTRAS: [(&str, Extra); 2] = [
    ("yes", Extra::Yes),
    ("include-own-connections", Extra::IncludeOwn),
];

impl Code {
    fn value(self) -> Value {
        match self {
            Self::Action(_) => Value::Maybe,
            Self::Opt(opt) => opt.value(),
            Self::Part(_) => Value::Yes,
            Self::Extra(_) => Value::No,
        }
    }
}

/// An option as it was written.
pub(super) struct Given<'a> {
    pub(super) code: Code,
    pub(super) value: Option<&'a str>,
}

/// The words of a line, from which options are taken one by one.
pub(super) struct Words<'a> {
    words: &'a [String],
    next: usize,
    /// The letters that are left of the word before.
    letters: &'a str,
}

impl<'a> Words<'a> {
    pub(super) fn new(words: &'a [String]) -> Self {
        Self {
            words,
            next: 0,
            letters: "",
        }
    }

    /// The next option; `dialect` is the protocol's of now.
    pub(super) fn next(
        &mut self,
        dialect: Option<&Dialect>,
    ) -> Result<Option<Given<'a>>, LineError> {
        if !self.letters.is_empty() {
            return self.letter().map(Some);
        }
        while let Some(word) = self.words.get(self.next) {
            self.next += 1;
            if word == "--" {
                self.next = self.words.len();
            } else if let Some(name) = word.strip_prefix("--") {
                return self.long(word, name, dialect).map(Some);
            } else if let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
                self.letters = letters;
                return self.letter().map(Some);
            }
            // conntrack(8) passes over words that are no options.
        }
        Ok(None)
    }

    fn letter(&mut self) -> Result<Given<'a>, LineError> {
        let mut letters = self.letters.chars();
        let letter = letters.next().unwrap_or_default();
        let rest = letters.as_str();
        self.letters = "";
        let code = short(letter).ok_or_else(|| {
            let word = self.words.get(self.next.saturating_sub(1));
            LineError::UnknownOption(word.cloned().unwrap_or_default())
        })?;
        let value = match code.value() {
            // A command's letter takes no value with it: `-Lz` is `-L -z`.
            Value::Maybe if matches!(code, Code::Action(_)) => {
                self.letters = rest;
                self.table()
            }
            Value::No => {
                self.letters = rest;
                None
            }
            Value::Yes if rest.is_empty() => Some(self.following()?),
            Value::Maybe if rest.is_empty() => self.optional(),
            Value::Yes | Value::Maybe => Some(rest),
        };
        Ok(Given { code, value })
    }

    fn long(
        &mut self,
        word: &str,
        name: &'a str,
        dialect: Option<&Dialect>,
    ) -> Result<Given<'a>, LineError> {
        let (name, attached) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, None),
        };
        let unknown = || LineError::UnknownOption(word.to_owned());
        let code = long(name, dialect).ok_or_else(unknown)?;
        if attached.is_some() && matches!(code, Code::Action(action) if !action.names_its_table()) {
            return Err(unknown());
        }
        let value = match (code.value(), attached) {
            (Value::No, Some(_)) => return Err(unknown()),
            (Value::No, None) => None,
            (_, Some(value)) => Some(value),
            (Value::Yes, None) => Some(self.following()?),
            (Value::Maybe, None) => self.optional(),
        };
        Ok(Given { code, value })
    }

    /// The table behind a command's letter, unless more letters follow.
    fn table(&mut self) -> Option<&'a str> {
        if self.letters.is_empty() {
            self.optional()
        } else {
            None
        }
    }

    /// The next word, whatever it looks like.
    fn following(&mut self) -> Result<&'a str, LineError> {
        match self.words.get(self.next) {
            Some(word) => {
                self.next += 1;
                Ok(word)
            }
            None => {
                let word = self.next.checked_sub(1).and_then(|at| self.words.get(at));
                Err(LineError::NoArgument(word.cloned().unwrap_or_default()))
            }
        }
    }

    /// The next word, unless it is an option.
    fn optional(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.next)?;
        if word.starts_with(['-', '!']) {
            return None;
        }
        self.next += 1;
        Some(word)
    }
}

fn short(letter: char) -> Option<Code> {
    let action = Action::ALL.iter().find(|(known, ..)| *known == letter);
    let opt = || Opt::ALL.iter().find(|(_, known, ..)| *known == letter);
    action
        .map(|(_, _, action)| Code::Action(*action))
        .or_else(|| opt().map(|(opt, ..)| Code::Opt(*opt)))
}

/// The option of a name, or of the beginning of a name that only one option has.
fn long(name: &str, dialect: Option<&Dialect>) -> Option<Code> {
    let actions = Action::ALL
        .iter()
        .map(|(_, name, action)| (*name, Code::Action(*action)));
    let opts = Opt::ALL
        .iter()
        .map(|(opt, _, name, _)| (*name, Code::Opt(*opt)));
    let aliases = Opt::ALIASES
        .iter()
        .map(|(name, opt)| (*name, Code::Opt(*opt)));
    let parts = dialect
        .into_iter()
        .flat_map(|dialect| dialect.parts)
        .map(|(part, name)| (*name, Code::Part(*part)));
    let part_aliases = dialect
        .into_iter()
        .flat_map(|dialect| dialect.aliases)
        .map(|(name, part)| (*name, Code::Part(*part)));
    let all = actions.chain(opts).chain(aliases).chain(parts);
    let all: Vec<(&str, Code)> = all.chain(part_aliases).collect();
    if let Some((_, code)) = all.iter().find(|(known, _)| *known == name) {
        return Some(*code);
    }
    if let Some((_, extra)) = EXTRAS.iter().find(|(known, _)| *known == name) {
        return Some(Code::Extra(*extra));
    }
    let mut fitting = all.iter().filter(|(known, _)| known.starts_with(name));
    let (_, code) = fitting.next()?;
    fitting.all(|(_, other)| other == code).then_some(*code)
}

/// The longest word of a file.
const MAX_WORD: usize = 1023;

/// The words of a line of a file: parted by spaces and tabs, and quoted by `"`, inside of
/// which `\\` takes the next character as it is.
pub fn split(line: &str) -> Result<Vec<String>, LineError> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted => {
                quoted = false;
                words.push(std::mem::take(&mut word));
            }
            '"' => quoted = true,
            '\\' if quoted => word.extend(characters.next()),
            ' ' | '\t' if !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            character => word.push(character),
        }
        if word.len() > MAX_WORD {
            return Err(LineError::TooLong("Parameter too long!"));
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}
