//! The one gate (I-12). Every way in ends here: signing in, a session that is there already, a
//! refresh token, a device, an exchange, an API key, an invitation, a recovery. What it lets
//! through is an [`Admitted`], which nothing else can make and every token needs.

use std::collections::BTreeSet;

use partywall::{Role, TenantId, Timestamp};
use sea_orm::ConnectionTrait;

use super::Proof;
use crate::{
    control::{ClientId, Connection, SignInPolicy, User, UserStatus},
    storage::{
        StorageError, connections,
        machines::AuthenticatedMachine,
        users::{self, AtTheDoor, Who},
    },
};

/// How somebody comes to the door.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Path {
    /// With what this browser showed before, to this tenant or another (I-14).
    Session,
    /// With a refresh token.
    Refresh,
    /// On a device, approved elsewhere.
    Device,
    /// With somebody's token, to be exchanged.
    TokenExchange,
    /// With an API key.
    ApiKey,
}

impl Path {
    /// Every path, for tests that try each.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 5] =
        [Self::Session, Self::Refresh, Self::Device, Self::TokenExchange, Self::ApiKey];

    /// Whether the sign-in's age counts. A refresh token, an API key and an exchanged token have a
    /// life of their own.
    fn ages(self) -> bool {
        match self {
            Self::Session | Self::Device => true,
            Self::Refresh | Self::TokenExchange | Self::ApiKey => false,
        }
    }

    /// Whether factors were shown that a policy can ask for. A key of one's own is judged by the
    /// lock alone.
    fn shows_factors(self) -> bool {
        match self {
            Self::Session | Self::Refresh | Self::Device | Self::TokenExchange => true,
            Self::ApiKey => false,
        }
    }
}

/// Somebody at a tenant's door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'e> {
    pub(crate) tenant: &'e TenantId,
    pub(crate) who: Who<'e>,
    pub(crate) path: Path,
    pub(crate) proof: &'e Proof,
}

/// Somebody the gate let through, to one tenant, now. Tokens and sessions are made of it.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    principal: AdmittedPrincipal,
    tenant: TenantId,
    tenant_epoch: u32,
    own_issuer: bool,
    policy: SignInPolicy,
}

/// Who was let through.
#[derive(Clone, Debug)]
pub(crate) enum AdmittedPrincipal {
    /// A person, and what they showed.
    User(Box<User>, Proof),
    /// A machine, which showed a secret just now.
    Machine { client_id: ClientId, roles: BTreeSet<Role> },
}

impl Admitted {
    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub(crate) fn tenant_epoch(&self) -> u32 {
        self.tenant_epoch
    }

    /// Whether tokens for the tenant come from an issuer of its own and no other.
    pub(crate) fn own_issuer(&self) -> bool {
        self.own_issuer
    }

    pub(crate) fn policy(&self) -> &SignInPolicy {
        &self.policy
    }

    pub(crate) fn principal(&self) -> &AdmittedPrincipal {
        &self.principal
    }

    /// The `sub` of its tokens.
    pub(crate) fn subject(&self) -> &str {
        match &self.principal {
            AdmittedPrincipal::User(user, _) => user.id.as_str(),
            AdmittedPrincipal::Machine { client_id, .. } => client_id.as_str(),
        }
    }

    /// What it may be inside the tenant, now.
    pub(crate) fn roles(&self) -> &BTreeSet<Role> {
        match &self.principal {
            AdmittedPrincipal::User(user, _) => &user.roles,
            AdmittedPrincipal::Machine { roles, .. } => roles,
        }
    }

    /// The person, if it is one.
    pub(crate) fn user(&self) -> Option<(&User, &Proof)> {
        match &self.principal {
            AdmittedPrincipal::User(user, proof) => Some((user, proof)),
            AdmittedPrincipal::Machine { .. } => None,
        }
    }
}

/// Decides. Reads everything afresh, in one query, and one more where a tenant's own provider
/// vouches for somebody: what held at the last token may not hold now.
pub(crate) async fn admit(
    db: &impl ConnectionTrait,
    entry: Entry<'_>,
    now: Timestamp,
) -> Result<Result<Admitted, Refusal>, StorageError> {
    let Some(door) = users::at_the_door(db, entry.tenant, entry.who).await? else {
        return Ok(Err(Refusal::NotAMember));
    };
    let vouched = vouched(db, &door, entry).await?;
    Ok(judge(&door, entry, vouched, now).map(|()| Admitted {
        tenant: entry.tenant.clone(),
        tenant_epoch: door.tenant_epoch,
        own_issuer: door.settings.own_issuer,
        policy: door.settings.policy,
        principal: AdmittedPrincipal::User(Box::new(door.user), entry.proof.clone()),
    }))
}

/// A machine has shown its secret; what is left is its tenant.
pub(crate) fn admit_machine(client: AuthenticatedMachine) -> Result<Admitted, Refusal> {
    let AuthenticatedMachine { machine, tenant_is_active, tenant_epoch, own_issuer } = client;
    if !tenant_is_active {
        return Err(Refusal::TenantNotServed);
    }
    Ok(Admitted {
        tenant: machine.tenant,
        tenant_epoch,
        own_issuer,
        policy: SignInPolicy::default(),
        principal: AdmittedPrincipal::Machine {
            client_id: machine.client_id,
            roles: machine.roles,
        },
    })
}

/// Whether the tenant's own providers vouch for somebody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Vouched {
    /// None has to: they come with what is kept here.
    NotNeeded,
    Yes,
    No,
}

/// Asks the connections as they are now: one that was disabled or deleted, that only links, or
/// that somebody was unlinked from vouches for nobody (F-04).
async fn vouched(
    db: &impl ConnectionTrait,
    door: &AtTheDoor,
    entry: Entry<'_>,
) -> Result<Vouched, StorageError> {
    let (tenant, user) = (entry.tenant, &door.user);
    let admits = match (&entry.proof.connection, entry.path) {
        (Some(connection), _) => connections::vouching_for(db, tenant, connection, &user.id)
            .await?
            .is_some_and(|connection| connection.admits()),
        // A key of its owner's own is good as long as they could come in themselves.
        (None, Path::ApiKey) if user.account.is_none() || door.settings.policy.sso_only => {
            let all = connections::of_user(db, tenant, &user.id).await?;
            match (all.iter().any(Connection::admits), &user.account) {
                (false, Some(_)) => return Ok(Vouched::NotNeeded),
                (admits, _) => admits,
            }
        }
        (None, _) if user.account.is_none() => false,
        (None, _) => return Ok(Vouched::NotNeeded),
    };
    Ok(if admits { Vouched::Yes } else { Vouched::No })
}

fn judge(
    door: &AtTheDoor,
    entry: Entry<'_>,
    vouched: Vouched,
    now: Timestamp,
) -> Result<(), Refusal> {
    let Entry { path, proof, .. } = entry;
    let policy = &door.settings.policy;
    if !door.tenant_is_active {
        return Err(Refusal::TenantNotServed);
    }
    match door.user.status {
        UserStatus::Active => {}
        UserStatus::Invited => return Err(Refusal::NotAcceptedYet),
        UserStatus::Suspended => return Err(Refusal::UserNotActive),
    }
    if !door.account_is_active {
        return Err(Refusal::AccountLocked);
    }
    let past_the_lock = match vouched {
        Vouched::Yes => false,
        Vouched::No => return Err(Refusal::ConnectionUnknown),
        Vouched::NotNeeded if policy.sso_only && !door.user.break_glass => {
            return Err(Refusal::SsoOnly);
        }
        Vouched::NotNeeded => policy.sso_only,
    };
    if path.shows_factors() {
        let allowed = |method| policy.methods.contains(&method) || policy.sso_only;
        if proof.connection.is_none() && !proof.methods().any(allowed) {
            return Err(Refusal::MethodNotAllowed);
        }
        if policy.mfa_required && !proof.is_multi_factor() {
            return Err(Refusal::MfaRequired);
        }
    }
    let oldest = proof.auth_time + std::time::Duration::from_secs(policy.session_seconds.into());
    if path.ages() && oldest <= now {
        return Err(Refusal::SignInTooOld);
    }
    if past_the_lock {
        // Past the lock: somebody should look at this one.
        tracing::error!(
            tenant.id = %entry.tenant, user.id = %door.user.id, ?path,
            "a break-glass user came in past the tenant's lock to its own identity provider"
        );
    }
    Ok(())
}

/// Why the gate stayed shut. For the log and for the pages of somebody who has shown who they are;
/// never for strangers, who all hear the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the tenant is not served")]
    TenantNotServed,
    #[error("not a member of the tenant")]
    NotAMember,
    #[error("the invitation was not accepted yet")]
    NotAcceptedYet,
    #[error("the user is suspended")]
    UserNotActive,
    #[error("the account is locked")]
    AccountLocked,
    #[error("no identity provider of the tenant's that admits vouches for the user")]
    ConnectionUnknown,
    #[error("the tenant admits through its own identity provider only")]
    SsoOnly,
    #[error("the tenant does not admit by this method")]
    MethodNotAllowed,
    #[error("the tenant asks for two factors")]
    MfaRequired,
    #[error("the sign-in is too long ago")]
    SignInTooOld,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::{Email, Metadata, SignInMethod, UserId},
        login::Amr,
        storage::sign_in_policies::SignInSettings,
    };

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn door() -> AtTheDoor {
        let id: UserId = format!("u:{}", "a".repeat(26)).parse().unwrap();
        AtTheDoor {
            user: User {
                id,
                tenant: "acme".parse().unwrap(),
                account: None,
                email: "ada@acme.test".parse::<Email>().unwrap(),
                name: "Ada".to_owned(),
                status: UserStatus::Active,
                roles: BTreeSet::new(),
                metadata: Metadata::default(),
                break_glass: false,
                created_at: NOW,
                changed_at: NOW,
                version: 1,
            },
            account_is_active: true,
            tenant_is_active: true,
            tenant_epoch: 0,
            settings: SignInSettings::default(),
        }
    }

    fn judged(door: &AtTheDoor, path: Path, proof: &Proof) -> Result<(), Refusal> {
        vouched_for(door, path, proof, Vouched::NotNeeded)
    }

    fn vouched_for(
        door: &AtTheDoor,
        path: Path,
        proof: &Proof,
        vouched: Vouched,
    ) -> Result<(), Refusal> {
        let entry = Entry { tenant: &door.user.tenant, who: Who::User(&door.user.id), path, proof };
        judge(door, entry, vouched, NOW)
    }

    #[test]
    fn i12_every_path_is_shut_in_every_state_that_shuts() {
        let password = Proof::of([Amr::Password], NOW);
        type Spoil = fn(&mut AtTheDoor);
        let states: [(&str, Refusal, Spoil); 5] = [
            ("tenant suspended", Refusal::TenantNotServed, |d| d.tenant_is_active = false),
            ("user suspended", Refusal::UserNotActive, |d| d.user.status = UserStatus::Suspended),
            ("account locked", Refusal::AccountLocked, |d| d.account_is_active = false),
            ("locked to SSO", Refusal::SsoOnly, |d| d.settings.policy.sso_only = true),
            ("not accepted", Refusal::NotAcceptedYet, |d| d.user.status = UserStatus::Invited),
        ];
        for path in Path::ALL {
            assert_eq!(judged(&door(), path, &password), Ok(()), "{path:?}: the control");
            for (state, refusal, spoil) in &states {
                let mut door = door();
                spoil(&mut door);
                assert_eq!(judged(&door, path, &password), Err(*refusal), "{path:?}, {state}");
            }
            let mut federated = Proof::of([Amr::Federated], NOW);
            federated.connection = Some("c-okta".to_owned());
            let by = |door: &AtTheDoor, vouched| vouched_for(door, path, &federated, vouched);
            assert_eq!(by(&door(), Vouched::Yes), Ok(()), "{path:?}: the control");
            assert_eq!(by(&door(), Vouched::No), Err(Refusal::ConnectionUnknown), "{path:?}");
            for (state, refusal, spoil) in &states {
                let mut door = door();
                spoil(&mut door);
                // The lock lets nobody in but through here.
                let expected = if *refusal == Refusal::SsoOnly { Ok(()) } else { Err(*refusal) };
                assert_eq!(by(&door, Vouched::Yes), expected, "{path:?}, {state}");
            }
        }
    }

    #[test]
    fn i15_two_factors_at_the_tenants_provider_are_two_factors() {
        let mut door = door();
        door.settings.policy.mfa_required = true;
        let one = Proof::of([Amr::Federated], NOW);
        let two = one.clone().and(Amr::MultiFactor, NOW);
        let by = |proof: &Proof, connection: Option<&str>| {
            let mut proof = proof.clone();
            proof.connection = connection.map(str::to_owned);
            vouched_for(&door, Path::Session, &proof, Vouched::Yes)
        };
        assert_eq!(by(&one, Some("c-okta")), Err(Refusal::MfaRequired));
        assert_eq!(by(&two, Some("c-okta")), Ok(()));
        assert_eq!(by(&two, None), Err(Refusal::MethodNotAllowed), "nobody kept here said so");
    }

    #[test]
    fn i13_a_break_glass_user_passes_the_lock_and_nothing_else() {
        let mut door = door();
        door.settings.policy.sso_only = true;
        door.user.break_glass = true;
        let password = Proof::of([Amr::Password], NOW);
        assert_eq!(judged(&door, Path::Session, &password), Ok(()));
        door.settings.policy.mfa_required = true;
        assert_eq!(judged(&door, Path::Session, &password), Err(Refusal::MfaRequired));
        door.tenant_is_active = false;
        assert_eq!(judged(&door, Path::Session, &password), Err(Refusal::TenantNotServed));
    }

    #[test]
    fn i14_what_was_shown_is_judged_by_this_tenants_policy() {
        let mut door = door();
        let password = Proof::of([Amr::Password], NOW);
        let both = password.clone().and(Amr::Totp, NOW);
        door.settings.policy.mfa_required = true;
        assert_eq!(judged(&door, Path::Session, &password), Err(Refusal::MfaRequired));
        assert_eq!(judged(&door, Path::Session, &both), Ok(()));
        door.settings.policy.methods = [SignInMethod::Passkey].into();
        assert_eq!(judged(&door, Path::Session, &both), Err(Refusal::MethodNotAllowed));
        door.settings.policy.methods = [SignInMethod::Password].into();
        let old = Proof::of([Amr::Password, Amr::Totp], Timestamp(NOW.0 - 8 * 24 * 3600));
        assert_eq!(judged(&door, Path::Session, &old), Err(Refusal::SignInTooOld));
        assert_eq!(judged(&door, Path::Refresh, &old), Ok(()), "it has a life of its own");
    }
}
