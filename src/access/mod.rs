//! Who calls, and what they may do: identities from certificates and unix credentials, roles,
//! the bindings from one to the other, and scopes. Nothing here knows gRPC or a configuration
//! file: `agent` makes the policy, `api` asks it.

mod certificate;
mod identity;
mod policy;
mod scope;
mod segments;
mod subject;

pub use certificate::BadCertificate;
pub use identity::{Identity, Name, Peer, Place};
pub use policy::{Binding, Grant, Policy, Role, UnknownRole};
pub use scope::{Scope, UnfitScope};
pub use subject::{BadSubject, Subject};
