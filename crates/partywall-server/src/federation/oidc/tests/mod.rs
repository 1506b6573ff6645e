//! Providers that are honest, and the same providers with one thing wrong.

use std::{collections::HashMap, time::Duration};

use aws_lc_rs::rand::SystemRandom;
use axum::http::StatusCode;
use serde_json::{Value, json};
use url::Url;

use super::*;
use crate::control::OidcProfile;
use idp::{Idp, KEYS, METADATA, TOKEN, Twist, USER_INFO};

mod idp;
mod judge;
mod profiles;
mod upkeep;

const NOW: Timestamp = Timestamp(1_800_000_000);
const CLIENT: &str = "us";
/// As it is in a header: form-encoded. It has every character that wants to be.
const SECRET: &str = "s%25cr%2Bt%3A%26%3D%2F";
const PLAIN_SECRET: &str = "s%cr+t:&=/";

/// A connection of `acme`, to some provider.
struct Registered {
    oidc: Arc<Oidc>,
    tenant: TenantId,
    connection: ConnectionId,
    provider: OidcProvider,
    redirect_uri: String,
}

impl Registered {
    fn with(idp: &Idp) -> Self {
        Self::of(OidcProvider::new(&idp.issuer, CLIENT))
    }

    fn of(provider: OidcProvider) -> Self {
        let connection = ConnectionId::draw(&SystemRandom::new()).unwrap();
        Self {
            oidc: Arc::new(Oidc::new(Arc::new(Outbound::new(true)))),
            tenant: "acme".parse().unwrap(),
            redirect_uri: format!("https://id.test/federation/acme/{connection}/callback"),
            connection,
            provider,
        }
    }

    fn party(&self) -> Party<'_> {
        Party {
            tenant: &self.tenant,
            connection: &self.connection,
            provider: &self.provider,
            redirect_uri: &self.redirect_uri,
        }
    }

    async fn begin(&self, wish: Wish<'_>) -> Result<(String, Pending), OidcError> {
        self.oidc.begin(self.party(), "state-1", wish, (&SystemRandom::new(), NOW)).await
    }

    async fn finish(&self, pending: &Pending, back: &str) -> Result<Upstream, OidcError> {
        let answer = Form::parse(back.as_bytes()).unwrap();
        self.oidc.finish(self.party(), pending, &answer, PLAIN_SECRET, NOW).await
    }

    async fn sign_in(&self, idp: &Idp) -> Result<Upstream, OidcError> {
        let (url, pending) = self.begin(Wish::default()).await?;
        self.finish(&pending, &idp.sign_in(&url)).await
    }

    async fn rule(&self, idp: &Idp) -> &'static str {
        self.sign_in(idp).await.map_or_else(|error| error.rule(), |_| "came in")
    }
}

fn query(url: &str) -> HashMap<String, String> {
    Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

#[tokio::test]
async fn f01_a_provider_says_who_somebody_is() {
    let idp = Idp::new().await;
    let acme = Registered::with(&idp);
    idp.mind().user_info = json!({
        "sub": "Ada", "email": "Ada@acme.test", "email_verified": true, "name": "Ada Lovelace",
    });
    idp.mind().claims = Box::new(|claims| {
        claims["auth_time"] = (NOW.0 - 5).into();
        claims["amr"] = json!(["pwd", "mfa"]);
        claims["groups"] = json!(["Finance"]);
    });
    let ada = acme.sign_in(&idp).await.unwrap();
    assert_eq!((ada.issuer.as_str(), ada.subject.as_str()), (idp.issuer.as_str(), "Ada"));
    let email = ada.email.unwrap();
    assert_eq!((email.address.as_str(), email.said_to_be_verified), ("ada@acme.test", true));
    assert_eq!(ada.name.as_deref(), Some("Ada Lovelace"));
    assert_eq!((ada.auth_time, ada.multi_factor), (Some(NOW - Duration::from_secs(5)), true));
    assert_eq!(ada.session, Some(crate::federation::UpstreamSession::Oidc { sid: "s-1".into() }));
    // Whoever did not say where groups are gets none.
    assert_eq!(ada.groups, Vec::<String>::new());
    let groups = OidcProvider { groups_claim: Some("groups".into()), ..acme.provider.clone() };
    assert_eq!(Registered::of(groups).sign_in(&idp).await.unwrap().groups, ["Finance"]);
}

#[tokio::test]
async fn f06_a_sign_in_is_begun_with_all_that_ties_its_answer_to_it() {
    let idp = Idp::new().await;
    let acme = Registered::with(&idp);
    let ada = "ada@acme.test".parse().unwrap();
    let wish = Wish { login_hint: Some(&ada), again: true };
    let (url, pending) = acme.begin(wish).await.unwrap();
    assert!(url.starts_with(&format!("{}/authorize?audience=x&", idp.issuer)), "{url}");
    let asked = query(&url);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("redirect_uri", &acme.redirect_uri),
        ("scope", "openid profile email"),
        ("state", "state-1"),
        ("code_challenge_method", "S256"),
        ("prompt", "login"),
        ("login_hint", "ada@acme.test"),
        ("max_age", "0"),
    ] {
        assert_eq!(asked[name], value, "{name}");
    }
    // RFC 7636 4.1, and what goes out is not what comes back.
    assert_eq!(pending.code_verifier.len(), 43);
    assert!(!url.contains(&pending.code_verifier));
    let (_, other) = acme.begin(Wish::default()).await.unwrap();
    assert_ne!(pending.nonce, other.nonce);
    assert_ne!(pending.code_verifier, other.code_verifier);

    // Who asked when somebody showed what, is told.
    let back = idp.sign_in(&url);
    assert_eq!(acme.finish(&pending, &back).await.unwrap_err().rule(), "claim_missing");
    for (ago, rule) in [(0, "came in"), (60, "came in"), (61, "claim_invalid")] {
        idp.mind().claims = Box::new(move |claims| claims["auth_time"] = (NOW.0 - ago).into());
        let (url, pending) = acme.begin(wish).await.unwrap();
        let came = acme.finish(&pending, &idp.sign_in(&url)).await;
        assert_eq!(came.map_or_else(|error| error.rule(), |_| "came in"), rule);
    }
}

#[tokio::test]
async fn f06_an_answer_says_whose_it_is() {
    let idp = Idp::new().await;
    let acme = Registered::with(&idp);
    let (url, pending) = acme.begin(Wish::default()).await.unwrap();
    let back = idp.sign_in(&url);
    let (honest, _) = back.split_once("&iss=").unwrap();
    let refused = async |back: &str| acme.finish(&pending, back).await.unwrap_err().rule();
    for (iss, rule) in [
        ("", "callback_issuer_missing"),
        ("&iss=", "callback_issuer_missing"),
        ("&iss=https://evil.test", "callback_issuer_mismatch"),
        (&format!("&iss={}/", idp.issuer), "callback_issuer_mismatch"),
    ] {
        assert_eq!(refused(&format!("{honest}{iss}")).await, rule, "{iss}");
    }
    // Of errors, too: they are not believed before that.
    assert_eq!(refused("error=access_denied").await, "callback_issuer_missing");
    let error = format!("error=access_denied&error_description=No%0d%0away&iss={}", idp.issuer);
    let denied = acme.finish(&pending, &error).await.unwrap_err();
    assert_eq!(denied.to_string(), "the provider refused: access_denied (Noway)");
    assert_eq!(refused(&format!("iss={}", idp.issuer)).await, "callback_without_code");
    assert!(idp.mind().forms.is_empty(), "a code was sent before its answer was judged");
    assert!(acme.finish(&pending, &back).await.is_ok());

    // Of one that does not announce it, an answer without it is taken, and a wrong one is not.
    let quiet = Idp::new().await;
    quiet.mind().says_iss = false;
    let acme = Registered::with(&quiet);
    assert_eq!(acme.rule(&quiet).await, "came in");
    let (url, pending) = acme.begin(Wish::default()).await.unwrap();
    let wrong = format!("{}&iss={}", quiet.sign_in(&url), idp.issuer);
    let error = acme.finish(&pending, &wrong).await.unwrap_err();
    assert_eq!(error.rule(), "callback_issuer_mismatch");
}

#[tokio::test]
async fn f06_a_code_of_one_connection_is_nothing_to_another() {
    let (honest, evil) = (Idp::new().await, Idp::new().await);
    honest.mind().says_iss = false;
    evil.mind().says_iss = false;
    let (ours, theirs) = (Registered::with(&honest), Registered::with(&evil));
    // The sign-in of the one comes back at the address of the other.
    let (url, pending) = ours.begin(Wish::default()).await.unwrap();
    let back = honest.sign_in(&url);
    let mixed = theirs.finish(&pending, &back).await.unwrap_err();
    assert_eq!(mixed.rule(), "callback_of_other_connection");
    assert!(evil.mind().forms.is_empty(), "the code went to the other provider");
    // A code of the one in a sign-in of the other: the other gets it, and can do nothing with it.
    let (_, begun) = theirs.begin(Wish::default()).await.unwrap();
    assert_eq!(theirs.finish(&begun, &back).await.unwrap_err().rule(), "code_not_redeemed");
    let got = evil.mind().forms[0].clone();
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&got).finish();
    let replayed = reqwest::Client::new()
        .post(format!("{}/token", honest.issuer))
        .header("authorization", basic(CLIENT, PLAIN_SECRET))
        .body(form)
        .send()
        .await
        .unwrap();
    assert_eq!(replayed.status(), StatusCode::BAD_REQUEST);
    // Its own, at home, is good.
    let (url, pending) = ours.begin(Wish::default()).await.unwrap();
    assert!(ours.finish(&pending, &honest.sign_in(&url)).await.is_ok());
    // After the registration has changed it is not.
    let (url, pending) = ours.begin(Wish::default()).await.unwrap();
    let provider = OidcProvider { client_id: "new".into(), ..ours.provider.clone() };
    let party = Party { provider: &provider, ..ours.party() };
    let back = honest.sign_in(&url);
    let answer = Form::parse(back.as_bytes()).unwrap();
    let changed = ours.oidc.finish(party, &pending, &answer, PLAIN_SECRET, NOW).await;
    assert_eq!(changed.unwrap_err().rule(), "callback_of_other_connection");
}

#[tokio::test]
async fn f06_a_code_of_one_browser_is_nothing_to_another() {
    let idp = Idp::new().await;
    let acme = Registered::with(&idp);
    for (checks_pkce, rule) in [(true, "code_not_redeemed"), (false, "claim_invalid")] {
        idp.mind().checks_pkce = checks_pkce;
        let (victims, _) = acme.begin(Wish::default()).await.unwrap();
        let (_, attackers) = acme.begin(Wish::default()).await.unwrap();
        let stolen = idp.sign_in(&victims);
        // PKCE; and where the provider does not check it, the nonce (RFC 9700 4.5.3).
        assert_eq!(acme.finish(&attackers, &stolen).await.unwrap_err().rule(), rule);
    }
    // A code is good once.
    let (url, pending) = acme.begin(Wish::default()).await.unwrap();
    let back = idp.sign_in(&url);
    assert!(acme.finish(&pending, &back).await.is_ok());
    assert_eq!(acme.finish(&pending, &back).await.unwrap_err().rule(), "code_not_redeemed");
}

#[tokio::test]
async fn f08_a_token_with_one_thing_wrong_lets_nobody_in() {
    let idp = Idp::new().await;
    let acme = Registered::with(&idp);
    assert_eq!(acme.rule(&idp).await, "came in");
    let twist = |name: &'static str, value: Value| {
        idp.mind().claims = Box::new(move |claims| claims[name] = value.clone());
    };
    for (name, value, rule) in [
        ("nonce", "another".into(), "claim_invalid"),
        ("nonce", Value::Null, "claim_wrong_type"),
        ("aud", "them".into(), "audience_mismatch"),
        ("aud", json!([CLIENT, "them"]), "claim_missing"),
        ("azp", "them".into(), "claim_invalid"),
        ("iss", "https://evil.test".into(), "issuer_untrusted"),
        ("exp", (NOW.0 - 60).into(), "token_expired"),
        ("iat", (NOW.0 + 61).into(), "issued_in_future"),
        ("iat", (NOW.0 - 3600).into(), "issued_at_invalid"),
        ("at_hash", "AAAA".into(), "claim_invalid"),
        ("sub", Value::Null, "subject_wrong_type"),
    ] {
        twist(name, value.clone());
        assert_eq!(acme.rule(&idp).await, rule, "{name} {value}");
    }
    idp.mind().claims = Box::new(|_| {});
    assert_eq!(acme.rule(&idp).await, "came in");

    let part = |token: &str, n: usize| token.split('.').nth(n).unwrap().to_owned();
    let encoded = |json: Value| Base64UrlUnpadded::encode_string(json.to_string().as_bytes());
    let tokens: Vec<(&str, Twist)> = vec![
        ("id_token_missing", Box::new(|_| None)),
        (
            "algorithm_not_allowed",
            Box::new(move |token| {
                Some(format!("{}.{}.AA", encoded(json!({ "alg": "none" })), part(&token, 1)))
            }),
        ),
        (
            "encoding_invalid",
            Box::new(move |token| {
                Some(format!("{}.{}.", encoded(json!({ "alg": "none" })), part(&token, 1)))
            }),
        ),
        (
            "algorithm_not_allowed",
            Box::new(move |token| Some(hs256(&token, PLAIN_SECRET.as_bytes()))),
        ),
        (
            "signature_invalid",
            Box::new(move |token| {
                Some(format!("{}.{}.{}", part(&token, 0), part(&token, 1), "A".repeat(86)))
            }),
        ),
        ("token_not_compact", Box::new(|_| Some("token".into()))),
        ("token_encrypted", Box::new(|_| Some("a.b.c.d.e".into()))),
    ];
    for (rule, token) in tokens {
        idp.mind().token = token;
        assert_eq!(acme.rule(&idp).await, rule);
    }
    // The public key as an HMAC secret.
    let public = idp.mind().keys[0].public_jwk().to_string();
    idp.mind().token = Box::new(move |token| Some(hs256(&token, public.as_bytes())));
    assert_eq!(acme.rule(&idp).await, "algorithm_not_allowed");
    // Another provider's key, under the right name.
    let (other, kid) =
        (Idp::new().await, idp.mind().keys[0].public_jwk()["kid"].as_str().unwrap().to_owned());
    let forge = move |token: String| {
        let forged = other.mind().keys[0].sign_jws("JWT", &payload_of(&token)).unwrap();
        let header = encoded(json!({ "alg": "ES256", "kid": kid }));
        Some(format!("{header}.{}.{}", part(&forged, 1), part(&forged, 2)))
    };
    idp.mind().token = Box::new(forge);
    assert_eq!(acme.rule(&idp).await, "signature_invalid");
    idp.mind().token = Box::new(Some);
    // The budget for new keys is used up by now; the old ones still do.
    assert_eq!(acme.rule(&idp).await, "came in");
}

fn payload_of(token: &str) -> Value {
    let payload = Base64UrlUnpadded::decode_vec(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

fn hs256(token: &str, secret: &[u8]) -> String {
    use aws_lc_rs::hmac;

    let header = Base64UrlUnpadded::encode_string(br#"{"alg":"HS256","typ":"JWT"}"#);
    let input = format!("{header}.{}", token.split('.').nth(1).unwrap());
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
    format!("{input}.{}", Base64UrlUnpadded::encode_string(tag.as_ref()))
}

#[tokio::test]
async fn f08_user_info_is_of_the_same_person() {
    let idp = Idp::new().await;
    let acme = Registered::with(&idp);
    for (said, rule) in [
        (json!({ "sub": "Eve", "email": "ada@acme.test" }), "userinfo_of_other_subject"),
        (json!({ "sub": "ada" }), "userinfo_of_other_subject"),
        (json!({ "email": "ada@acme.test" }), "userinfo_of_other_subject"),
        (json!(["sub", "Ada"]), "answer_unreadable"),
        (json!({ "sub": "Ada" }), "came in"),
    ] {
        idp.mind().user_info = said.clone();
        assert_eq!(acme.rule(&idp).await, rule, "{said}");
    }
    idp.mind().instead.insert(USER_INFO, (StatusCode::UNAUTHORIZED, "text/plain", vec![]));
    assert_eq!(acme.rule(&idp).await, "userinfo_unreachable");
    // Who does not ask there is not told.
    let told = OidcProvider { user_info: Some(false), ..acme.provider.clone() };
    assert_eq!(Registered::of(told).rule(&idp).await, "came in");
}

#[tokio::test]
async fn i02_an_address_is_verified_by_true_and_by_what_stands_beside_it() {
    let idp = Idp::new().await;
    let acme = Registered::with(&idp);
    let verified = async |token: Value, told: Value| {
        idp.mind().claims = Box::new(move |claims| {
            for (name, value) in token.as_object().unwrap() {
                claims[name] = value.clone();
            }
        });
        idp.mind().user_info = told;
        let email = acme.sign_in(&idp).await.unwrap().email?;
        Some((email.address.to_string(), email.said_to_be_verified))
    };
    let ada = |is_verified| Some(("ada@acme.test".to_owned(), is_verified));
    let nothing = json!({ "sub": "Ada" });
    for (value, is_verified) in [
        (json!(true), true),
        (json!("true"), false),
        (json!(1), false),
        (json!("1"), false),
        (json!([true]), false),
        (json!({ "true": true }), false),
        (json!(null), false),
        (json!(false), false),
    ] {
        let token = json!({ "email": "ada@acme.test", "email_verified": value });
        assert_eq!(verified(token, nothing.clone()).await, ada(is_verified), "{value}");
    }
    assert_eq!(verified(json!({ "email": "ada@acme.test" }), nothing.clone()).await, ada(false));
    // The one is the token's, and what is verified is the other's.
    let told = json!({ "sub": "Ada", "email": "eve@evil.test", "email_verified": true });
    assert_eq!(verified(json!({ "email": "ada@acme.test" }), told).await, ada(false));
    assert_eq!(verified(json!({ "email": "no address" }), nothing).await, None);
    // An address from another claim was verified by nobody.
    let provider = OidcProvider { email_claim: Some("upn".into()), ..acme.provider.clone() };
    idp.mind().claims = Box::new(|claims| {
        claims["upn"] = "ada@acme.test".into();
        claims["email_verified"] = true.into();
    });
    let email = Registered::of(provider).sign_in(&idp).await.unwrap().email.unwrap();
    assert_eq!((email.address.as_str(), email.said_to_be_verified), ("ada@acme.test", false));
}

#[tokio::test]
async fn b04_two_providers_say_the_same_address_and_mean_two_people() {
    let (one, other) = (Idp::new().await, Idp::new().await);
    let said = json!({ "sub": "Ada", "email": "ada@acme.test", "email_verified": true });
    one.mind().user_info = said.clone();
    other.mind().user_info = said;
    let first = Registered::with(&one).sign_in(&one).await.unwrap();
    let second = Registered::with(&other).sign_in(&other).await.unwrap();
    assert_eq!(first.email, second.email);
    assert_eq!(first.subject, second.subject);
    assert_ne!(first.issuer, second.issuer);
}

#[tokio::test]
async fn f06_a_secret_is_shown_the_way_the_provider_wants() {
    let idp = Idp::new().await;
    for (offered, rule) in [
        (json!(["client_secret_post", "client_secret_basic"]), "came in"),
        (json!(["client_secret_post"]), "came in"),
        (json!(["private_key_jwt"]), "discovery_invalid"),
        (json!([]), "discovery_invalid"),
    ] {
        idp.mind().metadata = json!({ "token_endpoint_auth_methods_supported": offered });
        assert_eq!(Registered::with(&idp).rule(&idp).await, rule, "{offered}");
    }
    let forms = &idp.mind().forms;
    assert!(!forms[0].contains_key("client_secret"));
    assert_eq!(forms[1]["client_secret"], PLAIN_SECRET);
}
