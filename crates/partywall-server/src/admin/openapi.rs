//! `GET /admin/v1/openapi.json`: the API's own description (OpenAPI 3.1).

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::{
    PATH,
    endpoint::{self, Endpoint},
};
use crate::control::ControlPlane;

pub(super) async fn handler(State(control): State<ControlPlane>) -> Response {
    let server = format!("{}{PATH}", control.inner.config.issuer);
    Json(document(&server)).into_response()
}

/// The document, made of the very table the router is made of.
fn document(server: &str) -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
    for endpoint in endpoint::all() {
        let operation = operation(&endpoint);
        for shape in endpoint.body.into_iter().chain(endpoint.answer) {
            for (name, schema) in shape.schemas {
                schemas.insert(name, serde_json::to_value(schema).unwrap_or_default());
            }
        }
        let path = paths.entry(endpoint.path).or_default();
        path.insert(endpoint.method.to_ascii_lowercase(), operation);
    }
    schemas.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Partywall admin API",
            "version": "1",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": server }],
        "security": [{ "accessToken": [] }, { "operatorKey": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "accessToken": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "An access token for the resource {issuer}/admin with the scope `admin`, of an administrator of the tenant.",
                },
                "operatorKey": {
                    "type": "http", "scheme": "bearer",
                    "description": "A key of the vendor's staff: pwo_….",
                },
            },
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let named = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let mut operation = Map::new();
    operation.insert("operationId".to_owned(), json!(endpoint.id));
    operation.insert("summary".to_owned(), json!(endpoint.summary));
    operation.insert("parameters".to_owned(), json!(parameters(endpoint)));
    operation.insert("responses".to_owned(), responses(endpoint));
    if endpoint.for_operators {
        operation.insert("security".to_owned(), json!([{ "operatorKey": [] }]));
    }
    if let Some(body) = &endpoint.body {
        let content = json!({ "application/json": { "schema": named(&body.name) } });
        let body = json!({ "required": true, "content": content });
        operation.insert("requestBody".to_owned(), body);
    }
    Value::Object(operation)
}

fn parameters(endpoint: &Endpoint) -> Vec<Value> {
    let mut all: Vec<Value> = path_parameters(endpoint.path)
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        })
        .collect();
    let header = |name: &str, required: bool, description: &str, schema: Value| {
        json!({
            "name": name, "in": "header", "required": required, "description": description,
            "schema": schema,
        })
    };
    if endpoint.paged {
        all.push(json!({
            "name": "after", "in": "query", "description": "`next` of the page before",
            "schema": { "type": "string" },
        }));
        all.push(json!({
            "name": "limit", "in": "query",
            "schema": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 },
        }));
    }
    if endpoint.guarded {
        let text = json!({ "type": "string" });
        all.push(header("If-Match", true, "The ETag of what was read, or *", text));
    }
    if endpoint.method == "POST" {
        let once = "Sent again with the same request within 24 hours, the first answer comes again, without its secret";
        let key = json!({
            "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$",
        });
        all.push(header("Idempotency-Key", false, once, key));
    }
    all
}

/// The names in braces.
fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn responses(endpoint: &Endpoint) -> Value {
    let mut all = Map::new();
    all.insert(endpoint.status.to_string(), success(endpoint));
    let mut problems: BTreeSet<u16> = [401, 403, 429, 500, 503].into();
    if path_parameters(endpoint.path).next().is_some() {
        problems.insert(404);
    }
    if endpoint.paged {
        problems.insert(400);
    }
    if endpoint.body.is_some() {
        problems.extend([400, 413, 415, 422]);
    }
    if endpoint.guarded {
        problems.extend([409, 412, 428]);
    }
    if endpoint.method == "POST" {
        problems.extend([400, 409, 413, 422]);
    }
    for status in problems {
        let schema = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
        let content = match status {
            // Said by what stands before every endpoint of the server.
            413 | 503 => json!({ "application/json": {} }),
            _ => json!({ "application/problem+json": schema }),
        };
        all.insert(
            status.to_string(),
            json!({ "description": meaning(status), "content": content }),
        );
    }
    Value::Object(all)
}

fn success(endpoint: &Endpoint) -> Value {
    let Some(answer) = &endpoint.answer else { return json!({ "description": "Done" }) };
    let one = json!({ "$ref": format!("#/components/schemas/{}", answer.name) });
    let schema = if endpoint.paged {
        json!({
            "type": "object", "required": ["items"],
            "properties": {
                "items": { "type": "array", "items": one },
                "next": { "type": "string", "description": "What to send as `after`; missing on the last page" },
            },
        })
    } else {
        one
    };
    json!({ "description": "Done", "content": { "application/json": { "schema": schema } } })
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "Cannot be read: an unknown member or parameter, or a wrong type",
        401 => "No credentials, or none that are good now",
        403 => "May be seen and not done by this caller",
        404 => "Not there, or not for this caller",
        409 => "Not possible as things are",
        412 => "Changed since it was read",
        413 => "Larger than 16 KiB",
        415 => "Not JSON",
        422 => "Refused for what it says, or an idempotency key used for another request",
        428 => "If-Match is missing",
        429 => "Too many requests",
        503 => "Took too long",
        _ => "Something failed here",
    }
}

/// RFC 9457 3.1.
fn problem() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "request_id"],
        "properties": {
            "type": text, "title": text, "status": { "type": "integer" }, "detail": text,
            "request_id": text,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_the_one_that_was_reviewed() {
        let text = serde_json::to_string_pretty(&document("https://id.test/admin/v1")).unwrap();
        insta::assert_snapshot!(text);
    }
}
