//! Why a token was turned away.

use std::{borrow::Cow, sync::Arc};

use super::{ProofError, json::JsonFault};
use crate::{TenantId, Timestamp};

/// The check that refused a token. Written for the operator's log: a caller only learns that its
/// token does not do.
///
/// Texts a stranger chose are shortened and quoted, so they cannot forge a log line. No variant
/// carries the token or its signature.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The request carries no bearer token.
    #[error("no bearer token: send `Authorization: Bearer <token>`")]
    Missing,
    /// The `Authorization` header says `Bearer` and what follows is not one token (RFC 6750 2.1).
    #[error("the Authorization header is not `Bearer` and one token: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// It is longer than any token we would read.
    #[error("the token has {bytes} bytes, more than {limit}: the issuer puts too much into it", limit = super::MAX_TOKEN_LEN)]
    TooLarge {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// It has the five parts of an encrypted token (RFC 7516), which an access token here never is.
    #[error("the token is encrypted (JWE): have the issuer send signed tokens only")]
    Encrypted,
    /// It is not `header.payload.signature` (RFC 7515 7.1).
    #[error("the token is not a compact JWS: expected three parts with a dot between them")]
    NotCompact,
    /// A part is empty, or not unpadded base64url in its one canonical spelling (RFC 7515 2).
    #[error("the token's {part} is not canonical base64url without padding")]
    BadEncoding {
        /// `header`, `payload` or `signature`.
        part: &'static str,
    },
    /// The header or the payload is not a JSON object we are willing to read.
    #[error("the token's {part} is not acceptable JSON: {fault}")]
    BadJson {
        /// `header` or `payload`.
        part: &'static str,
        /// What is wrong with it.
        fault: JsonFault,
    },
    /// A header parameter is absent or of the wrong type.
    #[error("the token's header has no usable `{name}`: expected a string")]
    BadHeader {
        /// The parameter.
        name: &'static str,
    },
    /// The header demands an extension, or changes what is signed (RFC 7515 4.1.11, RFC 7797).
    #[error("the token's header has `{name}`, which this verifier does not implement")]
    CriticalHeader {
        /// `crit`, `b64`, `enc` or `zip`.
        name: &'static str,
    },
    /// The header brings its own key or says where to fetch one. Keys come from the issuer's
    /// configured source only (RFC 8725 3.10).
    #[error("the token's header has `{name}`: keys come only from the issuer's configured key set")]
    KeyInHeader {
        /// `jku`, `jwk`, `x5u` or `x5c`.
        name: &'static str,
    },
    /// The header's `typ` is another kind of token's (RFC 8725 3.11).
    #[error("the token's `typ` is {}, not one this consumer accepts", quoted(typ.as_deref()))]
    TypeNotAccepted {
        /// The `typ` found, shortened.
        typ: Option<String>,
    },
    /// The header's `alg` is none that is ever accepted, or none this issuer may use.
    #[error("the token's `alg` {alg:?} is not on the issuer's allow-list")]
    AlgorithmNotAllowed {
        /// The `alg` found, shortened.
        alg: String,
    },
    /// The header's `alg` is not the one the key is for (RFC 8725 3.1).
    #[error("the token says `alg` {alg}, its key {kid:?} is for {pinned} only")]
    AlgorithmMismatch {
        /// The `alg` found.
        alg: super::Algorithm,
        /// The key's own.
        pinned: super::Algorithm,
        /// The key.
        kid: Option<Arc<str>>,
    },
    /// Nobody configured here issues tokens under that name.
    #[error(
        "issuer {issuer:?} is not trusted here: add it to the issuers, spelled exactly like that"
    )]
    IssuerUntrusted {
        /// The `iss` found, shortened.
        issuer: String,
    },
    /// The issuer's keys have not arrived yet.
    #[error("the keys of issuer {issuer:?} have not been fetched yet: is its key set reachable?")]
    KeysNotYetFetched {
        /// The issuer.
        issuer: Arc<str>,
    },
    /// The header names no key, and this issuer's tokens must.
    #[error("the token names no key (`kid`), and issuer {issuer:?} has not exactly one that fits")]
    KeyIdMissing {
        /// The issuer.
        issuer: Arc<str>,
    },
    /// The issuer has no such key.
    #[error("issuer {issuer:?} has no key {kid:?}")]
    KeyUnknown {
        /// The issuer.
        issuer: Arc<str>,
        /// The `kid` found: at most 255 bytes.
        kid: String,
    },
    /// The signature is not the key's over these bytes.
    #[error("the token's signature is wrong")]
    SignatureInvalid,
    /// A claim that must be there is not.
    #[error("the token has no `{claim}`")]
    ClaimMissing {
        /// The claim.
        claim: Cow<'static, str>,
    },
    /// A claim has a type it must not have. It is never read as if it were absent (J-11).
    #[error("the token's `{claim}` is not {expected}")]
    ClaimWrongType {
        /// The claim.
        claim: Cow<'static, str>,
        /// The type it should have.
        expected: &'static str,
    },
    /// A claim has the right type and a value that cannot be.
    #[error("the token's `{claim}` is not acceptable: {why}")]
    ClaimInvalid {
        /// The claim.
        claim: Cow<'static, str>,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The token is for somebody else (RFC 8725 3.9).
    #[error(
        "the token's audience is {found:?}, not this service: check the audience configured here and at the issuer"
    )]
    AudienceMismatch {
        /// The audiences found, shortened.
        found: String,
    },
    /// Its time has passed.
    #[error("the token expired at {} (it is {})", expired.0, now.0)]
    Expired {
        /// When, in seconds since 1970-01-01 UTC.
        expired: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// Its time has not come.
    #[error("the token is not valid before {} (it is {}): do the clocks agree?", not_before.0, now.0)]
    NotYetValid {
        /// When it will be, in seconds since 1970-01-01 UTC.
        not_before: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// It was issued in the future.
    #[error("the token was issued at {}, in the future (it is {}): do the clocks agree?", issued_at.0, now.0)]
    IssuedInFuture {
        /// When, in seconds since 1970-01-01 UTC.
        issued_at: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// It is valid for longer than any token of this issuer may be (J-12).
    #[error("the token is valid until {}, longer than the {max_seconds} s allowed: shorten its life at the issuer", expires.0)]
    LifetimeTooLong {
        /// When it expires, in seconds since 1970-01-01 UTC.
        expires: Timestamp,
        /// The longest life allowed, in seconds.
        max_seconds: u64,
    },
    /// The token is bound to a key, and came without a proof that its sender holds it.
    #[error("the token is bound to a key: send it as `DPoP` with a proof, where those are checked")]
    ProofRequired,
    /// The token came with a proof, and is bound to no key: a thief could make that proof, too.
    #[error("the token came with a DPoP proof, and is not bound to a key")]
    NotBound,
    /// The proof that came with the token does not hold.
    #[error(transparent)]
    ProofRejected(Box<ProofError>),
    /// The token names no tenant (M-04).
    #[error("the token names no tenant: `{claim}` has none")]
    TenantMissing {
        /// The claim that should.
        claim: String,
    },
    /// The token names more than one tenant (M-04).
    #[error(
        "the token names {count} tenants in `{claim}`: have the principal choose one when signing in"
    )]
    TenantAmbiguous {
        /// The claim that does.
        claim: String,
        /// How many.
        count: usize,
    },
    /// What the token names is neither a tenant's id nor an alias of one.
    #[error("the token's tenant {tenant:?} is no tenant id: map it under the issuer's `aliases`")]
    TenantInvalid {
        /// The value found, shortened.
        tenant: String,
    },
    /// The tenant claim is a list, and no prefix tells tenants from roles in it.
    #[error(
        "the token's `{claim}` is a list: configure the issuer's `tenant.prefix`, so that a role is never read as a tenant"
    )]
    TenantListWithoutPrefix {
        /// The claim.
        claim: String,
    },
    /// The issuer may speak for other tenants only (I-07).
    #[error("issuer {issuer:?} may not speak for tenant {tenant}: it is not among its `tenants`")]
    TenantNotOfIssuer {
        /// The issuer.
        issuer: Arc<str>,
        /// The tenant its token names.
        tenant: TenantId,
    },
    /// Nothing in the token says whether a person or a machine acts (J-18).
    #[error("the token does not say whether a person or a machine acts: {why}")]
    PrincipalUnclear {
        /// What the issuer's profile expected.
        why: &'static str,
    },
}

impl TokenError {
    /// A word for metrics, logs and `--json`: stable, and one per check.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Malformed { .. } => "authorization_malformed",
            Self::TooLarge { .. } => "token_too_large",
            Self::Encrypted => "token_encrypted",
            Self::NotCompact => "token_not_compact",
            Self::BadEncoding { .. } => "encoding_invalid",
            Self::BadJson { fault, .. } => fault.code(),
            Self::BadHeader { .. } => "header_invalid",
            Self::CriticalHeader { .. } => "header_critical",
            Self::KeyInHeader { .. } => "key_in_header",
            Self::TypeNotAccepted { .. } => "type_not_accepted",
            Self::AlgorithmNotAllowed { .. } => "algorithm_not_allowed",
            Self::AlgorithmMismatch { .. } => "algorithm_mismatch",
            Self::IssuerUntrusted { .. } => "issuer_untrusted",
            Self::KeysNotYetFetched { .. } => "keys_not_yet_fetched",
            Self::KeyIdMissing { .. } => "key_id_missing",
            Self::KeyUnknown { .. } => "key_unknown",
            Self::SignatureInvalid => "signature_invalid",
            Self::ClaimMissing { claim } => by_claim(claim).map_or("claim_missing", |c| c.missing),
            Self::ClaimWrongType { claim, .. } => {
                by_claim(claim).map_or("claim_wrong_type", |c| c.wrong_type)
            }
            Self::ClaimInvalid { claim, .. } => {
                by_claim(claim).map_or("claim_invalid", |c| c.invalid)
            }
            Self::AudienceMismatch { .. } => "audience_mismatch",
            Self::Expired { .. } => "token_expired",
            Self::NotYetValid { .. } => "token_not_yet_valid",
            Self::IssuedInFuture { .. } => "issued_in_future",
            Self::LifetimeTooLong { .. } => "lifetime_too_long",
            Self::ProofRequired => "proof_required",
            Self::NotBound => "proof_without_binding",
            Self::ProofRejected(error) => error.code(),
            Self::TenantMissing { .. } => "tenant_missing",
            Self::TenantAmbiguous { .. } => "tenant_ambiguous",
            Self::TenantInvalid { .. } => "tenant_invalid",
            Self::TenantListWithoutPrefix { .. } => "tenant_list_without_prefix",
            Self::TenantNotOfIssuer { .. } => "tenant_not_of_issuer",
            Self::PrincipalUnclear { .. } => "principal_unclear",
        }
    }

    /// Whether the fault is ours rather than the token's: it may be right, and we cannot tell yet.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::KeysNotYetFetched { .. })
    }

    /// The issuer and the `kid` it was not known to have: worth one look at its key set.
    pub fn unknown_key(&self) -> Option<(&str, &str)> {
        match self {
            Self::KeyUnknown { issuer, kid } => Some((issuer, kid)),
            _ => None,
        }
    }

    pub(super) fn missing(claim: impl Into<Cow<'static, str>>) -> Self {
        Self::ClaimMissing { claim: claim.into() }
    }

    pub(super) fn wrong_type(claim: impl Into<Cow<'static, str>>, expected: &'static str) -> Self {
        Self::ClaimWrongType { claim: claim.into(), expected }
    }

    pub(super) fn invalid(claim: impl Into<Cow<'static, str>>, why: &'static str) -> Self {
        Self::ClaimInvalid { claim: claim.into(), why }
    }
}

/// The codes of one registered claim.
struct ClaimCodes {
    claim: &'static str,
    missing: &'static str,
    wrong_type: &'static str,
    invalid: &'static str,
}

/// Every claim that all tokens share has codes of its own; a custom claim shares the general ones.
const CLAIM_CODES: &[ClaimCodes] = &[
    codes("iss", "issuer_missing", "issuer_wrong_type", "issuer_invalid"),
    codes("sub", "subject_missing", "subject_wrong_type", "subject_invalid"),
    codes("aud", "audience_missing", "audience_wrong_type", "audience_invalid"),
    codes("exp", "expiry_missing", "expiry_wrong_type", "expiry_invalid"),
    codes("nbf", "not_before_missing", "not_before_wrong_type", "not_before_invalid"),
    codes("iat", "issued_at_missing", "issued_at_wrong_type", "issued_at_invalid"),
    codes("jti", "token_id_missing", "token_id_wrong_type", "token_id_invalid"),
    codes("client_id", "client_missing", "client_wrong_type", "client_invalid"),
    codes("tid", "tenant_missing", "tenant_wrong_type", "tenant_invalid"),
];

const fn codes(
    claim: &'static str,
    missing: &'static str,
    wrong_type: &'static str,
    invalid: &'static str,
) -> ClaimCodes {
    ClaimCodes { claim, missing, wrong_type, invalid }
}

fn by_claim(claim: &str) -> Option<&'static ClaimCodes> {
    CLAIM_CODES.iter().find(|codes| codes.claim == claim)
}

/// The first characters of a text a stranger chose: enough to recognise it in a log.
pub(super) fn excerpt(text: &str) -> String {
    const SHOWN: usize = 100;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn quoted(text: Option<&str>) -> String {
    text.map_or_else(|| "absent".to_owned(), |text| format!("{text:?}"))
}
