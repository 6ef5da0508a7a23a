//! Turns proto/ into Rust with protox, so that no protoc has to be installed.

use std::path::PathBuf;

use prost::Message as _;

/// Messages that carry entries by the thousand: `crate::pb::bulk` has them encoded.
const BULK: [&str; 4] = [
    "DumpFlowsResponse",
    "CreateFlowsRequest",
    "WatchFlowsResponse",
    "WatchExpectationsResponse",
];
/// Tells a request that is no protobuf from an error of the agent's.
const CODEC: &str = "crate::pb::codec::Codec";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "proto/ctfleet/v1/flow_service.proto",
        "proto/ctfleet/v1/expectation_service.proto",
        "proto/ctfleet/v1/agent_service.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Server reflection serves exactly what the code was generated from.
    std::fs::write(out.join("ctfleet.v1.bin"), descriptors.encode_to_vec())?;
    let mut config = tonic_prost_build::Config::new();
    // The codec looks a request up by its name before it decodes it.
    config.enable_type_names();
    tonic_prost_build::configure()
        // Addresses and labels stay views into the received message.
        .bytes(".")
        .codec_path(CODEC)
        .build_server(false)
        .compile_fds_with_config(descriptors.clone(), config)?;

    // Once more the services alone, over the same messages but for the large ones.
    let bulk = out.join("bulk");
    std::fs::create_dir_all(&bulk)?;
    let mut services = tonic_prost_build::configure()
        .codec_path(CODEC)
        .out_dir(bulk)
        .extern_path(".ctfleet.v1", "crate::pb");
    for message in BULK {
        services = services.extern_path(
            format!(".ctfleet.v1.{message}"),
            format!("crate::pb::bulk::{message}"),
        );
    }
    services.compile_fds(descriptors)?;
    Ok(())
}
