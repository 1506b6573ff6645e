//! Codes (RFC 6749 4.1.3, RFC 7636 4.5, OIDC Core 3.1.3): one is good once, for the client, address,
//! verifier, tenant and session it was made for (O-03, O-04).

use aws_lc_rs::{constant_time, digest};
use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::TenantId;
use sea_orm::ConnectionTrait;

use super::{
    InvalidGrant, TokenRequest, TokenRequestError, TokenResponse, application_for,
    granted::Granted, refresh_token,
};
use crate::{
    control::{Application, ClientAuthentication, Grant, GrantEnd, NewGrant},
    login::{Admitted, Entry, Path, admit},
    provider::{
        at::At,
        client_auth::Client,
        code::{Code, PresentedCode},
        issue, scope,
    },
    secret::Secret,
    storage::{StorageError, outgoing_logouts, sessions, single_use::Redeemed, users::Who},
};

pub(super) async fn grant(
    request: &TokenRequest<'_>,
    client: Client,
) -> Result<TokenResponse, TokenRequestError> {
    let application = application_for(client, Grant::AuthorizationCode)?;
    let control = request.control;
    let missing = |parameter| TokenRequestError::Missing { parameter };
    let text = request.form.get("code").ok_or_else(|| missing("code"))?;
    let refused =
        |why| TokenRequestError::InvalidGrant { client: application.client_id.to_string(), why };
    let presented = PresentedCode::read(text).ok_or_else(|| refused(InvalidGrant::Unknown))?;
    let Issued { code, admitted, refresh_token } =
        match redeem(request, &application, &presented).await? {
            Outcome::Issued(issued) => *issued,
            Outcome::Refused(why) => return Err(refused(why)),
            // RFC 6749 4.1.2: somebody has a copy, and nobody can tell who of the two is asking.
            Outcome::Again(code) => {
                let (tenant, client) = (&presented.tenant, code.client.as_str());
                control.end_grant(tenant, &code.grant, client, GrantEnd::CodeReused).await?;
                return Err(refused(InvalidGrant::Reused));
            }
        };
    let granted = Granted {
        grant: &code.grant,
        admitted: &admitted,
        client_id: application.client_id.as_str(),
        resource: issue::resource(control, Some(&code.resource))?,
        scopes: &code.scopes,
        asked: code.scopes.iter().collect(),
        sid: Some(&code.sid),
        nonce: code.nonce.as_deref(),
        claims: &code.claims,
        refresh_token: refresh_token.as_ref(),
    };
    granted.answer(request).await
}

/// What a code led to, before anything is signed.
struct Issued {
    code: Code,
    admitted: Admitted,
    refresh_token: Option<Secret<String>>,
}

enum Outcome {
    Issued(Box<Issued>),
    Refused(InvalidGrant),
    /// It was used before.
    Again(Box<Code>),
}

/// Uses the code up, whatever comes of it, where it is its own client's at its own issuer, and
/// begins the family of tokens: in one transaction, so that whoever comes second finds the family
/// and ends it.
async fn redeem(
    request: &TokenRequest<'_>,
    application: &Application,
    presented: &PresentedCode<'_>,
) -> Result<Outcome, TokenRequestError> {
    let control = request.control;
    let write = control.inner.db.write().await?;
    let redeemed = presented.redeem(write.rows(), control.now()).await?;
    // Nothing is kept of what somebody does with another's code, or elsewhere: neither is it used
    // up, nor does anything end that its owner has of it.
    if let Redeemed::First(code) | Redeemed::Again(code) = &redeemed
        && let Some(why) = is_not_for(code, application, request.at)
    {
        return Ok(Outcome::Refused(why));
    }
    let code = match redeemed {
        Redeemed::First(code) => code,
        Redeemed::Again(code) => return Ok(Outcome::Again(Box::new(code))),
        Redeemed::Unknown => return Ok(Outcome::Refused(InvalidGrant::Unknown)),
    };
    let rows = write.rows();
    let admitted = match admitted(request, &presented.tenant, &code, rows).await? {
        Ok(admitted) => admitted,
        Err(why) => {
            // Used up all the same: nobody gets to try verifiers.
            write.commit().await?;
            return Ok(Outcome::Refused(why));
        }
    };
    let is_public = application.authentication == ClientAuthentication::None;
    let new = NewGrant {
        id: code.grant.clone(),
        client: &application.client_id,
        scopes: code.scopes.clone(),
        resource: &code.resource,
        sid: Some(&code.sid),
        nonce: code.nonce.as_deref(),
        // RFC 9449 5: a confidential client shows who it is at every refresh.
        dpop_jkt: request.dpop_jkt.as_deref().filter(|_| is_public),
        refreshed: scope::has(&code.scopes, scope::OFFLINE_ACCESS)
            && application.registration.grants.contains(&Grant::RefreshToken),
    };
    let refresh_token = refresh_token::first(control, rows, &admitted, new).await?;
    if application.registration.backchannel_logout_uri.is_some() {
        outgoing_logouts::note(rows, &code.sid, &application.client_id).await?;
    }
    write.commit().await?;
    Ok(Outcome::Issued(Box::new(Issued { code, admitted, refresh_token })))
}

/// Why this client, at this issuer, has no business with a code.
fn is_not_for(code: &Code, application: &Application, at: &At) -> Option<InvalidGrant> {
    if code.client != application.client_id {
        Some(InvalidGrant::OtherClient)
    } else if code.issuer != at.issuer() {
        Some(InvalidGrant::OtherIssuer)
    } else {
        None
    }
}

/// Holds a code against the request that brings it, and its user against the gate.
async fn admitted(
    request: &TokenRequest<'_>,
    tenant: &TenantId,
    code: &Code,
    db: &impl ConnectionTrait,
) -> Result<Result<Admitted, InvalidGrant>, StorageError> {
    let (control, form) = (request.control, request.form);
    let refused = |why| Ok(Err(why));
    // RFC 6749 4.1.3: it was there at the authorization request, always.
    if form.get("redirect_uri") != Some(&code.redirect_uri) {
        return refused(InvalidGrant::OtherRedirectUri);
    }
    if !form.get("code_verifier").is_some_and(|verifier| verifies(verifier, &code.code_challenge)) {
        return refused(InvalidGrant::CodeVerifier);
    }
    // RFC 9449 10.
    if code.dpop_jkt.is_some() && code.dpop_jkt != request.dpop_jkt {
        return refused(InvalidGrant::OtherKey);
    }
    // Held until the grant is there: whoever ends the session finds it, or is found here.
    let session = sessions::hold(db, tenant, &code.sid).await?;
    if session.is_none_or(|session| session.ended_at.is_some()) {
        return refused(InvalidGrant::NotLive);
    }
    let who = Who::User(&code.user);
    let entry = Entry { tenant, who, path: Path::Session, proof: &code.proof };
    let admitted = admit(db, entry, control.now()).await?;
    Ok(admitted.map_err(InvalidGrant::NotAdmitted))
}

/// RFC 7636 4.6, with the only method there is.
fn verifies(verifier: &str, challenge: &str) -> bool {
    // RFC 7636 4.1.
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let sound = (43..=128).contains(&verifier.len()) && verifier.bytes().all(unreserved);
    let hash = digest::digest(&digest::SHA256, verifier.as_bytes());
    let hash = Base64UrlUnpadded::encode_string(hash.as_ref());
    sound && constant_time::verify_slices_are_equal(hash.as_bytes(), challenge.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o02_a_verifier_is_hashed_and_of_the_right_shape() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert!(verifies(verifier, challenge));
        for other in ["", challenge, &verifier[..42], &format!("{verifier}A"), "dBjftJeZ4CVP"] {
            assert!(!verifies(other, challenge), "{other}");
        }
        let short = "a".repeat(42);
        let hash = digest::digest(&digest::SHA256, short.as_bytes());
        let of_short = Base64UrlUnpadded::encode_string(hash.as_ref());
        assert!(!verifies(&short, &of_short), "too short to be secret");
    }
}
