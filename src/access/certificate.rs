//! The names in a client's certificate.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Name;
use crate::tls::{MAX_NAME, UnfitName, check_name};

/// Most names of one certificate; one with more is no identity but an attack on a log.
const MAX_NAMES: usize = 64;

/// A certificate whose owner gets nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// It is no X.509 certificate.
    #[error("the client's certificate cannot be read: {0}")]
    Unreadable(String),
    /// A name has characters that could pass for something else in a log.
    #[error(
        "a name in the client's certificate has control characters, or turns the direction of \
         text, or is no text"
    )]
    OddName,
    /// A name is too long.
    #[error("a name in the client's certificate is longer than {MAX_NAME} bytes")]
    LongName,
    /// There are too many.
    #[error("the client's certificate has more than {MAX_NAMES} names")]
    ManyNames,
}

/// The names, the most telling first: URIs, common names, DNS names, organisations.
pub(super) fn names(der: &[u8]) -> Result<Vec<Name>, BadCertificate> {
    let unreadable = |error: &dyn std::fmt::Display| BadCertificate::Unreadable(error.to_string());
    let (_, certificate) = X509Certificate::from_der(der).map_err(|e| unreadable(&e))?;
    let alternative = certificate
        .subject_alternative_name()
        .map_err(|e| unreadable(&e))?;
    let (mut uris, mut dns) = (Vec::new(), Vec::new());
    for name in alternative.iter().flat_map(|san| &san.value.general_names) {
        match name {
            GeneralName::URI(uri) => uris.push(Name::Uri(text(uri)?)),
            GeneralName::DNSName(name) => dns.push(Name::Dns(text(name)?)),
            _ => {}
        }
    }
    let mut names = uris;
    for name in certificate.subject().iter_common_name() {
        let name = name.as_str().map_err(|_| BadCertificate::OddName)?;
        names.push(Name::CommonName(text(name)?));
    }
    names.append(&mut dns);
    for name in certificate.subject().iter_organization() {
        let name = name.as_str().map_err(|_| BadCertificate::OddName)?;
        names.push(Name::Organization(text(name)?));
    }
    if names.len() > MAX_NAMES {
        return Err(BadCertificate::ManyNames);
    }
    Ok(names)
}

fn text(name: &str) -> Result<String, BadCertificate> {
    match check_name(name) {
        Ok(()) => Ok(name.to_owned()),
        Err(UnfitName::Odd) => Err(BadCertificate::OddName),
        Err(UnfitName::Long) => Err(BadCertificate::LongName),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;
    use crate::access::Identity;

    fn certificate(fill: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        fill(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn every_name_is_found_and_the_uri_comes_first() {
        let der = certificate(|params| {
            let name = &mut params.distinguished_name;
            name.push(DnType::CommonName, "controller");
            name.push(DnType::OrganizationName, "Example");
            params.subject_alt_names = vec![
                SanType::DnsName("c.example".try_into().unwrap()),
                SanType::URI("spiffe://example/controller".try_into().unwrap()),
                SanType::IpAddress("192.0.2.1".parse().unwrap()),
            ];
        });
        let identity = Identity::of_certificate(&der).unwrap();
        let names: Vec<_> = identity.names().iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "uri:spiffe://example/controller",
                "cn:controller",
                "dns:c.example",
                "org:Example"
            ]
        );
        assert_eq!(identity.as_str(), "uri:spiffe://example/controller");
    }

    #[test]
    fn a_certificate_without_names_is_somebody_without_names() {
        let identity = Identity::of_certificate(&certificate(|_| ())).unwrap();
        assert!(identity.names().is_empty());
        assert_eq!(identity.as_str(), "nameless");
    }

    #[test]
    fn names_that_would_spoil_a_log_are_refused() {
        for name in ["a\nb", "a\0b", "a\u{7f}", "a\u{202e}b", "a\u{2028}"] {
            let der = certificate(|params| {
                params.distinguished_name.push(DnType::CommonName, name);
            });
            let refused = Identity::of_certificate(&der);
            assert_eq!(refused, Err(BadCertificate::OddName), "{name:?}");
        }
        let long = "x".repeat(MAX_NAME + 1);
        let der = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, long);
        });
        assert_eq!(
            Identity::of_certificate(&der),
            Err(BadCertificate::LongName)
        );
        let der = certificate(|params| {
            let name = SanType::DnsName("x.example".try_into().unwrap());
            params.subject_alt_names = vec![name; MAX_NAMES + 1];
        });
        assert_eq!(
            Identity::of_certificate(&der),
            Err(BadCertificate::ManyNames)
        );
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(matches!(
            Identity::of_certificate(b"\x30\x03abc"),
            Err(BadCertificate::Unreadable(_))
        ));
    }
}
