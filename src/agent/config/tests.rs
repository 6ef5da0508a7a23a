//! Precedence, and every refusal.

use clap::{CommandFactory as _, Parser as _};

use super::*;
use crate::api::Bounds;

fn cli(flags: &[&str]) -> Cli {
    let line = std::iter::once("ctagent").chain(flags.iter().copied());
    Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"))
}

fn load(flags: &[&str]) -> Result<Config, ConfigError> {
    Config::load(cli(flags))
}

fn refusal(flags: &[&str]) -> String {
    load(flags).expect_err("refused").to_string()
}

const TLS: [&str; 3] = ["--tls-cert=c", "--tls-key=k", "--tls-ca=a"];

#[test]
fn the_flags_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn without_flags_it_listens_for_root_alone() {
    let config = load(&[]).unwrap();
    assert_eq!(config.listen, [Listen::Unix(DEFAULT_SOCKET.into())]);
    assert_eq!(config.transport, Transport::None);
    assert_eq!(config.drain_timeout, Duration::from_secs(10));
    assert_eq!(config.connections, ConnectionLimits::default());
}

#[test]
fn tcp_needs_tls_or_loopback_and_the_word_insecure() {
    let public = "--listen=192.0.2.1:7443";
    let local = "--listen=127.0.0.1:7443";
    let local6 = "--listen=[::1]:7443";
    let mapped = "--listen=[::ffff:127.0.0.1]:7443";
    let plain = "--insecure-plaintext";

    let with_tls = [&[public, local][..], &TLS].concat();
    assert!(matches!(
        load(&with_tls).unwrap().transport,
        Transport::Tls(_)
    ));
    let plaintext = load(&[local, local6, mapped, plain]).unwrap().transport;
    assert_eq!(plaintext, Transport::Plaintext);

    let error = refusal(&[public]);
    assert!(
        error.contains("--listen 192.0.2.1:7443 needs mutual TLS"),
        "{error}"
    );
    assert!(!error.contains("--insecure-plaintext"), "{error}");
    let error = refusal(&[local]);
    assert!(error.contains("--insecure-plaintext"), "{error}");
    let error = refusal(&[local, public, plain]);
    assert!(
        error.contains("and --listen 192.0.2.1:7443 is not"),
        "{error}"
    );
    let error = refusal(&["--listen=0.0.0.0:7443", plain]);
    assert!(error.contains("loopback only"), "{error}");
    let error = refusal(&[&[public, plain][..], &TLS].concat());
    assert!(error.contains("contradict"), "{error}");
    for (leave_out, name) in ["--tls-cert", "--tls-key", "--tls-ca"].iter().enumerate() {
        let mut files = TLS.to_vec();
        files.remove(leave_out);
        let error = refusal(&[&[public][..], &files].concat());
        assert!(error.starts_with(&format!("{name} is missing")), "{error}");
    }
}

#[test]
fn tls_begins_with_1_3_unless_told_otherwise() {
    let min_version = |flags: &[&str]| match load(&[flags, &TLS].concat()) {
        Ok(Config {
            transport: Transport::Tls(tls),
            ..
        }) => tls.min_version,
        other => panic!("{other:?}"),
    };
    assert_eq!(min_version(&[]), tls::MinVersion::Tls13);
    assert_eq!(
        min_version(&["--tls-min-version=1.2"]),
        tls::MinVersion::Tls12
    );
    let error = Cli::try_parse_from(["ctagent", "--tls-min-version=1.1"]).unwrap_err();
    assert!(error.to_string().contains("expected 1.2 or 1.3"), "{error}");
    for flag in ["--tls-crl=r", "--tls-min-version=1.2"] {
        let error = refusal(&[flag]);
        assert!(error.contains("says nothing without --tls-cert"), "{error}");
    }
}

#[test]
fn a_place_is_a_path_or_an_address() {
    for bad in [
        "unix:",
        "localhost:1",
        "192.0.2.1",
        "::1:80",
        "192.0.2.1:99999",
    ] {
        let error = Cli::try_parse_from(["ctagent", "--listen", bad]).unwrap_err();
        assert!(
            error.to_string().contains("no place to listen at"),
            "{error}"
        );
    }
    let twice = ["--listen=unix:/a", "--listen=unix:/a"];
    assert_eq!(refusal(&twice), "--listen unix:/a is given twice");
}

#[test]
fn numbers_have_limits() {
    assert_eq!(
        refusal(&["--max-dumps=0"]),
        "--max-dumps 0 is out of range: expected 1 to 256"
    );
    assert!(refusal(&["--receive-buffer=99999999999"]).contains("out of range"));
    assert!(refusal(&["--log-level=a=b=c"]).starts_with("--log-level"));
}

const EVERYTHING: &str = r#"
    listen = ["unix:/run/x.sock", "127.0.0.1:7443"]
    tls-cert = "c"
    tls-key = "k"
    tls-ca = "a"
    tls-crl = ["r", "s"]
    tls-min-version = "1.2"
    insecure-plaintext = false
    allow = ["reader=uid:1"]
    socket-mode = "0660"
    other-namespaces = true
    sandbox = false
    drain-timeout = 3
    log-level = "debug"
    log-format = "json"
    audit-log = "file:/var/log/ctfleet/audit.log"
    event-ring = 2048
    receive-buffer = 70000
    event-grace = 5

    [limits]
    max-dumps = 2
    max-changes = 6
    max-requests = 8
    stall-timeout = 7
    max-watchers = 3
    max-items = 20
    max-filter-conditions = 21
    max-filter-depth = 22
    max-connections = 4
    max-connections-per-peer = 5
    max-streams = 9
    max-header-size = 2000
    handshake-timeout = 11
    first-frame-timeout = 12
    idle-timeout = 0
    keepalive-interval = 13
    keepalive-timeout = 14
    max-message-size = 5000
"#;

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("a file");
    file
}

#[test]
fn the_file_says_all_that_flags_can_and_flags_go_first() {
    let file = file(EVERYTHING);
    let path = format!("--config={}", file.path().display());
    let config = load(&[&path]).unwrap();
    let expected = Config {
        listen: vec![
            Listen::Unix("/run/x.sock".into()),
            Listen::Tcp("127.0.0.1:7443".parse().unwrap()),
        ],
        transport: Transport::Tls(tls::Settings {
            files: tls::Files {
                cert: "c".into(),
                key: "k".into(),
                ca: "a".into(),
                crls: vec!["r".into(), "s".into()],
            },
            min_version: tls::MinVersion::Tls12,
        }),
        socket_mode: SocketMode(0o660),
        policy: rights::policy(vec!["reader=uid:1".parse().unwrap()], Vec::new()).unwrap(),
        other_namespaces: true,
        sandbox: false,
        drain_timeout: Duration::from_secs(3),
        log: Log {
            level: "debug".into(),
            format: telemetry::Format::Json,
        },
        audit: audit::Sink::File("/var/log/ctfleet/audit.log".into()),
        events: events::Config {
            ring_events: 2048,
            receive_buffer: 70000,
            grace: Duration::from_secs(5),
            max_watchers: 3,
        },
        limits: Limits {
            dumps: 2,
            changes: 6,
            requests: 8,
            stall_timeout: Duration::from_secs(7),
            message_size: 5000,
            bounds: Bounds {
                items: 20,
                filter_conditions: 21,
                filter_depth: 22,
            },
        },
        connections: ConnectionLimits {
            connections: 4,
            per_peer: 5,
            streams: 9,
            header_size: 2000,
            handshake: Duration::from_secs(11),
            first_frame: Duration::from_secs(12),
            idle: None,
            keepalive_interval: Duration::from_secs(13),
            keepalive_timeout: Duration::from_secs(14),
        },
    };
    assert_eq!(config, expected);

    let flags = [
        &path,
        "--listen=unix:/y",
        "--max-dumps=9",
        "--tls-ca=b",
        "--audit-log=off",
    ];
    let config = load(&flags).unwrap();
    assert_eq!(config.audit, audit::Sink::Off);
    assert_eq!(config.listen, [Listen::Unix("/y".into())]);
    assert_eq!(config.limits.dumps, 9);
    assert_eq!(config.events.max_watchers, 3);
    let Transport::Tls(tls::Settings { files, .. }) = config.transport else {
        panic!("TLS")
    };
    assert_eq!((files.cert, files.ca), ("c".into(), "b".into()));
}

/// A flag that was forgotten in the file would be a key that is refused.
#[test]
fn every_flag_is_a_key_of_the_file() {
    for argument in Cli::command().get_arguments() {
        let name = argument.get_long().expect("long flags only");
        if ["config", "help", "version"].contains(&name) {
            continue;
        }
        assert!(EVERYTHING.contains(&format!("{name} = ")), "{name}");
    }
}

#[test]
fn a_wrong_file_is_named_with_the_place() {
    let error = refusal(&["--config=/nonexistent/ctagent.toml"]);
    assert!(error.contains("/nonexistent/ctagent.toml"), "{error}");
    for (text, reason) in [
        ("lissten = []", "unknown field `lissten`"),
        ("[limits]\nmax-dump = 1", "unknown field `max-dump`"),
        ("listen = [\"nowhere\"]", "no place to listen at"),
        ("drain-timeout = \"long\"", "expected u64"),
        ("audit-log = \"syslog\"", "no place for the audit log"),
    ] {
        let file = file(text);
        let error = refusal(&[&format!("--config={}", file.path().display())]);
        assert!(error.contains(reason), "{error}");
        assert!(error.contains("line"), "{error}");
        assert!(
            error.contains(&file.path().display().to_string()),
            "{error}"
        );
    }
}

fn load_file(text: &str) -> Result<Config, ConfigError> {
    let file = file(text);
    load(&["--config", file.path().to_str().unwrap()])
}

#[test]
fn the_file_s_bindings_come_first_and_who_could_do_it_anyway_last() {
    use crate::access::{Identity, Role};
    let config = load_file(
        r#"
        allow = ["operator=uid:7", "reader=uid:8"]
        [[bindings]]
        subjects = ["uid:8", "gid:9"]
        role = "admin"
        scope = "src 10.1.0.0/16 or mark 5"
        network-namespaces = ["", "edge"]
        "#,
    )
    .unwrap();
    let grant = |uid, gid| {
        config
            .policy
            .grant(&Identity::of_process(uid, gid, &[]))
            .cloned()
    };
    let scoped = grant(8, 8).unwrap();
    assert_eq!(scoped.role, Role::Admin);
    let scope = scoped.scope.as_ref().unwrap();
    assert_eq!(scope.as_str(), "src 10.1.0.0/16 or mark 5");
    assert!(scoped.reaches("") && scoped.reaches("edge") && !scoped.reaches("x"));
    assert_eq!(grant(1, 9), grant(8, 8));
    assert_eq!(grant(7, 7).unwrap().role, Role::Operator);
    assert_eq!(grant(0, 0).unwrap().role, Role::Admin);
    assert_eq!(grant(77, 77), None);
}

#[test]
fn a_binding_that_means_nothing_is_refused() {
    let binding = |rest: &str| {
        let text = format!("[[bindings]]\nrole = \"reader\"\n{rest}");
        load_file(&text).expect_err("refused").to_string()
    };
    let nobody = binding("subjects = []");
    assert!(
        nobody.starts_with("bindings[0]: subjects is empty"),
        "{nobody}"
    );
    for (scope, words) in [
        ("dprt 5", "dport"),
        ("expect-class 1", "no field of flows"),
        ("not label 3", "cannot be in a scope"),
        ("state ESTABLISHED", "cannot be in a scope"),
    ] {
        let error = binding(&format!("subjects = [\"cn:a\"]\nscope = \"{scope}\""));
        assert!(error.starts_with("bindings[0]: scope: "), "{error}");
        assert!(error.contains(words), "{error}");
    }
    let nowhere = binding("subjects = [\"cn:a\"]\nnetwork-namespaces = []");
    assert!(nowhere.contains("network-namespaces is empty"), "{nowhere}");
    assert!(binding("subjects = [\"admin\"]").contains("expected uri:GLOB"));
    assert!(binding("").contains("subjects"), "a subject is required");
    let error = load_file("allow = [\"admin\"]")
        .expect_err("refused")
        .to_string();
    assert!(error.contains("expected ROLE=SUBJECT"), "{error}");
    let error = load_file("socket-mode = \"999\"")
        .expect_err("refused")
        .to_string();
    assert!(error.contains("expected octal digits"), "{error}");
}
