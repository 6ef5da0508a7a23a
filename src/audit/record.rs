//! What stands in a line: the call, what it was to change, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::text;

/// The longest text of a line, in bytes, escapes included; a filter or a detail.
const LONG: usize = 4 << 10;
/// The same of a name, an address or a message.
const SHORT: usize = 1 << 10;

/// Who calls what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Who: the subject that the caller was taken for.
    pub caller: String,
    /// The role that the caller has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// From where.
    pub peer: String,
    /// The full name of the method, as in `ctfleet.v1.FlowService/DeleteFlows`.
    pub rpc: String,
    /// The network namespace; empty is the agent's own. None when the call was denied before
    /// its request was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_namespace: Option<String>,
}

/// What a change names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The table: a flush.
    Everything,
    /// What a filter matches.
    Filter,
    /// Entries by tuple.
    Keys,
    /// Entries by id.
    Ids,
    /// Entries that the caller sends.
    Entries,
    /// Settings of the host.
    Settings,
    /// There is none, or it is not known: the call was denied before it was read.
    #[default]
    None,
}

/// A change before it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Intent {
    /// Who calls what.
    #[serde(flatten)]
    pub call: Call,
    /// What the change names.
    pub target: Target,
    /// The filter, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// How many keys, ids or entries are named, where that is known beforehand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// What is to be done to them, in words: the first keys, the new values, the setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Nothing is changed, only counted. None when it is not known, and when nothing would be
    /// changed in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// The most entries that the caller wants changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_affected: Option<u64>,
    /// The flows of the agent's own connections are not spared.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub include_own_connections: bool,
}

impl From<Call> for Intent {
    fn from(call: Call) -> Self {
        Self {
            call,
            ..Self::default()
        }
    }
}

impl Intent {
    /// With no text beyond its limit.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let Call {
            caller,
            role,
            peer,
            rpc,
            network_namespace,
        } = &mut self.call;
        for short in [caller, peer, rpc]
            .into_iter()
            .chain(role)
            .chain(network_namespace)
        {
            text::cut(short, SHORT);
        }
        for long in self.filter.iter_mut().chain(&mut self.detail) {
            text::cut(long, LONG);
        }
        self
    }
}

/// How many entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// That the change was meant for.
    pub matched: u64,
    /// That it changed.
    pub changed: u64,
    /// That were gone when their turn came.
    pub gone: u64,
    /// That were left because they carry the agent's own connections.
    pub spared: u64,
    /// That failed.
    pub failed: u64,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The name of gRPC's code, as in `OK` or `PERMISSION_DENIED`; or `ABANDONED`.
    pub result: String,
    /// What else there is to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How many entries; none where nothing was counted.
    #[serde(flatten)]
    pub counts: Option<Counts>,
}

impl Outcome {
    /// The outcome of a call that succeeded.
    #[must_use]
    pub fn ok(counts: Option<Counts>) -> Self {
        Self {
            result: "OK".to_owned(),
            message: String::new(),
            counts,
        }
    }

    /// The outcome of a call that failed, by the name of gRPC's code.
    pub fn failed(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            result: code.into(),
            message: message.into(),
            counts: None,
        }
    }

    /// Nobody said how the call ended.
    pub(super) fn abandoned() -> Self {
        Self::failed(
            "ABANDONED",
            "the call was given up before its end was known",
        )
    }

    pub(super) fn bounded(mut self) -> Self {
        text::cut(&mut self.result, SHORT);
        text::cut(&mut self.message, SHORT);
        self
    }
}

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Event {
    /// The agent opened the log.
    Start,
    /// A change begins.
    Intent,
    /// A change has ended.
    Result,
    /// A call was denied.
    Denied,
    /// Lines could not be written before this one.
    Lost,
}

/// A line before it is text.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) time: Timestamp,
    pub(super) event: Event,
    pub(super) call: Option<u64>,
    pub(super) intent: Option<Arc<Intent>>,
    pub(super) outcome: Option<Outcome>,
    pub(super) duration: Option<Duration>,
    pub(super) lines: Option<u64>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: Event,
    run: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<u64>,
    #[serde(flatten)]
    intent: Option<&'a Intent>,
    #[serde(flatten)]
    outcome: Option<&'a Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_us: Option<u64>,
}

impl Record {
    /// One of this moment.
    pub(super) fn of(event: Event) -> Self {
        Self {
            time: Timestamp::now(),
            event,
            call: None,
            intent: None,
            outcome: None,
            duration: None,
            lines: None,
        }
    }

    /// Its line, with the end of the line.
    pub(super) fn line(&self, run: &str) -> std::io::Result<Vec<u8>> {
        let mut line = text::json(&Line {
            time: format!("{:.6}", self.time),
            event: self.event,
            run,
            version: (self.event == Event::Start).then_some(env!("CARGO_PKG_VERSION")),
            lines: self.lines,
            call: self.call,
            intent: self.intent.as_deref(),
            outcome: self.outcome.as_ref(),
            duration_us: self
                .duration
                .map(|duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
        })?;
        line.push(b'\n');
        Ok(line)
    }
}
