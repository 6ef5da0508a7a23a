//! Who a certificate is for.

use std::net::IpAddr;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType,
};

use super::PkiError;
use crate::tls::{UnfitName, check_name};

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// DNS names and addresses that clients reach it by. The first names its files.
    pub names: Vec<String>,
    /// A URI, such as a SPIFFE id, beside the names.
    pub uri: Option<String>,
}

/// A client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its common name, which names its files, too.
    pub name: String,
    /// The organisation that it belongs to.
    pub organisation: Option<String>,
    /// A URI, such as a SPIFFE id.
    pub uri: Option<String>,
}

impl Agent {
    /// What stands in its certificate, and the name of its files.
    pub(super) fn params(&self) -> Result<(CertificateParams, &str), PkiError> {
        let what = "an agent";
        let refused = |name: &str, reason| PkiError::Name {
            name: name.to_owned(),
            what,
            reason,
        };
        let first = self.names.first();
        let first = first.ok_or_else(|| refused("", "there has to be one"))?;
        let mut names = Vec::new();
        for name in &self.names {
            names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) if is_dns_name(name) => {
                    let bad = |_| refused(name, "expected a DNS name or an address");
                    SanType::DnsName(name.as_str().try_into().map_err(bad)?)
                }
                Err(_) => return Err(refused(name, "expected a DNS name or an address")),
            });
        }
        names.extend(uri(self.uri.as_deref(), what)?);
        let usage = ExtendedKeyUsagePurpose::ServerAuth;
        Ok((params(first, None, names, usage), file_name(first, what)?))
    }
}

impl Client {
    /// What stands in its certificate, and the name of its files.
    pub(super) fn params(&self) -> Result<(CertificateParams, &str), PkiError> {
        let what = "a client";
        let file = file_name(&self.name, what)?;
        let names = uri(self.uri.as_deref(), what)?.into_iter().collect();
        if let Some(organisation) = &self.organisation {
            fit(organisation, "an organisation")?;
        }
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let params = params(&self.name, self.organisation.as_deref(), names, usage);
        Ok((params, file))
    }
}

fn params(
    name: &str,
    organisation: Option<&str>,
    names: Vec<SanType>,
    usage: ExtendedKeyUsagePurpose,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(organisation) = organisation {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organisation);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

fn uri(uri: Option<&str>, what: &'static str) -> Result<Option<SanType>, PkiError> {
    let Some(uri) = uri else { return Ok(None) };
    fit(uri, what)?;
    let refused = || PkiError::Name {
        name: uri.to_owned(),
        what,
        reason: "expected a URI such as spiffe://example.org/ctagent",
    };
    if !uri.contains("://") {
        return Err(refused());
    }
    Ok(Some(SanType::URI(uri.try_into().map_err(|_| refused())?)))
}

/// Labels of letters, digits and inner hyphens; the first may be a star (RFC 1123, RFC 6125).
fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let labels = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= 253 && labels.split('.').all(is_label)
}

/// Refuses what an agent would turn away, and what no binding can name.
pub(super) fn fit(name: &str, what: &'static str) -> Result<(), PkiError> {
    let reason = match check_name(name) {
        Ok(()) if !name.is_empty() => return Ok(()),
        Ok(()) => "it is empty",
        Err(UnfitName::Odd) => "it has control characters, or turns the direction of text",
        Err(UnfitName::Long) => "it is too long",
    };
    Err(PkiError::Name {
        name: name.to_owned(),
        what,
        reason,
    })
}

fn file_name<'a>(name: &'a str, what: &'static str) -> Result<&'a str, PkiError> {
    let refused = |reason| {
        Err(PkiError::Name {
            name: name.to_owned(),
            what,
            reason,
        })
    };
    if name.is_empty() || name.len() > 64 {
        return refused("expected 1 to 64 bytes");
    }
    fit(name, what)?;
    if name.contains(['/', '*']) || name.starts_with(['.', '-']) {
        return refused("it names files, too");
    }
    if name == super::authority::NAME {
        return refused("that is the authority's");
    }
    Ok(name)
}
