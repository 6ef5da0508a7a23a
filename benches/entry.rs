//! `cargo bench --bench entry`: what one entry costs on its way through the agent, in time
//! and in allocations (there must be none between the kernel and the filter).

use std::hint::black_box;

use ctfleet::ctnetlink::{CreateMode, decode, encode};
use ctfleet::expr;
use ctfleet::flow::{
    Filter, Flow, L4, ProtoInfo, Protocol, Status, TcpFlags, TcpInfo, TcpState, Tuple,
};
use ctfleet::pb;
use divan::{AllocProfiler, Bencher};
use prost::Message as _;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// An established TCP flow with accounting, the common case.
fn flow() -> Flow {
    let orig = Tuple {
        src: [10, 0, 0, 5].into(),
        dst: [192, 0, 2, 1].into(),
        protocol: Protocol::TCP,
        l4: L4::Ports {
            src: 40000,
            dst: 443,
        },
    };
    let mut flow = Flow::new(orig, orig.inverse());
    flow.status = Some(Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED);
    flow.timeout = Some(432_000);
    flow.mark = Some(3);
    let flags = Some(TcpFlags {
        flags: 0x23,
        mask: 0,
    });
    flow.protoinfo = Some(ProtoInfo::Tcp(TcpInfo {
        state: Some(TcpState(3)),
        window_scale_orig: Some(7),
        window_scale_reply: Some(7),
        flags_orig: flags,
        flags_reply: flags,
    }));
    flow
}

/// The flow as the kernel sends it, without the message's headers.
fn attributes() -> Vec<u8> {
    let mut buffer = Vec::new();
    encode::create_flow(&mut buffer, 1, &flow(), CreateMode::Create, false)
        .expect("a flow that can be written");
    // struct nlmsghdr, struct nfgenmsg.
    buffer.split_off(20)
}

#[divan::bench]
fn decode_netlink(bencher: Bencher<'_, '_>) {
    let bytes = attributes();
    bencher.bench_local(|| decode::flow(black_box(&bytes)).map(|flow| flow.mark));
}

#[divan::bench]
fn encode_netlink(bencher: Bencher<'_, '_>) {
    let flow = flow();
    let mut buffer = Vec::with_capacity(1024);
    bencher.bench_local(|| {
        buffer.clear();
        encode::create_flow(&mut buffer, 1, black_box(&flow), CreateMode::Create, false)
    });
}

#[divan::bench(args = [
    "mark 3",
    "dport 443 and src 10.0.0.0/29",
    "tcp and not state TIME_WAIT and (port 53 or addr 10.0.0.0/8) and not status SRC_NAT",
])]
fn evaluate_filter(bencher: Bencher<'_, '_>, text: &str) {
    let filter: Filter = expr::parse(text).expect("a filter");
    let flow = flow();
    bencher.bench_local(|| black_box(&filter).matches(black_box(&flow), 0));
}

#[divan::bench]
fn flow_to_protobuf_bytes(bencher: Bencher<'_, '_>) {
    let flow = flow();
    let mut buffer = Vec::with_capacity(1024);
    bencher.bench_local(|| {
        buffer.clear();
        pb::Flow::from(black_box(&flow)).encode(&mut buffer)
    });
}

#[divan::bench]
fn protobuf_bytes_to_flow(bencher: Bencher<'_, '_>) {
    let bytes = prost::bytes::Bytes::from(pb::Flow::from(&flow()).encode_to_vec());
    bencher.bench_local(|| {
        pb::Flow::decode(black_box(bytes.clone()))
            .ok()
            .and_then(|message| Flow::try_from(message).ok())
            .map(|flow| flow.mark)
    });
}
