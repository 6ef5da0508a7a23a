//! Frames without end: headers that are never finished, and frames that carry nothing.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::bystander::{Beside, MIB};
use super::peer::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, PING, SETTINGS, WINDOW_UPDATE, blast, call, frame,
    greeted, rest, stream,
};
use super::plaintext;
use crate::harness::Netns;

/// The longest that any of these may last.
const LONGEST: Duration = Duration::from_secs(20);

/// Blasts these frames at an agent, while it is read what it answers.
async fn flood(row: &'static str, first: Vec<u8>, again: Vec<u8>) {
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &[]);
    let beside = Beside::plaintext(row, &mut agent, &ns).await;
    let mut longest = Duration::ZERO;
    while beside.goes_on() {
        let begun = beside.elapsed();
        let (mut read, mut write) = greeted(&agent, &ns).await.into_split();
        // What is answered is read and thrown away.
        let reading = tokio::spawn(async move { rest(&mut read).await.len() });
        let frames = std::iter::once(first.clone()).chain(std::iter::repeat(again.clone()));
        let sent = tokio::time::timeout(LONGEST, blast(&mut write, frames)).await;
        sent.expect("cut in time");
        reading.await.expect("frames");
        longest = longest.max(beside.elapsed() - begun);
    }
    println!("{row}: cut within {longest:.1?}");
    beside.finish(8 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_continuations_is_cut() {
    let begin = frame(HEADERS, 0, stream(0), &call("/x"));
    flood(
        "CONTINUATION flood",
        begin,
        frame(CONTINUATION, 0, stream(0), b""),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_large_continuations_is_cut() {
    let begin = frame(HEADERS, 0, stream(0), &call("/x"));
    // A header of 100 bytes, again and again.
    let mut header = vec![0x00, 1, b'x', 100];
    header.extend([b'y'; 100]);
    let again = frame(CONTINUATION, 0, stream(0), &header.repeat(100));
    flood("large CONTINUATION flood", begin, again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_is_cut() {
    flood("PING flood", Vec::new(), frame(PING, 0, 0, &[1; 8])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_settings_is_cut() {
    flood(
        "SETTINGS flood",
        Vec::new(),
        frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_windows_is_cut() {
    let window = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    flood("WINDOW_UPDATE flood", Vec::new(), window).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_nothing_is_cut() {
    let begin = frame(
        HEADERS,
        END_HEADERS,
        stream(0),
        &call("/ctfleet.v1.FlowService/CreateFlows"),
    );
    flood("empty DATA flood", begin, frame(DATA, 0, stream(0), b"")).await;
}

/// Those that do not read what they are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_that_reads_no_answers_is_cut() {
    for (row, again) in [
        ("PING flood, unread", frame(PING, 0, 0, &[1; 8])),
        ("SETTINGS flood, unread", frame(SETTINGS, 0, 0, &[])),
    ] {
        let ns = Netns::new();
        let mut agent = plaintext(&ns, &[]);
        let beside = Beside::plaintext(row, &mut agent, &ns).await;
        while beside.goes_on() {
            let mut peer = greeted(&agent, &ns).await;
            let flood = blast(&mut peer, std::iter::repeat(again.clone()));
            let cut = tokio::time::timeout(LONGEST, flood).await;
            cut.expect("cut in time");
        }
        beside.finish(8 * MIB).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_is_never_finished_is_not_waited_for() {
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &[]);
    let beside = Beside::plaintext("HEADERS never finished", &mut agent, &ns).await;
    let block = call("/ctfleet.v1.FlowService/GetStats");
    let whole = frame(HEADERS, END_HEADERS, stream(0), &block);
    let starts = [
        // The frame is here, the block is not.
        frame(HEADERS, 0, stream(0), &block),
        // Half a frame.
        whole[..whole.len() - 1].to_vec(),
        // A block that goes on, byte by byte, would take for ever.
        [
            frame(HEADERS, 0, stream(0), &block[..1]),
            frame(CONTINUATION, 0, stream(0), &block[1..2]),
        ]
        .concat(),
    ];
    let (agent, ns) = (&agent, &ns);
    let peers = starts.map(|start| async move {
        let mut peer = greeted(agent, ns).await;
        peer.write_all(&start).await.expect("sent");
        rest(&mut peer).await
    });
    let ended = tokio::time::timeout(LONGEST, futures::future::join_all(peers)).await;
    ended.expect("all closed in time");
    let took = beside.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    beside.finish(8 * MIB).await;
}
