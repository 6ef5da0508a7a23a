//! What a client sends, as the agent looks at its HTTP/2 frames: the same in one piece and in
//! many, and the same as a reader that has the whole before it.

use ctfleet::agent::Frames;

const PREFACE: usize = 24;
const HEADER: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// The first byte says in how large pieces the others come.
pub(crate) fn run(data: &[u8]) {
    let Some((size, data)) = data.split_first() else {
        return;
    };
    let mut whole = Frames::default();
    let mut pieces = Frames::default();
    let flooded = whole.read(data).is_err();
    let piece_flooded = data
        .chunks(usize::from(*size).max(1))
        .any(|piece| pieces.read(piece).is_err());
    // The clock decides, and it runs.
    if flooded || piece_flooded {
        return;
    }
    for frames in [&whole, &pieces] {
        let expected = look(data.get(PREFACE..).unwrap_or_default());
        let greeted = data.len() > PREFACE && expected.greeted;
        assert_eq!(frames.is_greeted(), greeted);
        assert_eq!(frames.is_in_block(), expected.in_block);
        assert_eq!(
            frames.is_between(),
            greeted && expected.between && !expected.in_block
        );
    }
}

struct Seen {
    greeted: bool,
    in_block: bool,
    between: bool,
}

/// The frames behind the preface.
fn look(mut rest: &[u8]) -> Seen {
    let mut seen = Seen {
        greeted: false,
        in_block: false,
        between: true,
    };
    while let Some((&[high, middle, low, kind, flags, ..], payload)) =
        rest.split_first_chunk::<HEADER>()
    {
        let is_block = matches!(kind, HEADERS | CONTINUATION);
        seen.in_block |= is_block;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let Some(behind) = payload.get(length..) else {
            seen.between = false;
            return seen;
        };
        seen.in_block &= !(is_block && flags & END_HEADERS != 0);
        seen.greeted = true;
        rest = behind;
    }
    seen.between = rest.is_empty();
    seen
}
