//! Whoever opened a link, in the browser where they did.

use std::{convert::Infallible, time::Duration};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, request::Parts},
};
use partywall::{TenantId, TenantStatus};

use super::{PortalError, Progress, SETUP};
use crate::{
    control::{Actor, Connection, ControlPlane, Intent, SetupLink, setup_link},
    login::{
        page::Look,
        session::{cookie, set_cookie},
    },
    provider::At,
    secret::Secret,
    storage::{connections, setup_links, single_use, tenants},
};

/// What a browser says it is. Nothing is believed of it.
pub(super) struct Presented(Option<Secret<String>>);

impl FromRequestParts<ControlPlane> for Presented {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &ControlPlane) -> Result<Self, Infallible> {
        Ok(Self(cookie(&parts.headers, COOKIE).map(Secret::new)))
    }
}

/// Somebody at the portal: of one tenant, and for what the link is for.
pub(super) struct Session<'s> {
    pub(super) control: &'s ControlPlane,
    pub(super) link: SetupLink,
    pub(super) progress: Progress,
}

impl<'s> Session<'s> {
    /// The session of this browser, looked up just now: a link that was taken back is none.
    pub(super) async fn of(
        control: &'s ControlPlane,
        presented: &Presented,
    ) -> Result<Self, PortalError> {
        let presented = presented.0.as_ref().ok_or(PortalError::NoSession)?;
        let (tenant, id, secret) = parts_of(presented.expose()).ok_or(PortalError::NoSession)?;
        let (db, now) = (control.inner.db.reader(), control.now());
        let kept = setup_links::find(db, &tenant, id, now).await?.ok_or(PortalError::NoSession)?;
        let expected = kept.session_hash.as_deref().ok_or(PortalError::NoSession)?;
        let hash = setup_link::hash(setup_link::SESSION, &kept.link, secret);
        verify_slices_are_equal(&hash, expected).map_err(|_| PortalError::NoSession)?;
        check_tenant(control, &tenant).await?;
        Ok(Self { control, link: kept.link, progress: kept.progress })
    }

    /// The same, if the link is for single sign-on.
    pub(super) async fn for_sso(
        control: &'s ControlPlane,
        presented: &Presented,
    ) -> Result<Self, PortalError> {
        let session = Self::of(control, presented).await?;
        match session.link.intent {
            Intent::Sso => Ok(session),
            Intent::Domain => Err(PortalError::OtherIntent),
        }
    }

    pub(super) fn tenant(&self) -> &TenantId {
        &self.link.tenant
    }

    pub(super) fn actor(&self) -> Actor {
        Actor::SetupLink { tenant: self.link.tenant.clone(), link: self.link.id.clone() }
    }

    /// The connection the link sets up, once there is one.
    pub(super) async fn connection(&self) -> Result<Option<Connection>, PortalError> {
        let db = self.control.inner.db.reader();
        Ok(connections::find(db, self.tenant(), &self.link.connection).await?)
    }

    /// Whether the link was opened lately: what people's sign-ins hang on is changed by somebody who
    /// has it from an administrator now, and not from a browser left open (I-04, P-03).
    pub(super) fn is_fresh(&self) -> bool {
        self.link.redeemed_at.is_some_and(|at| self.control.now() < at + FRESH)
    }

    /// Keeps what the session has got to.
    pub(super) async fn keep(&self, alter: impl FnOnce(&mut Progress)) -> Result<(), PortalError> {
        let mut progress = self.progress.clone();
        alter(&mut progress);
        let single = self.control.inner.db.single().await;
        setup_links::set_progress(single.db(), self.tenant(), &self.link.id, &progress).await?;
        Ok(())
    }

    pub(super) async fn look(&self) -> Result<Look, PortalError> {
        let at = At::shared(self.control);
        Ok(Look::inside(self.control, &at, self.tenant()).await?)
    }

    pub(super) fn page(&self, path: &str) -> String {
        format!("{}{SETUP}{path}", self.control.inner.config.issuer.as_str())
    }
}

/// A link that can be opened.
pub(super) async fn find_link(
    control: &ControlPlane,
    address: &str,
) -> Result<SetupLink, PortalError> {
    let (tenant, id, secret) = parts_of(address).ok_or(PortalError::NoLink)?;
    let (db, now) = (control.inner.db.reader(), control.now());
    let kept = setup_links::find(db, &tenant, id, now).await?.ok_or(PortalError::NoLink)?;
    let hash = setup_link::hash(setup_link::LINK, &kept.link, secret);
    verify_slices_are_equal(&hash, &kept.secret_hash).map_err(|_| PortalError::NoLink)?;
    if kept.link.redeemed_at.is_some() {
        return Err(PortalError::NoLink);
    }
    check_tenant(control, &tenant).await.map_err(|_| PortalError::NoLink)?;
    Ok(kept.link)
}

/// Opens a link for this browser: the cookie to set.
pub(super) async fn open(
    control: &ControlPlane,
    address: &str,
) -> Result<(SetupLink, Option<HeaderValue>), PortalError> {
    let link = find_link(control, address).await?;
    let (_, _, secret) = parts_of(address).ok_or(PortalError::NoLink)?;
    let session = single_use::draw(&control.inner.random)?;
    let now = control.now();
    let single = control.inner.db.single().await;
    let of_link = setup_link::hash(setup_link::LINK, &link, secret);
    let of_session = setup_link::hash(setup_link::SESSION, &link, session.expose());
    let (which, lasts) = ((&link.tenant, link.id.as_str()), (now, now + LASTS));
    if !setup_links::redeem(single.db(), which, &of_link, of_session, lasts).await? {
        return Err(PortalError::NoLink);
    }
    let value = format!("{}.{}.{}", link.tenant, link.id, session.expose());
    Ok((link, set_cookie(COOKIE, &value, Some(LASTS))))
}

/// A tenant that is not served has nothing set up.
async fn check_tenant(control: &ControlPlane, tenant: &TenantId) -> Result<(), PortalError> {
    let found = tenants::find(control.inner.db.reader(), tenant).await?;
    match found.map(|tenant| tenant.record.status) {
        Some(TenantStatus::Active) => Ok(()),
        _ => Err(PortalError::NoSession),
    }
}

/// Tenant, link and secret of a link's address, or of a cookie.
fn parts_of(text: &str) -> Option<(TenantId, &str, &str)> {
    let mut parts = text.split('.');
    let (tenant, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let tenant = tenant.parse().ok()?;
    parts.next().is_none().then_some((tenant, id, secret))
}

const COOKIE: &str = "__Host-partywall-setup";
/// How long somebody may work at it.
const LASTS: Duration = Duration::from_secs(8 * 3600);
/// How long ago a link may have been opened for the trust of people's sign-ins to be changed.
const FRESH: Duration = Duration::from_secs(15 * 60);
