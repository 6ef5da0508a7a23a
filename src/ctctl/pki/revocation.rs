//! The list of what an authority took back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::asn1_rs::BitString;
use x509_parser::num_bigint::BigUint;
use x509_parser::prelude::{
    ASN1Time, CertificateRevocationList, FromDer as _, X509Certificate, X509Name,
};

use super::PkiError;
use super::authority::{Authority, DAY, time};
use super::files::Successor;
use crate::tls::is_signature;

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
    /// Adds these certificates to the list, or makes one: all of them, or none where one of them
    /// cannot be taken back. The list is exchanged in one step, by one at a time: what two add at
    /// once is not lost.
    pub fn revoke(&self, certificates: &[PathBuf], days: u32) -> Result<Revoked, PkiError> {
        let list = self.directory.join(NAME);
        let new = Successor::begin(self.directory.join(NEW))?;
        let own = self.own()?;
        let (mut revoked, number) = on_the_list(&list, &own)?;
        let now = ASN1Time::now().timestamp();
        let mut numbers = Vec::new();
        for path in certificates {
            numbers_in(path, &own, &mut numbers)?;
        }
        for serial_number in numbers {
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
            crl_number: SerialNumber::from_slice(&number.to_bytes_be()),
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

    /// Its own certificate, read.
    fn own(&self) -> Result<X509Certificate<'_>, PkiError> {
        let read = X509Certificate::from_der(&self.certificate);
        let (_, own) = read.map_err(|error| PkiError::Crypto(error.to_string()))?;
        Ok(own)
    }
}

/// What the list names up to now, and the number of the next one: it tells an agent which list
/// is newer, also of two that were made within a second.
fn on_the_list(
    path: &Path,
    own: &X509Certificate<'_>,
) -> Result<(Vec<RevokedCertParams>, BigUint), PkiError> {
    let now = BigUint::from(u64::try_from(ASN1Time::now().timestamp()).unwrap_or(0));
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), now)),
        Err(error) => return Err(bad(path, &error)),
        Ok(bytes) => bytes,
    };
    let der = CertificateRevocationListDer::from_pem_slice(&bytes);
    let der = der.map_err(|error| bad(path, &error))?;
    let (_, list) = CertificateRevocationList::from_der(&der).map_err(|error| bad(path, &error))?;
    let signed = (list.tbs_cert_list.as_ref(), &list.signature_value);
    if !is_of(own, list.issuer(), signed) {
        return Err(bad(path, &"it is another authority's"));
    }
    let next = list.crl_number().map(|number| number + 1_u32);
    let entries = list.iter_revoked_certificates().map(|entry| {
        Ok(RevokedCertParams {
            serial_number: SerialNumber::from_slice(entry.raw_serial()),
            revocation_time: entry.revocation_date.to_datetime(),
            reason_code: None,
            invalidity_date: None,
        })
    });
    let entries = entries.collect::<Result<_, PkiError>>()?;
    Ok((entries, next.map_or(now.clone(), |next| next.max(now))))
}

/// The numbers of all certificates in a file, each of which this authority must have issued.
fn numbers_in(
    path: &Path,
    own: &X509Certificate<'_>,
    numbers: &mut Vec<SerialNumber>,
) -> Result<(), PkiError> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| bad(path, &error))?;
    let before = numbers.len();
    for der in found {
        let der = der.map_err(|error| bad(path, &error))?;
        let (_, certificate) =
            X509Certificate::from_der(&der).map_err(|error| bad(path, &error))?;
        let signed = (
            certificate.tbs_certificate.as_ref(),
            &certificate.signature_value,
        );
        let refused = if certificate.public_key() == own.public_key() {
            "it is the authority's own; who trusts it has to take it out of --tls-ca"
        } else if !is_of(own, certificate.issuer(), signed) {
            "another authority issued it"
        } else {
            numbers.push(SerialNumber::from_slice(certificate.raw_serial()));
            continue;
        };
        let subject = certificate.subject().to_string();
        return Err(bad(path, &format_args!("{refused} ({subject:?})")));
    }
    if numbers.len() == before {
        return Err(bad(path, &"there is no certificate in it"));
    }
    Ok(())
}

/// Whether an authority's key signed it, and not only one of the same name.
fn is_of(
    authority: &X509Certificate<'_>,
    issuer: &X509Name<'_>,
    (message, signature): (&[u8], &BitString<'_>),
) -> bool {
    let key = &authority.public_key().subject_public_key.data;
    issuer.as_raw() == authority.subject().as_raw() && is_signature(key, message, &signature.data)
}

fn bad(path: &Path, reason: &dyn std::fmt::Display) -> PkiError {
    PkiError::Revocation {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
