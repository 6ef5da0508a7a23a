//! Entries by the thousand: straight between the domain's types and a message's bytes. The
//! generated types stay the contract; tests hold both equal, byte for byte.
//!
//! [`Run`] writes, the `read_` functions read. A reader takes the long way through the generated
//! type for whatever is out of the ordinary, so that it accepts the same entries and refuses
//! others in the same words.

mod input;
mod messages;
mod output;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use messages::{
    CreateMessage, DumpMessage, Entries, WatchMessage, read_create, read_dump, read_watch,
};
pub use read::{read_flow, read_flow_event, read_writable_flow};
pub use write::Run;
