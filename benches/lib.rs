//! Peers beside us, in one run: `cargo bench -p partywall-benches`, or `scripts/bench`.
//!
//! | bench | asks | mark |
//! |---|---|---|
//! | `verify` | what a token costs, seen before and not, beside the raw signature and `jsonwebtoken` | warm ≤ 0.7 µs and flat to 1 M tokens; cold ≤ raw + 5 µs |
//! | `bundle` | a million tenants: loading, memory, look-up | ≤ 2 s, ≤ 200 MB, ≤ 150 ns |
//! | `layer` | what the layer adds to an axum handler | ≤ 10 µs |
//! | `postgres` | one bound statement beside plain SQL and the usual row level security, over half a millisecond of network and in server CPU | ≤ 1.10 of plain, ≥ 3 times faster than four trips, ≤ +46 µs |
//! | `provider` | tokens per second of CPU beside npm's `oidc-provider`, each alone on one core; what a million clients, a hundred thousand tenants, a person in 2,000 of them, 3,000 connections and a storm of passwords do to an answer's time | client credentials ES256 ≥ 10 times, RS256 ≥ 2; code and refresh, durable, ≥ 4; p99 ratios ≤ 1.2; ≤ 50 MiB idle |
//! | `prove` | fifty tables attacked, beside as many empty statements; the same with a table of a million rows | ≤ 3 s, memory flat in table size |
//! | `saml` | a SAML response of 3, 10 and 100 kB believed, beside npm's `node-saml` and xmlsec's library; twenty hostile ones of 256 KiB judged | 10 kB ≤ 1 ms and the signature; hostile ≤ 50 ms and ≤ 16 MiB |
//!
//! Ratios of one run mean something; absolute times belong to the machine.

/// Whether the command line asks for the bench of this name: by a part of it, or by no name at all.
pub fn wanted(name: &str) -> bool {
    let mut asked = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    asked.next().is_none_or(|part| name.contains(&part))
}

/// Whether the command line asks only to see that it runs (`--test`).
pub fn only_a_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}
