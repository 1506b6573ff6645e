//! What a mail's link lets its reader do: accept an invitation, set a new password. A link carries
//! 256 random bits and the tenant whose drawer they lie in; everything else is kept here, so there
//! is nothing in it to alter (P-04, I-08, CVE-2026-1529). It is good once, and not for long.

use std::time::Duration;

use partywall::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Proof,
    factors::{
        password::{self, HashError, WeakPassword},
        tries::Guess,
    },
};
use crate::{
    control::{
        Account, AccountId, AccountStatus, Actor, ControlError, ControlPlane, Email, GrantEnd,
        User, UserId, UserStatus,
    },
    login::Amr,
    mail::{self, Letter, Link, MailError, Matter},
    random::RandomError,
    secret::Secret,
    storage::{
        AuditEvent, StorageError, accounts, grants, passkeys, passwords, sessions,
        sign_in_policies,
        single_use::{self, Drawer, Kind},
        tenants, users,
    },
};

/// How long an invitation is good (I-34: at most 72 hours).
pub(crate) const INVITATION_LASTS: Duration = Duration::from_secs(72 * 3600);
/// How long a link to a new password is good.
pub(crate) const RESET_LASTS: Duration = Duration::from_secs(30 * 60);
/// How often one is sent to the same account.
const RESET_EVERY: Duration = Duration::from_secs(5 * 60);

/// An invitation that was made.
pub struct Invitation {
    /// Where it is accepted: only for the hands of an operator, and where no mail could be sent.
    pub link: Secret<String>,
    /// Whether a mail with it is on its way.
    pub mailed: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct InvitationPayload {
    user: UserId,
    account: AccountId,
    /// As it was: a user whose address changed needs another invitation.
    email: Email,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct ResetPayload {
    account: AccountId,
    email: Email,
    /// When the password it is to replace was set: one link's use ends the others.
    since: Option<Timestamp>,
    /// The tenant whose page asked, for the looks of the next one.
    tenant: Option<TenantId>,
}

/// An invitation before it is accepted: what its page needs.
pub(crate) struct Invited {
    pub(crate) tenant: TenantId,
    pub(crate) user: User,
    pub(crate) email: Email,
    pub(crate) account: AccountId,
    /// Whether the account has to be signed in to: it has something to do so with, or another
    /// address than the link came to. Then a link in a mail is not enough (I-02).
    pub(crate) must_sign_in: bool,
}

impl ControlPlane {
    /// Invites a user: writes to its address, and makes a link that is good once, for 72 hours.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownUser`], and [`ControlError::NotInvited`] for one that has accepted
    /// already or whose tenant's own provider vouches for it.
    pub async fn invite(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        user: &UserId,
    ) -> Result<Invitation, ControlError> {
        let now = self.now();
        let secret = single_use::draw(&self.inner.random)?;
        let change = self.inner.db.change(now).await?;
        let found = users::find(change.rows(), tenant, user).await?;
        let found = found.ok_or_else(|| ControlError::UnknownUser { user: user.clone() })?;
        let (UserStatus::Invited, Some(account)) = (found.status, found.account.clone()) else {
            return Err(ControlError::NotInvited { user: user.clone() });
        };
        let payload =
            InvitationPayload { user: found.id.clone(), account, email: found.email.clone() };
        let drawer = Drawer::of(Kind::Invitation, tenant);
        single_use::put(change.rows(), drawer, secret.expose(), &payload, now, INVITATION_LASTS)
            .await?;
        let issuer = self.issuer_of(change.rows(), Some(tenant)).await?;
        let link = action_link(&issuer, "invitation", Some(tenant), &secret);
        let mailed = self.inner.post.is_some();
        if mailed {
            let sender = sender_name(self, change.rows(), Some(tenant)).await?;
            let letter = Letter {
                to: &found.email,
                subject: &format!("You are invited to {sender}"),
                sender: &sender,
                lines: &[&format!("{sender} has invited you.")],
                link: Some(Link { label: "Accept the invitation", address: link.expose() }),
                closing: "The link is good for three days. If you expected nothing like this, \
                          you can forget this mail.",
            };
            mail::enqueue(self, change.rows(), Some(tenant), Matter::Invitation, &letter).await?;
        }
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "user.invite",
            detail: json!({ "user": user, "mailed": mailed }),
        };
        self.commit(change, event).await?;
        Ok(Invitation { link, mailed })
    }
}

/// Where `secret` is redeemed: at the issuer that speaks for whom it is about.
fn action_link(
    issuer: &str,
    action: &str,
    tenant: Option<&TenantId>,
    secret: &Secret<String>,
) -> Secret<String> {
    let tenant = tenant.map_or(NO_TENANT, TenantId::as_str);
    Secret::new(format!("{issuer}/{action}/{tenant}.{}", secret.expose()))
}

/// The drawer and the secret that a link's last part names.
fn parts(text: &str) -> Option<(Option<TenantId>, &str)> {
    let (tenant, secret) = text.split_once('.')?;
    match tenant {
        NO_TENANT => Some((None, secret)),
        tenant => Some((Some(tenant.parse().ok()?), secret)),
    }
}

/// What an invitation is about; nothing, where it is none, or no longer.
pub(crate) async fn read_invitation(
    control: &ControlPlane,
    text: &str,
) -> Result<Option<Invited>, StorageError> {
    let Some((Some(tenant), secret)) = parts(text) else { return Ok(None) };
    let db = control.inner.db.reader();
    let drawer = Drawer::of(Kind::Invitation, &tenant);
    let payload = single_use::peek::<InvitationPayload>(db, drawer, secret, control.now()).await?;
    let Some(payload) = payload else { return Ok(None) };
    standing_invitation(db, &tenant, &payload).await
}

/// The invitation, if its user is still as it was when it was made.
async fn standing_invitation(
    db: &impl sea_orm::ConnectionTrait,
    tenant: &TenantId,
    payload: &InvitationPayload,
) -> Result<Option<Invited>, StorageError> {
    let user = users::find(db, tenant, &payload.user).await?;
    let served = tenants::find(db, tenant)
        .await?
        .is_some_and(|tenant| tenant.record.status == partywall::TenantStatus::Active);
    let user = user.filter(|user| {
        served
            && user.status == UserStatus::Invited
            && user.account.as_ref() == Some(&payload.account)
            && user.email == payload.email
    });
    let Some(user) = user else { return Ok(None) };
    let account = accounts::find(db, &payload.account).await?;
    let own_address = account.is_some_and(|account| account.email == payload.email);
    Ok(Some(Invited {
        tenant: tenant.clone(),
        user,
        email: payload.email.clone(),
        account: payload.account.clone(),
        must_sign_in: !own_address || has_factors(db, &payload.account).await?,
    }))
}

/// Whether an account has something to sign in with.
async fn has_factors(
    db: &impl sea_orm::ConnectionTrait,
    account: &AccountId,
) -> Result<bool, StorageError> {
    let passkeys = passkeys::of_account(db, account).await?;
    Ok(!passkeys.is_empty() || passwords::of(db, account).await?.is_some())
}

/// How somebody accepts.
pub(crate) enum Accepting<'a> {
    /// With a first password, for an account that has nothing to sign in with yet.
    WithPassword(Secret<String>),
    /// Signed in as this account.
    SignedInAs(&'a AccountId),
}

/// Accepts an invitation: the user is active from now on, and its mailbox proved. Returns the
/// account, and what was shown by setting a password just now.
pub(crate) async fn accept(
    control: &ControlPlane,
    text: &str,
    how: Accepting<'_>,
) -> Result<(Account, Option<Proof>), ActionError> {
    let (Some(tenant), secret) = parts(text).ok_or(ActionError::Unknown)? else {
        return Err(ActionError::Unknown);
    };
    let invited = read_invitation(control, text).await?.ok_or(ActionError::Unknown)?;
    let now = control.now();
    let hash = match how {
        Accepting::SignedInAs(account) if *account == invited.account => None,
        Accepting::SignedInAs(_) => return Err(ActionError::OtherAccount),
        Accepting::WithPassword(_) if invited.must_sign_in => {
            return Err(ActionError::OtherAccount);
        }
        Accepting::WithPassword(password) => {
            acceptable(&password, &invited.email)?;
            Some(password::hash_new(control, tenant.as_str(), password).await?)
        }
    };
    let change = control.inner.db.change(now).await?;
    let drawer = Drawer::of(Kind::Invitation, &tenant);
    let payload =
        single_use::redeem::<InvitationPayload>(change.rows(), drawer, secret, now).await?;
    let payload = payload.first().ok_or(ActionError::Unknown)?;
    // Once more, now that nobody can be in between.
    let invited = standing_invitation(change.rows(), &tenant, &payload).await?;
    let invited = invited.ok_or(ActionError::Unknown)?;
    let account = accounts::find(change.rows(), &payload.account).await?;
    let account = account.filter(|account| account.status == AccountStatus::Active);
    let account = account.ok_or(ActionError::Unknown)?;
    if let Some(hash) = &hash {
        if invited.must_sign_in {
            return Err(ActionError::OtherAccount);
        }
        passwords::set(change.rows(), &account.id, hash, now).await?;
    }
    // The link came to the user's address; that is the account's own only where they are the same.
    if account.email == invited.email {
        accounts::verify_email(change.rows(), &account.id, now).await?;
    }
    let mut user = invited.user;
    user.status = UserStatus::Active;
    user.changed_at = now;
    user.version += 1;
    if !users::update(change.rows(), &user).await? {
        return Err(ActionError::Unknown);
    }
    let event = AuditEvent {
        actor: &crate::control::THE_SERVER,
        tenant: Some(&tenant),
        action: "user.accept",
        detail: json!({ "user": user.id }),
    };
    control.commit(change, event).await?;
    let proof = hash.map(|_| Proof::of([Amr::Password], now));
    Ok((account, proof))
}

/// Writes to whoever signs in by this address how to set a new password, if there is anybody and
/// any of their tenants lets them in by one. Nobody is told which; call it beside the answer, not
/// before it, and its time tells nothing either.
pub(crate) async fn request_reset(
    control: &ControlPlane,
    tenant: Option<&TenantId>,
    email: &Email,
) -> Result<(), ActionError> {
    let db = control.inner.db.reader();
    let Some(account) = accounts::find_by_email(db, email).await? else { return Ok(()) };
    let welcome = account.status == AccountStatus::Active
        && control.inner.post.is_some()
        && is_let_in_anywhere(control, &account.id).await?;
    if !welcome {
        return Ok(());
    }
    let now = control.now();
    let secret = single_use::draw(&control.inner.random)?;
    let write = control.inner.db.write().await?;
    // One mail each five minutes: nobody fills another's mailbox.
    let asked = Drawer::before_any_tenant(Kind::ResetAsked);
    let span = format!("{}/{}", account.id, now.0 / RESET_EVERY.as_secs());
    if !single_use::put(write.rows(), asked, &span, &(), now, RESET_EVERY).await? {
        return Ok(());
    }
    let payload = ResetPayload {
        account: account.id.clone(),
        email: account.email.clone(),
        since: passwords::changed_at(write.rows(), &account.id).await?,
        tenant: tenant.cloned(),
    };
    let drawer = Drawer::before_any_tenant(Kind::ResetPassword);
    single_use::put(write.rows(), drawer, secret.expose(), &payload, now, RESET_LASTS).await?;
    let issuer = control.issuer_of(write.rows(), tenant).await?;
    let link = action_link(&issuer, "reset", None, &secret);
    let sender = sender_name(control, write.rows(), tenant).await?;
    let letter = Letter {
        to: &account.email,
        subject: "Set a new password",
        sender: &sender,
        lines: &["Somebody, probably you, asked to set a new password for this address."],
        link: Some(Link { label: "Set a new password", address: link.expose() }),
        closing: "The link is good for half an hour. If it was not you, do nothing: your password \
                  stays as it is.",
    };
    mail::enqueue(control, write.rows(), tenant, Matter::ResetPassword, &letter).await?;
    write.commit().await?;
    Ok(())
}

/// Whether any tenant admits the account by factors kept here (I-13): a lock to a tenant's own
/// provider covers the ways to recover a password as well. Fifty are looked at; whoever is a member
/// of more, all of them locked, is told no.
async fn is_let_in_anywhere(
    control: &ControlPlane,
    account: &AccountId,
) -> Result<bool, StorageError> {
    let db = control.inner.db.reader();
    for user in users::memberships(db, account, None, 50).await? {
        let settings = sign_in_policies::of(db, &user.tenant).await?;
        let open = !settings.policy.sso_only || user.break_glass;
        if open && user.status != UserStatus::Suspended {
            return Ok(true);
        }
    }
    Ok(false)
}

/// For which tenant a reset was asked, if it can still be done.
pub(crate) async fn read_reset(
    control: &ControlPlane,
    text: &str,
) -> Result<Option<Option<TenantId>>, StorageError> {
    let Some((None, secret)) = parts(text) else { return Ok(None) };
    let drawer = Drawer::before_any_tenant(Kind::ResetPassword);
    let db = control.inner.db.reader();
    let payload = single_use::peek::<ResetPayload>(db, drawer, secret, control.now()).await?;
    Ok(payload.map(|payload| payload.tenant))
}

/// Sets a new password by a mail's link. Whatever the old one opened is shut. It signs nobody in:
/// the second factor is still to be shown (I-15).
pub(crate) async fn reset(
    control: &ControlPlane,
    text: &str,
    password: Secret<String>,
) -> Result<Account, ActionError> {
    let (None, secret) = parts(text).ok_or(ActionError::Unknown)? else {
        return Err(ActionError::Unknown);
    };
    let now = control.now();
    let drawer = Drawer::before_any_tenant(Kind::ResetPassword);
    let db = control.inner.db.reader();
    let waiting = single_use::peek::<ResetPayload>(db, drawer, secret, now).await?;
    let waiting = waiting.ok_or(ActionError::Unknown)?;
    acceptable(&password, &waiting.email)?;
    let share = waiting.tenant.as_ref().map_or("", TenantId::as_str);
    let hash = password::hash_new(control, share, password).await?;
    if !is_let_in_anywhere(control, &waiting.account).await? {
        return Err(ActionError::Unknown);
    }
    let change = control.inner.db.change(now).await?;
    let payload = single_use::redeem::<ResetPayload>(change.rows(), drawer, secret, now).await?;
    let payload = payload.first().ok_or(ActionError::Unknown)?;
    let since = passwords::changed_at(change.rows(), &payload.account).await?;
    let account = accounts::find(change.rows(), &payload.account).await?;
    let account = account.filter(|account| {
        account.status == AccountStatus::Active
            && account.email == payload.email
            && since == payload.since
    });
    let account = account.ok_or(ActionError::Unknown)?;
    accounts::verify_email(change.rows(), &account.id, now).await?;
    accounts::forget_tries(change.rows(), &account.id, Guess::Password).await?;
    replace_password(control, change, &account, &hash, None, "account.reset_password").await?;
    Ok(account)
}

/// Sets a new password for somebody who is signed in and has shown so just now.
pub(crate) async fn change_password(
    control: &ControlPlane,
    account: &Account,
    share: &str,
    password: Secret<String>,
    this_browser: &[u8],
) -> Result<(), ActionError> {
    acceptable(&password, &account.email)?;
    let hash = password::hash_new(control, share, password).await?;
    let change = control.inner.db.change(control.now()).await?;
    let keep = Some(this_browser);
    replace_password(control, change, account, &hash, keep, "account.change_password").await
}

/// Stores a password, ends every browser's session but one, every grant and every token of the
/// account's users, and tells its owner.
async fn replace_password(
    control: &ControlPlane,
    change: crate::storage::Change<'_>,
    account: &Account,
    hash: &str,
    keep: Option<&[u8]>,
    action: &'static str,
) -> Result<(), ActionError> {
    let now = control.now();
    let db = change.rows();
    passwords::set(db, &account.id, hash, now).await?;
    for browser in sessions::delete_all_of_account(db, &account.id, keep).await? {
        super::session::end_browser(db, &browser, now).await?;
    }
    let mut after = None;
    loop {
        let page = users::memberships(db, &account.id, after.as_ref(), 200).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.tenant.clone());
        for user in &page {
            let why = GrantEnd::Withdrawn.as_str();
            grants::revoke_all_of(db, &user.tenant, &user.id, None, why, now).await?;
            control.refuse_tokens_of(db, &user.tenant, user.id.as_str(), now).await?;
        }
    }
    if control.inner.post.is_some() {
        let sender = sender_name(control, db, None).await?;
        let letter = Letter {
            to: &account.email,
            subject: "Your password was changed",
            sender: &sender,
            lines: &["The password for this address was changed just now."],
            link: None,
            closing: "If it was not you, set a new one at once, and tell whoever looks after \
                      your sign-in.",
        };
        mail::enqueue(control, db, None, Matter::PasswordChanged, &letter).await?;
    }
    let detail = json!({ "account": account.id });
    let event = AuditEvent { actor: &crate::control::THE_SERVER, tenant: None, action, detail };
    control.commit(change, event).await?;
    Ok(())
}

fn acceptable(password: &Secret<String>, email: &Email) -> Result<(), WeakPassword> {
    let local = email.as_str().split('@').next().unwrap_or_default();
    let label = email.domain().split('.').next().unwrap_or_default();
    password::acceptable(password.expose(), &[local, label])
}

/// Whose name a mail goes out under.
async fn sender_name(
    control: &ControlPlane,
    db: &impl sea_orm::ConnectionTrait,
    tenant: Option<&TenantId>,
) -> Result<String, StorageError> {
    let vendor = || control.inner.config.issuer.host().to_owned();
    let Some(tenant) = tenant else { return Ok(vendor()) };
    if let Some(name) = sign_in_policies::of(db, tenant).await?.branding.display_name {
        return Ok(name);
    }
    let tenant = tenants::find(db, tenant).await?;
    Ok(tenant.map_or_else(vendor, |tenant| tenant.record.slug.to_string()))
}

/// Why a link did nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActionError {
    #[error("the link is unknown, was used, has expired, or stands for nothing any more")]
    Unknown,
    #[error("the invitation is another account's: sign in as that one")]
    OtherAccount,
    #[error(transparent)]
    Weak(#[from] WeakPassword),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Mail(#[from] MailError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Stands in a link where no tenant is meant. No tenant's id has this form.
const NO_TENANT: &str = "_";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use partywall::FixedClock;

    use super::*;
    use crate::{
        NewTenant, NewUser, SignInPolicy,
        control::tests_support::{START, control_with, control_with_clock, no_mail_server},
        login::{
            factors::password::{Attempt, Outcome, check},
            session,
        },
        storage::{outgoing_mail, sign_in_policies::SignInSettings},
    };

    const ACTOR: Actor = Actor::System("test");

    struct World {
        control: ControlPlane,
        clock: Arc<FixedClock>,
        _dir: tempfile::TempDir,
    }

    impl World {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (control, clock) = control_with_clock(dir.path()).await;
            Self { control, clock, _dir: dir }
        }

        async fn with_mail() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let mail = |config: &mut crate::ServerConfig| config.mail = Some(no_mail_server());
            let (control, clock) = control_with(dir.path(), mail).await;
            Self { control, clock, _dir: dir }
        }

        /// How many letters of a kind wait.
        async fn letters(&self, kind: &str) -> usize {
            let db = self.control.inner.db.reader();
            let due = outgoing_mail::due(db, self.control.now(), 100).await.unwrap();
            due.iter().filter(|due| due.kind == kind).count()
        }

        async fn user(&self, slug: &str, email: &str) -> User {
            let new =
                NewTenant::new(slug.parse().unwrap(), "free".parse().unwrap(), Default::default());
            let tenant = self.control.ensure_tenant(&ACTOR, new).await.unwrap();
            let new = NewUser {
                email: email.parse().unwrap(),
                name: "Ada".to_owned(),
                roles: Default::default(),
                metadata: Default::default(),
            };
            self.control.create_user(&ACTOR, tenant.id(), new).await.unwrap()
        }

        async fn invited(&self, user: &User) -> String {
            let invitation = self.control.invite(&ACTOR, &user.tenant, &user.id).await.unwrap();
            invitation.link.expose().rsplit('/').next().unwrap().to_owned()
        }

        async fn accept(&self, text: &str, password: &str) -> Result<Account, ActionError> {
            let how = Accepting::WithPassword(Secret::new(password.to_owned()));
            accept(&self.control, text, how).await.map(|(account, _)| account)
        }

        async fn signs_in(&self, email: &str, password: &str) -> bool {
            let email: Email = email.parse().unwrap();
            let attempt = Attempt { share: "", email: Some(&email), knows: None };
            let password = Secret::new(password.to_owned());
            matches!(check(&self.control, attempt, password).await.unwrap(), Outcome::Right(..))
        }

        /// What a reset's mail would carry: mail is tried in `tests/server/mail.rs`.
        async fn reset_link(&self, account: &Account) -> String {
            let secret = single_use::draw(&self.control.inner.random).unwrap();
            let payload = ResetPayload {
                account: account.id.clone(),
                email: account.email.clone(),
                since: passwords::changed_at(self.control.inner.db.reader(), &account.id)
                    .await
                    .unwrap(),
                tenant: None,
            };
            let drawer = Drawer::before_any_tenant(Kind::ResetPassword);
            let (db, now) = (self.control.inner.db.reader(), self.control.now());
            single_use::put(db, drawer, secret.expose(), &payload, now, RESET_LASTS).await.unwrap();
            format!("{NO_TENANT}.{}", secret.expose())
        }
    }

    #[tokio::test]
    async fn p04_b10_an_invitation_is_good_once_and_for_its_user_only() {
        let world = World::new().await;
        let ada = world.user("acme", "ada@x.test").await;
        let other = world.user("bond", "eve@x.test").await;
        let text = world.invited(&ada).await;
        // In another tenant's drawer, altered, or of another kind, it is nothing.
        let secret = text.split_once('.').unwrap().1;
        let foreign = format!("{}.{secret}", other.tenant);
        for nothing in [foreign.as_str(), "", "_.x", &format!("{text}x"), &format!("_.{secret}")] {
            let refused = world.accept(nothing, "correct horse battery").await;
            assert!(matches!(refused, Err(ActionError::Unknown)), "{nothing}");
        }
        let weak = world.accept(&text, "password1234").await;
        assert!(matches!(weak, Err(ActionError::Weak(_))), "and it is still good");
        let account = world.accept(&text, "correct horse battery").await.unwrap();
        assert_eq!(account.email, ada.email);
        let found = world.control.user(&ada.tenant, &ada.id).await.unwrap().unwrap();
        assert_eq!(found.status, UserStatus::Active);
        assert!(world.signs_in("ada@x.test", "correct horse battery").await);
        let again = world.accept(&text, "another horse battery").await;
        assert!(matches!(again, Err(ActionError::Unknown)));
    }

    #[tokio::test]
    async fn i02_an_account_that_can_sign_in_must_before_it_joins_another_tenant() {
        let world = World::new().await;
        let first = world.user("acme", "ada@x.test").await;
        let text = world.invited(&first).await;
        let account = world.accept(&text, "correct horse battery").await.unwrap();
        let second = world.user("bond", "ada@x.test").await;
        let text = world.invited(&second).await;
        // Whoever reads the mail cannot set a password over the one there is.
        let refused = world.accept(&text, "another horse battery").await;
        assert!(matches!(refused, Err(ActionError::OtherAccount)));
        let eve = world.user("acme", "eve@x.test").await;
        let eve = Accepting::SignedInAs(eve.account.as_ref().unwrap());
        let refused = accept(&world.control, &text, eve).await;
        assert!(matches!(refused, Err(ActionError::OtherAccount)));
        accept(&world.control, &text, Accepting::SignedInAs(&account.id)).await.unwrap();
        assert!(world.signs_in("ada@x.test", "correct horse battery").await);
    }

    #[tokio::test]
    async fn i34_an_invitation_ends_with_what_it_was_for_and_after_three_days() {
        let world = World::new().await;
        let ada = world.user("acme", "ada@x.test").await;
        let text = world.invited(&ada).await;
        assert!(read_invitation(&world.control, &text).await.unwrap().is_some());
        world.clock.set(START + INVITATION_LASTS);
        assert!(read_invitation(&world.control, &text).await.unwrap().is_none());
        let text = world.invited(&ada).await;
        let suspended = partywall::TenantStatus::Suspended;
        world.control.set_status(&ACTOR, &ada.tenant, suspended).await.unwrap();
        assert!(read_invitation(&world.control, &text).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn c08_a_new_password_shuts_what_the_old_one_opened() {
        let world = World::new().await;
        let ada = world.user("acme", "ada@x.test").await;
        let text = world.invited(&ada).await;
        let account = world.accept(&text, "correct horse battery").await.unwrap();
        let headers = axum::http::HeaderMap::new();
        let browser = session::Browser::of(&headers, crate::rate::Network::default());
        let proof = Proof::of([Amr::Password], world.control.now());
        let begun = session::begin(&world.control, &browser, &account.id, &proof).await.unwrap();
        let admitted =
            session::admit_session(&world.control, &begun.session, &ada.tenant).await.unwrap();
        let sid = session::enter(&world.control, &browser, &begun.session, &admitted.unwrap())
            .await
            .unwrap();

        let link = world.reset_link(&account).await;
        let asked_twice = world.reset_link(&account).await;
        world.clock.set(START + Duration::from_secs(60));
        assert_eq!(read_reset(&world.control, &link).await.unwrap(), Some(None));
        let fresh = || Secret::new("fresh horse battery".to_owned());
        reset(&world.control, &link, fresh()).await.unwrap();
        let again = reset(&world.control, &link, fresh()).await;
        assert!(matches!(again, Err(ActionError::Unknown)));
        let other = reset(&world.control, &asked_twice, fresh()).await;
        assert!(matches!(other, Err(ActionError::Unknown)), "the link before it");
        assert!(!world.signs_in("ada@x.test", "correct horse battery").await);
        assert!(world.signs_in("ada@x.test", "fresh horse battery").await);
        let db = world.control.inner.db.reader();
        let session = sessions::find_sid(db, &ada.tenant, &sid).await.unwrap().unwrap();
        assert!(session.ended_at.is_some());
    }

    #[tokio::test]
    async fn i13_a_lock_to_ones_own_provider_covers_recovery() {
        let world = World::new().await;
        let ada = world.user("acme", "ada@x.test").await;
        let text = world.invited(&ada).await;
        let account = world.accept(&text, "correct horse battery").await.unwrap();
        assert!(is_let_in_anywhere(&world.control, &account.id).await.unwrap());
        let policy = SignInPolicy { sso_only: true, ..SignInPolicy::default() };
        let settings = SignInSettings { policy, ..SignInSettings::default() };
        let db = world.control.inner.db.reader();
        sign_in_policies::replace(db, &ada.tenant, &settings, START).await.unwrap();
        assert!(!is_let_in_anywhere(&world.control, &account.id).await.unwrap());
        // A link from before the lock is good no longer.
        let link = world.reset_link(&account).await;
        let fresh = Secret::new("fresh horse battery".to_owned());
        let refused = reset(&world.control, &link, fresh).await;
        assert!(matches!(refused, Err(ActionError::Unknown)));
        // Another tenant that is not locked is a reason to have a password.
        let second = world.user("bond", "ada@x.test").await;
        assert!(second.account.as_ref() == Some(&account.id));
        assert!(is_let_in_anywhere(&world.control, &account.id).await.unwrap());
    }

    #[tokio::test]
    async fn i13_a_reset_is_written_to_whom_it_helps_and_not_too_often() {
        let world = World::with_mail().await;
        let ada = world.user("acme", "ada@x.test").await;
        let text = world.invited(&ada).await;
        world.accept(&text, "correct horse battery").await.unwrap();
        let email: Email = "ada@x.test".parse().unwrap();
        let nobody: Email = "nobody@x.test".parse().unwrap();
        let ask = |email| request_reset(&world.control, Some(&ada.tenant), email);
        ask(&nobody).await.unwrap();
        assert_eq!(world.letters("reset_password").await, 0);
        for _ in 0..10 {
            ask(&email).await.unwrap();
        }
        assert_eq!(world.letters("reset_password").await, 1, "nobody's mailbox is filled");
        world.clock.set(START + RESET_EVERY);
        ask(&email).await.unwrap();
        assert_eq!(world.letters("reset_password").await, 2);

        let locked = SignInPolicy { sso_only: true, ..SignInPolicy::default() };
        let locking = world.control.set_sign_in_policy(&ACTOR, &ada.tenant, locked, |_| true);
        locking.await.unwrap();
        world.clock.set(START + 2 * RESET_EVERY);
        ask(&email).await.unwrap();
        assert_eq!(world.letters("reset_password").await, 2, "its tenant has another way in");
    }

    #[tokio::test]
    async fn i02_a_link_to_another_address_sets_no_password() {
        let world = World::new().await;
        let ada = world.user("acme", "ada@x.test").await;
        // The same account, under an address of somebody else's.
        let mut moved = ada.clone();
        moved.email = "eve@x.test".parse().unwrap();
        moved.version += 1;
        let db = world.control.inner.db.reader();
        assert!(users::update(db, &moved).await.unwrap());
        let text = world.invited(&moved).await;
        let refused = world.accept(&text, "correct horse battery").await;
        assert!(matches!(refused, Err(ActionError::OtherAccount)));
        let own = Accepting::SignedInAs(ada.account.as_ref().unwrap());
        accept(&world.control, &text, own).await.unwrap();
    }
}
