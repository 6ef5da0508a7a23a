//! What a name in a certificate may be, for whoever issues one, and for whoever reads it.

/// Most bytes of a name: that of a SPIFFE id.
pub const MAX_NAME: usize = 2048;

/// A name that makes a certificate nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnfitName {
    /// It has characters that could pass for something else in a log.
    Odd,
    /// It is longer than [`MAX_NAME`].
    Long,
}

/// Whether a name may stand in a certificate.
pub fn check_name(name: &str) -> Result<(), UnfitName> {
    if name.chars().any(spoils) {
        Err(UnfitName::Odd)
    } else if name.len() > MAX_NAME {
        Err(UnfitName::Long)
    } else {
        Ok(())
    }
}

/// Control characters, what ends a line for some, and what turns the direction of all that
/// follows. The marks of direction (U+200E, U+200F) stand in names of some languages.
fn spoils(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
