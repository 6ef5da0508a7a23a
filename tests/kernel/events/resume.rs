//! A cursor continues a watch without a hole, or is refused.

use std::time::Duration;

use ctfleet::ctnetlink::Group;
use ctfleet::events::{Config, Cursor, Error};

use super::*;

fn refused(result: Result<Watcher<'_>, Error>) {
    match result {
        Err(Error::CursorTooOld) => {}
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("resumed"),
    }
}

#[test]
fn a_watch_continues_behind_the_last_event_that_the_client_has() {
    let watched = Watched::new(Config::default());
    let mut first = watched.watch(FLOWS);
    let begin = first.subscription.cursor();
    create(&watched.ns, 0..10);
    let seen = first.events(10);
    drop(first);
    // Nobody watches, and still nothing is missed.
    create(&watched.ns, 10..20);
    for (last, missing) in [(begin.sequence, 20), (seen[3].0, 16), (seen[9].0, 10)] {
        let cursor = Cursor {
            epoch: begin.epoch,
            sequence: last,
        };
        let mut again = watched.try_watch(FLOWS, Some(cursor)).expect("resumed");
        assert_eq!(again.subscription.cursor().sequence, last);
        let events = again.events(missing);
        assert_eq!(events[0].0, last + 1);
        again.nothing();
    }
}

#[test]
fn fewer_groups_resume_too_and_more_do_not() {
    let watched = Watched::new(Config::default());
    let two = watched.watch([Group::FlowNew, Group::FlowDestroy]);
    let cursor = two.subscription.cursor();
    create(&watched.ns, 0..3);
    watched.ns.conntrack("-D -p udp --sport 1");
    let mut one = watched
        .try_watch([Group::FlowDestroy], Some(cursor))
        .expect("resumed");
    assert_eq!(one.flows(1)[0].flow.orig.ports(), Some((1, 53)));
    refused(watched.try_watch(FLOWS, Some(cursor)));
    // Not even when another watcher has them by now: what was before was not heard.
    let _all = watched.watch(FLOWS);
    refused(watched.try_watch(FLOWS, Some(cursor)));
    assert!(watched.try_watch([Group::FlowNew], Some(cursor)).is_ok());
}

#[test]
fn a_group_that_was_left_meanwhile_is_refused() {
    let watched = Watched::new(Config {
        grace: Duration::ZERO,
        ..Config::default()
    });
    let _other = watched.watch([Group::FlowDestroy]);
    let first = watched.watch([Group::FlowNew]);
    let cursor = first.subscription.cursor();
    drop(first);
    watched.until_joined(Some(DESTROY));
    refused(watched.try_watch([Group::FlowNew], Some(cursor)));
    // Joined again, with no event in between: the sequence alone would not tell.
    let again = watched.watch([Group::FlowNew]);
    assert_eq!(again.subscription.cursor().sequence, cursor.sequence);
    refused(watched.try_watch([Group::FlowNew], Some(cursor)));
}

#[test]
fn what_the_ring_overwrote_is_refused() {
    let watched = Watched::new(Config {
        ring_events: 100,
        ..Config::default()
    });
    let mut first = watched.watch([Group::FlowNew]);
    let cursor = first.subscription.cursor();
    for start in 0..10 {
        create(&watched.ns, start * 50..start * 50 + 50);
        first.events(50);
    }
    refused(watched.try_watch([Group::FlowNew], Some(cursor)));
    let last = Cursor {
        sequence: cursor.sequence + 500,
        ..cursor
    };
    assert!(watched.try_watch([Group::FlowNew], Some(last)).is_ok());
    let future = Cursor {
        sequence: last.sequence + 1,
        ..last
    };
    refused(watched.try_watch([Group::FlowNew], Some(future)));
}

#[test]
fn a_cursor_of_another_listener_is_refused() {
    let watched = Watched::new(Config {
        grace: Duration::ZERO,
        ..Config::default()
    });
    let first = watched.watch([Group::FlowNew]);
    let cursor = first.subscription.cursor();
    drop(first);
    watched.until_joined(None);
    refused(watched.try_watch([Group::FlowNew], Some(cursor)));
    assert_eq!(watched.joined(), None, "a refusal opens nothing");
    let _second = watched.watch([Group::FlowNew]);
    refused(watched.try_watch([Group::FlowNew], Some(cursor)));
    let forged = Cursor {
        epoch: 0,
        sequence: 0,
    };
    refused(watched.try_watch([Group::FlowNew], Some(forged)));
}
