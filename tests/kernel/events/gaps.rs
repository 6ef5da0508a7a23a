//! Nothing is lost in silence: what was received and what was told to be lost add up.

use ctfleet::ctnetlink::{Group, Heard, ListenOptions, Listener, Received};
use ctfleet::events::{Config, Delivery, Gap, GapSource};

use super::*;

/// Reads until received and lost make `count`: the numbers of both, and the gaps.
fn account(watcher: &mut Watcher<'_>, count: u64) -> (u64, Vec<Gap>) {
    let mut received = 0;
    let mut gaps: Vec<Gap> = Vec::new();
    let mut expected = watcher.subscription.cursor().sequence + 1;
    while received + gaps.iter().map(|gap| gap.lost).sum::<u64>() < count {
        match watcher.next().expect("an open listener") {
            Delivery::Events(mut events) => {
                while let Some((sequence, _)) = events.take_next() {
                    assert_eq!(sequence, expected);
                    expected += 1;
                    received += 1;
                }
            }
            Delivery::Gap(gap) => {
                if gap.source == GapSource::Subscriber {
                    expected += gap.lost;
                }
                assert_eq!(gap.next_sequence, expected);
                gaps.push(gap);
            }
        }
    }
    watcher.nothing();
    (received, gaps)
}

#[test]
fn a_slow_watcher_learns_exactly_what_it_missed() {
    const CREATED: u32 = 5000;
    let watched = Watched::new(Config {
        ring_events: 1000,
        ..Config::default()
    });
    let mut slow = watched.watch([Group::FlowNew]);
    let mut quick = watched.watch([Group::FlowNew]);
    for start in (0..CREATED).step_by(100) {
        create(&watched.ns, start..start + 100);
        quick.events(100);
    }
    let (received, gaps) = account(&mut slow, CREATED.into());
    let [gap] = gaps[..] else { panic!("{gaps:?}") };
    assert_eq!(gap.source, GapSource::Subscriber);
    assert_eq!(gap.lost + received, u64::from(CREATED));
    // The ring keeps as much as it can of 1000 events, in batches of at most 128.
    assert!((872..=1000).contains(&received), "{received}");
}

#[test]
fn what_the_kernel_dropped_is_counted_exactly_for_every_watcher() {
    const CREATED: u32 = 20_000;
    let watched = Watched::new(Config {
        // The kernel's minimum: a few events.
        receive_buffer: 1,
        ..Config::default()
    });
    let mut one = watched.watch([Group::FlowNew]);
    let mut other = watched.watch([Group::FlowNew]);
    create(&watched.ns, 0..CREATED);
    let (received, gaps) = account(&mut one, CREATED.into());
    assert!(!gaps.is_empty() && received > 0, "{received}, {gaps:?}");
    for (same, too) in [account(&mut other, CREATED.into()), (received, gaps)] {
        assert_eq!(same, received);
        assert!(too.iter().all(|gap| gap.source == GapSource::Kernel));
    }
    // And it goes on.
    create(&watched.ns, CREATED..CREATED + 1);
    assert_eq!(one.events(1).len(), 1);
}

#[test]
fn a_watcher_that_keeps_up_misses_nothing_however_long() {
    const CREATED: u32 = 20_000;
    let watched = Watched::new(Config {
        ring_events: 500,
        ..Config::default()
    });
    let mut watcher = watched.watch([Group::FlowNew]);
    for start in (0..CREATED).step_by(100) {
        create(&watched.ns, start..start + 100);
        let events = watcher.events(100);
        assert_eq!(events[0].0, u64::from(start) + 1);
    }
}

/// Where the listener tells of a loss: behind all that the kernel had queued before it.
#[test]
fn a_loss_is_told_where_it_happened() {
    const CREATED: u32 = 2000;
    let ns = Netns::new();
    let options = ListenOptions { receive_buffer: 1 };
    let mut listener = Listener::open(&ns.namespace(), options).expect("a socket");
    listener.handle().join(Group::FlowNew).expect("joined");
    // Nobody reads meanwhile.
    create(&ns, 0..CREATED);
    let mut heard = Vec::new();
    let mut lost = None;
    while lost.is_none() {
        let received = listener.receive(&mut |next| match next {
            Heard::Event(Event::Flow(event)) => heard.push(event.flow.orig),
            Heard::Lost(count) => lost = Some(count),
            other => panic!("{other:?}"),
        });
        assert_eq!(received.expect("no error"), Received::Events);
    }
    assert!(!heard.is_empty());
    assert_eq!(lost, Some(u64::from(CREATED) - heard.len() as u64));
    let first: Vec<_> = (0..heard.len() as u32).map(|n| flow(n).orig).collect();
    assert_eq!(heard, first, "the first ones, and the others were lost");
}

/// Where the kernel drops again before the listener has seen its queue empty: what it counts
/// then came in part behind what is queued now. Whoever dumps the table at a gap would hear
/// events behind it that are older than the dump.
#[test]
fn a_second_loss_is_told_behind_what_was_queued_before_it() {
    const EACH: u32 = 500;
    let ns = Netns::new();
    let options = ListenOptions {
        receive_buffer: 16 * 1024,
    };
    let mut listener = Listener::open(&ns.namespace(), options).expect("a socket");
    listener.handle().join(Group::FlowNew).expect("joined");
    // The events, and each loss with the number of events that were heard before it.
    let (mut heard, mut losses) = (Vec::new(), Vec::new());
    // Gives how many were heard and lost up to now.
    let mut hear = || -> [u64; 2] {
        let received = listener.receive(&mut |next| match next {
            Heard::Event(Event::Flow(event)) => heard.push(event.flow.orig),
            Heard::Lost(count) => losses.push((heard.len(), count)),
            other => panic!("{other:?}"),
        });
        assert_eq!(received.expect("no error"), Received::Events);
        let lost = losses.iter().map(|(_, count)| count).sum();
        [heard.len() as u64, lost]
    };
    create(&ns, 0..EACH);
    // One call brings all that is queued, and ends before it finds that nothing else is.
    let [first, lost] = hear();
    assert!(first > 0 && lost == 0, "{first} heard, {lost} lost");
    create(&ns, EACH..2 * EACH);
    let [all, lost] = loop {
        let [all, lost] = hear();
        if all + lost >= u64::from(2 * EACH) {
            break [all, lost];
        }
    };
    assert_eq!(all + lost, u64::from(2 * EACH));
    assert!(all > first, "nothing of the second time was queued");
    let second = EACH..EACH + (all - first) as u32;
    let queued = (0..first as u32).chain(second);
    assert!(heard.iter().copied().eq(queued.map(|n| flow(n).orig)));
    let (before, _) = losses.last().expect("a loss");
    assert_eq!(*before, heard.len(), "events behind the last: {losses:?}");
}

#[test]
fn a_mark_comes_behind_what_was_queued_before_it() {
    let ns = Netns::new();
    let mut listener = Listener::open(&ns.namespace(), ListenOptions::default()).expect("a socket");
    let handle = listener.handle();
    handle.join(Group::FlowNew).expect("joined");
    create(&ns, 0..200);
    assert!(handle.mark().expect("sent"));
    create(&ns, 200..300);
    let mut heard = Vec::new();
    while heard.len() < 301 {
        let received = listener.receive(&mut |next| {
            heard.push(match next {
                Heard::Event(Event::Flow(event)) => Some(event.flow.orig),
                Heard::Mark => None,
                other => panic!("{other:?}"),
            });
        });
        assert_eq!(received.expect("no error"), Received::Events);
    }
    assert_eq!(heard.iter().position(Option::is_none), Some(200));
    let numbers = heard.into_iter().flatten();
    assert!(numbers.eq((0..300).map(|n| flow(n).orig)));
}

#[test]
fn a_full_queue_has_no_room_for_a_mark() {
    let ns = Netns::new();
    let options = ListenOptions { receive_buffer: 1 };
    let mut listener = Listener::open(&ns.namespace(), options).expect("a socket");
    let handle = listener.handle();
    handle.join(Group::FlowNew).expect("joined");
    create(&ns, 0..100);
    assert!(!handle.mark().expect("asked"));
    let mut lost = 0;
    while lost == 0 {
        let received = listener.receive(&mut |next| {
            if let Heard::Lost(count) = next {
                lost = count;
            }
        });
        assert_eq!(received.expect("no error"), Received::Events);
    }
    assert!(lost < 100, "the mark is not among them");
    assert!(handle.mark().expect("sent"));
}
