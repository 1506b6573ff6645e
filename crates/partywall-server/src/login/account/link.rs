//! Linking a user to what their tenant's own provider says they are, and unlinking them. The proof
//! is the way there and back itself: of this user, in this session of this browser, through this
//! connection, as whoever they come back as, once (F-02).

use axum::response::Response;
use serde_json::json;

use super::{FRESH, Here, change::THE_USER, words::Said};
use crate::{
    control::{Connection, ConnectionId, ConnectionStatus, ControlPlane, UserId},
    federation::{ExternalIdentity, Upstream},
    login::{
        page,
        problem::PageError,
        session,
        sign_in::{self, Goal, UnderWay},
    },
    provider::Form,
    storage::{AuditEvent, StorageError, connections, external_identities},
};

/// A provider of the tenant's, on the account page.
pub(super) struct Linkable {
    pub(super) connection: ConnectionId,
    pub(super) name: String,
    pub(super) linked: bool,
}

impl Here<'_> {
    /// What is linked, and what could be.
    pub(super) async fn links(&self) -> Result<Vec<Linkable>, StorageError> {
        let (db, tenant) = (self.control.inner.db.reader(), self.admitted.tenant());
        let linked = connections::of_user(db, tenant, &self.user.id).await?;
        let all = connections::page(db, tenant, None, 50).await?;
        let is_linked = |connection: &Connection| linked.iter().any(|one| one.id == connection.id);
        Ok(all
            .into_iter()
            .filter(|one| one.status == ConnectionStatus::Active || is_linked(one))
            .map(|one| Linkable { linked: is_linked(&one), name: one.name, connection: one.id })
            .collect())
    }

    /// Sends the user to the provider, to come back as somebody.
    pub(super) async fn set_out_to_link(&self, form: &Form<'_>) -> Result<Response, PageError> {
        let connection = self.connection(form).await?;
        let connection = connection.filter(|one| one.status == ConnectionStatus::Active);
        let connection = connection.ok_or(PageError::NotFound)?;
        let goal = Goal::Link {
            tenant: self.admitted.tenant().clone(),
            user: self.user.id.clone(),
            session: self.session.id_hash.clone(),
        };
        let (control, at, browser) = (self.control, self.at, self.browser);
        let (begun, sign_in) = sign_in::begin_quietly(control, at, browser, goal).await?;
        UnderWay { control, at, browser, id: begun.id.expose(), cookies: begun.cookies }
            .send_away(sign_in, &connection, None)
            .await
    }

    /// Takes a link away, with everything that began through it; not the only way in.
    pub(super) async fn unlink(&self, form: &Form<'_>) -> Result<Said, PageError> {
        let Some(connection) = self.connection(form).await? else { return Ok(Said::Gone) };
        let (control, tenant) = (self.control, self.admitted.tenant());
        let now = control.now();
        let change = control.inner.db.change(now).await?;
        let rows = change.rows();
        let others = connections::of_user(rows, tenant, &self.user.id).await?;
        let others = others.iter().any(|one| one.id != connection.id && one.admits());
        if self.user.account.is_none() && !others {
            return Ok(Said::LastWayIn);
        }
        if !external_identities::unlink(rows, tenant, &connection.id, &self.user.id).await? {
            return Ok(Said::Gone);
        }
        // The gate keeps out whom nobody vouches for; tokens that are out are refused with it.
        control.refuse_tokens_of(rows, tenant, self.user.id.as_str(), now).await?;
        let detail = json!({ "user": self.user.id, "connection": connection.id });
        let (actor, action) = (&THE_USER, "identity.unlink");
        control.commit(change, AuditEvent { actor, tenant: Some(tenant), action, detail }).await?;
        Ok(Said::Removed)
    }

    async fn connection(&self, form: &Form<'_>) -> Result<Option<Connection>, StorageError> {
        let Some(id) = form.get("connection").and_then(|id| id.parse().ok()) else {
            return Ok(None);
        };
        connections::find(self.control.inner.db.reader(), self.admitted.tenant(), &id).await
    }
}

/// The user has come back as somebody: links the two, if they still are who left.
pub(in crate::login) async fn link(
    under_way: UnderWay<'_>,
    connection: &Connection,
    upstream: &Upstream,
) -> Result<Response, PageError> {
    let sign_in = under_way.load().await?;
    let Goal::Link { tenant, user, session: left_in } = &sign_in.goal else {
        return Err(PageError::NoSignIn);
    };
    let (control, at) = (under_way.control, under_way.at);
    let session = under_way.browser.session(control).await?;
    let session = session.filter(|session| session.id_hash == *left_in);
    let session = session.ok_or(PageError::NoSignIn)?;
    let admitted = session::admit_session(control, &session, tenant).await?;
    let still_here = admitted.ok().and_then(|admitted| {
        let (found, proof) = admitted.user()?;
        Some(found.id == *user && proof.auth_time + FRESH + AWAY > control.now())
    });
    if still_here != Some(true) || connection.tenant != *tenant {
        return Err(PageError::NoSignIn);
    }
    under_way.use_up().await?;
    let said = match linked(control, &upstream.identity(connection), user).await? {
        Linked::Now => Said::Linked,
        Linked::ToAnother => Said::LinkedToAnother,
        Linked::NotAnyMore => Said::NotLinked,
    };
    let issuer = at.issuer();
    Ok(page::see_other(&format!("{issuer}/account/{tenant}?said={}", said.word()), &[]))
}

enum Linked {
    Now,
    ToAnother,
    /// The connection was shut meanwhile.
    NotAnyMore,
}

async fn linked(
    control: &ControlPlane,
    identity: &ExternalIdentity,
    user: &UserId,
) -> Result<Linked, PageError> {
    let now = control.now();
    let ExternalIdentity { tenant, connection, issuer, subject } = identity;
    let change = control.inner.db.change(now).await?;
    let rows = change.rows();
    let active = connections::find(rows, tenant, connection).await?;
    if active.is_none_or(|connection| connection.status != ConnectionStatus::Active) {
        return Ok(Linked::NotAnyMore);
    }
    if !external_identities::link(rows, identity, user, now).await? {
        let already = external_identities::user_of(rows, identity).await?;
        let same = already.as_ref() == Some(user);
        return Ok(if same { Linked::Now } else { Linked::ToAnother });
    }
    let detail = json!({
        "user": user, "connection": connection, "issuer": issuer, "subject": subject,
    });
    let (actor, action) = (&THE_USER, "identity.link");
    control.commit(change, AuditEvent { actor, tenant: Some(tenant), action, detail }).await?;
    Ok(Linked::Now)
}

/// How long the way there and back may take, beyond what makes a change of factors fresh.
const AWAY: std::time::Duration = std::time::Duration::from_secs(10 * 60);
