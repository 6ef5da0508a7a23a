//! The authority: made once, read to issue.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SerialNumber, string::PrintableString,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};

use super::PkiError;
use super::files::{self, New};
use super::subject::{Agent, Client, fit};
use crate::tls::date;

/// The name of its files.
pub(super) const NAME: &str = "ca";
pub(super) const DAY: i64 = 24 * 60 * 60;
/// Clocks of a fleet differ a little; what is made now must hold everywhere at once.
const BEFORE: i64 = 60 * 60;

/// An authority in a directory.
pub struct Authority {
    pub(super) directory: PathBuf,
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub(super) certificate: CertificateDer<'static>,
    end: i64,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// Its private key's.
    pub key: PathBuf,
    /// The last second that it holds, in seconds since 1970.
    pub end: i64,
    /// It ends sooner than was asked for, with its authority.
    pub cut: bool,
}

impl Authority {
    /// Makes a new one, which may issue certificates for agents and clients, but for no other
    /// authority.
    pub fn create(directory: &Path, name: &str, days: u32) -> Result<Issued, PkiError> {
        if name.is_empty() || name.len() > 64 {
            return Err(PkiError::Name {
                name: name.to_owned(),
                what: "an authority",
                reason: "expected 1 to 64 bytes",
            });
        }
        let mut params = CertificateParams::default();
        fit(name, "an authority")?;
        let key = KeyPair::generate()?;
        params.distinguished_name = unique(name, &params.key_identifier(&key))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let now = ASN1Time::now().timestamp();
        let end = now.saturating_add(i64::from(days) * DAY);
        date_and_number(&mut params, now, end)?;
        let certificate = params.self_signed(&key)?;
        write(directory, NAME, &certificate.pem(), &key, (end, false))
    }

    /// Reads one.
    pub fn open(directory: &Path) -> Result<Self, PkiError> {
        let (cert, key) = (directory.join("ca.crt"), directory.join("ca.key"));
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|source| PkiError::NoAuthority {
                path: path.to_owned(),
                source,
            })
        };
        let bad = |path: &Path, reason: &str| PkiError::BadAuthority {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let text = read(&cert)?;
        let der = CertificateDer::from_pem_slice(text.as_bytes());
        let der = der.map_err(|error| bad(&cert, &error.to_string()))?;
        let (_, parsed) =
            X509Certificate::from_der(&der).map_err(|error| bad(&cert, &error.to_string()))?;
        if !parsed.is_ca() {
            return Err(bad(&cert, "its certificate is not one of an authority"));
        }
        let end = parsed.validity().not_after.timestamp();
        if end < ASN1Time::now().timestamp() {
            return Err(PkiError::Ended {
                path: cert,
                end: date(end),
            });
        }
        let pair =
            KeyPair::from_pem(&read(&key)?).map_err(|error| bad(&key, &error.to_string()))?;
        if parsed.public_key().raw != pair.subject_public_key_info() {
            return Err(bad(&key, "the key is not that of ca.crt"));
        }
        let issuer = Issuer::from_ca_cert_der(&der, pair)?;
        Ok(Self {
            directory: directory.to_owned(),
            issuer,
            certificate: der,
            end,
        })
    }

    /// Issues a certificate for an agent.
    pub fn issue_agent(&self, agent: &Agent, days: u32) -> Result<Issued, PkiError> {
        let (params, file) = agent.params()?;
        self.issue(params, file, days)
    }

    /// Issues a certificate for a client.
    pub fn issue_client(&self, client: &Client, days: u32) -> Result<Issued, PkiError> {
        let (params, file) = client.params()?;
        self.issue(params, file, days)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        file: &str,
        days: u32,
    ) -> Result<Issued, PkiError> {
        let now = ASN1Time::now().timestamp();
        let wanted = now.saturating_add(i64::from(days) * DAY);
        let end = wanted.min(self.end);
        date_and_number(&mut params, now, end)?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let validity = (end, end < wanted);
        write(&self.directory, file, &certificate.pem(), &key, validity)
    }
}

/// The name as the user gave it, and behind it what no other authority of that name has: lists of
/// revoked certificates are told apart by the name alone, and an authority that takes the place
/// of another stands beside it for a while.
fn unique(name: &str, key_id: &[u8]) -> Result<DistinguishedName, PkiError> {
    let serial_number = DnType::CustomDnType(vec![2, 5, 4, 5]);
    let start: String = key_id.iter().take(4).map(|b| format!("{b:02x}")).collect();
    let start = PrintableString::try_from(start)?;
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full.push(serial_number, DnValue::PrintableString(start));
    Ok(full)
}

/// Seconds since 1970 as certificates have them.
pub(super) fn time(seconds: i64) -> Result<ASN1Time, PkiError> {
    ASN1Time::from_timestamp(seconds).map_err(|error| PkiError::Crypto(error.to_string()))
}

/// When it holds, and a number that nobody can guess (RFC 5280, 4.1.2.2: positive, at most 20
/// bytes).
fn date_and_number(params: &mut CertificateParams, now: i64, end: i64) -> Result<(), PkiError> {
    params.not_before = time(now - BEFORE)?.to_datetime();
    params.not_after = time(end)?.to_datetime();
    let mut number = [0; 16];
    let filled = ring::default_provider().secure_random.fill(&mut number);
    filled.map_err(|_| PkiError::Crypto("the kernel gives no random numbers".to_owned()))?;
    // Neither negative nor shorter than it looks.
    number[0] = (number[0] & 0x7f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&number));
    Ok(())
}

fn write(
    directory: &Path,
    name: &str,
    certificate: &str,
    key: &KeyPair,
    (end, cut): (i64, bool),
) -> Result<Issued, PkiError> {
    let made = files::make(
        directory,
        &[
            New {
                name: format!("{name}.crt"),
                text: certificate,
                secret: false,
            },
            New {
                name: format!("{name}.key"),
                text: &key.serialize_pem(),
                secret: true,
            },
        ],
    )?;
    let [certificate, key] = <[PathBuf; 2]>::try_from(made)
        .map_err(|_| PkiError::Crypto("a file is missing".to_owned()))?;
    Ok(Issued {
        certificate,
        key,
        end,
        cut,
    })
}
