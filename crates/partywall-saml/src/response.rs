//! A response of the Web Browser SSO profile (saml-profiles 4.1.4), from bytes to an [`Assertion`].

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use roxmltree::Node;

use crate::assertion::{Assertion, Attribute, NameId};
use crate::connection::Connection;
use crate::instant;
use crate::refused::{Refused, Rule};
use crate::signature::{self, Signed};
use crate::xml::{
    self, DS, Message, SAML, SAMLP, at, at_attribute, attribute, is, one, optional, required, value,
};

/// How far apart the clocks may be.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// How long a message may be on its way.
const MAX_AGE: Duration = Duration::from_secs(5 * 60);

const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";
const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
const ENTITY: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity";

/// What the response must fit.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The ID of the request this browser was sent with; `None` if it was not sent.
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
        let rules = Rules { connection: self, expected };
        let message = Message::parse(response)?;
        let root = message.root();
        check_places(&message)?;
        // Unsigned or not yet verified: enough to refuse, and not to believe.
        rules.envelope(root, false)?;
        let assertion = only_assertion(root)?;

        let whole = self.signed(&message, root)?;
        let part = self.signed(&message, assertion)?;
        // S-01: from here on, only what was signed.
        match (whole, part) {
            (Some(whole), _) => {
                let message = Message::parse(whole.bytes())?;
                rules.envelope(message.root(), true)?;
                rules.assertion(only_assertion(message.root())?)
            }
            (None, Some(part)) => rules.assertion(Message::parse(part.bytes())?.root()),
            (None, None) => Err(at(root, Rule::Unsigned)),
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
fn check_places(message: &Message<'_>) -> Result<(), Refused> {
    let root = message.root();
    if !is(root, SAMLP, "Response") {
        return Err(at(root, Rule::Root));
    }
    for element in message.elements() {
        let parent = element.parent_element();
        match element.tag_name().name() {
            "Response" if element != root => return Err(at(element, Rule::Unexpected)),
            "Assertion" | "EncryptedAssertion" => {
                let ours = element.tag_name().namespace() == Some(SAML);
                if !ours || parent != Some(root) {
                    return Err(at(element, Rule::OneAssertion));
                }
            }
            "Signature" | "SignedInfo" => {
                let within = |name, parent: Option<Node<'_, '_>>| {
                    parent.is_some_and(|parent| is(parent, DS, name))
                };
                let fits = if is(element, DS, "Signature") {
                    parent.is_some_and(|parent| {
                        parent == root
                            || is(parent, SAML, "Assertion")
                                && parent.parent_element() == Some(root)
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

/// S-02: the one assertion of a response.
fn only_assertion<'a, 'i>(response: Node<'a, 'i>) -> Result<Node<'a, 'i>, Refused> {
    let mut assertions = response
        .children()
        .filter(|n| matches!(n.tag_name().name(), "Assertion" | "EncryptedAssertion"));
    match (assertions.next(), assertions.next()) {
        (Some(only), None) if is(only, SAML, "Assertion") => Ok(only),
        (Some(only), None) => Err(at(only, Rule::Encrypted)),
        _ => Err(at(response, Rule::OneAssertion)),
    }
}

struct Rules<'a> {
    connection: &'a Connection,
    expected: &'a Expected<'a>,
}

impl Rules<'_> {
    /// The response around the assertion (saml-core 3.2.2, saml-profiles 4.1.4.2).
    fn envelope(&self, response: Node<'_, '_>, signed: bool) -> Result<(), Refused> {
        let settings = &self.connection.settings;
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
        version(response)?;
        required(response, "ID")?;
        self.status(one(response, SAMLP, "Status")?)?;

        match optional(response, SAML, "Issuer")? {
            Some(issuer) => self.issuer(issuer)?,
            // A signed response must have one.
            None if signed => return Err(Refused::new(Rule::Missing, "Response/Issuer")),
            None => {}
        }
        let destination = required(response, "Destination")?;
        if destination != settings.acs_url {
            return Err(at_attribute(response, "Destination", Rule::Destination).found(destination));
        }
        self.in_response_to(response)?;
        self.issue_instant(response)
    }

    // Saml-core 3.2.2.2. The identity provider's reasons are for the administrator.
    fn status(&self, status: Node<'_, '_>) -> Result<(), Refused> {
        let code = one(status, SAMLP, "StatusCode")?;
        let top = required(code, "Value")?;
        if top == SUCCESS {
            return Ok(());
        }
        let second = optional(code, SAMLP, "StatusCode")?.and_then(|code| attribute(code, "Value"));
        let text = optional(status, SAMLP, "StatusMessage")?.map(value).transpose()?;
        let said: Vec<_> = [Some(top), second, text].into_iter().flatten().collect();
        Err(at(code, Rule::Status).found(&said.join(", ")))
    }

    fn issuer(&self, issuer: Node<'_, '_>) -> Result<(), Refused> {
        let found = value(issuer)?;
        // Saml-profiles 4.1.4.2: the format is left out or says entity.
        let format = attribute(issuer, "Format");
        if found != self.connection.settings.idp_entity_id || format.is_some_and(|f| f != ENTITY) {
            return Err(at(issuer, Rule::Issuer).found(found));
        }
        Ok(())
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
        match (self.expected.request_id, found) {
            (Some(sent), Some(answered)) if sent == answered => Ok(()),
            (Some(_), None) => Err(refused(Rule::Missing)),
            (_, Some(_)) => Err(refused(Rule::InResponseTo)),
            (None, None) if self.connection.settings.idp_initiated => Ok(()),
            (None, None) => Err(refused(Rule::Unsolicited)),
        }
    }

    fn issue_instant(&self, element: Node<'_, '_>) -> Result<(), Refused> {
        let issued = time(element, "IssueInstant")?;
        let oldest = issued + MAX_AGE + CLOCK_SKEW;
        if self.now_is_before(issued) || self.expected.now >= oldest {
            let found = attribute(element, "IssueInstant").unwrap_or_default();
            return Err(at_attribute(element, "IssueInstant", Rule::IssueInstant).found(found));
        }
        Ok(())
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
        version(assertion)?;
        let issuer = one(assertion, SAML, "Issuer")?;
        self.issuer(issuer)?;
        self.issue_instant(assertion)?;
        let subject = one(assertion, SAML, "Subject")?;
        let name_id = self.name_id(one(subject, SAML, "NameID")?)?;
        let valid_until = self.conditions(one(assertion, SAML, "Conditions")?)?;
        let confirmed_until = self.confirmation(subject)?;
        let statement = one(assertion, SAML, "AuthnStatement")?;
        let authn_instant = time(statement, "AuthnInstant")?;
        if self.now_is_before(authn_instant) {
            return Err(at_attribute(statement, "AuthnInstant", Rule::AuthnStatement));
        }
        let too_old = time(assertion, "IssueInstant")? + MAX_AGE;

        Ok(Assertion {
            id: required(assertion, "ID")?.to_owned(),
            issuer: value(issuer)?.to_owned(),
            name_id,
            in_response_to: self.expected.request_id.map(str::to_owned),
            authn_instant,
            authn_context: authn_context(statement)?,
            session_index: attribute(statement, "SessionIndex").map(str::to_owned),
            session_not_on_or_after: self.until(statement, "SessionNotOnOrAfter")?,
            usable_until: valid_until.min(confirmed_until).min(too_old) + CLOCK_SKEW,
            attributes: attributes(assertion)?,
        })
    }

    fn name_id(&self, element: Node<'_, '_>) -> Result<NameId, Refused> {
        let name = value(element)?;
        if name.is_empty() || name.trim() != name || name.len() > 1024 {
            return Err(at(element, Rule::NameId).found(name));
        }
        let own = |name| attribute(element, name).map(str::to_owned);
        let sp_name_qualifier = own("SPNameQualifier");
        // Saml-core 8.3.7: a name for another service provider is not one for us.
        if let Some(other) = &sp_name_qualifier
            && *other != self.connection.settings.sp_entity_id
        {
            return Err(at_attribute(element, "SPNameQualifier", Rule::NameId).found(other));
        }
        Ok(NameId {
            value: name.to_owned(),
            format: own("Format"),
            name_qualifier: own("NameQualifier"),
            sp_name_qualifier,
        })
    }

    /// Saml-core 2.5.1: all of them must hold, and what is not known does not. Answers until when.
    fn conditions(&self, conditions: Node<'_, '_>) -> Result<SystemTime, Refused> {
        if let Some(text) = attribute(conditions, "NotBefore")
            && self.now_is_before(time(conditions, "NotBefore")?)
        {
            return Err(at_attribute(conditions, "NotBefore", Rule::NotBefore).found(text));
        }
        let until = self
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
        if !named.contains(&self.connection.settings.sp_entity_id.as_str()) {
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
        if recipient != self.connection.settings.acs_url {
            let refused = at_attribute(data, "Recipient", Rule::SubjectConfirmation);
            return Err(refused.found(recipient));
        }
        // The profile forbids it here.
        if let Some(found) = attribute(data, "NotBefore") {
            let refused = at_attribute(data, "NotBefore", Rule::SubjectConfirmation);
            return Err(refused.found(found));
        }
        self.in_response_to(data)?;
        self.until(data, "NotOnOrAfter")?
            .ok_or_else(|| at_attribute(data, "NotOnOrAfter", Rule::Missing))
    }

    /// A time that must not have come yet, if it is given.
    fn until(&self, element: Node<'_, '_>, name: &str) -> Result<Option<SystemTime>, Refused> {
        let Some(found) = attribute(element, name) else {
            return Ok(None);
        };
        let until = time(element, name)?;
        if self.expected.now >= until + CLOCK_SKEW {
            return Err(at_attribute(element, name, Rule::NotOnOrAfter).found(found));
        }
        Ok(Some(until))
    }

    fn now_is_before(&self, time: SystemTime) -> bool {
        self.expected.now + CLOCK_SKEW < time
    }
}

fn version(element: Node<'_, '_>) -> Result<(), Refused> {
    let found = required(element, "Version")?;
    if found != "2.0" {
        return Err(at_attribute(element, "Version", Rule::Version).found(found));
    }
    Ok(())
}

fn time(element: Node<'_, '_>, name: &str) -> Result<SystemTime, Refused> {
    let found = required(element, name)?;
    instant::parse(found).ok_or_else(|| at_attribute(element, name, Rule::Time).found(found))
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
