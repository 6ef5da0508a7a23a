//! The programs under test: `ctagent` on loopback of the benchmark's namespace, with mutual
//! TLS from certificates made here, and without; and `ctctl` as its caller.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::harness::Netns;
use crate::harness::process::Process;

/// Certificates of a small authority, as files.
pub(crate) struct Pki {
    directory: TempDir,
}

impl Pki {
    pub(crate) fn make(agent_names: Vec<String>) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(authority, key).expect("an authority");
        let write = |name: &str, text: String| {
            fs::write(directory.path().join(name), text).expect("a certificate file");
        };
        write("ca.pem", authority.pem());
        for (name, names) in [("agent", agent_names), ("client", vec!["bench".to_owned()])] {
            let key = KeyPair::generate().expect("a key");
            let certificate = CertificateParams::new(names)
                .and_then(|parameters| parameters.signed_by(&key, &authority))
                .expect("a certificate");
            write(&format!("{name}.pem"), certificate.pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self { directory }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The three flags of a side.
    pub(crate) fn flags(&self, side: &str) -> Vec<String> {
        [
            ("--tls-ca", "ca.pem".to_owned()),
            ("--tls-cert", format!("{side}.pem")),
            ("--tls-key", format!("{side}.key")),
        ]
        .into_iter()
        .flat_map(|(flag, file)| [flag.to_owned(), self.file(&file).display().to_string()])
        .collect()
    }
}

/// How `ctctl` reaches the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tls,
    Plaintext,
}

/// Two agents of one namespace: one for each transport.
pub(crate) struct Agents {
    tls: Process,
    plaintext: Process,
    pki: Pki,
}

const TLS_PLACE: &str = "127.0.0.1:7447";
const PLAINTEXT_PLACE: &str = "127.0.0.1:7448";

impl Agents {
    pub(crate) fn start(ns: &Netns) -> Self {
        let pki = Pki::make(vec!["127.0.0.1".to_owned()]);
        let start = |arguments: &[String]| {
            let mut process = Process::spawn(
                ns,
                Command::new(env!("CARGO_BIN_EXE_ctagent")).args(arguments),
            );
            process.wait_for("ready");
            process
        };
        let mut with_tls = vec!["--listen".to_owned(), TLS_PLACE.to_owned()];
        with_tls.extend(pki.flags("agent"));
        with_tls.extend(["--allow".to_owned(), "admin=cn:*".to_owned()]);
        let plain = ["--listen", PLAINTEXT_PLACE, "--insecure-plaintext"].map(str::to_owned);
        Self {
            tls: start(&with_tls),
            plaintext: start(&plain),
            pki,
        }
    }

    pub(crate) fn process(&self, transport: Transport) -> &Process {
        match transport {
            Transport::Tls => &self.tls,
            Transport::Plaintext => &self.plaintext,
        }
    }

    /// `ctctl`, ready to be given its words.
    pub(crate) fn ctctl(&self, transport: Transport) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ctctl"));
        match transport {
            Transport::Tls => command
                .args(["-t", TLS_PLACE])
                .args(self.pki.flags("client")),
            Transport::Plaintext => command.args(["-t", PLAINTEXT_PLACE, "--insecure-plaintext"]),
        };
        command.stdin(Stdio::null());
        command
    }
}
