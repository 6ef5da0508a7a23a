//! Several revocation lists of one name: the newest counts, or they are refused.

use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope,
    KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::revoked::{serial, write};
use super::*;

/// A version of an issuer's list.
struct Version<'a> {
    number: u64,
    day: u8,
    revoked: &'a [&'a Files],
    part: Option<&'a str>,
}

/// The list of this number, of the same day of a month.
fn version<'a>(number: u8, revoked: &'a [&'a Files]) -> Version<'a> {
    Version {
        number: number.into(),
        day: number,
        revoked,
        part: None,
    }
}

impl Version<'_> {
    fn of(&self, issuer: &Issuer) -> String {
        let revoked = self.revoked.iter().map(|files| RevokedCertParams {
            serial_number: serial(files),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let part = self.part.map(|uri| CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint {
                uris: vec![uri.to_owned()],
            },
            scope: Some(CrlScope::UserCertsOnly),
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, self.day),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(self.number),
            issuing_distribution_point: part,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&issuer.issuer).expect("a list");
        list.pem().expect("PEM")
    }
}

/// These texts as files of the issuer's agent.
fn with_lists(issuer: &Issuer, lists: &[&str]) -> Files {
    let mut files = issuer.issue("agent");
    let lists = lists.iter().enumerate();
    files.crls = lists
        .map(|(at, list)| write(issuer, &format!("{at}.crl"), list))
        .collect();
    files
}

fn remarks(files: &Files) -> Vec<String> {
    of(files).remarks(&files.read().expect("files")).0
}

async fn comes_in(who: &Files, server: &Files) -> bool {
    greet(server, client(who, false)).await.1
}

#[tokio::test]
async fn of_several_lists_of_an_authority_the_newest_counts_wherever_it_stands() {
    let issuer = Issuer::new("ours");
    let (alice, bob, carol) = (
        issuer.issue("alice"),
        issuer.issue("bob"),
        issuer.issue("carol"),
    );
    let old = version(1, &[&bob]).of(&issuer);
    let new = version(2, &[&bob, &alice]).of(&issuer);
    for lists in [
        vec![old.clone(), new.clone()],
        vec![new.clone(), old.clone()],
        vec![format!("{old}{new}")],
        vec![new.clone(), new.clone(), old.clone()],
    ] {
        let lists: Vec<&str> = lists.iter().map(String::as_str).collect();
        let files = with_lists(&issuer, &lists);
        assert!(!comes_in(&alice, &files).await);
        assert!(!comes_in(&bob, &files).await);
        assert!(comes_in(&carol, &files).await);
        let remarks = remarks(&files);
        let [remark] = &remarks[..] else {
            panic!("{remarks:?}")
        };
        let (left_out, counts) = remark.split_once(" does not count: ").expect("said");
        assert!(
            left_out.contains("(number 1 of 2020-01-01T00:00:00Z)") && counts.contains("(number 2"),
            "{remark}"
        );
    }
    // The number alone tells, and so does the date alone.
    for (number, day) in [(1, 2), (2, 1)] {
        let revoked = [&alice];
        let newer = Version {
            number,
            day,
            ..version(1, &revoked)
        };
        let files = with_lists(&issuer, &[&old, &newer.of(&issuer)]);
        assert!(!comes_in(&alice, &files).await);
        assert!(comes_in(&bob, &files).await);
    }
}

#[test]
fn lists_of_which_none_is_the_newest_are_refused() {
    let issuer = Issuer::new("ours");
    let bob = issuer.issue("bob");
    let list = version(1, &[]).of(&issuer);
    let same = version(1, &[&bob]).of(&issuer);
    let contrary = Version {
        day: 1,
        number: 3,
        ..version(2, &[])
    };
    let contrary = [version(2, &[]).of(&issuer), contrary.of(&issuer)];
    for lists in [[&list, &same], [&contrary[0], &contrary[1]]] {
        let files = with_lists(&issuer, &lists.map(String::as_str));
        let error = refusal(&files);
        assert!(
            error.contains("it cannot be told which is the newest")
                && files
                    .crls
                    .iter()
                    .all(|path| error.contains(&path.display().to_string())),
            "{error}"
        );
    }
}

#[test]
fn lists_of_different_parts_are_refused() {
    let issuer = Issuer::new("ours");
    let part = |number, part| Version {
        part,
        ..version(number, &[])
    };
    let one = part(1, Some("http://ca.example/1")).of(&issuer);
    with_lists(&issuer, &[&one]);
    for other in [Some("http://ca.example/2"), None] {
        let files = with_lists(&issuer, &[&one, &part(2, other).of(&issuer)]);
        let error = refusal(&files);
        assert!(error.contains("different parts"), "{error}");
    }
    let newer = part(2, Some("http://ca.example/1")).of(&issuer);
    let files = with_lists(&issuer, &[&one, &newer]);
    server_config(&of(&files)).expect("versions of one");
}

#[tokio::test]
async fn a_list_that_another_key_signed_takes_the_place_of_none() {
    let (issuer, namesake) = (Issuer::new("ours"), Issuer::new("ours"));
    let (alice, bob) = (issuer.issue("alice"), issuer.issue("bob"));
    let list = version(1, &[&bob]).of(&issuer);
    let newer = version(2, &[]).of(&namesake);
    let files = with_lists(&issuer, &[&newer, &list]);
    assert!(comes_in(&alice, &files).await);
    assert!(!comes_in(&bob, &files).await);
    let said = remarks(&files);
    assert!(
        said.len() == 1 && said[0].contains("no authority of that name"),
        "{said:?}"
    );
    // Alone it lets nobody in, and does not pass for the authority's.
    let files = with_lists(&issuer, &[&newer]);
    assert!(!comes_in(&alice, &files).await);
    let said = remarks(&files);
    assert!(
        said.len() == 1 && said[0].contains("has no revocation list"),
        "{said:?}"
    );
}

#[tokio::test]
async fn lists_of_two_authorities_of_one_name_are_refused() {
    let (issuer, namesake) = (Issuer::new("ours"), Issuer::new("ours"));
    let lists = [&issuer, &namesake].map(|one| version(1, &[]).of(one));
    let mut files = with_lists(&issuer, &[&lists[0], &lists[1]]);
    let both = format!("{}{}", issuer.issuer.pem(), namesake.issuer.pem());
    files.ca = write(&issuer, "both.pem", &both);
    let error = refusal(&files);
    assert!(
        error.contains("two authorities have that name") && error.contains("another name"),
        "{error}"
    );
    // With one list, the other authority's clients are kept out, and that is said.
    files.crls.pop();
    assert!(comes_in(&issuer.issue("alice"), &files).await);
    let mut stranger = namesake.issue("bob");
    stranger.ca = issuer.issue("unused").ca;
    assert!(!comes_in(&stranger, &files).await);
    let said = remarks(&files);
    assert!(
        said.len() == 1 && said[0].contains("has no revocation list"),
        "{said:?}"
    );
    // Authorities whose certificates do not stand here differ by what their lists say.
    let root = Issuer::new("root");
    files = Files {
        ca: root.issue("unused").ca,
        ..with_lists(&issuer, &[&lists[0], &lists[1]])
    };
    assert!(refusal(&files).contains("two authorities have that name"));
}
