//! What an agent gave up: read from the kernel for each of its threads, and tried on a thread
//! that gave up the same.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use ctfleet::ctnetlink::{FlowDump, FlowDumpRequest, Namespace};
use ctfleet::pb;
use ctfleet::sandbox::{Policy, Sandbox, allowed_calls};
use libc::{c_long, c_ulong};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::api_agent::unprivileged;
use crate::harness::agent::Agent;
use crate::harness::flows::flow;
use crate::harness::{Netns, socket, until};

const DAC_OVERRIDE: u64 = 1 << 1;
const NET_ADMIN: u64 = 1 << 12;
const SYS_ADMIN: u64 = 1 << 21;

/// The values that this field of /proc/PID/status has on the threads of a process.
fn on_threads(process: u32, field: &str) -> BTreeSet<u64> {
    let radix = if field.starts_with("Cap") { 16 } else { 10 };
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let status = tasks.filter_map(|task| {
        let path = task.expect("an entry").path().join("status");
        // A thread may end meanwhile.
        fs::read_to_string(path).ok()
    });
    let value = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let value = line.and_then(|line| line.strip_prefix(':'));
        let value = value.unwrap_or_else(|| panic!("{field}: {status}"));
        u64::from_str_radix(value.trim(), radix).expect("a number")
    };
    status.map(value).collect()
}

/// An agent that did some of everything, so that it has threads of every kind, and holds only
/// these capabilities on all of them.
async fn is_confined(agent: &mut Agent, ns: &Netns, kept: u64, bounding: u64) {
    let mut flows = agent.flows();
    let watch = pb::WatchFlowsRequest {
        snapshot: true,
        ..Default::default()
    };
    let mut watching = flows
        .watch_flows(watch)
        .await
        .expect("a watch")
        .into_inner();
    watching.message().await.expect("a snapshot");
    flows
        .dump_flows(pb::DumpFlowsRequest::default())
        .await
        .expect("a dump");
    let process = agent.process().id();
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    assert!(threads.expect("it runs").count() > 3);
    for (field, value) in [
        ("CapEff", kept),
        ("CapPrm", kept),
        ("CapBnd", bounding),
        ("CapInh", 0),
        ("CapAmb", 0),
        ("NoNewPrivs", 1),
        // SECCOMP_MODE_FILTER
        ("Seccomp", 2),
    ] {
        let found = on_threads(process, field);
        assert_eq!(found, BTreeSet::from([value]), "{field} in {}", ns.name());
    }
}

#[tokio::test]
async fn every_thread_keeps_cap_net_admin_alone() {
    let ns = Netns::new();
    is_confined(&mut Agent::start(&ns), &ns, NET_ADMIN, NET_ADMIN).await;
    // As another user, whose rights are ambient. Without CAP_SETPCAP the bounding set stays as
    // it is given, and is of no use to a process that executes nothing.
    let mut agent = Agent::start_as(&ns, &mut unprivileged());
    is_confined(&mut agent, &ns, NET_ADMIN, NET_ADMIN | DAC_OVERRIDE).await;
    let words = "cannot be applied failure=least_capabilities: the bounding set";
    until(words, || agent.said().contains(words).then_some(()));
}

#[tokio::test]
async fn an_agent_of_all_namespaces_keeps_cap_sys_admin_too() {
    let ns = Netns::new();
    let kept = NET_ADMIN | SYS_ADMIN;
    is_confined(&mut Agent::start_for_all(&ns), &ns, kept, kept).await;
}

/// What `GetInfo` says of the sandbox.
async fn told(agent: &Agent) -> Vec<(String, bool, String)> {
    let info = agent.agent().get_info(pb::GetInfoRequest {}).await;
    let names = ["least_capabilities", "no_new_privs", "seccomp", "landlock"];
    let capabilities = info.expect("an answer").into_inner().capabilities;
    capabilities
        .into_iter()
        .filter(|found| names.contains(&&*found.name))
        .map(|found| (found.name, found.available, found.detail))
        .collect()
}

#[tokio::test]
async fn info_tells_what_is_in_force() {
    let ns = Netns::new();
    let found = told(&Agent::start(&ns)).await;
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().all(|(_, in_force, _)| *in_force), "{found:?}");
    assert_eq!(found[0].2, "CAP_NET_ADMIN");
    assert!(found[3].2.starts_with("ABI "), "{found:?}");

    let free = Agent::start_with(&ns, &["--sandbox=false"]);
    let found = told(&free).await;
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().all(|(_, in_force, _)| !in_force), "{found:?}");
    let words = "WARN ctfleet::agent::confine: no sandbox";
    until(words, || free.said().contains(words).then_some(()));
}

#[test]
fn a_port_is_bound_and_settings_are_written_before_and_behind_the_sandbox() {
    let ns = Netns::new();
    let flags = ["--listen=127.0.0.1:443", "--insecure-plaintext"];
    let agent = Agent::start_with(&ns, &flags);
    until("the port", || {
        agent
            .said()
            .contains("listening on 127.0.0.1:443")
            .then_some(())
    });
}

/// The names of a service manager's sockets.
const DATAGRAMS: &str = "notify";
const STREAMS: &str = "private";

/// Files and sockets from before the sandbox, and what it allows of them.
struct Stage {
    certificates: TempDir,
    /// Of its files one alone may be read.
    shared: TempDir,
    sockets: TempDir,
    audit: TempDir,
    /// A TCP socket that is neither bound nor connected.
    tcp: OwnedFd,
    listener: TcpListener,
    /// A unix socket of the same kind.
    unix: OwnedFd,
    abstract_name: SocketAddrUnix,
    _abstract_listener: OwnedFd,
    /// As the service manager has them: a name for datagrams, and one for connections.
    _manager: (UnixDatagram, UnixListener),
}

impl Stage {
    /// Made on the thread that will try.
    fn new() -> Self {
        let directory = || TempDir::new().expect("a directory");
        let (certificates, sockets, audit) = (directory(), directory(), directory());
        fs::write(certificates.path().join("tls.key"), "secret").expect("written");
        let shared = directory();
        for name in ["ctagent.toml", "other.toml"] {
            fs::write(shared.path().join(name), "").expect("written");
        }
        fs::write(sockets.path().join("agent.sock"), "").expect("written");
        let stream = |family| socket(family, SocketType::STREAM, None);
        let name = format!("ctfleet-{}", certificates.path().display());
        let abstract_name = SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("a name");
        let abstract_listener = stream(AddressFamily::UNIX).expect("a socket");
        rustix::net::bind(&abstract_listener, &abstract_name).expect("bound");
        rustix::net::listen(&abstract_listener, 1).expect("listening");
        let datagrams = UnixDatagram::bind(sockets.path().join(DATAGRAMS)).expect("bound");
        let streams = UnixListener::bind(sockets.path().join(STREAMS)).expect("bound");
        Self {
            certificates,
            shared,
            sockets,
            audit,
            tcp: stream(AddressFamily::INET).expect("a socket"),
            listener: TcpListener::bind("127.0.0.1:0").expect("lo is up"),
            unix: stream(AddressFamily::UNIX).expect("a socket"),
            abstract_name,
            _abstract_listener: abstract_listener,
            _manager: (datagrams, streams),
        }
    }

    fn policy(&self, other_namespaces: bool) -> Policy {
        Policy {
            other_namespaces,
            read: vec![
                self.certificates.path().to_owned(),
                self.shared.path().join("ctagent.toml"),
            ],
            write: vec![self.audit.path().to_owned()],
            remove: vec![self.sockets.path().to_owned()],
        }
    }
}

type Outcomes = Vec<(&'static str, io::Result<()>)>;

/// What an agent must still be able to do.
fn needed(stage: &Stage) -> Outcomes {
    let dump = || {
        let dump = FlowDump::open(&Namespace::own(), FlowDumpRequest::default());
        let mut dump = dump.map_err(io::Error::other)?;
        let mut seen = 0;
        while dump.read(&mut |_| seen += 1).map_err(io::Error::other)? {}
        match seen {
            1 => Ok(()),
            _ => Err(io::Error::other(format!("{seen} flows"))),
        }
    };
    let watch = |path: &Path| -> io::Result<()> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&inotify, path, inotify::WatchFlags::MOVED_TO)?;
        Ok(())
    };
    let setting = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout";
    let audit = stage.audit.path().join("audit.log");
    let socket = stage.sockets.path().join("agent.sock");
    let thread = || std::thread::Builder::new().spawn(|| ()).map(drop);
    let no_delay = || Ok(rustix::net::sockopt::set_tcp_nodelay(&stage.tcp, true)?);
    let notify = || {
        let manager = stage.sockets.path().join(DATAGRAMS);
        UnixDatagram::unbound()?.send_to(b"READY=1", manager)?;
        Ok(())
    };
    vec![
        ("a dump", dump()),
        ("a setting", fs::write(setting, "77")),
        ("a setting back", fs::read_to_string(setting).map(drop)),
        (
            "a key",
            fs::read(stage.certificates.path().join("tls.key")).map(drop),
        ),
        ("keys", fs::read_dir(stage.certificates.path()).map(drop)),
        (
            "a single file",
            fs::read(stage.shared.path().join("ctagent.toml")).map(drop),
        ),
        ("a watch of the keys", watch(stage.certificates.path())),
        ("a watch of names", watch(Path::new("/run/netns"))),
        ("names", Namespace::list().map(drop)),
        (
            "the audit log",
            File::options()
                .create(true)
                .append(true)
                .open(audit)
                .map(drop),
        ),
        ("its socket's file", fs::remove_file(socket)),
        ("a thread", thread()),
        ("accepting", stage.accept()),
        ("no delay", no_delay()),
        ("a word to the service manager", notify()),
        ("a pair of sockets", UnixStream::pair().map(drop)),
    ]
}

impl Stage {
    /// Accepts a connection that another thread, which is free, makes.
    fn accept(&self) -> io::Result<()> {
        self.listener.accept().map(drop)
    }
}

/// What it must not be able to do.
fn forbidden(stage: &Stage) -> Outcomes {
    let socket = |family, kind, protocol| {
        socket(family, kind, protocol)
            .map(drop)
            .map_err(io::Error::from)
    };
    let connect = |address: SocketAddr| Ok(rustix::net::connect(&stage.tcp, &address)?);
    let bind = || {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        Ok(rustix::net::bind(&stage.tcp, &any)?)
    };
    // On a socket from before: no new one would get so far.
    let abstract_connect = || Ok(rustix::net::connect(&stage.unix, &stage.abstract_name)?);
    let manager = stage.sockets.path().join(STREAMS);
    let enter = || {
        let own = File::open("/proc/thread-self/ns/net")?;
        let network = Some(LinkNameSpaceType::Network);
        Ok(move_into_link_name_space(own.as_fd(), network)?)
    };
    let executable = c_long::from(libc::PROT_READ | libc::PROT_EXEC);
    let anonymous = c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let key = stage.certificates.path().join("tls.key");
    let other = stage.certificates.path().join("other.key");
    let address = stage.listener.local_addr().expect("an address");
    let parent = rustix::process::Pid::as_raw(rustix::process::getppid());
    vec![
        ("a program", Command::new("/bin/true").spawn().map(drop)),
        (
            "a process",
            call(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0, 0]),
        ),
        (
            "code in memory",
            call(libc::SYS_mmap, [0, 4096, executable, anonymous, -1]),
        ),
        (
            "packets",
            socket(AddressFamily::PACKET, SocketType::RAW, None),
        ),
        (
            "a TCP socket",
            socket(AddressFamily::INET, SocketType::STREAM, None),
        ),
        (
            "a UDP socket",
            socket(AddressFamily::INET6, SocketType::DGRAM, None),
        ),
        (
            "routes",
            socket(AddressFamily::NETLINK, SocketType::RAW, None),
        ),
        ("a connection", connect(address)),
        ("a port", bind()),
        ("an abstract socket", abstract_connect()),
        (
            "a stream socket of the host",
            UnixStream::connect(manager).map(drop),
        ),
        (
            "packets of the host in order",
            socket(AddressFamily::UNIX, SocketType::SEQPACKET, None),
        ),
        (
            "an option of IP",
            call(
                libc::SYS_setsockopt,
                [
                    stage.tcp.as_raw_fd().into(),
                    libc::IPPROTO_IP.into(),
                    libc::IP_TTL.into(),
                    0,
                    0,
                ],
            ),
        ),
        (
            "a terminal's input",
            call(libc::SYS_ioctl, [0, libc::TIOCSTI as c_long, 0, 0, 0]),
        ),
        ("a larger limit", call(libc::SYS_prlimit64, [0, 7, 1, 0, 0])),
        (
            "another process's thread",
            call(
                libc::SYS_tgkill,
                [c_long::from(parent), c_long::from(parent), 0, 0, 0],
            ),
        ),
        (
            "another process",
            call(libc::SYS_kill, [c_long::from(parent), 0, 0, 0, 0]),
        ),
        ("passwords", File::open("/etc/shadow").map(drop)),
        ("users", File::open("/etc/passwd").map(drop)),
        ("the root", File::open("/").map(drop)),
        (
            "a file of /etc",
            File::create("/etc/ctfleet-was-here").map(drop),
        ),
        (
            "a file of /run",
            File::create("/run/ctfleet-was-here").map(drop),
        ),
        (
            "another setting",
            File::options()
                .write(true)
                .open("/proc/sys/kernel/hostname")
                .map(drop),
        ),
        (
            "a file beside a single one",
            File::open(stage.shared.path().join("other.toml")).map(drop),
        ),
        (
            "what is beside it",
            fs::read_dir(stage.shared.path()).map(drop),
        ),
        ("another key", fs::write(&key, "other")),
        ("a new key", File::create(&other).map(drop)),
        ("no key", fs::remove_file(&key)),
        ("another namespace", enter()),
        (
            "another user",
            Ok(()).and_then(|()| call(libc::SYS_setuid, [0, 0, 0, 0, 0])),
        ),
    ]
}

/// A system call that libraries offer in unsafe ways alone. None of those that are made here
/// is given a pointer.
#[allow(unsafe_code)]
fn call(number: c_long, arguments: [c_long; 5]) -> io::Result<()> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: no argument is a pointer that the kernel would write to; those of mmap ask for
    // a mapping of its own, and clone is given none.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, 0 as c_ulong) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// On a thread inside that gave up what an agent gives up.
fn confined<T: Send>(
    ns: &Netns,
    other_namespaces: bool,
    then: impl FnOnce(&Stage) -> T + Send,
) -> T {
    ns.enter(|| {
        let stage = Stage::new();
        let client = stage.listener.local_addr().expect("an address");
        let client = std::net::TcpStream::connect(client).expect("a client");
        let sandbox = Sandbox::apply(&stage.policy(other_namespaces));
        assert!(sandbox.failures().is_empty(), "{:?}", sandbox.failures());
        let result = then(&stage);
        drop(client);
        result
    })
}

#[test]
fn a_confined_thread_does_its_work_and_nothing_else() {
    let ns = Netns::new();
    ns.create(&[flow(
        ctfleet::flow::Family::V4,
        ctfleet::flow::Protocol::UDP,
        1,
    )]);
    let (needed, forbidden) = confined(&ns, false, |stage| (needed(stage), forbidden(stage)));
    for (what, outcome) in needed {
        assert!(outcome.is_ok(), "{what}: {outcome:?}");
    }
    for (what, outcome) in forbidden {
        let error = outcome.expect_err(what);
        let refused = [libc::EPERM, libc::EACCES].map(Some);
        assert!(refused.contains(&error.raw_os_error()), "{what}: {error}");
    }
    assert_eq!(ns.sysctl("net/netfilter/nf_conntrack_udp_timeout"), "77");
    assert!(!Path::new("/etc/ctfleet-was-here").exists());
}

#[test]
fn with_other_namespaces_those_of_the_network_can_be_entered_and_no_others() {
    let (ns, other) = (Netns::new(), Netns::new());
    let path = Path::new(Namespace::DIRECTORY).join(other.name());
    let (entered, written, anything) = confined(&ns, true, |_| {
        let file = File::open(path).expect("named");
        let enter = |kind| Ok::<_, io::Error>(move_into_link_name_space(file.as_fd(), kind)?);
        let anything = enter(None);
        let entered = enter(Some(LinkNameSpaceType::Network));
        let setting = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout";
        (entered, fs::write(setting, "79"), anything)
    });
    assert!(entered.is_ok(), "{entered:?}");
    assert!(written.is_ok(), "{written:?}");
    assert_eq!(other.sysctl("net/netfilter/nf_conntrack_udp_timeout"), "79");
    let refused = anything.expect_err("a namespace of any kind");
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
}

/// More than there are on any architecture.
const CALLS: c_long = 1024;

/// Two that the kernel's own probes make and no filter sees, uretprobe(2) and uprobe(2) of
/// x86-64: whoever else makes them is ended.
const OF_PROBES: [c_long; 2] = [335, 336];

#[test]
fn no_other_system_call_is_made() {
    for other_namespaces in [false, true] {
        let allowed: BTreeSet<c_long> = allowed_calls(other_namespaces).collect();
        for dangerous in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_mount,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_unshare,
            libc::SYS_keyctl,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_init_module,
            libc::SYS_kexec_load,
            libc::SYS_setuid,
            libc::SYS_capset,
            libc::SYS_pidfd_open,
        ] {
            assert!(!allowed.contains(&dangerous), "{dangerous}");
        }
        let others: Vec<c_long> = (0..CALLS)
            .filter(|number| !allowed.contains(number) && !OF_PROBES.contains(number))
            .collect();
        assert!(others.len() > 800);
        let answers = confined(&Netns::new(), other_namespaces, |_| {
            let answer = |number: &c_long| (*number, call(*number, [0; 5]));
            others.iter().map(answer).collect::<Vec<_>>()
        });
        for (number, answer) in answers {
            let errno = answer.expect_err("refused").raw_os_error();
            // The C library takes clone(2) when there is no clone3(2).
            let expected = match number {
                libc::SYS_clone3 => Errno::NOSYS,
                _ => Errno::PERM,
            };
            assert_eq!(errno, Some(expected.raw_os_error()), "call {number}");
        }
    }
}
