use serde_json::json;

use super::*;
use crate::scim::schema::USER;

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn ada() -> Value {
    json!({
        "userName": "ada", "active": true,
        "name": { "familyName": "Lovelace", "givenName": "Ada" },
        "emails": [
            { "value": "ada@acme.test", "type": "work", "primary": true },
            { "value": "ada@home.test", "type": "home" },
        ],
    })
}

fn patched(operations: Value) -> Result<Value, ScimError> {
    let body = json!({ "schemas": [], "Operations": operations });
    let mut resource = ada().as_object().unwrap().clone();
    let operations = read(&USER, body.as_object().unwrap())?;
    apply(&USER, &mut resource, operations)?;
    Ok(Value::Object(resource))
}

/// What one operation makes of Ada at `pointer`.
fn at(operation: Value, pointer: &str) -> Value {
    let patched = patched(json!([operation])).unwrap_or_else(|e| panic!("{operation}: {e}"));
    patched.pointer(pointer).cloned().unwrap_or_default()
}

#[test]
fn c02_each_operation_with_and_without_a_path() {
    for (operation, pointer, expected) in [
        (json!({ "op": "add", "path": "title", "value": "Countess" }), "/title", json!("Countess")),
        (json!({ "op": "replace", "path": "userName", "value": "al" }), "/userName", json!("al")),
        (json!({ "op": "remove", "path": "emails" }), "/emails", Value::Null),
        (json!({ "op": "replace", "path": "emails", "value": [] }), "/emails", Value::Null),
        (
            json!({ "op": "remove", "path": "name.familyName" }),
            "/name",
            json!({ "givenName": "Ada" }),
        ),
        (
            json!({ "op": "replace", "path": "name", "value": { "middleName": "B" } }),
            "/name",
            json!({ "familyName": "Lovelace", "givenName": "Ada", "middleName": "B" }),
        ),
        (
            json!({ "op": "add", "path": "emails", "value": [{ "value": "x@y.test" }] }),
            "/emails/2",
            json!({ "value": "x@y.test" }),
        ),
        (
            json!({ "op": "add", "path": "emails", "value": [{ "value": "ada@acme.test", "type": "work" }] }),
            "/emails/2",
            Value::Null,
        ),
        (
            json!({ "op": "add", "path": "emails", "value": { "value": "new@y.test", "primary": true } }),
            "/emails/0/primary",
            Value::Null,
        ),
        (
            json!({ "op": "replace", "path": "emails[type eq \"home\"].value", "value": "h@y.test" }),
            "/emails/1",
            json!({ "value": "h@y.test", "type": "home" }),
        ),
        (
            json!({ "op": "replace", "path": "emails[type eq \"home\"]", "value": { "value": "h@y.test" } }),
            "/emails/1",
            json!({ "value": "h@y.test", "type": "home" }),
        ),
        (json!({ "op": "remove", "path": "emails[type eq \"work\"]" }), "/emails/1", Value::Null),
        (json!({ "op": "remove", "path": "emails[value ew \"test\"]" }), "/emails", Value::Null),
        (
            json!({ "op": "remove", "path": "emails[type eq \"fax\"]" }),
            "/emails/1/type",
            json!("home"),
        ),
    ] {
        assert_eq!(at(operation.clone(), pointer), expected, "{operation}");
    }
    let both =
        json!({ "op": "replace", "path": "emails[type eq \"home\"].primary", "value": true });
    let emails = at(both, "/emails");
    assert_eq!(emails[0].get("primary"), None, "{emails}");
    assert_eq!(emails[1]["primary"], true);
    let object =
        json!({ "op": "replace", "value": { "title": "Countess", "name": { "givenName": "A" } } });
    assert_eq!(at(object.clone(), "/title"), "Countess");
    assert_eq!(at(object, "/name/familyName"), "Lovelace");
}

#[test]
fn i30_the_habits_of_entra_okta_and_google() {
    let department = format!("{ENTERPRISE}:department");
    let in_enterprise = |part: &str| format!("/{ENTERPRISE}/{part}");
    for (operation, pointer, expected) in [
        // Entra: operations capitalized, booleans as text.
        (
            json!({ "op": "Replace", "path": "active", "value": "False" }),
            "/active".to_owned(),
            json!(false),
        ),
        (
            json!({ "OP": "REPLACE", "PATH": "Active", "Value": "tRue" }),
            "/active".to_owned(),
            json!(true),
        ),
        // Entra: a value that is not there yet is made.
        (
            json!({ "op": "Add", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "1" }),
            "/phoneNumbers".to_owned(),
            json!([{ "type": "mobile", "value": "1" }]),
        ),
        (
            json!({ "op": "Replace", "path": "addresses[type eq \"work\"].locality", "value": "Ockham" }),
            "/addresses".to_owned(),
            json!([{ "type": "work", "locality": "Ockham" }]),
        ),
        (
            json!({ "op": "Add", "path": "roles[primary eq \"True\"].value", "value": "x" }),
            "/roles".to_owned(),
            json!([{ "primary": true, "value": "x" }]),
        ),
        // Entra: a manager is nothing but an id.
        (
            json!({ "op": "Add", "path": format!("{ENTERPRISE}:manager"), "value": "boss" }),
            in_enterprise("manager"),
            json!({ "value": "boss" }),
        ),
        (
            json!({ "op": "Add", "path": department, "value": "Engines" }),
            in_enterprise("department"),
            json!("Engines"),
        ),
        // Entra: what is to go is listed.
        (
            json!({ "op": "Remove", "path": "emails", "value": [{ "value": "ada@home.test" }] }),
            "/emails/1".to_owned(),
            Value::Null,
        ),
        // Parts named with dots, URNs as members, in an object without a path.
        (
            json!({ "op": "Add", "value": { "name.givenName": "A" } }),
            "/name/givenName".to_owned(),
            json!("A"),
        ),
        (
            json!({ "op": "Add", "value": { department.clone(): "D" } }),
            in_enterprise("department"),
            json!("D"),
        ),
        (
            json!({ "op": "add", "value": { ENTERPRISE: { "department": "D" } } }),
            in_enterprise("department"),
            json!("D"),
        ),
        (
            json!({ "op": "Add", "value": { "emails[type eq \"other\"].value": "o@y.test" } }),
            "/emails/2".to_owned(),
            json!({ "type": "other", "value": "o@y.test" }),
        ),
        // Okta: the id comes along, and says nothing.
        (
            json!({ "op": "replace", "value": { "id": "other", "active": false } }),
            "/active".to_owned(),
            json!(false),
        ),
        (
            json!({ "op": "replace", "path": "", "value": { "nonsense": 1 } }),
            "/userName".to_owned(),
            json!("ada"),
        ),
        // One value as itself.
        (
            json!({ "op": "replace", "path": "emails", "value": { "value": "x@y.test" } }),
            "/emails".to_owned(),
            json!([{ "value": "x@y.test" }]),
        ),
    ] {
        assert_eq!(at(operation.clone(), &pointer), expected, "{operation}");
    }
}

#[test]
fn c02_what_cannot_be_done_is_refused_by_its_name() {
    let name = |operations: Value| patched(operations).err().and_then(|error| error.status().1);
    let one = |operation: Value| name(json!([operation]));
    assert_eq!(one(json!({ "op": "add", "path": "title", "value": "x" })), None, "the control");
    for (operation, expected) in [
        (json!({ "op": "move", "path": "title", "value": "x" }), "invalidSyntax"),
        (json!({ "op": "add", "path": 1, "value": "x" }), "invalidSyntax"),
        (json!({ "op": "add", "path": "title" }), "invalidValue"),
        (json!({ "op": "add", "path": "title", "value": 1 }), "invalidValue"),
        (json!({ "op": "add", "path": "active", "value": "perhaps" }), "invalidValue"),
        (json!({ "op": "add", "value": "x" }), "invalidValue"),
        (json!({ "op": "add", "path": "nonsense", "value": "x" }), "invalidPath"),
        (json!({ "op": "add", "path": "title[", "value": "x" }), "invalidPath"),
        (json!({ "op": "add", "path": "name[familyName eq \"x\"]", "value": "x" }), "invalidPath"),
        (json!({ "op": "add", "path": "id", "value": "x" }), "mutability"),
        (json!({ "op": "add", "path": "meta.version", "value": "x" }), "mutability"),
        (json!({ "op": "replace", "path": "groups", "value": [] }), "mutability"),
        (json!({ "op": "remove" }), "noTarget"),
        (
            json!({ "op": "replace", "path": "ims[not (type eq \"work\")].value", "value": "x" }),
            "noTarget",
        ),
        (json!({ "op": "remove", "path": "userName" }), "invalidValue"),
        (json!({ "op": "replace", "path": "userName", "value": " " }), "invalidValue"),
        (
            json!({ "op": "add", "path": "emails[primary gt true].value", "value": " " }),
            "invalidFilter",
        ),
        (
            json!({ "op": "add", "path": "emails", "value": [
                { "value": "a", "primary": true }, { "value": "b", "primary": true },
            ] }),
            "invalidValue",
        ),
        (
            json!({ "op": "add", "path": "title", "value": "x".repeat(resource::MAX_SIZE) }),
            "invalidValue",
        ),
    ] {
        assert_eq!(one(operation.clone()), Some(expected), "{operation}");
    }
    assert_eq!(name(json!([])), Some("invalidSyntax"));
    assert_eq!(name(json!({})), Some("invalidSyntax"));
    let many = vec![json!({ "op": "add", "path": "title", "value": "x" }); MAX_OPERATIONS + 1];
    assert_eq!(name(Value::Array(many)), Some("tooMany"));
}

#[test]
fn c07_a_whole_resource_is_read_by_the_schema() {
    let body = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE, "urn:x:custom"],
        "id": "u:1", "meta": { "version": "x" }, "groups": [{ "value": "g" }],
        "USERNAME": "ada", "externalId": "1", "active": "True", "password": "secret",
        "name": { "GivenName": "Ada", "nonsense": 1 }, "emails": [{}, { "value": "a" }, { "value": "a" }],
        ENTERPRISE: { "department": "D", "manager": { "value": "b", "displayName": "B" } },
        "urn:x:custom": { "a": 1 },
    });
    let read = resource::read(&USER, body.as_object().unwrap()).unwrap();
    assert_eq!(
        Value::Object(read),
        json!({
            "userName": "ada", "externalId": "1", "active": true, "name": { "givenName": "Ada" },
            "emails": [{ "value": "a" }],
            ENTERPRISE: { "department": "D", "manager": { "value": "b" } },
        })
    );
    for refused in [
        json!({}),
        json!({ "userName": "" }),
        json!({ "userName": 1 }),
        json!({ "userName": "ada", "emails": [1] }),
        json!({ "userName": "ada", "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"] }),
        json!({ "userName": "ada", "x509Certificates": [{ "value": "no base64!" }] }),
    ] {
        assert!(resource::read(&USER, refused.as_object().unwrap()).is_err(), "{refused}");
    }
}
