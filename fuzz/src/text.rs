//! Entries as text and back, for the targets that make some.

use ctfleet::ctctl::output::{Format, Formatter, Layout, Origin, formatter};
use ctfleet::ctctl::saved::{Entry, Reader, SavedError};
use ctfleet::flow::{Expectation, Flow, L4, Protocol};

/// What a format writes of an entry.
fn written(format: Format, write: impl FnOnce(&mut dyn Formatter, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut formatter = formatter(format, Layout::default());
    write(&mut *formatter, &mut out);
    formatter.end(&mut out);
    out
}

/// All entries of a text, or the first error.
fn read<T: Entry>(text: &[u8]) -> Result<Vec<T>, SavedError> {
    Reader::new(text)
        .map(|saved| saved.map(|saved| saved.entry))
        .collect()
}

/// Writes a flow in every format, and reads it from those that can be read.
pub(crate) fn flow(flow: &Flow) {
    for format in Format::ALL {
        let text = written(format, |f, out| f.flow(out, Origin::default(), flow));
        if matches!(format, Format::Save | Format::Jsonl) {
            let back = read::<Flow>(&text);
            let back = back.unwrap_or_else(|error| panic!("{error}: {}", text.escape_ascii()));
            assert_eq!(back, std::slice::from_ref(flow), "{}", text.escape_ascii());
        }
    }
}

/// The same of an expectation.
pub(crate) fn expectation(expectation: &Expectation) {
    // What a line says of an expectation always has ports, 0 if need be; one without them is
    // of a protocol that the kernel does not track, whose helpers it therefore has not.
    let tuple = &expectation.tuple;
    let has_ends = tuple.protocol.has_ports() || tuple.protocol == Protocol::GRE;
    let without = [tuple, &expectation.mask, &expectation.master]
        .iter()
        .any(|tuple| tuple.l4 == L4::None);
    if has_ends && without {
        return;
    }
    for format in Format::ALL {
        let text = written(format, |f, out| {
            f.expectation(out, Origin::default(), expectation);
        });
        if matches!(format, Format::Save | Format::Jsonl) {
            let back = read::<Expectation>(&text);
            let back = back.unwrap_or_else(|error| panic!("{error}: {}", text.escape_ascii()));
            assert_eq!(
                back,
                std::slice::from_ref(expectation),
                "{}",
                text.escape_ascii()
            );
        }
    }
}
