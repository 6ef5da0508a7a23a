//! GetSettings and UpdateSettings: the sysctls net.netfilter.nf_conntrack_*.

use std::collections::HashSet;
use std::fs;
use std::io;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use tonic::{Code, Status};

use super::ranges;
use crate::api::caller::Caller;
use crate::api::pull::blocking;
use crate::api::{Context, record, request, status};
use crate::audit::{self, Counts, Intent};
use crate::ctnetlink::Namespace;
use crate::pb;
use crate::wire::FieldError;

const DIRECTORY: &str = "/proc/sys/net/netfilter";
/// Only these: the directory has other rooms' settings, too.
const PREFIX: &str = "nf_conntrack_";

/// A setting's value, unless there is none.
pub(in crate::api) fn read_setting(namespace: &Namespace, name: &str) -> Option<u64> {
    let path = format!("{DIRECTORY}/{name}");
    let text = namespace.enter(|| fs::read_to_string(path)).ok()?.ok()?;
    text.trim().parse().ok()
}

/// Answers GetSettings.
pub(super) async fn get(
    caller: &Caller,
    message: pb::GetSettingsRequest,
) -> Result<pb::GetSettingsResponse, Status> {
    let (ref caller, namespace) = caller.enter(&message)?;
    caller.unscoped("the settings of the host")?;
    let settings = inside(namespace, move || {
        let names = match message.names {
            names if names.is_empty() => all()?,
            names => names,
        };
        names.iter().map(|name| read(name)).collect()
    })
    .await?;
    Ok(pb::GetSettingsResponse { settings })
}

/// Answers UpdateSettings.
pub(super) async fn update(
    context: &Context,
    caller: &Caller,
    message: pb::UpdateSettingsRequest,
) -> Result<pb::UpdateSettingsResponse, Status> {
    let (ref caller, namespace) = caller.enter(&message)?;
    caller.unscoped("the settings of the host")?;
    let updates = message.updates;
    check(&updates)?;
    let words = updates.iter().map(|update| {
        let pb::SettingUpdate { name, value } = update;
        format!("{name}={value}")
    });
    let intent = Intent {
        target: audit::Target::Settings,
        items: Some(updates.len() as u64),
        detail: Some(words.collect::<Vec<_>>().join(" ")),
        ..caller.intent(&namespace)
    };
    let permit = context.changes.enter(caller.identity())?;
    let caller = caller.clone();
    // On a thread that outlives the call: what is begun has an end in the log.
    blocking(move || {
        let _permit = permit;
        let entry = caller.begin(intent)?;
        let mut counts = Counts {
            matched: updates.len() as u64,
            ..Counts::default()
        };
        let written = namespace.enter(|| write(&updates, &mut counts));
        let settings = written.unwrap_or_else(|error| Err(status::netlink(&error)));
        record::end(entry, &settings, Some(counts));
        settings.map(|settings| pb::UpdateSettingsResponse { settings })
    })
    .await
}

/// Writes settings of the namespace that this thread is in, and reads them again.
fn write(updates: &[pb::SettingUpdate], counts: &mut Counts) -> Result<Vec<pb::Setting>, Status> {
    // All of them before the first is written.
    for update in updates {
        if !read(&update.name)?.writable {
            return Err(read_only(&update.name));
        }
    }
    let mut written = Vec::new();
    for (index, update) in updates.iter().enumerate() {
        let pb::SettingUpdate { name, value } = update;
        fs::write(path(name), value.to_string()).map_err(|error| {
            counts.failed = 1;
            not_written(index, update, &error, &written)
        })?;
        written.push(name.as_str());
        counts.changed += 1;
    }
    updates.iter().map(|update| read(&update.name)).collect()
}

/// What can be seen of a request without looking at the host.
fn check(updates: &[pb::SettingUpdate]) -> Result<(), Status> {
    if updates.is_empty() {
        return Err(request::refused(
            "updates",
            "is empty, must have at least one",
        ));
    }
    let mut errors = Vec::new();
    let mut names = HashSet::new();
    for (index, update) in updates.iter().enumerate() {
        let pb::SettingUpdate { name, value } = update;
        if !names.insert(name) {
            let field = format!("updates[{index}].name");
            errors.push(FieldError::new(
                field,
                format!("names {} again", status::quoted(name)),
            ));
        }
        let range = ranges::of(name);
        if !range.contains(value) {
            let (min, max) = range.into_inner();
            errors.push(FieldError::new(
                format!("updates[{index}].value"),
                format!("is {value}, {} takes {min} to {max}", status::quoted(name)),
            ));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(status::fields(&errors))
    }
}

/// Runs something on a blocking thread inside the namespace.
async fn inside<T: Send + 'static>(
    namespace: Namespace,
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    blocking(move || {
        namespace
            .enter(work)
            .map_err(|error| status::netlink(&error))?
    })
    .await
}

fn path(name: &str) -> String {
    format!("{DIRECTORY}/{name}")
}

/// The names of all settings, sorted.
fn all() -> Result<Vec<String>, Status> {
    let list = || {
        let mut names = Vec::new();
        for entry in fs::read_dir(DIRECTORY)? {
            if let Ok(name) = entry?.file_name().into_string()
                && name.starts_with(PREFIX)
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    };
    list().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => not_loaded(),
        _ => status::system(&error, &format!("cannot list {DIRECTORY}: {error}")),
    })
}

/// Reads one setting of the namespace that this thread is in.
fn read(name: &str) -> Result<pb::Setting, Status> {
    // It becomes a path: nothing may lead out of the directory.
    let is_name = name.starts_with(PREFIX)
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name {
        return Err(unknown(name));
    }
    let text = fs::read_to_string(path(name)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if fs::exists(DIRECTORY).unwrap_or(true) => unknown(name),
        io::ErrorKind::NotFound => not_loaded(),
        _ => status::system(&error, &format!("cannot read {name}: {error}")),
    })?;
    let value = text.trim().parse().map_err(|_| {
        Status::internal(format!("{name} is {:?}, which is no number", text.trim()))
    })?;
    Ok(pb::Setting {
        name: name.to_owned(),
        value,
        // The kernel decides by the file's mode, also for root. Without EACCESS it would
        // look at the real user without its capabilities.
        writable: accessat(CWD, path(name), Access::WRITE_OK, AtFlags::EACCESS).is_ok(),
    })
}

fn unknown(name: &str) -> Status {
    Status::not_found(format!(
        "there is no setting {} here; names are those below net.netfilter that begin with \
         {PREFIX}",
        status::quoted(name)
    ))
}

fn not_loaded() -> Status {
    status::own(
        Code::FailedPrecondition,
        "CONNTRACK_NOT_LOADED",
        format!("{DIRECTORY} does not exist: load the kernel module nf_conntrack"),
        &[],
    )
}

fn read_only(name: &str) -> Status {
    status::own(
        Code::FailedPrecondition,
        "READ_ONLY",
        format!(
            "{name} is read-only here: the kernel never lets it be written, or only in the \
             host's initial network namespace, or /proc/sys is mounted read-only"
        ),
        &[("name", name.to_owned())],
    )
}

/// The kernel refused a value after all. `written` were taken before.
fn not_written(
    index: usize,
    update: &pb::SettingUpdate,
    error: &io::Error,
    written: &[&str],
) -> Status {
    let pb::SettingUpdate { name, value } = update;
    let before = match written {
        [] => "nothing was written".to_owned(),
        names => format!("written before: {}", names.join(", ")),
    };
    let text = format!("updates[{index}]: the kernel refuses {name} = {value}: {error}; {before}");
    let code = match error.raw_os_error() {
        Some(libc::EINVAL | libc::ERANGE) => Code::InvalidArgument,
        Some(libc::EPERM | libc::EACCES) => Code::PermissionDenied,
        Some(libc::EROFS) => Code::FailedPrecondition,
        Some(libc::ENOMEM) => Code::ResourceExhausted,
        _ => Code::Unknown,
    };
    let metadata = [("name", name.clone()), ("written", written.join(","))];
    status::own(code, "NOT_WRITTEN", text, &metadata)
}
