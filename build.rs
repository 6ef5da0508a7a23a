//! Turns proto/ into Rust with protox, so that no protoc has to be installed.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "proto/ctfleet/v1/flow_service.proto",
        "proto/ctfleet/v1/expectation_service.proto",
        "proto/ctfleet/v1/agent_service.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    // Server reflection serves exactly what the code was generated from.
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("ctfleet.v1.bin");
    std::fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Addresses and labels stay views into the received message.
        .bytes(".")
        // Tells a request that is no protobuf from an error of the agent's.
        .codec_path("crate::pb::codec::Codec")
        // A flow is far larger than the other variants, and is the common one.
        .compile_fds(descriptors)?;
    Ok(())
}
