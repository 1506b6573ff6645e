//! What is trusted in an identity provider, and what a change of it would change (I-04, I-23).

use std::fmt;

use crate::certificate::Certificate;
use crate::instant;
use crate::metadata::{Endpoint, IdpMetadata};

/// All a connection trusts its identity provider for. The default trusts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// By whom responses must be issued.
    pub entity_id: String,
    /// Where people are sent to sign in.
    pub sso: Vec<Endpoint>,
    /// Where logout messages are sent.
    pub slo: Vec<Endpoint>,
    /// By whose keys responses must be signed.
    pub certificates: Vec<Certificate>,
}

/// One difference, or one thing that stays. Its `Display` is a sentence for the administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happens to it.
    pub kind: ChangeKind,
    /// To what.
    pub trusted: Trusted,
}

/// What happens to something that is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not trusted and will be.
    Added,
    /// It was trusted and will be.
    Kept,
    /// It was trusted and will no longer be.
    Removed,
}

/// Something that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trusted {
    /// The identity provider by this name.
    EntityId(String),
    /// Whoever holds this certificate's key.
    Certificate(Certificate),
    /// An address where people sign in.
    SingleSignOn(Endpoint),
    /// An address that is told of logouts.
    SingleLogout(Endpoint),
}

impl From<&IdpMetadata> for Trust {
    fn from(metadata: &IdpMetadata) -> Self {
        Self {
            entity_id: metadata.entity_id.clone(),
            sso: metadata.sso.clone(),
            slo: metadata.slo.clone(),
            certificates: metadata.certificates.clone(),
        }
    }
}

impl Trust {
    /// Everything that would come, stay and go if `new` took this one's place.
    ///
    /// A certificate that was made anew for the same key adds no trust: it stays.
    #[must_use]
    pub fn diff(&self, new: &Self) -> Vec<Change> {
        let entity = |trust: &Self| {
            Some(trust.entity_id.clone())
                .into_iter()
                .filter(|id| !id.is_empty())
                .collect::<Vec<_>>()
        };
        let mut changes = Vec::new();
        compare(&entity(self), &entity(new), String::eq, Trusted::EntityId, &mut changes);
        compare(
            &self.certificates,
            &new.certificates,
            Certificate::has_key_of,
            Trusted::Certificate,
            &mut changes,
        );
        compare(&self.sso, &new.sso, Endpoint::eq, Trusted::SingleSignOn, &mut changes);
        compare(&self.slo, &new.slo, Endpoint::eq, Trusted::SingleLogout, &mut changes);
        changes
    }

    /// Whether a key that is trusted stays trusted.
    #[must_use]
    pub fn shares_key_with(&self, new: &Self) -> bool {
        let kept = |old: &Certificate| new.certificates.iter().any(|c| c.has_key_of(old));
        self.certificates.iter().any(kept)
    }

    /// Whether `new` is the same identity provider, which changes a key at a time. If it is not,
    /// whoever it names is somebody else, whatever the name (I-04).
    #[must_use]
    pub fn is_continued_by(&self, new: &Self) -> bool {
        self.entity_id == new.entity_id && self.shares_key_with(new)
    }
}

fn compare<T: Clone>(
    old: &[T],
    new: &[T],
    same: impl Fn(&T, &T) -> bool,
    trusted: impl Fn(T) -> Trusted,
    changes: &mut Vec<Change>,
) {
    let among = |list: &[T], item: &T| list.iter().any(|other| same(other, item));
    for item in new {
        let kind = if among(old, item) { ChangeKind::Kept } else { ChangeKind::Added };
        changes.push(Change { kind, trusted: trusted(item.clone()) });
    }
    for item in old.iter().filter(|item| !among(new, item)) {
        changes.push(Change { kind: ChangeKind::Removed, trusted: trusted(item.clone()) });
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (will, trusted) = (self.kind, &self.trusted);
        match trusted {
            Trusted::EntityId(id) => write!(f, "Sign-ins by {id:?} {}.", will.be_taken()),
            Trusted::Certificate(certificate) => write!(
                f,
                "Sign-ins signed with the key of {:?} {}: certificate SHA-256 {}, valid until {}.",
                certificate.subject(),
                will.be_taken(),
                certificate.fingerprint_text(),
                instant::format(certificate.not_after()),
            ),
            Trusted::SingleSignOn(endpoint) => {
                write!(f, "People {} sent to {endpoint} to sign in.", will.be())
            }
            Trusted::SingleLogout(endpoint) => {
                write!(f, "Logout messages {} sent to {endpoint}.", will.be())
            }
        }
    }
}

impl ChangeKind {
    fn be_taken(self) -> &'static str {
        match self {
            Self::Added => "will be accepted",
            Self::Kept => "are accepted as before",
            Self::Removed => "will no longer be accepted",
        }
    }

    fn be(self) -> &'static str {
        match self {
            Self::Added => "will be",
            Self::Kept => "are still",
            Self::Removed => "will no longer be",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.location, self.binding)?;
        match &self.response_location {
            Some(location) => write!(f, ", answers to {location}"),
            None => Ok(()),
        }
    }
}
