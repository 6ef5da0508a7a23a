//! The only table from errors to gRPC's codes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::ctnetlink::{Error, KernelError, NamespaceReason};
use crate::events;
use crate::pb;
use crate::wire::FieldError;

/// The domain of errors that are the kernel's.
pub const KERNEL_DOMAIN: &str = "kernel";
/// The domain of errors that are the agent's own.
pub const AGENT_DOMAIN: &str = "ctfleet";

/// Most bytes of a text. A status travels in the headers of HTTP/2, where clients refuse more
/// than a few KiB: a request that is echoed whole would end in a transport error.
const TEXT: usize = 512;
/// Most bytes of the fields that are listed, and of a whole message.
const FIELDS: usize = 2048;
/// Most bytes of a message that tells names or settings. It may be said in three times as many
/// (percent-encoding), and stands in the details again.
const MESSAGE: usize = 1024;

/// The text, or its beginning.
fn cut(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return text.into();
    }
    let end = text.floor_char_boundary(max);
    format!("{}... ({} bytes)", &text[..end], text.len()).into()
}

/// A text of the caller's between quotes, or its beginning.
pub fn quoted(text: &str) -> String {
    cut(&format!("{:?}", cut(text, TEXT)), TEXT).into_owned()
}

/// What an errno of the kernel means to a client.
fn code(errno: i32) -> Code {
    match errno {
        libc::EEXIST => Code::AlreadyExists,
        libc::ENOENT => Code::NotFound,
        libc::EPERM | libc::EACCES => Code::PermissionDenied,
        libc::EBUSY => Code::FailedPrecondition,
        libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT => Code::Unimplemented,
        libc::ENOSPC | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::ENOBUFS => {
            Code::ResourceExhausted
        }
        libc::EINVAL | libc::ERANGE => Code::InvalidArgument,
        libc::ETIMEDOUT => Code::DeadlineExceeded,
        libc::EAGAIN | libc::EINTR => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// A code's name, as gRPC writes it: `NOT_FOUND`.
pub fn code_name(code: Code) -> String {
    let mut name = String::new();
    for character in format!("{code:?}").chars() {
        if character.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(character.to_ascii_uppercase());
    }
    name
}

/// A request with a field that cannot be.
pub fn field(error: &FieldError) -> Status {
    fields(std::slice::from_ref(error))
}

/// A request with fields that cannot be; at least one. Not all are listed if there are many.
pub fn fields(errors: &[FieldError]) -> Status {
    let mut details = ErrorDetails::new();
    let mut message = String::new();
    for (index, error) in errors.iter().enumerate() {
        let (field, description) = (cut(&error.field, TEXT), cut(&error.description, TEXT));
        let text = format!("{field}: {description}");
        if index > 0 && message.len() + text.len() > FIELDS {
            message.push_str(&format!("; and {} more", errors.len() - index));
            break;
        }
        if index > 0 {
            message.push_str("; ");
        }
        message.push_str(&text);
        details.add_bad_request_violation(field, description);
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// An answer of the kernel.
pub fn kernel(error: &KernelError) -> Status {
    let mut metadata = HashMap::from([("errno".to_owned(), error.errno.to_string())]);
    if let Some(message) = &error.message {
        metadata.insert("message".to_owned(), message.clone());
    }
    let details = ErrorDetails::with_error_info(error.name(), KERNEL_DOMAIN, metadata);
    Status::with_error_details(code(error.errno), error.to_string(), details)
}

/// An item that the kernel refused.
pub fn item_kernel(index: u64, error: &KernelError) -> pb::ItemFailure {
    pb::ItemFailure {
        index,
        code: code(error.errno).into(),
        message: error.to_string(),
        errno: error.errno,
    }
}

/// An item with a field that cannot be.
pub fn item_field(index: u64, error: &FieldError) -> pb::ItemFailure {
    item_text(index, error.to_string())
}

/// An item that the agent refused.
pub fn item_text(index: u64, why: impl Into<String>) -> pb::ItemFailure {
    pb::ItemFailure {
        index,
        code: Code::InvalidArgument.into(),
        message: cut(&why.into(), TEXT).into_owned(),
        errno: 0,
    }
}

/// An item that would lie beyond the caller's scope.
pub fn item_out_of_scope(index: u64) -> pb::ItemFailure {
    pb::ItemFailure {
        index,
        code: Code::PermissionDenied.into(),
        message: "the entry lies beyond your scope, or would".to_owned(),
        errno: 0,
    }
}

/// An item that would change a flow of the agent's own connections.
pub fn item_spared(index: u64) -> pb::ItemFailure {
    pb::ItemFailure {
        index,
        code: Code::FailedPrecondition.into(),
        message: "the flow carries a connection of the agent itself and was left alone; \
                  include_own_connections takes it too"
            .to_owned(),
        errno: 0,
    }
}

/// Any error between the agent and the kernel.
pub fn netlink(error: &Error) -> Status {
    let text = error.to_string();
    match error {
        Error::Kernel(refusal) => kernel(refusal),
        Error::Io { source, .. } => system(source, &text),
        Error::Namespace { reason, .. } => match reason {
            NamespaceReason::BadName => {
                field(&FieldError::new("network_namespace", reason.to_string()))
            }
            NamespaceReason::NotFound => Status::not_found(text),
            NamespaceReason::NotPermitted => {
                Status::permission_denied(format!("{text}; start the agent with other-namespaces"))
            }
            NamespaceReason::Io(source) => system(source, &text),
        },
        Error::Unencodable(_) => Status::invalid_argument(text),
        // Whether the request was worked off is not known.
        Error::Overrun | Error::Closed => Status::unknown(text),
        Error::Decode(_) => Status::internal(text),
    }
}

/// An error in the middle of a change; `done` says what came of it before.
pub fn netlink_after(error: &Error, done: &[(&'static str, u64)]) -> Status {
    let status = netlink(error);
    let mut metadata = numbers(done);
    let (reason, domain) = match error {
        Error::Kernel(refusal) => {
            metadata.insert("errno".to_owned(), refusal.errno.to_string());
            (refusal.name(), KERNEL_DOMAIN)
        }
        _ => ("INTERRUPTED", AGENT_DOMAIN),
    };
    let details = ErrorDetails::with_error_info(reason, domain, metadata);
    Status::with_error_details(status.code(), status.message(), details)
}

/// A subscription to events that was refused.
pub fn events(error: &events::Error) -> Status {
    let text = error.to_string();
    match error {
        events::Error::TooManyWatchers { max } => own(
            Code::ResourceExhausted,
            "TOO_MANY_WATCHERS",
            text,
            &[("max", max.to_string())],
        ),
        events::Error::Disabled { .. } => {
            own(Code::FailedPrecondition, "EVENTS_DISABLED", text, &[])
        }
        events::Error::CursorTooOld => own(Code::OutOfRange, "CURSOR_TOO_OLD", text, &[]),
        events::Error::Closed | events::Error::Behind => Status::unavailable(text),
        events::Error::Gone { .. } => Status::not_found(text),
        events::Error::Listener(error) => netlink(error),
        events::Error::Thread(error)
        | events::Error::Lookout(error)
        | events::Error::Setting(error) => system(error, &text),
    }
}

/// A watch that ended by itself.
pub fn closed(reason: &events::Closed) -> Status {
    let text = reason.to_string();
    match reason {
        events::Closed::NamespaceGone(_) => own(Code::Unavailable, "NAMESPACE_GONE", text, &[]),
        events::Closed::Failed(_) => own(Code::Unavailable, "LISTENER_FAILED", text, &[]),
        // A listener with watchers is shut by nothing else.
        events::Closed::Shut => stopping(&[]),
    }
}

/// A failed system call of the agent.
pub fn system(error: &io::Error, text: &str) -> Status {
    let code = match error.raw_os_error().map(code) {
        // The agent's own call: nothing that the client said.
        None | Some(Code::InvalidArgument | Code::Unknown) => Code::Internal,
        Some(code) => code,
    };
    Status::new(code, text)
}

/// The agent is told to stop. `done` says what came of a change before that.
pub fn stopping(done: &[(&'static str, u64)]) -> Status {
    ended(Code::Unavailable, "STOPPING", "agent is stopping", done)
}

/// An end that the agent gives to a call. `done` says what came of a change before that.
pub fn ended(
    code: Code,
    reason: &'static str,
    text: impl Into<String>,
    done: &[(&'static str, u64)],
) -> Status {
    let details = ErrorDetails::with_error_info(reason, AGENT_DOMAIN, numbers(done));
    Status::with_error_details(code, cut(&text.into(), MESSAGE), details)
}

fn numbers(numbers: &[(&'static str, u64)]) -> HashMap<String, String> {
    numbers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.to_string()))
        .collect()
}

/// A refusal or an end that is the agent's own, with its reason and what belongs to it.
pub fn own(
    code: Code,
    reason: &'static str,
    text: impl Into<String>,
    metadata: &[(&'static str, String)],
) -> Status {
    let metadata: HashMap<_, _> = metadata
        .iter()
        .map(|(name, value)| ((*name).to_owned(), cut(value, TEXT).into_owned()))
        .collect();
    let details = ErrorDetails::with_error_info(reason, AGENT_DOMAIN, metadata);
    Status::with_error_details(code, cut(&text.into(), MESSAGE), details)
}

/// A thread of the agent ended without a result.
pub fn lost_thread() -> Status {
    Status::internal("a thread of the agent failed; its log says more")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: i32, message: Option<&str>) -> Status {
        kernel(&KernelError {
            errno,
            message: message.map(Into::into),
        })
    }

    #[test]
    fn an_errno_is_a_code_and_stands_in_the_details() {
        for (errno, name, code) in [
            (libc::EEXIST, "EEXIST", Code::AlreadyExists),
            (libc::ENOENT, "ENOENT", Code::NotFound),
            (libc::EPERM, "EPERM", Code::PermissionDenied),
            (libc::EBUSY, "EBUSY", Code::FailedPrecondition),
            (libc::EOPNOTSUPP, "EOPNOTSUPP", Code::Unimplemented),
            (libc::ENOSPC, "ENOSPC", Code::ResourceExhausted),
            (libc::EINVAL, "EINVAL", Code::InvalidArgument),
        ] {
            let status = refused(errno, None);
            assert_eq!(status.code(), code);
            let info = status.get_details_error_info().expect("an ErrorInfo");
            assert_eq!((&*info.domain, &*info.reason), ("kernel", name));
            assert_eq!(info.metadata["errno"], errno.to_string());
        }
    }

    #[test]
    fn the_kernel_s_own_words_are_kept() {
        let status = refused(libc::EINVAL, Some("Invalid zone"));
        assert!(status.message().ends_with("(EINVAL): Invalid zone"));
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!(info.metadata["message"], "Invalid zone");
    }

    #[test]
    fn a_field_is_named_in_the_message_and_in_the_details() {
        let status = field(&FieldError::new("filter.not.node", "is required"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "filter.not.node: is required");
        let violations = status
            .get_details_bad_request()
            .expect("a BadRequest")
            .field_violations;
        assert_eq!(violations[0].field, "filter.not.node");
        assert_eq!(violations[0].description, "is required");
    }

    #[test]
    fn a_stopping_agent_says_what_was_done() {
        let status = stopping(&[("changed", 7)]);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "agent is stopping");
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!((&*info.domain, &*info.reason), ("ctfleet", "STOPPING"));
        assert_eq!(info.metadata["changed"], "7");
    }

    #[test]
    fn the_agent_s_own_failures_are_not_the_client_s() {
        let einval = io::Error::from_raw_os_error(libc::EINVAL);
        assert_eq!(system(&einval, "x").code(), Code::Internal);
        let emfile = io::Error::from_raw_os_error(libc::EMFILE);
        assert_eq!(system(&emfile, "x").code(), Code::ResourceExhausted);
    }

    #[test]
    fn what_is_echoed_is_bounded() {
        let long = "\u{e9}\n".repeat(100_000);
        let errors = vec![FieldError::new(&long, &long); 1000];
        let status = fields(&errors);
        assert!(status.message().len() < 2500, "{}", status.message().len());
        assert!(status.details().len() < 4000, "{}", status.details().len());
        assert!(status.message().ends_with(" more"), "{status:?}");
        assert!(quoted(&long).len() < 600);
        assert_eq!(quoted("a\"b"), r#""a\"b""#);
        assert!(item_text(0, &*long).message.len() < 600);
    }
}
