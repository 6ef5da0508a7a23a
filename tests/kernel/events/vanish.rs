//! A listener ends with its namespace, although its socket would keep that alive.

use std::process::Command;
use std::time::{Duration, Instant};

use ctfleet::ctnetlink::Group;
use ctfleet::events::{Closed, Config, Delivery};

use super::client::{Agent, all};
use super::*;
use crate::harness::netns::check;

/// Takes the name away, as an administrator does, and puts it back on a new namespace when
/// the test is over, for the harness to delete.
struct Replaced<'a>(&'a Netns);

impl<'a> Replaced<'a> {
    fn delete(ns: &'a Netns) -> Self {
        check(Command::new("ip").args(["netns", "del", ns.name()]));
        Self(ns)
    }
}

impl Drop for Replaced<'_> {
    fn drop(&mut self) {
        check(Command::new("ip").args(["netns", "add", self.0.name()]));
    }
}

fn until_closed(watcher: &mut Watcher<'_>) -> Closed {
    loop {
        match watcher.next() {
            Ok(Delivery::Events(_) | Delivery::Gap(_)) => {}
            Err(closed) => return closed,
        }
    }
}

#[test]
fn a_watch_ends_when_its_namespace_is_deleted_and_gets_what_was_before() {
    let watched = Watched::new(Config::default());
    let mut waiting = watched.watch([Group::FlowNew]);
    let mut behind = watched.watch([Group::FlowNew]);
    create(&watched.ns, 0..5);
    waiting.events(5);
    let deleted = Instant::now();
    let _replaced = Replaced::delete(&watched.ns);
    let gone = Closed::NamespaceGone(watched.ns.name().to_owned());
    assert_eq!(until_closed(&mut waiting), gone);
    assert!(deleted.elapsed() < Duration::from_secs(5));
    assert_eq!(behind.events(5).len(), 5);
    assert_eq!(until_closed(&mut behind), gone);
}

/// The socket is what would keep the namespace: it goes although the watcher stays.
#[test]
fn the_listener_lets_go_of_the_namespace_while_a_watcher_is_still_there() {
    let watched = Watched::new(Config::default());
    let mut watcher = watched.watch([Group::FlowNew]);
    let rows = watched.ns.proc_net("netlink");
    let listener = rows.iter().find(|row| row["Groups"] != "00000000");
    let socket = format!("socket:[{}]", listener.expect("a listener")["Inode"]);
    let is_open = || {
        let descriptors = std::fs::read_dir("/proc/self/fd").expect("descriptors");
        descriptors
            .flatten()
            .filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok())
            .any(|target| target.as_os_str() == socket.as_str())
    };
    assert!(is_open());
    let _replaced = Replaced::delete(&watched.ns);
    until("the socket to be closed", || (!is_open()).then_some(()));
    until_closed(&mut watcher);
}

#[test]
fn a_namespace_of_the_same_name_is_another_one() {
    let watched = Watched::new(Config::default());
    let mut old = watched.watch([Group::FlowNew]);
    let cursor = old.subscription.cursor();
    drop(Replaced::delete(&watched.ns));
    let resumed = watched.try_watch([Group::FlowNew], Some(cursor));
    assert!(matches!(resumed, Err(Error::CursorTooOld)));
    let mut new = watched.watch([Group::FlowNew]);
    create(&watched.ns, 0..1);
    assert_eq!(new.events(1)[0].0, 1);
    until_closed(&mut old);
    // The others' deletion is not ours.
    drop(Netns::new());
    create(&watched.ns, 1..2);
    assert_eq!(new.events(1)[0].0, 2);
}

#[test]
fn a_namespace_that_does_not_exist_is_an_error() {
    let watched = Watched::new(Config::default());
    let nowhere = Namespace::named("no-such-namespace").expect("a name");
    let groups = [Group::FlowNew].into_iter().collect();
    let error = watched.hubs.subscribe(&nowhere, groups, None);
    let error = error.expect_err("nothing to enter").to_string();
    assert!(error.contains("does not exist"), "{error}");
}

#[test]
fn watches_end_with_the_hubs() {
    let Watched { hubs, runtime, ns } = Watched::new(Config::default());
    let groups = [Group::FlowNew].into_iter().collect();
    let subscription = hubs.subscribe(&ns.namespace(), groups, None);
    let mut watcher = Watcher {
        subscription: subscription.expect("a subscription"),
        runtime: &runtime,
    };
    drop(hubs);
    assert_eq!(until_closed(&mut watcher), Closed::Shut);
}

#[test]
fn a_client_is_told_that_the_namespace_is_gone() {
    let (ns, agent) = (Netns::new(), Agent::new(Config::default()));
    let mut watch = agent.watch(all(&ns));
    let _replaced = Replaced::delete(&ns);
    let status = watch.end();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(
        status.message(),
        format!("network namespace {:?} was deleted", ns.name())
    );
}
