//! Where protobuf meets the domain: messages become flow types once, by `TryFrom` with an
//! error that names the field, and flow types become messages by `From`.
//!
//! What comes from a kernel always passes both ways, so that a client can read whatever an
//! agent sends. What is to be written into a kernel is held to more: see [`writable_flow`].

pub mod bulk;
mod enums;
mod error;
mod event;
mod expectation;
mod filter;
mod flow;
mod key;
mod protoinfo;
mod stats;
mod tuple;

#[cfg(test)]
mod tests;

pub use error::{At, FieldError};
pub use event::{expectation_event, flow_event};
pub use filter::{MAX_FILTER_DEPTH, MAX_FILTER_NODES, MAX_FILTER_VALUES};
pub use flow::writable_flow;
pub use protoinfo::protoinfo_fits;

use enums::known;
use error::{required, to_u8, to_u16};
