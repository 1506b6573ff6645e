//! A token is its bytes: whatever is changed, it is refused.

use partywall::Timestamp;
use partywall::token::{Algorithm, IssuerConfig, KeySource, Profile, SigningKey};
use proptest::prelude::*;
use serde_json::json;

use crate::support::*;

/// How many mutations one run tries: some seconds, mostly spent on those with a shape that lets
/// them get as far as the signature. `PARTYWALL_MUTATIONS` asks for more.
fn mutations() -> u64 {
    let asked = std::env::var("PARTYWALL_MUTATIONS").ok();
    asked.and_then(|count| count.parse().ok()).unwrap_or(200_000)
}

#[test]
fn r04_no_mutation_of_a_token_is_a_token() {
    // Ed25519 and ES256 sign about equally fast; the algorithm with malleable encodings is ES256.
    let honest = token();
    assert!(examine(&honest).is_ok(), "the control");
    let mut random = SplitMix(0x0123_4567_89ab_cdef);
    let mut refused = 0_u64;
    for _ in 0..mutations() {
        let mutated = mutate(&honest, &mut random);
        if mutated == honest {
            continue;
        }
        let outcome = examine(&mutated);
        assert!(outcome.is_err(), "accepted: {mutated}");
        refused += 1;
    }
    assert!(refused > mutations() / 10 * 9);
}

/// One to three small changes.
fn mutate(honest: &str, random: &mut SplitMix) -> String {
    const ALPHABET: &[u8] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ {}\0\n";
    let mut token = honest.as_bytes().to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(token.len());
        let byte = ALPHABET[random.below(ALPHABET.len())];
        match random.below(8) {
            0..=3 => token[at] = byte,
            4 => token.insert(at, byte),
            5 => drop(token.remove(at)),
            6 => {
                let other = random.below(token.len());
                token.swap(at, other);
            }
            _ => {
                let end = at + random.below(token.len() - at);
                let copy = token[at..end].to_vec();
                token.splice(at..at, copy);
            }
        }
    }
    String::from_utf8(token).unwrap()
}

/// A small generator with a fixed seed: a failure repeats.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

#[test]
fn r04_every_bit_of_every_algorithms_token_counts() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256] {
        let key = SigningKey::generate(algorithm).unwrap();
        let source = KeySource::Inline(json!({ "keys": [key.public_jwk()] }));
        let mut config = IssuerConfig::new(ISSUER, Profile::Partywall, source);
        config.algorithms = vec![algorithm];
        let issuers = compile(&[config]);
        let honest = key.sign_jws("at+jwt", &claims()).unwrap();
        assert!(issuers.examine(&honest, Timestamp(NOW)).is_ok(), "the control");
        for at in 0..honest.len() {
            for bit in 0..7 {
                let mut flipped = honest.clone().into_bytes();
                flipped[at] ^= 1 << bit;
                let flipped = String::from_utf8(flipped).unwrap();
                assert!(issuers.examine(&flipped, Timestamp(NOW)).is_err(), "{at} {bit}");
            }
        }
    }
}

proptest! {
    /// Any text, and any text in the places of a token's parts: refused, without a panic.
    #[test]
    fn r04_garbage_is_refused(text in "\\PC{0,200}", head in ".{0,80}", payload in ".{0,80}") {
        prop_assert!(examine(&text).is_err());
        let shaped = format!("{}.{}.AAAA", base64url(head.as_bytes()), base64url(payload.as_bytes()));
        prop_assert!(examine(&shaped).is_err());
    }

    /// Signed garbage: right signature, any claims. It is accepted only if it says what is required.
    #[test]
    fn r04_a_signature_is_not_enough(payload in "\\{(\"(iss|sub|aud|exp|tid|jti)\":(1|\"u:a\"|null|\\[\\]|1800000100),?){0,6}\\}") {
        let token = KEY.sign_bytes(header().to_string().as_bytes(), payload.as_bytes());
        prop_assert!(examine(&token).is_err());
    }
}
