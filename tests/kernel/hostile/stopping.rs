//! An agent that is told to stop while a hundred calls are open, some of whose clients do not
//! read any more.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;

use super::peer::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, SETTINGS, WINDOW_UPDATE, call, frame, greeted,
    next, rest, stream,
};
use super::plaintext;
use super::watchers::many;
use crate::harness::Netns;

const DEADLINE: Duration = Duration::from_secs(3);

/// A call without anything in its message.
fn open(n: u32, path: &str) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_HEADERS, stream(n), &call(path));
    bytes.extend(frame(DATA, END_STREAM, stream(n), &[0; 5]));
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_calls_and_readers_that_stall_do_not_hold_it_up() {
    let ns = Netns::new();
    ns.create(&many(20_000));
    let mut agent = plaintext(&ns, &["--drain-timeout=3"]);
    // Who watches the health, and 91 watches of flows beside it: all are read.
    let mut live = greeted(&agent, &ns).await;
    let mut calls = open(0, "/grpc.health.v1.Health/Watch");
    for n in 1..92 {
        calls.extend(open(n, "/ctfleet.v1.FlowService/WatchFlows"));
    }
    live.write_all(&calls).await.expect("sent");
    // Each has told that it is there.
    let mut answered = std::collections::BTreeSet::new();
    while answered.len() < 92 {
        let frame = next(&mut live).await.expect("an answer");
        if frame.kind == DATA {
            answered.insert(frame.stream);
        }
    }
    // Eight dumps that nobody reads: the sockets are full, too.
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut peer = greeted(&agent, &ns).await;
        let window = [0x7f, 0, 0, 0];
        let mut bytes = frame(SETTINGS, 0, 0, &[&[0, 4][..], &window].concat());
        bytes.extend(frame(WINDOW_UPDATE, 0, 0, &window));
        bytes.extend(open(0, "/ctfleet.v1.FlowService/DumpFlows"));
        peer.write_all(&bytes).await.expect("sent");
        peer.readable().await.expect("an answer");
        stalled.push(peer);
    }

    let told = Instant::now();
    agent.terminate();
    let reading = tokio::spawn(async move { rest(&mut live).await });
    let status = agent.wait().await;
    let took = told.elapsed();
    assert!(status.success(), "{status}: {}", agent.said());
    assert!(took < DEADLINE + Duration::from_secs(2), "{took:?}");
    println!("SIGTERM with 100 live streams, 8 stalled: exit 0 after {took:.1?}");

    let frames = reading.await.expect("frames");
    assert!(
        frames
            .iter()
            .any(|frame| frame.kind == GOAWAY && frame.reason() == 0)
    );
    // health.v1: status = 2, behind the five bytes of gRPC.
    let mut health = frames
        .iter()
        .filter(|frame| frame.kind == DATA && frame.stream == stream(0));
    let last = health.next_back().expect("a status");
    assert_eq!(last.payload[5..], [0x08, 2], "NOT_SERVING");
    // All others were told, too: trailers end each.
    let ended = frames
        .iter()
        .filter(|frame| frame.kind == HEADERS && frame.flags & END_STREAM != 0)
        .count();
    assert_eq!(ended, 92);
}
