//! What to do about what the server said, by SQLSTATE.

use super::stage::Refusal;

/// What to do when a row for a tenant could not be written into `place`.
pub(crate) fn to_write(refusal: &Refusal, place: &str) -> String {
    let value = format!("give a value that fits with --value {place}.COLUMN=EXPRESSION");
    let existing = "name two tenants that have rows with --tenants A,B";
    match (refusal.code.as_str(), refusal.code.get(..2)) {
        ("23503", _) => format!(
            "what it refers to is not there and cannot be written: prepare it with --setup FILE, or {existing}"
        ),
        ("23514" | "23502", _) | (_, Some("22")) => format!("{value}, or {existing}"),
        ("23505" | "23P01", _) => {
            format!("a row like it is there: {value}, or {existing}")
        }
        ("42501", _) => format!(
            "nobody who can be become here may write it: connect as an administrator, prepare the tenants with --setup FILE, or {existing}"
        ),
        ("428C9", _) => format!("the column makes its own value: {existing}"),
        ("P0001" | "P0004", _) => {
            format!("a trigger or function of the schema refuses it: {value}, or {existing}")
        }
        _ => of(&refusal.code).map_or_else(
            || format!("{value}, prepare the tenants with --setup FILE, or {existing}"),
            str::to_owned,
        ),
    }
}

/// What to do about an answer that is neither a denial nor a success, when it has a remedy of its
/// own.
pub(crate) fn of(code: &str) -> Option<&'static str> {
    Some(match code {
        "55P03" => "another session holds the table locked: run again when it is done",
        "40P01" | "40001" => "another session was in the way: run again",
        "57014" => {
            "it took longer than statement_timeout: run against a copy with fewer rows, give the tenant \
             column an index, or allow more with ?options=-c%20statement_timeout=60s in the address"
        }
        "25006" => {
            "this server takes no writes: run with --read-only --tenants A,B, or on the primary"
        }
        "53100" | "53200" | "53300" | "53400" => {
            "the server has no room left: see to it, and run again"
        }
        "54001" => {
            "the policies and functions call each other without end: run them by hand and see"
        }
        "42P17" => "a policy refers to its own table without end: move the look-up into a function",
        _ => return None,
    })
}
