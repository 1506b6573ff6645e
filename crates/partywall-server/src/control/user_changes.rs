//! Users through their lives: changed, suspended, let in again, deleted. Whatever takes something
//! away from a user takes it from every session, grant and token it has, in one change.

use std::{collections::BTreeSet, time::Duration};

use partywall::{Role, TenantId, Timestamp};
use sea_orm::ConnectionTrait;
use serde::Deserialize;
use serde_json::json;

use super::{
    Account, AccountId, Actor, ControlError, ControlPlane, GrantEnd, InvalidUser, Metadata, User,
    UserId, UserStatus,
    machine::{REQUESTS_UNDER_WAY, roles_are_sound},
    tenant::MAX_PAGE,
    user::check_name,
};
use crate::storage::{
    AuditEvent, StorageError, accounts, erasure, grants,
    revocations::{self, Revocation},
    sessions, users,
};

/// What to change of a user; what is not said stays. Never its id, tenant or address.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPatch {
    /// What people call it: up to 128 characters.
    #[serde(default)]
    pub name: Option<String>,
    /// What it may be inside its tenant: up to 32 roles of up to 64 visible ASCII characters.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub roles: Option<BTreeSet<Role>>,
    /// Up to 4 KiB of JSON, in place of what there was.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Metadata>,
    /// `suspended` for one that is active, `active` for one that is suspended.
    #[serde(default)]
    pub status: Option<UserStatus>,
    /// Whether it may come in past the tenant's lock to its own identity provider (I-13).
    #[serde(default)]
    pub break_glass: Option<bool>,
}

impl UserPatch {
    /// Whether it touches anything that authorization reads. Nobody changes that of themselves
    /// (B-23).
    pub fn touches_authorization(&self) -> bool {
        let Self { name: _, roles, metadata, status, break_glass } = self;
        roles.is_some() || metadata.is_some() || status.is_some() || break_glass.is_some()
    }

    fn check(&self) -> Result<(), InvalidUser> {
        self.name.as_deref().map_or(Ok(()), check_name)?;
        if self.roles.as_ref().is_none_or(roles_are_sound) {
            Ok(())
        } else {
            Err(InvalidUser::Roles)
        }
    }
}

impl ControlPlane {
    /// Changes a user of `tenant`, if `expected` holds of what it is now. One that is suspended or
    /// loses a role loses its tokens with it: sessions and grants when suspended, access tokens
    /// either way. What it may still have, it gets anew from its refresh token.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownUser`], [`ControlError::Conflict`] when `expected` does not hold,
    /// [`ControlError::UserStatus`], and [`ControlError::User`].
    pub async fn update_user(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        id: &UserId,
        patch: UserPatch,
        expected: impl FnOnce(&User) -> bool + Send,
    ) -> Result<User, ControlError> {
        patch.check()?;
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        let before = self.user_in(change.rows(), tenant, id).await?;
        if !expected(&before) {
            return Err(ControlError::Conflict);
        }
        let mut user = before.clone();
        let UserPatch { name, roles, metadata, status, break_glass } = patch;
        user.name = name.unwrap_or(user.name);
        user.roles = roles.unwrap_or(user.roles);
        user.metadata = metadata.unwrap_or(user.metadata);
        user.break_glass = break_glass.unwrap_or(user.break_glass);
        user.status = match (before.status, status) {
            (now, None) => now,
            (now, Some(same)) if now == same => now,
            (UserStatus::Active, Some(UserStatus::Suspended)) => UserStatus::Suspended,
            (UserStatus::Suspended, Some(UserStatus::Active)) => UserStatus::Active,
            (UserStatus::Invited | UserStatus::Active | UserStatus::Suspended, Some(_)) => {
                let (user, status) = (id.clone(), before.status.as_str());
                return Err(ControlError::UserStatus { user, status });
            }
        };
        user.changed_at = now;
        user.version += 1;
        if !users::update(change.rows(), &user).await? {
            return Err(ControlError::Conflict);
        }
        if user.status == UserStatus::Suspended && before.status != user.status {
            self.shut_out(change.rows(), tenant, id, now).await?;
        } else if !before.roles.is_subset(&user.roles) {
            self.refuse_tokens_of(change.rows(), tenant, id.as_str(), now).await?;
        }
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "user.update",
            detail: json!({
                "user": id, "status": user.status, "roles": user.roles,
                "roles_before": before.roles, "break_glass": user.break_glass,
                "name_changed": before.name != user.name,
                "metadata_changed": before.metadata != user.metadata,
            }),
        };
        self.commit(change, event).await?;
        Ok(user)
    }

    /// Deletes a user of `tenant`, and everything it had there, if `expected` holds of what it is
    /// now. Its id is never given again. The account behind it goes too, when it is nobody else.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownUser`], and [`ControlError::Conflict`] when `expected` does not hold.
    pub async fn delete_user(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        id: &UserId,
        expected: impl FnOnce(&User) -> bool + Send,
    ) -> Result<(), ControlError> {
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        let user = self.user_in(change.rows(), tenant, id).await?;
        if !expected(&user) {
            return Err(ControlError::Conflict);
        }
        self.shut_out(change.rows(), tenant, id, now).await?;
        erasure::user(change.rows(), &user).await?;
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "user.delete",
            detail: json!({ "user": id }),
        };
        self.commit(change, event).await?;
        Ok(())
    }

    /// Up to `limit` (at most 1,000) users that are the same person, by ascending tenant, from the
    /// one behind `after`. For operators, and for the person: a tenant's administrator never
    /// learns what else a user is (I-35).
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list_memberships(
        &self,
        account: &AccountId,
        after: Option<&TenantId>,
        limit: u32,
    ) -> Result<Vec<User>, ControlError> {
        let limit = u64::from(limit.min(MAX_PAGE));
        Ok(users::memberships(self.inner.db.reader(), account, after, limit).await?)
    }

    /// The account of that id.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn account(&self, id: &AccountId) -> Result<Option<Account>, ControlError> {
        Ok(accounts::find(self.inner.db.reader(), id).await?)
    }

    async fn user_in(
        &self,
        db: &impl ConnectionTrait,
        tenant: &TenantId,
        id: &UserId,
    ) -> Result<User, ControlError> {
        let user = users::find(db, tenant, id).await?;
        user.ok_or_else(|| ControlError::UnknownUser { user: id.clone() })
    }

    /// Ends every session and grant a user has in its tenant and refuses its access tokens, in the
    /// caller's change.
    pub(crate) async fn shut_out(
        &self,
        db: &impl ConnectionTrait,
        tenant: &TenantId,
        user: &UserId,
        now: Timestamp,
    ) -> Result<ShutOut, StorageError> {
        let sessions = sessions::end_all_of_user(db, tenant, user, now).await?;
        let why = GrantEnd::Withdrawn.as_str();
        let grants = grants::revoke_all_of(db, tenant, user, None, why, now).await?;
        self.refuse_tokens_of(db, tenant, user.as_str(), now).await?;
        Ok(ShutOut { sessions, grants })
    }

    /// Refuses every access token a subject was issued so far, in the caller's change.
    pub(crate) async fn refuse_tokens_of(
        &self,
        db: &impl ConnectionTrait,
        tenant: &TenantId,
        subject: &str,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        // A request that read the subject before this change may still sign in the coming seconds.
        let until = now + Duration::from_secs(REQUESTS_UNDER_WAY);
        let keep_until = until + self.policy().revocation_lasts(now);
        let tenant = tenant.as_str();
        let revocation = Revocation::Subject { tenant, subject, until, keep_until };
        revocations::add(db, revocation, now).await
    }
}

/// What somebody had who was shut out.
pub(crate) struct ShutOut {
    /// The sessions, by name.
    pub(crate) sessions: Vec<String>,
    /// How many grants.
    pub(crate) grants: u64,
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;
    use crate::{
        SignInPolicy,
        login::{Amr, Proof},
        provider::testing::{Scene, TESTER, user},
        storage::sessions::{Session, TenantSession},
    };

    fn status(status: UserStatus) -> UserPatch {
        UserPatch { status: Some(status), ..UserPatch::default() }
    }

    /// The user's access token and refresh token, by a refresh.
    async fn tokens(scene: &Scene) -> (String, String) {
        let first = scene.refresh_token("openid").await;
        let (status, body) = refresh(scene, &first).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        (text("access_token"), text("refresh_token"))
    }

    async fn refresh(scene: &Scene, token: &str) -> (StatusCode, serde_json::Value) {
        let client = &scene.app.client_id;
        let form = format!("grant_type=refresh_token&client_id={client}&refresh_token={token}");
        scene.post("/token", &form).await
    }

    async fn session(scene: &Scene, user: &User, name: &str) -> String {
        let now = scene.control.now();
        let proof = Proof::of([Amr::Password], now);
        let expires_at = now + Duration::from_secs(3600);
        let account = user.account.clone().map(|account| (account, proof.clone()));
        let id_hash = name.as_bytes().to_vec();
        let browser = Session { id_hash, account, created_at: now, seen_at: now, expires_at };
        let session = TenantSession {
            sid: format!("{name:a<26}"),
            tenant: user.tenant.clone(),
            user: user.id.clone(),
            proof,
            created_at: now,
            expires_at,
            ended_at: None,
            user_agent: String::new(),
        };
        let db = scene.control.inner.db.reader();
        sessions::insert(db, &browser).await.unwrap();
        sessions::insert_proof(db, &browser.id_hash, &session).await.unwrap();
        session.sid
    }

    #[tokio::test]
    async fn p01_a_suspended_user_has_nothing_left() {
        let scene = Scene::new().await;
        let Scene { control, tenant, user: ada, .. } = &scene;
        let other = user(control, tenant, "bill@acme.test").await;
        let (access, again) = tokens(&scene).await;
        session(&scene, ada, "one").await;
        session(&scene, &other, "two").await;
        let sessions = async |user: &User| {
            control.list_sessions(tenant, &user.id, None, 10).await.unwrap().len()
        };
        assert_eq!(scene.refusal(&access).await, None, "the control");
        assert_eq!((sessions(ada).await, sessions(&other).await), (1, 1), "the control");

        let suspend = status(UserStatus::Suspended);
        control.update_user(&TESTER, tenant, &ada.id, suspend, |_| true).await.unwrap();
        assert_eq!(scene.refusal(&access).await, Some("revoked"));
        assert_eq!(refresh(&scene, &again).await.0, StatusCode::BAD_REQUEST);
        assert_eq!((sessions(ada).await, sessions(&other).await), (0, 1));
        assert!(scene.grants().await.iter().all(|grant| grant.revoked_at.is_some()));

        // Let in again, what was ended stays so, and what is new is good.
        let resume = status(UserStatus::Active);
        control.update_user(&TESTER, tenant, &ada.id, resume, |_| true).await.unwrap();
        assert_eq!(refresh(&scene, &again).await.0, StatusCode::BAD_REQUEST);
        scene.advance(Duration::from_secs(REQUESTS_UNDER_WAY + 1));
        let (fresh, _) = tokens(&scene).await;
        assert_eq!(scene.refusal(&fresh).await, None);
        assert_eq!(scene.refusal(&access).await, Some("revoked"));
    }

    #[tokio::test]
    async fn p02_a_role_that_is_taken_away_is_in_no_token_any_more() {
        let scene = Scene::new().await;
        let Scene { control, tenant, user: ada, .. } = &scene;
        let (access, again) = tokens(&scene).await;
        let roles = |roles: &[&str]| UserPatch {
            roles: Some(roles.iter().map(|role| Role::from(*role)).collect()),
            ..UserPatch::default()
        };
        let more = roles(&["clerk", "accountant"]);
        control.update_user(&TESTER, tenant, &ada.id, more, |_| true).await.unwrap();
        assert_eq!(scene.refusal(&access).await, None, "more takes nothing away");
        let less = roles(&["accountant"]);
        control.update_user(&TESTER, tenant, &ada.id, less, |_| true).await.unwrap();
        assert_eq!(scene.refusal(&access).await, Some("revoked"));
        scene.advance(Duration::from_secs(REQUESTS_UNDER_WAY + 1));
        let (status, body) = refresh(&scene, &again).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let fresh = body["access_token"].as_str().unwrap();
        assert_eq!(scene.refusal(fresh).await, None);
        assert_eq!(scene.claims(fresh)["roles"], json!(["accountant"]));
    }

    #[tokio::test]
    async fn m03_only_what_was_expected_is_changed_and_only_in_its_tenant() {
        let scene = Scene::new().await;
        let Scene { control, tenant, user: ada, .. } = &scene;
        let elsewhere = crate::provider::testing::tenant(control, "bond").await;
        let change = async |tenant: &TenantId, patch, holds: bool| {
            control.update_user(&TESTER, tenant, &ada.id, patch, |_| holds).await
        };
        let renamed = || UserPatch { name: Some("Augusta".to_owned()), ..UserPatch::default() };
        let refused = change(&elsewhere, renamed(), true).await;
        assert!(matches!(refused, Err(ControlError::UnknownUser { .. })), "{refused:?}");
        let refused = change(tenant, renamed(), false).await;
        assert!(matches!(refused, Err(ControlError::Conflict)), "{refused:?}");
        let unnamed = UserPatch { name: Some(String::new()), ..UserPatch::default() };
        assert!(matches!(change(tenant, unnamed, true).await, Err(ControlError::User(_))));
        let invited = change(tenant, status(UserStatus::Invited), true).await;
        assert!(matches!(invited, Err(ControlError::UserStatus { .. })), "{invited:?}");
        let changed = change(tenant, renamed(), true).await.unwrap();
        assert_eq!((changed.name.as_str(), changed.version), ("Augusta", ada.version + 1));
    }

    #[tokio::test]
    async fn i13_a_dry_run_says_whom_a_policy_locks_out_and_locks_out_nobody() {
        let scene = Scene::new().await;
        let Scene { control, tenant, user: ada, .. } = &scene;
        let glass = user(control, tenant, "bill@acme.test").await;
        let patch = UserPatch { break_glass: Some(true), ..UserPatch::default() };
        control.update_user(&TESTER, tenant, &glass.id, patch, |_| true).await.unwrap();
        let lock = SignInPolicy { sso_only: true, ..SignInPolicy::default() };
        let preview = control.preview_lock(tenant, &lock).await.unwrap();
        assert_eq!((preview.users, preview.locked_out), (2, 1));
        assert_eq!(preview.first_locked_out, std::slice::from_ref(&ada.id));
        assert_eq!(preview.break_glass, [glass.id]);
        let settings = control.sign_in_settings(tenant).await.unwrap();
        assert!(!settings.policy.sso_only && settings.version == 0, "it was set");
    }

    #[tokio::test]
    async fn p01_a_session_is_ended_in_its_tenant_and_for_its_user_only() {
        let scene = Scene::new().await;
        let Scene { control, tenant, user: ada, .. } = &scene;
        let elsewhere = crate::provider::testing::tenant(control, "bond").await;
        let other = user(control, tenant, "bill@acme.test").await;
        let sid = session(&scene, ada, "one").await;
        let end = async |tenant: &TenantId, user: &User| {
            control.revoke_session(&TESTER, tenant, &user.id, &sid).await
        };
        assert!(matches!(end(&elsewhere, ada).await, Err(ControlError::UnknownSession)));
        assert!(matches!(end(tenant, &other).await, Err(ControlError::UnknownSession)));
        assert_eq!(control.list_sessions(tenant, &ada.id, None, 10).await.unwrap().len(), 1);
        end(tenant, ada).await.unwrap();
        assert!(matches!(end(tenant, ada).await, Err(ControlError::UnknownSession)), "twice");
        assert!(control.list_sessions(tenant, &ada.id, None, 10).await.unwrap().is_empty());
    }
}
