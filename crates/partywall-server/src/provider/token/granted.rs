//! What somebody is answered who brought a code, a device code or a refresh token that is good: an
//! access token, an ID token where `openid` was granted, and the refresh token that is left to them.

use std::collections::BTreeSet;

use super::{TokenRequest, TokenRequestError, TokenResponse};
use crate::{
    config::Resource,
    control::Scope,
    login::Admitted,
    provider::{
        authorize::RequestedClaims,
        id_token::{self, IdToken},
        issue::{self, Issue},
        scope,
    },
    secret::Secret,
};

/// A person's grant to an application.
pub(super) struct Granted<'g> {
    /// Names everything issued under it.
    pub(super) grant: &'g str,
    pub(super) admitted: &'g Admitted,
    pub(super) client_id: &'g str,
    pub(super) resource: &'g Resource,
    pub(super) scopes: &'g BTreeSet<Scope>,
    /// Those of them that the access token carries.
    pub(super) asked: BTreeSet<&'g Scope>,
    pub(super) sid: Option<&'g str>,
    pub(super) nonce: Option<&'g str>,
    pub(super) claims: &'g RequestedClaims,
    pub(super) refresh_token: Option<&'g Secret<String>>,
}

impl Granted<'_> {
    pub(super) async fn answer(
        self,
        request: &TokenRequest<'_>,
    ) -> Result<TokenResponse, TokenRequestError> {
        let Self { admitted, client_id, sid, nonce, claims, .. } = self;
        let (control, at) = (request.control, request.at);
        let mut issue = Issue::to(admitted, client_id, self.resource, self.asked);
        issue.jti = Some(control.draw_token_id(self.grant)?);
        issue.sid = sid;
        issue.dpop_jkt = request.dpop_jkt.as_deref();
        let token = issue::access_token(control, at, &issue)?;
        let id_token = if scope::has(self.scopes, scope::OPENID) {
            let access_token = &token.text;
            let id_token = IdToken { admitted, client_id, sid, nonce, access_token, claims };
            id_token::sign(control, at, &id_token).await?
        } else {
            None
        };
        let response = TokenResponse::of(token).with_refresh_token(self.refresh_token);
        Ok(TokenResponse { id_token, ..response })
    }
}
