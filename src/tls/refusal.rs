//! Why a client was not let in, in words for the agent's log.

use std::io;

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{self, CertificateError};

use super::time;

/// What an error of a handshake means.
pub fn refusal(error: &io::Error) -> String {
    let inner = error.get_ref();
    let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(certificate)) = tls else {
        return error.to_string();
    };
    match certificate {
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the client's certificate expired on {}, and it is {} by this host's clock, which may \
             be wrong",
            date(*not_after),
            date(*time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the client's certificate is not valid before {}, and it is {} by this host's clock, \
             which may be wrong",
            date(*not_before),
            date(*time)
        ),
        CertificateError::Revoked => "the client's certificate was revoked".to_owned(),
        CertificateError::UnknownRevocationStatus => {
            "an authority of the client's certificate has no list in --tls-crl".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "the client's certificate comes from no authority in --tls-ca".to_owned()
        }
        other => format!("the client's certificate cannot be used: {other}"),
    }
}

fn date(time: UnixTime) -> String {
    time::words(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}
