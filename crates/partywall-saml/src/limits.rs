//! What a message may cost, found out before a parser builds anything of it (S-06).
//!
//! A scanner of angle brackets and quotes, which decides nothing about meaning: whatever it lets
//! through still has to please the parser. It is here because the parser's work grows with the
//! square of the attributes and namespaces an element has.

use crate::refused::{Refused, Rule};

/// How large a message may be.
pub(crate) const BYTES: usize = 256 * 1024;
const DEPTH: usize = 64;
const ATTRIBUTES: usize = 64;
const NAMESPACES: usize = 64;
const ELEMENTS: usize = 16 * 1024;
/// Of attributes in all: where each element has 64, the parser compares each with the others.
const ALL_ATTRIBUTES: usize = 16 * 1024;

/// The message as text, if it keeps to the limits.
pub(crate) fn check(bytes: &[u8]) -> Result<&str, Refused> {
    if bytes.len() > BYTES {
        return Err(document(Rule::Size));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| document(Rule::Encoding))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.chars().any(forbidden) {
        return Err(document(Rule::WellFormed));
    }
    Scanner::default().message(after_declaration(text)?)?;
    Ok(text)
}

/// XML 1.0, production 2: what is no character of XML.
fn forbidden(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// Past `<?xml …?>`, which may say UTF-8 or nothing.
fn after_declaration(text: &str) -> Result<&str, Refused> {
    let Some(rest) = text.strip_prefix("<?xml").filter(|rest| rest.starts_with(white)) else {
        return Ok(text);
    };
    let (declaration, rest) = rest.split_once("?>").ok_or_else(|| document(Rule::WellFormed))?;
    if let Some((_, encoding)) = declaration.split_once("encoding") {
        let encoding =
            encoding.trim_start_matches(white).trim_start_matches('=').trim_start_matches(white);
        let named = encoding.get(1..6).unwrap_or_default();
        let closed = encoding.get(6..7) == encoding.get(0..1);
        if !(closed && named.eq_ignore_ascii_case("utf-8")) {
            return Err(document(Rule::Encoding).found(declaration));
        }
    }
    Ok(rest)
}

#[derive(Default)]
struct Scanner {
    elements: usize,
    attributes: usize,
    /// Namespaces in scope, one number for each open element.
    open: Vec<usize>,
}

impl Scanner {
    fn message(&mut self, mut rest: &str) -> Result<(), Refused> {
        while let Some((_, markup)) = rest.split_once('<') {
            rest = if let Some(comment) = markup.strip_prefix("!--") {
                comment.split_once("-->").ok_or_else(|| document(Rule::WellFormed))?.1
            } else if markup.starts_with("![CDATA[") {
                return Err(document(Rule::Cdata));
            } else if markup.starts_with('!') {
                return Err(document(Rule::Doctype));
            } else if markup.starts_with('?') {
                return Err(document(Rule::ProcessingInstruction));
            } else if let Some(end) = markup.strip_prefix('/') {
                self.open.pop();
                end
            } else {
                self.start_tag(markup)?
            };
        }
        Ok(())
    }

    /// Reads a tag to its `>`; a value may hold one.
    fn start_tag<'a>(&mut self, tag: &'a str) -> Result<&'a str, Refused> {
        let name = tag.split(|c| white(c) || c == '>' || c == '/').next();
        let refused = |rule| {
            Refused::new(rule, name.unwrap_or_default().chars().take(80).collect::<String>())
        };

        let (mut attributes, mut namespaces) = (0, self.open.last().copied().unwrap_or(0));
        let mut rest = tag;
        let empty = loop {
            let at = rest.find(['"', '\'', '>', '<']).ok_or_else(|| refused(Rule::WellFormed))?;
            let (before, from) = rest.split_at(at);
            let mut after = from.chars();
            match after.next() {
                Some('>') => {
                    rest = after.as_str();
                    break before.ends_with('/');
                }
                Some(quote @ ('"' | '\'')) => {
                    attributes += 1;
                    namespaces +=
                        usize::from(before.split(white).any(|word| word.starts_with("xmlns")));
                    rest = after
                        .as_str()
                        .split_once(quote)
                        .ok_or_else(|| refused(Rule::WellFormed))?
                        .1;
                }
                _ => return Err(refused(Rule::WellFormed)),
            }
        };

        self.elements += 1;
        if self.elements > ELEMENTS {
            return Err(refused(Rule::Elements));
        }
        self.attributes += attributes;
        if attributes > ATTRIBUTES || self.attributes > ALL_ATTRIBUTES {
            return Err(refused(Rule::Attributes));
        }
        if namespaces > NAMESPACES {
            return Err(refused(Rule::Namespaces));
        }
        if self.open.len() >= DEPTH {
            return Err(refused(Rule::Depth));
        }
        if !empty {
            self.open.push(namespaces);
        }
        Ok(rest)
    }
}

fn white(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn document(rule: Rule) -> Refused {
    Refused::new(rule, "document")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Option<Rule> {
        check(text.as_bytes()).err().map(|refused| refused.rule())
    }

    #[test]
    fn s06_what_is_within_the_limits_passes() {
        let attributes: String = (0..64).map(|i| format!(" a{i}=\"x>y\"")).collect();
        let namespaces: String = (0..64).map(|i| format!(" xmlns:n{i}='u:{i}'")).collect();
        for text in [
            "<a/>".to_owned(),
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<a/>".to_owned(),
            "<?xml version='1.0' encoding='UTF-8' standalone='yes'?><a><!-- b --></a>".to_owned(),
            format!("{}{}", "<a>".repeat(64), "</a>".repeat(64)),
            format!("<a{attributes}/>"),
            format!("<a{namespaces}/>"),
            format!("<a>{}</a>", "<b/>".repeat(16 * 1024 - 1)),
            format!("<a>{}</a>", "<b xmlns:c='u:c'>d</b>".repeat(5_000)),
            format!("<a>{}</a>", "<b c='' d=''/>".repeat(8 * 1024)),
            format!("<a>{}</a>", "x".repeat(256 * 1024 - 7)),
        ] {
            assert_eq!(rule(&text), None, "{}", &text[..text.len().min(90)]);
        }
    }

    #[test]
    fn s06_what_is_beyond_the_limits_is_refused() {
        let attributes: String = (0..65).map(|i| format!(" a{i}=\"x\"")).collect();
        let split: String = (0..33).map(|i| format!("\nxmlns:n{i}='u:{i}'")).collect();
        for (text, expected) in [
            (format!("<a>{}</a>", "x".repeat(256 * 1024 - 6)), Rule::Size),
            ("<!DOCTYPE a><a/>".to_owned(), Rule::Doctype),
            ("<a><!ENTITY b 'c'></a>".to_owned(), Rule::Doctype),
            ("<a><?b c?></a>".to_owned(), Rule::ProcessingInstruction),
            (" <?xml version='1.0'?><a/>".to_owned(), Rule::ProcessingInstruction),
            ("<?xml-stylesheet href='b'?><a/>".to_owned(), Rule::ProcessingInstruction),
            ("<a><![CDATA[b]]></a>".to_owned(), Rule::Cdata),
            ("<?xml version='1.0' encoding='utf-16'?><a/>".to_owned(), Rule::Encoding),
            ("<?xml version='1.0' encoding='utf-8x'?><a/>".to_owned(), Rule::Encoding),
            ("<a>\u{1}</a>".to_owned(), Rule::WellFormed),
            ("<a b='c".to_owned(), Rule::WellFormed),
            (format!("{}{}", "<a>".repeat(65), "</a>".repeat(65)), Rule::Depth),
            (format!("<a{attributes}/>"), Rule::Attributes),
            (format!("<a>{}</a>", "<b c='' d=''/>".repeat(8 * 1024 + 1)), Rule::Attributes),
            (format!("<a{split}><a{split}/></a>"), Rule::Namespaces),
            (format!("<a>{}</a>", "<b/>".repeat(16 * 1024)), Rule::Elements),
        ] {
            assert_eq!(rule(&text), Some(expected), "{}", &text[..text.len().min(90)]);
        }
        assert_eq!(check(b"<a>\xff</a>").unwrap_err().rule(), Rule::Encoding);
    }
}
