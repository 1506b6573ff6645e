//! Machines: OAuth clients that act for exactly one tenant, with a secret each.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use aws_lc_rs::{constant_time, digest};
use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::{Role, SubjectId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::{Actor, ControlError, ControlPlane, tenant::MAX_PAGE};
use crate::{
    random::{self, RandomError},
    secret::Secret,
    storage::{
        AuditEvent, machines,
        revocations::{self, Revocation},
        tenants,
    },
};

impl ControlPlane {
    /// Makes a machine of `tenant`. Its secret is returned here and never again.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownTenant`], and [`ControlError::Machine`] when its roles or scopes
    /// are too many or too long.
    pub async fn create_machine(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        new: NewMachine,
    ) -> Result<MachineCredentials, ControlError> {
        new.check()?;
        let now = self.now();
        let client_id = ClientId::draw(&self.inner.random)?;
        let secret = ClientSecret::draw(&self.inner.random)?;
        let change = self.inner.db.change(now).await?;
        if tenants::find(change.rows(), tenant).await?.is_none() {
            return Err(ControlError::UnknownTenant { tenant: tenant.clone() });
        }
        let machine = Machine {
            client_id: client_id.clone(),
            tenant: tenant.clone(),
            name: new.name,
            status: MachineStatus::Active,
            roles: new.roles,
            scopes: new.scopes,
            created_at: now,
            changed_at: now,
        };
        let hash = SecretHash::of(client_id.as_str(), secret.expose());
        machines::insert(change.rows(), &machine, &hash).await?;
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "machine.create",
            detail: json!({
                "client_id": client_id, "name": machine.name,
                "roles": machine.roles, "scopes": machine.scopes,
            }),
        };
        self.commit(change, event).await?;
        Ok(MachineCredentials { client_id, secret })
    }

    /// The tenant's active machine of that name with a new secret; made as `new` says when there
    /// is none. The secret it had before is good no longer.
    ///
    /// # Errors
    ///
    /// As [`create_machine`](Self::create_machine).
    pub async fn ensure_machine(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        new: NewMachine,
    ) -> Result<MachineCredentials, ControlError> {
        match machines::find_active_by_name(self.inner.db.reader(), tenant, &new.name).await? {
            Some(machine) => {
                self.rotate_machine_secret(actor, &machine.client_id, Duration::ZERO).await
            }
            None => self.create_machine(actor, tenant, new).await,
        }
    }

    /// Gives a machine a new secret. The one it had stays good for `overlap`, so that whoever
    /// uses it can change over; one that was being replaced already is good no longer (I-36).
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownMachine`] and [`ControlError::MachineRevoked`].
    pub async fn rotate_machine_secret(
        &self,
        actor: &Actor,
        client: &ClientId,
        overlap: Duration,
    ) -> Result<MachineCredentials, ControlError> {
        let now = self.now();
        let secret = ClientSecret::draw(&self.inner.random)?;
        let hash = SecretHash::of(client.as_str(), secret.expose());
        let change = self.inner.db.change(now).await?;
        let machine = self.machine_in(change.rows(), client).await?;
        machines::rotate_secret(change.rows(), &machine.tenant, client, &hash, now + overlap, now)
            .await?;
        let event = AuditEvent {
            actor,
            tenant: Some(&machine.tenant),
            action: "machine.rotate_secret",
            detail: json!({ "client_id": client, "overlap_seconds": overlap.as_secs() }),
        };
        self.commit(change, event).await?;
        Ok(MachineCredentials { client_id: client.clone(), secret })
    }

    /// Ends a machine for good: its secrets, and every token it was issued.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownMachine`] and [`ControlError::MachineRevoked`].
    pub async fn revoke_machine(
        &self,
        actor: &Actor,
        client: &ClientId,
    ) -> Result<(), ControlError> {
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        let machine = self.machine_in(change.rows(), client).await?;
        machines::revoke(change.rows(), &machine.tenant, client, now).await?;
        // A token request that read the machine before this change may still sign in the coming
        // seconds.
        let keep_until =
            now + Duration::from_secs(REQUESTS_UNDER_WAY) + self.policy().revocation_lasts(now);
        let revocation = Revocation::Subject {
            tenant: machine.tenant.as_str(),
            subject: client.as_str(),
            // It never comes back, so no token of it is good, whatever time it claims.
            until: keep_until,
            keep_until,
        };
        revocations::add(change.rows(), revocation, now).await?;
        let event = AuditEvent {
            actor,
            tenant: Some(&machine.tenant),
            action: "machine.revoke",
            detail: json!({ "client_id": client }),
        };
        self.commit(change, event).await?;
        Ok(())
    }

    /// The machine of that id, whatever its status.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn machine(&self, client: &ClientId) -> Result<Option<Machine>, ControlError> {
        Ok(machines::find(self.inner.db.reader(), client).await?)
    }

    /// Up to `limit` (at most 1,000) machines of a tenant by ascending id, from the one behind
    /// `after`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list_machines(
        &self,
        tenant: &TenantId,
        after: Option<&ClientId>,
        limit: u32,
    ) -> Result<Vec<Machine>, ControlError> {
        let limit = u64::from(limit.min(MAX_PAGE));
        Ok(machines::page(self.inner.db.reader(), tenant, after, limit).await?)
    }

    async fn machine_in(
        &self,
        db: &impl sea_orm::ConnectionTrait,
        client: &ClientId,
    ) -> Result<Machine, ControlError> {
        let client = || client.clone();
        match machines::find(db, &client()).await? {
            None => Err(ControlError::UnknownMachine { client: client() }),
            Some(machine) if machine.status == MachineStatus::Revoked => {
                Err(ControlError::MachineRevoked { client: client() })
            }
            Some(machine) => Ok(machine),
        }
    }
}

/// A machine, as the control plane knows it. Its secrets are not part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Machine {
    /// What it signs in as, and its `sub`.
    pub client_id: ClientId,
    /// The one tenant it acts for.
    pub tenant: TenantId,
    /// What people call it. Identifies nothing.
    pub name: String,
    /// Whether it can sign in.
    pub status: MachineStatus,
    /// What it may be inside its tenant.
    pub roles: BTreeSet<Role>,
    /// What its tokens may be asked to carry.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
}

/// Whether a machine can sign in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MachineStatus {
    /// With its secret.
    Active,
    /// Never again.
    Revoked,
}

/// What to say of a machine to be made. Its id and tenant are not its own to choose.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMachine {
    /// What people call it: up to 128 characters.
    pub name: String,
    /// What it may be inside its tenant: up to 32 roles of up to 64 visible ASCII characters.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub roles: BTreeSet<Role>,
    /// What its tokens may be asked to carry: up to 64 scopes.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub scopes: BTreeSet<Scope>,
}

impl NewMachine {
    /// Bounds what every token of the machine will carry.
    fn check(&self) -> Result<(), InvalidMachine> {
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > 128 || name.chars().any(char::is_control) {
            return Err(InvalidMachine::Name);
        }
        if !roles_are_sound(&self.roles) {
            return Err(InvalidMachine::Roles);
        }
        if self.scopes.len() > 64 { Err(InvalidMachine::Scopes) } else { Ok(()) }
    }
}

/// Whether every token can carry these: at most 32, each of 1 to 64 visible ASCII characters.
pub(crate) fn roles_are_sound(roles: &BTreeSet<Role>) -> bool {
    let visible = |role: &Role| {
        let role = role.as_str();
        (1..=64).contains(&role.len()) && role.bytes().all(|b| b.is_ascii_graphic())
    };
    roles.len() <= 32 && roles.iter().all(visible)
}

/// A machine's id and its secret, which is not kept anywhere else.
pub struct MachineCredentials {
    /// What it signs in as.
    pub client_id: ClientId,
    /// What it signs in with.
    pub secret: ClientSecret,
}

/// An OAuth client of ours: `m:` and 26 random characters. No person's `sub` begins like that
/// (J-18, RFC 9700 4.15).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(SubjectId);

impl ClientId {
    /// The id as it appears in requests and tokens.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The machine as a principal.
    pub fn subject(&self) -> &SubjectId {
        &self.0
    }

    fn draw(random: &dyn aws_lc_rs::rand::SecureRandom) -> Result<Self, RandomError> {
        format!("m:{}", random::opaque_id(random)?).parse().map_err(|_| RandomError)
    }
}

impl FromStr for ClientId {
    type Err = InvalidMachine;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        id.strip_prefix("m:")
            .filter(|rest| random::is_opaque_id(rest))
            .and_then(|_| id.parse().ok())
            .map(Self)
            .ok_or(InvalidMachine::ClientId)
    }
}

impl TryFrom<String> for ClientId {
    type Error = InvalidMachine;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        id.parse()
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An OAuth scope token: 1 to 64 characters of RFC 6749 3.3.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(String);

impl Scope {
    /// The scope as it appears in requests and tokens.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Scope {
    type Err = InvalidMachine;

    fn from_str(scope: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if (1..=64).contains(&scope.len()) && scope.bytes().all(allowed) {
            Ok(Self(scope.to_owned()))
        } else {
            Err(InvalidMachine::Scope)
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = InvalidMachine;

    fn try_from(scope: String) -> Result<Self, Self::Error> {
        scope.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.0
    }
}

/// Why a machine, or a part of one, was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMachine {
    /// Not a client id of ours.
    #[error("not a client id: expected m: and 26 characters of a-z and 2-7")]
    ClientId,
    /// Not a name.
    #[error("not a machine's name: expected 1 to 128 characters without control characters")]
    Name,
    /// Too many roles, or one too long.
    #[error("too many or unusable roles: at most 32, each of 1 to 64 visible ASCII characters")]
    Roles,
    /// Too many scopes.
    #[error("too many scopes: at most 64")]
    Scopes,
    /// Not a scope.
    #[error(
        "not a scope: expected 1 to 64 visible ASCII characters without quotes and backslashes"
    )]
    Scope,
}

/// A machine's secret: 256 random bits as text, with a prefix that secret scanners can know.
pub struct ClientSecret(Secret<String>);

impl ClientSecret {
    /// Shows the secret, to hand it to its owner.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    pub(super) fn draw(random: &dyn aws_lc_rs::rand::SecureRandom) -> Result<Self, RandomError> {
        let bytes = Zeroizing::new(random::fill::<32>(random)?);
        let text = Zeroizing::new(Base64UrlUnpadded::encode_string(&*bytes));
        Ok(Self(Secret::new(format!("pws_{}", *text))))
    }
}

/// What is stored of a secret. One round of SHA-256 is right for 256 random bits: there is
/// nothing to guess. It covers the client's id, so that one machine's hash is no use as another's.
pub(crate) struct SecretHash(digest::Digest);

impl SecretHash {
    pub(crate) fn of(client_id: &str, secret: &str) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"partywall client secret v1");
        hash.update(&(client_id.len() as u64).to_le_bytes());
        hash.update(client_id.as_bytes());
        hash.update(secret.as_bytes());
        Self(hash.finish())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Whether this is one of the stored hashes. The same work is done where there is none.
    pub(crate) fn is_one_of(&self, stored: [Option<&[u8]>; 2]) -> bool {
        let nobody = [0; 32];
        let [current, previous] = stored.map(|hash| self.is(hash.unwrap_or(&nobody)));
        current | previous
    }

    /// Whether this is the hash `stored`; takes the same time whichever byte differs.
    pub(crate) fn is(&self, stored: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(self.as_bytes(), stored).is_ok()
    }
}

pub(crate) const REQUESTS_UNDER_WAY: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j18_a_persons_subject_is_no_client_id() {
        let rest = "a".repeat(26);
        assert!(format!("m:{rest}").parse::<ClientId>().is_ok());
        for refused in
            [format!("u:{rest}"), rest.clone(), format!("m:{rest}a"), format!("M:{rest}")]
        {
            assert!(refused.parse::<ClientId>().is_err(), "{refused} is a client id");
        }
    }

    #[test]
    fn a_secrets_hash_belongs_to_its_client() {
        let hash = SecretHash::of("m:a", "secret");
        assert!(SecretHash::of("m:a", "secret").is(hash.as_bytes()));
        assert!(!SecretHash::of("m:a", "secre").is(hash.as_bytes()));
        assert!(!SecretHash::of("m:", "asecret").is(hash.as_bytes()));
        assert!(!hash.is(b""), "no hash, no entry");
    }

    #[test]
    fn scopes_are_those_of_rfc_6749() {
        assert!("invoices:read".parse::<Scope>().is_ok());
        for refused in ["", "a b", "a\"b", "a\\b", "ä", "a\n"] {
            assert!(refused.parse::<Scope>().is_err(), "{refused:?} is a scope");
        }
    }
}
