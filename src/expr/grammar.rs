//! Tokens to a tree: `or` binds weaker than `and`, `and` weaker than `not`.

use winnow::combinator::separated;
use winnow::stream::{Stream, TokenSlice};
use winnow::token::one_of;
use winnow::{ModalResult, Parser};

use super::condition::condition;
use super::error::Fault;
use super::lex::{Kind, Token};
use super::{MAX_NESTING, lex};
use crate::flow::Filter;

pub(super) type Tokens<'t, 's> = TokenSlice<'t, Token<'s>>;
pub(super) type Parsed<T> = ModalResult<T, Fault>;

/// The filter of a text, as it is written.
pub(super) fn filter(text: &str) -> Result<Filter, Fault> {
    let tokens = lex::tokens(text)?;
    let mut input = TokenSlice::new(&tokens);
    let filter = disjunction(&mut input, 0).map_err(|error| {
        error
            .into_inner()
            .unwrap_or_else(|_| Fault::new(text.len()..text.len(), "more"))
    })?;
    match input.peek_token() {
        None => Ok(filter),
        Some(token) => Err(Fault::new(token.at.clone(), "`and`, `or` or the end")),
    }
}

/// The token of a kind.
pub(super) fn token<'t, 's: 't>(
    kind: Kind<'static>,
) -> impl Parser<Tokens<'t, 's>, &'t Token<'s>, winnow::error::ErrMode<Fault>> {
    one_of(move |token: &'t Token<'s>| token.kind == kind)
}

fn disjunction(input: &mut Tokens<'_, '_>, depth: usize) -> Parsed<Filter> {
    separated(
        1..,
        |input: &mut _| conjunction(input, depth),
        token(Kind::Or),
    )
    .map(Filter::Or)
    .parse_next(input)
}

fn conjunction(input: &mut Tokens<'_, '_>, depth: usize) -> Parsed<Filter> {
    separated(
        1..,
        |input: &mut _| negation(input, depth),
        token(Kind::And),
    )
    .map(Filter::And)
    .parse_next(input)
}

fn negation(input: &mut Tokens<'_, '_>, depth: usize) -> Parsed<Filter> {
    let Some(first) = input.peek_token() else {
        return condition(input);
    };
    if !matches!(first.kind, Kind::Not | Kind::Open) {
        return condition(input);
    }
    if depth == MAX_NESTING {
        let expected = format!("at most {MAX_NESTING} levels of parentheses and `not`");
        return Err(Fault::new(first.at.clone(), expected).cut());
    }
    input.next_token();
    if first.kind == Kind::Not {
        return Ok(!negation(input, depth + 1)?);
    }
    let inside = disjunction(input, depth + 1)?;
    match input.next_token() {
        Some(token) if token.kind == Kind::Close => Ok(inside),
        Some(token) => Err(Fault::new(token.at.clone(), "`and`, `or` or `)`").cut()),
        None => Err(Fault::new(end(input), "`)`").cut()),
    }
}

/// The end of the text, just after its last token.
pub(super) fn end(input: &Tokens<'_, '_>) -> std::ops::Range<usize> {
    let end = input
        .previous_tokens()
        .next()
        .map_or(0, |token| token.at.end);
    end..end
}
