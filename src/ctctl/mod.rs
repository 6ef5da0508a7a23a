//! The client of a fleet.

pub mod output;
