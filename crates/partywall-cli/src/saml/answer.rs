//! How a verdict is told. What a response says was chosen by whoever sent it: nothing of it may
//! move the cursor of the terminal it is shown on.

use std::{
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use partywall::Timestamp;
use partywall_saml::{Assertion, Attribute, NameId};
use serde_json::{Value, json};

use super::Verdict;

/// On one line.
pub(super) fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accepted(assertion) => identity(assertion),
        Verdict::Refused(refused) => format!("{}: {refused}", refused.rule().code()),
        Verdict::Unreadable(unreadable) => format!("unreadable: {unreadable}"),
    }
}

fn identity(assertion: &Assertion) -> String {
    let name = assertion.name_id();
    let format = name.format.as_deref().unwrap_or("unspecified");
    let mut words = format!("{:?} ({format:?}) by {:?}", name.value, assertion.issuer());
    for Attribute { name, values, .. } in assertion.attributes() {
        let _ = write!(words, ", {name:?} {values:?}");
    }
    let answered = match assertion.in_response_to() {
        Some(request) => format!("answers {request:?}"),
        None => "answers no request".to_owned(),
    };
    let until = moment(assertion.usable_until());
    let _ = write!(words, "; assertion {:?} {answered}, usable until {until}", assertion.id());
    words
}

/// One object, of ASCII alone.
pub(super) fn as_json(line: u64, verdict: &Verdict) -> String {
    let answer = match verdict {
        Verdict::Accepted(assertion) => {
            let mut answer = described(assertion);
            if let Some(answer) = answer.as_object_mut() {
                answer.insert("ok".to_owned(), true.into());
                answer.insert("line".to_owned(), line.into());
            }
            answer
        }
        Verdict::Refused(refused) => json!({
            "ok": false, "line": line,
            "rule": refused.rule().code(),
            "element": refused.element(),
            "found": refused.value(),
            "message": refused.to_string(),
        }),
        Verdict::Unreadable(unreadable) => json!({
            "ok": false, "line": line, "rule": "unreadable", "message": unreadable.to_string(),
        }),
    };
    ascii(&answer.to_string())
}

fn described(assertion: &Assertion) -> Value {
    let NameId { value, format, name_qualifier, sp_name_qualifier, .. } = assertion.name_id();
    let attributes = assertion.attributes().iter();
    let attributes: Vec<_> = attributes
        .map(|Attribute { name, values, .. }| json!({ "name": name, "values": values }))
        .collect();
    json!({
        "id": assertion.id(),
        "issuer": assertion.issuer(),
        "name_id": {
            "value": value,
            "format": format,
            "name_qualifier": name_qualifier,
            "sp_name_qualifier": sp_name_qualifier,
        },
        "in_response_to": assertion.in_response_to(),
        "authn_instant": moment(assertion.authn_instant()),
        "authn_context": assertion.authn_context(),
        "session_index": assertion.session_index(),
        "session_not_on_or_after": assertion.session_not_on_or_after().map(moment),
        "usable_until": moment(assertion.usable_until()),
        "attributes": attributes,
    })
}

fn moment(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_secs()).to_rfc3339()
}

/// The same JSON, with everything but printable ASCII as `\u` (RFC 8259, section 7).
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, ' '..='~') {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_reads_the_same() {
        let text = "a\u{1b}[2Jä\u{9b}\u{202e}😀\"\\";
        let escaped = ascii(&serde_json::to_string(text).unwrap());
        assert!(escaped.bytes().all(|b| (b' '..=b'~').contains(&b)), "{escaped}");
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
    }
}
