//! What can go wrong between the client and an agent before a call is answered, in words
//! that say what to do.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_rustls::rustls::{self, AlertDescription, CertificateError, InvalidMessage};

/// A connection that could not be made, or that broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The socket's path does not exist.
    #[error(
        "there is no socket {}; start ctagent on this host, or name another target with -t",
        .0.display()
    )]
    NoSocket(PathBuf),
    /// The socket's permissions keep this user out.
    #[error(
        "permission denied on the socket {}; it is for its owner alone: run as root",
        .0.display()
    )]
    SocketPermission(PathBuf),
    /// The path is there, but nobody accepts connections.
    #[error("nothing listens at {0}; is ctagent running there?")]
    Refused(String),
    /// The name has no address.
    #[error("cannot find the address of {host}: {error}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver says.
        error: String,
    },
    /// Neither a connection nor a refusal in time.
    #[error(
        "no connection to {place} within {} s; is it up, and does a firewall in between let \
         the port through? (--timeout waits longer)",
        waited.as_secs_f64()
    )]
    TimedOut {
        /// Where to.
        place: String,
        /// How long.
        waited: Duration,
    },
    /// Encryption failed.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// A plaintext connection met an agent that speaks TLS.
    #[error("the agent speaks TLS here; use https:// without --insecure-plaintext")]
    SpeaksTls,
    /// The first bytes are no HTTP/2.
    #[error("the other end does not speak HTTP/2; is this an agent's port?")]
    NotHttp2,
    /// The other end closed the connection before it answered anything.
    #[error("the connection was closed before the first answer; is this an agent's port?")]
    ClosedAtOnce,
    /// Anything else that the operating system says.
    #[error("the connection failed: {0}")]
    Io(String),
}

/// Why a TLS connection failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// The agent's certificate does not lead to our CA.
    #[error(
        "the agent's certificate was not issued by a CA in the --tls-ca file; give the CA of \
         this agent"
    )]
    ForeignCa,
    /// The certificate is for another name.
    #[error(
        "the agent's certificate is not valid for {expected:?}{}; reach it by such a name, \
         or say which to expect with --tls-server-name",
        presented(names)
    )]
    WrongName {
        /// The name that was expected.
        expected: String,
        /// The names that the certificate has.
        names: Vec<String>,
    },
    /// The certificate is out of its time.
    #[error("the agent's certificate {0}; renew it, or correct this host's clock")]
    OutOfTime(&'static str),
    /// Anything else about the agent's certificate.
    #[error("the agent's certificate is not usable: {0}")]
    Certificate(String),
    /// We showed no certificate.
    #[error("the agent wants a client certificate; give --tls-cert and --tls-key")]
    NoClientCertificate,
    /// Our certificate is not trusted there.
    #[error(
        "the agent does not accept our certificate ({0}); --tls-cert has to be issued by a CA \
         that the agent trusts, and be in its time"
    )]
    ClientCertificate(&'static str),
    /// The other end does not speak TLS.
    #[error(
        "the other end does not speak TLS; an agent in plaintext is reached with \
         --insecure-plaintext (or http:// on loopback)"
    )]
    NotTls,
    /// No protocol in common.
    #[error("the other end speaks TLS but not HTTP/2; is this an agent's port?")]
    NotHttp2,
    /// Anything else.
    #[error("the TLS handshake failed: {0}")]
    Other(String),
}

fn presented(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!(" (it is for {})", names.join(", "))
    }
}

/// `DnsName("fw1")`, as rustls tells it, without the wrapping.
fn plain(name: &str) -> String {
    let inner = name.split_once('(').map(|(_, rest)| rest);
    let inner = inner.and_then(|rest| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"').to_owned()
}

impl From<&rustls::Error> for TlsFault {
    fn from(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(certificate) => from_certificate(certificate),
            rustls::Error::AlertReceived(alert) => from_alert(*alert),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NotTls,
            other => Self::Other(other.to_string()),
        }
    }
}

fn from_certificate(error: &CertificateError) -> TlsFault {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::ForeignCa,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            TlsFault::OutOfTime("has expired")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsFault::OutOfTime("is not valid yet")
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => TlsFault::WrongName {
            expected: expected.to_str().into_owned(),
            names: presented.iter().map(|name| plain(name)).collect(),
        },
        other => TlsFault::Certificate(other.to_string()),
    }
}

/// What the agent's alert says of our side of the handshake.
fn from_alert(alert: AlertDescription) -> TlsFault {
    match alert {
        AlertDescription::CertificateRequired => TlsFault::NoClientCertificate,
        AlertDescription::UnknownCA => TlsFault::ClientCertificate("unknown CA"),
        AlertDescription::CertificateExpired => TlsFault::ClientCertificate("expired"),
        AlertDescription::CertificateRevoked => TlsFault::ClientCertificate("revoked"),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => TlsFault::ClientCertificate("refused"),
        AlertDescription::NoApplicationProtocol => TlsFault::NotHttp2,
        other => TlsFault::Other(format!("the agent answered with the alert {other:?}")),
    }
}

impl Fault {
    /// What an I/O error on a connection to `place` means.
    pub fn from_io(error: &io::Error, place: &str) -> Self {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(tls) = tls {
            return TlsFault::from(tls).into();
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused(place.to_owned()),
            _ => Self::Io(error.to_string()),
        }
    }

    /// How much it tells: that the connection is gone is the least.
    fn telling(&self) -> u8 {
        match self {
            Self::Io(_) => 0,
            Self::ClosedAtOnce => 1,
            _ => 2,
        }
    }
}

/// Where a connection notes its first fault, so that a call that fails as "transport error"
/// can say why.
#[derive(Clone, Debug, Default)]
pub struct FaultNote(Arc<Mutex<Option<Fault>>>);

impl FaultNote {
    /// Notes a fault; the first stays, unless a later one tells more (the alert behind a
    /// reset connection).
    pub fn note(&self, fault: Fault) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted
            .as_ref()
            .is_none_or(|old| old.telling() < fault.telling())
        {
            *noted = Some(fault);
        }
    }

    /// The fault, if there was one.
    pub fn get(&self) -> Option<Fault> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_errors_inside_io_errors_are_found() {
        let io = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let fault = |error| Fault::from_io(&io(error), "fw1:1");
        assert_eq!(
            fault(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer
            )),
            Fault::Tls(TlsFault::ForeignCa)
        );
        assert_eq!(
            fault(rustls::Error::AlertReceived(
                AlertDescription::CertificateRequired
            )),
            Fault::Tls(TlsFault::NoClientCertificate)
        );
        assert_eq!(
            fault(rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType
            )),
            Fault::Tls(TlsFault::NotTls)
        );
    }

    #[test]
    fn the_alert_behind_a_reset_is_what_counts() {
        let note = FaultNote::default();
        note.note(Fault::Io("reset".into()));
        note.note(Fault::Tls(TlsFault::NoClientCertificate));
        note.note(Fault::Tls(TlsFault::NotHttp2));
        assert_eq!(note.get(), Some(Fault::Tls(TlsFault::NoClientCertificate)));
    }

    #[test]
    fn every_fault_says_what_to_do() {
        let error = CertificateError::NotValidForNameContext {
            expected: "fw1".try_into().unwrap(),
            presented: vec!["DnsName(\"fw2\")".into()],
        };
        let words = Fault::Tls(from_certificate(&error)).to_string();
        assert!(
            words.contains("--tls-server-name") && words.contains("(it is for fw2)"),
            "{words}"
        );
    }
}
