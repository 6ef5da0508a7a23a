//! Which multicast groups somebody watches, and since when without a break.

use std::time::{Duration, Instant};

use crate::ctnetlink::Group;
use crate::flow::{Event, EventType};

/// Every group, in the order of the bits of [`Groups`].
const ALL: [Group; 5] = [
    Group::FlowNew,
    Group::FlowUpdate,
    Group::FlowDestroy,
    Group::ExpectationNew,
    Group::ExpectationDestroy,
];

/// A set of multicast groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Groups(u8);

impl Groups {
    /// No group.
    pub const NONE: Self = Self(0);

    /// The set with one more group.
    #[must_use]
    pub fn with(self, group: Group) -> Self {
        Self(self.0 | 1 << index(group))
    }

    /// Whether the group is in the set.
    pub fn contains(self, group: Group) -> bool {
        self.0 >> index(group) & 1 == 1
    }

    /// Whether the set has no group.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The groups in the set.
    pub fn iter(self) -> impl Iterator<Item = Group> {
        ALL.into_iter().filter(move |group| self.contains(*group))
    }

    /// Whether the event came through one of these groups.
    pub(super) fn hear(self, event: &Event) -> bool {
        self.contains(group_of(event))
    }
}

impl FromIterator<Group> for Groups {
    fn from_iter<I: IntoIterator<Item = Group>>(groups: I) -> Self {
        groups.into_iter().fold(Self::NONE, Self::with)
    }
}

/// The group that an event came through.
fn group_of(event: &Event) -> Group {
    match event {
        Event::Flow(event) => match event.kind {
            EventType::New => Group::FlowNew,
            EventType::Update => Group::FlowUpdate,
            EventType::Destroy => Group::FlowDestroy,
        },
        Event::Expectation(event) => match event.kind {
            EventType::New | EventType::Update => Group::ExpectationNew,
            EventType::Destroy => Group::ExpectationDestroy,
        },
    }
}

/// A group's bit in [`Groups`] and its place in [`Membership`].
fn index(group: Group) -> usize {
    match group {
        Group::FlowNew => 0,
        Group::FlowUpdate => 1,
        Group::FlowDestroy => 2,
        Group::ExpectationNew => 3,
        Group::ExpectationDestroy => 4,
    }
}

/// One group of a listener.
#[derive(Clone, Copy, Debug, Default)]
struct Member {
    watchers: usize,
    joined: Option<Joined>,
}

/// A group that the listener is in.
#[derive(Clone, Copy, Debug)]
struct Joined {
    /// The generation that its joining began.
    generation: u64,
    /// Since when nobody has watched it.
    idle_since: Option<Instant>,
}

/// The groups that one listener is in: who needs them, and since when they have been
/// joined without a break.
///
/// Every joining begins a new generation. A watcher that knows the generation in which it
/// subscribed can tell whether its groups were joined all the while since: a sequence
/// number alone could not, because what happens while a group is left gets no number.
#[derive(Debug, Default)]
pub(super) struct Membership {
    members: [Member; ALL.len()],
    generation: u64,
}

impl Membership {
    /// The groups of `wanted` that are not joined.
    pub(super) fn missing(&self, wanted: Groups) -> Groups {
        wanted
            .iter()
            .filter(|group| self.members[index(*group)].joined.is_none())
            .collect()
    }

    /// The generation now.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether these groups have been joined ever since that generation.
    pub(super) fn joined_since(&self, generation: u64, groups: Groups) -> bool {
        groups.iter().all(|group| {
            self.members[index(group)]
                .joined
                .is_some_and(|joined| joined.generation <= generation)
        })
    }

    /// Notes that the listener joined a group.
    pub(super) fn joined(&mut self, group: Group, now: Instant) {
        self.generation += 1;
        self.members[index(group)].joined = Some(Joined {
            generation: self.generation,
            idle_since: Some(now),
        });
    }

    /// One more watcher of these groups, which are joined.
    pub(super) fn watch(&mut self, groups: Groups) {
        for group in groups.iter() {
            let member = &mut self.members[index(group)];
            member.watchers += 1;
            if let Some(joined) = &mut member.joined {
                joined.idle_since = None;
            }
        }
    }

    /// One watcher less. True when a group has nobody left.
    pub(super) fn unwatch(&mut self, groups: Groups, now: Instant) -> bool {
        let mut idle = false;
        for group in groups.iter() {
            let member = &mut self.members[index(group)];
            member.watchers = member.watchers.saturating_sub(1);
            if member.watchers == 0
                && let Some(joined) = &mut member.joined
            {
                joined.idle_since = Some(now);
                idle = true;
            }
        }
        idle
    }

    /// The groups that nobody has watched for `grace`.
    pub(super) fn expired(&self, now: Instant, grace: Duration) -> Groups {
        self.idle()
            .filter(|(_, since)| now.duration_since(*since) >= grace)
            .map(|(group, _)| group)
            .collect()
    }

    /// When the next group will have been idle for `grace`.
    pub(super) fn next_expiry(&self, grace: Duration) -> Option<Instant> {
        self.idle().map(|(_, since)| since + grace).min()
    }

    /// Notes that the listener left a group.
    pub(super) fn left(&mut self, group: Group) {
        self.members[index(group)].joined = None;
    }

    /// Whether no group is joined.
    pub(super) fn is_empty(&self) -> bool {
        self.members.iter().all(|member| member.joined.is_none())
    }

    /// The groups that are joined and not watched, with the time since when.
    fn idle(&self) -> impl Iterator<Item = (Group, Instant)> {
        ALL.into_iter().filter_map(|group| {
            let since = self.members[index(group)].joined?.idle_since?;
            Some((group, since))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    fn groups<const N: usize>(groups: [Group; N]) -> Groups {
        groups.into_iter().collect()
    }

    /// Joins what is missing and watches, as a hub does.
    fn watch(membership: &mut Membership, wanted: Groups, now: Instant) {
        for group in membership.missing(wanted).iter() {
            membership.joined(group, now);
        }
        membership.watch(wanted);
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set = groups([Group::FlowDestroy, Group::FlowNew]);
        assert!(set.contains(Group::FlowNew));
        assert!(!set.contains(Group::FlowUpdate));
        assert!(set.iter().eq([Group::FlowNew, Group::FlowDestroy]));
        assert!(Groups::NONE.is_empty());
        assert!(ALL.into_iter().collect::<Groups>().iter().eq(ALL));
    }

    #[test]
    fn groups_are_joined_once_and_left_by_the_last_after_the_grace() {
        let mut membership = Membership::default();
        let start = Instant::now();
        let (new, both) = (
            groups([Group::FlowNew]),
            groups([Group::FlowNew, Group::FlowDestroy]),
        );
        watch(&mut membership, new, start);
        assert_eq!(membership.missing(both), groups([Group::FlowDestroy]));
        watch(&mut membership, both, start);
        assert_eq!(membership.next_expiry(GRACE), None);

        membership.unwatch(both, start);
        assert_eq!(membership.next_expiry(GRACE), Some(start + GRACE));
        assert!(membership.expired(start, GRACE).is_empty());
        let expired = membership.expired(start + GRACE, GRACE);
        assert_eq!(
            expired,
            groups([Group::FlowDestroy]),
            "one still watches new"
        );
        membership.left(Group::FlowDestroy);
        assert!(!membership.is_empty());

        membership.unwatch(new, start);
        membership.left(Group::FlowNew);
        assert!(membership.is_empty());
    }

    #[test]
    fn watching_again_within_the_grace_keeps_a_group() {
        let mut membership = Membership::default();
        let start = Instant::now();
        let new = groups([Group::FlowNew]);
        watch(&mut membership, new, start);
        let generation = membership.generation();
        membership.unwatch(new, start);
        watch(&mut membership, new, start + GRACE / 2);
        assert!(membership.expired(start + 2 * GRACE, GRACE).is_empty());
        assert!(membership.joined_since(generation, new));
    }

    #[test]
    fn a_group_that_was_left_in_between_breaks_the_continuity() {
        let mut membership = Membership::default();
        let start = Instant::now();
        let (new, destroy) = (groups([Group::FlowNew]), groups([Group::FlowDestroy]));
        watch(&mut membership, new, start);
        watch(&mut membership, destroy, start);
        let generation = membership.generation();
        membership.unwatch(destroy, start);
        membership.left(Group::FlowDestroy);
        assert!(!membership.joined_since(generation, destroy));
        watch(&mut membership, destroy, start);
        assert!(!membership.joined_since(generation, destroy));
        assert!(membership.joined_since(generation, new));
        assert!(membership.joined_since(membership.generation(), destroy));
    }

    #[test]
    fn a_group_that_somebody_else_joined_later_was_not_heard_before() {
        let mut membership = Membership::default();
        let start = Instant::now();
        watch(&mut membership, groups([Group::FlowNew]), start);
        let generation = membership.generation();
        let both = groups([Group::FlowNew, Group::FlowDestroy]);
        watch(&mut membership, both, start);
        assert!(!membership.joined_since(generation, both));
    }
}
