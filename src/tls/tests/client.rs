//! Agents that are known by their id.

use rcgen::SanType;
use tokio_rustls::rustls::{CertificateError, OtherError};

use super::*;

const ID: &str = "spiffe://example.org/ctagent/fw1";

fn with_ids(issuer: &Issuer, ids: &[&str]) -> Files {
    issuer.issue_as("somehost", |params| {
        let ids = ids.iter().map(|id| (*id).try_into().expect("a URI"));
        params.subject_alt_names = ids.map(SanType::URI).collect();
    })
}

/// What comes of a client of the issuer's that expects the id.
async fn meet(agent: &Files, issuer: &Issuer) -> Result<String, Error> {
    let operator = issuer.issue("operator");
    let own = Some((&*operator.cert, &*operator.key));
    let by_id = ServerIdentity::Id(ID.to_owned());
    let client = client_config(&operator.ca, own, &by_id).expect("a client");
    greet(agent, client).await.0
}

#[tokio::test]
async fn an_agent_is_known_by_its_one_id_whatever_its_host_is_called() {
    let issuer = Issuer::new("ours");
    let seen = meet(&with_ids(&issuer, &[ID]), &issuer).await;
    assert_eq!(seen.as_deref(), Ok("hello"));
}

#[tokio::test]
async fn an_id_that_is_another_one_or_not_alone_is_refused_and_told() {
    let issuer = Issuer::new("ours");
    for found in [
        &["spiffe://example.org/ctagent/fw10"][..],
        &["spiffe://example.org/ctagent"],
        &[ID, "spiffe://example.org/other"],
        &[],
    ] {
        let seen = meet(&with_ids(&issuer, found), &issuer).await;
        let Err(Error::InvalidCertificate(CertificateError::Other(OtherError(error)))) = seen
        else {
            panic!("{seen:?}")
        };
        let wrong = error.downcast_ref::<WrongId>().expect("the reason");
        assert_eq!(wrong.expected, ID);
        assert_eq!(wrong.found, found);
    }
}

#[tokio::test]
async fn the_id_alone_is_not_enough() {
    let (issuer, other) = (Issuer::new("ours"), Issuer::new("theirs"));
    let mut agent = with_ids(&other, &[ID]);
    agent.ca = issuer.issue("unused").ca;
    let seen = meet(&agent, &issuer).await;
    let unknown = CertificateError::UnknownIssuer;
    assert_eq!(seen, Err(Error::InvalidCertificate(unknown)));

    let agent = issuer.issue_as("somehost", |params| {
        params.subject_alt_names = vec![SanType::URI(ID.try_into().expect("a URI"))];
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let seen = meet(&agent, &issuer).await;
    let Err(Error::InvalidCertificate(CertificateError::ExpiredContext { .. })) = seen else {
        panic!("{seen:?}")
    };
}
