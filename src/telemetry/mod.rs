//! What the agent says: tracing to standard error, as text or as JSON lines.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is none.
    #[error(
        "log level {level:?} is none: expected error, warn, info, debug, trace, or directives such as info,ctfleet::events=debug ({reason})"
    )]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else set up a log in this process.
    #[error("the log is set up already")]
    Twice,
}

/// Reads a level, or directives of tracing's `EnvFilter`.
pub fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(level)
        .map_err(|error| TelemetryError::Level {
            level: level.to_owned(),
            reason: error.to_string(),
        })
}

/// Starts the log of this process.
pub fn init(level: &str, format: Format) -> Result<(), TelemetryError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_writer(std::io::stderr);
    let done = match format {
        Format::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .finish()
            .try_init(),
        Format::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    done.map_err(|_| TelemetryError::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_word_or_directives() {
        assert!(filter("info").is_ok());
        assert!(filter("warn,ctfleet::events=debug").is_ok());
        let error = filter("loud=very").unwrap_err().to_string();
        assert!(
            error.starts_with("log level \"loud=very\" is none"),
            "{error}"
        );
    }
}
