//! Listening sockets. A unix socket is for nobody until it has the mode that was asked for.
//!
//! A place is taken in two steps: it is bound while the process has all its rights, and
//! listened on, inside the runtime, when the agent is able to serve. Nobody can connect in
//! between.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use tokio::net::{TcpListener, UnixListener};
use tracing::{info, warn};

use super::config::{Listen, SocketMode};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A listener cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A TCP port.
    #[error("cannot listen on {address}: {source}")]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A unix socket.
    #[error("cannot listen on unix:{path}: {action}: {source}", path = path.display())]
    Unix {
        /// Where.
        path: PathBuf,
        /// What failed.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Another agent.
    #[error(
        "cannot listen on unix:{path}: another process listens there; stop it, or give another \
         --listen",
        path = path.display()
    )]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Something that is no socket.
    #[error(
        "cannot listen on unix:{path}: there is something else that is no socket; remove it, \
         or give another --listen",
        path = path.display()
    )]
    NoSocket {
        /// Where.
        path: PathBuf,
    },
}

/// A socket that has its place, where nobody can connect yet.
pub(super) enum Bound {
    /// A TCP port.
    Tcp(OwnedFd, SocketAddr),
    /// A unix socket, whose file goes with it.
    Unix(OwnedFd, SocketFile),
}

impl Bound {
    /// Takes the place; a unix socket's file gets this mode.
    pub(super) fn at(place: &Listen, mode: SocketMode) -> Result<Self, BindError> {
        match place {
            Listen::Tcp(address) => tcp(*address),
            Listen::Unix(path) => unix(path, mode),
        }
    }

    /// Listens; must be called inside a tokio runtime.
    pub(super) fn listen(self) -> Result<Listener, BindError> {
        match self {
            Self::Tcp(socket, address) => {
                let listen = || {
                    rustix::net::listen(&socket, BACKLOG)?;
                    TcpListener::from_std(socket.into())
                };
                let listener = listen().map_err(|source| BindError::Tcp { address, source })?;
                // With port 0 the kernel chose one.
                info!("listening on {}", listener.local_addr().unwrap_or(address));
                Ok(Listener::Tcp(listener))
            }
            Self::Unix(socket, file) => {
                let failed = |action| failed(&file.path, action);
                rustix::net::listen(&socket, BACKLOG)
                    .map_err(|errno| failed("listen")(errno.into()))?;
                // An agent that started at the same time took it for one that is left behind.
                if !file.is_ours() {
                    return Err(BindError::InUse {
                        path: file.path.clone(),
                    });
                }
                let listener =
                    UnixListener::from_std(socket.into()).map_err(failed("registering it"))?;
                info!("listening on unix:{}", file.path.display());
                Ok(Listener::Unix(listener, file))
            }
        }
    }
}

/// A socket that listens.
pub(super) enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A unix socket, whose file goes with it.
    Unix(UnixListener, SocketFile),
}

fn socket(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, SocketType::STREAM, flags, None)
}

fn tcp(address: SocketAddr) -> Result<Bound, BindError> {
    let bind = || {
        let socket = socket(match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        })?;
        // The port of an agent that was stopped a moment ago.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &address)?;
        Ok(socket)
    };
    match bind() {
        Ok(socket) => Ok(Bound::Tcp(socket, address)),
        Err(errno) => Err(BindError::Tcp {
            address,
            source: rustix::io::Errno::into(errno),
        }),
    }
}

/// What went wrong at a path.
fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> BindError {
    let path = path.to_owned();
    move |source| BindError::Unix {
        path,
        action,
        source,
    }
}

fn unix(path: &Path, mode: SocketMode) -> Result<Bound, BindError> {
    let failed = |action| failed(path, action);
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o755).create(parent);
        made.map_err(failed("making its directory"))?;
    }
    remove_stale(path)?;
    let socket = socket(AddressFamily::UNIX).map_err(|errno| failed("socket")(errno.into()))?;
    let address = SocketAddrUnix::new(path).map_err(|errno| failed("its path")(errno.into()))?;
    rustix::net::bind(&socket, &address).map_err(|errno| match errno {
        rustix::io::Errno::ADDRINUSE => BindError::InUse {
            path: path.to_owned(),
        },
        errno => failed("bind")(errno.into()),
    })?;
    let file = SocketFile::of(path).map_err(failed("reading its inode"))?;
    // Before listen: until then nobody can connect, whatever the umask made of the mode.
    rustix::fs::chmod(path, Mode::from_raw_mode(mode.0))
        .map_err(|errno| failed("chmod")(errno.into()))?;
    Ok(Bound::Unix(socket, file))
}

/// Removes the socket of an agent that was killed; refuses to touch anything else.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let path_buf = || path.to_owned();
    let failed = |action| failed(path, action);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("looking at its path")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NoSocket { path: path_buf() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            info!(
                "removing the socket {} of an agent that is gone",
                path.display()
            );
            fs::remove_file(path).map_err(failed("removing the old socket"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // It answers, or has no room for one more connection.
        _ => Err(BindError::InUse { path: path_buf() }),
    }
}

/// The file of a unix socket; removed with this, unless somebody put another one there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
        })
    }

    /// Whether nobody put another one there.
    fn is_ours(&self) -> bool {
        fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours()
            && let Err(error) = fs::remove_file(&self.path)
        {
            warn!("cannot remove the socket {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn bind(path: &Path) -> Result<Listener, BindError> {
        Bound::at(&Listen::Unix(path.to_owned()), SocketMode::default())?.listen()
    }

    #[tokio::test]
    async fn a_socket_is_for_its_owner_alone_and_goes_with_the_agent() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("made/for/it.sock");
        let listener = bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_removed() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("a.sock");
        let living = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(BindError::InUse { .. })));
        drop(living);

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind as by a crash");
        drop(bind(&path).unwrap());

        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(BindError::NoSocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn another_s_socket_is_left_where_it_is() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("a.sock");
        let listener = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
    }
}
