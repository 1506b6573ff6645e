//! Text of strangers, made visible.

use std::borrow::Cow;

/// The text with everything written out that a reader would not see, or would see wrongly: control
/// characters, escape sequences, marks that turn the direction of writing (Unicode TR 36, 3.2).
/// New lines and tabs stay.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    match text.contains(is_hidden) {
        false => Cow::Borrowed(text),
        true => Cow::Owned(text.chars().fold(String::new(), |mut shown, c| {
            match is_hidden(c) {
                true => shown.extend(c.escape_unicode()),
                false => shown.push(c),
            }
            shown
        })),
    }
}

/// [`visible`], on one line.
pub(super) fn on_one_line(text: &str) -> String {
    visible(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// JSON that shows on any screen what it says: such characters stand in strings only, where
/// `\uXXXX` means the same (RFC 8259, 7).
pub(super) fn visible_json(json: &str) -> Cow<'_, str> {
    let stays = |c: char| !is_hidden(c);
    match json.chars().all(stays) {
        true => Cow::Borrowed(json),
        false => Cow::Owned(json.chars().fold(String::new(), |mut shown, c| {
            match stays(c) {
                true => shown.push(c),
                false => {
                    let units = c.encode_utf16(&mut [0; 2]).to_vec();
                    shown.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
                }
            }
            shown
        })),
    }
}

/// Characters that show as nothing, or change how others show. XML 1.0 (2.2) forbids some of them.
fn is_hidden(c: char) -> bool {
    let stays = matches!(c, '\n' | '\t');
    !stays
        && (c.is_control()
            || matches!(
                c,
                '\u{061c}'
                    | '\u{200b}'
                    | '\u{200e}'..='\u{200f}'
                    | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}'
                    | '\u{feff}'
                    | '\u{fff9}'..='\u{fffb}'
                    | '\u{fffe}'..='\u{ffff}'
                    | '\u{e0000}'..='\u{e007f}'
            ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m24_nothing_hides_in_a_report() {
        assert_eq!(visible("invoices\u{202e}\u{1b}[2J"), "invoices\\u{202e}\\u{1b}[2J");
        assert_eq!(visible("naïve\n\t日本"), "naïve\n\t日本", "what can be seen stays");
        assert_eq!(on_one_line(" a\n  b\r\nc"), "a b\\u{d} c");
        let json = serde_json::to_string("\u{9b}2J \u{e0041}").unwrap();
        assert_eq!(visible_json(&json), r#""\u009b2J \udb40\udc41""#);
        let back: String = serde_json::from_str(&visible_json(&json)).unwrap();
        assert_eq!(back, "\u{9b}2J \u{e0041}", "and means the same");
    }
}
