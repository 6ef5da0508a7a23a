//! The supplementary groups of the process at the other end of a unix socket, as they were when
//! it connected: SO_PEERGROUPS (unix(7), Linux 4.13), which no library offers.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// Room for what processes have as a rule.
const USUAL: usize = 64;

/// The groups, in no order.
pub(super) fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; USUAL];
    loop {
        let mut bytes = libc::socklen_t::try_from(size_of_val(&*groups))
            .map_err(|_| io::Error::from_raw_os_error(libc::ERANGE))?;
        // SAFETY: the kernel writes `bytes` bytes at most, which is what `groups` has, and says
        // in `bytes` how many it wrote, or would have.
        let answer = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = usize::try_from(bytes).unwrap_or(0) / size_of::<libc::gid_t>();
        if answer == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // They are those of the moment of the connection: the second time there is room.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_tells_the_groups_of_its_peer() {
        let (near, _far) = UnixStream::pair().unwrap();
        let mut told = peer_groups(&near).unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:"));
        let mut expected: Vec<u32> = line
            .unwrap()
            .split_whitespace()
            .map(|group| group.parse().unwrap())
            .collect();
        told.sort_unstable();
        expected.sort_unstable();
        assert_eq!(told, expected);
    }
}
