//! The client of a fleet: arguments, targets, connections, the fan-out, one verb a file, and
//! the output formats.

pub mod connect;
pub mod fleet;
pub mod output;
pub mod saved;
