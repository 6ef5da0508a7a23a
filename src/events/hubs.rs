//! The listeners of all network namespaces: opened by the first watcher, shared by the
//! others, closed when nobody has watched for a while.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep_until;
use tracing::warn;

use super::Error;
use super::feed::Closed;
use super::groups::Groups;
use super::hub::{Cursor, Hub, Idle};
use super::mode::EventMode;
use super::subscription::Subscription;
use super::vanish::{Identity, Lookout};
use crate::ctnetlink::Namespace;

/// What the listeners may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many events a network namespace's ring holds, about half a KiB each. A watcher
    /// that is further behind loses events, and is told so.
    pub ring_events: usize,
    /// The receive buffer of a listener's socket in bytes. When it is full the kernel drops
    /// events, and the watchers are told so.
    pub receive_buffer: usize,
    /// How long a group that nobody watches any more stays joined, so that a client that
    /// reconnects can continue where it was.
    pub grace: Duration,
    /// How many watchers there may be at once.
    pub max_watchers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ring_events: 64 * 1024,
            receive_buffer: 8 * 1024 * 1024,
            grace: Duration::from_secs(30),
            max_watchers: 256,
        }
    }
}

/// The listeners of all network namespaces. Dropping it, and what was cloned from it, ends
/// every watch.
#[derive(Clone, Debug)]
pub struct Hubs(Arc<Owner>);

/// Apart from the registry, which the watchers hold, too.
#[derive(Debug)]
struct Owner(Arc<Registry>);

/// What a subscription needs of the whole.
#[derive(Debug)]
pub(super) struct Registry {
    config: Config,
    permits: Arc<Semaphore>,
    runtime: Handle,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    hubs: HashMap<String, Entry>,
    /// Watches the names of namespaces while there is a hub for one.
    lookout: Option<Lookout>,
}

#[derive(Debug)]
struct Entry {
    hub: Arc<Hub>,
    /// Which namespace had the name; `None` for the agent's own, which cannot vanish.
    identity: Option<Identity>,
}

impl Hubs {
    /// No listener yet. Waiting for idle ones, and for namespaces to vanish, happens on
    /// the runtime.
    pub fn new(config: Config, runtime: Handle) -> Self {
        Self(Arc::new(Owner(Arc::new(Registry {
            config,
            permits: Arc::new(Semaphore::new(
                config.max_watchers.min(Semaphore::MAX_PERMITS),
            )),
            runtime,
            open: Mutex::default(),
        }))))
    }

    /// How many watches there may be at once.
    pub fn max_watchers(&self) -> usize {
        self.0.0.config.max_watchers
    }

    /// Subscribes to groups of a network namespace: from now on, or behind a cursor.
    ///
    /// It blocks while the socket is opened or groups are joined: not for an async thread.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn subscribe(
        &self,
        namespace: &Namespace,
        groups: Groups,
        resume_after: Option<Cursor>,
    ) -> Result<Subscription, Error> {
        self.0.0.subscribe(namespace, groups, resume_after)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut open = self.0.lock();
        for (_, entry) in open.hubs.drain() {
            entry.hub.close(Closed::Shut);
        }
        open.lookout = None;
    }
}

impl Registry {
    /// Nothing panics under this lock; should it ever, the map is still whole.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribe(
        self: &Arc<Self>,
        namespace: &Namespace,
        groups: Groups,
        resume_after: Option<Cursor>,
    ) -> Result<Subscription, Error> {
        let permit =
            Arc::clone(&self.permits)
                .try_acquire_owned()
                .map_err(|_| Error::TooManyWatchers {
                    max: self.config.max_watchers,
                })?;
        let refuse_if_off = |mode| match mode {
            Some(EventMode::Off) => Err(Error::Disabled {
                namespace: namespace.name().to_owned(),
            }),
            mode => Ok(mode),
        };
        let before = refuse_if_off(EventMode::read(namespace)?)?;
        let mut subscription = self.attach(namespace, groups, resume_after, permit)?;
        // Without the setting conntrack was not loaded; joining a group loads it.
        let mode = match before {
            None => refuse_if_off(EventMode::read(namespace)?)?,
            before => before,
        };
        subscription.set_destroy_events_complete(mode == Some(EventMode::Always));
        Ok(subscription)
    }

    fn attach(
        self: &Arc<Self>,
        namespace: &Namespace,
        groups: Groups,
        resume_after: Option<Cursor>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Subscription, Error> {
        let (hub, admission) = {
            let mut open = self.lock();
            let hub = self.hub(&mut open, namespace, resume_after.is_some())?;
            match hub.watch(groups, resume_after) {
                Ok(admission) => (hub, admission),
                Err(error) => {
                    // It may have joined some of the groups, or be good for nothing yet.
                    if hub.is_unused() {
                        self.forget(&mut open, namespace.name(), &hub, Closed::Shut);
                    } else {
                        self.reap_later(&hub);
                    }
                    return Err(error);
                }
            }
        };
        let backlog = admission.backlog;
        let mut subscription = Subscription::new(Arc::clone(self), hub, groups, admission, permit);
        if backlog {
            subscription.skip_backlog()?;
        }
        Ok(subscription)
    }

    /// The hub of a namespace, opened if need be.
    fn hub(
        self: &Arc<Self>,
        open: &mut Open,
        namespace: &Namespace,
        resuming: bool,
    ) -> Result<Arc<Hub>, Error> {
        let name = namespace.name();
        let gone = || Closed::NamespaceGone(name.to_owned());
        if !namespace.is_own() && open.lookout.is_none() {
            open.lookout = match Lookout::start(Arc::downgrade(self)) {
                Ok(lookout) => Some(lookout),
                // No directory, no such name: the listener will say so.
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(Error::Lookout(error)),
            };
        }
        let identity = Identity::of(namespace);
        if let Some(entry) = open.hubs.get(name) {
            let hub = Arc::clone(&entry.hub);
            if !hub.feed().is_closed() && entry.identity == identity {
                return Ok(hub);
            }
            // It failed, or the name means another namespace now.
            self.forget_hub(open, name, &hub, gone());
        }
        if resuming {
            return Err(Error::CursorTooOld);
        }
        let opened = Hub::open(
            namespace,
            self.config.receive_buffer,
            self.config.ring_events,
        );
        let hub = match opened {
            Ok(hub) => Arc::new(hub),
            Err(error) => {
                Self::rest(open);
                return Err(error);
            }
        };
        if Identity::of(namespace) != identity {
            hub.close(gone());
            Self::rest(open);
            return Err(Error::Gone {
                namespace: name.to_owned(),
            });
        }
        let entry = Entry {
            hub: Arc::clone(&hub),
            identity,
        };
        open.hubs.insert(name.to_owned(), entry);
        Ok(hub)
    }

    /// Sees to it that the groups which nobody watches are left in time. Does not block.
    pub(super) fn reap_later(self: &Arc<Self>, hub: &Arc<Hub>) {
        let Some(mut at) = hub.begin_reaping(self.config.grace) else {
            return;
        };
        // Weak: a hub that is forgotten meanwhile must not keep its ring for the wait.
        let (registry, hub) = (Arc::downgrade(self), Arc::downgrade(hub));
        self.runtime.spawn(async move {
            loop {
                sleep_until(at.into()).await;
                let (Some(registry), Some(hub)) = (registry.upgrade(), hub.upgrade()) else {
                    return;
                };
                // Leaving a group waits for the kernel's table of sockets.
                match tokio::task::spawn_blocking(move || registry.reap(&hub)).await {
                    Ok(Idle::Until(next)) => at = next,
                    Ok(Idle::Nothing | Idle::Unused) => return,
                    Err(error) => {
                        warn!(%error, "leaving idle groups failed");
                        return;
                    }
                }
            }
        });
    }

    fn reap(&self, hub: &Arc<Hub>) -> Idle {
        // Held, so that nobody subscribes to a hub that is about to be closed.
        let mut open = self.lock();
        let idle = hub.reap(self.config.grace);
        if idle == Idle::Unused {
            self.forget(&mut open, hub.namespace().name(), hub, Closed::Shut);
        }
        idle
    }

    /// Closes the hub of the name, all when there is none, if the name does not mean the
    /// same namespace any more.
    pub(super) fn look_after(&self, name: Option<&str>) {
        let mut open = self.lock();
        let gone: Vec<_> = open
            .hubs
            .iter()
            .filter(|(hubs_name, _)| name.is_none_or(|name| name == *hubs_name))
            .filter(|(_, entry)| {
                entry
                    .identity
                    .is_some_and(|identity| !identity.still_is(entry.hub.namespace()))
            })
            .map(|(name, entry)| (name.clone(), Arc::clone(&entry.hub)))
            .collect();
        for (name, hub) in gone {
            let reason = Closed::NamespaceGone(name.clone());
            self.forget(&mut open, &name, &hub, reason);
        }
    }

    /// Closes the hubs of named namespaces: nobody would see them vanish any more.
    pub(super) fn blinded(&self, why: &io::Error) {
        let mut open = self.lock();
        open.hubs.retain(|_, entry| {
            if entry.identity.is_some() {
                let reason = format!("deleted network namespaces go unseen: {why}");
                entry.hub.close(Closed::Failed(reason));
            }
            entry.identity.is_none()
        });
        open.lookout = None;
    }

    fn forget(&self, open: &mut Open, name: &str, hub: &Arc<Hub>, reason: Closed) {
        self.forget_hub(open, name, hub, reason);
        Self::rest(open);
    }

    fn forget_hub(&self, open: &mut Open, name: &str, hub: &Arc<Hub>, reason: Closed) {
        hub.close(reason);
        // The name may have another hub already.
        if open
            .hubs
            .get(name)
            .is_some_and(|entry| Arc::ptr_eq(&entry.hub, hub))
        {
            open.hubs.remove(name);
        }
    }

    /// Stops looking after names when there is no hub for one.
    fn rest(open: &mut Open) {
        if open.hubs.values().all(|entry| entry.identity.is_none()) {
            open.lookout = None;
        }
    }
}
