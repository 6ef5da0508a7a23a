//! The table is full in the middle of a bulk creation.

use tonic::Code;

use super::{create, flow};
use crate::harness::Netns;
use crate::harness::agent::Agent;

/// Items of the call, and how many of them there is room for.
const ITEMS: u32 = 300;
const ROOM: u32 = 120;

/// `nf_conntrack_max` is one number for the host, which nobody changes here: the entries of
/// each namespace are counted for themselves, and so one of them is filled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_table_is_told_item_by_item() {
    let ns = Netns::new();
    let max: u32 = ns
        .sysctl("net/netfilter/nf_conntrack_max")
        .parse()
        .expect("a number");
    assert!(
        max > ROOM,
        "a table of {max} entries is too small for a test"
    );
    // Some of the items are there already: they are told apart from those without room.
    let items: Vec<_> = (0..ITEMS).map(flow).collect();
    let there = |n: u32| n % 10 == 3;
    let mut fill: Vec<_> = (0..ITEMS).filter(|n| there(*n)).map(flow).collect();
    let others = max - ROOM - fill.len() as u32;
    fill.extend((0..others).map(|n| flow(ITEMS + n)));
    ns.create(&fill);
    assert_eq!(ns.entries(), u64::from(max - ROOM));

    let agent = Agent::start(&ns);
    let mut expected = Vec::new();
    let mut room = ROOM;
    for n in 0..ITEMS {
        if there(n) {
            expected.push((u64::from(n), Code::AlreadyExists, libc::EEXIST));
        } else if room > 0 {
            room -= 1;
        } else {
            expected.push((u64::from(n), Code::ResourceExhausted, libc::ENOMEM));
        }
    }
    assert_eq!(create(&agent, &items).await, expected);
    assert_eq!(ns.entries(), u64::from(max));

    // What was told is so: the others can be created as soon as there is room.
    let without_room: Vec<_> = expected
        .iter()
        .filter(|(_, code, _)| *code == Code::ResourceExhausted)
        .map(|(index, ..)| items[*index as usize].clone())
        .collect();
    ns.conntrack(&format!("-D -s {}", fill[fill.len() - 1].orig.src));
    let failures = create(&agent, &without_room).await;
    assert_eq!(failures.len(), without_room.len() - 1);
    assert_eq!(
        failures[0].0, 1,
        "the first has the room of the one deleted"
    );
    assert_eq!(ns.entries(), u64::from(max));
}
