//! Files of entries, in lines of conntrack(8)'s options and in JSON lines. What can be read
//! is written so that it reads the same.

use ctfleet::ctctl::saved::Reader;
use ctfleet::flow::{Expectation, Flow};

use super::text;

pub(crate) fn run(data: &[u8]) {
    for flow in Reader::<_, Flow>::new(data) {
        match flow {
            Ok(saved) => text::flow(&saved.entry),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    for expectation in Reader::<_, Expectation>::new(data) {
        match expectation {
            Ok(saved) => text::expectation(&saved.entry),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
