//! Writing HTML and XML in which nothing but this program's own names is markup.

use super::visible::visible;

/// A document being written. Names are the program's own (`'static`); every text and every value
/// of an attribute is escaped, and there is no way around it.
pub(super) struct Markup {
    out: String,
}

/// An element's attributes.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a str)];

impl Markup {
    /// Begins with a declaration.
    pub(super) fn starting(prologue: &'static str) -> Self {
        Self { out: prologue.to_owned() }
    }

    /// An element, and what is in it.
    pub(super) fn element(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        inside: impl FnOnce(&mut Self),
    ) {
        self.open(name, attributes);
        self.out.push('>');
        inside(self);
        self.out.extend(["</", name, ">"]);
        self.break_after(name);
    }

    /// An element that holds a text.
    pub(super) fn says(&mut self, name: &'static str, attributes: Attributes<'_>, text: &str) {
        self.element(name, attributes, |markup| markup.text(text));
    }

    /// An element that holds nothing.
    pub(super) fn leaf(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.open(name, attributes);
        self.out.push_str("/>");
        self.break_after(name);
    }

    /// A text.
    pub(super) fn text(&mut self, text: &str) {
        for c in visible(text).chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                c => self.out.push(c),
            }
        }
    }

    /// A text of this program's own, unescaped: a style sheet.
    pub(super) fn verbatim(&mut self, text: &'static str) {
        self.out.push_str(text);
    }

    /// The document.
    pub(super) fn finish(self) -> String {
        self.out
    }

    fn open(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.out.extend(["<", name]);
        for (attribute, value) in attributes {
            self.out.extend([" ", attribute, "=\""]);
            self.value(value);
            self.out.push('"');
        }
    }

    fn value(&mut self, value: &str) {
        for c in visible(value).chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\'' => self.out.push_str("&#39;"),
                // Readers of XML make spaces of them otherwise (XML 1.0, 3.3.3).
                '\n' => self.out.push_str("&#10;"),
                '\t' => self.out.push_str("&#9;"),
                c => self.out.push(c),
            }
        }
    }

    /// A new line after what stands on lines of its own, for whoever reads the source.
    fn break_after(&mut self, name: &str) {
        if !INLINE.contains(&name) {
            self.out.push('\n');
        }
    }
}

const INLINE: &[&str] = &["a", "code", "span", "strong", "td", "th", "time"];
