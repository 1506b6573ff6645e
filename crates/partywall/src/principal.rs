//! Who acts: people and machines, as equals (M-02).

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Who acts, inside one tenant.
///
/// Attributes such as an e-mail or a name describe a principal and never identify one (M-02).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Principal {
    /// A person.
    User(SubjectId),
    /// A machine: a service, a script, a job.
    Machine(SubjectId),
}

impl Principal {
    /// The stable id (`sub`), unique within its issuer.
    pub fn subject(&self) -> &SubjectId {
        match self {
            Self::User(id) | Self::Machine(id) => id,
        }
    }

    /// Whether a machine acts.
    pub fn is_machine(&self) -> bool {
        matches!(self, Self::Machine(_))
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user {id}"),
            Self::Machine(id) => write!(f, "machine {id}"),
        }
    }
}

/// A principal's `sub`: 1 to 255 visible ASCII characters, compared byte by byte (OIDC Core 2).
///
/// Our own issuer writes machines as `m:…` and people as `u:…`, so that no client can be named
/// like a person (J-18, RFC 9700 4.15).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubjectId(Arc<str>);

impl SubjectId {
    /// The id as the issuer wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SubjectId {
    type Error = InvalidSubject;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        id.parse()
    }
}

impl std::str::FromStr for SubjectId {
    type Err = InvalidSubject;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        let visible = id.bytes().all(|b| b.is_ascii_graphic());
        ((1..=255).contains(&id.len()) && visible).then(|| Self(id.into())).ok_or(InvalidSubject)
    }
}

impl From<SubjectId> for String {
    fn from(id: SubjectId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text was not a subject.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a subject: expected 1 to 255 visible ASCII characters")]
pub struct InvalidSubject;

/// A role the tenant's administrator granted, meaningful inside that tenant only.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(from = "String", into = "String")]
pub struct Role(Arc<str>);

impl Role {
    /// The role's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Role {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<Role> for String {
    fn from(role: Role) -> Self {
        role.0.as_ref().to_owned()
    }
}

impl From<&str> for Role {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
