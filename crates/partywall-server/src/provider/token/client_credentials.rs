//! Client credentials (RFC 6749 4.4): a machine, for the one tenant it belongs to.

use super::{TokenRequest, TokenRequestError, TokenResponse};
use crate::{
    login::admit_machine,
    provider::{
        client_auth::Client,
        issue::{self, Issue},
    },
};

pub(super) fn grant(
    request: &TokenRequest<'_>,
    client: Client,
) -> Result<TokenResponse, TokenRequestError> {
    let Client::Machine(machine) = client else {
        return Err(TokenRequestError::UnauthorizedClient);
    };
    let client_id = machine.machine.client_id.clone();
    let allowed = machine.machine.scopes.clone();
    let scope = issue::granted_scopes(request.form.get("scope"), &allowed)?;
    let resource = issue::resource(request.control, request.form.get("resource"))?;
    let admitted = admit_machine(*machine).map_err(|why| TokenRequestError::NotAdmitted {
        client: client_id.as_str().to_owned(),
        why,
    })?;
    let mut issue = Issue::to(&admitted, client_id.as_str(), resource, scope);
    issue.dpop_jkt = request.dpop_jkt.as_deref();
    let token = issue::access_token(request.control, request.at, &issue)?;
    Ok(TokenResponse::of(token))
}
