//! Revocation lists: who is on one is kept out, and what a list has to be.

use rcgen::{
    CertificateRevocationListParams, CertifiedIssuer, KeyIdMethod, KeyPair, RevocationReason,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;

/// A list of the issuer's, good until this year.
fn list(issuer: &CertifiedIssuer<'static, KeyPair>, revoked: &[&Files], until: i32) -> String {
    let revoked = revoked.iter().map(|files| RevokedCertParams {
        serial_number: serial(files),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = params.signed_by(issuer).expect("a list");
    list.pem().expect("PEM")
}

pub(super) fn serial(files: &Files) -> SerialNumber {
    let der = CertificateDer::from_pem_file(&files.cert).expect("a certificate");
    let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
    SerialNumber::from_slice(certificate.raw_serial())
}

pub(super) fn write(issuer: &Issuer, name: &str, text: &str) -> PathBuf {
    let path = issuer.directory.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

#[tokio::test]
async fn who_is_on_the_list_is_kept_out_and_who_is_not_is_let_in() {
    let issuer = Issuer::new("ours");
    let (good, bad) = (issuer.issue("good"), issuer.issue("bad"));
    // Past its time, it goes on to revoke.
    for until in [2021, 4000] {
        let mut files = issuer.issue("agent");
        let list = list(&issuer.issuer, &[&bad], until);
        files.crls = vec![write(&issuer, "crl.pem", &list)];
        let (seen, let_in) = greet(&files, client(&bad, false)).await;
        assert!(!let_in);
        let revoked = AlertDescription::CertificateRevoked;
        assert_eq!(seen, Err(Error::AlertReceived(revoked)));
        let (seen, let_in) = greet(&files, client(&good, false)).await;
        assert_eq!(seen.as_deref(), Ok("hello"));
        assert!(let_in);
    }
}

#[tokio::test]
async fn with_lists_the_clients_of_an_authority_without_one_are_kept_out() {
    let (issuer, other) = (Issuer::new("ours"), Issuer::new("theirs"));
    let mut files = issuer.issue("agent");
    let list = list(&other.issuer, &[], 4000);
    files.crls = vec![write(&issuer, "crl.pem", &list)];
    let (_, let_in) = greet(&files, client(&issuer.issue("operator"), false)).await;
    assert!(!let_in);
    let (remarks, _) = of(&files).remarks(&files.read().expect("files"));
    let [remark] = &remarks[..] else {
        panic!("{remarks:?}")
    };
    assert!(
        remark.contains("CN=ours") && remark.contains("no revocation list"),
        "{remark}"
    );
}

#[test]
fn a_wrong_list_is_named_with_the_reason() {
    let issuer = Issuer::new("ours");
    let mut files = issuer.issue("agent");
    let good = write(&issuer, "good.pem", &list(&issuer.issuer, &[], 4000));
    let garbage = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    for (path, reason) in [
        (issuer.directory.path().join("missing.pem"), "No such file"),
        (files.ca.clone(), "expected PEM with BEGIN X509 CRL"),
        (write(&issuer, "bad.pem", garbage), "cannot be used"),
    ] {
        files.crls = vec![good.clone(), path.clone()];
        let error = refusal(&files);
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_list_past_its_time_is_remarked_on() {
    let issuer = Issuer::new("ours");
    let mut files = issuer.issue("agent");
    files.crls = vec![write(&issuer, "crl.pem", &list(&issuer.issuer, &[], 2021))];
    let (remarks, _) = of(&files).remarks(&files.read().expect("files"));
    let [remark] = &remarks[..] else {
        panic!("{remarks:?}")
    };
    assert!(
        remark.contains("renewed on 2021-01-01T00:00:00Z"),
        "{remark}"
    );
}
