//! What certificates hold, and what is left behind when they cannot be made.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::*;

fn authority() -> (TempDir, Authority) {
    let directory = TempDir::new().expect("a directory");
    Authority::create(directory.path(), "test CA", 10).expect("an authority");
    let authority = Authority::open(directory.path()).expect("the same");
    (directory, authority)
}

fn agent(names: &[&str]) -> Agent {
    Agent {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        uri: Some("spiffe://example.org/ctagent".to_owned()),
    }
}

fn client(name: &str) -> Client {
    Client {
        name: name.to_owned(),
        organisation: Some("ops".to_owned()),
        uri: None,
    }
}

fn with<T>(path: &std::path::Path, look: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let der = CertificateDer::from_pem_file(path).expect("PEM");
    let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
    look(&certificate)
}

#[test]
fn an_authority_may_issue_and_nothing_that_it_issues_may() {
    let (directory, authority) = authority();
    let subject = with(&directory.path().join("ca.crt"), |ca| {
        let constraints = ca.basic_constraints().expect("parsed").expect("there");
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let usage = ca.key_usage().expect("parsed").expect("there");
        assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
        assert!(!usage.value.digital_signature());
        ca.subject().to_string()
    });
    assert!(
        subject.starts_with("CN=test CA, serialNumber="),
        "{subject}"
    );
    let agent = authority.issue_agent(&agent(&["fw1", "192.0.2.1", "2001:db8::1"]), 9);
    with(&agent.expect("a certificate").certificate, |agent| {
        assert!(!agent.is_ca());
        assert_eq!(agent.issuer().to_string(), subject);
        let purpose = agent
            .extended_key_usage()
            .expect("parsed")
            .expect("there")
            .value;
        assert!(purpose.server_auth && !purpose.client_auth);
        let usage = agent.key_usage().expect("parsed").expect("there");
        assert!(usage.value.digital_signature() && !usage.value.key_cert_sign());
        let names = agent
            .subject_alternative_name()
            .expect("parsed")
            .expect("there");
        let names: Vec<String> = names.value.general_names.iter().map(name).collect();
        assert_eq!(
            names,
            ["fw1", "4 bytes", "16 bytes", "spiffe://example.org/ctagent"]
        );
    });
    let client = authority.issue_client(&client("alice"), 9);
    with(&client.expect("a certificate").certificate, |client| {
        assert_eq!(client.subject().to_string(), "O=ops, CN=alice");
        let purpose = client
            .extended_key_usage()
            .expect("parsed")
            .expect("there")
            .value;
        assert!(purpose.client_auth && !purpose.server_auth);
        let has_key_id = client.extensions().iter().any(|extension| {
            matches!(
                extension.parsed_extension(),
                x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(_)
            )
        });
        assert!(has_key_id);
    });
}

#[test]
fn authorities_of_one_name_are_told_apart_by_their_full_names() {
    let subjects = [authority(), authority()].map(|(directory, authority)| {
        let issued = authority.issue_client(&client("alice"), 1).expect("issued");
        let issuer = with(&issued.certificate, |client| {
            client.issuer().as_raw().to_vec()
        });
        with(&directory.path().join("ca.crt"), |ca| {
            assert_eq!(ca.subject().as_raw(), issuer);
            ca.subject().to_string()
        })
    });
    assert_ne!(subjects[0], subjects[1]);
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => format!("{} bytes", bytes.len()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn numbers_are_random_and_no_certificate_outlives_its_authority() {
    let (directory, authority) = authority();
    let mut numbers = std::collections::HashSet::new();
    for name in ["a", "b", "c", "d"] {
        let issued = authority
            .issue_client(&client(name), 365)
            .expect("a certificate");
        assert!(issued.cut);
        numbers.insert(with(&issued.certificate, |certificate| {
            assert!(certificate.raw_serial().len() == 16);
            certificate.raw_serial_as_string()
        }));
    }
    assert_eq!(numbers.len(), 4);
    let end = with(&directory.path().join("ca.crt"), |ca| {
        ca.validity().not_after.timestamp()
    });
    let issued = authority
        .issue_client(&client("e"), 365)
        .expect("a certificate");
    assert_eq!(issued.end, end);
    let issued = authority
        .issue_client(&client("f"), 1)
        .expect("a certificate");
    assert!(!issued.cut && issued.end < end);
}

#[test]
fn keys_are_for_their_owner_and_nothing_is_overwritten_or_left_half_made() {
    let top = TempDir::new().expect("a directory");
    let directory = top.path().join("made/for/it");
    let ca = Authority::create(&directory, "CA", 10).expect("an authority");
    let mode =
        |path: &std::path::Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode(&ca.key), mode(&directory)), (0o600, 0o700));
    let before = fs::read(&ca.key).expect("a file");
    let again = Authority::create(&directory, "CA", 10);
    assert!(matches!(again, Err(PkiError::Exists(path)) if path == ca.certificate));
    assert_eq!(fs::read(&ca.key).expect("a file"), before);

    // The second of two files is there.
    fs::write(directory.join("fw1.key"), "precious").expect("a file");
    let authority = Authority::open(&directory).expect("an authority");
    let refused = authority.issue_agent(&agent(&["fw1"]), 1);
    assert!(matches!(refused, Err(PkiError::Exists(path)) if path.ends_with("fw1.key")));
    assert!(!directory.join("fw1.crt").exists());
    assert_eq!(
        fs::read(directory.join("fw1.key")).expect("a file"),
        b"precious"
    );

    // So is a link, whatever it leads to.
    std::os::unix::fs::symlink("/nonexistent", directory.join("fw2.key")).expect("a link");
    let refused = authority.issue_agent(&agent(&["fw2"]), 1);
    assert!(matches!(refused, Err(PkiError::Exists(_))));
}

#[test]
fn a_list_grows_and_is_the_authority_s_alone() {
    let (directory, authority) = authority();
    let issue = |name| {
        authority
            .issue_client(&client(name), 1)
            .expect("issued")
            .certificate
    };
    let (a, b) = (issue("a"), issue("b"));
    let count = |files: &[PathBuf]| {
        let revoked = authority.revoke(files, 30).expect("a list");
        assert_eq!(revoked.list, directory.path().join("ca.crl"));
        revoked.certificates
    };
    assert_eq!(count(&[]), 0);
    assert_eq!(count(std::slice::from_ref(&a)), 1);
    assert_eq!(count(&[a.clone(), b.clone()]), 2);
    assert_eq!(count(&[]), 2);
    let pem = fs::read(directory.path().join("ca.crl")).expect("a file");
    let der = CertificateRevocationListDer::from_pem_slice(&pem).expect("PEM");
    let (_, list) = CertificateRevocationList::from_der(&der).expect("a list");
    let numbers: Vec<String> = list
        .iter_revoked_certificates()
        .map(|entry| entry.raw_serial_as_string())
        .collect();
    let number = |path: &PathBuf| with(path, |found| found.raw_serial_as_string());
    assert_eq!(numbers, [number(&a), number(&b)]);
    assert!(!directory.path().join("ca.crl.new").exists());

    let other = TempDir::new().expect("a directory");
    Authority::create(other.path(), "other CA", 10).expect("an authority");
    let other = Authority::open(other.path()).expect("the same");
    let words = other
        .revoke(std::slice::from_ref(&a), 1)
        .expect_err("not its own")
        .to_string();
    assert!(words.contains("another authority issued it"), "{words}");
}

/// An authority that another program made, with a name that another one has, too.
fn namesake() -> (TempDir, Authority) {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("an authority");
    let directory = TempDir::new().expect("a directory");
    let write = |name, text| fs::write(directory.path().join(name), text).expect("a file");
    write("ca.crt", certificate.pem());
    write("ca.key", key.serialize_pem());
    let authority = Authority::open(directory.path()).expect("the same");
    (directory, authority)
}

#[test]
fn what_an_authority_did_not_issue_is_not_revoked_and_nothing_beside_it() {
    let ((one, ours), (two, theirs)) = (namesake(), namesake());
    let issue = |authority: &Authority, name| {
        let issued = authority.issue_client(&client(name), 1);
        issued.expect("issued").certificate
    };
    let (a, b, c) = (issue(&ours, "a"), issue(&ours, "b"), issue(&theirs, "c"));
    let ca = one.path().join("ca.crt");
    let together = |name: &str, files: &[&PathBuf]| {
        let texts = files.iter().map(|file| fs::read(file).expect("a file"));
        let path = one.path().join(name);
        fs::write(&path, texts.collect::<Vec<_>>().concat()).expect("a file");
        path
    };
    for (files, reason) in [
        (
            vec![c.clone()],
            "another authority issued it (\"O=ops, CN=c\")",
        ),
        (vec![a.clone(), c.clone()], "c.crt: another authority"),
        (vec![together("chain.pem", &[&a, &c])], "CN=c"),
        (vec![ca.clone()], "it is the authority's own"),
        (
            vec![together("bundle.pem", &[&a, &ca])],
            "it is the authority's own",
        ),
        (
            vec![two.path().join("ca.crt")],
            "another authority issued it",
        ),
        (vec![a.with_extension("key")], "no certificate in it"),
    ] {
        let refused = ours.revoke(&files, 1).expect_err("refused").to_string();
        assert!(refused.contains(reason), "{refused}");
        assert!(!one.path().join("ca.crl").exists());
    }
    let both = together("both.pem", &[&a, &b]);
    let list = ours.revoke(&[both], 1).expect("a list");
    assert_eq!(list.certificates, 2);

    // Nor does one go on with the list of a namesake.
    fs::copy(&list.list, two.path().join("ca.crl")).expect("copied");
    let refused = theirs.revoke(&[c], 1).expect_err("refused").to_string();
    assert!(refused.contains("it is another authority's"), "{refused}");
}

#[test]
fn each_list_has_a_higher_number_than_the_one_before() {
    let (_directory, authority) = authority();
    let mut before = None;
    for _ in 0..5 {
        let list = authority.revoke(&[], 1).expect("a list").list;
        let der = CertificateRevocationListDer::from_pem_file(&list).expect("PEM");
        let (_, list) = CertificateRevocationList::from_der(&der).expect("a list");
        let number = list.crl_number().cloned();
        assert!(number.is_some() && number > before, "{number:?} {before:?}");
        before = number;
    }
}

#[test]
fn who_revokes_at_once_with_others_loses_nothing() {
    let (directory, authority) = authority();
    let certificates = ["a", "b", "c", "d", "e", "f"].map(|name| {
        let issued = authority.issue_client(&client(name), 1);
        issued.expect("issued").certificate
    });
    std::thread::scope(|scope| {
        for certificate in &certificates {
            let authority = &authority;
            scope.spawn(move || {
                while let Err(error) = authority.revoke(std::slice::from_ref(certificate), 1) {
                    assert!(matches!(error, PkiError::Busy(_)), "{error}");
                    std::thread::yield_now();
                }
            });
        }
    });
    let revoked = authority.revoke(&[], 1).expect("a list");
    assert_eq!(revoked.certificates, certificates.len());

    // Of one that was killed: the list is not even read, and the file not touched.
    let left = directory.path().join("ca.crl.new");
    fs::write(&left, "half").expect("a file");
    fs::write(&revoked.list, "damaged").expect("a file");
    let words = authority.revoke(&[], 1).expect_err("busy").to_string();
    assert!(
        words.contains("ca.crl.new exists") && words.contains("remove that file"),
        "{words}"
    );
    assert_eq!(fs::read(&left).expect("a file"), b"half");
    // One that fails leaves none behind.
    fs::remove_file(&left).expect("removed");
    authority.revoke(&[], 1).expect_err("damaged");
    assert!(!left.exists());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let (directory, authority) = authority();
    for name in ["../evil", "a/b", "", ".hidden", "-x", "ca", "a\nb"] {
        let refused = authority.issue_client(&client(name), 1);
        assert!(matches!(refused, Err(PkiError::Name { .. })), "{name:?}");
    }
    for name in ["fw 1", "fw1:7443", "*.example.org", "ca", "-fw", ""] {
        let refused = authority.issue_agent(&agent(&[name]), 1);
        assert!(matches!(refused, Err(PkiError::Name { .. })), "{name:?}");
    }
    authority
        .issue_agent(&agent(&["fw1", "*.example.org"]), 1)
        .expect("a star behind a name");
    let made = fs::read_dir(directory.path()).expect("a directory").count();
    assert_eq!(made, 4);
}

#[test]
fn names_that_an_agent_would_turn_away_are_refused() {
    let (directory, authority) = authority();
    let long = format!("spiffe://{}", "a".repeat(2048));
    let uris = [
        "spiffe://a\nb",
        "spiffe://a\u{7f}",
        "spiffe://a\u{202e}b",
        &long,
    ];
    let with_uri = |uri: &str| Client {
        uri: Some(uri.to_owned()),
        ..client("x")
    };
    let mut refused = vec![
        authority.issue_client(&client("a\u{202e}b"), 1),
        authority.issue_client(&client("a\u{85}b"), 1),
    ];
    for uri in uris {
        refused.push(authority.issue_client(&with_uri(uri), 1));
        let uri = Some(uri.to_owned());
        refused.push(authority.issue_agent(
            &Agent {
                uri,
                ..agent(&["x"])
            },
            1,
        ));
    }
    for organisation in ["x\ny", "x\u{2066}y", "", &"x".repeat(2049)] {
        let organisation = Some(organisation.to_owned());
        let client = Client {
            organisation,
            ..client("x")
        };
        refused.push(authority.issue_client(&client, 1));
    }
    refused.push(Authority::create(&directory.path().join("new"), "a\nb", 1));
    for refused in refused {
        assert!(matches!(refused, Err(PkiError::Name { .. })), "{refused:?}");
    }
    let made = fs::read_dir(directory.path()).expect("a directory").count();
    assert_eq!(made, 2);
    let longest = authority.issue_client(&with_uri(&long[..2048]), 1);
    longest.expect("as long as may be");
}

#[test]
fn what_is_no_authority_is_named() {
    let (directory, authority) = authority();
    let missing = Authority::open(&directory.path().join("none")).map(|_| ());
    let words = missing.expect_err("nothing there").to_string();
    assert!(
        words.contains("none/ca.crt") && words.contains("ctctl pki init"),
        "{words}"
    );

    let client = authority
        .issue_client(&client("alice"), 1)
        .expect("a certificate");
    fs::copy(&client.key, directory.path().join("ca.key")).expect("copied");
    let words = Authority::open(directory.path())
        .map(|_| ())
        .expect_err("not its key");
    assert!(
        words.to_string().contains("the key is not that of ca.crt"),
        "{words}"
    );
    fs::copy(&client.certificate, directory.path().join("ca.crt")).expect("copied");
    let words = Authority::open(directory.path())
        .map(|_| ())
        .expect_err("no authority");
    assert!(
        words.to_string().contains("not one of an authority"),
        "{words}"
    );
}
