//! The generated code of `proto/ctfleet/v1`, and the codec that it uses, nothing else.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

pub mod codec;
pub mod preflight;

pub use codec::Encoded;

tonic::include_proto!("ctfleet.v1");

/// The services as `ctagent` and `ctctl` run them: the messages that carry entries by the
/// thousand stay [`Encoded`]. On the wire there is no difference.
pub mod bulk {
    use super::Encoded;

    pub type DumpFlowsResponse = Encoded<super::DumpFlowsResponse>;
    pub type CreateFlowsRequest = Encoded<super::CreateFlowsRequest>;
    pub type WatchFlowsResponse = Encoded<super::WatchFlowsResponse>;
    pub type WatchExpectationsResponse = Encoded<super::WatchExpectationsResponse>;

    include!(concat!(env!("OUT_DIR"), "/bulk/ctfleet.v1.rs"));
}

/// The descriptors that the code was generated from, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ctfleet.v1.bin"));
