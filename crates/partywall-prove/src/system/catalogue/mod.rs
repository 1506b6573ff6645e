//! Every attack on a running system, described.

pub(super) mod hint;
pub(super) mod http;
pub(super) mod job;
pub(super) mod token;

use crate::Attack;

/// In the order they are made.
pub(crate) const CATALOGUE: &[&Attack] = &[
    &token::MISSING,
    &token::SIGNATURE,
    &token::REWRITTEN,
    &token::NONE,
    &token::HMAC,
    &token::ALGORITHM,
    &token::KEY,
    &token::HEADER_KEY,
    &token::SHAPE,
    &token::OVERSIZE,
    &token::TWO_HEADERS,
    &token::QUERY,
    &token::COOKIE,
    &token::EXPIRED,
    &token::NOT_YET,
    &token::AUDIENCE,
    &token::ISSUER,
    &token::TYPE,
    &token::REVOKED,
    &token::EPOCH,
    &token::SUSPENDED,
    &token::UNKNOWN,
    &token::TWO_TENANTS,
    &token::NO_TENANT,
    &token::REPEATED,
    &hint::HINT_HEADER,
    &hint::HINT_HOST,
    &hint::HINT_PATH,
    &hint::HINT_QUERY,
    &hint::HINT_COOKIE,
    &hint::HINT_RESERVED,
    &http::LIST,
    &http::SEARCH,
    &http::READ,
    &http::WRITE,
    &http::DELETE,
    &http::NESTED,
    &http::REFERENCE,
    &http::VERB,
    &http::OVERRIDE,
    &http::CONTENT_TYPE,
    &http::EXISTENCE,
    &http::ASSIGN_TENANT,
    &http::ASSIGN_ROLE,
    &job::JOB_BARE,
    &job::JOB_FOREIGN,
    &job::JOB_TAMPERED,
    &job::JOB_EXPIRED,
    &job::JOB_PURPOSE,
    &job::JOB_SUSPENDED,
    &job::JOB_REVOKED,
];
