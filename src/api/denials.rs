//! Denied calls: each has its line in the audit log, so that there must not be more of them than
//! a disk can hold. Who is denied too often is told to wait, and then denied no more.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tonic::{Code, Status};

use super::status;
use crate::access::Identity;
use crate::audit;

/// Denials of one caller before there are too many: fewer than the audit log has lines waiting,
/// so that those of one caller are all written also when the disk is slow.
const AT_ONCE: u32 = 500;
/// Denials of one caller in a second from then on; lines of a few KiB each at the most.
const A_SECOND: u32 = 10;

/// Callers whose denials are counted at once, before those who behave are forgotten.
const REMEMBERED: usize = 1024;

type Pace<C> =
    RateLimiter<String, HashMapStateStore<String>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Writes them down, and counts them.
#[derive(Clone)]
pub(super) struct Denials<C: Clock = DefaultClock>(Arc<Inner<C>>);

struct Inner<C: Clock> {
    log: audit::Log,
    pace: Pace<C>,
}

impl Denials {
    /// For this log.
    pub(super) fn of(log: audit::Log) -> Self {
        Self::by(log, DefaultClock::default())
    }
}

impl<C: Clock> Denials<C> {
    fn by(log: audit::Log, clock: C) -> Self {
        let some = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(some(A_SECOND)).allow_burst(some(AT_ONCE));
        let pace = RateLimiter::new(quota, HashMapStateStore::default(), clock);
        Self(Arc::new(Inner { log, pace }))
    }

    /// The log.
    pub(super) fn log(&self) -> &audit::Log {
        &self.0.log
    }

    /// Denies a call and has it logged; or refuses it, if there were too many.
    pub(super) fn deny(&self, who: &Identity, asked: audit::Intent, refusal: Status) -> Status {
        let pace = &self.0.pace;
        if pace.len() > REMEMBERED {
            pace.retain_recent();
        }
        match pace.check_key(&who.as_str().to_owned()) {
            Ok(()) => {
                self.write(asked, &refusal);
                refusal
            }
            Err(_) => too_many(who),
        }
    }

    /// Has it logged that a call was denied, however many there were: for what a caller cannot
    /// bring about.
    pub(super) fn write(&self, asked: audit::Intent, refusal: &Status) {
        let code = status::code_name(refusal.code());
        let outcome = audit::Outcome::failed(code, refusal.message());
        self.0.log.denied(asked, outcome);
    }
}

fn too_many(who: &Identity) -> Status {
    let text = format!(
        "too many calls of {who} were denied: after {AT_ONCE} no more than {A_SECOND} a second \
         are, and the others refused like this one"
    );
    let metadata = [("max", A_SECOND.to_string())];
    status::own(
        Code::ResourceExhausted,
        "TOO_MANY_REQUESTS",
        text,
        &metadata,
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;
    use tempfile::TempDir;

    use super::*;

    /// How many of so many calls are denied; the others are too many.
    fn denied(denials: &Denials<FakeRelativeClock>, who: &Identity, calls: usize) -> usize {
        let deny = |_: &usize| {
            let refusal = Status::permission_denied("no");
            let refusal = denials.deny(who, audit::Intent::default(), refusal);
            match refusal.code() {
                Code::PermissionDenied => true,
                Code::ResourceExhausted => {
                    assert!(refusal.message().contains("were denied"), "{refusal:?}");
                    false
                }
                _ => panic!("{refusal:?}"),
            }
        };
        (0..calls).filter(deny).count()
    }

    #[test]
    fn who_is_denied_too_often_has_no_more_lines_and_others_have_theirs() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("audit.log");
        let log = audit::Log::open(&audit::Sink::File(path.clone())).unwrap();
        let clock = FakeRelativeClock::default();
        let denials = Denials::by(log, clock.clone());
        let (greedy, other) = (
            Identity::of_process(1, 1, &[]),
            Identity::of_process(2, 2, &[]),
        );
        let written = || {
            assert!(denials.log().flush(Duration::from_secs(60)));
            let text = std::fs::read_to_string(&path).unwrap();
            text.matches(r#""event":"denied""#).count()
        };
        assert_eq!(denied(&denials, &greedy, 10_000), 500);
        assert_eq!(written(), 500);
        assert_eq!(denied(&denials, &other, 10), 10);
        assert_eq!(written(), 510);
        clock.advance(Duration::from_secs(1));
        assert_eq!(denied(&denials, &greedy, 10_000), 10);
        assert_eq!(written(), 520);
        // Who was quiet for long is as everybody else.
        clock.advance(Duration::from_secs(50));
        assert_eq!(denied(&denials, &greedy, 10_000), 500);
        assert_eq!(written(), 1020);
    }

    #[test]
    fn what_was_let_in_and_is_withdrawn_is_always_written() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("audit.log");
        let log = audit::Log::open(&audit::Sink::File(path.clone())).unwrap();
        let denials = Denials::by(log, FakeRelativeClock::default());
        let caller = Identity::anonymous();
        denied(&denials, &caller, 1000);
        denials.write(audit::Intent::default(), &Status::permission_denied("gone"));
        assert!(denials.log().flush(Duration::from_secs(60)));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.trim_end().ends_with(r#""message":"gone"}"#), "{text}");
    }

    #[test]
    fn who_behaves_is_forgotten_in_time() {
        let clock = FakeRelativeClock::default();
        let denials = Denials::by(audit::Log::off(), clock.clone());
        for uid in 0..3000 {
            assert_eq!(denied(&denials, &Identity::of_process(uid, 0, &[]), 1), 1);
            clock.advance(Duration::from_millis(1));
        }
        assert!(denials.0.pace.len() <= REMEMBERED + 1);
    }
}
