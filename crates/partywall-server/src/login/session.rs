//! Sessions: what a browser has shown, and to which tenant. The browser holds 256 random bits in
//! one cookie; here is their hash (J-20). It gets new ones at every sign-in, so that nobody can
//! plant a session on it, and loses them when it signs out.

use std::{convert::Infallible, time::Duration};

use aws_lc_rs::digest;
use axum::{
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderValue,
        header::{COOKIE, USER_AGENT},
        request::Parts,
    },
};
use partywall::{TenantId, Timestamp};

use super::{Admitted, Entry, Path, Proof, Refusal, Terms, admit};
use crate::{
    control::{AccountId, ControlPlane},
    random::{self, RandomError},
    rate::Network,
    secret::Secret,
    storage::{
        StorageError,
        sessions::{self, Session, TenantSession},
        single_use,
        users::Who,
    },
};

/// The browser a request came from, by the cookie it sent. Nothing is believed of it.
pub(crate) struct Browser {
    cookie: Option<Secret<String>>,
    /// What it is recognised by while it signs in: see [`Binding`](super::binding::Binding).
    binding: Option<Secret<String>>,
    user_agent: String,
    network: Network,
}

impl Browser {
    pub(crate) fn of(headers: &HeaderMap, network: Network) -> Self {
        let user_agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        Self {
            cookie: cookie(headers, COOKIE_NAME).map(Secret::new),
            binding: cookie(headers, super::binding::COOKIE_NAME).map(Secret::new),
            user_agent: user_agent.unwrap_or_default().chars().take(MAX_USER_AGENT).collect(),
            network,
        }
    }

    pub(super) fn binding(&self) -> Option<&Secret<String>> {
        self.binding.as_ref()
    }

    /// Where it is, as far as addresses tell.
    pub(super) fn network(&self) -> Network {
        self.network
    }

    /// What its session is known by here; nothing, where it has no cookie.
    fn session_hash(&self) -> Option<Vec<u8>> {
        self.cookie.as_ref().map(|cookie| session_hash(cookie.expose()))
    }

    /// The session the browser has, if it has one that has not run out.
    pub(crate) async fn session(
        &self,
        control: &ControlPlane,
    ) -> Result<Option<Session>, StorageError> {
        let Some(hash) = self.session_hash() else { return Ok(None) };
        sessions::find(control.inner.db.reader(), &hash, control.now()).await
    }
}

impl FromRequestParts<ControlPlane> for Browser {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &ControlPlane,
    ) -> Result<Self, Infallible> {
        let network = Network::from_request_parts(parts, control).await?;
        Ok(Self::of(&parts.headers, network))
    }
}

/// The one value of a cookie. Two of the same name are none: only one of them can be ours, and
/// nobody knows which.
pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(found, _)| *found == name)
        .map(|(_, value)| value.to_owned());
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// A `Set-Cookie` that a browser takes from this host alone, over a secure connection alone, and
/// shows to no script (RFC 6265bis 4.1.3.2).
pub(crate) fn set_cookie(name: &str, value: &str, lasts: Option<Duration>) -> Option<HeaderValue> {
    let age = lasts.map(|lasts| format!("; Max-Age={}", lasts.as_secs())).unwrap_or_default();
    let cookie = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{age}");
    HeaderValue::from_str(&cookie).ok()
}

/// A session that was begun just now, and what the browser must be told of it.
pub(crate) struct Begun {
    pub(crate) session: Session,
    pub(crate) set_cookie: Option<HeaderValue>,
}

/// Begins a session, under a new name, for whoever just showed factors kept here. What the same
/// account showed to tenants in this browser before goes on under the new name; what another
/// account did is ended.
pub(crate) async fn begin(
    control: &ControlPlane,
    browser: &Browser,
    account: &AccountId,
    proof: &Proof,
) -> Result<Begun, SessionError> {
    let now = control.now();
    let before = browser.session(control).await?;
    let secret = single_use::draw(&control.inner.random)?;
    let session = Session {
        id_hash: session_hash(secret.expose()),
        account: Some((account.clone(), proof.clone())),
        created_at: now,
        seen_at: now,
        expires_at: now + BROWSER_LASTS,
    };
    let same =
        |before: &Session| before.account.as_ref().is_some_and(|(previous, _)| previous == account);
    if let Some(before) = before.as_ref().filter(|before| !same(before)) {
        sign_out_of_all(control, before).await?;
    }
    let write = control.inner.db.write().await?;
    sessions::insert(write.rows(), &session).await?;
    if let Some(before) = before {
        if same(&before) {
            sessions::move_proofs(write.rows(), &before.id_hash, &session.id_hash).await?;
        } else {
            end_browser(write.rows(), &before.id_hash, now).await?;
        }
        sessions::delete(write.rows(), &before.id_hash).await?;
    }
    write.commit().await?;
    let set_cookie = set_cookie(COOKIE_NAME, secret.expose(), None);
    Ok(Begun { session, set_cookie })
}

/// Gives a browser's session a new name, or begins one that nobody has signed in to with factors
/// kept here: for somebody whom a tenant's own provider vouches for. What the browser has shown to
/// other tenants goes on; this tenant is entered by [`enter`].
pub(crate) async fn begin_vouched(
    control: &ControlPlane,
    browser: &Browser,
) -> Result<Begun, SessionError> {
    let now = control.now();
    let before = browser.session(control).await?;
    let secret = single_use::draw(&control.inner.random)?;
    let session = Session {
        id_hash: session_hash(secret.expose()),
        account: before.as_ref().and_then(|before| before.account.clone()),
        created_at: now,
        seen_at: now,
        expires_at: now + BROWSER_LASTS,
    };
    let write = control.inner.db.write().await?;
    sessions::insert(write.rows(), &session).await?;
    if let Some(before) = before {
        sessions::move_proofs(write.rows(), &before.id_hash, &session.id_hash).await?;
        sessions::delete(write.rows(), &before.id_hash).await?;
    }
    write.commit().await?;
    Ok(Begun { session, set_cookie: set_cookie(COOKIE_NAME, secret.expose(), None) })
}

/// Who a browser is to a tenant, before the gate has judged it.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// Somebody who came in here before.
    Here(TenantSession),
    /// Somebody who signed in, and has not come in here yet.
    Elsewhere(AccountId, Proof),
}

impl Known {
    pub(crate) fn proof(&self) -> &Proof {
        match self {
            Self::Here(session) => &session.proof,
            Self::Elsewhere(_, proof) => proof,
        }
    }
}

/// What `session` can show `tenant`. What was shown last counts: a step up anywhere with the same
/// account is one here.
pub(crate) async fn known_to(
    control: &ControlPlane,
    session: &Session,
    tenant: &TenantId,
) -> Result<Option<Known>, StorageError> {
    let db = control.inner.db.reader();
    let here = sessions::find_proof(db, &session.id_hash, tenant, control.now()).await?;
    let account = session.account.clone();
    Ok(match (here, account) {
        (Some(here), Some((account, proof)))
            if here.proof.connection.is_none() && proof.auth_time > here.proof.auth_time =>
        {
            Some(Known::Elsewhere(account, proof))
        }
        (Some(here), _) => Some(Known::Here(here)),
        // Signed out of this tenant, or thrown out by it, since: coming back takes a new sign-in.
        (None, Some((_, proof)))
            if sessions::ended_since(db, &session.id_hash, tenant, proof.auth_time).await? =>
        {
            None
        }
        (None, Some((account, proof))) => Some(Known::Elsewhere(account, proof)),
        (None, None) => None,
    })
}

/// Brings a browser that has shown something to the door of `tenant` (I-14): its policy decides,
/// now, about what was shown, whenever and to whomever that was.
pub(crate) async fn admit_session(
    control: &ControlPlane,
    session: &Session,
    tenant: &TenantId,
) -> Result<Result<Admitted, Refusal>, StorageError> {
    let Some(known) = known_to(control, session, tenant).await? else {
        return Ok(Err(Refusal::NotAMember));
    };
    let who = match &known {
        Known::Here(here) => Who::User(&here.user),
        Known::Elsewhere(account, _) => Who::Account(account),
    };
    let now = control.now();
    let entry = Entry { tenant, who, path: Path::Session, proof: known.proof() };
    let admitted = match admit(control.inner.db.reader(), entry, now).await? {
        Ok(admitted) => admitted,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let idle = Duration::from_secs(admitted.policy().idle_seconds.into());
    if session.seen_at + idle <= now {
        return Ok(Err(Refusal::SignInTooOld));
    }
    Ok(Ok(admitted))
}

/// Notes that somebody the gate let through is in, and says by which `sid`. The same user in the
/// same browser keeps theirs.
pub(crate) async fn enter(
    control: &ControlPlane,
    browser: &Browser,
    session: &Session,
    admitted: &Admitted,
) -> Result<String, SessionError> {
    enter_on(control, browser, session, admitted, None).await
}

/// As [`enter`], on the terms of the tenant's own provider, which has just vouched for somebody.
pub(crate) async fn enter_on(
    control: &ControlPlane,
    browser: &Browser,
    session: &Session,
    admitted: &Admitted,
    terms: Option<&Terms>,
) -> Result<String, SessionError> {
    let Some((user, proof)) = admitted.user() else { return Err(SessionError::NotAPerson) };
    let now = control.now();
    let (tenant, hash) = (admitted.tenant(), &session.id_hash);
    let lasts = Duration::from_secs(admitted.policy().session_seconds.into());
    let mut expires_at = proof.auth_time + lasts;
    let here = sessions::find_proof(control.inner.db.reader(), hash, tenant, now).await?;
    // What the provider said of its end holds for as long as what it vouched for.
    let same_proof = here.as_ref().filter(|here| here.user == user.id && here.proof == *proof);
    let bound = match (terms, same_proof) {
        (Some(terms), _) => terms.ends_at,
        (None, Some(here)) if proof.connection.is_some() => Some(here.expires_at),
        (None, _) => None,
    };
    expires_at = bound.map_or(expires_at, |bound| bound.min(expires_at));
    let upstream = terms.and_then(|terms| terms.session.as_ref());
    if let Some(here) = &here
        && here.user == user.id
        && here.proof == *proof
        && here.expires_at == expires_at
        && upstream.is_none()
    {
        note_use(control, session, now).await?;
        return Ok(here.sid.clone());
    }
    if let Some(other) = here.as_ref().filter(|here| here.user != user.id) {
        control.sign_out(other).await?;
    }
    let write = control.inner.db.write().await?;
    let sid = match here {
        Some(here) if here.user == user.id => {
            sessions::renew_proof(write.rows(), admitted.tenant(), &here.sid, proof, expires_at)
                .await?;
            here.sid
        }
        _ => {
            let entered = TenantSession {
                sid: random::opaque_id(&control.inner.random)?,
                tenant: tenant.clone(),
                user: user.id.clone(),
                proof: proof.clone(),
                created_at: now,
                expires_at,
                ended_at: None,
                user_agent: browser.user_agent.clone(),
            };
            sessions::end_run_out(write.rows(), hash, tenant, now).await?;
            sessions::insert_proof(write.rows(), hash, &entered).await?;
            entered.sid
        }
    };
    if let Some(upstream) = upstream {
        sessions::note_upstream(write.rows(), tenant, &sid, upstream).await?;
    }
    sessions::touch(write.rows(), hash, now).await?;
    write.commit().await?;
    Ok(sid)
}

/// Once a minute is enough to tell an idle browser by.
async fn note_use(
    control: &ControlPlane,
    session: &Session,
    now: Timestamp,
) -> Result<(), StorageError> {
    if session.seen_at + SEEN_EVERY <= now {
        let write = control.inner.db.single().await;
        sessions::touch(write.db(), &session.id_hash, now).await?;
    }
    Ok(())
}

/// Signs a browser out: of every tenant, and of its own row. Returns the cookies that tell it so.
pub(crate) async fn leave(
    control: &ControlPlane,
    session: &Session,
) -> Result<Vec<HeaderValue>, StorageError> {
    sign_out_of_all(control, session).await?;
    let write = control.inner.db.write().await?;
    // Whatever it entered meanwhile.
    end_browser(write.rows(), &session.id_hash, control.now()).await?;
    sessions::delete(write.rows(), &session.id_hash).await?;
    write.commit().await?;
    Ok(set_cookie(COOKIE_NAME, "", Some(Duration::ZERO)).into_iter().collect())
}

/// Ends a browser's session with every tenant, with all that began in it.
async fn sign_out_of_all(control: &ControlPlane, session: &Session) -> Result<(), StorageError> {
    let live = sessions::live_of_browser(control.inner.db.reader(), &session.id_hash).await?;
    for tenant_session in &live {
        control.sign_out(tenant_session).await?;
    }
    Ok(())
}

/// Ends what a browser has shown to every tenant, in the caller's transaction. Its row is the
/// caller's to delete.
pub(crate) async fn end_browser(
    db: &impl sea_orm::ConnectionTrait,
    session_hash: &[u8],
    now: Timestamp,
) -> Result<(), StorageError> {
    for session in sessions::live_of_browser(db, session_hash).await? {
        sessions::end_proof(db, &session.tenant, &session.sid, now).await?;
    }
    Ok(())
}

fn session_hash(secret: &str) -> Vec<u8> {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(b"partywall session v1");
    hash.update(secret.as_bytes());
    hash.finish().as_ref().to_vec()
}

/// Why a session could not be begun or entered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("a machine has no session")]
    NotAPerson,
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

pub(crate) const COOKIE_NAME: &str = "__Host-partywall";
/// The longest a browser is remembered. A tenant's policy says how long what it showed is good.
const BROWSER_LASTS: Duration = Duration::from_secs(90 * 24 * 3600);
const SEEN_EVERY: Duration = Duration::from_secs(60);
const MAX_USER_AGENT: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Actor, NewTenant, NewUser, SignInPolicy, User, UserStatus,
        control::tests_support::{START, control},
        login::Amr,
        storage::{sign_in_policies, sign_in_policies::SignInSettings, users},
    };

    fn browser(begun: Option<&Begun>) -> Browser {
        let mut headers = HeaderMap::new();
        if let Some(begun) = begun {
            let cookie = begun.set_cookie.as_ref().unwrap().to_str().unwrap();
            let pair = cookie.split(';').next().unwrap();
            headers.insert(COOKIE, HeaderValue::from_str(pair).unwrap());
        }
        Browser::of(&headers, Network::default())
    }

    async fn member(control: &ControlPlane, slug: &str, email: &str) -> User {
        let actor = Actor::System("test");
        let new =
            NewTenant::new(slug.parse().unwrap(), "free".parse().unwrap(), Default::default());
        let tenant = control.ensure_tenant(&actor, new).await.unwrap();
        let new = NewUser {
            email: email.parse().unwrap(),
            name: "Ada".to_owned(),
            roles: Default::default(),
            metadata: Default::default(),
        };
        let mut user = control.create_user(&actor, tenant.id(), new).await.unwrap();
        user.status = UserStatus::Active;
        user.version += 1;
        assert!(users::update(control.inner.db.reader(), &user).await.unwrap());
        user
    }

    #[tokio::test]
    async fn j20_a_session_has_a_new_name_at_every_sign_in() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let ada = member(&control, "acme", "ada@x.test").await;
        let account = ada.account.clone().unwrap();
        let password = Proof::of([Amr::Password], START);
        let first = begin(&control, &browser(None), &account, &password).await.unwrap();
        let here = browser(Some(&first));
        let admitted = admit_session(&control, &first.session, &ada.tenant).await.unwrap().unwrap();
        let sid = enter(&control, &here, &first.session, &admitted).await.unwrap();
        assert_eq!(enter(&control, &here, &first.session, &admitted).await.unwrap(), sid);

        let second = begin(&control, &here, &account, &password).await.unwrap();
        assert_ne!(first.session.id_hash, second.session.id_hash);
        assert!(
            here.session(&control).await.unwrap().is_none(),
            "the old name is good for nothing"
        );
        let now_here = browser(Some(&second));
        let session = now_here.session(&control).await.unwrap().unwrap();
        let admitted = admit_session(&control, &session, &ada.tenant).await.unwrap().unwrap();
        assert_eq!(enter(&control, &now_here, &session, &admitted).await.unwrap(), sid);

        // Somebody else at the same browser ends what was there.
        let eve = member(&control, "acme", "eve@x.test").await;
        let other = eve.account.clone().unwrap();
        let third = begin(&control, &now_here, &other, &password).await.unwrap();
        let db = control.inner.db.reader();
        let ended = sessions::find_sid(db, &ada.tenant, &sid).await.unwrap().unwrap();
        assert_eq!(ended.ended_at, Some(START));
        let third = browser(Some(&third)).session(&control).await.unwrap().unwrap();
        let admitted = admit_session(&control, &third, &ada.tenant).await.unwrap().unwrap();
        assert_eq!(admitted.subject(), eve.id.as_str());
    }

    #[tokio::test]
    async fn i14_a_session_made_for_one_tenant_is_judged_anew_by_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let at_acme = member(&control, "acme", "ada@x.test").await;
        let at_bond = member(&control, "bond", "ada@x.test").await;
        let nobody = member(&control, "corp", "eve@x.test").await;
        assert_eq!(at_acme.account, at_bond.account);
        let account = at_acme.account.clone().unwrap();
        let proof = Proof::of([Amr::Password], START);
        let begun = begin(&control, &browser(None), &account, &proof).await.unwrap();
        let try_at = async |tenant| admit_session(&control, &begun.session, tenant).await.unwrap();
        assert_eq!(try_at(&at_acme.tenant).await.unwrap().subject(), at_acme.id.as_str());
        assert_eq!(try_at(&at_bond.tenant).await.unwrap().subject(), at_bond.id.as_str());
        assert_eq!(try_at(&nobody.tenant).await.unwrap_err(), Refusal::NotAMember);

        let policy = SignInPolicy { mfa_required: true, ..SignInPolicy::default() };
        let settings = SignInSettings { policy, ..SignInSettings::default() };
        let db = control.inner.db.reader();
        sign_in_policies::replace(db, &at_bond.tenant, &settings, START).await.unwrap();
        assert_eq!(try_at(&at_bond.tenant).await.unwrap_err(), Refusal::MfaRequired);
        assert!(try_at(&at_acme.tenant).await.is_ok(), "acme asks for less");
    }

    #[test]
    fn two_cookies_of_one_name_are_none() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_static(text));
            cookie(&headers, "a")
        };
        assert_eq!(read("b=2; a=1").as_deref(), Some("1"));
        assert_eq!(read("a=1; a=2"), None);
        assert_eq!(read("aa=1"), None);
    }
}
