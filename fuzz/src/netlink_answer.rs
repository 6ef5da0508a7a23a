//! What the kernel answers to short questions: statistics of both kinds, the table's size,
//! and errors with their texts.

use ctfleet::ctnetlink::{KernelError, decode};

pub(crate) fn run(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    match choice % 4 {
        0 => drop(decode::flow_stats(data).map_err(|error| error.to_string())),
        1 => drop(decode::expectation_stats(data).map_err(|error| error.to_string())),
        2 => drop(decode::table_size(data).map_err(|error| error.to_string())),
        // The flags say whether there is a text, and where.
        _ => {
            let flags = u16::from(choice / 4) << 8;
            if let Ok(Some(error)) = KernelError::parse(flags, data) {
                assert_ne!(error.errno, 0);
                assert!(!error.to_string().is_empty());
            }
        }
    }
}
