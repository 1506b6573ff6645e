//! Connections: a tenant's own identity providers, as registered with us. Registering one trusts
//! it with who is who in that tenant, and in no other (I-03).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use partywall::{Role, TenantId, Timestamp, token::Algorithm};
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, schema::Type},
};

use super::machine::roles_are_sound;
use crate::{
    federation,
    random::{self, RandomError},
};

/// A connection's id: `c-` and 26 random characters. It is the `cid` of tokens, and part of the
/// addresses its provider calls.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConnectionId(String);

impl ConnectionId {
    /// The id as it appears in tokens and addresses.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn draw(random: &dyn aws_lc_rs::rand::SecureRandom) -> Result<Self, RandomError> {
        Ok(Self(format!("c-{}", random::opaque_id(random)?)))
    }
}

impl FromStr for ConnectionId {
    type Err = InvalidConnection;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        match id.strip_prefix("c-") {
            Some(rest) if random::is_opaque_id(rest) => Ok(Self(id.to_owned())),
            _ => Err(InvalidConnection::Id),
        }
    }
}

impl TryFrom<String> for ConnectionId {
    type Error = InvalidConnection;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        id.parse()
    }
}

impl From<ConnectionId> for String {
    fn from(id: ConnectionId) -> Self {
        id.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tenant's own identity provider, as registered with us.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Whose it is. It vouches for members of this tenant and of no other.
    pub tenant: TenantId,
    /// What people read on the button that leads to it.
    pub name: String,
    /// Whether it can be used.
    pub status: ConnectionStatus,
    /// How it is reached, and by what it is believed.
    pub provider: IdentityProvider,
    /// What its word is good for.
    pub rules: ConnectionRules,
    /// Its client secret or our private keys for it, sealed; see `federation::secrets`.
    pub(crate) sealed: Option<Vec<u8>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// Counts changes.
    pub version: u64,
}

impl Connection {
    /// Whether people may sign in through it. One that only links lets nobody in (B-12).
    pub fn admits(&self) -> bool {
        self.status == ConnectionStatus::Active && !self.rules.link_only
    }
}

/// Whether a connection can be used.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionStatus {
    /// It is being set up: it can be tried, and lets nobody in.
    Draft,
    /// People sign in through it.
    Active,
    /// Refused everywhere, at once (F-04).
    Disabled,
}

impl ConnectionStatus {
    pub(crate) const ALL: [Self; 3] = [Self::Draft, Self::Active, Self::Disabled];

    /// The word it is stored and shown as.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

/// How a tenant's provider is reached, and by what it is believed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "protocol", rename_all = "snake_case")]
pub enum IdentityProvider {
    /// SAML 2.0.
    Saml(SamlProvider),
    /// OpenID Connect.
    Oidc(OidcProvider),
}

/// Either provider with its protocol as one of its members. What is derived would have neither: its
/// parts forbid each other's members.
impl PartialSchema for IdentityProvider {
    fn schema() -> RefOr<Schema> {
        let with = |protocol: &str, provider: RefOr<Schema>| match provider {
            RefOr::T(Schema::Object(mut object)) => {
                let named =
                    ObjectBuilder::new().schema_type(Type::String).enum_values(Some([protocol]));
                object.properties.insert("protocol".to_owned(), named.build().into());
                object.required.push("protocol".to_owned());
                RefOr::T(Schema::Object(object))
            }
            other => other,
        };
        let either = OneOfBuilder::new()
            .description(Some("How a tenant's provider is reached, and by what it is believed."))
            .item(with("saml", SamlProvider::schema()))
            .item(with("oidc", OidcProvider::schema()));
        RefOr::T(Schema::OneOf(either.build()))
    }
}

impl ToSchema for IdentityProvider {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        SamlProvider::schemas(schemas);
        OidcProvider::schemas(schemas);
    }
}

impl IdentityProvider {
    /// The protocol's name.
    pub fn protocol(&self) -> &'static str {
        match self {
            Self::Saml(_) => "saml",
            Self::Oidc(_) => "oidc",
        }
    }
}

/// A SAML 2.0 identity provider, as its metadata describes it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SamlProvider {
    /// Its entity ID: who must have issued an assertion.
    pub entity_id: String,
    /// Where people are sent by HTTP-Redirect.
    #[serde(default)]
    pub sso_redirect: Option<String>,
    /// Where they are sent by HTTP-POST, if there is no other way.
    #[serde(default)]
    pub sso_post: Option<String>,
    /// Where it is told by HTTP-Redirect that somebody signs out.
    #[serde(default)]
    pub slo_redirect: Option<String>,
    /// The same, by HTTP-POST.
    #[serde(default)]
    pub slo_post: Option<String>,
    /// The certificates by which its signatures are verified: one, or two while it changes its
    /// key. PEM, or the base64 of metadata.
    pub certificates: Vec<String>,
    /// Whether somebody may arrive who did not ask to (S-11).
    #[serde(default)]
    pub idp_initiated: bool,
    /// Whether AES-CBC is taken for encrypted assertions, beside AES-GCM (S-12).
    #[serde(default)]
    pub allow_cbc: bool,
    /// The attribute that is the e-mail address; the usual names, where it says nothing.
    #[serde(default)]
    pub email_attribute: Option<String>,
    /// The attribute that is the person's name; the usual names, where it says nothing.
    #[serde(default)]
    pub name_attribute: Option<String>,
    /// The attribute that lists groups; the usual names, where it says nothing.
    #[serde(default)]
    pub groups_attribute: Option<String>,
    /// The authentication contexts by which it says that two factors were shown, beside the usual
    /// ones.
    #[serde(default)]
    pub multi_factor_contexts: BTreeSet<String>,
}

/// An OpenID Connect provider.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcProvider {
    /// Its issuer, exactly as its discovery document and its tokens say it.
    pub issuer: String,
    /// Who we are to it.
    pub client_id: String,
    /// Whose habits it has.
    #[serde(default)]
    pub profile: OidcProfile,
    /// What is asked for beside `openid`; the profile's, where it says nothing.
    #[serde(default)]
    pub scopes: Option<BTreeSet<String>>,
    /// The claim that is the person's name; the profile's, where it says nothing.
    #[serde(default)]
    pub name_claim: Option<String>,
    /// The claim that lists groups; the profile's, where it says nothing.
    #[serde(default)]
    pub groups_claim: Option<String>,
    /// The claim that is the e-mail address, where it is not `email`. Its address counts as not
    /// verified.
    #[serde(default)]
    pub email_claim: Option<String>,
    /// The algorithms it may sign ID tokens with; the profile's, where it says nothing.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub algorithms: Option<BTreeSet<Algorithm>>,
    /// Google: the organisation whose accounts are meant, which every ID token must name (`hd`).
    #[serde(default)]
    pub hosted_domain: Option<String>,
    /// Whether its UserInfo endpoint is asked, too; as the profile does, where it says nothing.
    #[serde(default)]
    pub user_info: Option<bool>,
}

impl OidcProvider {
    /// Any provider, by its issuer and by who we are to it.
    pub fn new(issuer: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            client_id: client_id.into(),
            profile: OidcProfile::Generic,
            scopes: None,
            name_claim: None,
            groups_claim: None,
            email_claim: None,
            algorithms: None,
            hosted_domain: None,
            user_info: None,
        }
    }
}

/// The habits of well-known providers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OidcProfile {
    /// Any provider.
    #[default]
    Generic,
    /// Microsoft Entra ID: an issuer per tenant, `tid` checked (I-28).
    EntraId,
    /// Okta.
    Okta,
    /// Google Workspace: `hd` checked.
    Google,
    /// Auth0.
    Auth0,
    /// Keycloak.
    Keycloak,
    /// Amazon Cognito.
    Cognito,
}

/// What a provider's word is good for in its tenant. Nothing here is the provider's to say (F-09).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionRules {
    /// Whether somebody unknown becomes a user when they first arrive, with an address of a domain
    /// the tenant has proved to be its own.
    pub just_in_time: bool,
    /// What whoever arrives may be inside the tenant, whatever their groups.
    #[schema(value_type = Vec<String>)]
    pub default_roles: BTreeSet<Role>,
    /// Which of the provider's groups give which roles. The roles named here are the provider's to
    /// give and to take; all others are not.
    #[schema(value_type = Object)]
    pub group_roles: BTreeMap<String, BTreeSet<Role>>,
    /// Whether it can be linked to a user who signs in otherwise, and lets nobody in itself.
    pub link_only: bool,
    /// Whether somebody unknown is taken for the user with the same address, where that user's was
    /// verified here, the provider says it verified theirs, and the tenant has proved the domain
    /// (I-02).
    pub link_by_email: bool,
    /// When two factors count as shown.
    pub multi_factor: UpstreamMultiFactor,
}

/// When two factors count as shown at a tenant's provider.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamMultiFactor {
    /// When the provider says so of this sign-in.
    #[default]
    AsSaid,
    /// Always: the tenant knows that its provider lets nobody pass with less.
    Always,
    /// Never.
    Never,
}

impl ConnectionRules {
    /// Every role the rules can give.
    pub fn roles(&self) -> BTreeSet<Role> {
        self.default_roles.iter().chain(self.group_roles.values().flatten()).cloned().collect()
    }

    /// What somebody in `groups` may be, who was `before`. Roles that the provider's groups give
    /// are exactly those their groups give now; others stay.
    pub(crate) fn roles_of(&self, before: &BTreeSet<Role>, groups: &[String]) -> BTreeSet<Role> {
        let governed: BTreeSet<&Role> = self.group_roles.values().flatten().collect();
        let given = groups.iter().filter_map(|group| self.group_roles.get(group)).flatten();
        let kept = before.iter().filter(|role| !governed.contains(role));
        kept.chain(given).chain(&self.default_roles).cloned().collect()
    }

    pub(super) fn check(&self) -> Result<(), InvalidConnection> {
        let named = |group: &String| (1..=256).contains(&group.len());
        if self.group_roles.len() > MAX_GROUPS || !self.group_roles.keys().all(named) {
            return Err(InvalidConnection::Groups);
        }
        if !roles_are_sound(&self.roles()) {
            return Err(InvalidConnection::Roles);
        }
        if self.link_only && self.just_in_time {
            return Err(InvalidConnection::LinkOnly);
        }
        Ok(())
    }
}

impl IdentityProvider {
    /// Refuses what could not be used, or would be believed by nothing (S-08). Run at every change
    /// (B-16). `http_too`: whether the operator allows addresses without TLS.
    pub(super) fn check(&self, http_too: bool) -> Result<(), InvalidConnection> {
        let address = |of: &str| {
            let url = Url::parse(of).ok();
            let secure =
                |url: &Url| url.scheme() == "https" || (http_too && url.scheme() == "http");
            let plain = |url: &Url| {
                url.host().is_some()
                    && url.username().is_empty()
                    && url.password().is_none()
                    && url.fragment().is_none()
            };
            of.len() <= MAX_ADDRESS && url.is_some_and(|url| secure(&url) && plain(&url))
        };
        match self {
            Self::Saml(saml) => {
                if !is_name(&saml.entity_id, MAX_ADDRESS) {
                    return Err(InvalidConnection::Issuer);
                }
                if saml.sso_redirect.is_none() && saml.sso_post.is_none() {
                    return Err(InvalidConnection::NoEndpoint);
                }
                let endpoints =
                    [&saml.sso_redirect, &saml.sso_post, &saml.slo_redirect, &saml.slo_post];
                if !endpoints.into_iter().flatten().all(|endpoint| address(endpoint)) {
                    return Err(InvalidConnection::Address);
                }
                for certificate in &saml.certificates {
                    partywall_saml::Certificate::from_text(certificate)
                        .map_err(|error| InvalidConnection::Certificate(error.to_string()))?;
                }
                if !(1..=2).contains(&saml.certificates.len()) {
                    return Err(InvalidConnection::Certificates);
                }
                Ok(())
            }
            Self::Oidc(oidc) => {
                if !address(&oidc.issuer)
                    || Url::parse(&oidc.issuer).is_ok_and(|url| url.query().is_some())
                {
                    return Err(InvalidConnection::Issuer);
                }
                if !is_name(&oidc.client_id, 255) {
                    return Err(InvalidConnection::Client);
                }
                federation::oidc::check_profile(oidc).map_err(InvalidConnection::Profile)
            }
        }
    }

    /// Whether a secret that was given for this one may be shown to `other`: it is for one issuer
    /// and one client there, or whoever changes the issuer is sent a secret nobody may read.
    pub(crate) fn shares_secret_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Saml(_), Self::Saml(_)) => true,
            (Self::Oidc(before), Self::Oidc(after)) => {
                before.issuer == after.issuer && before.client_id == after.client_id
            }
            _ => false,
        }
    }

    /// Whether `other` could name the same people otherwise, or be believed by other keys alone:
    /// what a change after people were linked needs a second look for (I-04).
    pub(crate) fn redefines_identity(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Saml(before), Self::Saml(after)) => {
                before.entity_id != after.entity_id
                    || !before.certificates.iter().any(|old| after.certificates.contains(old))
            }
            (Self::Oidc(before), Self::Oidc(after)) => {
                before.issuer != after.issuer
                    || before.client_id != after.client_id
                    || before.profile != after.profile
                    || before.hosted_domain != after.hosted_domain
            }
            _ => true,
        }
    }
}

/// Neither empty nor padded, nor with anything that is not seen.
fn is_name(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.trim() == text
        && !text.chars().any(char::is_control)
}

pub(super) fn check_name(name: &str) -> Result<(), InvalidConnection> {
    if is_name(name, 64) { Ok(()) } else { Err(InvalidConnection::Name) }
}

const MAX_ADDRESS: usize = 1024;
const MAX_GROUPS: usize = 200;

/// Why a connection, or a part of one, was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidConnection {
    /// Not a connection's id.
    #[error("not a connection id: expected c- and 26 characters of a-z and 2-7")]
    Id,
    /// Its name.
    #[error("a connection needs a name of 1 to 64 characters")]
    Name,
    /// The issuer or entity ID.
    #[error(
        "the issuer must be an https address without query, the entity ID 1 to 1024 characters"
    )]
    Issuer,
    /// The settings do not go with the profile.
    #[error("{0}")]
    Profile(&'static str),
    /// The client id.
    #[error("the client id must have 1 to 255 characters")]
    Client,
    /// No client secret where one is needed.
    #[error("an OIDC connection needs the client secret its provider gave out")]
    NoSecret,
    /// No way to send people there.
    #[error("the provider has no single sign-on address for HTTP-Redirect or HTTP-POST")]
    NoEndpoint,
    /// An address.
    #[error("the provider's addresses must be https, without user name or fragment")]
    Address,
    /// A certificate.
    #[error("a signing certificate cannot be used: {0}")]
    Certificate(String),
    /// None or too many certificates.
    #[error("the provider needs one signing certificate, or two while it changes its key")]
    Certificates,
    /// The mapping of groups.
    #[error("at most 200 groups may give roles, each with a name of 1 to 256 bytes")]
    Groups,
    /// The roles.
    #[error("at most 32 roles of up to 64 visible ASCII characters")]
    Roles,
    /// Contradiction.
    #[error("a connection that only links lets nobody join: turn one of the two off")]
    LinkOnly,
    /// Not the time for that step.
    #[error(
        "a SAML connection has one key of ours, or two while it changes: publish the next, use it, retire the other, in this order"
    )]
    Key,
    /// The metadata.
    #[error("the metadata cannot be used: {0}")]
    Metadata(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(names: &[&str]) -> BTreeSet<Role> {
        names.iter().map(|name| Role::from(*name)).collect()
    }

    #[test]
    fn f09_groups_give_and_take_the_roles_they_are_allowed_to() {
        let rules = ConnectionRules {
            default_roles: roles(&["reader"]),
            group_roles: [
                ("Finance".to_owned(), roles(&["clerk"])),
                ("Heads".to_owned(), roles(&["approver", "clerk"])),
            ]
            .into(),
            ..ConnectionRules::default()
        };
        let of = |before: &[&str], groups: &[&str]| {
            let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
            rules.roles_of(&roles(before), &groups)
        };
        assert_eq!(of(&[], &["Finance"]), roles(&["reader", "clerk"]));
        // What an administrator gave stays; what a group gave goes with the group.
        assert_eq!(of(&["auditor", "approver", "clerk"], &[]), roles(&["auditor", "reader"]));
        // A group is what it is called, to the letter, and a role is no group.
        assert_eq!(of(&[], &["finance", "tenant-admin", "clerk", "Finance "]), roles(&["reader"]));
    }

    #[test]
    fn s08_a_provider_that_could_not_be_believed_is_refused() {
        let saml = |certificates: Vec<String>| {
            IdentityProvider::Saml(SamlProvider {
                entity_id: "https://idp.test/metadata".to_owned(),
                sso_redirect: Some("https://idp.test/sso".to_owned()),
                certificates,
                ..SamlProvider::default()
            })
        };
        assert_eq!(saml(vec![]).check(false), Err(InvalidConnection::Certificates));
        assert!(matches!(
            saml(vec!["bm90IGEgY2VydGlmaWNhdGU=".to_owned()]).check(false),
            Err(InvalidConnection::Certificate(_))
        ));
        let oidc = |issuer: &str| IdentityProvider::Oidc(OidcProvider::new(issuer, "us"));
        assert_eq!(oidc("https://idp.test/t/1").check(false), Ok(()));
        assert_eq!(oidc("http://idp.test").check(true), Ok(()));
        for refused in [
            "http://idp.test",
            "https://a@idp.test",
            "https://idp.test/#x",
            "https://idp.test/?x",
            "ftp://idp.test",
            "idp.test",
            "",
        ] {
            assert!(oidc(refused).check(false).is_err(), "{refused}");
        }
    }
}
