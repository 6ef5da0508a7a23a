//! Revocation lists of an agent that runs.

use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

use crate::harness::Netns;
use crate::harness::pki::{Authority, TlsAgent, tls_command};
use crate::harness::process::Process;

const NUMBER: u64 = 4711;

/// A list of the authority's that revokes these numbers.
fn list(authority: &Authority, revoked: &[u64]) -> String {
    version(authority, 1, revoked)
}

/// The version of its list that has this number.
fn version(authority: &Authority, number: u64, revoked: &[u64]) -> String {
    let revoked = revoked.iter().map(|&number| RevokedCertParams {
        serial_number: SerialNumber::from(number),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(4000, 1, 1),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = params.signed_by(&authority.issuer).expect("a list");
    list.pem().expect("PEM")
}

#[test]
fn a_client_is_refused_as_soon_as_the_list_names_it() {
    let ours = Authority::new("ours");
    let operator = ours.issue_as("operator", |params| {
        params.serial_number = Some(NUMBER.into())
    });
    ours.put("operator", operator);
    ours.put_file("crl.pem", &list(&ours, &[NUMBER + 1]));
    let crl = format!("--tls-crl={}", ours.at("crl.pem").display());
    let agent = TlsAgent::start(&ours, &[&crl]);
    agent.ask(&ours, "count").well();
    ours.put_file("crl.pem", &list(&ours, &[NUMBER]));
    agent.said("TLS files read again", 1);
    let complaint = agent.ask(&ours, "count").failed(2);
    assert!(
        complaint.contains("the agent does not accept our certificate (revoked)"),
        "{complaint}"
    );
    // A list that is none stays without effect.
    ours.put_file("crl.pem", "nothing");
    agent.said("TLS goes on with what it had", 1);
    agent.ask(&ours, "count").failed(2);
}

#[test]
fn of_several_lists_the_newest_counts_and_nothing_changes_while_none_is() {
    let ours = Authority::new("ours");
    let operator = ours.issue_as("operator", |params| {
        params.serial_number = Some(NUMBER.into())
    });
    ours.put("operator", operator);
    ours.enrol("other");
    ours.put_file("old.pem", &version(&ours, 1, &[]));
    ours.put_file("new.pem", &version(&ours, 2, &[NUMBER]));
    let crls = ["old.pem", "new.pem"].map(|file| format!("--tls-crl={}", ours.at(file).display()));
    let agent = TlsAgent::start(&ours, &[&crls[0], &crls[1]]);
    let left_out = format!("{} (number 1 of ", ours.at("old.pem").display());
    agent.said(&left_out, 1);
    let complaint = agent.ask(&ours, "count").failed(2);
    assert!(complaint.contains("(revoked)"), "{complaint}");
    agent.ask_as(&ours, "other", "count").well();

    // Two lists of one number: whichever was taken, the other would be passed over.
    ours.put_file("old.pem", &version(&ours, 2, &[]));
    agent.said("TLS goes on with what it had", 1);
    agent.ask(&ours, "count").failed(2);
    let info = agent.ask_as(&ours, "other", "info").well();
    assert!(
        info.contains("it cannot be told which is the newest"),
        "{info}"
    );
    ours.put_file("old.pem", &version(&ours, 3, &[]));
    agent.said("TLS files read again", 1);
    agent.ask(&ours, "count").well();
}

#[test]
fn an_agent_does_not_start_with_a_list_that_is_none() {
    let ours = Authority::new("ours");
    let directory = TempDir::new().expect("a directory");
    let [cert, key] = ours.issue("127.0.0.1");
    let ca = ours.issuer.pem();
    for (file, text) in [("tls.crt", cert), ("tls.key", key), ("ca.crt", ca)] {
        std::fs::write(directory.path().join(file), text).expect("a file");
    }
    let crl = directory.path().join("ca.crt");
    let mut command = tls_command(directory.path());
    command.arg(format!("--tls-crl={}", crl.display()));
    let mut agent = Process::spawn(&Netns::new(), &mut command);
    assert_eq!(agent.wait().code(), Some(1));
    let said = agent.said();
    assert!(
        said.contains(&format!("no TLS revocation list in {}", crl.display())),
        "{said}"
    );
}
