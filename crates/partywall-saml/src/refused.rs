//! Why a response was refused: which rule, at which element, what stood there.

use std::fmt;

use thiserror::Error;

/// A response that was not believed.
///
/// For the administrator of the connection, who may see all of it. Whoever sent the response is
/// told nothing but that it was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Refused {
    rule: Rule,
    element: String,
    found: Option<String>,
}

/// What a response must keep to, one variant for each way to break it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// S-06: at most 256 KiB.
    Size,
    /// S-06: UTF-8, and says nothing else of itself.
    Encoding,
    /// S-06: no document type declaration, so no entities.
    Doctype,
    /// S-06: no processing instructions.
    ProcessingInstruction,
    /// S-06: no CDATA sections.
    Cdata,
    /// S-06: comments only between elements, never beside or inside a value.
    Comment,
    /// S-06: elements at most 64 deep.
    Depth,
    /// S-06: at most 64 attributes and namespace declarations on one element, and 16,384 in all.
    Attributes,
    /// S-06: at most 64 namespace declarations in scope of one element.
    Namespaces,
    /// S-06: at most 16,384 elements.
    Elements,
    /// S-14: every parameter of a query once, by its plain name, and at most 32.
    Parameter,
    /// S-13: raw DEFLATE and nothing after it.
    Deflate,
    /// Well-formed XML with one root.
    WellFormed,
    /// Namespaces are absolute URIs: canonicalization has no result for others.
    NamespaceUri,
    /// The element a message of this kind begins with.
    Root,
    /// An element this place needs, once.
    Missing,
    /// An element or text that has no business here.
    Unexpected,
    /// S-02: exactly one assertion, directly below the response.
    OneAssertion,
    /// S-12: an encrypted assertion, and the connection has no key for one.
    Encrypted,
    /// S-12: one encrypted key, in its place.
    EncryptedKey,
    /// S-12: RSA-OAEP and AES-GCM; AES-CBC where the connection takes it.
    EncryptionAlgorithm,
    /// S-12: none of our keys opens it, or there is no assertion inside. Not told apart.
    Decryption,
    /// S-03: no two elements of one ID; IDs are letters, digits, `_`, `-` and `.`.
    UniqueId,
    /// S-03: a signature is a child of the response or of its assertion.
    SignaturePlace,
    /// S-01: the response or the assertion is signed.
    Unsigned,
    /// S-03: one reference, to the element the signature stands in.
    Reference,
    /// S-04: the enveloped-signature transform, then exclusive C14N; nothing else.
    Transform,
    /// S-04: exclusive C14N 1.0 without comments, no `#default` in its prefix list.
    Canonicalization,
    /// S-07: SHA-256, SHA-384 or SHA-512.
    DigestAlgorithm,
    /// S-07: RSA (PKCS#1 v1.5) or ECDSA, with SHA-256, SHA-384 or SHA-512.
    SignatureAlgorithm,
    /// S-05: what is in base64 is nothing but base64, and not empty.
    Base64,
    /// The element is not what was signed.
    Digest,
    /// No certificate of the connection made this signature.
    Signature,
    /// SAML 2.0.
    Version,
    /// S-09: the identity provider says that it signed the person in.
    Status,
    /// S-09: sent by the connection's identity provider.
    Issuer,
    /// S-09: sent to where the connection takes such messages.
    Destination,
    /// S-09: the answer to the request that was sent.
    InResponseTo,
    /// S-11: an answer nobody asked for, and the connection takes none.
    Unsolicited,
    /// Times are `xs:dateTime` in UTC, with `Z`.
    Time,
    /// S-09: issued in the last five minutes.
    IssueInstant,
    /// S-09: not yet valid.
    NotBefore,
    /// S-09: no longer valid.
    NotOnOrAfter,
    /// S-09: meant for this service provider.
    Audience,
    /// A condition whose meaning is not known, which makes the assertion undecidable.
    Condition,
    /// S-09: a bearer confirmation for this place, this request and this time.
    SubjectConfirmation,
    /// A name for the person: not empty, not padded, at most 1,024 bytes, and not for another service
    /// provider.
    NameId,
    /// S-09: how and when the person signed in.
    AuthnStatement,
    /// An attribute has a name, and is given once.
    Attribute,
}

impl Refused {
    pub(crate) fn new(rule: Rule, element: impl Into<String>) -> Self {
        Self { rule, element: element.into(), found: None }
    }

    /// With what stood there, cut to 200 characters.
    pub(crate) fn found(mut self, found: &str) -> Self {
        self.found = Some(found.chars().take(200).collect());
        self
    }

    /// The rule that was broken.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The element (or `Element/@attribute`) that broke it, by its local name.
    #[must_use]
    pub fn element(&self) -> &str {
        &self.element
    }

    /// What stood there, at most 200 characters of it. Chosen by whoever sent the response: to be
    /// escaped wherever it is shown.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.found.as_deref()
    }
}

impl Rule {
    /// The rule's name in logs, audit records and JSON, which stays as it is: `one_assertion`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Encoding => "encoding",
            Self::Doctype => "doctype",
            Self::ProcessingInstruction => "processing_instruction",
            Self::Cdata => "cdata",
            Self::Comment => "comment",
            Self::Depth => "depth",
            Self::Attributes => "attributes",
            Self::Namespaces => "namespaces",
            Self::Elements => "elements",
            Self::Parameter => "parameter",
            Self::Deflate => "deflate",
            Self::WellFormed => "well_formed",
            Self::NamespaceUri => "namespace_uri",
            Self::Root => "root",
            Self::Missing => "missing",
            Self::Unexpected => "unexpected",
            Self::OneAssertion => "one_assertion",
            Self::Encrypted => "encrypted",
            Self::EncryptedKey => "encrypted_key",
            Self::EncryptionAlgorithm => "encryption_algorithm",
            Self::Decryption => "decryption",
            Self::UniqueId => "unique_id",
            Self::SignaturePlace => "signature_place",
            Self::Unsigned => "unsigned",
            Self::Reference => "reference",
            Self::Transform => "transform",
            Self::Canonicalization => "canonicalization",
            Self::DigestAlgorithm => "digest_algorithm",
            Self::SignatureAlgorithm => "signature_algorithm",
            Self::Base64 => "base64",
            Self::Digest => "digest",
            Self::Signature => "signature",
            Self::Version => "version",
            Self::Status => "status",
            Self::Issuer => "issuer",
            Self::Destination => "destination",
            Self::InResponseTo => "in_response_to",
            Self::Unsolicited => "unsolicited",
            Self::Time => "time",
            Self::IssueInstant => "issue_instant",
            Self::NotBefore => "not_before",
            Self::NotOnOrAfter => "not_on_or_after",
            Self::Audience => "audience",
            Self::Condition => "condition",
            Self::SubjectConfirmation => "subject_confirmation",
            Self::NameId => "name_id",
            Self::AuthnStatement => "authn_statement",
            Self::Attribute => "attribute",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The sender's words, so that they must not reach a terminal as they are.
        write!(f, "{}: {}", self.element.escape_debug(), self.rule)?;
        match &self.found {
            Some(found) => write!(f, " (found {found:?})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => "larger than 256 KiB",
            Self::Encoding => "must be UTF-8",
            Self::Doctype => "document type declarations are not taken",
            Self::ProcessingInstruction => "processing instructions are not taken",
            Self::Cdata => "CDATA sections are not taken",
            Self::Comment => "a comment beside or inside a value",
            Self::Depth => "elements nested more than 64 deep",
            Self::Attributes => "more than 64 attributes on one element, or 16,384 in all",
            Self::Namespaces => "more than 64 namespaces in scope",
            Self::Elements => "more than 16,384 elements",
            Self::Parameter => "each parameter once, by its plain name, one message only, at most 32",
            Self::Deflate => "must be DEFLATE without a header, and nothing after it",
            Self::WellFormed => "not well-formed XML with one root",
            Self::NamespaceUri => "namespaces must be absolute URIs",
            Self::Root => "not the message that belongs here",
            Self::Missing => "needed here, exactly once",
            Self::Unexpected => "does not belong here",
            Self::OneAssertion => "exactly one assertion, directly below the response, is taken",
            Self::Encrypted => "is encrypted, and this connection has no key for it",
            Self::EncryptedKey => "exactly one encrypted key, in KeyInfo or beside the data",
            Self::EncryptionAlgorithm => {
                "must be an element encrypted with RSA-OAEP (one digest, no parameters) and AES-GCM, \
                 or AES-CBC if this connection takes it"
            }
            Self::Decryption => {
                "could not be decrypted with our keys, or is no assertion: compare the certificates"
            }
            Self::UniqueId => "IDs must be of letters, digits, _, - and ., and unique in the message",
            Self::SignaturePlace => "a signature belongs to the response or to its assertion",
            Self::Unsigned => "neither the response nor the assertion is signed: turn on signing",
            Self::Reference => "must name the ID of the element the signature stands in",
            Self::Transform => "must be enveloped-signature, then exclusive C14N, nothing else",
            Self::Canonicalization => {
                "must be exclusive C14N 1.0 without comments and without #default"
            }
            Self::DigestAlgorithm => "must be SHA-256, SHA-384 or SHA-512",
            Self::SignatureAlgorithm => {
                "must be RSA or ECDSA with SHA-256, SHA-384 or SHA-512, as the certificate has it"
            }
            Self::Base64 => "must be base64 and nothing else",
            Self::Digest => "is not what was signed: changed on its way",
            Self::Signature => "not made with a certificate of this connection",
            Self::Version => "must be 2.0",
            Self::Status => "the identity provider did not sign the person in",
            Self::Issuer => "is not this connection's identity provider",
            Self::Destination => "is not where this connection takes such messages",
            Self::InResponseTo => "is not the request that was sent",
            Self::Unsolicited => "answers no request, and the connection takes none of these",
            Self::Time => "must be a time in UTC like 2026-01-31T12:00:00Z",
            Self::IssueInstant => "must be of the last five minutes: compare the clocks",
            Self::NotBefore => "is not valid yet: compare the clocks",
            Self::NotOnOrAfter => "is no longer valid: compare the clocks",
            Self::Audience => "does not name this service provider",
            Self::Condition => "a condition that is not known here",
            Self::SubjectConfirmation => {
                "no bearer confirmation for this recipient, this request and this time"
            }
            Self::NameId => "must be 1 to 1,024 bytes without white space around them, and meant for us",
            Self::AuthnStatement => "does not say how the person signed in",
            Self::Attribute => "attributes need a name of their own",
        })
    }
}
