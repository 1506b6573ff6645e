//! What a token costs: remembered, cold, and beside its peers.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use std::{hint::black_box, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        ParsedPublicKey, RsaKeyPair,
    },
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jsonwebtoken::{DecodingKey, Validation, decode};
use partywall::{
    AccessToken, DeploymentModel, Partywall,
    testing::{ControlPlane, placed, tenant},
    token::{Algorithm, SigningKey},
};

fn control(algorithm: Algorithm) -> ControlPlane {
    let acme = tenant("acme", placed("main", DeploymentModel::Pool, "eu-1"));
    ControlPlane::with_key(vec![acme], SigningKey::generate(algorithm).unwrap())
}

/// A token that is remembered: a hash and a look-up, whatever else is remembered.
fn warm(c: &mut Criterion) {
    let mut group = c.benchmark_group("verify/warm");
    for tokens in [1_000, 10_000, 100_000, 1_000_000_usize] {
        let control = control(Algorithm::EdDsa);
        let wall = control.builder().remembered_tokens(tokens * 2).build().unwrap();
        wall.accept(control.sign(1, None)).unwrap();
        let tokens = remembered(&control, &wall, tokens);
        let mut at = 0;
        group.bench_function(BenchmarkId::from_parameter(tokens.len()), |b| {
            b.iter(|| {
                at = (at + 1) % tokens.len();
                wall.verify(AccessToken::new(black_box(tokens.get(at)))).unwrap()
            });
        });
    }
    group.finish();
}

fn remembered(control: &ControlPlane, wall: &Partywall, count: usize) -> Tokens {
    let step = 617_473; // has no divisor in common with any power of ten
    let tokens = (0..count).map(|n| control.token("acme", &format!("u:{:08}", n * step % count)));
    let tokens: Vec<String> = tokens.collect();
    let mut seen: Vec<&String> = tokens.iter().collect();
    seen.sort_unstable();
    seen.iter().for_each(|token| drop(wall.verify(AccessToken::new(token)).unwrap()));
    Tokens { len: tokens.first().unwrap().len(), text: tokens.concat() }
}

/// Tokens of one length, one behind the other: a token that comes off a socket is in the
/// processor's cache, and these are by the time they are read; what is remembered is not.
struct Tokens {
    text: String,
    len: usize,
}

impl Tokens {
    fn len(&self) -> usize {
        self.text.len() / self.len
    }

    fn get(&self, n: usize) -> &str {
        self.text.get(n * self.len..(n + 1) * self.len).unwrap()
    }
}

/// A token never seen before, beside the bare signature check and `jsonwebtoken`.
fn cold(c: &mut Criterion) {
    let peers = [
        (Algorithm::Es256, jsonwebtoken::Algorithm::ES256),
        (Algorithm::EdDsa, jsonwebtoken::Algorithm::EdDSA),
        (Algorithm::Rs256, jsonwebtoken::Algorithm::RS256),
    ];
    for (ours, theirs) in peers {
        let mut group = c.benchmark_group(format!("verify/cold/{theirs:?}"));
        let key = SigningKey::generate(ours).unwrap();
        let jwk = serde_json::to_value(key.public_jwk()).unwrap();
        let acme = tenant("acme", placed("main", DeploymentModel::Pool, "eu-1"));
        let control = ControlPlane::with_key(vec![acme], key);
        let token = control.token("acme", "u:ada");

        let (public, message, signature) = raw(ours, token.len());
        group.bench_function("raw signature", |b| {
            b.iter(|| public.verify_sig(black_box(&message), black_box(&signature)).unwrap());
        });
        // Nothing is remembered, so every token is a new one.
        let wall = control.builder().remembered_tokens(0).build().unwrap();
        wall.accept(control.sign(1, None)).unwrap();
        group.bench_function("partywall", |b| {
            b.iter(|| wall.verify(AccessToken::new(black_box(&token))).unwrap());
        });
        let key = DecodingKey::from_jwk(&serde_json::from_value(jwk).unwrap()).unwrap();
        let mut rules = Validation::new(theirs);
        rules.set_audience(&[ControlPlane::AUDIENCE]);
        rules.set_issuer(&[ControlPlane::ISSUER]);
        rules.validate_nbf = true;
        rules.validate_exp = false; // its clock is the wall's, ours stands
        group.bench_function("jsonwebtoken", |b| {
            b.iter(|| decode::<serde_json::Value>(black_box(&token), &key, &rules).unwrap());
        });
        group.finish();
    }
}

/// A key, a message as long as a token, and its signature.
fn raw(algorithm: Algorithm, len: usize) -> (ParsedPublicKey, Vec<u8>, Vec<u8>) {
    let (message, random) = (vec![b'a'; len], SystemRandom::new());
    let (public, signature) = match algorithm {
        Algorithm::Es256 => {
            let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            let signature = key.sign(&random, &message).unwrap().as_ref().to_vec();
            let bytes = key.public_key().as_ref();
            (ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, bytes), signature)
        }
        Algorithm::EdDsa => {
            let key = Ed25519KeyPair::generate().unwrap();
            let signature = key.sign(&message).as_ref().to_vec();
            (ParsedPublicKey::new(&signature::ED25519, key.public_key().as_ref()), signature)
        }
        _ => {
            let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(&signature::RSA_PKCS1_SHA256, &random, &message, &mut signature).unwrap();
            let bytes = key.public_key().as_ref();
            (ParsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, bytes), signature)
        }
    };
    (public.unwrap(), message, signature)
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(3));
    targets = warm, cold
}
criterion_main!(benches);
