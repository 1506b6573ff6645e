//! PATCH (RFC 7644 section 3.5.2), with the habits of Entra, Okta and Google: operations in any
//! case, booleans as text, values without a path, parts named with dots, a value that is made when
//! the filter of its path finds none.

use serde_json::{Map, Value};

use super::{
    error::ScimError,
    filter::Place,
    path::Target,
    resource,
    schema::{Attribute, Kind, ResourceKind},
};

/// How many operations one PATCH may have.
const MAX_OPERATIONS: usize = 1000;

/// One operation.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) op: Op,
    pub(crate) target: Target,
    /// Missing where something is removed.
    pub(crate) value: Option<Value>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Op {
    Add,
    Replace,
    Remove,
}

/// Reads the body of a PATCH.
///
/// # Errors
///
/// [`ScimError::InvalidSyntax`] for what is no `PatchOp`, and whatever is wrong with its paths.
pub(crate) fn read(
    kind: &'static ResourceKind,
    body: &Map<String, Value>,
) -> Result<Vec<Operation>, ScimError> {
    let syntax = |detail: &str| ScimError::InvalidSyntax(detail.to_owned());
    let operations = member(body, "Operations")
        .and_then(Value::as_array)
        .filter(|operations| !operations.is_empty())
        .ok_or_else(|| syntax("Operations: expected a list of operations"))?;
    if operations.len() > MAX_OPERATIONS {
        return Err(ScimError::TooMuch(format!("a PATCH has up to {MAX_OPERATIONS} operations")));
    }
    let mut read = Vec::with_capacity(operations.len());
    for operation in operations {
        let operation = operation.as_object().ok_or_else(|| syntax("an operation is an object"))?;
        let op = member(operation, "op").and_then(Value::as_str).unwrap_or_default();
        let op = match op.to_ascii_lowercase().as_str() {
            "add" => Op::Add,
            "replace" => Op::Replace,
            "remove" => Op::Remove,
            _ => return Err(syntax("op: expected add, replace or remove")),
        };
        let value = member(operation, "value");
        match member(operation, "path") {
            Some(Value::String(path)) if !path.is_empty() => {
                let target = Target::read(kind, path)?;
                if target.is_read_only() {
                    return Err(ScimError::Mutability(format!("{path} is read-only")));
                }
                if value.is_none() && op != Op::Remove {
                    return Err(ScimError::InvalidValue("value is missing".to_owned()));
                }
                read.push(Operation { op, target, value: value.cloned() });
            }
            None | Some(Value::Null | Value::String(_)) => {
                whole(kind, op, value, &mut read)?;
            }
            Some(_) => return Err(syntax("path: expected text")),
        }
    }
    Ok(read)
}

/// Without a path, the value names what it is about. What is unknown or read-only in it is left out:
/// Okta sends a group's own id along.
fn whole(
    kind: &'static ResourceKind,
    op: Op,
    value: Option<&Value>,
    read: &mut Vec<Operation>,
) -> Result<(), ScimError> {
    if op == Op::Remove {
        // RFC 7644 3.5.2.2.
        return Err(ScimError::NoTarget("remove needs a path".to_owned()));
    }
    let Some(Value::Object(members)) = value else {
        return Err(ScimError::InvalidValue(
            "value: without a path, expected an object".to_owned(),
        ));
    };
    for (name, value) in members {
        match Target::named(kind, name) {
            Some(Target::Whole) => whole(kind, op, Some(value), read)?,
            Some(target) if !target.is_read_only() => {
                read.push(Operation { op, target, value: Some(value.clone()) });
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// Does the operations, one after the other.
///
/// # Errors
///
/// The first that cannot be done; `resource` is then not to be used.
pub(crate) fn apply(
    kind: &'static ResourceKind,
    resource: &mut Map<String, Value>,
    operations: Vec<Operation>,
) -> Result<(), ScimError> {
    for Operation { op, target, value } in operations {
        write(resource, &target, op, value.as_ref())?;
    }
    resource::check(kind, resource)
}

/// Does one operation.
pub(crate) fn write(
    resource: &mut Map<String, Value>,
    target: &Target,
    op: Op,
    value: Option<&Value>,
) -> Result<(), ScimError> {
    match target {
        Target::Whole => Ok(()),
        Target::Extension(schema) => {
            let place = |attribute| Place { extension: Some(schema.id), attribute, part: None };
            match (op, value) {
                (Op::Remove, _) | (Op::Replace, Some(Value::Null)) => {
                    resource.remove(schema.id);
                }
                (_, Some(Value::Object(given))) => {
                    for (name, value) in given {
                        let known = schema.attribute(name);
                        if let Some(attribute) = known.filter(|known| !known.is_read_only()) {
                            let target = Target::Attribute(place(attribute));
                            write(resource, &target, op, Some(value))?;
                        }
                    }
                }
                _ => {
                    let detail = format!("{}: expected an object", schema.id);
                    return Err(ScimError::InvalidValue(detail));
                }
            }
            Ok(())
        }
        Target::Attribute(place) => within(resource, place, |host| match place.part {
            None => write_attribute(host, place.attribute, op, value),
            Some(part) => write_part_of_all(host, place.attribute, part, op, value),
        }),
        Target::Values(place, filter, part) => within(resource, place, |host| {
            let mut values = take(host, place.attribute);
            let mut selected: Vec<bool> =
                values.iter().map(|value| filter.matches(value)).collect();
            let example = filter.example();
            if op != Op::Remove && !selected.contains(&true) {
                // RFC 7644 3.5.2.3 would refuse; Entra counts on the value being made.
                let made = example.clone().ok_or_else(|| {
                    ScimError::NoTarget("no value satisfies the filter in the path".to_owned())
                })?;
                values.push(Value::Object(made));
                selected.push(true);
            }
            for (one, _) in values.iter_mut().zip(&selected).filter(|(_, selected)| **selected) {
                match (part, op) {
                    (None, Op::Remove) => *one = Value::Null,
                    (None, Op::Add) => merge(one, place.attribute, value)?,
                    (None, Op::Replace) => {
                        let read =
                            resource::single(place.attribute, value.unwrap_or(&Value::Null))?;
                        // What selected it stays, unless it is said anew.
                        *one = match read {
                            None => Value::Null,
                            Some(read) => joined(example.clone().unwrap_or_default(), read),
                        };
                    }
                    (Some(part), op) => write_part(one, part, op, value)?,
                }
            }
            put(host, place.attribute, only_primary(values, &selected));
            Ok(())
        }),
    }
}

fn write_attribute(
    host: &mut Map<String, Value>,
    attribute: &'static Attribute,
    op: Op,
    value: Option<&Value>,
) -> Result<(), ScimError> {
    let given = value.unwrap_or(&Value::Null);
    if attribute.multi_valued {
        let read = resource::value_of(attribute, given)?;
        let Some(Value::Array(listed)) = read else {
            if op != Op::Add {
                host.remove(attribute.name);
            }
            return Ok(());
        };
        let mut values = take(host, attribute);
        let before = values.len();
        match op {
            Op::Replace => values = listed,
            // Entra lists what is to go.
            Op::Remove => values.retain(|value| !listed.iter().any(|gone| describes(gone, value))),
            Op::Add => {
                for value in listed {
                    append(&mut values, value);
                }
                let new: Vec<bool> = (0..values.len()).map(|at| at >= before).collect();
                values = only_primary(values, &new);
            }
        }
        put(host, attribute, values);
    } else if op == Op::Remove || given.is_null() {
        host.remove(attribute.name);
    } else if attribute.kind == Kind::Complex {
        // RFC 7644 3.5.2.3: parts that are not named are left as they are.
        let mut whole = host.remove(attribute.name).unwrap_or_default();
        merge(&mut whole, attribute, value)?;
        if whole.as_object().is_some_and(|parts| !parts.is_empty()) {
            host.insert(attribute.name.to_owned(), whole);
        }
    } else if let Some(read) = resource::single(attribute, given)? {
        host.insert(attribute.name.to_owned(), read);
    }
    Ok(())
}

/// Writes a part of a complex attribute, or of each of its values.
fn write_part_of_all(
    host: &mut Map<String, Value>,
    attribute: &'static Attribute,
    part: &'static Attribute,
    op: Op,
    value: Option<&Value>,
) -> Result<(), ScimError> {
    let mut values = if attribute.multi_valued {
        take(host, attribute)
    } else {
        host.remove(attribute.name).into_iter().collect()
    };
    if values.is_empty() && op != Op::Remove {
        values.push(Value::Object(Map::new()));
    }
    for one in &mut values {
        write_part(one, part, op, value)?;
    }
    if attribute.multi_valued {
        put(host, attribute, values);
    } else if let Some(whole) = values.pop().filter(|whole| !is_empty(whole)) {
        host.insert(attribute.name.to_owned(), whole);
    }
    Ok(())
}

fn write_part(
    one: &mut Value,
    part: &'static Attribute,
    op: Op,
    value: Option<&Value>,
) -> Result<(), ScimError> {
    let read = match (op, value) {
        (Op::Remove, _) | (_, None) => None,
        (_, Some(value)) => resource::value_of(part, value)?,
    };
    if let Some(parts) = one.as_object_mut() {
        match read {
            Some(value) => _ = parts.insert(part.name.to_owned(), value),
            None => _ = parts.remove(part.name),
        }
    }
    Ok(())
}

/// Takes over the parts that `value` names, and takes away those it names null.
fn merge(
    one: &mut Value,
    attribute: &'static Attribute,
    value: Option<&Value>,
) -> Result<(), ScimError> {
    let given = value.unwrap_or(&Value::Null);
    if let Some(read) = resource::single(attribute, given)? {
        let before = std::mem::take(one);
        *one = joined(before.as_object().cloned().unwrap_or_default(), read);
    }
    if let (Some(parts), Some(given)) = (one.as_object_mut(), given.as_object()) {
        for (name, _) in given.iter().filter(|(_, value)| value.is_null()) {
            if let Some(part) = attribute.part(name).filter(|part| !part.is_read_only()) {
                parts.remove(part.name);
            }
        }
    }
    Ok(())
}

/// The parts of `over`, and those of `under` that it does not have.
fn joined(mut under: Map<String, Value>, over: Value) -> Value {
    if let Value::Object(over) = over {
        under.extend(over);
    }
    Value::Object(under)
}

/// Adds a value, unless there is one already that it describes.
fn append(values: &mut Vec<Value>, value: Value) {
    match values.iter_mut().find(|there| describes(&value, there)) {
        None => values.push(value),
        Some(there) => {
            let before = std::mem::take(there);
            *there = match before {
                Value::Object(parts) => joined(parts, value),
                plain => plain,
            };
        }
    }
}

/// Whether `description` is about `value`: the same `value` and, where it says one, the same `type`;
/// without a `value`, the same in every part.
fn describes(description: &Value, value: &Value) -> bool {
    let same = |part: &str| description.get(part) == value.get(part);
    if description.get("value").is_some() {
        same("value") && (description.get("type").is_none() || same("type"))
    } else {
        description == value
    }
}

/// RFC 7644 3.5.2: whatever becomes primary takes that from the others.
fn only_primary(mut values: Vec<Value>, written: &[bool]) -> Vec<Value> {
    let primary = |value: &Value| value.get("primary") == Some(&Value::Bool(true));
    let is_new = values.iter().zip(written).any(|(value, written)| *written && primary(value));
    if is_new {
        for (value, written) in values.iter_mut().zip(written) {
            if let Some(parts) = value.as_object_mut().filter(|_| !written) {
                parts.remove("primary");
            }
        }
    }
    values
}

/// Lets `write` work where the attributes of the place stand.
fn within(
    resource: &mut Map<String, Value>,
    place: &Place,
    write: impl FnOnce(&mut Map<String, Value>) -> Result<(), ScimError>,
) -> Result<(), ScimError> {
    let Some(urn) = place.extension else { return write(resource) };
    let mut extension = match resource.remove(urn) {
        Some(Value::Object(extension)) => extension,
        _ => Map::new(),
    };
    write(&mut extension)?;
    if !extension.is_empty() {
        resource.insert(urn.to_owned(), Value::Object(extension));
    }
    Ok(())
}

fn take(host: &mut Map<String, Value>, attribute: &Attribute) -> Vec<Value> {
    match host.remove(attribute.name) {
        Some(Value::Array(values)) => values,
        _ => Vec::new(),
    }
}

/// Puts back what is left. RFC 7643 2.5: an empty list is none.
fn put(host: &mut Map<String, Value>, attribute: &Attribute, mut values: Vec<Value>) {
    values.retain(|value| !is_empty(value));
    if !values.is_empty() {
        host.insert(attribute.name.to_owned(), Value::Array(values));
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}

/// A member of a message, by any spelling: structure is told apart without regard to case.
pub(crate) fn member<'b>(body: &'b Map<String, Value>, name: &str) -> Option<&'b Value> {
    let by_case = || body.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
    body.get(name).or_else(|| by_case().map(|(_, value)| value))
}

#[cfg(test)]
#[path = "patch_tests.rs"]
mod tests;
