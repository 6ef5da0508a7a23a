//! How many messages the kernel dropped on a socket: the Drops column of
//! /proc/net/netlink, the only place that tells it exactly.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::AsFd;

use super::Error;

/// Reads the counter of one socket.
#[derive(Debug)]
pub(super) struct Drops {
    /// Of the namespace that it was opened in.
    file: File,
    inode: String,
    text: String,
}

impl Drops {
    /// For a socket of the calling thread's network namespace.
    pub(super) fn open_here(socket: &impl AsFd) -> Result<Self, Error> {
        let file = File::open("/proc/thread-self/net/netlink")
            .map_err(Error::io("open /proc/net/netlink"))?;
        let stat = rustix::fs::fstat(socket)
            .map_err(|errno| Error::io("fstat of the netlink socket")(errno.into()))?;
        Ok(Self {
            file,
            inode: stat.st_ino.to_string(),
            text: String::new(),
        })
    }

    /// Messages dropped since the socket was opened. The kernel's counter is 32 bits.
    pub(super) fn read(&mut self) -> Result<u32, Error> {
        const ACTION: &str = "read /proc/net/netlink";
        self.text.clear();
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(Error::io(ACTION))?;
        self.file
            .read_to_string(&mut self.text)
            .map_err(Error::io(ACTION))?;
        drops_of(&self.text, &self.inode).ok_or_else(|| {
            Error::io(ACTION)(std::io::Error::other("the socket is not listed in it"))
        })
    }
}

/// Columns: sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode.
fn drops_of(table: &str, inode: &str) -> Option<u32> {
    table
        .lines()
        .map(|line| line.split_ascii_whitespace())
        .find_map(|mut columns| {
            let drops = columns.nth(8)?;
            (columns.next()? == inode).then_some(drops)
        })
        // Printed as a signed number.
        .and_then(|drops| drops.parse::<i32>().ok())
        .map(i32::cast_unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 prints it.
    const TABLE: &str = "\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
0000000000000000 0   0          00000000 0        0        0     2        0        5
0000000000000000 12  3221225472 00000007 133632   0        0     2        294      20377
0000000000000000 12  4821       00000000 0        0        0     2        -2       20378
";

    #[test]
    fn the_socket_is_found_by_its_inode() {
        assert_eq!(drops_of(TABLE, "20377"), Some(294));
        assert_eq!(drops_of(TABLE, "20378"), Some(u32::MAX - 1));
        assert_eq!(drops_of(TABLE, "12"), None);
        assert_eq!(drops_of("", "12"), None);
    }
}
