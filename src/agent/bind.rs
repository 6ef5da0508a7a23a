//! Listening sockets. A unix socket is for nobody until it has the mode that was asked for.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
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

/// A socket that listens.
pub(super) enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A unix socket, whose file goes with it.
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Listens there.
    pub(super) fn bind(place: &Listen, mode: SocketMode) -> Result<Self, BindError> {
        let listener = match place {
            Listen::Tcp(address) => Self::Tcp(tcp(*address)?),
            Listen::Unix(path) => {
                let (listener, file) = unix(path, mode)?;
                Self::Unix(listener, file)
            }
        };
        // With port 0 the kernel chose one.
        match &listener {
            Self::Tcp(tcp) => match tcp.local_addr() {
                Ok(address) => info!("listening on {address}"),
                Err(_) => info!("listening on {place}"),
            },
            Self::Unix(..) => info!("listening on {place}"),
        }
        Ok(listener)
    }
}

fn tcp(address: SocketAddr) -> Result<TcpListener, BindError> {
    let bind = || {
        let socket = if address.is_ipv4() {
            tokio::net::TcpSocket::new_v4()?
        } else {
            tokio::net::TcpSocket::new_v6()?
        };
        // The port of an agent that was stopped a moment ago.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG as u32)
    };
    bind().map_err(|source| BindError::Tcp { address, source })
}

fn unix(path: &Path, mode: SocketMode) -> Result<(UnixListener, SocketFile), BindError> {
    let failed = |action| {
        move |source| BindError::Unix {
            path: path.to_owned(),
            action,
            source,
        }
    };
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o755).create(parent);
        made.map_err(failed("making its directory"))?;
    }
    remove_stale(path)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(|errno| failed("socket")(errno.into()))?;
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
    rustix::net::listen(&socket, BACKLOG).map_err(|errno| failed("listen")(errno.into()))?;
    let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))
        .map_err(failed("registering it"))?;
    Ok((listener, file))
}

/// Removes the socket of an agent that was killed; refuses to touch anything else.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let path_buf = || path.to_owned();
    let failed = |action| {
        move |source| BindError::Unix {
            path: path_buf(),
            action,
            source,
        }
    };
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
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let still_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if still_ours && let Err(error) = fs::remove_file(&self.path) {
            warn!("cannot remove the socket {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn bind(path: &Path) -> Result<Listener, BindError> {
        Listener::bind(&Listen::Unix(path.to_owned()), SocketMode::default())
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
