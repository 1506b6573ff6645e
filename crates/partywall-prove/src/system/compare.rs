//! Whether two answers are the same, apart from what was sent and what changes by itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::client::{Answer, Got};

/// An answer, and what was sent to get it: ids and markers an application may echo.
pub(super) struct Told<'a> {
    pub(super) answer: &'a Answer,
    pub(super) sent: &'a [String],
}

/// How `told` differs from what an id that never was gets, asked for twice: what differs between
/// those two (a request id, a time) counts for nothing. `None` when it does not.
pub(super) fn difference(told: &Told<'_>, absent: [&Told<'_>; 2]) -> Option<String> {
    let [one, two] = absent;
    let (Answer::Got(this), Answer::Got(one), Answer::Got(two)) =
        (told.answer, one.answer, two.answer)
    else {
        return Some("there was no answer".to_owned());
    };
    if this.status != one.status {
        return Some(format!("{} and not {}", this.status, one.status));
    }
    let told = parts(this, told.sent);
    let (one, two) = (parts(one, absent[0].sent), parts(two, absent[1].sent));
    let names: BTreeSet<&String> = told.keys().chain(one.keys()).chain(two.keys()).collect();
    let changes_by_itself = |name: &String| one.get(name) != two.get(name);
    names
        .into_iter()
        .find(|name| told.get(*name) != one.get(*name) && !changes_by_itself(name))
        .map(|name| format!("another {name}"))
}

/// An answer part by part: each header, and each value of a JSON body, or the body as a whole.
fn parts(got: &Got, sent: &[String]) -> BTreeMap<String, String> {
    // Longest first: one sent text may be part of another.
    let mut sent: Vec<&String> = sent.iter().filter(|text| !text.is_empty()).collect();
    sent.sort_by_key(|text| std::cmp::Reverse(text.len()));
    let neutral = |text: &str| {
        sent.iter().fold(text.to_owned(), |text, sent| text.replace(sent.as_str(), "$sent"))
    };
    let mut parts = BTreeMap::new();
    for (name, value) in &got.headers {
        // Without a body (HEAD) its length is all that there is to learn.
        let length = name == "content-length" && got.body.is_empty();
        if length || !CHANGING.contains(&name.as_str()) {
            parts.insert(format!("header {name}"), neutral(value));
        }
    }
    match serde_json::from_str::<Value>(&got.body) {
        Ok(json) => flatten(&json, "body".to_owned(), &neutral, &mut parts),
        Err(_) => {
            parts.insert("body".to_owned(), neutral(&got.body));
        }
    }
    parts
}

/// Headers that differ between two answers to the same request, or follow from the body.
const CHANGING: [&str; 12] = [
    "date",
    "age",
    "content-length",
    "x-request-id",
    "x-correlation-id",
    "x-trace-id",
    "x-amzn-trace-id",
    "cf-ray",
    "traceparent",
    "server-timing",
    "x-response-time",
    "x-runtime",
];

fn flatten(
    value: &Value,
    at: String,
    neutral: &impl Fn(&str) -> String,
    parts: &mut BTreeMap<String, String>,
) {
    match value {
        Value::Object(fields) => {
            parts.insert(at.clone(), "{}".to_owned());
            for (name, value) in fields {
                flatten(value, format!("{at}/{name}"), neutral, parts);
            }
        }
        Value::Array(items) => {
            parts.insert(at.clone(), format!("{} items", items.len()));
            for (n, value) in items.iter().enumerate() {
                flatten(value, format!("{at}/{n}"), neutral, parts);
            }
        }
        Value::String(text) => {
            parts.insert(at, neutral(text));
        }
        other => {
            parts.insert(at, neutral(&other.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, header: (&str, &str), body: &str) -> Answer {
        let headers = vec![(header.0.to_owned(), header.1.to_owned())];
        Answer::Got(Got { status, headers, body: body.to_owned() })
    }

    fn differs(this: &Answer, one: &Answer, two: &Answer) -> Option<String> {
        let (foreign, absent) = (["id-7".to_owned()], [["id-8".to_owned()], ["id-9".to_owned()]]);
        difference(
            &Told { answer: this, sent: &foreign },
            [&Told { answer: one, sent: &absent[0] }, &Told { answer: two, sent: &absent[1] }],
        )
    }

    #[test]
    fn r06_echoes_and_request_ids_are_no_difference() {
        let this = answer(404, ("x-call", "1"), r#"{"no": "id-7", "request": "aa"}"#);
        let one = answer(404, ("x-call", "2"), r#"{"no": "id-8", "request": "bb"}"#);
        let two = answer(404, ("x-call", "3"), r#"{"no": "id-9", "request": "cc"}"#);
        assert_eq!(differs(&this, &one, &two), None);
    }

    #[test]
    fn r06_status_body_and_headers_are_differences() {
        let one = answer(404, ("x", "1"), r#"{"no": "such"}"#);
        for other in [
            answer(403, ("x", "1"), r#"{"no": "such"}"#),
            answer(404, ("x", "2"), r#"{"no": "such"}"#),
            answer(404, ("x", "1"), r#"{"no": "access"}"#),
            answer(404, ("x", "1"), r#"{"no": "such", "more": 1}"#),
            answer(404, ("y", "1"), r#"{"no": "such"}"#),
        ] {
            assert!(differs(&other, &one, &one.clone()).is_some(), "{other:?}");
        }
    }
}
