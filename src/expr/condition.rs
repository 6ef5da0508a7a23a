//! One condition: a word of its own, `has` and a part, or a field and the values it is
//! compared with.

use winnow::combinator::{opt, separated};
use winnow::prelude::*;
use winnow::stream::Stream;

use super::error::{Fault, similar};
use super::grammar::{Parsed, Tokens, end, token};
use super::lex::{Kind, Token};
use super::value::{self, Item};
use super::vocabulary::{self as words, Field, Names};
use crate::flow::Labels;
use crate::flow::filter::{
    Filter, NumberField, NumberRange, NumberType, Predicate, PresenceField, TextField,
};

/// A condition; what follows the caller has to look at.
pub(super) fn condition(input: &mut Tokens<'_, '_>) -> Parsed<Filter> {
    let what = "a condition such as `dport 443`";
    let first = next(input, what)?;
    match first.kind {
        Kind::Has => part(input),
        Kind::Word(word) => match words::field(word) {
            Some(field) => compared(input, word, field),
            None => words::condition(word).ok_or_else(|| {
                Fault::new(first.at.clone(), "a field or a condition")
                    .suggest(meant(word))
                    .cut()
            }),
        },
        _ => Err(Fault::new(first.at.clone(), what).cut()),
    }
}

/// What an unknown word at the beginning of a condition was probably meant to be.
fn meant(word: &str) -> Option<String> {
    if value::network(word).is_some() {
        return Some(format!("addr {word}"));
    }
    if let Some(part) = words::parts().find(|part| part.eq_ignore_ascii_case(word)) {
        return Some(format!("has {part}"));
    }
    for field in words::STATE_FIELDS {
        if words::value_of_name(field, word).is_some() {
            return Some(format!("state {word}"));
        }
    }
    if words::value_of_name(NumberField::Status, word).is_some() {
        return Some(format!("status {word}"));
    }
    similar(word, words::beginnings())
}

/// The part that `has` asks for.
fn part(input: &mut Tokens<'_, '_>) -> Parsed<Filter> {
    let expected = || {
        let parts: Vec<_> = words::parts().collect();
        format!("one of {}", parts.join(", "))
    };
    let token = next(input, expected())?;
    let word = match token.kind {
        Kind::Word(word) => word,
        _ => "",
    };
    match PresenceField::from_name(&word.to_ascii_lowercase()) {
        Some(part) => Ok(Filter::has(part)),
        None => Err(Fault::new(token.at.clone(), expected())
            .suggest(similar(word, words::parts()))
            .cut()),
    }
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    /// Nothing, or `=`: it is one of the values.
    Is,
    /// `in`, or a list in braces: the same, plainly about single values.
    In,
    /// `!=`: it is none of the values, or absent.
    IsNot,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

/// A condition on a field, from after its name.
fn compared(input: &mut Tokens<'_, '_>, name: &str, field: Field) -> Parsed<Filter> {
    let mask = match (opt(token(Kind::Mask)).parse_next(input)?, field) {
        (None, _) => None,
        (Some(_), Field::Number(field)) => Some(mask(input, field)?),
        (Some(token), _) => {
            let expected = format!("a value: `{name}` takes no mask so");
            return Err(Fault::new(token.at.clone(), expected).cut());
        }
    };
    let (operator, at) = operator(input);
    let is_order = matches!(
        operator,
        Operator::Less | Operator::AtMost | Operator::Greater | Operator::AtLeast
    );
    match field {
        Field::Number(field) if is_order => ordered(input, field, mask, operator),
        _ if is_order => {
            let expected = format!("`=`, `!=` or a value: `{name}` has no order");
            Err(Fault::new(at, expected).cut())
        }
        _ => {
            let (values, operator) = values(input, field, operator)?;
            let filter = equal(field, mask, &values, operator)?;
            Ok(match operator {
                Operator::IsNot => !filter,
                _ => filter,
            })
        }
    }
}

/// The mask after `&`.
fn mask(input: &mut Tokens<'_, '_>, field: NumberField) -> Parsed<u64> {
    let bits = field.number_type().bits();
    let expected = format!("a mask from 0x1 to {bits:#x}");
    let token = next(input, expected.as_str())?;
    match token.kind {
        Kind::Word(word) => value::unsigned(word).filter(|mask| *mask != 0 && mask & !bits == 0),
        _ => None,
    }
    .ok_or_else(|| Fault::new(token.at.clone(), expected).cut())
}

/// The operator, if there is one, and where.
fn operator(input: &mut Tokens<'_, '_>) -> (Operator, std::ops::Range<usize>) {
    let Some(token) = input.peek_token() else {
        return (Operator::Is, end(input));
    };
    let operator = match token.kind {
        Kind::Equal => Operator::Is,
        Kind::In => Operator::In,
        Kind::Unequal => Operator::IsNot,
        Kind::Less => Operator::Less,
        Kind::AtMost => Operator::AtMost,
        Kind::Greater => Operator::Greater,
        Kind::AtLeast => Operator::AtLeast,
        _ => return (Operator::Is, token.at.clone()),
    };
    input.next_token();
    (operator, token.at.clone())
}

/// A list of values, in braces or not; braces turn [`Operator::Is`] into [`Operator::In`].
fn values<'t, 's>(
    input: &mut Tokens<'t, 's>,
    field: Field,
    operator: Operator,
) -> Parsed<(Vec<&'t Token<'s>>, Operator)> {
    let open = opt(token(Kind::OpenSet)).parse_next(input)?;
    let values = separated(
        1..,
        |input: &mut Tokens<'t, 's>| {
            let expected = expected(field);
            let token = next(input, expected.as_str())?;
            match token.kind {
                Kind::Word(_) | Kind::Quoted(_) => Ok(token),
                _ => Err(Fault::new(token.at.clone(), expected).cut()),
            }
        },
        token(Kind::Comma),
    )
    .parse_next(input)?;
    if open.is_none() {
        return Ok((values, operator));
    }
    let close = next(input, "`,` or `}`")?;
    if close.kind != Kind::CloseSet {
        return Err(Fault::new(close.at.clone(), "`,` or `}`").cut());
    }
    let operator = match operator {
        Operator::Is => Operator::In,
        other => other,
    };
    Ok((values, operator))
}

/// What a value of the field looks like.
fn expected(field: Field) -> String {
    match field {
        Field::Address(_) => "an IPv4 or IPv6 address or network".to_owned(),
        Field::Number(field) => words::expected(field),
        Field::Text(_) => "a word, or a text in quotes".to_owned(),
        Field::Label => "the number of a label, from 0 to 127".to_owned(),
        Field::Labels => "labels as a number of 128 bits, or value/mask".to_owned(),
        Field::State => "the name of a TCP, SCTP or DCCP state".to_owned(),
    }
}

/// A fault at a value.
fn wrong(token: &Token<'_>, expected: impl Into<String>) -> winnow::error::ErrMode<Fault> {
    Fault::new(token.at.clone(), expected).cut()
}

/// The text of a token that is a word.
fn word<'s>(token: &Token<'s>) -> &'s str {
    match token.kind {
        Kind::Word(word) => word,
        _ => "",
    }
}

/// The condition that the field is one of the values.
fn equal(
    field: Field,
    mask: Option<u64>,
    values: &[&Token<'_>],
    operator: Operator,
) -> Parsed<Filter> {
    match field {
        Field::Address(address) => {
            let networks = values.iter().map(|token| {
                value::network(word(token)).ok_or_else(|| wrong(token, expected(field)))
            });
            Ok(Filter::address(
                address,
                networks.collect::<Parsed<Vec<_>>>()?,
            ))
        }
        Field::Number(number) if is_bit_name(number, values) => {
            let bits = bits(number, values, operator)?;
            let ranges = vec![i64::from(bits).into()];
            Ok(Filter::Is(Predicate::Number(
                number,
                Some(bits.into()),
                ranges,
            )))
        }
        Field::Number(number) => numbers(number, mask, values),
        Field::Text(text) => Ok(texts(text, values)),
        Field::Label => {
            refuse_set(values, operator)?;
            let labels = values.iter().map(|token| {
                let number = value::unsigned(word(token)).filter(|number| *number < 128);
                number
                    .and_then(|number| u8::try_from(number).ok())
                    .ok_or_else(|| wrong(token, expected(field)))
            });
            Ok(Filter::labels(words::labels(
                labels.collect::<Parsed<Vec<_>>>()?,
            )))
        }
        Field::Labels => {
            let conditions = values.iter().map(|token| {
                let (value, mask) =
                    value::labels(word(token)).ok_or_else(|| wrong(token, expected(field)))?;
                if mask == 0 || value & !mask != 0 {
                    return Err(wrong(token, "a mask with all bits of the value"));
                }
                let (value, mask) = (Labels(value), Labels(mask));
                Ok(Filter::Is(Predicate::Labels { value, mask }))
            });
            Ok(Filter::Or(conditions.collect::<Parsed<Vec<_>>>()?))
        }
        Field::State => states(values),
    }
}

/// One of the states, each of whichever protocol has one of that name.
fn states(values: &[&Token<'_>]) -> Parsed<Filter> {
    for token in values {
        if words::state([word(token)]).is_none() {
            let names = words::STATE_FIELDS.into_iter().flat_map(words::named);
            let suggestion = similar(word(token), names.map(|(_, name)| name));
            let fault = Fault::new(token.at.clone(), expected(Field::State));
            return Err(fault.suggest(suggestion).cut());
        }
    }
    let names = values.iter().map(|token| word(token));
    Ok(words::state(names).unwrap_or_else(Filter::nothing))
}

/// The text is one of the values.
fn texts(field: TextField, values: &[&Token<'_>]) -> Filter {
    let values = values.iter().filter_map(|token| match &token.kind {
        Kind::Word(word) => Some(*word),
        Kind::Quoted(text) => Some(text.as_str()),
        _ => None,
    });
    Filter::text(field, values)
}

/// Whether the first value is the name of a bit: then all are.
fn is_bit_name(field: NumberField, values: &[&Token<'_>]) -> bool {
    words::names(field) == Names::Bits
        && values
            .first()
            .is_some_and(|token| word(token).starts_with(|c: char| !c.is_ascii_digit()))
}

/// The bits of these names together.
fn bits(field: NumberField, values: &[&Token<'_>], operator: Operator) -> Parsed<u32> {
    refuse_set(values, operator)?;
    let mut bits = 0;
    for token in values {
        let bit = words::value_of_name(field, word(token)).and_then(|bit| u32::try_from(bit).ok());
        bits |= bit.ok_or_else(|| {
            let names = words::named(field).into_iter().map(|(_, name)| name);
            Fault::new(token.at.clone(), expected(Field::Number(field)))
                .suggest(similar(word(token), names))
                .cut()
        })?;
    }
    Ok(bits)
}

/// In a list of bits all must be set, which braces and `in` do not look like.
fn refuse_set(values: &[&Token<'_>], operator: Operator) -> Parsed<()> {
    match values {
        [_, second, ..] if operator == Operator::In => Err(wrong(
            second,
            "one alone: without `in` and braces a list asks for all, `or` for one",
        )),
        _ => Ok(()),
    }
}

/// The number is one of the values.
fn numbers(field: NumberField, mask: Option<u64>, values: &[&Token<'_>]) -> Parsed<Filter> {
    let mut plain = Vec::new();
    let mut conditions = Vec::new();
    for token in values {
        match number_item(field, token)? {
            Item::Range(min, max) => {
                let (min, max) = (
                    bounded(field, mask, min, token)?,
                    bounded(field, mask, max, token)?,
                );
                if min > max {
                    return Err(wrong(token, "the smaller number first"));
                }
                plain.push(NumberRange { min, max });
            }
            Item::Masked(_, _) if mask.is_some() => {
                return Err(wrong(token, "a number or a range after a mask"));
            }
            Item::Masked(value, mask) => {
                let bits = field.number_type().bits();
                if mask == 0 || mask & !bits != 0 || value & !mask != 0 {
                    let expected =
                        format!("a mask from 0x1 to {bits:#x} with all bits of the value");
                    return Err(wrong(token, expected));
                }
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                conditions.push(Filter::Is(Predicate::Number(
                    field,
                    Some(mask),
                    vec![value.into()],
                )));
            }
        }
    }
    if !plain.is_empty() {
        conditions.insert(0, Filter::Is(Predicate::Number(field, mask, plain)));
    }
    Ok(Filter::Or(conditions))
}

/// The number is on one side of a value.
fn ordered(
    input: &mut Tokens<'_, '_>,
    field: NumberField,
    mask: Option<u64>,
    operator: Operator,
) -> Parsed<Filter> {
    let token = next(input, words::expected(field))?;
    let value = match number_item(field, token)? {
        Item::Range(min, max) if min == max => bounded(field, mask, min, token)?,
        _ => return Err(wrong(token, "a single number after a comparison")),
    };
    // Beyond the largest and the smallest number there is nothing.
    let range = match operator {
        Operator::Less => value.checked_sub(1).map(|max| i64::MIN..=max),
        Operator::AtMost => Some(i64::MIN..=value),
        Operator::Greater => value.checked_add(1).map(|min| min..=i64::MAX),
        _ => Some(value..=i64::MAX),
    };
    let ranges = range.into_iter().map(Into::into).collect();
    Ok(Filter::Is(Predicate::Number(field, mask, ranges)))
}

/// The value of a token: a name, a number, a range or value/mask.
fn number_item(field: NumberField, token: &Token<'_>) -> Parsed<Item> {
    let word = word(token);
    if words::names(field) == Names::Values
        && let Some(value) = words::value_of_name(field, word)
    {
        return Ok(Item::Range(value.into(), value.into()));
    }
    value::item(word, words::unit(field)).ok_or_else(|| {
        let names = words::named(field).into_iter().map(|(_, name)| name);
        Fault::new(token.at.clone(), words::expected(field))
            .suggest(similar(word, names))
            .cut()
    })
}

/// A number that the field, after the mask, can have.
fn bounded(field: NumberField, mask: Option<u64>, number: i128, token: &Token<'_>) -> Parsed<i64> {
    let mut possible = field.number_type().range();
    if field.number_type() == NumberType::I32 && mask.is_some() {
        possible = NumberType::U64.range();
    }
    i64::try_from(number)
        .ok()
        .filter(|number| (possible.min..=possible.max).contains(number))
        .ok_or_else(|| wrong(token, words::expected(field)))
}

/// The next token.
fn next<'t, 's>(input: &mut Tokens<'t, 's>, expected: impl Into<String>) -> Parsed<&'t Token<'s>> {
    match input.next_token() {
        Some(token) => Ok(token),
        None => Err(Fault::new(end(input), expected).cut()),
    }
}
