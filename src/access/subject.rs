//! Whom a binding means.

use std::fmt;
use std::str::FromStr;

use glob::Pattern;

use super::segments::Segments;
use super::{Identity, Name};

/// A pattern for names of one kind.
#[derive(Clone, PartialEq, Eq)]
pub enum Subject {
    /// `uri:GLOB`; `*` and `?` stop at slashes, `**` is any number of whole segments.
    Uri(Segments),
    /// `dns:GLOB`; `*` is one label. Kept in lower case, with slashes for dots.
    Dns(Segments),
    /// `cn:GLOB`
    CommonName(Pattern),
    /// `org:GLOB`
    Organization(Pattern),
    /// `uid:N`
    Uid(u32),
    /// `gid:N`
    Gid(u32),
    /// `anonymous`: whoever reaches a plaintext listener.
    Anonymous,
}

/// A text that names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no subject ({reason}): expected uri:GLOB, dns:GLOB, cn:GLOB, org:GLOB, uid:N, \
     gid:N or anonymous"
)]
pub struct BadSubject {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Subject {
    /// Whether somebody has a name that is meant.
    pub fn matches(&self, identity: &Identity) -> bool {
        identity.names().iter().any(|name| self.means(name))
    }

    fn means(&self, name: &Name) -> bool {
        match (self, name) {
            (Self::Uri(pattern), Name::Uri(name)) => pattern.matches(name),
            // A slash is no dot, and in no DNS name.
            (Self::Dns(pattern), Name::Dns(name)) => {
                !name.contains('/') && pattern.matches(&labels(name))
            }
            (Self::CommonName(pattern), Name::CommonName(name))
            | (Self::Organization(pattern), Name::Organization(name)) => pattern.matches(name),
            (Self::Uid(wanted), Name::Uid(id)) | (Self::Gid(wanted), Name::Gid(id)) => wanted == id,
            (Self::Anonymous, Name::Anonymous) => true,
            _ => false,
        }
    }
}

/// A DNS name as a path, so that a pattern's `*` stays within a label. Names are equal
/// whatever their case (RFC 4343).
fn labels(name: &str) -> String {
    name.to_ascii_lowercase().replace('.', "/")
}

impl FromStr for Subject {
    type Err = BadSubject;

    fn from_str(text: &str) -> Result<Self, BadSubject> {
        let bad = |reason: &dyn fmt::Display| BadSubject {
            text: text.to_owned(),
            reason: reason.to_string(),
        };
        if text == "anonymous" {
            return Ok(Self::Anonymous);
        }
        let Some((kind, value)) = text.split_once(':') else {
            return Err(bad(&"no kind before a colon"));
        };
        if value.is_empty() {
            return Err(bad(&"nothing behind the colon"));
        }
        let pattern = |value: &str| Pattern::new(value).map_err(|error| bad(&error));
        let segments = |value: &str| value.parse().map_err(|error| bad(&error));
        let number = || value.parse().map_err(|error| bad(&error));
        match kind {
            "uri" => segments(value).map(Self::Uri),
            "dns" if value.contains('/') => Err(bad(&"a slash is in no DNS name")),
            "dns" => segments(&labels(value)).map(Self::Dns),
            "cn" => pattern(value).map(Self::CommonName),
            "org" => pattern(value).map(Self::Organization),
            "uid" => number().map(Self::Uid),
            "gid" => number().map(Self::Gid),
            _ => Err(bad(&format_args!("{kind:?} is no kind of name"))),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(pattern) => write!(f, "uri:{pattern}"),
            Self::Dns(pattern) => write!(f, "dns:{}", pattern.as_str().replace('/', ".")),
            Self::CommonName(pattern) => write!(f, "cn:{pattern}"),
            Self::Organization(pattern) => write!(f, "org:{pattern}"),
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::Gid(gid) => write!(f, "gid:{gid}"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

/// As it is written: the configuration is logged at start.
impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> serde::Deserialize<'de> for Subject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(subject: &str, name: &Name) -> bool {
        subject.parse::<Subject>().unwrap().means(name)
    }

    #[test]
    fn a_star_in_a_uri_stays_within_its_segment() {
        let name = Name::Uri("spiffe://prod/ns/net/sa/controller".into());
        for fits in [
            "uri:spiffe://prod/ns/net/sa/controller",
            "uri:spiffe://prod/ns/*/sa/controller",
            "uri:spiffe://prod/ns/net/sa/c*",
            "uri:spiffe://prod/**",
        ] {
            assert!(means(fits, &name), "{fits}");
        }
        for unfit in [
            "uri:spiffe://prod/*",
            "uri:spiffe://prod/ns/*/controller",
            "uri:spiffe://prod/ns/net/sa/Controller",
            "uri:spiffe://prod/ns/net/sa",
            "cn:*",
        ] {
            assert!(!means(unfit, &name), "{unfit}");
        }
    }

    #[test]
    fn a_star_in_a_dns_name_is_one_label_and_case_does_not_count() {
        let name = Name::Dns("FW1.example.NET".into());
        for fits in ["dns:fw1.example.net", "dns:*.Example.net", "dns:**"] {
            assert!(means(fits, &name), "{fits}");
        }
        for unfit in ["dns:*.net", "dns:*", "dns:fw1.example.net.evil"] {
            assert!(!means(unfit, &name), "{unfit}");
        }
        let odd = Name::Dns("fw1/example.net".into());
        for subject in ["dns:fw1.example.net", "dns:**"] {
            assert!(!means(subject, &odd), "{subject}");
        }
    }

    #[test]
    fn a_star_in_a_common_name_is_anything() {
        assert!(means("cn:*", &Name::CommonName("a/b c.d".into())));
        assert!(means("org:Ex*le", &Name::Organization("Example".into())));
        assert!(!means("org:*", &Name::CommonName("Example".into())));
        assert!(!means("cn:admin", &Name::CommonName("admin2".into())));
    }

    #[test]
    fn users_and_groups_are_numbers() {
        let process = Identity::of_process(1000, 50, &[50, 7]);
        assert!("uid:1000".parse::<Subject>().unwrap().matches(&process));
        assert!("gid:50".parse::<Subject>().unwrap().matches(&process));
        assert!("gid:7".parse::<Subject>().unwrap().matches(&process));
        assert_eq!(process.names().len(), 3);
        assert!(!"gid:1000".parse::<Subject>().unwrap().matches(&process));
        assert!(!"anonymous".parse::<Subject>().unwrap().matches(&process));
    }

    #[test]
    fn what_is_no_subject_says_why() {
        for text in [
            "admin", "cn:", "user:1", "dns:a/b", "uid:-1", "uid:x", "cn:[", "uri:a**b", "",
        ] {
            let error = text.parse::<Subject>().unwrap_err().to_string();
            assert!(error.contains("expected uri:GLOB"), "{error}");
        }
    }

    #[test]
    fn a_subject_is_written_as_it_was_read() {
        for text in [
            "uri:spiffe://a/*",
            "dns:*.b.c",
            "cn:x y",
            "org:o",
            "uid:0",
            "gid:7",
            "anonymous",
        ] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
    }
}
