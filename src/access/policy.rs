//! Who may do what: bindings from subjects to grants.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Identity, Scope, Subject};

/// What somebody may do; each may do all that those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Dump, get, count, watch, statistics, and what the agent says of itself.
    Reader,
    /// Also create, update and delete, by key or filter, and reset counters.
    Operator,
    /// Also flush, and the settings of the host.
    Admin,
}

impl Role {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role: expected reader, operator or admin")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        match text {
            "reader" => Ok(Self::Reader),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            other => Err(UnknownRole(other.to_owned())),
        }
    }
}

/// What a binding grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What they may do.
    pub role: Role,
    /// To which flows; to all when there is none.
    pub scope: Option<Scope>,
    /// In which network namespaces, by the names that requests use; in all when there is
    /// none. "" is the agent's own.
    pub namespaces: Option<Vec<String>>,
}

impl Grant {
    /// All flows in all namespaces.
    pub fn unlimited(role: Role) -> Self {
        Self {
            role,
            scope: None,
            namespaces: None,
        }
    }

    /// Whether it reaches into this namespace.
    pub fn reaches(&self, namespace: &str) -> bool {
        self.namespaces
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name == namespace))
    }
}

/// Subjects and what they are granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Whom it means: whoever one of these means.
    pub subjects: Vec<Subject>,
    /// What they get.
    pub grant: Arc<Grant>,
}

/// All bindings. The first that means somebody decides; whom none means gets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    bindings: Vec<Binding>,
}

impl Policy {
    /// Of these bindings, in this order.
    pub fn new(bindings: Vec<Binding>) -> Self {
        Self { bindings }
    }

    /// What somebody may do.
    pub fn grant(&self, identity: &Identity) -> Option<&Arc<Grant>> {
        self.bindings
            .iter()
            .find(|binding| {
                let mut subjects = binding.subjects.iter();
                subjects.any(|subject| subject.matches(identity))
            })
            .map(|binding| &binding.grant)
    }

    /// The bindings, in the order that decides.
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(subjects: &[&str], role: Role) -> Binding {
        Binding {
            subjects: subjects.iter().map(|s| s.parse().unwrap()).collect(),
            grant: Arc::new(Grant::unlimited(role)),
        }
    }

    #[test]
    fn the_first_binding_that_means_somebody_decides() {
        let policy = Policy::new(vec![
            binding(&["uid:1", "gid:5"], Role::Reader),
            binding(&["uid:1"], Role::Admin),
        ]);
        let role = |uid, gid| {
            let identity = Identity::of_process(uid, gid, &[]);
            policy.grant(&identity).map(|grant| grant.role)
        };
        assert_eq!(role(1, 1), Some(Role::Reader));
        assert_eq!(role(2, 5), Some(Role::Reader));
        assert_eq!(role(2, 1), None);
        assert_eq!(policy.grant(&Identity::anonymous()), None);
    }

    #[test]
    fn roles_include_those_before_them() {
        assert!(Role::Reader < Role::Operator && Role::Operator < Role::Admin);
        for role in [Role::Reader, Role::Operator, Role::Admin] {
            assert_eq!(role.name().parse(), Ok(role));
        }
        let error = "root".parse::<Role>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"root\" is no role: expected reader, operator or admin"
        );
    }

    #[test]
    fn a_grant_reaches_into_the_namespaces_that_it_names() {
        let mut grant = Grant::unlimited(Role::Reader);
        assert!(grant.reaches("") && grant.reaches("edge"));
        grant.namespaces = Some(vec!["edge".to_owned()]);
        assert!(grant.reaches("edge"));
        assert!(!grant.reaches("") && !grant.reaches("edge2"));
    }
}
