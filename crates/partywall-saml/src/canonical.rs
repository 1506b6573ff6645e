//! Exclusive XML Canonicalization 1.0, without comments: the bytes a signature is about.

use roxmltree::{Node, NodeId, NodeType};

use crate::refused::{Refused, Rule};
use crate::xml;

/// A message grows when each of many elements writes out a long namespace its parent only
/// declares. Nothing honest grows to twice what a message may be.
const BYTES: usize = 512 * 1024;

/// The identifier of the one canonical form that is taken.
pub(crate) const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";

/// The prefixes a `PrefixList` names: their namespaces are written out where they are in scope,
/// not only where they are used.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Prefixes(Vec<String>);

impl Prefixes {
    /// From the method or transform element that names exclusive C14N.
    pub(crate) fn of(method: Node<'_, '_>) -> Result<Self, Refused> {
        let refused = |at| Err(xml::at(at, Rule::Canonicalization));
        if xml::attribute(method, "Algorithm") != Some(EXCLUSIVE) {
            return refused(method);
        }
        let children = xml::elements(method)?;
        let list = match children.as_slice() {
            [] => return Ok(Self::default()),
            [list] if xml::is(*list, EXCLUSIVE, "InclusiveNamespaces") => *list,
            _ => return refused(method),
        };
        let names = xml::required(list, "PrefixList")?.split_ascii_whitespace();
        let names: Vec<_> = names.map(str::to_owned).collect();
        if names.len() > 32 || names.iter().any(|n| n == "#default") {
            return refused(list);
        }
        Ok(Self(names))
    }
}

/// The canonical form of `apex` and what is below it, without the subtree `left_out`.
///
/// `text` is what `apex` was parsed from.
///
/// # Errors
/// [`Rule::NamespaceUri`] where the specification has no result: a namespace that is not absolute.
/// [`Rule::Size`] if the form is larger than 512 KiB.
pub(crate) fn canonical(
    text: &str,
    apex: Node<'_, '_>,
    left_out: Option<NodeId>,
    prefixes: &Prefixes,
) -> Result<String, Refused> {
    let mut writer = Writer {
        text,
        left_out,
        prefixes,
        rendered: Vec::new(),
        out: String::with_capacity(apex.range().len() + 256),
    };
    writer.node(apex)?;
    Ok(writer.out)
}

struct Writer<'a> {
    text: &'a str,
    left_out: Option<NodeId>,
    prefixes: &'a Prefixes,
    /// Namespaces written by the elements around, the innermost last.
    rendered: Vec<(&'a str, &'a str)>,
    out: String,
}

impl<'a> Writer<'a> {
    // Recursion ends: `limits` lets no message through that is deeper than 64.
    fn node(&mut self, node: Node<'a, '_>) -> Result<(), Refused> {
        match node.node_type() {
            NodeType::Text => escape_text(&mut self.out, node.text().unwrap_or_default()),
            NodeType::Element if Some(node.id()) != self.left_out => self.element(node)?,
            // There are no processing instructions, and this form has no comments.
            _ => {}
        }
        Ok(())
    }

    fn element(&mut self, element: Node<'a, '_>) -> Result<(), Refused> {
        let name = self.name(element);
        let outside = self.rendered.len();
        self.out.push('<');
        self.out.push_str(name);
        self.namespaces(element, name)?;
        self.attributes(element);
        self.out.push('>');
        for child in element.children() {
            self.node(child)?;
        }
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
        self.rendered.truncate(outside);
        if self.out.len() > BYTES {
            return Err(xml::at(element, Rule::Size));
        }
        Ok(())
    }

    /// The element's name as it is spelled: the parser keeps no prefixes.
    fn name(&self, element: Node<'_, '_>) -> &'a str {
        let tag = self.text.get(element.range()).unwrap_or_default();
        let tag = tag.strip_prefix('<').unwrap_or(tag);
        tag.split([' ', '\t', '\n', '\r', '/', '>']).next().unwrap_or_default()
    }

    // Section 3: a namespace is written where its prefix is visibly used or listed, unless the
    // nearest element around that wrote the prefix wrote the same.
    fn namespaces(&mut self, element: Node<'a, '_>, name: &'a str) -> Result<(), Refused> {
        let mut used = vec![prefix(name)];
        for attribute in element.attributes() {
            let name = self.text.get(attribute.range_qname()).unwrap_or_default();
            if name.contains(':') {
                used.push(prefix(name));
            }
        }
        // Where nothing is declared, what is listed was written further out already. Finding that
        // out is cheap; looking up 32 prefixes at each of 16,000 elements is not.
        if self.rendered.is_empty() || declares(element) {
            for listed in &self.prefixes.0 {
                if element.lookup_namespace_uri(Some(listed)).is_some() {
                    used.push(listed);
                }
            }
        }
        used.sort_unstable();
        used.dedup();

        for prefix in used {
            if prefix == "xml" {
                continue;
            }
            let uri = element
                .lookup_namespace_uri(Some(prefix).filter(|p| !p.is_empty()))
                .unwrap_or_default();
            let around = self.rendered.iter().rev().find(|(p, _)| *p == prefix);
            if around.map_or("", |(_, uri)| *uri) == uri {
                continue;
            }
            // C14N 1.0, section 1.3: relative namespace URIs have no canonical form. A library
            // that goes on with an empty one signs and verifies nothing.
            if !uri.is_empty() && !absolute(uri) {
                return Err(xml::at(element, Rule::NamespaceUri).found(uri));
            }
            self.out.push_str(" xmlns");
            if !prefix.is_empty() {
                self.out.push(':');
                self.out.push_str(prefix);
            }
            escape_attribute(&mut self.out, uri);
            self.rendered.push((prefix, uri));
        }
        Ok(())
    }

    // C14N 1.0, section 2.2: by namespace, then by local name; those in no namespace first.
    fn attributes(&mut self, element: Node<'a, '_>) {
        let mut attributes: Vec<_> = element.attributes().collect();
        attributes.sort_by_key(|a| (a.namespace().unwrap_or_default(), a.name()));
        for attribute in attributes {
            self.out.push(' ');
            self.out.push_str(self.text.get(attribute.range_qname()).unwrap_or_default());
            escape_attribute(&mut self.out, attribute.value());
        }
    }
}

// Section 2.3 of C14N 1.0, as the next one.
pub(crate) fn escape_attribute(out: &mut String, value: &str) {
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#x9;"),
            '\n' => out.push_str("&#xA;"),
            '\r' => out.push_str("&#xD;"),
            c => out.push(c),
        }
    }
    out.push('"');
}

pub(crate) fn escape_text(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#xD;"),
            c => out.push(c),
        }
    }
}

/// Whether other namespaces are in scope of an element than of its parent. The parser keeps each
/// namespace once.
fn declares(element: Node<'_, '_>) -> bool {
    let Some(parent) = element.parent_element() else {
        return true;
    };
    element.namespaces().len() != parent.namespaces().len()
        || element
            .namespaces()
            .zip(parent.namespaces())
            .any(|(own, outer)| !std::ptr::eq(own, outer))
}

fn prefix(name: &str) -> &str {
    name.split_once(':').map_or("", |(prefix, _)| prefix)
}

/// RFC 3986: begins with a scheme.
fn absolute(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

#[cfg(test)]
mod differential;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Message;

    /// Of the element with `ID="x"`, with these prefixes listed.
    fn form(text: &str, prefixes: &[&str]) -> Result<String, Rule> {
        let message = Message::parse(text.as_bytes()).unwrap();
        let apex = message.elements().find(|e| xml::attribute(*e, "ID") == Some("x")).unwrap();
        let prefixes = Prefixes(prefixes.iter().map(|p| (*p).to_owned()).collect());
        canonical(message.text(), apex, None, &prefixes).map_err(|refused| refused.rule())
    }

    /// The results are libxml2's (2.14.6, by way of lxml), byte for byte.
    #[test]
    fn s01_the_form_is_the_specifications() {
        for (text, prefixes, expected) in CASES {
            assert_eq!(form(text, prefixes).as_deref(), Ok(*expected), "{text}");
        }
    }

    #[test]
    fn s05_what_has_no_canonical_form_is_refused() {
        for text in [
            r#"<a xmlns="relative" ID="x"/>"#,
            r#"<a xmlns:b="1" b:c="" ID="x"/>"#,
            r#"<a xmlns:b="/x:y" ID="x"><b:c/></a>"#,
        ] {
            assert_eq!(form(text, &[]), Err(Rule::NamespaceUri), "{text}");
        }
        // Not written, so not in the way.
        assert!(form(r#"<a xmlns:b="relative" ID="x"/>"#, &[]).is_ok());
        assert!(form(r#"<a xmlns:b="relative" ID="x"/>"#, &["b"]).is_err());
    }

    type Case = (&'static str, &'static [&'static str], &'static str);

    const CASES: &[Case] = &[
        ("<a ID=\"x\" b=\"1\"  c = '2'/>", &[], "<a ID=\"x\" b=\"1\" c=\"2\"></a>"),
        (
            "<r xmlns=\"u:d\" xmlns:p=\"u:p\" xmlns:q=\"u:q\"><a ID=\"x\" q:z=\"1\" p:y=\"2\" z=\"3\" b=\"4\"><p:b/><c xmlns=\"\"/></a></r>",
            &[],
            "<a xmlns=\"u:d\" xmlns:p=\"u:p\" xmlns:q=\"u:q\" ID=\"x\" b=\"4\" z=\"3\" p:y=\"2\" q:z=\"1\"><p:b></p:b><c xmlns=\"\"></c></a>",
        ),
        (
            "<r xmlns=\"u:d\" xmlns:p=\"u:p\" xmlns:q=\"u:q\"><a ID=\"x\" q:z=\"1\"><p:b/></a></r>",
            &["p"],
            "<a xmlns=\"u:d\" xmlns:p=\"u:p\" xmlns:q=\"u:q\" ID=\"x\" q:z=\"1\"><p:b></p:b></a>",
        ),
        (
            "<r xmlns:p=\"u:p\"><p:a ID=\"x\"><b xmlns:p=\"u:p2\"><p:c/></b><p:d xmlns:p=\"u:p\"/></p:a></r>",
            &["p"],
            "<p:a xmlns:p=\"u:p\" ID=\"x\"><b xmlns:p=\"u:p2\"><p:c></p:c></b><p:d></p:d></p:a>",
        ),
        (
            "<p:a xmlns:p=\"u:p\" xmlns:q=\"u:p\" ID=\"x\" q:b=\"1\" p:a=\"2\"><q:c p:d=\"3\"/><p:e/></p:a>",
            &[],
            "<p:a xmlns:p=\"u:p\" xmlns:q=\"u:p\" ID=\"x\" p:a=\"2\" q:b=\"1\"><q:c p:d=\"3\"></q:c><p:e></p:e></p:a>",
        ),
        (
            "<a ID=\"x\" b=\"&lt;&gt;&amp;&quot;'&#9;&#10;&#13;\t\n\"/>",
            &[],
            "<a ID=\"x\" b=\"&lt;>&amp;&quot;'&#x9;&#xA;&#xD;  \"></a>",
        ),
        (
            "<a ID=\"x\">&lt;&gt;&amp;\"'&#9;&#10;&#13;\r\n\t]]&gt;</a>",
            &[],
            "<a ID=\"x\">&lt;&gt;&amp;\"'\t\n&#xD;\n\t]]&gt;</a>",
        ),
        ("<a ID=\"x\"><!-- no --> <b/><!-- no -->\n</a>", &[], "<a ID=\"x\"> <b></b>\n</a>"),
        (
            "<r xml:lang=\"en\"><a ID=\"x\" xml:space=\"preserve\"><b xml:lang=\"de\"/></a></r>",
            &[],
            "<a ID=\"x\" xml:space=\"preserve\"><b xml:lang=\"de\"></b></a>",
        ),
        (
            "<r xmlns=\"u:d\"><a ID=\"x\" xmlns=\"\"><b xmlns=\"u:d\"><c xmlns=\"\"/></b></a></r>",
            &[],
            "<a ID=\"x\"><b xmlns=\"u:d\"><c xmlns=\"\"></c></b></a>",
        ),
        (
            "<r xmlns=\"u:d\"><p:a xmlns:p=\"u:p\" ID=\"x\"><b/><p:c xmlns=\"\"><d/></p:c></p:a></r>",
            &[],
            "<p:a xmlns:p=\"u:p\" ID=\"x\"><b xmlns=\"u:d\"></b><p:c><d></d></p:c></p:a>",
        ),
        ("<a ID=\"x\">ä中😀<ä ö=\"ü\"/></a>", &[], "<a ID=\"x\">ä中😀<ä ö=\"ü\"></ä></a>"),
    ];
}
