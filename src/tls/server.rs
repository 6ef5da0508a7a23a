//! The agent's side: a configuration of what the files hold now, and what is odd about them.

use std::sync::Arc;

use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{ServerConfig, crypto};
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};

use super::files::{self, Files, Identity, TlsError};
use super::version::MinVersion;
use super::{ALPN, lists, time};

/// What the agent's side is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The files.
    pub files: Files,
    /// The oldest TLS that is spoken.
    pub min_version: MinVersion,
}

/// A configuration that demands a certificate of every client.
pub fn server_config(settings: &Settings) -> Result<Arc<ServerConfig>, TlsError> {
    settings.config(settings.files.read()?)
}

impl Settings {
    /// The configuration of what was read.
    pub(super) fn config(&self, identity: Identity) -> Result<Arc<ServerConfig>, TlsError> {
        let files = &self.files;
        let roots = files::roots(identity.authorities.clone(), &files.ca)?;
        let roots = Arc::new(roots);
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = || {
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
        };
        // Each by itself first: for all together nobody says which file it is.
        for (path, lists) in files.crls.iter().zip(&identity.crls) {
            let checked = verifier().with_crls(lists.iter().cloned()).build();
            checked.map_err(|error| TlsError::Revocations {
                path: path.clone(),
                reason: error.to_string(),
            })?;
        }
        let lists = lists::choose(files, &identity)?.lists;
        // The whole chain is looked up, and who is on no list that is there does not come in: a
        // list that was forgotten must not pass for one without entries. One that is past its
        // next update still counts: it must not lock a fleet's operators out.
        let verifier = verifier()
            .with_crls(lists.into_iter().map(|list| list.der.clone()))
            .build()
            .map_err(|error| TlsError::Authority {
                path: files.ca.clone(),
                reason: error.to_string(),
            })?;
        let Identity { chain, key, .. } = identity;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(self.min_version.versions())
            .map_err(TlsError::Provider)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| files.refused(error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session is not verified again: a client would outlive its authority.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }

    /// What works as it was asked for, and is hardly what was meant; and until when the agent's
    /// own certificate holds, in seconds since 1970.
    pub(super) fn remarks(&self, identity: &Identity) -> (Vec<String>, Option<i64>) {
        let now = ASN1Time::now();
        let mut remarks = Vec::new();
        let own = identity.chain.first();
        let own = own.and_then(|own| X509Certificate::from_der(own).ok());
        let validity = own.map(|(_, own)| own.validity().clone());
        if let Some(validity) = &validity {
            let cert = self.files.cert.display();
            if validity.not_after < now {
                let end = time::words(validity.not_after.timestamp());
                remarks.push(format!(
                    "the agent's certificate {cert} expired on {end}, or this host's clock is wrong"
                ));
            } else if validity.not_before > now {
                let begin = time::words(validity.not_before.timestamp());
                remarks.push(format!(
                    "the agent's certificate {cert} is not valid before {begin}, or this host's \
                     clock is wrong"
                ));
            }
        }
        self.remark_on_lists(identity, now, &mut remarks);
        let end = validity.map(|validity| validity.not_after.timestamp());
        (remarks, end)
    }

    fn remark_on_lists(&self, identity: &Identity, now: ASN1Time, remarks: &mut Vec<String>) {
        if self.files.crls.is_empty() {
            return;
        }
        let chosen = match lists::choose(&self.files, identity) {
            Ok(chosen) => chosen,
            Err(error) => return remarks.push(error.to_string()),
        };
        remarks.extend(chosen.remarks);
        for list in &chosen.lists {
            if let Some(due) = list.parsed.next_update().filter(|due| *due < now) {
                let due = time::words(due.timestamp());
                remarks.push(format!(
                    "the revocation list {} was to be renewed on {due}; what it revokes \
                     stays revoked",
                    list.path.display()
                ));
            }
        }
        for authority in lists::authorities(identity) {
            if !chosen.lists.iter().any(|list| list.is_of(&authority)) {
                remarks.push(format!(
                    "the authority \"{}\" of {} has no revocation list: none of its \
                     clients comes in",
                    authority.subject(),
                    self.files.ca.display()
                ));
            }
        }
    }
}
