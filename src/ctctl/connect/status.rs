//! A gRPC status in words: what the agent refused, why, and what to do about it.

use std::fmt;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::fault::FaultNote;
use crate::pb;

/// The domain of `google.rpc.ErrorInfo` for answers of the kernel.
const KERNEL_DOMAIN: &str = "kernel";
/// The agent was told to stop.
const STOPPING: &str = "STOPPING";
/// What an agent tells of a change that broke off, by the names in ChangeSummary.
const NUMBERS: [&str; 5] = ["matched", "changed", "gone", "spared", "failed"];

/// What an agent answered instead of a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    code: Code,
    message: String,
    fields: Vec<(String, String)>,
    kernel: Option<KernelAnswer>,
    /// The agent's own reason.
    reason: Option<String>,
    /// What came of a change before it broke off.
    done: Vec<(&'static str, String)>,
}

/// What the kernel said, as the agent passes it on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KernelAnswer {
    /// The errno's name.
    reason: String,
    /// The kernel's own words (extended acknowledgement), if it had any.
    words: Option<String>,
}

impl Refusal {
    /// Reads a status and its details.
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let fields = details.bad_request().map_or_else(Vec::new, |bad| {
            bad.field_violations
                .iter()
                .map(|v| (v.field.clone(), v.description.clone()))
                .collect()
        });
        let info = details.error_info();
        let (kernel, reason) = match info {
            Some(info) if info.domain == KERNEL_DOMAIN => {
                let words = info
                    .metadata
                    .get("message")
                    .filter(|words| !words.is_empty());
                let answer = KernelAnswer {
                    reason: info.reason.clone(),
                    words: words.cloned(),
                };
                (Some(answer), None)
            }
            info => (None, info.map(|info| info.reason.clone())),
        };
        let number = |name| Some((name, info?.metadata.get(name)?.clone()));
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            fields,
            kernel,
            reason,
            done: NUMBERS.into_iter().filter_map(number).collect(),
        }
    }

    /// Whether a change was done in part.
    pub fn is_partial(&self) -> bool {
        self.done
            .iter()
            .any(|(name, value)| *name == "changed" && value != "0")
    }

    /// The kernel's answer by its name, like "EINVAL", if it was the kernel that refused.
    pub fn kernel(&self) -> Option<&str> {
        self.kernel.as_ref().map(|kernel| kernel.reason.as_str())
    }

    /// gRPC's code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What the user can do, where the code tells.
    fn advice(&self) -> Option<&'static str> {
        match (self.code, &self.kernel) {
            (Code::PermissionDenied, Some(_)) => {
                Some("ctagent needs CAP_NET_ADMIN in this network namespace; see `ctctl info`")
            }
            (Code::Unimplemented, None) => Some("is this agent older than this ctctl?"),
            (Code::ResourceExhausted, None) => {
                Some("the agent is at one of its limits (`ctctl info`); try again later")
            }
            (Code::Unavailable, None) if self.reason.as_deref().is_none_or(|r| r == STOPPING) => {
                Some("try again in a moment")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            write!(f, "{}", self.code.description())?;
        } else {
            f.write_str(&self.message)?;
        }
        for (field, description) in &self.fields {
            // Agents may repeat the violation in the message.
            if !self.message.contains(description.as_str()) {
                write!(f, "; {field}: {description}")?;
            } else if !self.message.contains(field.as_str()) {
                write!(f, " ({field})")?;
            }
        }
        if let Some(kernel) = &self.kernel {
            if !self.message.contains(&kernel.reason) {
                write!(f, " ({})", kernel.reason)?;
            }
            if let Some(words) = &kernel.words
                && !self.message.contains(words.as_str())
            {
                write!(f, ": {words}")?;
            }
        }
        if !self.done.is_empty() {
            let done: Vec<String> = self
                .done
                .iter()
                .map(|(name, value)| format!("{value} {name}"))
                .collect();
            write!(f, "; before that: {}", done.join(", "))?;
        }
        match self.advice() {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

/// What an agent says of one entry that it could not write.
pub fn item_words(failure: &pb::ItemFailure) -> String {
    let words = match Code::from(failure.code) {
        Code::AlreadyExists => "it exists already",
        Code::NotFound => "it does not exist",
        Code::Unimplemented => "the kernel cannot change this of an entry that exists",
        Code::FailedPrecondition if failure.errno != 0 => "the kernel does not allow this change",
        _ => return failure.message.clone(),
    };
    format!("{words} ({})", failure.message)
}

/// Whether such a status comes from our own end of a broken connection, not from an agent.
pub(super) fn is_transport(status: &Status, note: &FaultNote) -> bool {
    use std::error::Error as _;
    // A status that travelled has no source; the client library's own have one, except for
    // streams that were cut.
    status.source().is_some()
        || (note.get().is_some()
            && matches!(
                status.code(),
                Code::Cancelled | Code::Unknown | Code::Unavailable | Code::Internal
            ))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn the_field_of_a_bad_request_is_named_once() {
        let details =
            ErrorDetails::with_bad_request_violation("filter.number.ranges[0].max", "is below min");
        let status = Status::with_error_details(Code::InvalidArgument, "bad filter", details);
        assert_eq!(
            Refusal::from_status(&status).to_string(),
            "bad filter; filter.number.ranges[0].max: is below min"
        );
        let details = ErrorDetails::with_bad_request_violation("a.b", "is empty");
        let status = Status::with_error_details(Code::InvalidArgument, "a.b is empty", details);
        assert_eq!(Refusal::from_status(&status).to_string(), "a.b is empty");
    }

    #[test]
    fn the_kernels_own_words_come_through() {
        let metadata = HashMap::from([("message".to_owned(), "attribute type -1".to_owned())]);
        let details = ErrorDetails::with_error_info("EINVAL", KERNEL_DOMAIN, metadata);
        let status = Status::with_error_details(Code::InvalidArgument, "refused", details);
        assert_eq!(
            Refusal::from_status(&status).to_string(),
            "refused (EINVAL): attribute type -1"
        );
    }

    #[test]
    fn what_was_done_before_the_end_is_told() {
        let metadata = [("matched", "9"), ("changed", "7")].map(|(k, v)| (k.into(), v.into()));
        let details = ErrorDetails::with_error_info(STOPPING, "ctfleet", HashMap::from(metadata));
        let status = Status::with_error_details(Code::Unavailable, "agent is stopping", details);
        let refusal = Refusal::from_status(&status);
        assert_eq!(
            refusal.to_string(),
            "agent is stopping; before that: 9 matched, 7 changed; try again in a moment"
        );
        assert!(refusal.is_partial());
        assert!(!Refusal::from_status(&Status::unavailable("")).is_partial());
    }

    #[test]
    fn advice_follows_the_code() {
        let words = |status: Status| Refusal::from_status(&status).to_string();
        assert!(words(Status::unimplemented("no such call")).contains("older"));
        assert!(words(Status::unavailable("draining")).contains("try again"));
        let details = ErrorDetails::with_error_info("EPERM", KERNEL_DOMAIN, HashMap::new());
        let status = Status::with_error_details(Code::PermissionDenied, "EPERM", details);
        assert!(words(status).contains("CAP_NET_ADMIN"));
        assert_eq!(
            words(Status::new(Code::NotFound, "")),
            Code::NotFound.description()
        );
    }
}
