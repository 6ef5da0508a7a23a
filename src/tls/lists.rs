//! Which revocation lists count. A handshake looks for a list by its issuer's name, takes the
//! first that it finds, and asks no other (webpki): so there has to be one for a name, the newest.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

use tokio_rustls::rustls::pki_types::CertificateRevocationListDer;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::files::{Files, Identity, TlsError};
use super::signature::is_signature;
use super::time;

/// A list of a file.
pub(super) struct List<'a> {
    pub(super) path: &'a Path,
    pub(super) der: &'a CertificateRevocationListDer<'static>,
    pub(super) parsed: CertificateRevocationList<'a>,
}

/// Those that count, one for the name of an issuer.
pub(super) struct Chosen<'a> {
    pub(super) lists: Vec<List<'a>>,
    /// What was left out, and why.
    pub(super) remarks: Vec<String>,
}

/// Whose key signed a list, as far as it can be told.
#[derive(PartialEq)]
enum Signer<'a> {
    /// That of an authority of ours.
    Known(&'a [u8]),
    /// What the list says itself. It is of an authority that comes with its clients.
    Said(Option<&'a [u8]>),
}

/// Chooses them. Where lists of one name are not versions of one list, or none is the newest,
/// one of them would be passed over whatever was chosen: that is refused.
pub(super) fn choose<'a>(files: &'a Files, identity: &'a Identity) -> Result<Chosen<'a>, TlsError> {
    let authorities = authorities(identity);
    let mut names: BTreeMap<&[u8], Vec<List<'a>>> = BTreeMap::new();
    for (path, lists) in files.crls.iter().zip(&identity.crls) {
        for der in lists {
            let list = List::parse(path, der)?;
            let same_name = names.entry(list.parsed.tbs_cert_list.issuer.as_raw());
            let same_name = same_name.or_default();
            // One that is given twice is one.
            if same_name.iter().all(|other| other.der != der) {
                same_name.push(list);
            }
        }
    }
    let mut chosen = Chosen {
        lists: Vec::new(),
        remarks: Vec::new(),
    };
    for lists in names.into_values() {
        let mut lists = without_strangers(lists, &authorities, &mut chosen.remarks);
        let newest = lists.remove(newest(&lists, &authorities)?);
        for list in lists {
            chosen.remarks.push(format!(
                "{} does not count: {} is newer",
                list.words(),
                newest.words(),
            ));
        }
        chosen.lists.push(newest);
    }
    Ok(chosen)
}

/// The authorities, read.
pub(super) fn authorities(identity: &Identity) -> Vec<X509Certificate<'_>> {
    let read = identity.authorities.iter();
    read.filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1))
        .collect()
}

impl<'a> List<'a> {
    fn parse(
        path: &'a Path,
        der: &'a CertificateRevocationListDer<'static>,
    ) -> Result<Self, TlsError> {
        match CertificateRevocationList::from_der(der) {
            Ok((_, parsed)) => Ok(Self { path, der, parsed }),
            Err(error) => Err(TlsError::Revocations {
                path: path.to_owned(),
                reason: error.to_string(),
            }),
        }
    }

    /// Whether it is this authority's: not of its name alone, but signed by its key.
    pub(super) fn is_of(&self, authority: &X509Certificate<'_>) -> bool {
        self.parsed.issuer().as_raw() == authority.subject().as_raw()
            && is_signature(
                &authority.public_key().subject_public_key.data,
                self.parsed.tbs_cert_list.as_ref(),
                &self.parsed.signature_value.data,
            )
    }

    fn signer<'b>(&'b self, authorities: &'b [X509Certificate<'_>]) -> Signer<'b> {
        match authorities.iter().find(|authority| self.is_of(authority)) {
            Some(authority) => Signer::Known(authority.public_key().raw),
            None => Signer::Said(self.parsed.extensions().iter().find_map(|extension| {
                match extension.parsed_extension() {
                    ParsedExtension::AuthorityKeyIdentifier(id) => {
                        id.key_identifier.as_ref().map(|id| id.0)
                    }
                    _ => None,
                }
            })),
        }
    }

    /// What part of the issuer's certificates it is about, encoded. Most are about all.
    fn part(&self) -> Option<&[u8]> {
        let mut extensions = self.parsed.extensions().iter();
        let part = extensions.find(|one| one.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
        part.map(|part| part.value)
    }

    /// How its age compares, if numbers and dates do not contradict each other.
    fn age(&self, other: &Self) -> Option<Ordering> {
        let [ours, theirs] = [self, other].map(|list| &list.parsed);
        let number = match (ours.crl_number(), theirs.crl_number()) {
            (Some(ours), Some(theirs)) => ours.cmp(theirs),
            _ => Ordering::Equal,
        };
        let [ours, theirs] = [ours, theirs].map(|list| list.last_update().timestamp());
        match (number, ours.cmp(&theirs)) {
            (Ordering::Equal, Ordering::Equal) => None,
            (order, Ordering::Equal) | (Ordering::Equal, order) => Some(order),
            (number, date) => (number == date).then_some(number),
        }
    }

    /// Which one it is.
    fn words(&self) -> String {
        let number = match self.parsed.crl_number() {
            Some(number) => format!("number {number} "),
            None => String::new(),
        };
        format!(
            "the revocation list {} ({number}of {}) of \"{}\"",
            self.path.display(),
            time::words(self.parsed.last_update().timestamp()),
            self.parsed.issuer(),
        )
    }
}

/// Without those that none of the authorities of that name signed, if one is there that one
/// of them did: the stranger would keep all their clients out.
fn without_strangers<'a>(
    lists: Vec<List<'a>>,
    authorities: &[X509Certificate<'_>],
    remarks: &mut Vec<String>,
) -> Vec<List<'a>> {
    let is_known = |list: &List<'_>| authorities.iter().any(|authority| list.is_of(authority));
    let (known, strangers): (Vec<_>, Vec<_>) = lists.into_iter().partition(is_known);
    if known.is_empty() {
        return strangers;
    }
    for list in strangers {
        remarks.push(format!(
            "{} does not count: no authority of that name in the authorities' file signed it",
            list.words(),
        ));
    }
    known
}

/// Where the newest of the lists of one name is.
fn newest(lists: &[List<'_>], authorities: &[X509Certificate<'_>]) -> Result<usize, TlsError> {
    let is_newest = |at: usize, list: &List<'_>| {
        let mut others = lists.iter().enumerate().filter(|(other, _)| *other != at);
        others.all(|(_, other)| list.age(other) == Some(Ordering::Greater))
    };
    for pair in lists.windows(2) {
        if let [one, other] = pair {
            versions_of_one(one, other, authorities)?;
        }
    }
    let mut numbered = lists.iter().enumerate();
    match (numbered.find(|(at, list)| is_newest(*at, list)), lists) {
        (Some((at, _)), _) => Ok(at),
        (None, [one, other, ..]) => Err(refused(
            other,
            one,
            "by number and date it cannot be told which is the newest",
        )),
        // The only one is the newest, and there is one.
        (None, _) => Ok(0),
    }
}

fn versions_of_one(
    one: &List<'_>,
    other: &List<'_>,
    authorities: &[X509Certificate<'_>],
) -> Result<(), TlsError> {
    if one.signer(authorities) != other.signer(authorities) {
        return Err(refused(
            other,
            one,
            "two authorities have that name, and a handshake tells lists apart by the name \
             alone; one of them needs another name, or has to go with its list",
        ));
    }
    if one.part() != other.part() {
        return Err(refused(
            other,
            one,
            "they are about different parts of what it issued (issuing distribution points), \
             and a handshake asks one alone; it needs one list of all",
        ));
    }
    Ok(())
}

fn refused(list: &List<'_>, other: &List<'_>, clash: &str) -> TlsError {
    TlsError::Revocations {
        path: list.path.to_owned(),
        reason: format!("beside it there is {}: {clash}", other.words()),
    }
}
