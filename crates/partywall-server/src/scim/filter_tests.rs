use serde_json::json;

use super::*;
use crate::scim::schema::{GROUP, USER};

fn ada() -> Map<String, Value> {
    let ada = json!({
        "id": "Abc", "userName": "Ada@Acme.test", "externalId": "E-1", "active": true,
        "name": { "familyName": "Lovelace", "givenName": "Ada" },
        "emails": [
            { "value": "ada@acme.test", "type": "work", "primary": true },
            { "value": "ada@home.test", "type": "home" },
        ],
        "addresses": [{ "locality": "London", "type": "work" }],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {
            "department": "Engines", "manager": { "value": "Boss" },
        },
        "meta": { "created": "2026-01-02T03:04:05Z", "lastModified": "2026-01-02T03:04:05+01:00" },
    });
    ada.as_object().unwrap().clone()
}

fn matches(filter: &str) -> bool {
    Filter::read(&USER, filter).unwrap_or_else(|e| panic!("{filter}: {e}")).matches(&ada())
}

#[test]
fn c03_comparisons_by_type_and_case() {
    for yes in [
        r#"userName eq "ada@acme.test""#,
        r#"USERNAME Eq "ADA@ACME.TEST""#,
        r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "ada""#,
        r#"externalId eq "E-1""#,
        r#"active eq true"#,
        r#"active eq "True""#,
        r#"name.familyName co "love" and name.givenName ew "DA""#,
        r#"emails co "home.test""#,
        r#"emails.type eq "work""#,
        r#"emails[type eq "work" and primary eq true]"#,
        r#"emails[type eq "work"].value eq "ada@acme.test""#,
        r#"active eq true and (emails[type eq "work"].value sw "ada" or title pr)"#,
        r#"emails[not(type eq "work")]"#,
        r#"not(title pr)"#,
        r#"title eq null"#,
        r#"title ne "x""#,
        r#"addresses[locality eq "london"]"#,
        r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "engines""#,
        r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq "Boss""#,
        r#"meta.created gt "2026-01-02T03:04:04Z" and meta.created le "2026-01-02T04:04:05+01:00""#,
        r#"meta.lastModified lt "2026-01-02T03:04:05Z""#,
        r#"userName pr or nonsense pr and nonsense pr"#,
        r#"not (nonsense eq 1)"#,
    ] {
        assert!(matches(yes), "{yes}");
    }
    for no in [
        r#"externalId eq "e-1""#,
        r#"active eq false"#,
        r#"emails[type eq "work" and value ew "home.test"]"#,
        r#"emails[type eq "home"].value eq "ada@acme.test""#,
        r#"emails ne "ada@acme.test""#,
        r#"nonsense eq "x""#,
        r#"title pr"#,
        r#"title gt "a""#,
        r#"userName pr and (title pr or nickName pr)"#,
        r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq "boss""#,
        r#"meta.created lt "2026-01-02T03:04:05Z""#,
    ] {
        assert!(!matches(no), "{no}");
    }
}

#[test]
fn c03_what_is_no_filter_or_compares_types_is_refused() {
    for refused in [
        "",
        "ADA@ACME.TEST",
        "userName",
        "userName eq",
        "userName eq ada",
        "userName = \"ada\"",
        "userName eq \"ada\" and",
        "(userName eq \"ada\"",
        "userName eq \"ada\")",
        "userName eq \"a\\x\"",
        "userName eq 1",
        "userName eq true",
        "active eq \"perhaps\"",
        "active gt true",
        "active eq 1",
        "meta.created gt \"yesterday\"",
        "name[familyName eq \"x\"]",
        "emails[type eq \"work\"",
        "emails[emails[type eq \"work\"]]",
        "name.familyName.more eq \"x\"",
    ] {
        let read = Filter::read(&USER, refused);
        assert!(matches!(read, Err(ScimError::InvalidFilter(_))), "{refused}: {read:?}");
    }
}

#[test]
fn c03_a_filter_is_bounded_before_it_is_parsed() {
    let deep = |n| format!("{}title pr{}", "(".repeat(n), ")".repeat(n));
    assert!(Filter::read(&USER, &deep(MAX_DEPTH)).is_ok(), "the control");
    assert!(Filter::read(&USER, &deep(MAX_DEPTH + 1)).is_err());
    let quoted = format!("title eq \"{}\"", "(".repeat(MAX_DEPTH + 1));
    assert!(Filter::read(&USER, &quoted).is_ok(), "brackets in text are text");
    let many = |n| vec!["title pr"; n].join(" or ");
    assert!(Filter::read(&USER, &many(MAX_TERMS)).is_ok(), "the control");
    assert!(Filter::read(&USER, &many(MAX_TERMS + 1)).is_err());
    let inner = format!("emails[{}]", vec!["type pr"; MAX_TERMS + 1].join(" or "));
    assert!(Filter::read(&USER, &inner).is_err(), "in brackets, too");
    let long = |n: usize| format!("title eq \"{}\"", "x".repeat(n - 11));
    assert!(Filter::read(&USER, &long(MAX_LENGTH)).is_ok(), "the control");
    assert!(Filter::read(&USER, &long(MAX_LENGTH + 1)).is_err());
}

#[test]
fn c03_what_a_store_can_look_up_is_said() {
    let equal = |filter: &str, attribute: &str| {
        let filter = Filter::read(&USER, filter).unwrap();
        filter.must_equal(attribute).map(str::to_owned)
    };
    assert_eq!(equal(r#"userName eq "Ada""#, "userName").as_deref(), Some("ada"));
    assert_eq!(
        equal(r#"active eq true and externalId eq "X""#, "externalId").as_deref(),
        Some("X")
    );
    for elsewhere in [
        r#"userName eq "ada" or title pr"#,
        r#"not (userName eq "ada")"#,
        r#"userName sw "ada""#,
        r#"name.familyName eq "ada""#,
        r#"emails[value eq "ada"]"#,
    ] {
        assert_eq!(equal(elsewhere, "userName"), None, "{elsewhere}");
    }
    let members = Filter::read(&GROUP, r#"id eq "G" and members eq "U""#).unwrap();
    assert_eq!(members.must_equal("id"), Some("G"));
}
