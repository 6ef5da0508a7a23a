//! Groups are joined while somebody watches them, and only those; /proc/net/netlink is the
//! witness.

use std::time::Duration;

use ctfleet::ctnetlink::Group;
use ctfleet::events::{Config, Error};

use super::*;

/// Groups are left at once.
fn without_grace() -> Config {
    Config {
        grace: Duration::ZERO,
        ..Config::default()
    }
}

#[test]
fn the_union_of_what_is_watched_is_joined_and_nothing_more() {
    let watched = Watched::new(without_grace());
    assert_eq!(watched.joined(), None, "nobody watches: no socket");
    let new = watched.watch([Group::FlowNew]);
    assert_eq!(watched.joined(), Some(NEW));
    let both = watched.watch([Group::FlowNew, Group::FlowDestroy]);
    assert_eq!(watched.joined(), Some(NEW | DESTROY));
    let expectations = watched.watch([Group::ExpectationNew, Group::ExpectationDestroy]);
    assert_eq!(
        watched.joined(),
        Some(NEW | DESTROY | EXPECT_NEW | EXPECT_DESTROY)
    );
    drop(both);
    watched.until_joined(Some(NEW | EXPECT_NEW | EXPECT_DESTROY));
    let update = watched.watch([Group::FlowUpdate]);
    assert_eq!(
        watched.joined(),
        Some(NEW | UPDATE | EXPECT_NEW | EXPECT_DESTROY)
    );
    drop(expectations);
    watched.until_joined(Some(NEW | UPDATE));
    drop(new);
    watched.until_joined(Some(UPDATE));
    drop(update);
    watched.until_joined(None);
}

#[test]
fn leaving_one_group_does_not_silence_the_others() {
    let watched = Watched::new(without_grace());
    let mut new = watched.watch([Group::FlowNew]);
    drop(watched.watch([Group::FlowUpdate, Group::FlowDestroy]));
    watched.until_joined(Some(NEW));
    create(&watched.ns, 0..3);
    assert_eq!(new.flows(3).len(), 3);
}

#[test]
fn groups_outlive_their_watcher_by_the_grace() {
    let watched = Watched::new(Config {
        grace: Duration::from_secs(3600),
        ..Config::default()
    });
    drop(watched.watch([Group::FlowNew]));
    let update = watched.watch([Group::FlowUpdate]);
    assert_eq!(watched.joined(), Some(NEW | UPDATE));
    drop(update);
    assert_eq!(watched.joined(), Some(NEW | UPDATE));
}

#[test]
fn the_listener_closes_after_the_grace_and_opens_again() {
    let watched = Watched::new(Config {
        grace: Duration::from_millis(300),
        ..Config::default()
    });
    let first = watched.watch([Group::FlowNew]);
    let epoch = first.subscription.cursor().epoch;
    drop(first);
    assert_eq!(watched.joined(), Some(NEW), "the grace");
    watched.until_joined(None);
    let mut again = watched.watch([Group::FlowNew]);
    assert_ne!(again.subscription.cursor().epoch, epoch);
    create(&watched.ns, 0..1);
    assert_eq!(again.flows(1)[0].kind, EventType::New);
}

#[test]
fn each_watcher_gets_its_own_groups() {
    let watched = Watched::new(Config::default());
    let mut new = watched.watch([Group::FlowNew]);
    let mut destroy = watched.watch([Group::FlowDestroy]);
    let mut all = watched.watch(FLOWS);
    create(&watched.ns, 0..2);
    set_mark(&watched.ns, &flow(1), 7);
    watched.ns.conntrack("-D -p udp --sport 0");
    let kinds = |events: Vec<FlowEvent>| -> Vec<_> {
        events
            .iter()
            .map(|event| (event.kind, event.flow.orig.ports()))
            .collect()
    };
    let (first, second) = (Some((0, 53)), Some((1, 53)));
    assert_eq!(
        kinds(all.flows(4)),
        [
            (EventType::New, first),
            (EventType::New, second),
            (EventType::Update, second),
            (EventType::Destroy, first)
        ]
    );
    assert_eq!(
        kinds(new.flows(2)),
        [(EventType::New, first), (EventType::New, second)]
    );
    assert_eq!(kinds(destroy.flows(1)), [(EventType::Destroy, first)]);
    new.nothing();
    destroy.nothing();
}

#[test]
fn watchers_are_limited() {
    let watched = Watched::new(Config {
        max_watchers: 2,
        ..Config::default()
    });
    let one = watched.watch([Group::FlowNew]);
    let _two = watched.watch([Group::FlowNew]);
    let third = watched.try_watch([Group::FlowNew], None);
    assert!(matches!(third, Err(Error::TooManyWatchers { max: 2 })));
    drop(one);
    watched.watch([Group::FlowNew]);
}

#[test]
fn a_namespace_without_events_is_refused_and_an_always_on_one_is_complete() {
    let watched = Watched::new(Config::default());
    let mode = "net/netfilter/nf_conntrack_events";
    watched.ns.set_sysctl(mode, "0");
    let refused = watched.try_watch([Group::FlowNew], None);
    let error = refused.err().expect("a refusal");
    assert!(matches!(error, Error::Disabled { .. }));
    assert!(error.to_string().contains("nf_conntrack_events to 2"));
    assert_eq!(watched.joined(), None);
    for (value, complete) in [("1", true), ("2", false)] {
        watched.ns.set_sysctl(mode, value);
        let watcher = watched.watch([Group::FlowNew]);
        assert_eq!(watcher.subscription.destroy_events_complete(), complete);
    }
}

/// What `destroy_events_complete` says (nf_ct_ecache_ext_add of
/// net/netfilter/nf_conntrack_ecache.c).
#[test]
fn entries_older_than_the_listener_end_with_an_event_when_events_are_always_on() {
    let watched = Watched::new(Config::default());
    watched
        .ns
        .set_sysctl("net/netfilter/nf_conntrack_events", "1");
    create(&watched.ns, 0..1);
    let mut destroy = watched.watch([Group::FlowDestroy]);
    watched.ns.conntrack("-D -p udp --sport 0");
    assert_eq!(destroy.flows(1)[0].flow.orig.ports(), Some((0, 53)));
}

/// With `nf_conntrack_events` = 2 it takes no listener in the entry's own namespace: the
/// kernel looks whether there is one on the machine. (So the opposite, that such an entry
/// ends silently, cannot be shown beside other tests.)
#[test]
fn entries_older_than_the_listener_end_with_an_event_when_another_namespace_listened() {
    let watched = Watched::new(Config::default());
    let other = Watched::new(Config::default());
    let _elsewhere = other.watch([Group::ExpectationNew]);
    create(&watched.ns, 0..1);
    let mut destroy = watched.watch([Group::FlowDestroy]);
    watched.ns.conntrack("-D -p udp --sport 0");
    assert_eq!(destroy.flows(1)[0].flow.orig.ports(), Some((0, 53)));
}

/// What is still queued in the socket when a watcher comes was before its time; of groups
/// that it is the first to join it would hear only a part.
#[test]
fn nothing_from_before_its_time_reaches_a_watcher() {
    let watched = Watched::new(Config::default());
    let _other = watched.watch([Group::FlowNew]);
    for round in 0..5 {
        create(&watched.ns, round * 2000..round * 2000 + 2000);
        let mut late = watched.watch(FLOWS);
        set_mark(&watched.ns, &flow(round), 7);
        let event = late.flows(1).pop().expect("one");
        assert_eq!(event.kind, EventType::Update);
        late.nothing();
    }
}
