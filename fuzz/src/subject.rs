//! Whom a binding means: the subject in the first line, against the names in the others, put
//! into a certificate as a client would show it; or against a certificate that begins in the
//! second line, whatever its bytes.

use std::sync::Arc;

use ctfleet::access::{Binding, Grant, Identity, Policy, Role, Subject};

/// What a certificate's DER begins with, and no line of names.
const SEQUENCE: u8 = 0x30;

pub(crate) fn run(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (first, rest) = data.split_at(end.unwrap_or(data.len()));
    let rest = rest.get(1..).unwrap_or_default();
    let subject = std::str::from_utf8(first).unwrap_or_default().parse();
    let der = match rest.first() {
        Some(&SEQUENCE) => rest.to_vec(),
        _ => certificate(std::str::from_utf8(rest).unwrap_or_default()),
    };
    let identity = match Identity::of_certificate(&der) {
        Ok(identity) => identity,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(!identity.as_str().contains(char::is_control));
    let subject: Subject = match subject {
        Ok(subject) => subject,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let again = subject.to_string().parse::<Subject>();
    assert_eq!(again.as_ref(), Ok(&subject));
    let matches = subject.matches(&identity);
    // One that is spelled like a name means the owner of that name.
    let text = subject.to_string();
    if !text.contains(['*', '?', '[']) {
        let is_named = identity.names().iter().any(|name| {
            let name = name.to_string();
            name == text || (name.starts_with("dns:") && name.eq_ignore_ascii_case(&text))
        });
        assert_eq!(matches, is_named, "{text}: {identity:?}");
    }
    if matches!(
        subject,
        Subject::Uid(_) | Subject::Gid(_) | Subject::Anonymous
    ) {
        assert!(!matches, "a certificate is no process");
    }
    role(&subject, &identity, matches);
    // Another kind of name never fits.
    let kind = text.split(':').next().unwrap_or_default();
    let of_kind = |name: String| name.split(':').next() == Some(kind);
    let mut names = identity.names().iter().map(ToString::to_string);
    assert!(!matches || names.any(of_kind));
}

/// The first binding that means somebody decides; whom none means gets nothing.
fn role(subject: &Subject, identity: &Identity, matches: bool) {
    let bind = |subject: Subject, role| Binding {
        subjects: vec![Subject::Anonymous, subject],
        grant: Arc::new(Grant::unlimited(role)),
    };
    let admins: Subject = "org:Example".parse().expect("a subject");
    let is_admin = admins.matches(identity);
    let policy = Policy::new(vec![
        bind(subject.clone(), Role::Reader),
        bind(admins, Role::Admin),
    ]);
    let expected = match (matches, is_admin) {
        (true, _) => Some(Role::Reader),
        (false, true) => Some(Role::Admin),
        (false, false) => None,
    };
    let granted = policy.grant(identity).map(|grant| grant.role);
    // The one subject that is in both bindings.
    if *subject != Subject::Anonymous {
        assert_eq!(granted, expected);
    }
}

/// A certificate with these names, a line each: `uri:`, `dns:`, `cn:` or `org:`. Nobody
/// signed it: that is looked at before.
fn certificate(names: &str) -> Vec<u8> {
    let (mut distinguished, mut alternative) = (Vec::new(), Vec::new());
    for name in names.lines() {
        match name.split_once(':') {
            Some(("uri", value)) => alternative.extend(tlv(0x86, value.as_bytes())),
            Some(("dns", value)) => alternative.extend(tlv(0x82, value.as_bytes())),
            // id-at-commonName and id-at-organizationName, as UTF8String.
            Some(("cn", value)) => distinguished.extend(attribute(3, value)),
            Some(("org", value)) => distinguished.extend(attribute(10, value)),
            _ => {}
        }
    }
    // ecdsa-with-SHA256, and an id-ecPublicKey without a key.
    let algorithm = tlv(0x30, &oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
    let key_algorithm = tlv(0x30, &oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]));
    let nothing = tlv(0x03, &[0]);
    let time = tlv(0x17, b"260101000000Z");
    let mut body = tlv(0xa0, &tlv(0x02, &[2]));
    body.extend(tlv(0x02, &[1]));
    body.extend_from_slice(&algorithm);
    body.extend(tlv(0x30, &[]));
    body.extend(tlv(0x30, &[&time[..], &time].concat()));
    body.extend(tlv(0x30, &distinguished));
    body.extend(tlv(0x30, &[&key_algorithm[..], &nothing].concat()));
    if !alternative.is_empty() {
        // id-ce-subjectAltName
        let value = tlv(0x04, &tlv(0x30, &alternative));
        let extension = tlv(0x30, &[oid(&[0x55, 0x1d, 0x11]), value].concat());
        body.extend(tlv(0xa3, &tlv(0x30, &extension)));
    }
    tlv(0x30, &[tlv(0x30, &body), algorithm, nothing].concat())
}

/// A relative distinguished name with one attribute of X.520.
fn attribute(kind: u8, value: &str) -> Vec<u8> {
    let pair = [oid(&[0x55, 4, kind]), tlv(0x0c, value.as_bytes())].concat();
    tlv(0x31, &tlv(0x30, &pair))
}

fn oid(bytes: &[u8]) -> Vec<u8> {
    tlv(0x06, bytes)
}

/// Tag, length, value.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match value.len() {
        short @ 0..0x80 => out.push(short as u8),
        long => {
            out.push(0x84);
            out.extend_from_slice(&(long as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(value);
    out
}
