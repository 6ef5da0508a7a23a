//! The list of what an authority took back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{ASN1Time, CertificateRevocationList, FromDer as _, X509Certificate};

use super::PkiError;
use super::authority::{Authority, DAY, time};
use super::files::Successor;

/// The list's file.
const NAME: &str = "ca.crl";
/// What it is until it is whole; and nobody else makes another meanwhile.
const NEW: &str = "ca.crl.new";

/// A list that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its file.
    pub list: PathBuf,
    /// How many certificates it names.
    pub certificates: usize,
    /// When it is to be renewed, in seconds since 1970.
    pub due: i64,
}

impl Authority {
    /// Adds these certificates to the list, or makes one. The list is exchanged in one step, by
    /// one at a time: what two add at once is not lost.
    pub fn revoke(&self, certificates: &[PathBuf], days: u32) -> Result<Revoked, PkiError> {
        let list = self.directory.join(NAME);
        let new = Successor::begin(self.directory.join(NEW))?;
        let mut revoked = self.on_the_list(&list)?;
        let now = ASN1Time::now().timestamp();
        for certificate in certificates {
            let serial_number = self.number_of(certificate)?;
            if revoked
                .iter()
                .all(|entry| entry.serial_number != serial_number)
            {
                revoked.push(RevokedCertParams {
                    serial_number,
                    revocation_time: time(now)?.to_datetime(),
                    reason_code: None,
                    invalidity_date: None,
                });
            }
        }
        let count = revoked.len();
        let due = now.saturating_add(i64::from(days) * DAY);
        let params = CertificateRevocationListParams {
            this_update: time(now)?.to_datetime(),
            next_update: time(due)?.to_datetime(),
            // It only has to grow.
            crl_number: SerialNumber::from(u64::try_from(now).unwrap_or(0)),
            issuing_distribution_point: None,
            revoked_certs: revoked,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let text = params.signed_by(&self.issuer)?.pem()?;
        new.succeed(&list, &text)?;
        Ok(Revoked {
            list,
            certificates: count,
            due,
        })
    }

    /// What the list names up to now.
    fn on_the_list(&self, path: &Path) -> Result<Vec<RevokedCertParams>, PkiError> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(bad(path, &error)),
            Ok(bytes) => bytes,
        };
        let der = CertificateRevocationListDer::from_pem_slice(&bytes);
        let der = der.map_err(|error| bad(path, &error))?;
        let (_, list) =
            CertificateRevocationList::from_der(&der).map_err(|error| bad(path, &error))?;
        if list.issuer().as_raw() != self.subject {
            return Err(bad(path, &"it is another authority's"));
        }
        let entries = list.iter_revoked_certificates().map(|entry| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(entry.raw_serial()),
                revocation_time: entry.revocation_date.to_datetime(),
                reason_code: None,
                invalidity_date: None,
            })
        });
        entries.collect()
    }

    fn number_of(&self, path: &Path) -> Result<SerialNumber, PkiError> {
        let der = CertificateDer::from_pem_file(path).map_err(|error| bad(path, &error))?;
        let (_, certificate) =
            X509Certificate::from_der(&der).map_err(|error| bad(path, &error))?;
        if certificate.issuer().as_raw() != self.subject {
            return Err(bad(path, &"another authority issued it"));
        }
        Ok(SerialNumber::from_slice(certificate.raw_serial()))
    }
}

fn bad(path: &Path, reason: &dyn std::fmt::Display) -> PkiError {
    PkiError::Revocation {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
