//! A tenant's sign-in policy and branding, and who a new policy would lock out (I-13).

use partywall::TenantId;
use sea_orm::ConnectionTrait;
use serde_json::json;

use super::{
    Actor, Branding, ControlError, ControlPlane, SignInMethod, SignInPolicy, User, UserId,
    UserStatus, tenant::MAX_PAGE,
};
use crate::storage::{
    AuditEvent,
    accounts::{self, Factors},
    sign_in_policies, tenants, users,
};

/// What a tenant has said of signing in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SignInSettings {
    /// What it asks of whoever enters.
    pub policy: SignInPolicy,
    /// How its pages look.
    pub branding: Branding,
    /// Whether tokens for it come from an issuer of its own.
    pub own_issuer: bool,
    /// Counts changes; zero for the defaults.
    pub version: i64,
}

/// Who a policy would keep from signing in with what they have now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LockPreview {
    /// How many users the tenant has that can come in now, or were asked to.
    pub users: u64,
    /// How many of them could not.
    pub locked_out: u64,
    /// The first of those, by ascending id: at most [`LockPreview::SHOWN`].
    pub first_locked_out: Vec<UserId>,
    /// Who may come in past a lock to the tenant's own identity provider: at most
    /// [`LockPreview::SHOWN`].
    pub break_glass: Vec<UserId>,
}

impl LockPreview {
    /// How many users are named.
    pub const SHOWN: usize = 100;
}

impl ControlPlane {
    /// What a tenant has said of signing in; the defaults, where it said nothing.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn sign_in_settings(
        &self,
        tenant: &TenantId,
    ) -> Result<SignInSettings, ControlError> {
        Ok(sign_in_policies::of(self.inner.db.reader(), tenant).await?)
    }

    /// Replaces a tenant's sign-in policy, if `expected` holds of what it has said so far. It
    /// counts from the next time somebody comes to the door, with a session or without (I-14).
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownTenant`], [`ControlError::Conflict`] when `expected` does not hold,
    /// and [`ControlError::SignInPolicy`].
    pub async fn set_sign_in_policy(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        policy: SignInPolicy,
        expected: impl FnOnce(&SignInSettings) -> bool + Send,
    ) -> Result<SignInSettings, ControlError> {
        policy.check()?;
        let detail = json!({ "policy": policy });
        let alter = |settings: &mut SignInSettings| settings.policy = policy;
        self.alter_settings(actor, tenant, "sign_in_policy.set", detail, expected, alter).await
    }

    /// Replaces how a tenant's pages look, if `expected` holds of what it has said so far.
    ///
    /// # Errors
    ///
    /// As [`set_sign_in_policy`](Self::set_sign_in_policy).
    pub async fn set_branding(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        branding: Branding,
        expected: impl FnOnce(&SignInSettings) -> bool + Send,
    ) -> Result<SignInSettings, ControlError> {
        branding.check()?;
        let detail = json!({ "branding": branding });
        let alter = |settings: &mut SignInSettings| settings.branding = branding;
        self.alter_settings(actor, tenant, "branding.set", detail, expected, alter).await
    }

    /// Who `policy` would lock out of a tenant, by what they have today. Changes nothing. Reads
    /// every user of the tenant.
    ///
    /// # Errors
    ///
    /// [`ControlError::SignInPolicy`] when nobody may set that policy.
    pub async fn preview_lock(
        &self,
        tenant: &TenantId,
        policy: &SignInPolicy,
    ) -> Result<LockPreview, ControlError> {
        policy.check()?;
        let view = self.inner.db.snapshot().await?;
        let mut preview = LockPreview::default();
        let mut after = None;
        loop {
            let page = users::page(&view, tenant, after.as_ref(), MAX_PAGE.into()).await?;
            let Some(last) = page.last() else { return Ok(preview) };
            after = Some(last.id.clone());
            let factors = factors_of(&view, &page).await?;
            for user in page.iter().filter(|user| user.status != UserStatus::Suspended) {
                preview.count(user, policy, factors.of(user));
            }
        }
    }

    async fn alter_settings(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        action: &'static str,
        detail: serde_json::Value,
        expected: impl FnOnce(&SignInSettings) -> bool + Send,
        alter: impl FnOnce(&mut SignInSettings) + Send,
    ) -> Result<SignInSettings, ControlError> {
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        if tenants::find(change.rows(), tenant).await?.is_none() {
            return Err(ControlError::UnknownTenant { tenant: tenant.clone() });
        }
        let mut settings = sign_in_policies::of(change.rows(), tenant).await?;
        if !expected(&settings) {
            return Err(ControlError::Conflict);
        }
        alter(&mut settings);
        settings.version += 1;
        sign_in_policies::replace(change.rows(), tenant, &settings, now).await?;
        self.commit(change, AuditEvent { actor, tenant: Some(tenant), action, detail }).await?;
        Ok(settings)
    }
}

impl LockPreview {
    fn count(&mut self, user: &User, policy: &SignInPolicy, factors: Factors) {
        self.users += 1;
        if user.break_glass && self.break_glass.len() < Self::SHOWN {
            self.break_glass.push(user.id.clone());
        }
        if locks_out(policy, user, factors) {
            self.locked_out += 1;
            if self.first_locked_out.len() < Self::SHOWN {
                self.first_locked_out.push(user.id.clone());
            }
        }
    }
}

/// As the gate will judge, of somebody who shows everything they have.
fn locks_out(policy: &SignInPolicy, user: &User, factors: Factors) -> bool {
    if policy.sso_only {
        return !user.break_glass;
    }
    // Whoever has not come yet makes their factors when they do, as the policy asks.
    if user.status == UserStatus::Invited {
        return false;
    }
    let Factors { password, passkey, second } = factors;
    let by_password = password && policy.methods.contains(&SignInMethod::Password);
    let by_passkey = passkey && policy.methods.contains(&SignInMethod::Passkey);
    let two_factors = by_passkey || (by_password && (second || passkey));
    !(by_password || by_passkey) || (policy.mfa_required && !two_factors)
}

/// The factors of a page of users.
struct FactorsOfPage(std::collections::HashMap<String, Factors>);

impl FactorsOfPage {
    fn of(&self, user: &User) -> Factors {
        let account = user.account.as_ref().map(super::AccountId::as_str);
        account.and_then(|account| self.0.get(account)).copied().unwrap_or_default()
    }
}

async fn factors_of(
    db: &impl ConnectionTrait,
    page: &[User],
) -> Result<FactorsOfPage, ControlError> {
    let accounts: Vec<&str> =
        page.iter().filter_map(|user| user.account.as_ref()).map(|id| id.as_str()).collect();
    Ok(FactorsOfPage(accounts::factors(db, &accounts).await?))
}
