//! Routes from an OpenAPI 3 document (OAS 3.0 and 3.1, JSON): as much of it as an attacker needs.
//!
//! What is not understood is left out, and said.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Map, Value, json};

use self::schema::{DEEPEST, Schemas};
use super::Route;

mod schema;

/// What a document says, and what of it was not understood.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its operations.
    pub routes: Vec<Route>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

/// Something of a document that was left out, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Skipped {
    /// Where: an operation.
    pub place: String,
    /// Why.
    pub why: String,
}

/// Why a document cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenApiError {
    /// It is not JSON.
    #[error("the OpenAPI document is not JSON: convert it, or list the routes")]
    Syntax(#[source] serde_json::Error),
    /// It is of another kind.
    #[error("the document is not OpenAPI 3: its `openapi` must begin with 3")]
    Version,
    /// It describes no operation that could be called.
    #[error("the OpenAPI document describes no operation that could be called")]
    Empty,
    /// It cannot be fetched.
    #[error("the OpenAPI document cannot be fetched from {url}")]
    Fetch {
        /// Its address, without a query.
        url: String,
        /// What was in the way.
        #[source]
        source: reqwest::Error,
    },
    /// It is longer than anybody's document.
    #[error("the OpenAPI document at {url} is longer than 16 MiB")]
    TooLong {
        /// Its address, without a query.
        url: String,
    },
}

const LONGEST: usize = 16 << 20;

/// Fetches a document and reads it.
///
/// # Errors
///
/// When it cannot be fetched, and as [`read`].
pub async fn fetch(url: &str) -> Result<Document, OpenApiError> {
    let place = || url.split(['?', '#']).next().unwrap_or_default().to_owned();
    let failed =
        |error: reqwest::Error| OpenApiError::Fetch { url: place(), source: error.without_url() };
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build();
    let answer = client.map_err(failed)?.get(url).send().await.map_err(failed)?;
    let mut answer = answer.error_for_status().map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LONGEST {
            return Err(OpenApiError::TooLong { url: place() });
        }
    }
    read(&bytes)
}

/// Reads a document.
///
/// # Errors
///
/// When it is no OpenAPI 3 in JSON, or has nothing in it.
pub fn read(document: &[u8]) -> Result<Document, OpenApiError> {
    let root: Value = serde_json::from_slice(document).map_err(OpenApiError::Syntax)?;
    if !root.get("openapi").and_then(Value::as_str).is_some_and(|v| v.starts_with("3.")) {
        return Err(OpenApiError::Version);
    }
    let mut skipped = Vec::new();
    let base = base(&root, &mut skipped);
    let schemas = Schemas::of(&root, &base);
    let mut reader = Reader { root: &root, base: &base, schemas, skipped };
    let routes = reader.routes();
    if routes.is_empty() {
        return Err(OpenApiError::Empty);
    }
    Ok(Document { routes, skipped: reader.skipped })
}

/// The path of the first server, which all paths are below.
fn base(root: &Value, skipped: &mut Vec<Skipped>) -> String {
    let url = root.pointer("/servers/0/url").and_then(Value::as_str).unwrap_or_default();
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => url,
    };
    if path.contains('{') {
        let why = "the server's path has variables: give it with the address".to_owned();
        skipped.push(Skipped { place: "servers".to_owned(), why });
        return String::new();
    }
    let path = path.trim_matches('/');
    if path.is_empty() { String::new() } else { format!("/{path}") }
}

struct Reader<'d> {
    root: &'d Value,
    /// What all paths are below.
    base: &'d str,
    schemas: Schemas<'d>,
    skipped: Vec<Skipped>,
}

impl<'d> Reader<'d> {
    fn skip(&mut self, place: impl Into<String>, why: impl Into<String>) {
        self.skipped.push(Skipped { place: place.into(), why: why.into() });
    }

    fn routes(&mut self) -> Vec<Route> {
        let mut routes = Vec::new();
        let paths = self.root.get("paths").and_then(Value::as_object);
        for (path, item) in paths.into_iter().flatten() {
            let Some(fields) = self.resolve(item).and_then(Value::as_object) else {
                self.skip(path, "it leads nowhere");
                continue;
            };
            for (name, operation) in fields {
                let method = match name.as_str() {
                    "get" => Method::GET,
                    "head" => Method::HEAD,
                    "options" => Method::OPTIONS,
                    "post" => Method::POST,
                    "put" => Method::PUT,
                    "patch" => Method::PATCH,
                    "delete" => Method::DELETE,
                    "trace" => {
                        self.skip(format!("TRACE {path}"), "TRACE is not tried");
                        continue;
                    }
                    _ => continue,
                };
                let place = format!("{method} {path}");
                if !path.starts_with('/') || path.split('/').any(half_a_parameter) {
                    self.skip(
                        place,
                        "a parameter that is part of a path segment is not understood",
                    );
                    continue;
                }
                let public = self.is_public(operation);
                let path = format!("{}{path}", self.base);
                let mut route =
                    Route { method, path, query: Vec::new(), body: None, id: None, public };
                let searched = self.parameters(&place, fields, operation, &mut route);
                if self.body(&place, operation, &mut route) {
                    routes.extend(searched.map(|query| {
                        let query = route.query.iter().cloned().chain([query]).collect();
                        Route { query, ..route.clone() }
                    }));
                    routes.push(route);
                }
            }
        }
        routes
    }

    /// Whether the document says that no credential is needed (OAS 3.1, 4.8.10.1).
    fn is_public(&self, operation: &Value) -> bool {
        let security = operation.get("security").or_else(|| self.root.get("security"));
        let Some(alternatives) = security.and_then(Value::as_array) else { return false };
        let none = |alternative: &Value| alternative.as_object().is_some_and(Map::is_empty);
        // An empty list on the document itself says nothing about the operation.
        let said = operation.get("security").is_some();
        (said && alternatives.is_empty()) || alternatives.iter().any(none)
    }

    /// Adds what must be in the query; returns a parameter that searches for texts, if there is one.
    fn parameters(
        &mut self,
        place: &str,
        item: &'d Map<String, Value>,
        operation: &'d Value,
        route: &mut Route,
    ) -> Option<(String, String)> {
        let mut searched = None;
        let lists = [item.get("parameters"), operation.get("parameters")];
        for parameter in lists.into_iter().flatten().filter_map(Value::as_array).flatten() {
            let Some(parameter) = self.resolve(parameter) else {
                self.skip(place, "a parameter leads nowhere");
                continue;
            };
            let text = |name: &str| parameter.get(name).and_then(Value::as_str).unwrap_or_default();
            let required = parameter.get("required") == Some(&Value::Bool(true));
            let name = text("name").to_owned();
            match text("in") {
                "query" => {
                    let schema = parameter.get("schema").unwrap_or(&Value::Null);
                    let looks = ["q", "query", "search", "filter", "text", "term"];
                    if required {
                        let value = self.schemas.example(&name, schema, DEEPEST);
                        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                        route.query.retain(|(known, _)| *known != name);
                        route.query.push((name, value));
                    } else if looks.contains(&name.as_str()) && route.method == Method::GET {
                        searched = Some((name, "$marker".to_owned()));
                    }
                }
                "header" if required => {
                    self.skip(place, format!("the header {name} it requires is not sent"));
                }
                _ => {}
            }
        }
        searched
    }

    /// Gives the route a body that its schema allows. `false` when none can be made.
    fn body(&mut self, place: &str, operation: &'d Value, route: &mut Route) -> bool {
        let Some(body) = operation.get("requestBody") else { return true };
        let content = self.resolve(body).and_then(|body| body.get("content")?.as_object());
        let json = content.into_iter().flatten().find(|(kind, _)| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind == "application/json" || kind.ends_with("+json") || kind == "*/*"
        });
        let Some((_, media)) = json else {
            self.skip(place, "its body is not JSON: list the route by hand");
            return false;
        };
        route.body = Some(match media.get("schema") {
            Some(schema) => self.schemas.example("", schema, DEEPEST),
            None => media.get("example").cloned().unwrap_or(json!({})),
        });
        true
    }

    /// What a local `$ref` leads to, or the value itself.
    fn resolve(&self, mut value: &'d Value) -> Option<&'d Value> {
        for _ in 0..DEEPEST {
            match value.get("$ref").and_then(Value::as_str) {
                Some(reference) => value = self.root.pointer(reference.strip_prefix('#')?)?,
                None => return Some(value),
            }
        }
        None
    }
}

/// `/files/{name}.json`.
fn half_a_parameter(segment: &str) -> bool {
    let whole = segment.starts_with('{') && segment.ends_with('}');
    let braces = segment.matches(['{', '}']).count();
    if whole { braces != 2 } else { braces > 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        json!({
            "openapi": "3.1.0",
            "servers": [{ "url": "https://api.example.com/v1/" }],
            "security": [{ "bearer": [] }],
            "paths": {
                "/healthz": { "get": { "security": [] } },
                "/invoices": {
                    "get": { "parameters": [{ "name": "q", "in": "query", "schema": { "type": "string" } }] },
                    "post": { "requestBody": { "$ref": "#/components/requestBodies/New" } },
                },
                "/invoices/{id}": {
                    "parameters": [{ "$ref": "#/components/parameters/Id" }],
                    "get": {},
                    "trace": {},
                },
                "/payments": {
                    "post": { "requestBody": { "content": { "application/json": { "schema": {
                        "type": "object",
                        "required": ["invoice_id", "paid_on"],
                        "properties": {
                            "invoice_id": { "type": "string", "format": "uuid" },
                            "paid_on": { "type": "string", "format": "date" },
                            "note": { "type": ["null", "string"] },
                        },
                    } } } } },
                },
                "/upload": { "put": { "requestBody": { "content": { "image/png": {} } } } },
                "/reports": { "get": { "parameters": [
                    { "name": "year", "in": "query", "required": true, "schema": { "type": "integer", "minimum": 2000 } },
                ] } },
                "/files/{name}.json": { "get": {} },
            },
            "components": {
                "parameters": { "Id": { "name": "id", "in": "path", "required": true } },
                "requestBodies": { "New": { "content": { "application/json": { "schema": {
                    "$ref": "#/components/schemas/New" } } } } },
                "schemas": {
                    "New": {
                        "allOf": [{ "$ref": "#/components/schemas/Base" }],
                        "required": ["amount_cents", "kind"],
                        "properties": {
                            "id": { "type": "string", "readOnly": true },
                            "amount_cents": { "type": "integer", "exclusiveMinimum": 0 },
                            "kind": { "enum": ["plain", "final"] },
                        },
                    },
                    "Base": {
                        "type": "object",
                        "required": ["customer"],
                        "properties": { "customer": { "type": "string" } },
                    },
                    "Endless": { "properties": { "more": { "$ref": "#/components/schemas/Endless" } } },
                },
            },
        })
    }

    fn written(document: &Value) -> (Vec<String>, Vec<String>) {
        let read = read(document.to_string().as_bytes()).unwrap();
        let mut routes: Vec<_> = read.routes.into_iter().map(String::from).collect();
        routes.sort();
        (routes, read.skipped.into_iter().map(|s| format!("{}: {}", s.place, s.why)).collect())
    }

    #[test]
    fn r06_routes_come_from_an_openapi_document() {
        let (routes, skipped) = written(&document());
        assert_eq!(
            routes,
            [
                "GET /v1/healthz public",
                "GET /v1/invoices",
                "GET /v1/invoices/{id}",
                "GET /v1/invoices?q=%24marker",
                "GET /v1/reports?year=2000",
                r#"POST /v1/invoices {"amount_cents":1,"customer":"$marker","kind":"plain"}"#,
                r#"POST /v1/payments {"invoice_id":"$id:/v1/invoices","note":"$marker","paid_on":"2030-01-31"}"#,
            ]
        );
        let why = skipped.join("\n");
        for place in ["TRACE /invoices/{id}", "PUT /upload", "GET /files/{name}.json"] {
            assert!(why.contains(place), "{why}");
        }
    }

    #[test]
    fn r06_a_document_that_leads_in_circles_or_nowhere_is_read_to_its_end() {
        let mut circular = document();
        circular["components"]["requestBodies"]["New"]["content"]["application/json"]["schema"]["$ref"] =
            json!("#/components/schemas/Endless");
        circular["paths"]["/invoices/{id}"]["parameters"][0]["$ref"] = json!("#/nowhere");
        let (routes, skipped) = written(&circular);
        assert_eq!(routes.len(), 7);
        assert!(skipped.iter().any(|why| why.contains("leads nowhere")), "{skipped:?}");
    }

    #[test]
    fn r06_another_document_is_refused_in_words() {
        for (bytes, word) in [
            ("openapi: 3.0.0", "not JSON"),
            (r#"{"swagger": "2.0"}"#, "not OpenAPI 3"),
            (r#"{"openapi": "3.0.3", "paths": {}}"#, "no operation"),
        ] {
            let refused = read(bytes.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(word), "{refused}");
        }
    }
}
