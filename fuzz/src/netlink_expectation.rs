//! The attributes of an expectation, as the kernel sends them. Whatever is decoded passes the
//! wire, every text format, and the way back to the kernel.

use ctfleet::ctnetlink::{CreateMode, decode, encode};
use ctfleet::flow::Expectation;
use ctfleet::pb;

use super::text;

pub(crate) fn run(data: &[u8]) {
    let expectation = match decode::expectation(data) {
        Ok(expectation) => expectation,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let message = pb::Expectation::from(&expectation);
    assert_eq!(Expectation::try_from(message).as_ref(), Ok(&expectation));
    text::expectation(&expectation);

    let mut request = Vec::new();
    let mode = CreateMode::Create;
    if encode::create_expectation(&mut request, 1, &expectation, mode, true).is_err() {
        assert!(request.is_empty(), "what is refused leaves nothing behind");
        return;
    }
    let message = decode::messages(&request).next().expect("a message");
    let (_, attributes) = message.expect("whole").netfilter().expect("a header");
    let back = decode::expectation(attributes).expect("of our own");
    // The kernel gives the ids.
    let expected = Expectation {
        id: None,
        ..expectation
    };
    assert_eq!(back, expected);
}
