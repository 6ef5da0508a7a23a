//! What works here: tried, not guessed.

use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::AsFd as _;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::settings::read_setting;
use crate::audit;
use crate::ctnetlink::{Conn, Error, Group, ListenOptions, Listener, Namespace};

/// Something that works here, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name.
    pub name: &'static str,
    /// Whether it works.
    pub available: bool,
    /// Why not, or what is special.
    pub detail: String,
}

impl Capability {
    /// What came of trying: in words, what is special, or why it does not work.
    pub fn of(name: &'static str, outcome: Result<String, String>) -> Self {
        let available = outcome.is_ok();
        let (Ok(detail) | Err(detail)) = outcome;
        Self {
            name,
            available,
            detail,
        }
    }
}

/// Tries what the agent's rights allow. An error means that the agent can do nothing here.
pub async fn probe(receive_buffer: usize) -> Result<Vec<Capability>, Error> {
    let own = Namespace::own();
    let conn = Conn::open(&own).await?;
    conn.table_size().await?;
    let expectations = conn.expectation_stats().await;
    let expectations = expectations
        .map(|_| String::new())
        .map_err(|error| error.to_string());
    // Sockets and a thread of its own: not for an async thread.
    let rest = tokio::task::spawn_blocking(move || {
        [
            Capability::of(EVENTS, events(&own)),
            Capability::of(OTHER_NAMESPACES, other_namespaces()),
            Capability::of(
                "receive_buffer_force",
                receive_buffer_force(&own, receive_buffer),
            ),
        ]
    });
    let mut found = vec![
        Capability::of("conntrack", Ok(String::new())),
        Capability::of("expectations", expectations),
    ];
    found.extend(rest.await.map_err(|_| Error::Closed)?);
    Ok(found)
}

/// The capability to enter other network namespaces.
pub const OTHER_NAMESPACES: &str = "other_namespaces";

/// The capability to hear events, which depends on a setting, too.
const EVENTS: &str = "events";

/// What was found at the start, with what settings make of it now.
pub(super) fn now(found: &[Capability], audit: &audit::Status) -> Vec<Capability> {
    let mut now = found.to_vec();
    for capability in &mut now {
        if capability.name == EVENTS && capability.available {
            *capability = Capability::of(EVENTS, extent_of_events());
        }
    }
    now.extend(switches());
    now.push(Capability {
        name: "audit",
        available: audit.working,
        detail: written(audit),
    });
    now
}

/// Where the audit log goes, and what went wrong with it.
fn written(audit: &audit::Status) -> String {
    let mut detail = audit.sink.clone();
    if let Some(error) = &audit.last_error {
        let last = if audit.working { "last error: " } else { "" };
        let _ = write!(detail, "; {last}{error}");
    }
    if audit.lost > 0 {
        let _ = write!(detail, "; {} lines were lost", audit.lost);
    }
    detail
}

fn extent_of_events() -> Result<String, String> {
    match read_setting(&Namespace::own(), "nf_conntrack_events") {
        Some(0) => Err("net.netfilter.nf_conntrack_events is 0".to_owned()),
        Some(1) => Ok("of every entry".to_owned()),
        _ => Ok("of entries that are created while somebody watches".to_owned()),
    }
}

fn switches() -> Vec<Capability> {
    let switch = |name: &str| match read_setting(&Namespace::own(), name) {
        Some(0) => Err(format!("net.netfilter.{name} is 0")),
        Some(_) => Ok(String::new()),
        None => Err(format!("this kernel has no net.netfilter.{name}")),
    };
    vec![
        Capability::of("accounting", switch("nf_conntrack_acct")),
        Capability::of("timestamps", switch("nf_conntrack_timestamp")),
    ]
}

/// Joins a group for a moment.
fn events(own: &Namespace) -> Result<String, String> {
    let listener =
        Listener::open(own, ListenOptions::default()).map_err(|error| error.to_string())?;
    let handle = listener.handle();
    handle
        .join(Group::FlowDestroy)
        .map_err(|error| error.to_string())?;
    Ok(String::new())
}

/// Enters the own namespace, which takes the same right as any other.
fn other_namespaces() -> Result<String, String> {
    let enter = || {
        let file = File::open("/proc/thread-self/ns/net")?;
        let thread = std::thread::Builder::new().spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        })?;
        let entered = thread.join().unwrap_or(Err(rustix::io::Errno::IO));
        entered.map_err(std::io::Error::from)
    };
    match enter() {
        Ok(()) => Ok(String::new()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(
            "entering a network namespace needs CAP_SYS_ADMIN; start the agent with \
                 other-namespaces"
                .to_owned(),
        ),
        Err(error) => Err(error.to_string()),
    }
}

/// Asks for the configured buffer and looks at what it got.
fn receive_buffer_force(own: &Namespace, receive_buffer: usize) -> Result<String, String> {
    let listener =
        Listener::open(own, ListenOptions { receive_buffer }).map_err(|error| error.to_string())?;
    let got = listener.receive_buffer();
    if got >= receive_buffer {
        Ok(format!("{got} bytes"))
    } else {
        Err(format!(
            "{got} bytes of {receive_buffer}: more needs CAP_NET_ADMIN in the initial user \
             namespace, or a larger net.core.rmem_max"
        ))
    }
}
