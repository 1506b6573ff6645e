//! Names and literals, quoted. Everything put into a statement goes through here.

/// An identifier: `"tenant""id"`.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal that means the same whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// A literal of a type, as `format_type` names it.
pub fn typed(text: &str, type_name: &str) -> String {
    format!("{}::{type_name}", literal(text))
}

/// Every string literal in an expression as the server prints it, unquoted.
pub(crate) fn literals_in(expression: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some((_, from)) = rest.split_once('\'') {
        let (mut text, mut tail) = (String::new(), from);
        loop {
            let Some((part, after)) = tail.split_once('\'') else { return found };
            text.push_str(part);
            match after.strip_prefix('\'') {
                Some(more) => {
                    text.push('\'');
                    tail = more;
                }
                None => {
                    tail = after;
                    break;
                }
            }
        }
        found.push(text);
        rest = tail;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_cannot_end_early() {
        assert_eq!(ident(r#"a"b"#), r#""a""b""#);
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"\'"), r" E'\\'''");
        assert_eq!(typed("7", "integer"), "'7'::integer");
    }

    #[test]
    fn literals_are_read_back() {
        let found = literals_in("(status = ANY (ARRAY['it''s'::text, 'b'::text]))");
        assert_eq!(found, ["it's", "b"]);
        assert!(literals_in("a 'never closed").is_empty());
    }
}
