//! System calls: a seccomp filter with a list of those that a daemon of tokio, rustls and
//! netlink makes. Every other one answers EPERM, and the process goes on.
//!
//! No call of the list starts a program, makes a process, a socket of the internet, one that
//! could talk with a daemon of the host, code out of data, or touches another process.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

/// Calls without a condition on their arguments.
const PLAIN: &[c_long] = &[
    // Memory; what could make it executable is below.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // Signals.
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Who and where it is.
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Time.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    // Descriptors.
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    // Files: which, says Landlock.
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fdatasync,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    // A message to the journal that is too long for a datagram.
    libc::SYS_memfd_create,
    // Sockets: those that it has, and new ones of two kinds, below.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_shutdown,
];

/// The older names of some of them, which C libraries use where there are any.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_getrlimit,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// Requests of ioctl(2).
#[allow(clippy::unnecessary_cast)] // Their type is another one in other C libraries.
const REQUESTS: [u64; 4] = [
    libc::FIONBIO as u64,
    libc::FIOCLEX as u64,
    libc::FIONREAD as u64,
    libc::TCGETS as u64,
];

/// A condition on an argument: its place, and what it must be.
struct Argument(u8, Must);

enum Must {
    Be(u64),
    /// Be no pointer to anything.
    BeNull,
    /// Have these bits.
    Have(u64),
    /// Have none of these bits.
    Lack(u64),
    /// Have this value in these bits.
    Hold {
        bits: u64,
        value: u64,
    },
}

/// Where the type of a socket is, below the flags that socket(2) takes along.
const TYPE: u64 = 0xf;

const fn bits(flags: c_int) -> u64 {
    flags.cast_unsigned() as u64
}

/// Calls that are allowed when all arguments of one of the rows are as they must be.
fn conditional(other_namespaces: bool) -> Vec<(c_long, Vec<Vec<Argument>>)> {
    let executable = || vec![vec![Argument(2, Must::Lack(bits(libc::PROT_EXEC)))]];
    let is_one_of = |place, values: &[u64]| {
        let row = |value: &u64| vec![Argument(place, Must::Be(*value))];
        values.iter().map(row).collect::<Vec<_>>()
    };
    let mut list = vec![
        (libc::SYS_mmap, executable()),
        (libc::SYS_mprotect, executable()),
        // Threads, and no processes.
        (
            libc::SYS_clone,
            vec![vec![Argument(0, Must::Have(bits(libc::CLONE_THREAD)))]],
        ),
        // Its own, which is how abort(3) ends it.
        (
            libc::SYS_tgkill,
            is_one_of(0, &[u64::from(std::process::id())]),
        ),
        // Names of threads.
        (
            libc::SYS_prctl,
            is_one_of(0, &[bits(libc::PR_SET_NAME), bits(libc::PR_GET_NAME)]),
        ),
        // Its limits are read, not changed.
        (libc::SYS_prlimit64, vec![vec![Argument(2, Must::BeNull)]]),
        // Non-blocking, close on exec, how much there is to read, whether it is a terminal.
        (libc::SYS_ioctl, is_one_of(1, &REQUESTS)),
        // The kernel's netfilter, and datagrams to the service manager and the journal: a
        // stream would reach every daemon of the host. Ports and paths are bound before.
        (
            libc::SYS_socket,
            vec![
                vec![
                    Argument(0, Must::Be(bits(libc::AF_UNIX))),
                    Argument(
                        1,
                        Must::Hold {
                            bits: TYPE,
                            value: bits(libc::SOCK_DGRAM),
                        },
                    ),
                ],
                vec![
                    Argument(0, Must::Be(bits(libc::AF_NETLINK))),
                    Argument(2, Must::Be(bits(libc::NETLINK_NETFILTER))),
                ],
            ],
        ),
        // Connected from the start, and to nothing else.
        (libc::SYS_socketpair, is_one_of(0, &[bits(libc::AF_UNIX)])),
        // By level: neither the rules of a firewall nor the route of a packet.
        (
            libc::SYS_setsockopt,
            is_one_of(
                1,
                &[
                    bits(libc::SOL_SOCKET),
                    bits(libc::IPPROTO_TCP),
                    bits(libc::SOL_NETLINK),
                ],
            ),
        ),
    ];
    if other_namespaces {
        let network = bits(libc::CLONE_NEWNET);
        list.push((libc::SYS_setns, is_one_of(1, &[network])));
    }
    list
}

/// The calls that may be made at all, whatever their arguments.
pub fn allowed(other_namespaces: bool) -> impl Iterator<Item = c_long> {
    let conditional = conditional(other_namespaces);
    let conditional = conditional.into_iter().map(|(call, _)| call);
    PLAIN.iter().chain(OLDER).copied().chain(conditional)
}

/// Installs the filter on the calling thread.
pub(super) fn restrict(other_namespaces: bool) -> Result<(), String> {
    // Both are made before the first is applied.
    let programs = [
        program(BTreeMap::from([(libc::SYS_clone3, vec![])]), Kind::Unknown),
        program(rules(other_namespaces)?, Kind::List),
    ];
    for program in programs {
        apply_filter(&program?).map_err(|error| error.to_string())?;
    }
    Ok(())
}

enum Kind {
    /// These calls and no others.
    List,
    /// These calls are not known: ENOSYS. The flags of clone3(2) are in memory, where no
    /// filter sees them; C libraries take clone(2) when there is no other.
    Unknown,
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

fn program(rules: Rules, kind: Kind) -> Result<BpfProgram, String> {
    let errno = |errno: c_int| SeccompAction::Errno(errno.cast_unsigned());
    let (other, these) = match kind {
        Kind::List => (errno(libc::EPERM), SeccompAction::Allow),
        Kind::Unknown => (SeccompAction::Allow, errno(libc::ENOSYS)),
    };
    let architecture = std::env::consts::ARCH
        .try_into()
        .map_err(|_| format!("not known on {}", std::env::consts::ARCH))?;
    let filter = SeccompFilter::new(rules, other, these, architecture);
    filter
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())
}

fn rules(other_namespaces: bool) -> Result<Rules, String> {
    let mut rules: Rules = PLAIN
        .iter()
        .chain(OLDER)
        .map(|call| (*call, vec![]))
        .collect();
    // Refused by the other filter, and by this one it would answer EPERM.
    rules.insert(libc::SYS_clone3, vec![]);
    for (call, rows) in conditional(other_namespaces) {
        let rows = rows.iter().map(|row| rule(row)).collect::<Result<_, _>>();
        rules.insert(call, rows.map_err(|error| error.to_string())?);
    }
    Ok(rules)
}

fn rule(row: &[Argument]) -> Result<SeccompRule, BackendError> {
    let condition = |Argument(place, must): &Argument| {
        let (operator, value) = match must {
            Must::Be(value) => (SeccompCmpOp::Eq, *value),
            Must::BeNull => (SeccompCmpOp::Eq, 0),
            Must::Have(bits) => (SeccompCmpOp::MaskedEq(*bits), *bits),
            Must::Lack(bits) => (SeccompCmpOp::MaskedEq(*bits), 0),
            Must::Hold { bits, value } => (SeccompCmpOp::MaskedEq(*bits), *value),
        };
        // Of a number the kernel looks at the lower half alone, and the upper may be anything.
        let length = match must {
            Must::BeNull => SeccompCmpArgLen::Qword,
            _ => SeccompCmpArgLen::Dword,
        };
        SeccompCondition::new(*place, length, operator, value)
    };
    SeccompRule::new(row.iter().map(condition).collect::<Result<_, _>>()?)
}
