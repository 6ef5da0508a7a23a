//! A listener on a thread of its own, asked for what it heard under a deadline.

use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use ctfleet::ctnetlink::{Group, Heard, ListenOptions, Listener, ListenerHandle, Received};
use ctfleet::flow::Event;

use super::Netns;

/// Far more than an event takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Hears the events of a namespace.
pub(crate) struct Ear {
    handle: ListenerHandle,
    heard: Receiver<Heard>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    /// Listens to these groups from now on.
    pub(crate) fn open(ns: &Netns, groups: &[Group]) -> Self {
        let mut listener =
            Listener::open(&ns.namespace(), ListenOptions::default()).expect("a listener");
        let handle = listener.handle();
        for group in groups {
            handle.join(*group).expect("joined");
        }
        let (send, heard) = channel();
        let thread = std::thread::spawn(move || {
            let mut take = |heard| {
                // The test is over when nobody takes it.
                let _ = send.send(heard);
            };
            while listener.receive(&mut take).expect("a datagram") == Received::Events {}
        });
        Self {
            handle,
            heard,
            thread: Some(thread),
        }
    }

    /// Steers the listener.
    pub(crate) fn handle(&self) -> &ListenerHandle {
        &self.handle
    }

    /// The next thing that is heard.
    #[track_caller]
    pub(crate) fn next(&self) -> Heard {
        self.heard
            .recv_timeout(PATIENCE)
            .expect("to hear something")
    }

    /// The next event.
    #[track_caller]
    pub(crate) fn event(&self) -> Event {
        match self.next() {
            Heard::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.handle.interrupt().expect("the listener is there");
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || std::thread::panicking());
    }
}
