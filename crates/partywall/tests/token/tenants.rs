//! Exactly one tenant per token (M-04), and no role ever read as one.

use partywall::{
    Timestamp,
    token::{IssuerConfig, Profile, TokenFacts, TrustedIssuers},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::*;

fn grouped() -> TrustedIssuers {
    let mut config = IssuerConfig::new(ISSUER, Profile::Generic, inline(&[&KEY]));
    config.tenant = serde_json::from_value(json!({ "claim": "groups", "prefix": "tenant:" })).ok();
    config.roles = serde_json::from_value(json!({ "claim": "groups" })).ok();
    config.aliases = [("AcmeCorp".to_owned(), "acme-7f3k".parse().unwrap())].into();
    compile(&[config])
}

fn examine_groups(groups: Value) -> Result<TokenFacts, &'static str> {
    let claims = with(with(claims(), "tid", Value::Null), "groups", groups);
    let token = KEY.sign(&header(), &claims);
    grouped().examine(&token, Timestamp(NOW)).map_err(|error| error.code())
}

#[test]
fn m04_exactly_one_element_of_a_list_is_the_tenant() {
    let roles = |facts: &TokenFacts| {
        facts.roles.iter().map(|role| role.as_str().to_owned()).collect::<Vec<_>>()
    };
    let facts = examine_groups(json!(["admin", "tenant:acme", "user"])).unwrap();
    assert_eq!(facts.tenant.as_str(), "acme");
    assert_eq!(roles(&facts), ["admin", "user"], "the tenant is no role");
    let facts = examine_groups(json!(["tenant:AcmeCorp"])).unwrap();
    assert_eq!(facts.tenant.as_str(), "acme-7f3k", "by its alias");

    for (groups, expected) in [
        (json!([]), "tenant_missing"),
        (json!(["admin", "acme"]), "tenant_missing"),
        (json!(["Tenant:acme", "TENANT:acme", " tenant:acme"]), "tenant_missing"),
        (json!(["tenant"]), "tenant_missing"),
        (json!("admin"), "tenant_missing"),
        (json!(["tenant:acme", "tenant:other"]), "tenant_ambiguous"),
        (json!(["tenant:acme", "tenant:acme"]), "tenant_ambiguous"),
        (json!(["tenant:"]), "tenant_invalid"),
        (json!(["tenant:acme "]), "tenant_invalid"),
        (json!(["tenant:ACME"]), "tenant_invalid"),
        (json!(["tenant:tenant:acme"]), "tenant_invalid"),
        (json!(["tenant:../acme"]), "tenant_invalid"),
        (json!(["tenant:public"]), "tenant_invalid"),
        (json!(["tenant:*"]), "tenant_invalid"),
        (json!(["tenant:acme", 7]), "claim_wrong_type"),
        (json!(["tenant:acme", ["tenant:other"]]), "claim_wrong_type"),
        (json!({ "tenant:acme": true }), "claim_wrong_type"),
        (json!(null), "tenant_missing"),
    ] {
        assert_eq!(examine_groups(groups.clone()).unwrap_err(), expected, "{groups}");
    }
}

#[test]
fn m04_a_list_without_a_prefix_never_names_a_tenant() {
    // One element would be unambiguous; it may still be a role called like a tenant.
    assert_eq!(code(&with_claim("tid", json!(["acme-7f3k"]))), "tenant_list_without_prefix");
    assert_eq!(code(&with_claim("tid", json!([]))), "tenant_list_without_prefix");
    assert!(examine(&with_claim("tid", json!("acme-7f3k"))).is_ok(), "the control");
    assert_eq!(code(&with_claim("tid", json!("acme 7f3k"))), "tenant_invalid");
    assert_eq!(code(&with_claim("tid", json!("public"))), "tenant_invalid");
}

#[test]
fn i07_a_bound_issuer_speaks_for_its_tenants_only() {
    let mut bound = config();
    bound.tenants = Some(["acme-7f3k".parse().unwrap()].into());
    let bound = compile(&[bound]);
    let code = |tenant: &str| {
        let token = with_claim("tid", json!(tenant));
        bound.examine(&token, Timestamp(NOW)).map(|_| ()).map_err(|error| error.code())
    };
    assert_eq!(code("acme-7f3k"), Ok(()));
    assert_eq!(code("other-1"), Err("tenant_not_of_issuer"));
    assert!(examine(&with_claim("tid", json!("other-1"))).is_ok(), "the control: unbound");
}

#[test]
fn b02_the_key_all_tenants_share_says_nothing_of_one_that_has_an_issuer_of_its_own() {
    const OWN: &str = "https://id.example/t/silo";
    let key = Key::generate("k-own");
    let own = |exclusive| {
        let mut own = IssuerConfig::new(OWN, Profile::Partywall, inline(&[&key]));
        own.tenants = Some(["silo-1".parse().unwrap()].into());
        own.exclusive = exclusive;
        own
    };
    let about_silo = with_claim("tid", json!("silo-1"));
    let code = |issuers: &TrustedIssuers, token: &str| {
        issuers.examine(token, Timestamp(NOW)).map(|_| ()).map_err(|error| error.code())
    };
    let issuers = compile(&[config(), own(true)]);
    assert_eq!(code(&issuers, &about_silo), Err("tenant_not_of_issuer"));
    // The controls: its own issuer does, for all others the shared one does, and a list of issuers
    // without the rule lets the shared key mint tokens for everybody.
    let honest = with(with(claims(), "iss", json!(OWN)), "tid", json!("silo-1"));
    assert_eq!(code(&issuers, &key.sign(&with(header(), "kid", json!("k-own")), &honest)), Ok(()));
    assert_eq!(code(&issuers, &with_claim("tid", json!("other-1"))), Ok(()));
    assert_eq!(code(&compile(&[config(), own(false)]), &about_silo), Ok(()));
}

#[test]
fn m04_a_claims_name_is_taken_as_it_is() {
    let nested = |claim: Value, payload: Value| {
        let mut config = IssuerConfig::new(ISSUER, Profile::Generic, inline(&[&KEY]));
        config.tenant = serde_json::from_value(json!({ "claim": claim })).ok();
        let mut claims = with(claims(), "tid", Value::Null);
        claims.as_object_mut().unwrap().extend(payload.as_object().unwrap().clone());
        let token = KEY.sign(&header(), &claims);
        let facts = compile(&[config]).examine(&token, Timestamp(NOW));
        facts.map(|facts| facts.tenant.to_string()).map_err(|error| error.code())
    };
    // A name that is a URL is one claim and no path.
    let url = "https://example.com/org.id";
    assert_eq!(nested(json!(url), json!({ url: "acme" })).as_deref(), Ok("acme"));
    assert_eq!(nested(json!("org.id"), json!({ "org": { "id": "acme" } })), Err("tenant_missing"));
    let path = json!(["org", "id"]);
    let found = nested(path.clone(), json!({ "org": { "id": "acme" } }));
    assert_eq!(found.as_deref(), Ok("acme"));
    assert_eq!(nested(path.clone(), json!({ "org": {} })), Err("tenant_missing"));
    assert_eq!(nested(path.clone(), json!({ "org": "id" })), Err("claim_wrong_type"));
    assert_eq!(nested(path, json!({ "org": [{ "id": "acme" }] })), Err("claim_wrong_type"));
}

fn group() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}".prop_map(|id| format!("tenant:{id}0")),
        "[a-z:]{0,12}".prop_filter("no tenant", |name| !name.starts_with("tenant:")),
        Just("tenant".to_owned()),
        Just("Tenant:acme".to_owned()),
    ]
}

proptest! {
    #[test]
    fn m04_zero_one_or_many(groups in prop::collection::vec(group(), 0..6)) {
        let tenants: Vec<_> = groups.iter().filter_map(|g| g.strip_prefix("tenant:")).collect();
        let roles: Vec<_> = groups.iter().filter(|g| !g.starts_with("tenant:")).collect();
        let outcome = examine_groups(json!(groups));
        match (tenants.as_slice(), outcome) {
            ([one], Ok(facts)) => {
                prop_assert_eq!(facts.tenant.as_str(), *one);
                let found: Vec<_> = facts.roles.iter().map(|r| r.as_str().to_owned()).collect();
                prop_assert_eq!(found.iter().collect::<Vec<_>>(), roles);
            }
            // An empty role is refused with the whole token.
            ([_], Err(code)) => {
                prop_assert_eq!(code, "claim_invalid");
                prop_assert!(roles.iter().any(|role| role.is_empty()));
            }
            ([], outcome) => prop_assert_eq!(outcome.unwrap_err(), "tenant_missing"),
            (_, outcome) => prop_assert_eq!(outcome.unwrap_err(), "tenant_ambiguous"),
        }
    }
}
