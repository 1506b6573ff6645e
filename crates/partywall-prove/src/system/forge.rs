//! Tokens made without the issuer's key. None of them may ever be accepted.

use aws_lc_rs::{
    encoding::AsDer,
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value, json};

use super::Token;

/// A forged token, and what is wrong with it in a few words.
pub(super) struct Forged {
    pub(super) what: String,
    pub(super) token: String,
}

fn forged(what: impl Into<String>, token: String) -> Forged {
    Forged { what: what.into(), token }
}

/// A genuine token taken apart, its claims rewritten to another tenant's.
pub(super) struct Mould {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    /// As it was issued.
    genuine: [String; 3],
    /// Of the attacker, made for this run; nobody trusts them.
    keys: OwnKeys,
}

struct OwnKeys {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Mould {
    /// From the attacker's `token`, claiming to be of `tenant`. `None` when it is no JWT.
    pub(super) fn new(token: &Token, claim: &str, tenant: &str) -> Option<Self> {
        let mut mould = Self::of_envelope(token.expose())?;
        mould.rewrite(claim, tenant);
        Some(mould)
    }

    /// From any compact JWS, its claims as they are.
    pub(super) fn of_envelope(jws: &str) -> Option<Self> {
        let mut parts = jws.split('.').map(str::to_owned);
        let genuine = [parts.next()?, parts.next()?, parts.next()?];
        let decode = |part: &String| {
            let bytes = Base64UrlUnpadded::decode_vec(part).ok()?;
            serde_json::from_slice::<Map<String, Value>>(&bytes).ok()
        };
        let [header, claims, _] = &genuine;
        let (header, claims) = (decode(header)?, decode(claims)?);
        let keys = OwnKeys {
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?,
            ed: Ed25519KeyPair::generate().ok()?,
        };
        Some(Self { header, claims, genuine, keys })
    }

    pub(super) fn rewrite(&mut self, claim: &str, tenant: &str) {
        self.claims.insert(claim.to_owned(), Value::from(tenant));
    }

    /// The claims, rewritten.
    pub(super) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    fn with_header(&self, changes: &[(&str, Value)]) -> String {
        let mut header = self.header.clone();
        for (name, value) in changes {
            header.insert((*name).to_owned(), value.clone());
        }
        part(&header)
    }

    fn signature(&self) -> &str {
        let [_, _, signature] = &self.genuine;
        signature
    }

    /// Under signatures that are none.
    pub(super) fn bad_signatures(&self) -> Vec<Forged> {
        let message = format!("{}.{}", part(&self.header), part(&self.claims));
        let signature = self.signature();
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        let damaged: String = std::iter::once(first).chain(signature.chars().skip(1)).collect();
        let half: String = signature.chars().take(signature.len() / 2).collect();
        let zeros = Base64UrlUnpadded::encode_string(&[0; 64]);
        let noise = Base64UrlUnpadded::encode_string(super::chance::hex(64).as_bytes());
        [
            ("one letter changed", damaged),
            ("cut in half", half),
            ("empty", String::new()),
            ("64 zeros", zeros),
            ("random", noise),
        ]
        .into_iter()
        .map(|(what, signature)| forged(what, format!("{message}.{signature}")))
        .collect()
    }

    /// The rewritten claims under the genuine header and signature.
    pub(super) fn rewritten(&self) -> Vec<Forged> {
        let [header, _, signature] = &self.genuine;
        let token = format!("{header}.{}.{signature}", part(&self.claims));
        vec![forged("claims replaced, signature kept", token)]
    }

    /// `alg: none` in all spellings, and left out.
    pub(super) fn none(&self) -> Vec<Forged> {
        let spellings =
            ["none", "None", "NONE", "nOnE", "none ", " none", "none\u{0}", "n\u{0}one"];
        let mut algorithms: Vec<Value> = spellings.map(Value::from).into();
        algorithms.extend([json!(""), json!(null), json!([]), json!(["none"]), json!(0)]);
        let claims = part(&self.claims);
        let mut all: Vec<Forged> = algorithms
            .iter()
            .map(|alg| {
                let header = self.with_header(&[("alg", alg.clone())]);
                forged(format!("alg {alg}"), format!("{header}.{claims}."))
            })
            .collect();
        let kept = self.with_header(&[("alg", json!("none"))]);
        all.push(forged(
            "alg none, signature kept",
            format!("{kept}.{claims}.{}", self.signature()),
        ));
        let mut header = self.header.clone();
        header.remove("alg");
        all.push(forged("no alg", format!("{}.{claims}.", part(&header))));
        all
    }

    /// HMACs keyed with everything a public key may look like.
    pub(super) fn hmac(&self, key_set: &Value) -> Vec<Forged> {
        let algorithms = [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ];
        let claims = part(&self.claims);
        let mut all = Vec::new();
        for (what, secret) in secrets(key_set) {
            for (name, algorithm) in algorithms {
                let header = self.with_header(&[("alg", json!(name))]);
                let message = format!("{header}.{claims}");
                let tag = hmac::sign(&hmac::Key::new(algorithm, &secret), message.as_bytes());
                let tag = Base64UrlUnpadded::encode_string(tag.as_ref());
                all.push(forged(format!("{name} keyed with {what}"), format!("{message}.{tag}")));
            }
        }
        all
    }

    /// Other algorithms than the key is for.
    pub(super) fn algorithms(&self) -> Vec<Forged> {
        let own = self.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let claims = part(&self.claims);
        let names =
            ["RS256", "RS384", "PS256", "ES256", "ES384", "ES256K", "EdDSA", "HS256", "RS1"];
        let mut all = Vec::new();
        for name in names.into_iter().filter(|name| *name != own) {
            let header = self.with_header(&[("alg", json!(name))]);
            let kept = format!("{header}.{claims}.{}", self.signature());
            all.push(forged(format!("alg {name}, signature kept"), kept));
        }
        let signed = self.signed_by_ours(&[]).into_iter();
        all.extend(signed.filter(|(alg, _)| *alg != own).map(|(alg, token)| {
            forged(format!("alg {alg} by a key of our own under the known kid"), token)
        }));
        // Keyed with nothing, as where the key is read from a file that is empty.
        let header = self.with_header(&[("alg", json!("HS256"))]);
        let message = format!("{header}.{claims}");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b""), message.as_bytes());
        let tag = Base64UrlUnpadded::encode_string(tag.as_ref());
        all.push(forged("HS256 keyed with nothing", format!("{message}.{tag}")));
        all
    }

    /// Rightly signed, by a key of ours.
    pub(super) fn own_key(&self) -> Vec<Forged> {
        let kids = [
            ("the known kid", self.header.get("kid").cloned().unwrap_or(json!("1"))),
            ("an unknown kid", json!(super::chance::hex(16))),
            ("an empty kid", json!("")),
            ("a kid that is a path", json!("../../../../dev/null")),
            ("a kid that is SQL", json!("x' UNION SELECT 'secret")),
            ("a kid that is an address", json!("http://127.0.0.1:9/key")),
            ("a kid that is null", json!(null)),
        ];
        kids.into_iter()
            .flat_map(|(what, kid)| {
                let signed = self.signed_by_ours(&[("kid", kid)]);
                signed
                    .into_iter()
                    .map(move |(alg, token)| forged(format!("{alg} under {what}"), token))
            })
            .collect()
    }

    /// The key comes along in the header; `canary` is an address of ours.
    pub(super) fn key_in_header(&self, canary: &str) -> Vec<Forged> {
        let (ec, ed) = (self.keys.ec_jwk(), self.keys.ed_jwk());
        let certificate = self.keys.ec_spki().map(|der| Base64::encode_string(&der));
        let mut all = Vec::new();
        let mut add = |what: &str, changes: &[(&str, Value)]| {
            for (alg, token) in self.signed_by_ours(changes) {
                all.push(forged(format!("{alg} with {what}"), token));
            }
        };
        let set = format!("{canary}/jwks.json");
        add("jwk", &[("jwk", ec), ("kid", json!("prove"))]);
        add("jwk", &[("jwk", ed), ("kid", json!("prove"))]);
        add("jku", &[("jku", json!(set)), ("kid", json!("prove"))]);
        add("x5u", &[("x5u", json!(format!("{canary}/cert.pem"))), ("kid", json!("prove"))]);
        add("jku as kid", &[("kid", json!(set))]);
        if let Some(certificate) = certificate {
            add("x5c", &[("x5c", json!([certificate]))]);
        }
        all
    }

    /// The key set our canary would serve.
    pub(super) fn own_key_set(&self) -> Value {
        let with = |mut jwk: Value| {
            if let Some(jwk) = jwk.as_object_mut() {
                jwk.insert("kid".to_owned(), json!("prove"));
            }
            jwk
        };
        json!({ "keys": [with(self.keys.ec_jwk()), with(self.keys.ed_jwk())] })
    }

    /// The genuine token in spellings that are not its own.
    pub(super) fn spellings(&self) -> Vec<Forged> {
        let [header, claims, signature] = &self.genuine;
        let genuine = format!("{header}.{claims}.{signature}");
        let json = json!({ "protected": header, "payload": claims, "signature": signature });
        let standard = genuine.replace('-', "+").replace('_', "/");
        let mut all = vec![
            forged("padded", format!("{genuine}=")),
            forged("padded twice", format!("{genuine}==")),
            forged("a fourth part", format!("{genuine}.{signature}")),
            forged("a dot at the end", format!("{genuine}.")),
            forged("a dot in front", format!(".{genuine}")),
            forged("JSON serialization", json.to_string()),
            forged("quoted", format!("\"{genuine}\"")),
            forged("a space inside", format!("{header}. {claims}.{signature}")),
            forged("two, with a comma", format!("{genuine},{genuine}")),
            forged("two, with a space", format!("{genuine} {genuine}")),
            forged("in the form of a JWE", self.encrypted_in_form()),
        ];
        if standard != genuine {
            all.push(forged("the other alphabet", standard));
        }
        all
    }

    /// Five parts, `dir`, with nothing inside that could be decrypted.
    fn encrypted_in_form(&self) -> String {
        let header = json!({ "alg": "dir", "enc": "A256GCM", "zip": "DEF" });
        let header = Base64UrlUnpadded::encode_string(header.to_string().as_bytes());
        let [_, claims, signature] = &self.genuine;
        format!("{header}..{claims}.{claims}.{signature}")
    }

    /// 64 KiB.
    pub(super) fn oversize(&self) -> Vec<Forged> {
        let mut claims = self.claims.clone();
        claims.insert("padding".to_owned(), Value::from("x".repeat(48 << 10)));
        let token = format!("{}.{}.{}", part(&self.header), part(&claims), self.signature());
        vec![forged("48 KiB of claims", token)]
    }

    /// The rewritten claims as nobody signed them.
    pub(super) fn unsigned(&self) -> String {
        let [header, _, signature] = &self.genuine;
        format!("{header}.{}.{signature}", part(&self.claims))
    }

    /// By our P-256 key and by our Ed25519 key.
    fn signed_by_ours(&self, changes: &[(&str, Value)]) -> Vec<(&'static str, String)> {
        let claims = part(&self.claims);
        let message = |alg: &str| {
            let mut changes = changes.to_vec();
            changes.push(("alg", json!(alg)));
            format!("{}.{claims}", self.with_header(&changes))
        };
        let mut all = Vec::new();
        let es = message("ES256");
        if let Ok(signature) = self.keys.ec.sign(&SystemRandom::new(), es.as_bytes()) {
            let signature = Base64UrlUnpadded::encode_string(signature.as_ref());
            all.push(("ES256", format!("{es}.{signature}")));
        }
        let ed = message("EdDSA");
        let signature = self.keys.ed.sign(ed.as_bytes());
        let signature = Base64UrlUnpadded::encode_string(signature.as_ref());
        all.push(("EdDSA", format!("{ed}.{signature}")));
        all
    }
}

impl OwnKeys {
    fn ec_jwk(&self) -> Value {
        // SEC 1 2.3.3: 0x04, x, y.
        let point = self.ec.public_key().as_ref();
        let coordinate = |from: usize| {
            Base64UrlUnpadded::encode_string(point.get(from..from + 32).unwrap_or_default())
        };
        json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "x": coordinate(1), "y": coordinate(33) })
    }

    fn ed_jwk(&self) -> Value {
        let x = Base64UrlUnpadded::encode_string(self.ed.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x })
    }

    fn ec_spki(&self) -> Option<Vec<u8>> {
        self.ec.public_key().as_der().ok().map(|der| der.as_ref().to_vec())
    }
}

fn part(object: &Map<String, Value>) -> String {
    let text = serde_json::to_string(object).unwrap_or_default();
    Base64UrlUnpadded::encode_string(text.as_bytes())
}

/// Everything a careless verifier may take for the secret: each public key as JSON, as DER, as PEM
/// with and without its last line break, and as bare bytes.
fn secrets(key_set: &Value) -> Vec<(String, Vec<u8>)> {
    let keys = key_set.get("keys").and_then(Value::as_array);
    let mut all = vec![("the key set".to_owned(), key_set.to_string().into_bytes())];
    for jwk in keys.into_iter().flatten() {
        all.push(("the JWK".to_owned(), jwk.to_string().into_bytes()));
        if let Some(raw) = bare(jwk) {
            all.push(("the bare key".to_owned(), raw));
        }
        let Some(der) = spki(jwk) else { continue };
        let body = Base64::encode_string(&der);
        let lines: Vec<String> = body
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        let pem =
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", lines.join("\n"));
        all.push(("the PEM".to_owned(), format!("{pem}\n").into_bytes()));
        all.push(("the PEM without its last line break".to_owned(), pem.into_bytes()));
        all.push(("the DER".to_owned(), der));
    }
    all
}

/// A JWK's key material as bytes (RFC 7518 6, RFC 8037 2).
fn bare(jwk: &Value) -> Option<Vec<u8>> {
    let field = |name: &str| {
        let text = jwk.get(name)?.as_str()?;
        Base64UrlUnpadded::decode_vec(text).ok()
    };
    match jwk.get("kty")?.as_str()? {
        "EC" => Some([vec![4], field("x")?, field("y")?].concat()),
        "OKP" => field("x"),
        "RSA" => field("n"),
        _ => None,
    }
}

/// A JWK as SubjectPublicKeyInfo (RFC 5280 4.1.2.7).
fn spki(jwk: &Value) -> Option<Vec<u8>> {
    // The algorithm identifiers of P-256, Ed25519 and RSA: RFC 5480 2.1.1, RFC 8410 3, RFC 8017 A.1.
    const P256: &[u8] = &[
        0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
    ];
    const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
    const RSA: &[u8] =
        &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let raw = bare(jwk)?;
    let (identifier, key) = match jwk.get("kty")?.as_str()? {
        "EC" if jwk.get("crv")?.as_str()? == "P-256" => (P256, raw),
        "OKP" if jwk.get("crv")?.as_str()? == "Ed25519" => (ED25519, raw),
        "RSA" => {
            let e = Base64UrlUnpadded::decode_vec(jwk.get("e")?.as_str()?).ok()?;
            (RSA, der(0x30, &[der_integer(&raw), der_integer(&e)].concat()))
        }
        _ => return None,
    };
    let bits = [vec![0], key].concat();
    Some(der(0x30, &[identifier.to_vec(), der(0x03, &bits)].concat()))
}

fn der_integer(number: &[u8]) -> Vec<u8> {
    // A first bit that is set would read as a minus.
    let sign: &[u8] = if number.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
    der(0x02, &[sign, number].concat())
}

fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let digits: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(0));
            out.extend(digits);
        }
    }
    out.extend_from_slice(contents);
    out
}

#[cfg(test)]
mod tests {
    use partywall::token::{Algorithm, SigningKey};

    use super::*;

    #[test]
    fn j01_a_public_key_is_written_as_others_write_it() {
        // Our DER against the library's own, for the key it can encode.
        let keys = Mould::of_envelope(&signed(Algorithm::Es256)).unwrap().keys;
        assert_eq!(spki(&keys.ec_jwk()), keys.ec_spki());
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
            let jwk = SigningKey::generate(algorithm).unwrap().public_jwk();
            let forms = secrets(&json!({ "keys": [jwk] }));
            assert_eq!(forms.len(), 6, "{algorithm}");
        }
    }

    #[test]
    fn j01_what_is_forged_is_well_formed_and_claims_the_victim() {
        let mould = Mould::new(&Token::new(signed(Algorithm::EdDsa)), "tid", "victim").unwrap();
        let set = json!({ "keys": [] });
        let all = [
            mould.bad_signatures(),
            mould.rewritten(),
            mould.none(),
            mould.hmac(&set),
            mould.algorithms(),
            mould.own_key(),
            mould.key_in_header("http://127.0.0.1:1"),
        ];
        for forged in all.into_iter().flatten() {
            let claims = forged.token.split('.').nth(1).unwrap();
            let claims = Base64UrlUnpadded::decode_vec(claims).unwrap();
            let claims: Value = serde_json::from_slice(&claims).unwrap();
            assert_eq!(claims["tid"], "victim", "{}", forged.what);
        }
    }

    fn signed(algorithm: Algorithm) -> String {
        let key = SigningKey::generate(algorithm).unwrap();
        key.sign_jws("at+jwt", &json!({ "tid": "attacker" })).unwrap()
    }
}
