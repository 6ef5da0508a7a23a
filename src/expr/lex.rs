//! Text to tokens.

use std::ops::Range;

use winnow::ModalResult;
use winnow::combinator::{alt, eof, preceded, repeat, repeat_till};
use winnow::prelude::*;
use winnow::stream::{AsChar, LocatingSlice, Location};
use winnow::token::{any, one_of, take_while};

use super::error::Fault;

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind<'s> {
    /// A name, a number, an address, ...
    Word(&'s str),
    /// A text in quotes, unescaped.
    Quoted(String),
    /// `and`, `&&`
    And,
    /// `or`, `||`
    Or,
    /// `not`, `!`
    Not,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `{`
    OpenSet,
    /// `}`
    CloseSet,
    /// `,`
    Comma,
    /// `&`
    Mask,
    /// `in`
    In,
    /// `has`
    Has,
    /// `=`, `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

/// A token and the bytes where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token<'s> {
    pub(super) kind: Kind<'s>,
    pub(super) at: Range<usize>,
}

impl Location for Token<'_> {
    fn previous_token_end(&self) -> usize {
        self.at.end
    }

    fn current_token_start(&self) -> usize {
        self.at.start
    }
}

/// Characters that are no part of a word.
const PUNCTUATION: &[char] = &[
    '(', ')', '{', '}', ',', '&', '|', '!', '=', '<', '>', '"', '\'',
];

/// Whether a character can be part of a word.
fn is_word(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !PUNCTUATION.contains(&c)
}

/// Whether the text is a word of its own, so that it needs no quotes where a text is
/// expected.
pub(super) fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_word) && matches!(keyword(text), Kind::Word(_))
}

type Input<'s> = LocatingSlice<&'s str>;

/// The tokens of a text.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Fault> {
    let mut input = LocatingSlice::new(text);
    let parsed: ModalResult<(Vec<Token<'_>>, _), Fault> =
        preceded(space, repeat_till(0.., token, eof)).parse_next(&mut input);
    match parsed {
        Ok((tokens, _)) => Ok(tokens),
        Err(error) => Err(error
            .into_inner()
            .unwrap_or_else(|_| Fault::new(text.len()..text.len(), "more"))),
    }
}

fn space(input: &mut Input<'_>) -> ModalResult<(), Fault> {
    take_while(0.., char::is_whitespace)
        .void()
        .parse_next(input)
}

fn token<'s>(input: &mut Input<'s>) -> ModalResult<Token<'s>, Fault> {
    let token = alt((symbol, quoted, word, stray))
        .with_span()
        .map(|(kind, at)| Token { kind, at })
        .parse_next(input)?;
    space.parse_next(input)?;
    Ok(token)
}

/// Longer ones first.
fn symbol<'s>(input: &mut Input<'s>) -> ModalResult<Kind<'s>, Fault> {
    let long = alt((
        "&&".value(Kind::And),
        "||".value(Kind::Or),
        "!=".value(Kind::Unequal),
        "<=".value(Kind::AtMost),
        ">=".value(Kind::AtLeast),
        "==".value(Kind::Equal),
    ));
    let short = any.verify_map(|c| {
        Some(match c {
            '=' => Kind::Equal,
            '!' => Kind::Not,
            '&' => Kind::Mask,
            '<' => Kind::Less,
            '>' => Kind::Greater,
            '(' => Kind::Open,
            ')' => Kind::Close,
            '{' => Kind::OpenSet,
            '}' => Kind::CloseSet,
            ',' => Kind::Comma,
            _ => return None,
        })
    });
    alt((long, short)).parse_next(input)
}

fn word<'s>(input: &mut Input<'s>) -> ModalResult<Kind<'s>, Fault> {
    take_while(1.., is_word).map(keyword).parse_next(input)
}

/// The words that mean the same everywhere.
fn keyword(word: &str) -> Kind<'_> {
    let keywords = [
        ("and", Kind::And),
        ("or", Kind::Or),
        ("not", Kind::Not),
        ("in", Kind::In),
        ("has", Kind::Has),
    ];
    keywords
        .into_iter()
        .find(|(text, _)| word.eq_ignore_ascii_case(text))
        .map_or(Kind::Word(word), |(_, kind)| kind)
}

fn quoted<'s>(input: &mut Input<'s>) -> ModalResult<Kind<'s>, Fault> {
    let start = input.current_token_start();
    let quote = one_of(['"', '\'']).parse_next(input)?;
    let inside: String = repeat(0.., |input: &mut Input<'s>| {
        let escaped = preceded('\\', escape);
        let plain = any.verify(move |&c: &char| c != quote && c != '\\');
        alt((plain, escaped)).parse_next(input)
    })
    .parse_next(input)?;
    let end: ModalResult<char, Fault> = one_of(quote).parse_next(input);
    match end {
        Ok(_) => Ok(Kind::Quoted(inside)),
        Err(_) => {
            let end = input.current_token_start();
            Err(Fault::new(start..end, format!("a {quote} that closes the text")).cut())
        }
    }
}

/// What follows a backslash.
fn escape(input: &mut Input<'_>) -> ModalResult<char, Fault> {
    let start = input.current_token_start();
    let escaped: ModalResult<char, Fault> = alt((
        one_of(['"', '\'', '\\']),
        'n'.value('\n'),
        'r'.value('\r'),
        't'.value('\t'),
        ('u', '{', take_while(1..=6, AsChar::is_hex_digit), '}').verify_map(
            |(_, _, digits, _): (_, _, &str, _)| {
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)
            },
        ),
    ))
    .parse_next(input);
    escaped.map_err(|_| {
        let expected = r#"an escape: \", \', \\, \n, \r, \t or \u{...}"#;
        Fault::new(
            start.saturating_sub(1)..input.current_token_start(),
            expected,
        )
        .cut()
    })
}

/// A character that is no part of the language.
fn stray<'s>(input: &mut Input<'s>) -> ModalResult<Kind<'s>, Fault> {
    let (c, at) = any.with_span().parse_next(input)?;
    let suggestion = (c == '|').then(|| "||".to_owned());
    Err(
        Fault::new(at, "a condition, `and`, `or`, `not` or a parenthesis")
            .suggest(suggestion)
            .cut(),
    )
}
