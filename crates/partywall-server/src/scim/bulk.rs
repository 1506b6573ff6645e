//! `POST /Bulk` (RFC 7644 section 3.7): operations one after the other, each of which is done or not
//! by itself.

use std::collections::BTreeMap;

use axum::{extract::State, http::StatusCode, response::Response};
use serde_json::{Map, Value, json};

use super::{
    caller::ScimCaller,
    error::ScimError,
    groups,
    patch::member,
    respond::{Body, Representation, shown},
    users,
};
use crate::control::ControlPlane;

/// Operations of one request.
pub(super) const MAX_OPERATIONS: usize = 100;

pub(super) async fn post(
    State(control): State<ControlPlane>,
    caller: ScimCaller,
    Body(body): Body,
) -> Result<Response, ScimError> {
    let operations = member(&body, "Operations").and_then(Value::as_array);
    let operations = operations
        .ok_or_else(|| ScimError::InvalidSyntax("Operations: expected a list".to_owned()))?;
    if operations.len() > MAX_OPERATIONS {
        return Err(ScimError::BulkTooLarge);
    }
    // RFC 7644 3.7: zero or missing, it goes on whatever fails.
    let fail_on = member(&body, "failOnErrors").and_then(Value::as_u64).unwrap_or(0);
    let (mut made, mut failed, mut results) = (BTreeMap::new(), 0, Vec::new());
    for operation in operations {
        if fail_on > 0 && failed >= fail_on {
            break;
        }
        let result = one(&control, &caller, operation, &mut made).await;
        failed += u64::from(!result.is_good);
        results.push(result.said);
    }
    Ok(shown(json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkResponse"],
        "Operations": results,
    })))
}

struct Outcome {
    said: Value,
    is_good: bool,
}

async fn one(
    control: &ControlPlane,
    caller: &ScimCaller,
    operation: &Value,
    made: &mut BTreeMap<String, String>,
) -> Outcome {
    let empty = Map::new();
    let operation = operation.as_object().unwrap_or(&empty);
    let text = |name: &str| member(operation, name).and_then(Value::as_str).unwrap_or_default();
    let (method, bulk_id) = (text("method").to_ascii_uppercase(), text("bulkId").to_owned());
    let mut said = Map::from_iter([("method".to_owned(), method.clone().into())]);
    if !bulk_id.is_empty() {
        said.insert("bulkId".to_owned(), bulk_id.clone().into());
    }
    let done = perform(control, caller, operation, &method, made).await;
    let (status, is_good) = match done {
        Ok((status, representation)) => {
            if let Some(Representation { resource, location, version, .. }) = representation {
                if let (Some(id), false) =
                    (resource.get("id").and_then(Value::as_str), bulk_id.is_empty())
                {
                    made.insert(bulk_id, id.to_owned());
                }
                said.insert("location".to_owned(), location.into());
                said.insert("version".to_owned(), version.into());
            }
            (status, true)
        }
        Err(error) => {
            error.log();
            said.insert("response".to_owned(), error.body());
            (error.status().0, false)
        }
    };
    said.insert("status".to_owned(), status.as_str().into());
    Outcome { said: Value::Object(said), is_good }
}

async fn perform(
    control: &ControlPlane,
    caller: &ScimCaller,
    operation: &Map<String, Value>,
    method: &str,
    made: &BTreeMap<String, String>,
) -> Result<(StatusCode, Option<Representation>), ScimError> {
    let text = |name: &str| member(operation, name).and_then(Value::as_str);
    let path = with_ids_in(text("path").unwrap_or_default(), made)?;
    let mut path = path.trim_start_matches('/').splitn(2, '/');
    let (endpoint, id) = (path.next().unwrap_or_default(), path.next());
    let data = match member(operation, "data") {
        None => Map::new(),
        Some(Value::Object(data)) => {
            let mut data = Value::Object(data.clone());
            put_ids_in(&mut data, made)?;
            match data {
                Value::Object(data) => data,
                _ => Map::new(),
            }
        }
        Some(_) => return Err(ScimError::InvalidSyntax("data: expected an object".to_owned())),
    };
    let read = text("version");
    let ok = |representation| Ok((StatusCode::OK, Some(representation)));
    match (method, endpoint, id) {
        ("POST", "Users" | "Groups", None) => {
            if text("bulkId").is_none_or(str::is_empty) {
                return Err(ScimError::InvalidSyntax("POST needs a bulkId".to_owned()));
            }
            let made = if endpoint == "Users" {
                users::create(control, caller, &data).await?
            } else {
                groups::create(control, caller, &data).await?
            };
            Ok((StatusCode::CREATED, Some(made)))
        }
        ("PUT", "Users", Some(id)) => ok(users::replace(control, caller, id, read, &data).await?),
        ("PATCH", "Users", Some(id)) => ok(users::modify(control, caller, id, read, &data).await?),
        ("PUT", "Groups", Some(id)) => {
            groups::replace(control, caller, id, read, &data).await?;
            ok(groups::read(control, caller, id, false).await?)
        }
        ("PATCH", "Groups", Some(id)) => {
            groups::modify(control, caller, id, read, &data).await?;
            ok(groups::read(control, caller, id, false).await?)
        }
        ("DELETE", "Users", Some(id)) => {
            users::erase(control, caller, id, read).await?;
            Ok((StatusCode::NO_CONTENT, None))
        }
        ("DELETE", "Groups", Some(id)) => {
            groups::erase(control, caller, id, read).await?;
            Ok((StatusCode::NO_CONTENT, None))
        }
        _ => Err(ScimError::InvalidSyntax(
            "expected POST to /Users or /Groups, or PUT, PATCH or DELETE of one of them".to_owned(),
        )),
    }
}

/// RFC 7644 3.7.2: `bulkId:x` stands for the id of what an operation before made.
fn put_ids_in(value: &mut Value, made: &BTreeMap<String, String>) -> Result<(), ScimError> {
    match value {
        Value::String(text) => *text = with_ids_in(text, made)?,
        Value::Array(values) => values.iter_mut().try_for_each(|value| put_ids_in(value, made))?,
        Value::Object(parts) => parts.values_mut().try_for_each(|value| put_ids_in(value, made))?,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

fn with_ids_in(text: &str, made: &BTreeMap<String, String>) -> Result<String, ScimError> {
    let Some((before, name)) = text.split_once("bulkId:") else { return Ok(text.to_owned()) };
    // In an address it ends the text; anywhere else it is all of it.
    if !before.is_empty() && !before.ends_with('/') {
        return Ok(text.to_owned());
    }
    let id = made.get(name).ok_or_else(|| {
        ScimError::InvalidValue("bulkId: no operation before this one made it".to_owned())
    })?;
    Ok(format!("{before}{id}"))
}
