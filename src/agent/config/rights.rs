//! Who may do what, as flags and the file say it, made a policy.

use std::str::FromStr;
use std::sync::Arc;

use super::ConfigError;
use crate::access::{
    BadSubject, Binding, Grant, Policy, Role, Scope, Subject, UnfitScope, UnknownRole,
};
use crate::expr::{self, ParseError};
use crate::flow::filter::{Kind, UnfitField};

/// A binding in one word: `ROLE=SUBJECT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    role: Role,
    subject: Subject,
}

/// A text that is no such binding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAllow {
    /// There is no sign.
    #[error("{0:?} is no binding: expected ROLE=SUBJECT, such as admin=cn:alice")]
    NoSign(String),
    /// The role.
    #[error(transparent)]
    Role(#[from] UnknownRole),
    /// The subject.
    #[error(transparent)]
    Subject(#[from] BadSubject),
}

impl FromStr for Allow {
    type Err = BadAllow;

    fn from_str(text: &str) -> Result<Self, BadAllow> {
        let (role, subject) = text
            .split_once('=')
            .ok_or_else(|| BadAllow::NoSign(text.to_owned()))?;
        Ok(Self {
            role: role.parse()?,
            subject: subject.parse()?,
        })
    }
}

impl<'de> serde::Deserialize<'de> for Allow {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A table of `[[bindings]]`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BindingSettings {
    /// Whom it means: whoever one of these means.
    pub subjects: Vec<Subject>,
    /// What they may do.
    pub role: Role,
    /// A filter expression: to which flows.
    pub scope: Option<String>,
    /// In which network namespaces; "" is the agent's own.
    pub network_namespaces: Option<Vec<String>>,
}

/// What is wrong with a table of `[[bindings]]`.
#[derive(Debug, thiserror::Error)]
pub enum BadBinding {
    /// Nobody is meant.
    #[error("subjects is empty, must have at least one")]
    Nobody,
    /// No namespace is meant.
    #[error("network-namespaces is empty: leave it out for all, or name \"\" for the agent's own")]
    Nowhere,
    /// The scope is no expression.
    #[error("scope: {0}")]
    Expression(Box<ParseError>),
    /// The scope looks at what flows do not have.
    #[error("scope: {0}")]
    Field(#[from] UnfitField),
    /// The scope looks at what cannot be in a scope.
    #[error("scope: {0}")]
    Unfit(#[from] UnfitScope),
}

impl BindingSettings {
    fn binding(self) -> Result<Binding, BadBinding> {
        if self.subjects.is_empty() {
            return Err(BadBinding::Nobody);
        }
        if self.network_namespaces.as_ref().is_some_and(Vec::is_empty) {
            return Err(BadBinding::Nowhere);
        }
        let scope = self.scope.map(scope).transpose()?;
        Ok(Binding {
            subjects: self.subjects,
            grant: Arc::new(Grant {
                role: self.role,
                scope,
                namespaces: self.network_namespaces,
            }),
        })
    }
}

fn scope(text: String) -> Result<Scope, BadBinding> {
    let filter = expr::parse(&text).map_err(|error| BadBinding::Expression(Box::new(error)))?;
    filter.check(Kind::Flow)?;
    Ok(Scope::new(filter, text)?)
}

/// The policy: the bindings of the file, those in a word, and behind them who always may: the
/// user that runs the agent, and root, who could do all of it without the agent; and
/// whoever reaches a plaintext listener, who cannot be told from others.
pub(super) fn policy(
    allow: Vec<Allow>,
    bindings: Vec<BindingSettings>,
) -> Result<Policy, ConfigError> {
    let simple = |role, subjects| Binding {
        subjects,
        grant: Arc::new(Grant::unlimited(role)),
    };
    let mut all = Vec::new();
    for (index, settings) in bindings.into_iter().enumerate() {
        let binding = settings.binding();
        all.push(binding.map_err(|source| ConfigError::Binding { index, source })?);
    }
    all.extend(
        allow
            .into_iter()
            .map(|Allow { role, subject }| simple(role, vec![subject])),
    );
    let own = rustix::process::geteuid().as_raw();
    let mut always = vec![Subject::Uid(0), Subject::Anonymous];
    if own != 0 {
        always.push(Subject::Uid(own));
    }
    all.push(simple(Role::Admin, always));
    Ok(Policy::new(all))
}
