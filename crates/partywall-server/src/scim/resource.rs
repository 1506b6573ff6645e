//! Resources as clients send them, read against the schema: names as the schema spells them, values
//! of the types it says. What it does not know, and what is not the client's to write, is left out
//! (RFC 7644 sections 3.3 and 3.5.1).

use base64ct::{Base64, Encoding};
use scim_v2::ScimDateTime;
use serde_json::{Map, Value};

use super::{
    error::ScimError,
    filter::boolean,
    patch::{self, Op},
    path::Target,
    schema::{Attribute, Kind, ResourceKind},
};

/// What one resource may say of itself, in bytes of JSON, members not counted.
pub(crate) const MAX_SIZE: usize = 64 * 1024;

/// Reads a whole resource, as POST and PUT carry it.
///
/// # Errors
///
/// [`ScimError::InvalidSyntax`] when it is none of `kind`, [`ScimError::InvalidValue`] when a value
/// is not of its attribute's type or a required one is missing.
pub(crate) fn read(
    kind: &'static ResourceKind,
    body: &Map<String, Value>,
) -> Result<Map<String, Value>, ScimError> {
    check_schemas(kind, body)?;
    let mut resource = Map::new();
    for (name, value) in body {
        // What it does not know is nothing to it, and what is not the client's to write stays.
        if let Some(target) = Target::named(kind, name).filter(|target| !target.is_read_only()) {
            patch::write(&mut resource, &target, Op::Replace, Some(value))?;
        }
    }
    check(kind, &resource)?;
    Ok(resource)
}

/// Refuses a resource that lacks what it must have, or says too much.
pub(crate) fn check(
    kind: &'static ResourceKind,
    resource: &Map<String, Value>,
) -> Result<(), ScimError> {
    for attribute in kind.schema.attributes.iter().filter(|attribute| attribute.required) {
        let text = resource.get(attribute.name).and_then(Value::as_str);
        if text.is_none_or(|text| text.trim().is_empty()) {
            return Err(ScimError::InvalidValue(format!("{} is required", attribute.name)));
        }
    }
    let mut kept = resource.iter().filter(|(name, _)| *name != "members");
    let size: usize = kept.by_ref().map(|(name, value)| name.len() + value.to_string().len()).sum();
    if size > MAX_SIZE {
        return Err(ScimError::InvalidValue(format!("a resource has up to {MAX_SIZE} bytes")));
    }
    for (name, value) in resource {
        let primary = |value: &&Value| value.get("primary") == Some(&Value::Bool(true));
        if value.as_array().is_some_and(|values| values.iter().filter(primary).count() > 1) {
            // RFC 7643 2.4: "primary" appears no more than once.
            return Err(ScimError::InvalidValue(format!("{name}: more than one is primary")));
        }
    }
    Ok(())
}

/// RFC 7643 section 3: `schemas` names the resource's own. Clients forget it, or add theirs; a list
/// that is about something else is refused.
fn check_schemas(kind: &'static ResourceKind, body: &Map<String, Value>) -> Result<(), ScimError> {
    let given = body.iter().find(|(name, _)| name.eq_ignore_ascii_case("schemas"));
    let own = |value: &Value| value.as_str().is_some_and(|urn| kind.schema.is(urn));
    match given {
        None => Ok(()),
        Some((_, Value::Array(urns))) if urns.is_empty() || urns.iter().any(own) => Ok(()),
        Some(_) => Err(ScimError::InvalidSyntax(format!("schemas: expected {}", kind.schema.id))),
    }
}

/// Reads the value of `attribute`; `None` when it says nothing.
///
/// # Errors
///
/// [`ScimError::InvalidValue`].
pub(crate) fn value_of(
    attribute: &'static Attribute,
    value: &Value,
) -> Result<Option<Value>, ScimError> {
    if !attribute.multi_valued {
        return single(attribute, value);
    }
    // Some clients send one value as itself.
    let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let mut read: Vec<Value> = Vec::with_capacity(values.len());
    for value in values {
        match single(attribute, value)? {
            // Of a group's members there are many, and a set is made of them later.
            Some(value) if attribute.name == "members" || !read.contains(&value) => {
                read.push(value);
            }
            Some(_) | None => {}
        }
    }
    Ok((!read.is_empty()).then_some(Value::Array(read)))
}

/// Reads one value of `attribute`, also of those that have several.
pub(crate) fn single(
    attribute: &'static Attribute,
    value: &Value,
) -> Result<Option<Value>, ScimError> {
    let name = attribute.name;
    match (attribute.kind, value) {
        (_, Value::Null) => Ok(None),
        (Kind::Text | Kind::Reference, Value::String(_)) | (Kind::Boolean, Value::Bool(_)) => {
            Ok(Some(value.clone()))
        }
        // Entra writes booleans as text.
        (Kind::Boolean, Value::String(text)) => match boolean(text) {
            Some(value) => Ok(Some(Value::Bool(value))),
            None => Err(mistyped(name, "true or false")),
        },
        (Kind::DateTime, Value::String(text)) if text.parse::<ScimDateTime>().is_ok() => {
            Ok(Some(value.clone()))
        }
        (Kind::Binary, Value::String(text)) if Base64::decode_vec(text).is_ok() => {
            Ok(Some(value.clone()))
        }
        (Kind::Complex, Value::Object(given)) => {
            let read = parts(attribute.parts, given)?;
            Ok((!read.is_empty()).then_some(Value::Object(read)))
        }
        // Entra writes a manager, and others a member, as nothing but its value.
        (Kind::Complex, Value::String(_)) if attribute.part("value").is_some() => {
            Ok(Some(Value::Object(Map::from_iter([("value".to_owned(), value.clone())]))))
        }
        (Kind::Text | Kind::Reference, _) => Err(mistyped(name, "text")),
        (Kind::Boolean, _) => Err(mistyped(name, "true or false")),
        (Kind::DateTime, _) => Err(mistyped(name, "a time, as in 2011-05-13T04:42:34Z")),
        (Kind::Binary, _) => Err(mistyped(name, "base64")),
        (Kind::Complex, _) => Err(mistyped(name, "an object")),
    }
}

/// Reads the members of an object that are the client's to write.
pub(crate) fn parts(
    attributes: &'static [Attribute],
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, ScimError> {
    let mut read = Map::new();
    for (name, value) in given {
        let known = attributes.iter().find(|known| known.name.eq_ignore_ascii_case(name));
        let Some(attribute) = known.filter(|attribute| !attribute.is_read_only()) else { continue };
        if let Some(value) = value_of(attribute, value)? {
            read.insert(attribute.name.to_owned(), value);
        }
    }
    Ok(read)
}

fn mistyped(name: &str, expected: &str) -> ScimError {
    ScimError::InvalidValue(format!("{name}: expected {expected}"))
}
