//! Verifiers as people write them, each with one thing forgotten.

use std::collections::BTreeMap;

use aws_lc_rs::{
    hmac,
    signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey},
};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;

use super::Fault;

/// What a careless verifier goes by.
pub(super) struct Verifier {
    pub(super) fault: Option<Fault>,
    pub(super) jwk: Value,
    pub(super) issuer: &'static str,
    pub(super) audience: &'static str,
    pub(super) now: u64,
    pub(super) revoked: Vec<String>,
    /// Epoch and whether it is served, by tenant.
    pub(super) tenants: BTreeMap<String, (u64, bool)>,
}

impl Verifier {
    /// The tenant the token proves, as far as this verifier cares.
    pub(super) async fn tenant(&self, token: &str) -> Option<String> {
        let is = |fault| self.fault == Some(fault);
        let token = if is(Fault::Padding) { token.trim_end_matches('=') } else { token };
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else { return None };
        let message = format!("{header}.{claims}");
        let (header, _) = json(header)?;
        let (claims, repeated) = json(claims)?;
        let signature = Base64UrlUnpadded::decode_vec(signature).ok()?;
        if !is(Fault::AnySignature)
            && !self.is_signed(&header, message.as_bytes(), &signature).await
        {
            return None;
        }
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let time = |name: &str| claims.get(name).and_then(Value::as_u64);
        let checks = [
            (Fault::NoTyp, header.get("typ").and_then(Value::as_str) == Some("at+jwt")),
            (Fault::NoIss, text("iss") == Some(self.issuer)),
            (Fault::NoAud, text("aud") == Some(self.audience)),
            (Fault::NoExp, time("exp").is_some_and(|exp| exp > self.now)),
            (Fault::NoNbf, time("nbf").is_none_or(|nbf| nbf <= self.now)),
            (Fault::LastWins, !repeated),
            (
                Fault::NoRevocation,
                text("jti").is_some_and(|jti| !self.revoked.iter().any(|r| r == jti)),
            ),
        ];
        if checks.into_iter().any(|(fault, holds)| !holds && !is(fault)) {
            return None;
        }
        let tenant = match claims.get("tid") {
            Some(Value::String(tenant)) => tenant.clone(),
            Some(Value::Array(many)) if is(Fault::FirstOfMany) => {
                many.first()?.as_str()?.to_owned()
            }
            None if is(Fault::DefaultTenant) => self.tenants.keys().next()?.clone(),
            _ => return None,
        };
        let Some((epoch, served)) = self.tenants.get(&tenant) else {
            return is(Fault::AnyTenant).then_some(tenant);
        };
        let fresh = time("tep").is_some_and(|tep| tep >= *epoch) || is(Fault::NoEpoch);
        ((*served || is(Fault::NoStatus)) && fresh).then_some(tenant)
    }

    async fn is_signed(&self, header: &Value, message: &[u8], signature: &[u8]) -> bool {
        let is = |fault| self.fault == Some(fault);
        let alg = header.get("alg").and_then(Value::as_str).unwrap_or_default();
        if is(Fault::NoneAllowed) && alg.trim().eq_ignore_ascii_case("none") {
            return true;
        }
        if is(Fault::HmacByHeader) && alg == "HS256" {
            let key = hmac::Key::new(hmac::HMAC_SHA256, self.jwk.to_string().as_bytes());
            return hmac::verify(&key, message, signature).is_ok();
        }
        // "What we cannot check, others will have checked."
        if is(Fault::OtherAlgorithms) && alg != "ES256" {
            return true;
        }
        if is(Fault::KeyInHeader)
            && let Some(jwk) = header.get("jwk")
        {
            return verify(jwk, message, signature);
        }
        if is(Fault::FetchesKeys)
            && let Some(url) = header.get("jku").and_then(Value::as_str)
            && let Some(address) = url.strip_prefix("http://").and_then(|url| url.split('/').next())
        {
            let _ = tokio::net::TcpStream::connect(address).await;
            return false;
        }
        let kid = header.get("kid").and_then(Value::as_str);
        if is(Fault::UnknownKey) && kid != self.jwk.get("kid").and_then(Value::as_str) {
            return true;
        }
        alg == "ES256" && verify(&self.jwk, message, signature)
    }
}

/// A part of a token, and whether a name stands in it twice. The last one wins.
fn json(part: &str) -> Option<(Value, bool)> {
    let bytes = Base64UrlUnpadded::decode_vec(part).ok()?;
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let repeated =
        value.as_object()?.keys().any(|name| text.matches(&format!("\"{name}\":")).count() > 1);
    Some((value, repeated))
}

fn verify(jwk: &Value, message: &[u8], signature: &[u8]) -> bool {
    let field = |name: &str| {
        let text = jwk.get(name).and_then(Value::as_str).unwrap_or_default();
        Base64UrlUnpadded::decode_vec(text).unwrap_or_default()
    };
    if jwk.get("kty").and_then(Value::as_str) == Some("OKP") {
        return UnparsedPublicKey::new(&ED25519, field("x")).verify(message, signature).is_ok();
    }
    let point = [vec![4], field("x"), field("y")].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
}
