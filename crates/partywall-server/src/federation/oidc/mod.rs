//! OpenID Connect towards a tenant's own provider, whose client we are (OIDC Core 3.1, RFC 9700).
//!
//! ```text
//! begin ─► authorization URL + Pending ─► (the person, at the provider) ─► finish(Pending, Callback)
//!       ─► code for tokens ─► ID token verified ─► UserInfo, where the profile needs it ─► Upstream
//! ```
//!
//! Nothing is stored here: whoever begins puts [`Pending`] by under the `state` they chose, for one
//! use, and brings it back (F-10).

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
};
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use partywall::{
    TenantId, Timestamp,
    token::{IdToken, IdTokenRules, KeySet, TokenError, verify_id_token},
};
use quick_cache::sync::Cache;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use self::{
    claims::Claims,
    metadata::{ClientAuthentication, Metadata, shorten},
    profile::Habits,
    provider::{Fetcher, Provider},
};
use crate::{
    control::{Connection, ConnectionId, ControlPlane, Email, OidcProvider},
    federation::{Upstream, address::Addresses, away::Wish, secrets::Secrets},
    outbound::{Line, Outbound},
    provider::Form,
    random,
};

pub(crate) use error::{Document, OidcError};
pub(crate) use profile::check as check_profile;

mod claims;
mod error;
mod metadata;
mod profile;
mod provider;
#[cfg(test)]
mod tests;
pub(crate) mod trusted;

/// What speaks to the OIDC providers of all connections.
pub(crate) struct Oidc {
    outbound: Arc<Outbound>,
    /// What is known of each connection's provider: of its own, though another's may be the same.
    known: Cache<(ConnectionId, Arc<str>), Arc<Provider>>,
}

/// A connection, as far as its protocol is concerned.
#[derive(Clone, Copy)]
pub(crate) struct Party<'c> {
    pub(crate) tenant: &'c TenantId,
    pub(crate) connection: &'c ConnectionId,
    pub(crate) provider: &'c OidcProvider,
    /// Where the provider sends people back to: this connection's own address (RFC 9700 4.4.2).
    pub(crate) redirect_uri: &'c str,
}

impl<'c> Party<'c> {
    fn new(connection: &'c Connection, provider: &'c OidcProvider, redirect_uri: &'c str) -> Self {
        Self { tenant: &connection.tenant, connection: &connection.id, provider, redirect_uri }
    }
}

/// A sign-in that has begun: what its answer must fit. To be kept for one use, under its `state`, and
/// for the browser that began it.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Pending {
    connection: ConnectionId,
    issuer: String,
    client_id: String,
    redirect_uri: String,
    nonce: String,
    code_verifier: String,
    /// Since when somebody must have shown who they are, where that was asked.
    shown_since: Option<Timestamp>,
}

/// Where a browser is sent to sign in through `connection`, and what its answer must fit.
///
/// # Errors
///
/// When the provider's discovery document cannot be had.
pub(crate) async fn begin(
    control: &ControlPlane,
    connection: &Connection,
    provider: &OidcProvider,
    state: &str,
    wish: Wish<'_>,
) -> Result<(String, Pending), OidcError> {
    let redirect_uri = Addresses::of(control, connection).callback();
    let party = Party::new(connection, provider, &redirect_uri);
    control.inner.oidc.begin(party, state, wish, (&control.inner.random, control.now())).await
}

/// Who it is that has come back through `connection` with `answer`.
///
/// # Errors
///
/// The rule that refuses it, or what kept it from being judged.
pub(crate) async fn finish(
    control: &ControlPlane,
    connection: &Connection,
    provider: &OidcProvider,
    pending: &Pending,
    answer: &Form<'_>,
) -> Result<Upstream, OidcError> {
    let redirect_uri = Addresses::of(control, connection).callback();
    let party = Party::new(connection, provider, &redirect_uri);
    let secrets = Secrets::open(&control.inner.config.sealing_key, connection)?;
    let secret = secrets.client_secret().ok_or(OidcError::NoSecret)?;
    control.inner.oidc.finish(party, pending, answer, secret, control.now()).await
}

impl Oidc {
    pub(crate) fn new(outbound: Arc<Outbound>) -> Self {
        Self { outbound, known: Cache::new(REMEMBERED) }
    }

    /// Where a browser is sent, and what its answer must fit.
    ///
    /// # Errors
    ///
    /// When the provider's discovery document cannot be had.
    pub(crate) async fn begin(
        &self,
        party: Party<'_>,
        state: &str,
        wish: Wish<'_>,
        (random, now): (&SystemRandom, Timestamp),
    ) -> Result<(String, Pending), OidcError> {
        let (known, fetcher) = self.provider_of(party);
        let metadata = known.metadata(&fetcher).await?;
        let pending = Pending {
            connection: party.connection.clone(),
            issuer: party.provider.issuer.clone(),
            client_id: party.provider.client_id.clone(),
            redirect_uri: party.redirect_uri.to_owned(),
            nonce: draw(random)?,
            code_verifier: draw(random)?,
            shown_since: wish.again.then_some(now),
        };
        Ok((authorization_url(party, &metadata, &pending, state, wish), pending))
    }

    /// Judges an answer, redeems its code and says who came.
    ///
    /// # Errors
    ///
    /// The rule that refuses it, or what kept it from being judged.
    pub(crate) async fn finish(
        &self,
        party: Party<'_>,
        pending: &Pending,
        answer: &Form<'_>,
        client_secret: &str,
        now: Timestamp,
    ) -> Result<Upstream, OidcError> {
        if !pending.is_of(party) {
            return Err(OidcError::OtherConnection);
        }
        let (known, fetcher) = self.provider_of(party);
        let metadata = known.metadata(&fetcher).await?;
        let code = code_of(answer, party, &metadata)?;
        let tokens = self.redeem(&fetcher, &metadata, pending, code, client_secret).await?;
        let id_token_text = tokens.id_token.as_deref().ok_or(OidcError::NoIdToken)?;

        let keys = known.keys(&fetcher, &metadata.jwks_uri).await?;
        let judge = |keys: &KeySet| judge(party, pending, &tokens, id_token_text, keys, now);
        let id_token = match judge(&keys) {
            Err(error) if may_be_a_new_key(&error) => {
                let newer = known.keys_other_than(&keys, &fetcher, &metadata.jwks_uri).await?;
                judge(&newer)
            }
            judged => judged,
        };
        let id_token = id_token.map_err(|error| OidcError::of_id_token(error, id_token_text))?;
        let user_info = self.user_info(&fetcher, party, &metadata, &tokens, &id_token).await?;
        Ok(claims::upstream(party.provider, &id_token, user_info.as_ref()))
    }

    fn provider_of(&self, party: Party<'_>) -> (Arc<Provider>, Fetcher) {
        let issuer: Arc<str> = party.provider.issuer.as_str().into();
        let key = (party.connection.clone(), Arc::clone(&issuer));
        let known = self.known.get_or_insert_with(&key, || Ok::<_, ()>(Arc::default()));
        let line = Line::of(party.tenant, party.connection.as_str());
        let fetcher = Fetcher { outbound: Arc::clone(&self.outbound), line, issuer };
        (known.unwrap_or_default(), fetcher)
    }

    async fn redeem(
        &self,
        fetcher: &Fetcher,
        metadata: &Metadata,
        pending: &Pending,
        code: &str,
        client_secret: &str,
    ) -> Result<Tokens, OidcError> {
        let (form, authorization) = token_request(metadata, pending, code, client_secret);
        let (line, to) = (&fetcher.line, metadata.token_endpoint.as_str());
        let answer = self.outbound.post_form(line, to, form, authorization.as_deref()).await;
        let answer = answer.map_err(|source| Document::Token.unreachable(to, source))?;
        if answer.status == StatusCode::OK {
            return read(Document::Token, &answer.body);
        }
        let refusal: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
        let error = refusal.error.unwrap_or_else(|| answer.status.to_string());
        Err(OidcError::NotRedeemed {
            error: shorten(&error),
            description: shorten(&refusal.error_description.unwrap_or_default()),
        })
    }

    /// OIDC Core 5.3, where the provider says there what it does not say in its ID tokens.
    async fn user_info(
        &self,
        fetcher: &Fetcher,
        party: Party<'_>,
        metadata: &Metadata,
        tokens: &Tokens,
        id_token: &IdToken,
    ) -> Result<Option<Claims>, OidcError> {
        let habit = Habits::of(party.provider.profile).user_info;
        let (true, Some(address), Some(access_token)) = (
            party.provider.user_info.unwrap_or(habit),
            metadata.userinfo_endpoint.as_deref(),
            tokens.access_token.as_deref(),
        ) else {
            return Ok(None);
        };
        let answer = self.outbound.get_as_bearer(&fetcher.line, address, access_token).await;
        let body = answer.map_err(|source| Document::UserInfo.unreachable(address, source))?;
        let claims: Claims = read(Document::UserInfo, &body)?;
        // OIDC Core 5.3.2: or it may be anybody's.
        if claims.get("sub").and_then(|sub| sub.as_str()) != Some(&id_token.subject) {
            return Err(OidcError::OtherSubject);
        }
        Ok(Some(claims))
    }
}

impl Pending {
    /// Whether it was begun for this very connection, as it still is (RFC 9700 4.4, F-06).
    fn is_of(&self, party: Party<'_>) -> bool {
        self.connection == *party.connection
            && self.issuer == party.provider.issuer
            && self.client_id == party.provider.client_id
            && self.redirect_uri == party.redirect_uri
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// A token endpoint's answer (OIDC Core 3.1.3.3).
#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
    access_token: Option<String>,
}

/// RFC 6749 5.2.
#[derive(Default, Deserialize)]
struct Refusal {
    error: Option<String>,
    error_description: Option<String>,
}

/// OIDC Core 3.1.2.1, RFC 7636 4.3.
fn authorization_url(
    party: Party<'_>,
    metadata: &Metadata,
    pending: &Pending,
    state: &str,
    wish: Wish<'_>,
) -> String {
    let provider = party.provider;
    let habits = Habits::of(provider.profile);
    let mut scopes = vec!["openid"];
    match &provider.scopes {
        Some(scopes_) => {
            scopes.extend(scopes_.iter().map(String::as_str).filter(|s| *s != "openid"))
        }
        None => scopes.extend(habits.scopes),
    }
    let challenge = digest(&SHA256, pending.code_verifier.as_bytes());
    let mut url = metadata.authorization_endpoint.clone();
    let mut query = url.query_pairs_mut();
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", &provider.client_id)
        .append_pair("redirect_uri", party.redirect_uri)
        .append_pair("scope", &scopes.join(" "))
        .append_pair("state", state)
        .append_pair("nonce", &pending.nonce)
        .append_pair("code_challenge", &Base64UrlUnpadded::encode_string(challenge.as_ref()))
        .append_pair("code_challenge_method", "S256");
    for (name, value) in [
        ("login_hint", wish.login_hint.map(Email::as_str)),
        // The first asks for it, the second has to be answered with when it was.
        ("prompt", wish.again.then_some("login")),
        ("max_age", wish.again.then_some("0")),
        // Google: whose account is asked for. What comes back is checked all the same.
        ("hd", provider.hosted_domain.as_deref()),
    ] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    drop(query);
    url.into()
}

/// A form and, where the secret is not in it, a header with it (RFC 6749 4.1.3, RFC 7636 4.5).
fn token_request(
    metadata: &Metadata,
    pending: &Pending,
    code: &str,
    client_secret: &str,
) -> (String, Option<String>) {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", code)
        .append_pair("redirect_uri", &pending.redirect_uri)
        .append_pair("code_verifier", &pending.code_verifier);
    let authorization = match metadata.client_authentication {
        ClientAuthentication::ClientSecretBasic => Some(basic(&pending.client_id, client_secret)),
        ClientAuthentication::ClientSecretPost => {
            form.append_pair("client_id", &pending.client_id)
                .append_pair("client_secret", client_secret);
            None
        }
    };
    (form.finish(), authorization)
}

/// The code of an answer that is this provider's.
fn code_of<'c>(
    answer: &'c Form<'_>,
    party: Party<'_>,
    metadata: &Metadata,
) -> Result<&'c str, OidcError> {
    // RFC 9207 2.4: of errors, too, and before anything else of them is looked at.
    match answer.get("iss") {
        Some(iss) if iss != party.provider.issuer => {
            return Err(OidcError::OtherIssuer { found: shorten(iss) });
        }
        None if metadata.says_iss => return Err(OidcError::IssuerMissing),
        _ => {}
    }
    if let Some(error) = answer.get("error") {
        let description = answer.get("error_description").unwrap_or_default();
        return Err(OidcError::Refused {
            error: shorten(error),
            description: shorten(description),
        });
    }
    answer.get("code").ok_or(OidcError::NoCode)
}

fn judge(
    party: Party<'_>,
    pending: &Pending,
    tokens: &Tokens,
    id_token: &str,
    keys: &KeySet,
    now: Timestamp,
) -> Result<IdToken, TokenError> {
    let provider = party.provider;
    let habits = Habits::of(provider.profile);
    let configured: Option<Vec<_>> =
        provider.algorithms.as_ref().map(|algorithms| algorithms.iter().copied().collect());
    let rules = IdTokenRules {
        issuer: &provider.issuer,
        client: &provider.client_id,
        algorithms: configured.as_deref().unwrap_or(habits.algorithms),
        nonce: &pending.nonce,
        fixed: &habits.fixed(provider),
        shown_since: pending.shown_since,
        access_token: tokens.access_token.as_deref(),
    };
    verify_id_token(id_token, keys, &rules, now)
}

/// Whether a token may be refused only because its key came after the set that is known (F-08).
fn may_be_a_new_key(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::KeyUnknown { .. }
            | TokenError::KeyIdMissing { .. }
            | TokenError::SignatureInvalid
    )
}

fn read<T: serde::de::DeserializeOwned>(what: Document, json: &[u8]) -> Result<T, OidcError> {
    let unreadable = |fault: serde_json::Error| OidcError::Unreadable {
        what,
        // Where and what kind, and nothing of what stands there.
        fault: format!("{:?} error in line {}", fault.classify(), fault.line()),
    };
    serde_json::from_slice(json).map_err(unreadable)
}

/// RFC 6749 2.3.1: both are form-encoded first.
fn basic(client_id: &str, client_secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(client_id), encode(client_secret));
    format!("Basic {}", Base64::encode_string(pair.as_bytes()))
}

/// 256 random bits.
fn draw(random: &SystemRandom) -> Result<String, OidcError> {
    let bytes: [u8; 32] = random::fill(random)?;
    Ok(Base64UrlUnpadded::encode_string(&bytes))
}

/// How many connections' providers are remembered. One that is forgotten is asked again.
const REMEMBERED: usize = 10_000;
