//! What tokens of each kind of issuer look like, as data.
//!
//! A [`Profile`] is a row of this file, not a branch of the verifier: the order of the checks is
//! the same for all, and a row can only say what the checks look for.

use serde::{Deserialize, Serialize};

use super::Algorithm;

/// A kind of issuer whose tokens are understood.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Profile {
    /// Partywall's own issuer, and any that follows RFC 9068 and names its tenant in `tid`.
    Partywall,
    /// Amazon Cognito user pools: access tokens, the tenant among the groups.
    Cognito,
    /// Auth0 with Organizations.
    Auth0,
    /// Okta custom authorization servers. The tenant claim must be configured.
    Okta,
    /// Microsoft Entra ID, v2.0 tokens, one issuer per directory.
    Entra,
    /// Keycloak with Organizations.
    Keycloak,
    /// Any other OpenID Connect or OAuth issuer. The tenant claim must be configured.
    Generic,
}

impl Profile {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Partywall => "partywall",
            Self::Cognito => "cognito",
            Self::Auth0 => "auth0",
            Self::Okta => "okta",
            Self::Entra => "entra",
            Self::Keycloak => "keycloak",
            Self::Generic => "generic",
        }
    }

    pub(super) fn traits(self) -> &'static Traits {
        match self {
            Self::Partywall => &PARTYWALL,
            Self::Cognito => &COGNITO,
            Self::Auth0 => &AUTH0,
            Self::Okta => &OKTA,
            Self::Entra => &ENTRA,
            Self::Keycloak => &KEYCLOAK,
            Self::Generic => &GENERIC,
        }
    }
}

/// What to look for in a profile's tokens. `iss`, `sub`, `exp` and `iat` are always required.
pub(super) struct Traits {
    /// The header's `typ` must be one of these.
    pub(super) typ: &'static [&'static str],
    /// A header without `typ` will do. Only for issuers that cannot be made to send one.
    pub(super) typ_optional: bool,
    /// A header without `kid` will do when exactly one key fits.
    pub(super) kid_optional: bool,
    /// The algorithms allowed unless configured otherwise.
    pub(super) algorithms: &'static [Algorithm],
    /// Further claims that must be there, all of them text.
    pub(super) required: &'static [&'static str],
    /// Further times that must be there.
    pub(super) required_dates: &'static [&'static str],
    /// Claims that must have exactly this value: they tell access tokens from the issuer's others.
    pub(super) fixed: &'static [(&'static str, &'static str)],
    /// Claims whose presence gives away another kind of token.
    pub(super) foreign: &'static [&'static str],
    /// The claim that names for whom the token is.
    pub(super) audience: &'static str,
    /// The claims that may name the OAuth client; the first that is present does.
    pub(super) client: &'static [&'static str],
    /// Where the tenant is, unless configured otherwise.
    pub(super) tenant: Option<TenantRow>,
    /// The path to the roles, unless configured otherwise.
    pub(super) roles: &'static [&'static str],
    /// The claim that lists OAuth scopes.
    pub(super) scope: &'static str,
    /// The claim whose value must be a segment of the path of `iss`.
    pub(super) within_issuer: Option<&'static str>,
    /// How to tell machines from people.
    pub(super) actor: ActorRule,
    /// Whether `cid` and `tep` mean what they mean in Partywall's own tokens.
    pub(super) own_claims: bool,
}

/// Where a profile's tenant is.
pub(super) struct TenantRow {
    /// The claim.
    pub(super) claim: &'static str,
    /// In a list, the tenant is what follows this prefix.
    pub(super) prefix: Option<&'static str>,
    /// A list or a map of this claim can have nothing but tenants in it.
    pub(super) only_tenants: bool,
}

/// How a profile tells machines from people: always by what a person cannot choose (J-18).
pub(super) enum ActorRule {
    /// By disjoint prefixes of `sub`.
    SubjectPrefix { machine: &'static str, user: &'static str },
    /// A machine's `sub` is the client's id.
    SubjectIsClient,
    /// A machine's `sub` has this ending and no separator; a person's always has the separator.
    SubjectSuffix { machine: &'static str, user_has: char },
    /// A machine's token lacks this claim and its `sub` is the client's id; a person's has it.
    UserClaim(&'static str),
    /// A machine's token has this claim with this value; a person's has the other claim.
    MachineClaim { claim: &'static str, value: &'static str, user_claim: &'static str },
    /// A machine's token has this claim, equal to the client's id; a person's lacks it.
    ClientClaim(&'static str),
}

const NOT_ACCESS: &[&str] = &["events", "at_hash", "c_hash", "s_hash"];

const PARTYWALL: Traits = Traits {
    typ: &["at+jwt"],
    typ_optional: false,
    kid_optional: false,
    algorithms: &[Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256],
    // RFC 9068 2.2.
    required: &["client_id", "jti"],
    required_dates: &[],
    fixed: &[],
    foreign: NOT_ACCESS,
    audience: "aud",
    client: &["client_id"],
    tenant: Some(TenantRow { claim: "tid", prefix: None, only_tenants: false }),
    roles: &["roles"],
    scope: "scope",
    within_issuer: None,
    actor: ActorRule::SubjectPrefix { machine: "m:", user: "u:" },
    own_claims: true,
};

/// Amazon Cognito, "Understanding the access token": no `typ`, no `aud`; `client_id` says for whom.
/// Self-service attributes (`custom:tenant_id`) are not in access tokens, groups are (B-23).
const COGNITO: Traits = Traits {
    typ: &["JWT", "at+jwt"],
    typ_optional: true,
    kid_optional: false,
    algorithms: &[Algorithm::Rs256],
    required: &["client_id", "jti"],
    required_dates: &[],
    fixed: &[("token_use", "access")],
    foreign: NOT_ACCESS,
    audience: "client_id",
    client: &["client_id"],
    tenant: Some(TenantRow {
        claim: "cognito:groups",
        prefix: Some("tenant:"),
        only_tenants: false,
    }),
    roles: &["cognito:groups"],
    scope: "scope",
    within_issuer: None,
    actor: ActorRule::SubjectIsClient,
    own_claims: false,
};

/// Auth0, "Access Token Profiles" and "Organizations". A person's `sub` is `connection|id`, a
/// machine's is `client@clients`. An `org_id` needs an alias: it has capitals.
const AUTH0: Traits = Traits {
    typ: &["JWT", "at+jwt"],
    typ_optional: false,
    kid_optional: false,
    algorithms: &[Algorithm::Rs256],
    required: &[],
    required_dates: &[],
    fixed: &[],
    foreign: NOT_ACCESS,
    audience: "aud",
    client: &["client_id", "azp"],
    tenant: Some(TenantRow { claim: "org_id", prefix: None, only_tenants: false }),
    roles: &[],
    scope: "scope",
    within_issuer: None,
    actor: ActorRule::SubjectSuffix { machine: "@clients", user_has: '|' },
    own_claims: false,
};

/// Okta, "Access tokens" of custom authorization servers. `cid` is the client, `uid` the person.
const OKTA: Traits = Traits {
    typ: &["JWT", "at+jwt"],
    typ_optional: true,
    kid_optional: false,
    algorithms: &[Algorithm::Rs256],
    required: &["cid", "jti"],
    required_dates: &[],
    fixed: &[],
    foreign: NOT_ACCESS,
    audience: "aud",
    client: &["cid"],
    tenant: None,
    roles: &["groups"],
    scope: "scp",
    within_issuer: None,
    actor: ActorRule::UserClaim("uid"),
    own_claims: false,
};

/// Microsoft identity platform, "Access token claims reference", v2.0. The directory (`tid`) is
/// part of the issuer, so that each directory is an issuer of its own here. Machines are told by
/// the optional claim `idtyp`, which the application's manifest must ask for.
const ENTRA: Traits = Traits {
    typ: &["JWT", "at+jwt"],
    typ_optional: false,
    kid_optional: false,
    algorithms: &[Algorithm::Rs256],
    required: &["tid", "oid"],
    required_dates: &["nbf"],
    fixed: &[("ver", "2.0")],
    foreign: NOT_ACCESS,
    audience: "aud",
    client: &["azp"],
    tenant: Some(TenantRow { claim: "tid", prefix: None, only_tenants: false }),
    roles: &["roles"],
    scope: "scp",
    within_issuer: Some("tid"),
    actor: ActorRule::MachineClaim { claim: "idtyp", value: "app", user_claim: "scp" },
    own_claims: false,
};

/// Keycloak. The payload's own `typ` tells access tokens from ID, refresh and logout tokens; the
/// claim `organization` is a list or a map of the organizations chosen at sign-in.
const KEYCLOAK: Traits = Traits {
    typ: &["JWT", "at+jwt"],
    typ_optional: false,
    kid_optional: false,
    algorithms: &[Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa],
    required: &["azp", "jti"],
    required_dates: &[],
    fixed: &[("typ", "Bearer")],
    foreign: NOT_ACCESS,
    audience: "aud",
    client: &["azp"],
    tenant: Some(TenantRow { claim: "organization", prefix: None, only_tenants: true }),
    roles: &["realm_access", "roles"],
    scope: "scope",
    within_issuer: None,
    actor: ActorRule::ClientClaim("client_id"),
    own_claims: false,
};

const GENERIC: Traits = Traits {
    typ: &["JWT", "at+jwt"],
    typ_optional: true,
    kid_optional: true,
    algorithms: &[Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa],
    required: &[],
    required_dates: &[],
    fixed: &[],
    foreign: NOT_ACCESS,
    audience: "aud",
    client: &["client_id", "azp"],
    tenant: None,
    roles: &[],
    scope: "scope",
    within_issuer: None,
    actor: ActorRule::SubjectIsClient,
    own_claims: false,
};
