//! `cargo bench --bench entry`: what one entry costs on its way through the agent, in time
//! and in allocations (there must be none between the kernel and the filter).

use std::hint::black_box;

use ctfleet::ctctl::output::{Format, Layout, Origin, formatter};
use ctfleet::ctctl::saved::Reader;
use ctfleet::ctnetlink::{CreateMode, decode, encode};
use ctfleet::expr;
use ctfleet::flow::{
    Filter, Flow, L4, ProtoInfo, Protocol, Status, TcpFlags, TcpInfo, TcpState, Tuple,
};
use ctfleet::pb;
use ctfleet::wire::bulk::{Run, read_flow};
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

/// Flows of a run, so that its own allocation does not count.
const RUN: usize = 1000;

#[divan::bench]
fn write_1000_flows_as_protobuf(bencher: Bencher<'_, '_>) {
    let flow = flow();
    bencher.bench_local(|| {
        let mut run = Run::with_capacity(200 * RUN);
        for _ in 0..RUN {
            run.push_flow(black_box(&flow));
        }
        run
    });
}

#[divan::bench]
fn read_1000_flows_of_protobuf(bencher: Bencher<'_, '_>) {
    let bytes = pb::Flow::from(&flow()).encode_to_vec();
    bencher.bench_local(|| {
        for _ in 0..RUN {
            black_box(read_flow(black_box(&bytes)).is_ok());
        }
    });
}

/// By way of the generated type, for comparison.
#[divan::bench]
fn generated_flow_to_protobuf(bencher: Bencher<'_, '_>) {
    let flow = flow();
    let mut buffer = Vec::with_capacity(1024);
    bencher.bench_local(|| {
        buffer.clear();
        pb::Flow::from(black_box(&flow)).encode(&mut buffer)
    });
}

/// By way of the generated type, for comparison.
#[divan::bench]
fn generated_protobuf_to_flow(bencher: Bencher<'_, '_>) {
    let bytes = prost::bytes::Bytes::from(pb::Flow::from(&flow()).encode_to_vec());
    bencher.bench_local(|| {
        pb::Flow::decode(black_box(bytes.clone()))
            .ok()
            .and_then(|message| Flow::try_from(message).ok())
            .map(|flow| flow.mark)
    });
}

/// What `ctctl` does for each flow that it lists.
#[divan::bench(args = [Format::Conntrack, Format::Jsonl, Format::Save])]
fn format_1000_flows(bencher: Bencher<'_, '_>, format: Format) {
    let flow = flow();
    let mut formatter = formatter(format, Layout::default());
    let mut out = Vec::with_capacity(1000 * RUN);
    bencher.bench_local(|| {
        out.clear();
        for _ in 0..RUN {
            formatter.flow(&mut out, Origin::default(), black_box(&flow));
        }
        out.len()
    });
}

/// What `ctctl` does for each flow that it restores.
#[divan::bench(args = [Format::Save, Format::Jsonl])]
fn read_1000_saved_flows(bencher: Bencher<'_, '_>, format: Format) {
    let flow = flow();
    let mut formatter = formatter(format, Layout::default());
    let mut saved = Vec::new();
    for _ in 0..RUN {
        formatter.flow(&mut saved, Origin::default(), &flow);
    }
    bencher.bench_local(|| {
        let flows = Reader::<_, Flow>::new(black_box(&saved[..]));
        assert_eq!(flows.filter(Result::is_ok).count(), RUN);
    });
}
