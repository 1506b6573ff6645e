//! Values that a schema allows, with a text of ours wherever one may be.

use serde_json::{Map, Value, json};

use crate::system::chance;

/// The schemas of a document.
pub(super) struct Schemas<'d> {
    root: &'d Value,
    base: &'d str,
    /// Paths that can be posted to, with the word their items go by.
    collections: Vec<(String, String)>,
}

/// How deep references and schemas may lead into one another.
pub(super) const DEEPEST: u8 = 8;

impl<'d> Schemas<'d> {
    /// The schemas of `root`, whose paths are below `base`.
    pub(super) fn of(root: &'d Value, base: &'d str) -> Self {
        Self { root, base, collections: collections(root) }
    }

    /// A value of `schema`, for a property called `name`: with a marker where a text may be.
    pub(super) fn example(&self, name: &str, schema: &Value, depth: u8) -> Value {
        let schema = match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let target = reference.strip_prefix('#').and_then(|p| self.root.pointer(p));
                match (target, depth.checked_sub(1)) {
                    (Some(target), Some(depth)) => return self.example(name, target, depth),
                    _ => return Value::Null,
                }
            }
            None => schema,
        };
        let Some(deeper) = depth.checked_sub(1) else { return Value::Null };
        if let Some(fixed) = schema.get("const") {
            return fixed.clone();
        }
        if let Some(first) =
            schema.get("enum").and_then(Value::as_array).and_then(|all| all.first())
        {
            return first.clone();
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            return self.all_of(schema, all, deeper);
        }
        for choice in ["oneOf", "anyOf"] {
            let chosen = schema.get(choice).and_then(Value::as_array);
            let null = |schema: &&Value| schema.get("type") == Some(&json!("null"));
            if let Some(one) = chosen.and_then(|all| all.iter().find(|schema| !null(schema))) {
                return self.example(name, one, deeper);
            }
        }
        match kind(schema) {
            "object" => self.object(schema, deeper),
            "array" => {
                let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
                let item = schema.get("items").unwrap_or(&Value::Null);
                let items = (0..least.min(4)).map(|_| self.example(name, item, deeper));
                Value::Array(items.collect())
            }
            "integer" | "number" => self.id_of(name).map_or_else(|| number(schema), Value::from),
            "boolean" => Value::Bool(false),
            "null" => Value::Null,
            _ => self.id_of(name).map_or_else(|| text(schema), Value::from),
        }
    }

    fn all_of(&self, schema: &Value, all: &[Value], depth: u8) -> Value {
        let mut merged = Map::new();
        for part in all.iter().map(|part| self.example("", part, depth)) {
            if let Value::Object(fields) = part {
                merged.extend(fields);
            }
        }
        if let Value::Object(fields) = self.object(schema, depth) {
            merged.extend(fields);
        }
        Value::Object(merged)
    }

    /// The required properties, and one more where a text could be planted and otherwise is none.
    fn object(&self, schema: &Value, depth: u8) -> Value {
        let required = schema.get("required").and_then(Value::as_array);
        let required: Vec<&str> =
            required.into_iter().flatten().filter_map(Value::as_str).collect();
        let mut fields = Map::new();
        let mut spare = None;
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            if property.get("readOnly") == Some(&Value::Bool(true)) {
                continue;
            }
            let value = self.example(name, property, depth);
            if required.contains(&name.as_str()) {
                fields.insert(name.clone(), value);
            } else if spare.is_none() && value.as_str() == Some("$marker") {
                spare = Some((name.clone(), value));
            }
        }
        if !Value::Object(fields.clone()).to_string().contains("$marker") {
            fields.extend(spare);
        }
        Value::Object(fields)
    }

    /// `$id:/invoices` for `invoice_id` and `invoiceId`, where invoices can be created.
    fn id_of(&self, name: &str) -> Option<String> {
        let word = name.strip_suffix("_id").or_else(|| name.strip_suffix("Id"))?.to_lowercase();
        let plural = |of: &str| {
            let singular = of.to_lowercase().replace(['-', '_'], "");
            let word = word.replace('_', "");
            let stem = word.strip_suffix('y').unwrap_or(&word);
            singular == word
                || singular == format!("{word}s")
                || singular == format!("{word}es")
                || singular == format!("{stem}ies")
        };
        let (collection, _) = self.collections.iter().find(|(_, of)| plural(of))?;
        Some(format!("$id:{}{collection}", self.base))
    }
}

/// Paths that can be posted to, with the word their items go by: `/invoices` and `invoices`.
fn collections(root: &Value) -> Vec<(String, String)> {
    let paths = root.get("paths").and_then(Value::as_object);
    paths
        .into_iter()
        .flatten()
        .filter(|(_, item)| item.get("post").is_some())
        .filter_map(|(path, _)| {
            let word = path.rsplit('/').next()?;
            (!word.is_empty() && !word.contains('{')).then(|| (shape(path), word.to_owned()))
        })
        .collect()
}

/// The path with its parameters' names left out, as [`Route::shape`] has it.
fn shape(path: &str) -> String {
    let segments = path.split('/').map(|s| if s.starts_with('{') { "{}" } else { s });
    segments.collect::<Vec<_>>().join("/")
}

/// The type of a schema; in 3.1 it may be a list with `null` in it.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if schema.get("properties").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ => "string",
    }
}

fn number(schema: &Value) -> Value {
    let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|bound| bound + 1));
    let most = bound("maximum").unwrap_or(i64::MAX);
    Value::from(least.unwrap_or(1).min(most))
}

fn text(schema: &Value) -> Value {
    let given = || {
        let example = schema.get("example").or_else(|| schema.pointer("/examples/0"));
        example.or_else(|| schema.get("default")).cloned()
    };
    match schema.get("format").and_then(Value::as_str) {
        Some("uuid") => json!(chance::like("01900000-0000-4000-8000-000000000000")),
        Some("date") => json!("2030-01-31"),
        Some("date-time") => json!("2030-01-31T12:00:00Z"),
        Some("time") => json!("12:00:00Z"),
        Some("email") => json!("$marker@example.com"),
        Some("uri" | "url") => json!("https://example.com/$marker"),
        Some("byte" | "binary") => json!(""),
        _ if schema.get("pattern").is_some() => given().unwrap_or_else(|| json!("$marker")),
        _ => match schema.get("maxLength").and_then(Value::as_u64) {
            // A marker is longer than that.
            Some(0..32) => given().unwrap_or_else(|| json!("a")),
            _ => json!("$marker"),
        },
    }
}
