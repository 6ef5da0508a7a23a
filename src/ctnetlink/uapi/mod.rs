//! The kernel's own constants under the kernel's own names, a file per header.
//!
//! Nothing here is interpreted; a name can be looked up in the header that its file names.

pub mod netlink;
pub mod nf_internals;
pub mod nfnetlink;
pub mod nfnetlink_conntrack;
