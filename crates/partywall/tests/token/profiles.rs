//! One honest token per profile, as its issuer's documentation shows it, and what must not pass
//! for one (M-08).

use std::sync::LazyLock;

use partywall::{
    Timestamp,
    token::{Algorithm, IssuerConfig, KeySource, Profile, SigningKey, TokenFacts, TrustedIssuers},
};
use serde_json::{Value, json};

use crate::support::*;

static RSA: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(Algorithm::Rs256).unwrap());

/// A profile, the issuer's settings, an honest token's `typ` and claims, and what it proves.
struct Fixture {
    config: IssuerConfig,
    typ: &'static str,
    claims: Value,
}

impl Fixture {
    fn new(profile: Profile, typ: &'static str, settings: Value, claims: Value) -> Self {
        let jwks = json!({ "inline": { "keys": [RSA.public_jwk()] } });
        let mut config = json!({ "issuer": claims["iss"], "profile": profile, "jwks": jwks });
        config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        Self { config: serde_json::from_value(config).unwrap(), typ, claims }
    }

    fn examine(&self, claims: &Value) -> Result<TokenFacts, &'static str> {
        let issuers = TrustedIssuers::compile(std::slice::from_ref(&self.config), &[]).unwrap();
        let token = RSA.sign_jws(self.typ, claims).unwrap();
        issuers.examine(&token, Timestamp(NOW)).map_err(|error| error.code())
    }

    fn honest(&self) -> TokenFacts {
        self.examine(&self.claims).unwrap()
    }

    /// The code with one claim changed; `null` removes it.
    fn code_with(&self, claim: &str, value: Value) -> &'static str {
        self.examine(&with(self.claims.clone(), claim, value)).unwrap_err()
    }

    fn is_machine_with(&self, changes: Value) -> Result<bool, &'static str> {
        let mut claims = self.claims.clone();
        for (name, value) in changes.as_object().unwrap() {
            claims = with(claims, name, value.clone());
        }
        self.examine(&claims).map(|facts| facts.machine)
    }
}

fn roles(facts: &TokenFacts) -> Vec<&str> {
    facts.roles.iter().map(|role| role.as_str()).collect()
}

/// The access token of "Security practices in AWS multi-tenant SaaS environments": groups say
/// which tenant and which role.
fn cognito() -> Fixture {
    Fixture::new(
        Profile::Cognito,
        "JWT",
        json!({ "audience": ["57cbishk4j24pabc1234567890"] }),
        json!({
            "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            "cognito:groups": ["tenant:acme-7f3k", "admin"],
            "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_example",
            "version": 2, "client_id": "57cbishk4j24pabc1234567890",
            "origin_jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            "event_id": "64f513be-32db-42b0-b78e-b02127b4f463",
            "token_use": "access", "scope": "openid profile email", "auth_time": NOW - 30,
            "exp": NOW + 3570, "iat": NOW - 30, "jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeee1",
            "username": "ada@example.com",
        }),
    )
}

#[test]
fn m08_cognito() {
    let cognito = cognito();
    let facts = cognito.honest();
    assert_eq!(facts.tenant.as_str(), "acme-7f3k");
    assert_eq!(roles(&facts), ["admin"]);
    assert_eq!(facts.audience, ["57cbishk4j24pabc1234567890"]);
    assert!(!facts.machine);

    // Another app of the pool, an ID token, another pool's token, groups of other meanings.
    assert_eq!(cognito.code_with("client_id", json!("other")), "audience_mismatch");
    assert_eq!(cognito.code_with("client_id", Value::Null), "client_missing");
    assert_eq!(cognito.code_with("token_use", json!("id")), "claim_invalid");
    assert_eq!(cognito.code_with("token_use", Value::Null), "claim_missing");
    let other_pool = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_other";
    assert_eq!(cognito.code_with("iss", json!(other_pool)), "issuer_untrusted");
    assert_eq!(cognito.code_with("cognito:groups", json!(["admin"])), "tenant_missing");
    let two = json!(["tenant:acme-7f3k", "tenant:other-1"]);
    assert_eq!(cognito.code_with("cognito:groups", two), "tenant_ambiguous");
    // B-23: an attribute the user may edit names no tenant.
    let claims = with(cognito.claims.clone(), "custom:tenant_id", json!("other-1"));
    assert_eq!(cognito.examine(&claims).unwrap().tenant.as_str(), "acme-7f3k");

    let machine = json!({ "sub": "57cbishk4j24pabc1234567890", "username": null });
    assert_eq!(cognito.is_machine_with(machine), Ok(true));
}

#[test]
fn m08_cognito_sends_no_typ() {
    // The header as Cognito writes it has `kid` and `alg` only.
    let key = Key::generate("pool-1");
    let mut config = cognito().config;
    config.jwks = inline(&[&key]);
    config.algorithms = vec![Algorithm::Es256];
    let issuers = TrustedIssuers::compile(&[config], &[]).unwrap();
    let token = key.sign(&json!({ "kid": "pool-1", "alg": "ES256" }), &cognito().claims);
    assert!(issuers.examine(&token, Timestamp(NOW)).is_ok());
    let logout = json!({ "kid": "pool-1", "alg": "ES256", "typ": "logout+jwt" });
    let refused = issuers.examine(&key.sign(&logout, &cognito().claims), Timestamp(NOW));
    assert_eq!(refused.unwrap_err().code(), "type_not_accepted");
}

#[test]
fn m08_auth0() {
    let auth0 = Fixture::new(
        Profile::Auth0,
        "at+jwt",
        json!({
            "audience": ["https://api.example"], "aliases": { "org_9ybsU1dN2dKfDkBi": "acme-7f3k" },
            "roles": { "claim": "https://example.com/roles" },
        }),
        json!({
            "iss": "https://example.eu.auth0.com/", "sub": "auth0|6453a1b2c3",
            "aud": ["https://api.example", "https://example.eu.auth0.com/userinfo"],
            "iat": NOW - 10, "exp": NOW + 7190, "scope": "openid read:invoices",
            "org_id": "org_9ybsU1dN2dKfDkBi", "jti": "uHYC", "client_id": "my_client",
            "https://example.com/roles": ["admin"],
        }),
    );
    let facts = auth0.honest();
    assert_eq!((facts.tenant.as_str(), facts.machine), ("acme-7f3k", false));
    assert_eq!(roles(&facts), ["admin"]);
    assert_eq!(auth0.code_with("org_id", json!("org_unknown")), "tenant_invalid");
    assert_eq!(auth0.code_with("org_id", Value::Null), "tenant_missing");
    assert_eq!(auth0.code_with("iss", json!("https://example.eu.auth0.com")), "issuer_untrusted");
    assert_eq!(auth0.is_machine_with(json!({ "sub": "my_client@clients" })), Ok(true));
    // A person from a directory that allows such names stays a person.
    assert_eq!(auth0.is_machine_with(json!({ "sub": "samlp|x|my_client@clients" })), Ok(false));
    assert_eq!(auth0.code_with("sub", json!("somebody")), "principal_unclear");
}

#[test]
fn m08_okta() {
    let okta = Fixture::new(
        Profile::Okta,
        "JWT",
        json!({ "audience": ["api://default"], "tenant": { "claim": "tenant" } }),
        json!({
            "ver": 1, "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
            "iss": "https://example.okta.com/oauth2/default", "aud": "api://default",
            "sub": "ada@example.com", "iat": NOW - 10, "exp": NOW + 3590,
            "cid": "nmdP1fcyvdVO11AL7ECm", "uid": "00ujmkLgagxeRrAg20g3",
            "scp": ["openid", "invoices"], "auth_time": NOW - 20, "groups": ["Everyone"],
            "tenant": "acme-7f3k",
        }),
    );
    let facts = okta.honest();
    assert_eq!((facts.tenant.as_str(), facts.machine), ("acme-7f3k", false));
    assert_eq!(facts.client_id.as_deref(), Some("nmdP1fcyvdVO11AL7ECm"));
    assert_eq!(facts.connection, None, "Okta's cid is the client, not our connection");
    assert_eq!(facts.scope, ["openid", "invoices"]);
    let machine = json!({ "uid": null, "sub": "nmdP1fcyvdVO11AL7ECm" });
    assert_eq!(okta.is_machine_with(machine), Ok(true));
    assert_eq!(okta.code_with("uid", Value::Null), "principal_unclear");
    assert_eq!(okta.code_with("sub", json!("nmdP1fcyvdVO11AL7ECm")), "principal_unclear");
    assert_eq!(okta.code_with("cid", Value::Null), "claim_missing");
}

#[test]
fn m08_entra() {
    const DIRECTORY: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let entra = Fixture::new(
        Profile::Entra,
        "JWT",
        json!({ "audience": ["6e74172b-be56-4843-9ff4-e66a39bb12e3"] }),
        json!({
            "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3",
            "iss": format!("https://login.microsoftonline.com/{DIRECTORY}/v2.0"),
            "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 4000, "azp": "7fba-client",
            "azpacr": "0", "name": "Ada", "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
            "roles": ["Invoices.Pay"], "scp": "access_as_user invoices", "sub": "HKZpfaHyWadeOou",
            "tid": DIRECTORY, "uti": "fqiBqXLPj0eQa82S", "ver": "2.0",
        }),
    );
    let facts = entra.honest();
    assert_eq!((facts.tenant.as_str(), facts.machine), (DIRECTORY, false));
    assert_eq!(roles(&facts), ["Invoices.Pay"]);
    assert_eq!(facts.scope, ["access_as_user", "invoices"]);
    let other = "11111111-2222-3333-4444-555555555555";
    assert_eq!(entra.code_with("tid", json!(other)), "tenant_invalid", "not the one in iss");
    assert_eq!(entra.code_with("tid", json!("v2.0")), "tenant_invalid", "a segment that is none");
    assert_eq!(entra.code_with("ver", json!("1.0")), "claim_invalid");
    assert_eq!(entra.code_with("nbf", Value::Null), "not_before_missing");
    let app = json!({ "scp": null, "idtyp": "app" });
    assert_eq!(entra.is_machine_with(app), Ok(true));
    assert_eq!(entra.code_with("scp", Value::Null), "principal_unclear");
    assert_eq!(entra.code_with("idtyp", json!("app")), "principal_unclear", "both at once");
}

#[test]
fn m08_keycloak() {
    let keycloak = Fixture::new(
        Profile::Keycloak,
        "JWT",
        json!({ "audience": ["invoices"] }),
        json!({
            "exp": NOW + 300, "iat": NOW, "auth_time": NOW, "jti": "onrtac:3c2b0a3a",
            "iss": "https://sso.example/realms/saas", "aud": ["invoices", "account"],
            "sub": "f1d7d3a1-0d0c-4bd7-a1c9-a3b3c1b0b0a1", "typ": "Bearer", "azp": "web",
            "sid": "0f7f6d0d", "acr": "1", "realm_access": { "roles": ["offline_access", "admin"] },
            "scope": "openid organization", "organization": ["acme-7f3k"],
        }),
    );
    let facts = keycloak.honest();
    assert_eq!((facts.tenant.as_str(), facts.machine), ("acme-7f3k", false));
    assert_eq!(roles(&facts), ["offline_access", "admin"]);
    let as_map = json!({ "acme-7f3k": { "id": "42c3e46f" } });
    let claims = with(keycloak.claims.clone(), "organization", as_map);
    assert_eq!(keycloak.examine(&claims).unwrap().tenant.as_str(), "acme-7f3k");

    for (organization, expected) in [
        (json!([]), "tenant_missing"),
        (json!({}), "tenant_missing"),
        (Value::Null, "tenant_missing"),
        (json!(["acme-7f3k", "other-1"]), "tenant_ambiguous"),
        (json!({ "acme-7f3k": {}, "other-1": {} }), "tenant_ambiguous"),
        (json!([{ "acme-7f3k": {} }]), "claim_wrong_type"),
    ] {
        assert_eq!(keycloak.code_with("organization", organization), expected);
    }
    for typ in ["ID", "Refresh", "Logout", "Offline", "DPoP", "bearer"] {
        assert_eq!(keycloak.code_with("typ", json!(typ)), "claim_invalid", "{typ}");
    }
    let roles = json!({ "roles": { "admin": true } });
    assert_eq!(keycloak.code_with("realm_access", roles), "claim_wrong_type");
    assert_eq!(keycloak.is_machine_with(json!({ "client_id": "web" })), Ok(true));
    assert_eq!(keycloak.code_with("client_id", json!("other")), "principal_unclear");
    // A person who calls herself a service account is still a person.
    let named = json!({ "preferred_username": "service-account-web" });
    assert_eq!(keycloak.is_machine_with(named), Ok(false));
}

#[test]
fn m08_zitadel_and_workos_by_the_generic_profile() {
    let zitadel = Fixture::new(
        Profile::Generic,
        "JWT",
        json!({
            "audience": ["240123456789012345"],
            "tenant": { "claim": "urn:zitadel:iam:user:resourceowner:id" },
        }),
        json!({
            "iss": "https://example.zitadel.cloud", "sub": "165467338479501569",
            "aud": ["240123456789012345"], "iat": NOW, "exp": NOW + 3600, "jti": "V2-1",
            "client_id": "240123456789012346", "urn:zitadel:iam:user:resourceowner:id": "2401234",
        }),
    );
    assert_eq!(zitadel.honest().tenant.as_str(), "2401234");
    assert_eq!(zitadel.is_machine_with(json!({ "sub": "240123456789012346" })), Ok(true));

    // WorkOS access tokens name the application in `client_id` and have no `aud`.
    let workos = Fixture::new(
        Profile::Generic,
        "JWT",
        json!({
            "audience": ["client_01HXYZ"], "audience_claim": "client_id",
            "tenant": { "claim": "org_id" }, "roles": { "claim": "role" },
            "aliases": { "org_01HXYZ": "acme-7f3k" },
        }),
        json!({
            "iss": "https://api.workos.com/user_management/client_01HXYZ", "sub": "user_01H",
            "sid": "session_01H", "org_id": "org_01HXYZ", "role": "admin", "client_id":
            "client_01HXYZ", "permissions": ["invoices:read"], "iat": NOW, "exp": NOW + 300,
            "jti": "01H",
        }),
    );
    let facts = workos.honest();
    assert_eq!((facts.tenant.as_str(), roles(&facts)), ("acme-7f3k", vec!["admin"]));
    assert_eq!(workos.code_with("client_id", json!("client_other")), "audience_mismatch");
}

#[test]
fn m08_a_token_is_read_by_its_own_issuers_profile_only() {
    // Two issuers are trusted. Cognito's laxness about `typ` does not become Partywall's.
    let partywall = IssuerConfig::new(
        ISSUER,
        Profile::Partywall,
        KeySource::Inline(json!({ "keys": [RSA.public_jwk()] })),
    );
    let issuers =
        TrustedIssuers::compile(&[partywall, cognito().config], &[AUDIENCE.into()]).unwrap();
    let examine = |typ: &str, claims: &Value| {
        let token = RSA.sign_jws(typ, claims).unwrap();
        issuers.examine(&token, Timestamp(NOW)).map(|_| ()).map_err(|error| error.code())
    };
    assert_eq!(examine("at+jwt", &claims()), Ok(()));
    assert_eq!(examine("JWT", &claims()), Err("type_not_accepted"));
    assert_eq!(examine("JWT", &cognito().claims), Ok(()));
    let ours = with(claims(), "iss", cognito().claims["iss"].clone());
    assert_eq!(examine("at+jwt", &ours), Err("claim_missing"), "no token_use");
}
