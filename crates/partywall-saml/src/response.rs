//! A response of the Web Browser SSO profile (saml-profiles 4.1.4), from bytes to an [`Assertion`].

use std::collections::HashSet;
use std::time::SystemTime;

use roxmltree::Node;

use crate::assertion::{Assertion, Attribute};
use crate::connection::Connection;
use crate::decrypt;
use crate::refused::{Refused, Rule};
use crate::rules::{self, CLOCK_SKEW, MAX_AGE, Rules};
use crate::signature::{self, Signed};
use crate::xml::{
    self, DS, Message, SAML, SAMLP, at, at_attribute, attribute, is, one, optional, required, value,
};

pub(crate) const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";
const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";

/// What the response must fit.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The ID of the request this browser was sent with; `None` if it was not sent.
    ///
    /// To be used up by the first response, whatever comes of it: whoever tries out what an
    /// encrypted message decrypts to then needs a new request for every try.
    pub request_id: Option<&'a str>,
    /// The time.
    pub now: SystemTime,
}

impl Connection {
    /// Believes a response, or says which rule it broke.
    ///
    /// `response` is the XML, that is `SAMLResponse` after base64. A response is good for one use,
    /// which is for the caller to see to: [`Assertion::id`].
    ///
    /// # Errors
    /// [`Refused`], for the connection's administrator and nobody else.
    pub fn verify(&self, response: &[u8], expected: &Expected<'_>) -> Result<Assertion, Refused> {
        let reading = Reading {
            rules: Rules { settings: &self.settings, now: expected.now },
            request_id: expected.request_id,
        };
        let message = Message::parse(response)?;
        let root = message.root();
        check_places(&message, SAMLP, "Response")?;
        // Unsigned or not yet verified: enough to refuse, and not to believe.
        reading.envelope(root, false)?;
        let assertion = only_assertion(root)?;

        let whole = self.signed(&message, root)?;
        let part = self.signed(&message, assertion)?;
        // S-01: from here on, only what was signed.
        match (whole, part) {
            (Some(whole), _) => {
                let message = Message::parse(whole.bytes())?;
                reading.envelope(message.root(), true)?;
                let assertion = only_assertion(message.root())?;
                if is_encrypted(assertion) {
                    return self.decrypted(assertion, &reading, true);
                }
                reading.assertion(assertion)
            }
            (None, Some(part)) => reading.assertion(Message::parse(part.bytes())?.root()),
            (None, None) if is_encrypted(assertion) => self.decrypted(assertion, &reading, false),
            (None, None) => Err(at(root, Rule::Unsigned)),
        }
    }

    /// What is inside, which must be signed itself unless the response is around it (S-12, I-24).
    fn decrypted(
        &self,
        encrypted: Node<'_, '_>,
        reading: &Reading<'_>,
        response_is_signed: bool,
    ) -> Result<Assertion, Refused> {
        let keys = &self.settings.decryption_keys;
        if keys.is_empty() {
            return Err(at(encrypted, Rule::Encrypted));
        }
        let inside = decrypt::assertion(encrypted, keys, self.settings.allow_cbc)?;
        // The same refusal for what is no assertion: that is what one tries to find out who
        // changes bits of a CBC message.
        let message = Message::parse(&inside)
            .and_then(|message| check_places(&message, SAML, "Assertion").map(|()| message))
            .map_err(|_| decrypt::undecryptable(encrypted))?;
        match self.signed(&message, message.root())? {
            Some(part) => reading.assertion(Message::parse(part.bytes())?.root()),
            // What the signed response has in it decrypts to nothing else.
            None if response_is_signed => reading.assertion(message.root()),
            None => Err(at(message.root(), Rule::Unsigned)),
        }
    }

    /// The bytes of `element` its own signature covers, if it has one.
    fn signed(
        &self,
        message: &Message<'_>,
        element: Node<'_, '_>,
    ) -> Result<Option<Signed>, Refused> {
        optional(element, DS, "Signature")?
            .map(|signature| {
                let certificates = &self.settings.certificates;
                signature::verify(message.text(), element, signature, certificates)
            })
            .transpose()
    }
}

/// S-02, S-03: nothing that could be taken for the assertion, or for its signature, stands
/// anywhere but in its place.
pub(crate) fn check_places(
    message: &Message<'_>,
    namespace: &str,
    name: &str,
) -> Result<(), Refused> {
    let root = message.root();
    if !is(root, namespace, name) {
        return Err(at(root, Rule::Root));
    }
    let in_response = |element: Node<'_, '_>| {
        element.parent_element() == Some(root) && is(root, SAMLP, "Response")
    };
    for element in message.elements() {
        let parent = element.parent_element();
        match element.tag_name().name() {
            "Response" if element != root => return Err(at(element, Rule::Unexpected)),
            "Assertion" | "EncryptedAssertion" => {
                let ours = element.tag_name().namespace() == Some(SAML);
                if element != root && !(ours && in_response(element)) {
                    return Err(at(element, Rule::OneAssertion));
                }
            }
            "Signature" | "SignedInfo" => {
                let within = |name, parent: Option<Node<'_, '_>>| {
                    parent.is_some_and(|parent| is(parent, DS, name))
                };
                let fits = if is(element, DS, "Signature") {
                    parent.is_some_and(|parent| {
                        parent == root || is(parent, SAML, "Assertion") && in_response(parent)
                    })
                } else {
                    is(element, DS, "SignedInfo") && within("Signature", parent)
                };
                if !fits {
                    return Err(at(element, Rule::SignaturePlace));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// S-09. The identity provider's reasons are for the administrator.
fn success(status: Node<'_, '_>) -> Result<(), Refused> {
    let said = status_codes(status)?;
    if said.first() == Some(&SUCCESS) {
        return Ok(());
    }
    Err(at(one(status, SAMLP, "StatusCode")?, Rule::Status).found(&said.join(", ")))
}

/// Saml-core 3.2.2.2: the status, what is below it, and the message beside it.
pub(crate) fn status_codes<'a>(status: Node<'a, '_>) -> Result<Vec<&'a str>, Refused> {
    let code = one(status, SAMLP, "StatusCode")?;
    let top = required(code, "Value")?;
    let second = optional(code, SAMLP, "StatusCode")?.and_then(|code| attribute(code, "Value"));
    let text = optional(status, SAMLP, "StatusMessage")?.map(value).transpose()?;
    Ok([Some(top), second, text].into_iter().flatten().collect())
}

/// S-02: the one assertion of a response.
fn only_assertion<'a, 'i>(response: Node<'a, 'i>) -> Result<Node<'a, 'i>, Refused> {
    let mut assertions = response
        .children()
        .filter(|n| matches!(n.tag_name().name(), "Assertion" | "EncryptedAssertion"));
    match (assertions.next(), assertions.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(at(response, Rule::OneAssertion)),
    }
}

fn is_encrypted(assertion: Node<'_, '_>) -> bool {
    is(assertion, SAML, "EncryptedAssertion")
}

/// A response read against the rules.
struct Reading<'a> {
    rules: Rules<'a>,
    request_id: Option<&'a str>,
}

impl Reading<'_> {
    /// The response around the assertion (saml-core 3.2.2, saml-profiles 4.1.4.2).
    fn envelope(&self, response: Node<'_, '_>, signed: bool) -> Result<(), Refused> {
        for child in xml::elements(response)? {
            let name = child.tag_name().name();
            let known = match child.tag_name().namespace() {
                Some(SAMLP) => matches!(name, "Status" | "Extensions"),
                Some(SAML) => matches!(name, "Issuer" | "Assertion" | "EncryptedAssertion"),
                Some(DS) => name == "Signature",
                _ => false,
            };
            if !known {
                return Err(at(child, Rule::Unexpected));
            }
        }
        rules::version(response)?;
        required(response, "ID")?;
        success(one(response, SAMLP, "Status")?)?;

        match optional(response, SAML, "Issuer")? {
            Some(issuer) => self.rules.issuer(issuer)?,
            // A signed response must have one.
            None if signed => return Err(Refused::new(Rule::Missing, "Response/Issuer")),
            None => {}
        }
        self.rules.destination(response, &self.rules.settings.acs_url)?;
        self.in_response_to(response)?;
        self.rules.issue_instant(response)
    }

    /// The answer to the request, or, where that is allowed, to none (S-11).
    fn in_response_to(&self, element: Node<'_, '_>) -> Result<(), Refused> {
        let found = attribute(element, "InResponseTo");
        let refused = |rule| {
            let refused = at_attribute(element, "InResponseTo", rule);
            match found {
                Some(found) => refused.found(found),
                None => refused,
            }
        };
        match (self.request_id, found) {
            (Some(sent), Some(answered)) if sent == answered => Ok(()),
            (Some(_), None) => Err(refused(Rule::Missing)),
            (_, Some(_)) => Err(refused(Rule::InResponseTo)),
            (None, None) if self.rules.settings.idp_initiated => Ok(()),
            (None, None) => Err(refused(Rule::Unsolicited)),
        }
    }

    /// The assertion (saml-core 2.3.3), which must come out of a [`Signed`].
    fn assertion(&self, assertion: Node<'_, '_>) -> Result<Assertion, Refused> {
        if !is(assertion, SAML, "Assertion") {
            return Err(at(assertion, Rule::Root));
        }
        for child in xml::elements(assertion)? {
            let known = is(child, DS, "Signature")
                || child.tag_name().namespace() == Some(SAML)
                    && matches!(
                        child.tag_name().name(),
                        "Issuer"
                            | "Subject"
                            | "Conditions"
                            | "Advice"
                            | "AuthnStatement"
                            | "AttributeStatement"
                    );
            if !known {
                return Err(at(child, Rule::Unexpected));
            }
        }
        rules::version(assertion)?;
        let issuer = one(assertion, SAML, "Issuer")?;
        self.rules.issuer(issuer)?;
        self.rules.issue_instant(assertion)?;
        let subject = one(assertion, SAML, "Subject")?;
        let name_id = self.rules.name_id(one(subject, SAML, "NameID")?)?;
        let valid_until = self.conditions(one(assertion, SAML, "Conditions")?)?;
        let confirmed_until = self.confirmation(subject)?;
        let statement = one(assertion, SAML, "AuthnStatement")?;
        let authn_instant = rules::time(statement, "AuthnInstant")?;
        if self.rules.now_is_before(authn_instant) {
            return Err(at_attribute(statement, "AuthnInstant", Rule::AuthnStatement));
        }
        let too_old = rules::time(assertion, "IssueInstant")? + MAX_AGE;

        Ok(Assertion {
            id: required(assertion, "ID")?.to_owned(),
            issuer: value(issuer)?.to_owned(),
            name_id,
            in_response_to: self.request_id.map(str::to_owned),
            authn_instant,
            authn_context: authn_context(statement)?,
            session_index: attribute(statement, "SessionIndex").map(str::to_owned),
            session_not_on_or_after: self.rules.until(statement, "SessionNotOnOrAfter")?,
            usable_until: valid_until.min(confirmed_until).min(too_old) + CLOCK_SKEW,
            attributes: attributes(assertion)?,
        })
    }

    /// Saml-core 2.5.1: all of them must hold, and what is not known does not. Answers until when.
    fn conditions(&self, conditions: Node<'_, '_>) -> Result<SystemTime, Refused> {
        if let Some(text) = attribute(conditions, "NotBefore")
            && self.rules.now_is_before(rules::time(conditions, "NotBefore")?)
        {
            return Err(at_attribute(conditions, "NotBefore", Rule::NotBefore).found(text));
        }
        let until = self
            .rules
            .until(conditions, "NotOnOrAfter")?
            .ok_or_else(|| at_attribute(conditions, "NotOnOrAfter", Rule::Missing))?;

        let mut restricted = false;
        for condition in xml::elements(conditions)? {
            if is(condition, SAML, "AudienceRestriction") {
                self.audience(condition)?;
                restricted = true;
            } else if !is(condition, SAML, "OneTimeUse") && !is(condition, SAML, "ProxyRestriction")
            {
                return Err(at(condition, Rule::Condition));
            }
        }
        if !restricted {
            return Err(Refused::new(Rule::Missing, "Conditions/AudienceRestriction"));
        }
        Ok(until)
    }

    fn audience(&self, restriction: Node<'_, '_>) -> Result<(), Refused> {
        let mut named = Vec::new();
        for audience in xml::elements(restriction)? {
            if !is(audience, SAML, "Audience") {
                return Err(at(audience, Rule::Unexpected));
            }
            named.push(value(audience)?);
        }
        if !named.contains(&self.rules.settings.sp_entity_id.as_str()) {
            return Err(at(restriction, Rule::Audience).found(&named.join(", ")));
        }
        Ok(())
    }

    /// Saml-profiles 4.1.4.2: at least one bearer confirmation that holds. Answers until when.
    ///
    /// The error is the first one's, which is the only one with any identity provider known.
    fn confirmation(&self, subject: Node<'_, '_>) -> Result<SystemTime, Refused> {
        let mut first = None;
        for confirmation in xml::elements(subject)? {
            if is(confirmation, SAML, "NameID") {
                continue;
            }
            if !is(confirmation, SAML, "SubjectConfirmation") {
                return Err(at(confirmation, Rule::Unexpected));
            }
            match self.bearer(confirmation) {
                Ok(until) => return Ok(until),
                Err(refused) => first = first.or(Some(refused)),
            }
        }
        Err(first.unwrap_or_else(|| Refused::new(Rule::Missing, "Subject/SubjectConfirmation")))
    }

    fn bearer(&self, confirmation: Node<'_, '_>) -> Result<SystemTime, Refused> {
        let method = required(confirmation, "Method")?;
        if method != BEARER {
            let refused = at_attribute(confirmation, "Method", Rule::SubjectConfirmation);
            return Err(refused.found(method));
        }
        let data = one(confirmation, SAML, "SubjectConfirmationData")?;
        let recipient = required(data, "Recipient")?;
        if recipient != self.rules.settings.acs_url {
            let refused = at_attribute(data, "Recipient", Rule::SubjectConfirmation);
            return Err(refused.found(recipient));
        }
        // The profile forbids it here.
        if let Some(found) = attribute(data, "NotBefore") {
            let refused = at_attribute(data, "NotBefore", Rule::SubjectConfirmation);
            return Err(refused.found(found));
        }
        self.in_response_to(data)?;
        self.rules
            .until(data, "NotOnOrAfter")?
            .ok_or_else(|| at_attribute(data, "NotOnOrAfter", Rule::Missing))
    }
}

fn authn_context(statement: Node<'_, '_>) -> Result<Option<String>, Refused> {
    let context = one(statement, SAML, "AuthnContext")?;
    let class = optional(context, SAML, "AuthnContextClassRef")?;
    Ok(class.map(value).transpose()?.map(str::to_owned))
}

/// What is said of the person: text only, since half-read values are wrong ones.
fn attributes(assertion: Node<'_, '_>) -> Result<Vec<Attribute>, Refused> {
    let mut attributes = Vec::new();
    let mut names = HashSet::new();
    for statement in xml::all(assertion, SAML, "AttributeStatement") {
        for element in xml::elements(statement)? {
            if !is(element, SAML, "Attribute") {
                return Err(at(element, Rule::Unexpected));
            }
            let name = required(element, "Name")?;
            if name.is_empty() || !names.insert(name) {
                return Err(at_attribute(element, "Name", Rule::Attribute).found(name));
            }
            let values = xml::all(element, SAML, "AttributeValue")
                .map(|element| value(element).map(str::to_owned))
                .collect::<Result<_, _>>()?;
            attributes.push(Attribute { name: name.to_owned(), values });
        }
    }
    Ok(attributes)
}
