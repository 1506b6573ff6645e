//! Whose tokens to accept: as configured ([`IssuerConfig`]) and as compiled for verifying
//! ([`TrustedIssuers`]).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    io::Read,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{
    digest::{Context, SHA256, digest},
    signature::ParsedPublicKey,
};
use serde::{Deserialize, Serialize};

use super::{
    Algorithm, KeySet, KeySetError, Profile, TokenError, TokenFacts, error::excerpt,
    jwk::PublicKey, jws::Header, profile::Traits,
};
use crate::{TenantId, Timestamp};

/// An issuer whose tokens are accepted, as written in `partywall.toml` under `[[issuers]]` and as
/// carried by the bundle. Unknown keys are errors.
///
/// ```
/// use partywall::token::IssuerConfig;
///
/// let cognito: IssuerConfig = serde_json::from_str(
///     r#"{
///         "issuer": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_example",
///         "profile": "cognito",
///         "jwks": { "file": "/etc/partywall/cognito.jwks.json" },
///         "audience": ["4fjo2example"],
///         "tenant": { "claim": "cognito:groups", "prefix": "tenant:" },
///         "aliases": { "AcmeCorp": "acme-7f3k" }
///     }"#,
/// )?;
/// # assert_eq!(cognito.audience, ["4fjo2example"]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct IssuerConfig {
    /// The `iss` of its tokens, compared byte by byte (RFC 8725 3.8).
    pub issuer: String,
    /// What its tokens look like.
    #[serde(default = "partywall_profile")]
    pub profile: Profile,
    /// Where its public keys are.
    pub jwks: KeySource,
    /// Who we are in its tokens. Empty: the audience all issuers share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<String>,
    /// The claim that says for whom a token is, when it is not the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience_claim: Option<String>,
    /// The algorithms its keys may be for. Empty: the profile's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<Algorithm>,
    /// Where a token names its tenant, when it is not where the profile says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<ClaimRule>,
    /// Where a token lists roles, when it is not where the profile says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<ClaimRule>,
    /// Tenants by the issuer's own names for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, TenantId>,
    /// The only tenants it may speak for, as for a customer's own issuer. Absent: any (I-07).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<BTreeSet<TenantId>>,
    /// Whether nobody speaks for its `tenants` who may speak for any: an issuer that names no
    /// tenants is refused for these, whatever it signs (I-07, P-06).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// How far its clock may be off, in seconds; at most 30 (J-11).
    #[serde(default = "default_leeway")]
    pub leeway_seconds: u32,
    /// The longest life of a token, in seconds (J-12).
    #[serde(default = "default_max_lifetime")]
    pub max_lifetime_seconds: u32,
}

impl IssuerConfig {
    /// An issuer with everything else as its profile has it.
    pub fn new(issuer: impl Into<String>, profile: Profile, jwks: KeySource) -> Self {
        Self {
            issuer: issuer.into(),
            profile,
            jwks,
            audience: Vec::new(),
            audience_claim: None,
            algorithms: Vec::new(),
            tenant: None,
            roles: None,
            aliases: BTreeMap::new(),
            tenants: None,
            exclusive: false,
            leeway_seconds: default_leeway(),
            max_lifetime_seconds: default_max_lifetime(),
        }
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where its keys must be fetched from, if they must.
    pub fn jwks_url(&self) -> Option<&str> {
        match &self.jwks {
            KeySource::Url(url) => Some(url),
            KeySource::Inline(_) | KeySource::File(_) => None,
        }
    }
}

/// Where an issuer's key set is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// In the configuration itself: `jwks = { inline = { keys = [ … ] } }`.
    Inline(serde_json::Value),
    /// In a file, read when the issuers are compiled.
    File(PathBuf),
    /// At an address: `https`, or `http` on this very machine.
    Url(String),
}

/// Where in a token something is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimRule {
    /// The claim.
    pub claim: ClaimPath,
    /// Take only what begins with this, and take what follows. Tenants in a list must have one, so
    /// that a role is never read as a tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// The name of a claim, or the names that lead to one inside other claims.
///
/// A name is taken as it is: `"https://example.com/tenant.id"` is one claim, and
/// `["realm_access", "roles"]` is a claim within a claim.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ClaimPath {
    /// A claim of the token.
    Name(String),
    /// A claim inside claims that are objects.
    Nested(Vec<String>),
}

impl ClaimPath {
    pub(super) fn segments(&self) -> &[String] {
        match self {
            Self::Name(name) => std::slice::from_ref(name),
            Self::Nested(names) => names,
        }
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.segments().join(" → "))
    }
}

impl From<&str> for ClaimPath {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

/// The issuers whose tokens are accepted, compiled: immutable, and cheap to clone.
#[derive(Clone, Default)]
pub struct TrustedIssuers(Arc<HashMap<Arc<str>, Arc<Issuer>>>);

impl TrustedIssuers {
    /// Checks what is configured and parses every key once.
    ///
    /// Issuers with a `url` start without keys: their tokens are refused with
    /// [`TokenError::KeysNotYetFetched`] until [`with_keys`](Self::with_keys).
    ///
    /// # Errors
    ///
    /// [`IssuerError`] names the issuer and what to change.
    pub fn compile(
        issuers: &[IssuerConfig],
        default_audience: &[String],
    ) -> Result<Self, IssuerError> {
        let mut compiled = HashMap::with_capacity(issuers.len());
        for config in issuers {
            let issuer = Issuer::compile(config, default_audience)
                .map_err(|why| IssuerError { issuer: config.issuer.clone(), why })?;
            if compiled.insert(Arc::clone(&issuer.rules.name), Arc::new(issuer)).is_some() {
                let why = IssuerFault::Twice;
                return Err(IssuerError { issuer: config.issuer.clone(), why });
            }
        }
        Ok(Self(Arc::new(with_exclusions(compiled))))
    }

    /// These issuers, with `keys` in place of what `issuer` had.
    ///
    /// A set with no key on the issuer's allow-list would refuse everybody: it changes nothing, and
    /// the last good one stays. So does the name of an issuer that is not trusted.
    #[must_use]
    pub fn with_keys(&self, issuer: &str, keys: KeySet) -> Self {
        let Some((name, known)) = self.0.get_key_value(issuer) else { return self.clone() };
        let Some(keys) = IssuerKeys::select(&known.rules, keys) else { return self.clone() };
        let (rules, key_url) = (Arc::clone(&known.rules), known.key_url.clone());
        let renewed = Issuer { rules, key_url, keys: Some(keys) };
        let mut issuers = HashMap::clone(&self.0);
        issuers.insert(Arc::clone(name), Arc::new(renewed));
        Self(Arc::new(issuers))
    }

    /// These issuers and `others`; of two of one name, the one here.
    pub(crate) fn and(&self, others: &Self) -> Self {
        let mut issuers = HashMap::clone(&others.0);
        issuers.extend(self.0.iter().map(|(name, issuer)| (Arc::clone(name), Arc::clone(issuer))));
        Self(Arc::new(with_exclusions(issuers)))
    }

    /// These issuers, with the keys fetched in `before` by those that would fetch them from the
    /// same place still. What an address that was given up once said is worth nothing.
    pub(crate) fn keeping_keys(&self, before: &Self) -> Self {
        let mut keeping = self.clone();
        for (name, issuer) in self.0.iter().filter(|(_, issuer)| issuer.key_url.is_some()) {
            let same = before.0.get(name).filter(|was| was.key_url == issuer.key_url);
            if let Some(keys) = same.and_then(|was| was.keys.as_ref()) {
                keeping = keeping.with_keys(name, keys.set.clone());
            }
        }
        keeping
    }

    /// Issuers whose keys are at an address, and the address, by name.
    #[cfg(feature = "http")]
    pub(crate) fn key_urls(&self) -> Vec<(String, String)> {
        let url = |issuer: &Arc<Issuer>| {
            Some((issuer.rules.name.as_ref().to_owned(), issuer.key_url.as_deref()?.to_owned()))
        };
        let mut urls: Vec<_> = self.0.values().filter_map(url).collect();
        urls.sort_unstable();
        urls
    }

    /// Whether tokens of `issuer` may be for `tenant`.
    pub(crate) fn may_speak_for(&self, issuer: &str, tenant: &TenantId) -> bool {
        self.0.get(issuer).is_some_and(|issuer| issuer.rules.tenant.admits(tenant))
    }

    /// The keys `issuer` has now.
    pub fn keys_of(&self, issuer: &str) -> Option<&KeySet> {
        self.0.get(issuer)?.keys.as_ref().map(|keys| &keys.set)
    }

    /// Whether `issuer` still has that key, under the rules it had when the key was used.
    pub(crate) fn trusts(&self, issuer: &str, key: &KeyFingerprint) -> bool {
        let keys = self.0.get(issuer).and_then(|issuer| issuer.keys.as_ref());
        keys.is_some_and(|keys| keys.keys.iter().any(|known| known.fingerprint == *key))
    }

    /// Changes when any issuer's rules do (audience, claim map, algorithms, tenants), and not with
    /// their keys.
    pub(crate) fn rules_fingerprint(&self) -> [u8; 32] {
        let mut digests: Vec<_> = self.0.values().map(|issuer| issuer.rules.digest).collect();
        digests.sort_unstable();
        let hash = digest(&SHA256, digests.as_flattened());
        hash.as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// What `token` proves, for people who look for the reason a token is refused. The facts grant
    /// nothing: no context can be made from them.
    ///
    /// # Errors
    ///
    /// The check that refuses the token.
    pub fn examine(&self, token: &str, now: Timestamp) -> Result<TokenFacts, TokenError> {
        super::verify(token, self, now).map(TokenFacts::from)
    }

    pub(super) fn get(&self, issuer: &str) -> Result<&Issuer, TokenError> {
        let untrusted = || TokenError::IssuerUntrusted { issuer: excerpt(issuer) };
        self.0.get(issuer).map(Arc::as_ref).ok_or_else(untrusted)
    }
}

impl fmt::Debug for TrustedIssuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Names a key *and* the rules it is trusted under: when the issuer's audience, aliases or tenants
/// change, what was verified before must be verified again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct KeyFingerprint([u8; 32]);

/// One issuer.
pub(super) struct Issuer {
    pub(super) rules: Arc<Rules>,
    /// Where its keys must be fetched from, if they must.
    key_url: Option<Arc<str>>,
    pub(super) keys: Option<IssuerKeys>,
}

/// What an issuer's tokens must look like.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) name: Arc<str>,
    pub(super) profile: Profile,
    pub(super) traits: &'static Traits,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) audience: Vec<String>,
    pub(super) audience_claim: String,
    pub(super) tenant: TenantRule,
    pub(super) roles: Option<ClaimRule>,
    pub(super) leeway: Duration,
    pub(super) max_lifetime: Duration,
    exclusive: bool,
    /// Of the configuration.
    configured: [u8; 32],
    /// Of all of the above.
    digest: [u8; 32],
}

/// Takes the tenants that some issuer has for itself from those that name none.
fn with_exclusions(mut issuers: HashMap<Arc<str>, Arc<Issuer>>) -> HashMap<Arc<str>, Arc<Issuer>> {
    let taken: BTreeSet<TenantId> = issuers
        .values()
        .filter(|issuer| issuer.rules.exclusive)
        .filter_map(|issuer| issuer.rules.tenant.tenants.as_ref())
        .flatten()
        .cloned()
        .collect();
    let taken = Arc::new(taken);
    for issuer in issuers.values_mut() {
        let tenant = &issuer.rules.tenant;
        if tenant.tenants.is_some() || tenant.except == taken {
            continue;
        }
        let rules = Arc::new(issuer.rules.excepting(&taken));
        // A key is trusted under rules: what was verified under others is verified again.
        let keys = issuer.keys.as_ref();
        let keys = keys.and_then(|keys| IssuerKeys::select(&rules, keys.set.clone()));
        *issuer = Arc::new(Issuer { rules, key_url: issuer.key_url.clone(), keys });
    }
    issuers
}

/// How to find the one tenant of a token.
#[derive(Clone)]
pub(super) struct TenantRule {
    pub(super) claim: ClaimPath,
    pub(super) prefix: Option<String>,
    /// The claim is a list or map of tenants and of nothing else.
    pub(super) only_tenants: bool,
    pub(super) aliases: HashMap<String, TenantId>,
    tenants: Option<BTreeSet<TenantId>>,
    /// Tenants that another issuer has for itself.
    except: Arc<BTreeSet<TenantId>>,
}

impl TenantRule {
    /// Whether the issuer may speak for `tenant`.
    pub(super) fn admits(&self, tenant: &TenantId) -> bool {
        match &self.tenants {
            Some(tenants) => tenants.contains(tenant),
            None => !self.except.contains(tenant),
        }
    }
}

/// An issuer's key set, and of it the keys its rules allow.
pub(super) struct IssuerKeys {
    set: KeySet,
    keys: Vec<TrustedKey>,
}

/// A key, for one issuer and one algorithm.
pub(super) struct TrustedKey {
    pub(super) kid: Option<Arc<str>>,
    pub(super) algorithm: Algorithm,
    pub(super) verifier: Arc<ParsedPublicKey>,
    pub(super) thumbprint: [u8; 32],
    pub(super) fingerprint: KeyFingerprint,
}

impl Issuer {
    fn compile(config: &IssuerConfig, default_audience: &[String]) -> Result<Self, IssuerFault> {
        let rules = Arc::new(Rules::compile(config, default_audience)?);
        let set = match &config.jwks {
            KeySource::Url(url) => {
                check_url(url)?;
                None
            }
            KeySource::Inline(jwks) => Some(KeySet::parse(jwks.to_string().as_bytes())?),
            KeySource::File(path) => Some(KeySet::parse(&read_bounded(path)?)?),
        };
        let keys = match set {
            None => None,
            Some(set) => Some(IssuerKeys::select(&rules, set).ok_or(IssuerFault::NoKeyAllowed)?),
        };
        Ok(Self { rules, key_url: config.jwks_url().map(Arc::from), keys })
    }

    /// The key a token's header names, if it is for the header's algorithm.
    pub(super) fn key(&self, header: &Header<'_>) -> Result<&TrustedKey, TokenError> {
        let issuer = || Arc::clone(&self.rules.name);
        let Some(keys) = &self.keys else {
            return Err(TokenError::KeysNotYetFetched { issuer: issuer() });
        };
        let key = match header.kid.as_deref() {
            Some(kid) => {
                keys.keys.iter().find(|key| key.kid.as_deref() == Some(kid)).ok_or_else(|| {
                    TokenError::KeyUnknown { issuer: issuer(), kid: kid.to_owned() }
                })?
            }
            None if self.rules.traits.kid_optional => keys
                .the_only_one_for(header.alg)
                .ok_or_else(|| TokenError::KeyIdMissing { issuer: issuer() })?,
            None => return Err(TokenError::KeyIdMissing { issuer: issuer() }),
        };
        // One key, one algorithm (RFC 8725 3.1): what the header says can only agree.
        if key.algorithm != header.alg {
            let (alg, pinned) = (header.alg, key.algorithm);
            return Err(TokenError::AlgorithmMismatch { alg, pinned, kid: key.kid.clone() });
        }
        Ok(key)
    }
}

impl Rules {
    /// The same rules, for all tenants but `taken`.
    fn excepting(&self, taken: &Arc<BTreeSet<TenantId>>) -> Self {
        let mut hash = Context::new(&SHA256);
        hash.update(&self.configured);
        for tenant in taken.iter() {
            hash.update(&(tenant.as_str().len() as u64).to_le_bytes());
            hash.update(tenant.as_str().as_bytes());
        }
        let tenant = TenantRule { except: Arc::clone(taken), ..self.tenant.clone() };
        let digest = hash.finish().as_ref().first_chunk().copied().unwrap_or_default();
        Self { tenant, digest, ..self.clone() }
    }

    fn compile(config: &IssuerConfig, default_audience: &[String]) -> Result<Self, IssuerFault> {
        let traits = config.profile.traits();
        let name = config.issuer.as_str();
        if name.is_empty() || name.len() > 1024 || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(IssuerFault::Name);
        }
        let or_default = |own: &[String]| {
            if own.is_empty() { default_audience.to_vec() } else { own.to_vec() }
        };
        let audience = or_default(&config.audience);
        if audience.is_empty() || audience.iter().any(String::is_empty) {
            return Err(IssuerFault::NoAudience);
        }
        if config.leeway_seconds > default_leeway() {
            return Err(IssuerFault::Leeway);
        }
        if !(1..=MAX_LIFETIME_LIMIT).contains(&config.max_lifetime_seconds) {
            return Err(IssuerFault::Lifetime);
        }
        let algorithms = if config.algorithms.is_empty() {
            traits.algorithms.to_vec()
        } else {
            config.algorithms.clone()
        };
        for rule in [&config.tenant, &config.roles].into_iter().flatten() {
            let segments = rule.claim.segments();
            if segments.is_empty() || segments.iter().any(String::is_empty) {
                return Err(IssuerFault::Claim);
            }
            if rule.prefix.as_deref() == Some("") {
                return Err(IssuerFault::EmptyPrefix);
            }
        }
        let roles = config.roles.clone().or_else(|| {
            let path: Vec<_> = traits.roles.iter().map(|name| (*name).to_owned()).collect();
            let nested = ClaimRule { claim: ClaimPath::Nested(path), prefix: None };
            (!traits.roles.is_empty()).then_some(nested)
        });
        Ok(Self {
            name: name.into(),
            profile: config.profile,
            traits,
            algorithms,
            audience_claim: config
                .audience_claim
                .clone()
                .unwrap_or_else(|| traits.audience.to_owned()),
            tenant: TenantRule::compile(config)?,
            roles,
            leeway: Duration::from_secs(config.leeway_seconds.into()),
            max_lifetime: Duration::from_secs(config.max_lifetime_seconds.into()),
            exclusive: config.exclusive,
            configured: rules_digest(config, &audience),
            digest: rules_digest(config, &audience),
            audience,
        })
    }
}

impl TenantRule {
    fn compile(config: &IssuerConfig) -> Result<Self, IssuerFault> {
        let (claim, prefix, only_tenants) = match (&config.tenant, &config.profile.traits().tenant)
        {
            (Some(rule), _) => (rule.claim.clone(), rule.prefix.clone(), false),
            (None, Some(row)) => {
                (row.claim.into(), row.prefix.map(str::to_owned), row.only_tenants)
            }
            (None, None) => return Err(IssuerFault::NoTenantClaim),
        };
        let aliases = config.aliases.clone().into_iter().collect();
        let tenants = config.tenants.clone();
        Ok(Self { claim, prefix, only_tenants, aliases, tenants, except: Arc::default() })
    }
}

impl IssuerKeys {
    /// The keys of `set` that are for exactly one algorithm of the allow-list; `None` without any.
    ///
    /// A key that does not say which of two allowed paddings it is for is for neither.
    fn select(rules: &Rules, set: KeySet) -> Option<Self> {
        let allowed = |key: &PublicKey| {
            let mut fitting =
                key.verifiers.iter().filter(|(algorithm, _)| rules.algorithms.contains(algorithm));
            match (fitting.next(), fitting.next()) {
                (Some((algorithm, verifier)), None) => Some(TrustedKey {
                    kid: key.kid.clone(),
                    algorithm: *algorithm,
                    verifier: Arc::clone(verifier),
                    thumbprint: key.thumbprint,
                    fingerprint: fingerprint(rules, *algorithm, key),
                }),
                _ => None,
            }
        };
        let keys: Vec<_> = set.keys().iter().filter_map(allowed).collect();
        (!keys.is_empty()).then_some(Self { set, keys })
    }

    fn the_only_one_for(&self, algorithm: Algorithm) -> Option<&TrustedKey> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithm == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Some(key),
            _ => None,
        }
    }
}

/// Why the issuers cannot be used as configured.
#[derive(Debug, thiserror::Error)]
#[error("issuer {issuer:?}: {why}")]
pub struct IssuerError {
    /// The issuer.
    pub issuer: String,
    /// What is wrong with it.
    #[source]
    pub why: IssuerFault,
}

/// What is wrong with an issuer's configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerFault {
    /// Its name cannot be an `iss`.
    #[error("`issuer` must be 1 to 1024 visible ASCII characters, exactly as in the tokens' `iss`")]
    Name,
    /// It is configured twice.
    #[error("it is configured twice: keep one")]
    Twice,
    /// Nobody says who we are in its tokens.
    #[error("no audience: set `audience` here, or the audience all issuers share")]
    NoAudience,
    /// The profile cannot know the tenant claim.
    #[error("this profile has no tenant claim of its own: set `tenant = {{ claim = \"…\" }}`")]
    NoTenantClaim,
    /// A claim has no name.
    #[error("a `claim` must be a name, or a list of at least one name")]
    Claim,
    /// The empty prefix is on everything.
    #[error("an empty `prefix` would take every element: leave it out or name one")]
    EmptyPrefix,
    /// The leeway is too long.
    #[error("`leeway_seconds` may be at most 30")]
    Leeway,
    /// The longest life is none or too long.
    #[error("`max_lifetime_seconds` must be from 1 to {MAX_LIFETIME_LIMIT} (31 days)")]
    Lifetime,
    /// The address is not one we would fetch keys from.
    #[error("`jwks.url` must be an https address, or http on localhost, without user or fragment")]
    Url,
    /// The key set's file cannot be read.
    #[error("cannot read the key set {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The key set cannot be used.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    /// No key of the set is for an algorithm the issuer may use.
    #[error(
        "no key of its set is for exactly one of its `algorithms`: list the one its keys are for"
    )]
    NoKeyAllowed,
}

/// 31 days.
const MAX_LIFETIME_LIMIT: u32 = 31 * 24 * 3600;

fn partywall_profile() -> Profile {
    Profile::Partywall
}

fn default_leeway() -> u32 {
    30
}

fn default_max_lifetime() -> u32 {
    24 * 3600
}

fn fingerprint(rules: &Rules, algorithm: Algorithm, key: &PublicKey) -> KeyFingerprint {
    let mut hash = Context::new(&SHA256);
    hash.update(&rules.digest);
    hash.update(&key.thumbprint);
    hash.update(algorithm.name().as_bytes());
    KeyFingerprint(hash.finish().as_ref().first_chunk().copied().unwrap_or_default())
}

/// Everything of the configuration that decides about a token, keys aside.
fn rules_digest(config: &IssuerConfig, audience: &[String]) -> [u8; 32] {
    let jwks = KeySource::Inline(serde_json::Value::Null);
    let decisive = IssuerConfig { jwks, audience: audience.to_vec(), ..config.clone() };
    let mut hash = Context::new(&SHA256);
    hash.update(serde_json::to_string(&decisive).unwrap_or_default().as_bytes());
    hash.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

fn read_bounded(path: &PathBuf) -> Result<Vec<u8>, IssuerFault> {
    let mut bytes = Vec::new();
    let limit = KeySet::MAX_LEN as u64 + 1;
    std::fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|source| IssuerFault::File { path: path.clone(), source })?;
    Ok(bytes)
}

/// Keys that came in clear text over a network would be anybody's.
fn check_url(url: &str) -> Result<(), IssuerFault> {
    let url: http::Uri = url.parse().map_err(|_| IssuerFault::Url)?;
    let authority = url.authority().ok_or(IssuerFault::Url)?;
    let local = matches!(url.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let secure = match url.scheme_str() {
        Some("https") => true,
        Some("http") => local,
        _ => false,
    };
    if secure && !authority.as_str().contains('@') { Ok(()) } else { Err(IssuerFault::Url) }
}
