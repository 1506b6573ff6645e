//! The one parse of a message, and how its tree is read: strictly.

use std::collections::HashSet;

use roxmltree::{Document, Node, ParsingOptions};

use crate::limits;
use crate::refused::{Refused, Rule};

/// `saml`, the assertion's namespace.
pub(crate) const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
/// `samlp`, the protocol's.
pub(crate) const SAMLP: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
/// `ds`, XML Signature's.
pub(crate) const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
/// Of `xml:id` and `xml:lang`.
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// A message within the limits, and its tree.
pub(crate) struct Message<'a> {
    text: &'a str,
    document: Document<'a>,
}

impl<'a> Message<'a> {
    /// Parses once. Everything that is known of a message is read from this tree.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Refused> {
        let text = limits::check(bytes)?;
        let options =
            ParsingOptions { allow_dtd: false, nodes_limit: 64 * 1024, entity_resolver: None };
        let document = Document::parse_with_options(text, options).map_err(|error| {
            Refused::new(Rule::WellFormed, "document").found(&error.to_string())
        })?;
        let message = Self { text, document };
        message.check_comments()?;
        message.check_ids()?;
        Ok(message)
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    pub(crate) fn root(&self) -> Node<'_, 'a> {
        self.document.root_element()
    }

    pub(crate) fn elements(&self) -> impl Iterator<Item = Node<'_, 'a>> {
        self.document.descendants().filter(Node::is_element)
    }

    /// S-06: canonicalization drops comments, so a reader that stops at one reads another value
    /// than was signed (CVE-2017-11428). They may stand between elements only.
    fn check_comments(&self) -> Result<(), Refused> {
        for comment in self.document.descendants().filter(Node::is_comment) {
            let Some(parent) = comment.parent_element() else {
                continue;
            };
            let beside_text = parent.children().any(|n| n.is_text() && !blank(n));
            if beside_text || !parent.children().any(|n| n.is_element()) {
                return Err(at(parent, Rule::Comment));
            }
        }
        Ok(())
    }

    /// S-03: whatever a reader may take for an ID is unique, whichever way it is spelled.
    fn check_ids(&self) -> Result<(), Refused> {
        let mut seen = HashSet::new();
        for element in self.elements() {
            for attribute in element.attributes() {
                if !attribute.name().eq_ignore_ascii_case("id") {
                    continue;
                }
                let ours = matches!(attribute.namespace(), None | Some(XML));
                let id = attribute.value();
                if !(ours && plain(id) && seen.insert(id)) {
                    return Err(at_attribute(element, attribute.name(), Rule::UniqueId).found(id));
                }
            }
        }
        Ok(())
    }
}

/// Of the characters identity providers use. Some begin with a digit, which a name of XML may not.
fn plain(id: &str) -> bool {
    let mut characters = id.chars();
    characters.next().is_some_and(|c| c.is_alphanumeric() || c == '_')
        && characters.all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

fn blank(text: Node<'_, '_>) -> bool {
    text.text().unwrap_or_default().bytes().all(|b| b.is_ascii_whitespace())
}

/// Refused at this element.
pub(crate) fn at(element: Node<'_, '_>, rule: Rule) -> Refused {
    Refused::new(rule, element.tag_name().name())
}

/// Refused at this attribute.
pub(crate) fn at_attribute(element: Node<'_, '_>, name: &str, rule: Rule) -> Refused {
    Refused::new(rule, format!("{}/@{name}", element.tag_name().name()))
}

pub(crate) fn is(node: Node<'_, '_>, namespace: &str, name: &str) -> bool {
    node.is_element()
        && node.tag_name().name() == name
        && node.tag_name().namespace() == Some(namespace)
}

/// The elements below, where no text may stand.
pub(crate) fn elements<'a, 'i>(parent: Node<'a, 'i>) -> Result<Vec<Node<'a, 'i>>, Refused> {
    match parent.children().find(|n| n.is_text() && !blank(*n)) {
        Some(text) => {
            Err(at(parent, Rule::Unexpected).found(text.text().unwrap_or_default().trim()))
        }
        None => Ok(parent.children().filter(Node::is_element).collect()),
    }
}

/// All children of this name.
pub(crate) fn all<'a, 'i>(
    parent: Node<'a, 'i>,
    namespace: &'static str,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'i>> {
    parent.children().filter(move |n| is(*n, namespace, name))
}

/// The child of this name, of which there may be one.
pub(crate) fn optional<'a, 'i>(
    parent: Node<'a, 'i>,
    namespace: &'static str,
    name: &'static str,
) -> Result<Option<Node<'a, 'i>>, Refused> {
    let mut found = all(parent, namespace, name);
    match (found.next(), found.next()) {
        (found, None) => Ok(found),
        (_, Some(second)) => Err(at(second, Rule::Unexpected)),
    }
}

/// The child of this name, of which there must be one.
pub(crate) fn one<'a, 'i>(
    parent: Node<'a, 'i>,
    namespace: &'static str,
    name: &'static str,
) -> Result<Node<'a, 'i>, Refused> {
    optional(parent, namespace, name)?
        .ok_or_else(|| Refused::new(Rule::Missing, format!("{}/{name}", parent.tag_name().name())))
}

/// What an element says that holds one piece of text and nothing else.
pub(crate) fn value<'a>(element: Node<'a, '_>) -> Result<&'a str, Refused> {
    let mut children = element.children();
    match (children.next(), children.next()) {
        (None, _) => Ok(""),
        (Some(only), None) if only.is_text() => Ok(only.text().unwrap_or_default()),
        _ => Err(at(element, Rule::Unexpected)),
    }
}

/// An attribute in no namespace.
pub(crate) fn attribute<'a>(element: Node<'a, '_>, name: &str) -> Option<&'a str> {
    element.attributes().find(|a| a.namespace().is_none() && a.name() == name).map(|a| a.value())
}

/// An attribute in no namespace, which must be there.
pub(crate) fn required<'a>(element: Node<'a, '_>, name: &str) -> Result<&'a str, Refused> {
    attribute(element, name).ok_or_else(|| at_attribute(element, name, Rule::Missing))
}
