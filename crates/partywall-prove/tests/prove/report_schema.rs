//! The schema of the JSON report describes every field there is.

use partywall_prove::report::Format;
use serde_json::Value;

use crate::report::{CATALOGUE, one_of_each};

const SCHEMA: &str = include_str!("../../../../docs/book/prove.schema.json");

/// What of a value its schema does not allow or does not know: the part of JSON Schema 2020-12
/// that ours is written in, and stricter, since here an unknown field is a fault.
fn faults(value: &Value, schema: &Value, root: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(target) = schema["$ref"].as_str() {
        let target = root.pointer(target.trim_start_matches('#')).unwrap();
        return faults(value, target, root, at, found);
    }
    let allowed = |allowed: &Value| allowed.as_array().is_none_or(|all| all.contains(value));
    if !allowed(&schema["enum"]) || schema.get("const").is_some_and(|only| only != value) {
        found.push(format!("{at} is {value}"));
    }
    let typed = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        _ => true,
    };
    if !typed {
        found.push(format!("{at} is no {}", schema["type"]));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.get(name.as_str().unwrap()).is_none() {
            found.push(format!("{at} lacks {name}"));
        }
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let known = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        let named = schema.pointer("/propertyNames/enum").and_then(Value::as_array);
        match known {
            Some(known) if named.is_none_or(|names| names.contains(&name.as_str().into())) => {
                faults(inner, known, root, &format!("{at}.{name}"), found);
            }
            _ => found.push(format!("{at} has {name}, which nobody described")),
        }
    }
    if let (Some(items), Some(known)) = (value.as_array(), schema.get("items")) {
        for (index, item) in items.iter().enumerate() {
            faults(item, known, root, &format!("{at}[{index}]"), found);
        }
    }
}

fn faults_of(report: &Value) -> Vec<String> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut found = Vec::new();
    faults(report, &schema, &schema, "report", &mut found);
    found
}

fn report() -> Value {
    serde_json::from_str(&Format::Json.knowing(CATALOGUE, &one_of_each())).unwrap()
}

#[test]
fn m24_every_field_of_the_json_report_is_described() {
    assert_eq!(faults_of(&report()), Vec::<String>::new());
}

#[test]
fn m24_a_field_nobody_described_would_be_seen() {
    let mut more = report();
    more["trials"][0]["confidence"] = 1.into();
    assert_eq!(faults_of(&more), ["report.trials[0] has confidence, which nobody described"]);
    let mut other = report();
    other["trials"][0]["verdict"] = "safe".into();
    assert_eq!(faults_of(&other), ["report.trials[0].verdict is \"safe\""]);
    let mut less = report();
    less.as_object_mut().unwrap().remove("untried");
    assert_eq!(faults_of(&less), ["report lacks \"untried\""]);
    let mut seen = report();
    seen["trials"][0]["seen"] = serde_json::json!({ "guessed": "x" });
    assert_eq!(faults_of(&seen), ["report.trials[0].seen has guessed, which nobody described"]);
}
