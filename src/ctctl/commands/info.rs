//! `ctctl info`: who answers, and what works there.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::CommandError;
use crate::ctctl::connect::Session;
use crate::ctctl::context::Context;
use crate::ctctl::output::Value;
use crate::pb;

pub(super) async fn run(context: &mut Context) -> Result<u8, CommandError> {
    let found = context
        .ask(|session: Session| async move {
            session
                .read(session.agent().get_info(pb::GetInfoRequest {}))
                .await
        })
        .await;
    let mut table = context
        .table([
            "version",
            "kernel",
            "host",
            "started",
            "uptime_seconds",
            "you",
            "works",
            "does_not_work",
            "limits",
            "namespaces",
        ])
        .as_records();
    for (node, info) in found.answers {
        let (works, lacks): (Vec<_>, Vec<_>) = info
            .capabilities
            .into_iter()
            .partition(|capability| capability.available);
        let started = info.start_time.as_ref().and_then(since_epoch);
        let limits: Vec<String> = info.limits.iter().map(limit).collect();
        table.push(
            node.name(),
            [
                info.version.into(),
                info.kernel_release.into(),
                info.host_name.into(),
                started.map(utc).into(),
                started.and_then(seconds_until_now).into(),
                info.caller.map(caller).into(),
                Value::from(words(works)),
                Value::from(words(lacks)),
                limits.into(),
                info.network_namespaces.into(),
            ],
        );
    }
    Ok(context.show(&table, found.outcome))
}

/// Who the agent takes us for, and what we may do.
fn caller(caller: pb::Caller) -> Vec<String> {
    let mut words = caller.names;
    words.push(format!("role {}", caller.role));
    words.extend(caller.scope.map(|scope| format!("scope {scope}")));
    if !caller.all_network_namespaces {
        let names = caller.network_namespaces.iter();
        let names: Vec<_> = names.map(|name| format!("{name:?}")).collect();
        words.push(format!("network namespaces {}", names.join(", ")));
    }
    words
}

fn words(capabilities: Vec<pb::Capability>) -> Vec<String> {
    capabilities
        .into_iter()
        .map(|capability| {
            if capability.detail.is_empty() {
                capability.name
            } else {
                format!("{} ({})", capability.name, capability.detail)
            }
        })
        .collect()
}

fn limit(limit: &pb::Limit) -> String {
    let unit = match limit.unit.as_str() {
        "" | "1" => "",
        unit => unit,
    };
    format!("{}={}{unit}", limit.name, limit.value)
}

fn since_epoch(time: &prost_types::Timestamp) -> Option<Duration> {
    let seconds = u64::try_from(time.seconds).ok()?;
    Some(Duration::new(seconds, u32::try_from(time.nanos).ok()?))
}

fn seconds_until_now(start: Duration) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    now.checked_sub(start).map(|up| up.as_secs())
}

/// RFC 3339, to the second.
fn utc(since_epoch: Duration) -> String {
    let whole = Duration::from_secs(since_epoch.as_secs());
    match i64::try_from(whole.as_secs()) {
        Ok(seconds) => prost_types::Timestamp { seconds, nanos: 0 }.to_string(),
        Err(_) => whole.as_secs().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable() {
        assert_eq!(
            utc(Duration::from_millis(1_763_910_000_500)),
            "2025-11-23T15:00:00Z"
        );
    }

    #[test]
    fn limits_say_their_unit() {
        let words = |name: &str, value, unit: &str| {
            limit(&pb::Limit {
                name: name.into(),
                value,
                unit: unit.into(),
            })
        };
        assert_eq!(words("streams", 64, "1"), "streams=64");
        assert_eq!(words("drain", 10, "s"), "drain=10s");
    }
}
