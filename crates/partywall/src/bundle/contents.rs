//! What a bundle says, in plain values: what the control plane compiles and a person can read.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::{
    Placements, Region, Slug, SubjectId, TenantId, TenantStatus, Tier, Timestamp,
    token::IssuerConfig,
};

/// Everything an enforcement point needs to decide alone.
///
/// In a full bundle these are all tenants; in a delta, those that changed, and `removed` names
/// those that are gone. Issuers and revocations are always complete.
#[derive(Clone, Debug, Default)]
pub struct BundleContents {
    /// The tenants, in any order; encoding sorts them.
    pub tenants: Vec<TenantRecord>,
    /// Tenants that are no more. Only a delta may name any.
    pub removed: BTreeSet<TenantId>,
    /// Whose tokens to accept, with their keys or where to find them.
    pub issuers: Vec<IssuerConfig>,
    /// Which tokens not to accept although they look right.
    pub revocations: Revocations,
}

/// What an enforcement point knows of one tenant (M-03).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TenantRecord {
    /// The opaque id.
    pub id: TenantId,
    /// Its readable alias in hosts and paths.
    pub slug: Slug,
    /// Whether to serve it.
    pub status: TenantStatus,
    /// What it pays for.
    pub tier: Tier,
    /// Where in the world its data belongs.
    #[serde(default)]
    pub region: Option<Region>,
    /// Counts the times all of the tenant's tokens were revoked at once.
    #[serde(default)]
    pub epoch: u32,
    /// When that last happened: a token without an epoch of its own must be younger.
    #[serde(default)]
    pub epoch_at: Timestamp,
    /// Where its data lives, per store.
    pub placements: Placements,
}

/// Tokens refused although their signature and claims are right (I-09).
///
/// Each entry need only stay until the last token it could refuse has expired by itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Revocations {
    /// A single token: its key, and when it expires by itself.
    pub(crate) tokens: BTreeMap<RevocationKey, Timestamp>,
    /// All tokens of a principal or client issued at or before that time.
    pub(crate) subjects: BTreeMap<RevocationKey, Timestamp>,
}

/// 16 bytes of SHA-256 over the length-prefixed fields that name what is revoked (B-25: injective).
pub(crate) type RevocationKey = [u8; 16];

impl Revocations {
    /// Refuses the token `jti` of `issuer`, which would expire by itself at `expires`.
    pub fn revoke_token(&mut self, issuer: &str, jti: &str, expires: Timestamp) {
        self.tokens.insert(key(b"token", &[issuer, jti]), expires);
    }

    /// Refuses every token of `subject` in `tenant` issued at or before `until`.
    pub fn revoke_subject(&mut self, tenant: &TenantId, subject: &SubjectId, until: Timestamp) {
        let latest = self.subjects.entry(key(b"subject", &[tenant.as_str(), subject.as_str()]));
        let latest = latest.or_insert(until);
        *latest = (*latest).max(until);
    }

    /// Whether the token `jti` of `issuer` is refused.
    pub(crate) fn refuses_token(&self, issuer: &str, jti: &str) -> bool {
        !self.tokens.is_empty() && self.tokens.contains_key(&key(b"token", &[issuer, jti]))
    }

    /// Whether tokens of `subject` issued at `issued_at` are refused.
    pub(crate) fn refuses_subject(
        &self,
        tenant: &TenantId,
        subject: &SubjectId,
        issued_at: Timestamp,
    ) -> bool {
        !self.subjects.is_empty()
            && self
                .subjects
                .get(&key(b"subject", &[tenant.as_str(), subject.as_str()]))
                .is_some_and(|until| issued_at <= *until)
    }
}

fn key(purpose: &[u8], fields: &[&str]) -> RevocationKey {
    let mut hash = Context::new(&SHA256);
    hash.update(purpose);
    for field in fields {
        hash.update(&(field.len() as u64).to_le_bytes());
        hash.update(field.as_bytes());
    }
    hash.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b25_revocation_keys_tell_their_fields_apart() {
        assert_ne!(key(b"token", &["ab", "c"]), key(b"token", &["a", "bc"]));
        assert_ne!(key(b"token", &["a", "b"]), key(b"subject", &["a", "b"]));
        assert_eq!(key(b"token", &["a", "b"]), key(b"token", &["a", "b"]));
    }

    #[test]
    fn i09_a_subjects_revocation_only_moves_forward() {
        let (tenant, subject) = ("acme".parse().unwrap(), "u:1".parse().unwrap());
        let mut revocations = Revocations::default();
        revocations.revoke_subject(&tenant, &subject, Timestamp(20));
        revocations.revoke_subject(&tenant, &subject, Timestamp(10));
        assert!(revocations.refuses_subject(&tenant, &subject, Timestamp(20)));
        assert!(!revocations.refuses_subject(&tenant, &subject, Timestamp(21)));
        let other = "acme-2".parse().unwrap();
        assert!(!revocations.refuses_subject(&other, &subject, Timestamp(20)));
    }
}
