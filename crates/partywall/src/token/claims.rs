//! The claims of a token whose signature is right: each is there, of its type, and of a value this
//! service accepts. Missing, of a wrong type and wrong are three different errors.

use std::{borrow::Cow, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    Algorithm, KeyFingerprint, Profile, TokenError,
    error::excerpt,
    issuer::{ClaimPath, ClaimRule, Rules, TenantRule, TrustedKey},
    json::{Json, Number, Object},
    profile::ActorRule,
    proof,
};
use crate::{Principal, Role, SubjectId, TenantId, Timestamp};

/// What a token proved. Made by [`AccessToken::verify`](super::AccessToken) and nothing else.
pub(crate) struct VerifiedClaims {
    pub(crate) issuer: Arc<str>,
    pub(crate) profile: Profile,
    /// The key, and the rules it is trusted under.
    pub(crate) key: KeyFingerprint,
    /// RFC 7638, SHA-256.
    pub(crate) thumbprint: [u8; 32],
    pub(crate) kid: Option<Arc<str>>,
    pub(crate) algorithm: Algorithm,
    pub(crate) audience: Vec<String>,
    pub(crate) tenant: TenantId,
    pub(crate) principal: Principal,
    pub(crate) roles: Vec<Role>,
    pub(crate) scope: Vec<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) jti: Option<String>,
    /// `iat`: every issuer's tokens must have one, or revocation by time would pass them by.
    pub(crate) issued_at: Timestamp,
    /// `exp`, at most the longest life after `iat` and after the check. Without leeway.
    pub(crate) expires_at: Timestamp,
    pub(crate) leeway: Duration,
    pub(crate) auth_time: Option<Timestamp>,
    pub(crate) amr: Vec<String>,
    /// `cid`
    pub(crate) connection: Option<String>,
    /// `tep`
    pub(crate) tenant_epoch: Option<u32>,
    /// `act.sub` (RFC 8693 4.1)
    pub(crate) actor: Option<SubjectId>,
    /// `cnf.jkt` (RFC 9449 6.1)
    pub(crate) bound_to: Option<Arc<str>>,
}

impl VerifiedClaims {
    /// Reads the payload that `key` of an issuer with these `rules` has signed.
    pub(super) fn read(
        payload: &Object<'_>,
        rules: &Rules,
        key: &TrustedKey,
        now: Timestamp,
    ) -> Result<Self, TokenError> {
        let claims = Claims(payload);
        claims.check_kind(rules)?;
        let audience = claims.audience(&rules.audience_claim, &rules.audience)?;
        let times = claims.times(rules.leeway, rules.max_lifetime, now)?;
        for name in rules.traits.required {
            claims.required_text(name)?;
        }
        for name in rules.traits.required_dates {
            claims.date(name)?.ok_or_else(|| TokenError::missing(*name))?;
        }
        let client_id = claims.client_id(rules)?.map(str::to_owned);
        Ok(Self {
            issuer: Arc::clone(&rules.name),
            profile: rules.profile,
            key: key.fingerprint,
            thumbprint: key.thumbprint,
            kid: key.kid.clone(),
            algorithm: key.algorithm,
            audience,
            tenant: claims.tenant(rules)?,
            principal: claims.principal(rules, client_id.as_deref())?,
            roles: claims.roles(rules)?,
            scope: claims.words(rules.traits.scope)?,
            client_id,
            jti: claims.text("jti")?.map(str::to_owned),
            issued_at: times.issued_at,
            expires_at: times.expires_at,
            leeway: rules.leeway,
            auth_time: claims.auth_time()?,
            amr: claims.list("amr")?.unwrap_or_default(),
            connection: claims.own_text(rules, "cid")?,
            tenant_epoch: claims.tenant_epoch(rules)?,
            actor: claims.actor()?,
            bound_to: proof::bound_to(&claims)?,
        })
    }
}

/// What a token proves, to be shown to people. It grants nothing: there is no way from here to a
/// [`TenantContext`](crate::TenantContext).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TokenFacts {
    /// Who issued it.
    pub issuer: String,
    /// What kind of issuer that is.
    pub profile: Profile,
    /// The key that signed it, by its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The key that signed it, by its thumbprint (RFC 7638, SHA-256, base64url).
    pub key_thumbprint: String,
    /// With which algorithm.
    pub algorithm: Algorithm,
    /// For whom it is.
    pub audience: Vec<String>,
    /// The one tenant it is for.
    pub tenant: TenantId,
    /// Who acts.
    pub subject: SubjectId,
    /// Whether a machine acts.
    pub machine: bool,
    /// What the principal may be inside the tenant.
    pub roles: Vec<Role>,
    /// OAuth scopes granted to the client.
    pub scope: Vec<String>,
    /// The OAuth client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// When it was issued, in seconds since 1970-01-01 UTC.
    pub issued_at: Timestamp,
    /// When it expires, in seconds since 1970-01-01 UTC.
    pub expires_at: Timestamp,
    /// When the principal last proved who it is, in seconds since 1970-01-01 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<Timestamp>,
    /// How (RFC 8176).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// Through which connection of the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The tenant's epoch when it was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_epoch: Option<u32>,
    /// Who really acts, on the subject's behalf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<SubjectId>,
    /// The key it is bound to, by its thumbprint (RFC 9449 6.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_to: Option<String>,
}

impl From<VerifiedClaims> for TokenFacts {
    fn from(claims: VerifiedClaims) -> Self {
        use base64ct::Encoding;
        Self {
            issuer: claims.issuer.as_ref().to_owned(),
            profile: claims.profile,
            kid: claims.kid.map(|kid| kid.as_ref().to_owned()),
            key_thumbprint: base64ct::Base64UrlUnpadded::encode_string(&claims.thumbprint),
            algorithm: claims.algorithm,
            audience: claims.audience,
            tenant: claims.tenant,
            machine: claims.principal.is_machine(),
            subject: claims.principal.subject().clone(),
            roles: claims.roles,
            scope: claims.scope,
            client_id: claims.client_id,
            jti: claims.jti,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            auth_time: claims.auth_time,
            amr: claims.amr,
            connection: claims.connection,
            tenant_epoch: claims.tenant_epoch,
            actor: claims.actor,
            bound_to: claims.bound_to.map(|jkt| jkt.as_ref().to_owned()),
        }
    }
}

/// A signed payload, read claim by claim.
pub(super) struct Claims<'p>(pub(super) &'p Object<'p>);

impl<'p> Claims<'p> {
    /// The issuer's tokens of another kind (ID, logout) must not pass for access tokens.
    fn check_kind(&self, rules: &Rules) -> Result<(), TokenError> {
        for (name, value) in rules.traits.fixed {
            let found = self.required_text(name)?;
            if found != *value {
                return Err(TokenError::invalid(*name, "it belongs to another kind of token"));
            }
        }
        match rules.traits.foreign.iter().find(|name| self.0.get(name).is_some()) {
            Some(name) => Err(TokenError::invalid(*name, "it belongs to another kind of token")),
            None => Ok(()),
        }
    }

    /// RFC 7519 4.1.3, RFC 9068 4: at least one of ours.
    pub(super) fn audience(&self, claim: &str, ours: &[String]) -> Result<Vec<String>, TokenError> {
        const EXPECTED: &str = "a string or an array of strings";
        let name = || Cow::Owned(claim.to_owned());
        let found = match self.0.get(claim) {
            None => return Err(TokenError::missing(name())),
            Some(Json::String(one)) => vec![one.as_ref().to_owned()],
            Some(Json::Array(many)) => {
                strings(many).ok_or_else(|| TokenError::wrong_type(name(), EXPECTED))?
            }
            Some(_) => return Err(TokenError::wrong_type(name(), EXPECTED)),
        };
        if found.iter().any(|audience| ours.contains(audience)) {
            return Ok(found);
        }
        Err(TokenError::AudienceMismatch { found: excerpt(&found.join(" ")) })
    }

    /// `exp`, `nbf` and `iat` (RFC 7519 4.1.4 to 4.1.6), and the longest life allowed (J-12).
    pub(super) fn times(
        &self,
        leeway: Duration,
        max_lifetime: Duration,
        now: Timestamp,
    ) -> Result<Times, TokenError> {
        let expires = self.date("exp")?.ok_or_else(|| TokenError::missing("exp"))?.floor;
        let not_before = self.date("nbf")?.map(|date| date.ceil);
        let issued_at = self.date("iat")?.ok_or_else(|| TokenError::missing("iat"))?.floor;
        if expires + leeway <= now {
            return Err(TokenError::Expired { expired: expires, now });
        }
        if let Some(not_before) = not_before
            && not_before > now + leeway
        {
            return Err(TokenError::NotYetValid { not_before, now });
        }
        if issued_at > now + leeway {
            return Err(TokenError::IssuedInFuture { issued_at, now });
        }
        let latest = issued_at.min(now) + max_lifetime;
        if expires > latest + leeway {
            let max_seconds = max_lifetime.as_secs();
            return Err(TokenError::LifetimeTooLong { expires, max_seconds });
        }
        Ok(Times { issued_at, expires_at: expires.min(latest) })
    }

    /// When the person showed something (OIDC Core 2).
    pub(super) fn auth_time(&self) -> Result<Option<Timestamp>, TokenError> {
        Ok(self.date("auth_time")?.map(|date| date.floor))
    }

    /// When a proof was made.
    pub(super) fn issued_at(&self) -> Result<Timestamp, TokenError> {
        Ok(self.date("iat")?.ok_or_else(|| TokenError::missing("iat"))?.floor)
    }

    /// When an assertion expires: soon, whether or not it says when it was made.
    pub(super) fn short_life(
        &self,
        leeway: Duration,
        max_lifetime: Duration,
        now: Timestamp,
    ) -> Result<Timestamp, TokenError> {
        let expires = self.date("exp")?.ok_or_else(|| TokenError::missing("exp"))?.floor;
        if expires + leeway <= now {
            return Err(TokenError::Expired { expired: expires, now });
        }
        if expires > now + max_lifetime + leeway {
            let max_seconds = max_lifetime.as_secs();
            return Err(TokenError::LifetimeTooLong { expires, max_seconds });
        }
        if let Some(not_before) = self.date("nbf")?.map(|date| date.ceil)
            && not_before > now + leeway
        {
            return Err(TokenError::NotYetValid { not_before, now });
        }
        if let Some(issued_at) = self.date("iat")?.map(|date| date.floor)
            && issued_at > now + leeway
        {
            return Err(TokenError::IssuedInFuture { issued_at, now });
        }
        Ok(expires)
    }

    /// Exactly one tenant (M-04).
    fn tenant(&self, rules: &Rules) -> Result<TenantId, TokenError> {
        let rule = &rules.tenant;
        let claim = || rule.claim.to_string();
        let named = match self.at(&rule.claim)? {
            None => return Err(missing_tenant(rule)),
            Some(value) => tenants_in(value, rule)?,
        };
        let external = match named.as_slice() {
            [] => return Err(missing_tenant(rule)),
            [one] => *one,
            several => {
                return Err(TokenError::TenantAmbiguous { claim: claim(), count: several.len() });
            }
        };
        let tenant = match rule.aliases.get(external) {
            Some(tenant) => tenant.clone(),
            None => external
                .parse()
                .map_err(|_| TokenError::TenantInvalid { tenant: excerpt(external) })?,
        };
        if !rule.admits(&tenant) {
            return Err(TokenError::TenantNotOfIssuer { issuer: Arc::clone(&rules.name), tenant });
        }
        if let Some(name) = rules.traits.within_issuer {
            let part = self.required_text(name)?;
            if part.is_empty() || !rules.name.split('/').any(|segment| segment == part) {
                return Err(TokenError::invalid(name, "it is not the one in `iss`"));
            }
        }
        Ok(tenant)
    }

    fn principal(&self, rules: &Rules, client: Option<&str>) -> Result<Principal, TokenError> {
        let sub = self.required_text("sub")?;
        let subject = || {
            sub.parse::<SubjectId>()
                .map_err(|_| TokenError::invalid("sub", "expected 1 to 255 visible characters"))
        };
        let unclear = |why| Err(TokenError::PrincipalUnclear { why });
        let machine = match &rules.traits.actor {
            ActorRule::SubjectPrefix { machine, .. } if sub.starts_with(machine) => true,
            ActorRule::SubjectPrefix { user, .. } if sub.starts_with(user) => false,
            ActorRule::SubjectPrefix { .. } => {
                return unclear("`sub` begins neither with `m:` nor with `u:`");
            }
            ActorRule::SubjectIsClient => client == Some(sub),
            ActorRule::SubjectSuffix { user_has, .. } if sub.contains(*user_has) => false,
            ActorRule::SubjectSuffix { machine, .. } if sub.ends_with(machine) => true,
            ActorRule::SubjectSuffix { .. } => return unclear("`sub` is of neither form"),
            ActorRule::UserClaim(claim) => match (self.text(claim)?, client == Some(sub)) {
                (Some(_), false) => false,
                (None, true) => true,
                _ => return unclear("the person's claim and `sub` disagree"),
            },
            ActorRule::MachineClaim { claim, value, user_claim } => {
                match (self.text(claim)?, self.0.get(user_claim).is_some()) {
                    (Some(found), false) if found == *value => true,
                    (Some(found), true) if found != *value => false,
                    (None, true) => false,
                    _ => return unclear("neither `idtyp` says app nor `scp` a person's scopes"),
                }
            }
            ActorRule::ClientClaim(claim) => match self.text(claim)? {
                None => false,
                Some(found) if client == Some(found) => true,
                Some(_) => return unclear("the service account's client is not the token's"),
            },
        };
        Ok(if machine { Principal::Machine(subject()?) } else { Principal::User(subject()?) })
    }

    fn client_id(&self, rules: &Rules) -> Result<Option<&'p str>, TokenError> {
        let present = rules.traits.client.iter().find(|name| self.0.get(name).is_some());
        match present {
            None => Ok(None),
            Some(name) => self.required_text(name).map(Some),
        }
    }

    /// The roles of this tenant. Nothing with the tenants' prefix is one.
    fn roles(&self, rules: &Rules) -> Result<Vec<Role>, TokenError> {
        const MAX_ROLES: usize = 256;
        let Some(ClaimRule { claim, prefix }) = &rules.roles else { return Ok(Vec::new()) };
        let wrong_type =
            || TokenError::wrong_type(claim.to_string(), "a string or an array of strings");
        let found: Vec<&str> = match self.at(claim)? {
            None => return Ok(Vec::new()),
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(many)) => {
                many.iter().map(Json::as_str).collect::<Option<_>>().ok_or_else(wrong_type)?
            }
            Some(_) => return Err(wrong_type()),
        };
        let is_tenant = |name: &str| {
            rules.tenant.prefix.as_deref().is_some_and(|prefix| name.starts_with(prefix))
        };
        let roles: Vec<Role> = found
            .into_iter()
            .filter(|name| !is_tenant(name))
            .filter_map(|name| match prefix {
                None => Some(name),
                Some(prefix) => name.strip_prefix(prefix.as_str()),
            })
            .map(Role::from)
            .collect();
        let sound = |role: &Role| {
            let name = role.as_str();
            !name.is_empty() && name.len() <= 255 && !name.chars().any(char::is_control)
        };
        if roles.len() > MAX_ROLES || !roles.iter().all(sound) {
            let why = "expected at most 256 roles of 1 to 255 characters";
            return Err(TokenError::invalid(claim.to_string(), why));
        }
        Ok(roles)
    }

    fn tenant_epoch(&self, rules: &Rules) -> Result<Option<u32>, TokenError> {
        const EXPECTED: &str = "a whole number below 2^32";
        match self.0.get("tep") {
            Some(_) if !rules.traits.own_claims => Ok(None),
            None => Ok(None),
            Some(Json::Number(Number::Whole(epoch))) => {
                u32::try_from(*epoch).map(Some).map_err(|_| TokenError::wrong_type("tep", EXPECTED))
            }
            Some(_) => Err(TokenError::wrong_type("tep", EXPECTED)),
        }
    }

    fn actor(&self) -> Result<Option<SubjectId>, TokenError> {
        let Some(act) = self.0.get("act") else { return Ok(None) };
        let sub = act.as_object().and_then(|act| act.get("sub")).and_then(Json::as_str);
        let sub = sub.and_then(|sub| sub.parse().ok());
        sub.map(Some).ok_or_else(|| TokenError::wrong_type("act", "an object with a `sub`"))
    }

    fn own_text(&self, rules: &Rules, name: &'static str) -> Result<Option<String>, TokenError> {
        if !rules.traits.own_claims {
            return Ok(None);
        }
        Ok(self.text(name)?.map(str::to_owned))
    }

    /// Words separated by spaces, or a list of words (RFC 6749 3.3, RFC 9068 2.2.3).
    fn words(&self, name: &'static str) -> Result<Vec<String>, TokenError> {
        match self.0.get(name) {
            Some(Json::String(words)) => {
                Ok(words.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect())
            }
            _ => Ok(self.list(name)?.unwrap_or_default()),
        }
    }

    fn list(&self, name: &'static str) -> Result<Option<Vec<String>>, TokenError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Json::Array(items)) => strings(items)
                .map(Some)
                .ok_or_else(|| TokenError::wrong_type(name, "an array of strings")),
            Some(_) => Err(TokenError::wrong_type(name, "an array of strings")),
        }
    }

    pub(super) fn required_text(&self, name: &'static str) -> Result<&'p str, TokenError> {
        self.text(name)?.ok_or_else(|| TokenError::missing(name))
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<&'p str>, TokenError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Json::String(text)) if text.is_empty() => {
                Err(TokenError::invalid(name, "it is empty"))
            }
            Some(Json::String(text)) => Ok(Some(text.as_ref())),
            Some(_) => Err(TokenError::wrong_type(name, "a string")),
        }
    }

    /// A `NumericDate` (RFC 7519 2): whole, or with a fraction.
    fn date(&self, name: &'static str) -> Result<Option<Date>, TokenError> {
        /// Beyond 2^53 a double no longer knows its seconds.
        const LATEST: u64 = 1 << 53;
        let out_of_range = || TokenError::invalid(name, "it is out of range");
        match self.0.get(name) {
            None => Ok(None),
            Some(Json::Number(Number::Whole(seconds))) if *seconds <= LATEST => {
                Ok(Some(Date { floor: Timestamp(*seconds), ceil: Timestamp(*seconds) }))
            }
            Some(Json::Number(Number::Float(seconds)))
                if (0.0..=LATEST as f64).contains(seconds) =>
            {
                let floor = Timestamp(seconds.floor() as u64);
                Ok(Some(Date { floor, ceil: Timestamp(seconds.ceil() as u64) }))
            }
            Some(Json::Number(_)) => Err(out_of_range()),
            Some(_) => Err(TokenError::wrong_type(name, "a number of seconds")),
        }
    }

    /// The claim at the end of a path; `None` when it or one on the way is not there.
    fn at(&self, path: &ClaimPath) -> Result<Option<&'p Json<'p>>, TokenError> {
        let wrong_type =
            || TokenError::wrong_type(path.to_string(), "inside claims that are objects");
        let Some((first, rest)) = path.segments().split_first() else { return Ok(None) };
        let mut found = self.0.get(first);
        for name in rest {
            let Some(value) = found else { return Ok(None) };
            found = value.as_object().ok_or_else(wrong_type)?.get(name);
        }
        Ok(found)
    }
}

/// When a token is valid.
pub(super) struct Times {
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// A `NumericDate`, rounded both ways, so that a fraction is always read to the token's
/// disadvantage.
struct Date {
    floor: Timestamp,
    ceil: Timestamp,
}

/// The tenants a claim names.
fn tenants_in<'v>(value: &'v Json<'_>, rule: &TenantRule) -> Result<Vec<&'v str>, TokenError> {
    let wrong_type = || {
        TokenError::wrong_type(
            rule.claim.to_string(),
            "a string, or a list of strings with a prefix",
        )
    };
    let after_prefix = |name: &'v str| match rule.prefix.as_deref() {
        None => Some(name),
        Some(prefix) => name.strip_prefix(prefix),
    };
    match value {
        Json::String(one) => Ok(after_prefix(one).into_iter().collect()),
        Json::Array(_) if rule.prefix.is_none() && !rule.only_tenants => {
            Err(TokenError::TenantListWithoutPrefix { claim: rule.claim.to_string() })
        }
        Json::Array(many) => {
            let names: Option<Vec<&str>> = many.iter().map(Json::as_str).collect();
            Ok(names.ok_or_else(wrong_type)?.into_iter().filter_map(after_prefix).collect())
        }
        Json::Object(map) if rule.only_tenants => {
            Ok(map.names().filter_map(after_prefix).collect())
        }
        _ => Err(wrong_type()),
    }
}

fn missing_tenant(rule: &TenantRule) -> TokenError {
    TokenError::TenantMissing { claim: rule.claim.to_string() }
}

fn strings(items: &[Json<'_>]) -> Option<Vec<String>> {
    items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}
