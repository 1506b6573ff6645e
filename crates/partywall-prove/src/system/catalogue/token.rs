//! Tokens that prove nothing.

use crate::{Attack, Layer, Weight};

pub(in crate::system) static MISSING: Attack = Attack {
    id: "token.missing",
    layer: Layer::Token,
    title: "no token at all",
    about: "A route that was not declared public, asked without any credential.",
    weight: Weight::Identity,
    fix: "Put the route behind the layer that verifies tokens, or declare it public.",
    references: &["M-05", "CWE-306"],
    supports: &["soc2:CC6.1", "soc2:CC6.6", "iso27001:A.5.15", "asvs5:8.2.2"],
};

pub(in crate::system) static SIGNATURE: Attack = Attack {
    id: "token.signature",
    layer: Layer::Token,
    title: "a token without a right signature",
    about: "The victim's claims under signatures that are none: damaged, cut short, empty, all zeros (CVE-2022-21449).",
    weight: Weight::Identity,
    fix: "Verify the signature with a key of the issuer, chosen by what is configured and not by the token.",
    references: &["J-15", "CVE-2022-21449", "CWE-347"],
    supports: &["soc2:CC6.1", "asvs5:9.1.1"],
};

pub(in crate::system) static REWRITTEN: Attack = Attack {
    id: "token.rewritten",
    layer: Layer::Token,
    title: "own token, tenant rewritten",
    about: "The attacker's genuine token with the tenant claim replaced by the victim's, its signature left as it was.",
    weight: Weight::Identity,
    fix: "Verify the signature with a key of the issuer, chosen by what is configured and not by the token.",
    references: &["M-05", "T1", "CWE-345"],
    supports: &["soc2:CC6.1", "asvs5:9.1.1", "lens:SEC1"],
};

pub(in crate::system) static NONE: Attack = Attack {
    id: "token.alg-none",
    layer: Layer::Token,
    title: "`alg: none`, in all spellings",
    about: "A token that says it needs no signature, for verifiers that compare the name loosely or against a list of what is forbidden.",
    weight: Weight::Identity,
    fix: "Accept exactly the algorithms each issuer uses, by an allow-list.",
    references: &["J-02", "T1", "RFC 8725 3.2", "CWE-347"],
    supports: &["soc2:CC6.1", "asvs5:9.1.2"],
};

pub(in crate::system) static HMAC: Attack = Attack {
    id: "token.hmac-confusion",
    layer: Layer::Token,
    title: "public key as a shared secret",
    about: "HS256, HS384 and HS512 keyed with every form of the issuer's public key: everybody has it.",
    weight: Weight::Identity,
    fix: "Pin one algorithm to each key; never take the algorithm from the token.",
    references: &["J-01", "T1", "RFC 8725 2.1", "CWE-327"],
    supports: &["soc2:CC6.1", "asvs5:9.1.2"],
};

pub(in crate::system) static ALGORITHM: Attack = Attack {
    id: "token.algorithm",
    layer: Layer::Token,
    title: "another algorithm than the key's",
    about: "The header names another algorithm than the key is for, with the old signature and with one made for it by a key of the attacker's.",
    weight: Weight::Identity,
    fix: "Pin one algorithm to each key; never take the algorithm from the token.",
    references: &["J-01", "T1", "RFC 8725 3.1"],
    supports: &["soc2:CC6.1", "asvs5:9.1.2"],
};

pub(in crate::system) static KEY: Attack = Attack {
    id: "token.key",
    layer: Layer::Token,
    title: "a key of the attacker's own",
    about: "Signed rightly with a key nobody trusts: under the known `kid`, an unknown one, none, and ones that are paths and SQL.",
    weight: Weight::Identity,
    fix: "Look `kid` up in the issuer's key set only, and refuse what is not there.",
    references: &["J-07", "J-08", "T2", "T8", "RFC 8725 3.10"],
    supports: &["soc2:CC6.1", "asvs5:9.1.1"],
};

pub(in crate::system) static HEADER_KEY: Attack = Attack {
    id: "token.header-key",
    layer: Layer::Token,
    title: "a key the token brings along",
    about: "`jwk`, `jku`, `x5u` and `x5c` in the header name the attacker's key; the addresses lead to a listener of ours, which nobody may ask.",
    weight: Weight::Identity,
    fix: "Never use or fetch a key that a token names.",
    references: &["J-06", "RFC 8725 3.10", "CWE-918"],
    supports: &["soc2:CC6.1", "soc2:CC6.6", "asvs5:9.1.1"],
};

pub(in crate::system) static SHAPE: Attack = Attack {
    id: "token.shape",
    layer: Layer::Token,
    title: "a second spelling of a token",
    about: "The same token padded, with more parts, as JSON, encrypted in form: what has two spellings slips past lists and caches that go by the text.",
    weight: Weight::Existence,
    fix: "Accept the compact serialization in its one spelling only.",
    references: &["J-03", "J-05", "J-13"],
    supports: &["asvs5:9.1.1"],
};

pub(in crate::system) static OVERSIZE: Attack = Attack {
    id: "token.oversize",
    layer: Layer::Token,
    title: "a token of 64 KiB",
    about: "Refused for its size before any work is done, and not by falling over.",
    weight: Weight::Existence,
    fix: "Bound the length of tokens before reading them.",
    references: &["J-14", "T7"],
    supports: &["soc2:CC6.6"],
};

pub(in crate::system) static TWO_HEADERS: Attack = Attack {
    id: "token.two-headers",
    layer: Layer::Token,
    title: "two Authorization headers",
    about: "The attacker's good token beside the victim's claims unsigned: who reads the other one than was verified acts as the victim.",
    weight: Weight::Identity,
    fix: "Refuse a request with more than one Authorization header.",
    references: &["O-23", "RFC 9110 5.3"],
    supports: &["soc2:CC6.1", "asvs5:9.1.1"],
};

pub(in crate::system) static QUERY: Attack = Attack {
    id: "token.in-query",
    layer: Layer::Token,
    title: "token in the address",
    about: "A genuine token as `access_token` in the query: addresses are logged, kept and passed on.",
    weight: Weight::Identity,
    fix: "Take tokens from the Authorization header only.",
    references: &["O-23", "RFC 9700 4.3.2", "CWE-598"],
    supports: &["soc2:CC6.1"],
};

pub(in crate::system) static COOKIE: Attack = Attack {
    id: "token.in-cookie",
    layer: Layer::Token,
    title: "token in a cookie",
    about: "A genuine token in a cookie: browsers send it on any site's behalf. Where it is meant to be so, accept it with the reason.",
    weight: Weight::Identity,
    fix: "Take tokens from the Authorization header only.",
    references: &["O-23", "CWE-352"],
    supports: &["soc2:CC6.1"],
};

pub(in crate::system) static EXPIRED: Attack = Attack {
    id: "token.expired",
    layer: Layer::Token,
    title: "an expired token",
    about: "A token of the victim's that was good once.",
    weight: Weight::Identity,
    fix: "Require `exp` and refuse what is past it.",
    references: &["J-11", "T5"],
    supports: &["soc2:CC6.1", "asvs5:9.2.1"],
};

pub(in crate::system) static NOT_YET: Attack = Attack {
    id: "token.not-yet-valid",
    layer: Layer::Token,
    title: "a token of the future",
    about: "`nbf` lies ahead.",
    weight: Weight::Identity,
    fix: "Refuse tokens before their `nbf`.",
    references: &["J-11"],
    supports: &["soc2:CC6.1", "asvs5:9.2.1"],
};

pub(in crate::system) static AUDIENCE: Attack = Attack {
    id: "token.audience",
    layer: Layer::Token,
    title: "a token for another service",
    about: "Signed by the right issuer, for somebody else: any other service the victim uses could replay it here.",
    weight: Weight::Identity,
    fix: "Require `aud` and compare it with your own name exactly.",
    references: &["J-09", "T4"],
    supports: &["soc2:CC6.1", "asvs5:9.2.3"],
};

pub(in crate::system) static ISSUER: Attack = Attack {
    id: "token.issuer",
    layer: Layer::Token,
    title: "a token of another issuer",
    about: "The right key under another `iss`, as where issuers share keys.",
    weight: Weight::Identity,
    fix: "Compare `iss` byte by byte, and look the key up under that issuer only.",
    references: &["J-08", "T2", "T4"],
    supports: &["soc2:CC6.1", "asvs5:9.2.3"],
};

pub(in crate::system) static TYPE: Attack = Attack {
    id: "token.type",
    layer: Layer::Token,
    title: "an ID token as access token",
    about: "A token of another kind from the same issuer and key.",
    weight: Weight::Identity,
    fix: "Require the access token's `typ` (`at+jwt`), or the claim your issuer tells kinds apart by.",
    references: &["J-10", "T3", "RFC 9068 4"],
    supports: &["soc2:CC6.1", "asvs5:9.2.3"],
};

pub(in crate::system) static REVOKED: Attack = Attack {
    id: "token.revoked",
    layer: Layer::Token,
    title: "a revoked token",
    about: "Right in everything, and taken back; tried until the revocation must have arrived.",
    weight: Weight::Identity,
    fix: "Ask for revocations, by list or by introspection, at every request.",
    references: &["I-09"],
    supports: &["soc2:CC6.1", "asvs5:9.2.1"],
};

pub(in crate::system) static EPOCH: Attack = Attack {
    id: "token.stale-epoch",
    layer: Layer::Token,
    title: "a token from before a revocation of all",
    about: "Older than the moment its tenant's tokens were all taken back.",
    weight: Weight::Identity,
    fix: "Compare the token's epoch with its tenant's.",
    references: &["I-09"],
    supports: &["soc2:CC6.1", "asvs5:9.2.1"],
};

pub(in crate::system) static SUSPENDED: Attack = Attack {
    id: "token.suspended",
    layer: Layer::Token,
    title: "a token of a suspended tenant",
    about: "A live token of a tenant that is not to be served.",
    weight: Weight::Identity,
    fix: "Look at the tenant's status at every request, not only at sign-in.",
    references: &["C6", "M-03"],
    supports: &["soc2:CC6.1", "lens:SEC1"],
};

pub(in crate::system) static UNKNOWN: Attack = Attack {
    id: "token.unknown-tenant",
    layer: Layer::Token,
    title: "a token of a tenant that never was",
    about: "A tenant nobody created, or an internal name: it must not fall to a default.",
    weight: Weight::Identity,
    fix: "Refuse tenants that are not in the directory.",
    references: &["C3", "B1"],
    supports: &["soc2:CC6.1", "lens:SEC1"],
};

pub(in crate::system) static TWO_TENANTS: Attack = Attack {
    id: "token.two-tenants",
    layer: Layer::Token,
    title: "a token of two tenants",
    about: "A list of tenants where one must stand.",
    weight: Weight::Identity,
    fix: "Require exactly one tenant per token.",
    references: &["C2", "M-04"],
    supports: &["soc2:CC6.1", "lens:SEC1"],
};

pub(in crate::system) static NO_TENANT: Attack = Attack {
    id: "token.no-tenant",
    layer: Layer::Token,
    title: "a token of no tenant",
    about: "It must not mean all of them, or a default.",
    weight: Weight::Identity,
    fix: "Require the tenant claim.",
    references: &["C2", "T-02"],
    supports: &["soc2:CC6.1", "lens:SEC1"],
};

pub(in crate::system) static REPEATED: Attack = Attack {
    id: "token.repeated-claim",
    layer: Layer::Token,
    title: "the tenant named twice",
    about: "Two tenant claims in one token: verifier and reader may each take another.",
    weight: Weight::Identity,
    fix: "Refuse repeated names in header and claims.",
    references: &["J-13", "T6", "RFC 7519 4"],
    supports: &["soc2:CC6.1", "asvs5:9.1.1"],
};
