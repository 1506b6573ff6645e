//! ID tokens as well-known providers make them, under the profiles made for them: each as its
//! documentation shows it, and beside it the ones that are not this tenant's.

use std::sync::LazyLock;

use partywall::token::{Algorithm, SigningKey};

use super::*;

static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(Algorithm::Rs256).unwrap());

const DIRECTORY: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const OTHER_DIRECTORY: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";

fn provider(profile: OidcProfile, issuer: &str) -> OidcProvider {
    OidcProvider { profile, ..OidcProvider::new(issuer, CLIENT) }
}

/// What is made of a token with these claims and those that every one has.
fn judged(provider: &OidcProvider, claims: &Value) -> Result<Upstream, TokenError> {
    let mut all = json!({
        "iss": provider.issuer, "aud": CLIENT, "nonce": "n-1", "iat": NOW.0, "exp": NOW.0 + 3600,
    });
    for (name, value) in claims.as_object().unwrap() {
        all[name] = value.clone();
    }
    let registered = Registered::of(provider.clone());
    let pending = Pending {
        connection: registered.connection.clone(),
        issuer: provider.issuer.clone(),
        client_id: CLIENT.to_owned(),
        redirect_uri: registered.redirect_uri.clone(),
        nonce: "n-1".to_owned(),
        code_verifier: String::new(),
        shown_since: None,
    };
    let token = KEY.sign_jws("JWT", &all).unwrap();
    let tokens = Tokens { id_token: None, access_token: None };
    let keys = json!({ "keys": [KEY.public_jwk()] }).to_string();
    let keys = KeySet::parse(keys.as_bytes()).unwrap();
    let id_token = judge(registered.party(), &pending, &tokens, &token, &keys, NOW)?;
    Ok(claims::upstream(provider, &id_token, None))
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn rule(provider: &OidcProvider, claims: &Value) -> &'static str {
    judged(provider, claims).map_or_else(|error| error.code(), |_| "came in")
}

fn email(provider: &OidcProvider, claims: &Value) -> Option<(String, bool)> {
    let email = judged(provider, claims).unwrap().email?;
    Some((email.address.to_string(), email.said_to_be_verified))
}

fn entra(directory: &str) -> OidcProvider {
    let issuer = format!("https://login.microsoftonline.com/{directory}/v2.0");
    provider(OidcProfile::EntraId, &issuer)
}

/// <https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference>
fn entra_claims() -> Value {
    json!({
        "ver": "2.0", "tid": DIRECTORY, "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
        "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ", "name": "Ada Lovelace",
        "preferred_username": "ada@contoso.test", "email": "ada@contoso.test",
        "groups": ["0760b6cf-170e-4a14-91b3-4b78e0739963"], "rh": "0.AAA", "uti": "t",
    })
}

#[test]
fn i28_entra_is_one_directory_and_its_address_is_nobodys_until_its_owner_is_known() {
    let ours = entra(DIRECTORY);
    let ada = judged(&ours, &entra_claims()).unwrap();
    assert_eq!(ada.subject, "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ");
    assert_eq!(ada.groups, ["0760b6cf-170e-4a14-91b3-4b78e0739963"]);
    assert_eq!(
        (ada.name.as_deref(), ada.login.as_str()),
        (Some("Ada Lovelace"), "ada@contoso.test")
    );

    // F-07, B-14: a directory is in the issuer and in `tid`, and both are the registered one.
    for tid in [json!(OTHER_DIRECTORY), json!(DIRECTORY.to_uppercase()), json!("common")] {
        assert_eq!(rule(&ours, &with(entra_claims(), "tid", tid)), "tenant_invalid");
    }
    assert_eq!(rule(&ours, &with(entra_claims(), "tid", Value::Null)), "tenant_wrong_type");
    assert_eq!(rule(&entra(OTHER_DIRECTORY), &entra_claims()), "tenant_invalid");
    let others = with(entra_claims(), "iss", json!(entra(OTHER_DIRECTORY).issuer));
    assert_eq!(rule(&ours, &others), "issuer_untrusted");

    // B-04, B-05: what any administrator of any directory can type in links to nothing.
    let said = with(entra_claims(), "email", json!("victim@bigcorp.test"));
    assert_eq!(email(&ours, &said), None);
    for (name, value, verified) in [
        ("email_verified", json!(true), None),
        ("xms_edov", json!(false), None),
        ("xms_edov", json!("1"), None),
        ("xms_edov", json!(1), None),
        ("xms_edov", json!(true), Some("victim@bigcorp.test")),
        ("verified_primary_email", json!([]), None),
        ("verified_primary_email", json!(["ada@contoso.test"]), Some("ada@contoso.test")),
        ("verified_secondary_email", json!(["a@contoso.test", "b@c.test"]), Some("a@contoso.test")),
    ] {
        let expected = verified.map(|address| (address.to_owned(), true));
        assert_eq!(
            email(&ours, &with(said.clone(), name, value.clone())),
            expected,
            "{name} {value}"
        );
    }
}

#[test]
fn f07_google_is_one_organisation() {
    let google = OidcProvider {
        hosted_domain: Some("acme.test".into()),
        ..provider(OidcProfile::Google, "https://accounts.google.com")
    };
    // https://developers.google.com/identity/openid-connect/openid-connect#an-id-tokens-payload
    let claims = json!({
        "azp": CLIENT, "sub": "10769150350006150715113082367", "hd": "acme.test",
        "email": "ada@acme.test", "email_verified": true, "name": "Ada Lovelace",
        "picture": "https://lh3.example/a", "given_name": "Ada", "family_name": "Lovelace",
    });
    assert_eq!(email(&google, &claims), Some(("ada@acme.test".into(), true)));
    assert_eq!(rule(&google, &with(claims.clone(), "hd", json!("evil.test"))), "claim_invalid");
    assert_eq!(
        rule(&google, &with(claims.clone(), "hd", json!(["acme.test"]))),
        "claim_wrong_type"
    );
    // A private account has none.
    let mut private = claims;
    private.as_object_mut().unwrap().remove("hd");
    assert_eq!(rule(&google, &private), "claim_missing");
}

#[test]
fn f08_keycloaks_other_tokens_are_no_id_tokens() {
    let keycloak = provider(OidcProfile::Keycloak, "https://sso.acme.test/realms/staff");
    // https://www.keycloak.org/docs/latest/server_admin/#_oidc_token_mappers
    let claims = json!({
        "typ": "ID", "azp": CLIENT, "sub": "f:1:ada", "sid": "8e5f9c0d", "acr": "1",
        "auth_time": NOW.0 - 3, "jti": "j", "email": "ada@acme.test", "email_verified": true,
        "name": "Ada Lovelace", "preferred_username": "ada", "groups": ["/staff/Finance"],
        "realm_access": { "roles": ["tenant-admin"] }, "at_hash": "x",
    });
    let ada = judged(&keycloak, &claims).unwrap();
    assert_eq!(ada.groups, ["/staff/Finance"]);
    assert_eq!(
        ada.session,
        Some(crate::federation::UpstreamSession::Oidc { sid: "8e5f9c0d".into() })
    );
    for typ in ["Bearer", "Refresh", "Logout", "id"] {
        assert_eq!(
            rule(&keycloak, &with(claims.clone(), "typ", json!(typ))),
            "claim_invalid",
            "{typ}"
        );
    }
    let realms = with(claims, "iss", json!("https://sso.acme.test/realms/other"));
    assert_eq!(rule(&keycloak, &realms), "issuer_untrusted");
}

#[test]
fn f08_cognitos_access_token_is_no_id_token() {
    let issuer = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_EXAMPLE";
    let cognito = provider(OidcProfile::Cognito, issuer);
    // https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-id-token.html
    let claims = json!({
        "token_use": "id", "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "auth_time": NOW.0,
        "cognito:username": "ada", "cognito:groups": ["Finance"], "email": "ada@acme.test",
        "email_verified": true, "custom:tenant": "other", "custom:roles": "tenant-admin",
    });
    let ada = judged(&cognito, &claims).unwrap();
    assert_eq!(ada.groups, ["Finance"]);
    assert_eq!(email(&cognito, &claims), Some(("ada@acme.test".into(), true)));
    assert_eq!(
        rule(&cognito, &with(claims.clone(), "token_use", json!("access"))),
        "claim_invalid"
    );
    // As its UserInfo endpoint says it.
    let text = with(claims, "email_verified", json!("true"));
    assert_eq!(email(&cognito, &text), Some(("ada@acme.test".into(), false)));
}

#[test]
fn f08_okta_and_auth0() {
    let okta = provider(OidcProfile::Okta, "https://acme.okta.test/oauth2/default");
    // https://developer.okta.com/docs/api/openapi/okta-oauth/guides/overview/
    let claims = json!({
        "ver": 1, "sub": "00uid4BxXw6I6TV4m0g3", "jti": "ID.4eAWJOCMB3SX8XewDfVR",
        "auth_time": NOW.0, "at_hash": "cpqKfdQA5eH891Ff5oJr_Q", "amr": ["pwd", "otp", "mfa"],
        "idp": "00ok1u7AsAkrwdZL3z0g3", "name": "Ada Lovelace", "email": "ada@acme.test",
        "email_verified": true, "groups": ["Everyone", "Finance"], "preferred_username": "ada",
    });
    let ada = judged(&okta, &claims).unwrap();
    assert_eq!((ada.groups.len(), ada.multi_factor), (2, true));
    let one_factor = with(claims, "amr", json!(["pwd"]));
    assert!(!judged(&okta, &one_factor).unwrap().multi_factor);

    // https://auth0.com/docs/secure/tokens/id-tokens/id-token-structure
    let auth0 = OidcProvider {
        groups_claim: Some("https://acme.test/groups".into()),
        ..provider(OidcProfile::Auth0, "https://acme.eu.auth0.test/")
    };
    let claims = json!({
        "sub": "auth0|507f1f77bcf86cd799439011", "sid": "s", "name": "ada@acme.test",
        "nickname": "ada", "email": "ada@acme.test", "email_verified": false,
        "updated_at": "2026-01-01T00:00:00Z", "org_id": "org_1",
        "https://acme.test/groups": ["Finance"],
    });
    let ada = judged(&auth0, &claims).unwrap();
    assert_eq!(ada.subject, "auth0|507f1f77bcf86cd799439011");
    assert_eq!(
        (ada.groups, ada.email.unwrap().said_to_be_verified),
        (vec!["Finance".to_owned()], false)
    );
}

/// F-09: whatever a provider adds, none of it becomes a tenant, a role or an id of ours.
#[test]
fn f09_claims_that_name_our_things_say_nothing() {
    let generic = provider(OidcProfile::Generic, "https://idp.acme.test");
    let plain = json!({ "sub": "Ada", "name": "Ada" });
    let mut loaded = plain.clone();
    for (name, value) in [
        ("tid", json!("bond")),
        ("tenant", json!("bond")),
        ("roles", json!(["tenant-admin", "operator"])),
        ("role", json!("operator")),
        ("cid", json!("c-other")),
        ("act", json!({ "sub": "u:eve" })),
        ("groups", json!(["tenant-admin"])),
        ("scope", json!("partywall:admin")),
        ("user_id", json!(1)),
        ("https://aws.amazon.com/tags", json!({})),
    ] {
        loaded[name] = value;
    }
    assert_eq!(judged(&generic, &loaded).unwrap(), judged(&generic, &plain).unwrap());
}

#[test]
fn f07_settings_go_with_their_profile() {
    use OidcProfile::{Auth0, Cognito, EntraId, Generic, Google, Keycloak, Okta};

    let refused = |profile, issuer: &str| check_profile(&provider(profile, issuer)).is_err();
    for (profile, good, bad) in [
        (
            EntraId,
            entra(DIRECTORY).issuer,
            &[
                "https://login.microsoftonline.com/common/v2.0",
                "https://login.microsoftonline.com/organizations/v2.0",
                "https://login.microsoftonline.com/consumers/v2.0",
                "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
                "https://login.microsoftonline.com/{tenantid}/v2.0",
                "https://login.microsoftonline.com/contoso.test/v2.0",
                "https://login.microsoftonline.com/72F988BF-86f1-41af-91ab-2d7cd011db47/v2.0",
                "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47",
                "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0/",
                "https://login.microsoftonline.com.evil.test/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
                "https://evil.test/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
            ][..],
        ),
        (Auth0, "https://acme.eu.auth0.com/".into(), &["https://acme.eu.auth0.com"]),
        (
            Keycloak,
            "https://sso.acme.test/auth/realms/staff".into(),
            &[
                "https://sso.acme.test",
                "https://sso.acme.test/realms/",
                "https://sso.acme.test/staff",
            ],
        ),
        (
            Cognito,
            "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_X".into(),
            &[
                "https://cognito-idp.eu-west-1.amazonaws.com",
                "https://acme.auth.eu-west-1.amazoncognito.com/x",
            ],
        ),
        (Okta, "https://acme.okta.com".into(), &["https://accounts.google.com"]),
        // Everybody's issuers, without the profile that asks whose.
        (
            Generic,
            "https://idp.acme.test/t/1".into(),
            &[
                "https://accounts.google.com",
                "https://login.microsoftonline.com/common/v2.0",
                "https://sts.windows.net/72f988bf-86f1-41af-91ab-2d7cd011db47/",
            ],
        ),
    ] {
        assert!(!refused(profile, &good), "{profile:?} {good}");
        for bad in bad {
            assert!(refused(profile, bad), "{profile:?} {bad}");
        }
    }
    let google = |domain: Option<&str>| OidcProvider {
        hosted_domain: domain.map(str::to_owned),
        ..provider(Google, "https://accounts.google.com")
    };
    assert!(check_profile(&google(Some("acme.test"))).is_ok());
    for domain in [None, Some(""), Some("*"), Some("Acme.test"), Some("acme"), Some("acme.test.")] {
        assert!(check_profile(&google(domain)).is_err(), "{domain:?}");
    }
    let domain = Some("acme.test".to_owned());
    assert!(check_profile(&OidcProvider { hosted_domain: domain, ..entra(DIRECTORY) }).is_err());
    let none = OidcProvider { algorithms: Some([].into()), ..entra(DIRECTORY) };
    assert!(check_profile(&none).is_err());
}
