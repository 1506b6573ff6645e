//! # Attacks on tokens
//!
//! Every paragraph is something that worked against software in use. The name after it is the test
//! that shows it does not work here; they are run by `cargo test -p partywall --test token`. Most
//! have a *control*: the same token is given to a good library used the ordinary way, which lets it
//! in, so that the test is known to bite.
//!
//! ## What the signature is
//!
//! **`alg: none`** (CVE-2015-9235, and every spelling a deny-list forgot). There is no `none` to
//! refuse: an algorithm is one of four, found by its exact name.
//! → `j02_none_is_refused_in_every_spelling`
//!
//! **A public key taken for an HMAC secret** (CVE-2016-10555, CVE-2024-33663, CVE-2026-48526). There
//! is no HMAC. PEM with either line end, DER, JWK, JWK set, bare points: none verifies anything.
//! → `b31_a_public_key_is_no_hmac_secret_in_any_spelling`
//!
//! **The header choosing the algorithm** (CVE-2026-22817, CVE-2026-22818). The key says what it is
//! for; if it does not, the issuer's configuration must leave exactly one possibility. The header
//! can only agree.
//! → `b32_an_rsa_key_that_does_not_say_its_padding_is_pinned_by_the_configuration`,
//! `j01_each_algorithm_verifies_under_its_own_key_only`
//!
//! **Psychic signatures** (CVE-2022-21449): zero, the group's order, or one for `r` and `s`.
//! → `b35_psychic_signatures_are_refused`, and Wycheproof's tables in the unit tests
//!
//! **Weak keys**: RSA below 2048 bits, exponent 1, ROCA (CVE-2017-15361), a point off its curve.
//! → `j06_a_key_set_takes_public_signature_keys_only`, `j01_wycheproof_json_web_keys_and_crypto`
//!
//! ## Whose the key is
//!
//! **The token bringing its key** (CVE-2018-0114), or saying where to fetch it (SSRF). A header with
//! `jwk`, `jku`, `x5u` or `x5c` is refused, not skipped: nobody honest sends one here, and a canary
//! counts no connection.
//! → `j06_keys_in_the_header_are_neither_used_nor_fetched`
//!
//! **`kid` as a path, a query, an address**. It is looked up in a list in memory, byte by byte.
//! → `j07_a_kid_is_looked_up_and_nothing_else`
//!
//! **Another issuer's key under a known `kid`** (Storm-0558). Keys belong to their issuer; the
//! issuer is selected by `iss`, byte by byte, before any key is looked at.
//! → `j08_another_issuers_key_under_a_known_kid_is_refused`,
//! `j08_the_issuer_is_compared_byte_by_byte`
//!
//! **A customer's own issuer naming another customer.** An issuer can be bound to the tenants it may
//! speak for.
//! → `i07_a_bound_issuer_speaks_for_its_tenants_only`
//!
//! ## What kind of token it is
//!
//! **An ID token, a logout token, an invitation presented as an access token.** `typ` must be
//! exactly an access token's where the issuer can be made to send one; where it cannot (Cognito,
//! Okta), a claim of the issuer's own tells them apart. Our artefacts are tried at every consumer.
//! → `j10_only_the_diagonal_passes`, `j10_only_an_access_token_is_an_access_token`,
//! `j10_claims_of_other_tokens_give_them_away`, and `m08_…` for each issuer
//!
//! **Extensions one must understand** (`crit`), unencoded payloads (`b64`).
//! → `j16_critical_extensions_are_refused`
//!
//! **Encrypted tokens as bombs**: decompression (CVE-2024-28180), two billion rounds of PBKDF2
//! (CVE-2023-50658). Five parts are refused before any is decoded.
//! → `j03_an_encrypted_token_is_refused_unread`
//!
//! ## What it says
//!
//! **A claim of a wrong type read as absent** (CVE-2026-25537: `exp` as text never expired).
//! Missing, of a wrong type, and wrong are three refusals with three codes.
//! → `j11_a_claim_of_a_wrong_type_is_never_absent`
//!
//! **No audience, or somebody else's.**
//! → `j09_audience_missing_is_refused`, `j09_audience_must_be_ours`
//!
//! **The same name twice**, so that two parsers read two tokens; also when one of them is spelled
//! with escapes.
//! → `j13_duplicate_claims_are_refused`, `j13_duplicate_header_parameters_are_refused`
//!
//! **A life of thirty days, or of thousands of years.**
//! → `j12_no_token_lives_longer_than_its_issuer_may_let_it`
//!
//! **A machine named like a person** (RFC 9700 4.15).
//! → `j18_a_machines_subject_can_never_be_a_persons`, `m08_auth0`, `m08_keycloak`
//!
//! **A role named like a tenant, two tenants, an attribute the user may edit** (`custom:tenant_id`).
//! In a list only a prefix makes a tenant, exactly one element may have it, and none that has it is
//! a role.
//! → `m04_exactly_one_element_of_a_list_is_the_tenant`, `m04_zero_one_or_many`, `m08_cognito`
//!
//! ## Making the verifier work
//!
//! **Huge, deep and wide tokens.** Size first, then depth and number of values.
//! → `j14_size_comes_first`, `j14_a_hostile_payload_costs_less_than_a_millisecond`
//!
//! **One token under many spellings**, so that a revocation or a cache knows only one of them.
//! base64url has one spelling here; 200,000 mutations are all refused.
//! → `j05_base64url_has_one_spelling`, `r04_no_mutation_of_a_token_is_a_token`
//!
//! **Making us fetch keys.** Six times a minute and issuer at the most, one at a time; who hangs up
//! does not stop a fetch.
//! → `r10_a_flood_of_unknown_kids_fetches_six_times_and_evicts_nothing`,
//! `r10_hanging_up_does_not_stop_a_fetch`
//!
//! **An issuer that drips, floods, redirects or lies** (CVE-2025-64527). Two seconds, 256 KiB, no
//! redirect, and the last good keys stay.
//! → `r09_the_last_good_keys_survive_every_failure`
//!
//! ## What a verifier cannot do
//!
//! A stolen token is a good token until it expires or is revoked: keep tokens short-lived. Whoever
//! holds an issuer's private key can say what that issuer can say: bind customers' own issuers to
//! their tenants.
