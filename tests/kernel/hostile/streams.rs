//! Streams by the hundred thousand, and streams that are broken off.

use tokio::io::AsyncWriteExt as _;

use super::bystander::{Beside, MIB};
use super::peer::{
    ELSEWHERE, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, REFUSED_STREAM, RST_STREAM,
    WINDOW_UPDATE, blast, call, connect, frame, goaway, greeted, greeting, next, nth, rest, stream,
};
use super::plaintext;
use crate::harness::Netns;

const STATS: &str = "/ctfleet.v1.FlowService/GetStats";
const CANCEL: [u8; 4] = [0, 0, 0, 8];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_ends_with_goaway() {
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &[]);
    let beside = Beside::plaintext("rapid reset", &mut agent, &ns).await;
    let block = call(STATS);
    let mut most = 0;
    while beside.goes_on() {
        let (mut read, mut write) = greeted(&agent, &ns).await.into_split();
        let frames = tokio::spawn(async move { rest(&mut read).await });
        let attack = (0..200_000).map(|n| {
            let mut both = frame(HEADERS, END_HEADERS, stream(n), &block);
            both.extend(frame(RST_STREAM, 0, stream(n), &CANCEL));
            both
        });
        blast(&mut write, attack).await;
        let (streams, reason) = goaway(&frames.await.expect("frames"));
        assert_eq!(reason, ENHANCE_YOUR_CALM);
        most = most.max(streams);
    }
    assert!(most <= 100, "{most}");
    println!("rapid reset: GOAWAY within {most} streams");
    beside.finish(64 * MIB).await;
}

/// Each stream is worked on before it is broken off, so that h2 has nothing to count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_that_take_their_time_are_cut_as_well() {
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &[]);
    let beside = Beside::plaintext("resets one by one", &mut agent, &ns).await;
    let mut peer = greeted(&agent, &ns).await;
    peer.set_nodelay(true).expect("a socket");
    let block = call(STATS);
    let mut sent = 0;
    // The agent answers each PING behind the stream, which it has accepted then.
    'attack: while sent < 200_000 {
        let mut bytes = frame(HEADERS, END_HEADERS, stream(sent), &block);
        bytes.extend(frame(super::peer::PING, 0, 0, &[7; 8]));
        if peer.write_all(&bytes).await.is_err() {
            break;
        }
        loop {
            match next(&mut peer).await {
                Some(frame) if frame.kind == super::peer::PING => break,
                Some(_) => {}
                None => break 'attack,
            }
        }
        let reset = frame(RST_STREAM, 0, stream(sent), &CANCEL);
        if peer.write_all(&reset).await.is_err() {
            break;
        }
        sent += 1;
    }
    assert!((100..20_000).contains(&sent), "{sent}");
    beside.finish(64 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_that_the_agent_is_made_to_send_end_with_goaway() {
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &[]);
    let beside = Beside::plaintext("forced resets", &mut agent, &ns).await;
    let block = call(STATS);
    let mut most = 0;
    while beside.goes_on() {
        let mut peer = greeted(&agent, &ns).await;
        // A window beyond 2^31 is an error of the stream. Nothing is read meanwhile.
        let attack = (0..300_000).map(|n| {
            let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream(n), &block);
            both.extend(frame(
                WINDOW_UPDATE,
                0,
                stream(n),
                &[0x7f, 0xff, 0xff, 0xff],
            ));
            both
        });
        blast(&mut peer, attack).await;
        let (streams, reason) = goaway(&rest(&mut peer).await);
        assert_eq!(reason, ENHANCE_YOUR_CALM);
        most = most.max(streams);
    }
    assert!((1000..=1100).contains(&most), "{most}");
    println!("forced resets: GOAWAY within {most} streams");
    beside.finish(10 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_limit_streams_are_refused() {
    let ns = Netns::new();
    let mut agent = plaintext(&ns, &[]);
    let beside = Beside::plaintext("100,000 streams", &mut agent, &ns).await;
    let peer = connect(&agent, &ns, &[ELSEWHERE]).pop().expect("one");
    let (mut read, mut write) = peer.into_split();
    let frames = tokio::spawn(async move { rest(&mut read).await });
    // Without an end, so that each stays open.
    let block = call(STATS);
    let attack = (0..100_000).map(|n| frame(HEADERS, END_HEADERS, stream(n), &block));
    write.write_all(&greeting()).await.expect("sent");
    let sent = blast(&mut write, attack).await;
    let frames = frames.await.expect("frames");
    let (streams, reason) = goaway(&frames);
    assert_eq!(reason, ENHANCE_YOUR_CALM);
    // The first 200 are open, and of those behind them every one was refused, until
    // there were too many of them, too.
    let refused: Vec<_> = frames
        .iter()
        .filter(|frame| frame.kind == RST_STREAM)
        .map(|frame| (nth(frame.stream), frame.reason()))
        .collect();
    let expected: Vec<_> = (200..200 + refused.len() as u32)
        .map(|n| (n, REFUSED_STREAM))
        .collect();
    assert_eq!(refused, expected);
    assert!((1000..=1024).contains(&refused.len()), "{}", refused.len());
    assert!(streams <= 1300, "{streams} of {sent}");
    beside.finish(64 * MIB).await;
}
