//! What this server can do (RFC 7644 section 4), made of the tables everything else reads.

use axum::{extract::Path, response::Response};
use serde_json::{Map, Value, json};

use super::{
    caller::ScimCaller,
    error::ScimError,
    respond::{list_of, shown},
    schema::{Attribute, GROUP, Kind, Mutability, ResourceKind, Returned, Schema, USER},
    search::MAX_COUNT,
};

/// `GET /ServiceProviderConfig` (RFC 7643 section 5).
pub(super) async fn config(caller: ScimCaller) -> Response {
    shown(json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": { "supported": true },
        "bulk": {
            "supported": true,
            "maxOperations": super::bulk::MAX_OPERATIONS,
            "maxPayloadSize": super::MAX_BODY,
        },
        "filter": { "supported": true, "maxResults": MAX_COUNT },
        "changePassword": { "supported": false },
        "sort": { "supported": false },
        "etag": { "supported": true },
        "pagination": {
            "cursor": false, "index": true, "defaultPaginationMethod": "index",
            "defaultPageSize": super::search::DEFAULT_COUNT, "maxPageSize": MAX_COUNT,
        },
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Bearer token",
            "description": "A token made for this connection in the admin API or the console",
            "specUri": "https://www.rfc-editor.org/info/rfc6750",
            "primary": true,
        }],
        "meta": meta(&caller, "ServiceProviderConfig", "/ServiceProviderConfig"),
    }))
}

/// `GET /ResourceTypes` (RFC 7643 section 6).
pub(super) async fn resource_types(caller: ScimCaller) -> Response {
    list_of(KINDS.map(|kind| resource_type(&caller, kind)).to_vec())
}

/// `GET /ResourceTypes/{name}`.
pub(super) async fn one_resource_type(
    caller: ScimCaller,
    Path((_, _, name)): Path<(String, String, String)>,
) -> Result<Response, ScimError> {
    let kind = KINDS.into_iter().find(|kind| kind.name == name).ok_or(ScimError::NotFound)?;
    Ok(shown(resource_type(&caller, kind)))
}

/// `GET /Schemas` (RFC 7643 section 7).
pub(super) async fn schemas(caller: ScimCaller) -> Response {
    list_of(all_schemas().map(|schema| described(&caller, schema)).collect())
}

/// `GET /Schemas/{id}`.
pub(super) async fn one_schema(
    caller: ScimCaller,
    Path((_, _, id)): Path<(String, String, String)>,
) -> Result<Response, ScimError> {
    let schema = all_schemas().find(|schema| schema.is(&id)).ok_or(ScimError::NotFound)?;
    Ok(shown(described(&caller, schema)))
}

const KINDS: [&ResourceKind; 2] = [&USER, &GROUP];

fn all_schemas() -> impl Iterator<Item = &'static Schema> {
    KINDS.into_iter().flat_map(ResourceKind::schemas)
}

fn meta(caller: &ScimCaller, kind: &str, path: &str) -> Value {
    json!({ "resourceType": kind, "location": format!("{}{path}", caller.base()) })
}

fn resource_type(caller: &ScimCaller, kind: &ResourceKind) -> Value {
    let extension = |schema: &&Schema| json!({ "schema": schema.id, "required": false });
    let extensions: Vec<_> = kind.extensions.iter().map(extension).collect();
    let mut described = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
        "id": kind.name,
        "name": kind.name,
        "description": kind.about,
        "endpoint": kind.endpoint,
        "schema": kind.schema.id,
        "meta": meta(caller, "ResourceType", &format!("/ResourceTypes/{}", kind.name)),
    });
    if let (Some(described), false) = (described.as_object_mut(), extensions.is_empty()) {
        described.insert("schemaExtensions".to_owned(), extensions.into());
    }
    described
}

fn described(caller: &ScimCaller, schema: &Schema) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
        "id": schema.id,
        "name": schema.name,
        "description": schema.about,
        "attributes": schema.attributes.iter().map(attribute).collect::<Vec<_>>(),
        "meta": meta(caller, "Schema", &format!("/Schemas/{}", schema.id)),
    })
}

fn attribute(attribute: &Attribute) -> Value {
    let kind = match attribute.kind {
        Kind::Text => "string",
        Kind::Boolean => "boolean",
        Kind::DateTime => "dateTime",
        Kind::Binary => "binary",
        Kind::Reference => "reference",
        Kind::Complex => "complex",
    };
    let mutability = match attribute.mutability {
        Mutability::ReadOnly => "readOnly",
        Mutability::ReadWrite => "readWrite",
        Mutability::Immutable => "immutable",
    };
    let returned = match attribute.returned {
        Returned::Always => "always",
        Returned::Default => "default",
    };
    let mut all = Map::new();
    let mut say = |name: &str, value: Value| all.insert(name.to_owned(), value);
    say("name", attribute.name.into());
    say("type", kind.into());
    say("multiValued", attribute.multi_valued.into());
    say("description", attribute.about.into());
    say("required", attribute.required.into());
    say("mutability", mutability.into());
    say("returned", returned.into());
    if attribute.kind != Kind::Complex && attribute.kind != Kind::Boolean {
        say("caseExact", attribute.case_exact.into());
    }
    say("uniqueness", if attribute.unique { "server" } else { "none" }.into());
    if !attribute.usual.is_empty() {
        say("canonicalValues", attribute.usual.into());
    }
    if !attribute.refers_to.is_empty() {
        say("referenceTypes", attribute.refers_to.into());
    }
    if !attribute.parts.is_empty() {
        let parts = attribute.parts.iter().map(self::attribute).collect::<Vec<_>>();
        say("subAttributes", parts.into());
    }
    Value::Object(all)
}
