//! What can go wrong between the client and an agent before a call is answered, in words
//! that say what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, InvalidMessage};

use crate::tls::{WrongId, date};

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
    /// The certificate is another agent's.
    #[error(
        "the agent's certificate is not that of {expected:?}{}; say which to expect with \
         --tls-server-id",
        presented(found)
    )]
    WrongId {
        /// The id that was expected.
        expected: String,
        /// The URIs that the certificate has.
        found: Vec<String>,
    },
    /// The certificate is out of its time.
    #[error("the agent's certificate {0}; renew it, or correct this host's clock")]
    OutOfTime(OutOfTime),
    /// Anything else about the agent's certificate.
    #[error("the agent's certificate is not usable: {0}")]
    Certificate(String),
    /// We showed no certificate.
    #[error("the agent wants a client certificate; give --tls-cert and --tls-key")]
    NoClientCertificate,
    /// Our certificate is not trusted there.
    #[error(
        "the agent does not accept our certificate ({0}); --tls-cert has to be issued by a CA \
         that the agent trusts (and that has a list where the agent wants revocation lists)"
    )]
    ClientCertificate(&'static str),
    /// Our certificate is out of its time, by the agent's clock.
    #[error("the agent does not accept our certificate (out of its time): {0}")]
    ClientOutOfTime(OwnTime),
    /// Our certificate was revoked.
    #[error(
        "the agent does not accept our certificate (revoked): its authority took it back; \
         --tls-cert has to be another one"
    )]
    Revoked,
    /// No version in common.
    #[error(
        "the other end speaks no version of TLS that ctctl does; agents speak 1.3, and 1.2 \
         where tls-min-version allows it"
    )]
    Version,
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

/// When a certificate holds, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then.
    pub begin: i64,
    /// Until then.
    pub end: i64,
}

/// A certificate that does not hold now, by this host's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfTime {
    /// It held.
    Expired {
        /// Until then.
        end: i64,
        /// It is now.
        now: i64,
    },
    /// It will hold.
    NotYet {
        /// From then.
        begin: i64,
        /// It is now.
        now: i64,
    },
    /// One of both; nobody said when.
    Somehow,
}

impl fmt::Display for OutOfTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Expired { end, now } => write!(
                f,
                "expired on {}, and it is {} by this host's clock",
                date(end),
                date(now)
            ),
            Self::NotYet { begin, now } => write!(
                f,
                "is not valid before {}, and it is {} by this host's clock",
                date(begin),
                date(now)
            ),
            Self::Somehow => f.write_str("has expired or is not valid yet"),
        }
    }
}

/// What this host's clock says of our certificate, which the agent's takes for out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnTime {
    /// Nobody looked.
    Unknown,
    /// That it holds.
    Holds(Validity),
    /// The same.
    Out(OutOfTime),
}

impl OwnTime {
    /// By this host's clock.
    fn of(Validity { begin, end }: Validity) -> Self {
        let now = jiff::Timestamp::now().as_second();
        if end < now {
            Self::Out(OutOfTime::Expired { end, now })
        } else if now < begin {
            Self::Out(OutOfTime::NotYet { begin, now })
        } else {
            Self::Holds(Validity { begin, end })
        }
    }
}

impl fmt::Display for OwnTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str(
                "renew --tls-cert, or correct the clock of the agent's host or of this one",
            ),
            Self::Holds(Validity { begin, end }) => write!(
                f,
                "it is valid from {} until {}, and by this host's clock it is in its time; \
                 correct the clock of the agent's host",
                date(*begin),
                date(*end)
            ),
            Self::Out(words) => write!(f, "it {words}; renew --tls-cert, or correct the clock"),
        }
    }
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
        CertificateError::ExpiredContext { time, not_after } => {
            let (end, now) = (seconds(*not_after), seconds(*time));
            TlsFault::OutOfTime(OutOfTime::Expired { end, now })
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let (begin, now) = (seconds(*not_before), seconds(*time));
            TlsFault::OutOfTime(OutOfTime::NotYet { begin, now })
        }
        CertificateError::Expired | CertificateError::NotValidYet => {
            TlsFault::OutOfTime(OutOfTime::Somehow)
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => TlsFault::WrongName {
            expected: expected.to_str().into_owned(),
            names: presented.iter().map(|name| plain(name)).collect(),
        },
        CertificateError::Other(other) => match other.0.downcast_ref::<WrongId>() {
            Some(WrongId { expected, found }) => TlsFault::WrongId {
                expected: expected.clone(),
                found: found.clone(),
            },
            None => TlsFault::Certificate(other.to_string()),
        },
        other => TlsFault::Certificate(other.to_string()),
    }
}

fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// What the agent's alert says of our side of the handshake.
fn from_alert(alert: AlertDescription) -> TlsFault {
    match alert {
        AlertDescription::CertificateRequired => TlsFault::NoClientCertificate,
        AlertDescription::UnknownCA => TlsFault::ClientCertificate("unknown CA"),
        AlertDescription::CertificateExpired => TlsFault::ClientOutOfTime(OwnTime::Unknown),
        AlertDescription::CertificateRevoked => TlsFault::Revoked,
        AlertDescription::ProtocolVersion => TlsFault::Version,
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

    /// The same of a connection where we showed a certificate of this validity.
    pub fn with_own(self, own: Option<Validity>) -> Self {
        match (self, own) {
            (Self::Tls(TlsFault::ClientOutOfTime(OwnTime::Unknown)), Some(validity)) => {
                TlsFault::ClientOutOfTime(OwnTime::of(validity)).into()
            }
            (fault, _) => fault,
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

    /// Forgets it: another connection begins.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
    fn a_certificate_out_of_its_time_may_be_the_clock() {
        let after = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let words = |error| Fault::from(from_certificate(&error)).to_string();
        let told = words(CertificateError::ExpiredContext {
            time: after(1_800_000_000),
            not_after: after(1_480_000_000),
        });
        assert!(
            told.contains("expired on 2016-11-24T15:06:40Z, and it is 2027-01-15T08:00:00Z by")
                && told.contains("correct this host's clock"),
            "{told}"
        );
        let told = words(CertificateError::NotValidYetContext {
            time: after(1),
            not_before: after(1_480_000_000),
        });
        assert!(
            told.contains("not valid before 2016-11-24T15:06:40Z"),
            "{told}"
        );

        let expired = Fault::from(from_alert(AlertDescription::CertificateExpired));
        let own = |begin, end| {
            expired
                .clone()
                .with_own(Some(Validity { begin, end }))
                .to_string()
        };
        let told = own(0, i64::MAX / 1_000_000_000);
        assert!(
            told.contains("correct the clock of the agent's host"),
            "{told}"
        );
        let told = own(0, 1_480_000_000);
        assert!(
            told.contains("it expired on 2016-11-24T15:06:40Z"),
            "{told}"
        );
        assert!(expired.to_string().contains("clock"));
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
