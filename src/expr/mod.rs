//! The text form of filters, and back. docs/filter.md describes the language.
//!
//! ```
//! use ctfleet::expr;
//!
//! let filter = expr::parse("src 10.0.0.0/8 && dport 443 && !state TIME_WAIT")?;
//! assert_eq!(
//!     expr::print(&filter),
//!     "src 10.0.0.0/8 and dport 443 and not tcp-state TIME_WAIT"
//! );
//!
//! let error = expr::parse("dprt 443").unwrap_err();
//! assert_eq!((error.column(), error.suggestion()), (1, Some("dport")));
//! # Ok::<(), expr::ParseError>(())
//! ```

mod condition;
#[cfg(test)]
mod documented;
mod error;
mod grammar;
mod lex;
mod print;
#[cfg(test)]
mod tests;
mod value;
mod vocabulary;

pub use error::ParseError;

use error::Fault;

use crate::flow::Filter;
use crate::flow::filter::MAX_DEPTH;

/// The longest text that is read, in bytes.
pub const MAX_LENGTH: usize = 64 * 1024;

/// How many parentheses and `not`s may stand inside one another in a text. The filter that
/// it means is limited too, by [`MAX_DEPTH`].
pub const MAX_NESTING: usize = 64;

/// Reads an expression, as the normal form of the filter that it means.
pub fn parse(text: &str) -> Result<Filter, ParseError> {
    if text.len() > MAX_LENGTH {
        let expected = format!("a text of at most {MAX_LENGTH} bytes, not {}", text.len());
        return Err(ParseError::new(text, Fault::new(0..0, expected)));
    }
    if text.trim().is_empty() {
        let expected = "a condition such as `dport 443`, or `all`";
        return Err(ParseError::new(text, Fault::new(0..0, expected)));
    }
    let filter = grammar::filter(text).map_err(|fault| ParseError::new(text, fault))?;
    let filter = filter.normal();
    if filter.depth() > MAX_DEPTH {
        let expected = format!("at most {MAX_DEPTH} levels of conditions inside one another");
        return Err(ParseError::new(text, Fault::new(0..text.len(), expected)));
    }
    Ok(filter)
}

/// Writes a filter as an expression. [`parse`] reads the filter's normal form back, if it
/// nests no deeper than [`MAX_DEPTH`].
pub fn print(filter: &Filter) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = print::write(&mut text, &filter.clone().normal());
    text
}
