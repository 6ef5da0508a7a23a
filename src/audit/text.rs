//! Text that strangers chose, made fit for a log: bounded, and with nothing in it that a
//! terminal would obey.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// Stands at the end of a text that was cut.
pub(super) const MARK: &str = "...[cut]";

/// Cuts a text, so that it takes at most `max` bytes of a line.
pub(super) fn cut(text: &mut String, max: usize) {
    let mut taken = 0;
    // Where the text ends if it has to be cut.
    let mut end = 0;
    for (at, character) in text.char_indices() {
        taken += cost(character);
        if taken > max {
            text.truncate(end);
            text.push_str(MARK);
            return;
        }
        if taken <= max - MARK.len() {
            end = at + character.len_utf8();
        }
    }
}

/// The bytes that a character takes in JSON.
fn cost(character: char) -> usize {
    match character {
        '"' | '\\' => 2,
        c if unprintable(c) => 6 * c.len_utf16(),
        c if c.is_control() => 6,
        c => c.len_utf8(),
    }
}

/// What JSON allows raw and a terminal or an editor acts upon: DEL and the C1 controls (a
/// CSI among them), the separators that end a line for some, and what turns the direction.
fn unprintable(character: char) -> bool {
    matches!(
        character,
        '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// The JSON of a value on one line.
pub(super) fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(512);
    value.serialize(&mut Serializer::with_formatter(&mut line, Plain))?;
    Ok(line)
}

/// Escapes what serde_json leaves raw because JSON allows it.
struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(unprintable) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut characters = rest[at..].chars();
            if let Some(character) = characters.next() {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}
