//! The journal: the line as the message, and each of its keys as a field.

use std::io;

use libsystemd::logging::{Priority, journal_send};
use serde_json::{Map, Value};

use super::AuditError;

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// What `journalctl -t` takes.
const IDENTIFIER: &str = "ctagent";

/// Finds out whether there is a journal.
pub(super) fn find() -> Result<(), AuditError> {
    match std::fs::metadata(SOCKET) {
        Ok(_) => Ok(()),
        Err(source) => Err(AuditError::NoJournal {
            path: SOCKET,
            source,
        }),
    }
}

/// Sends a line.
pub(super) fn send(line: &[u8]) -> io::Result<()> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let text = std::str::from_utf8(line).map_err(io::Error::other)?;
    let (priority, fields) = fields(text)?;
    journal_send(priority, text, fields.into_iter()).map_err(io::Error::other)
}

/// The fields of a line.
pub(super) fn fields(line: &str) -> io::Result<(Priority, Vec<(String, String)>)> {
    let keys: Map<String, Value> = serde_json::from_str(line)?;
    let priority = match keys.get("event").and_then(Value::as_str) {
        Some("denied" | "lost") => Priority::Warning,
        _ => Priority::Notice,
    };
    let mut fields = vec![("SYSLOG_IDENTIFIER".to_owned(), IDENTIFIER.to_owned())];
    fields.extend(keys.into_iter().map(|(key, value)| {
        let text = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        (format!("CTFLEET_{}", key.to_ascii_uppercase()), text)
    }));
    Ok((priority, fields))
}
