//! The generated code of `proto/ctfleet/v1`, and the codec that it uses, nothing else.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

pub mod codec;

tonic::include_proto!("ctfleet.v1");

/// The descriptors that the code was generated from, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ctfleet.v1.bin"));
