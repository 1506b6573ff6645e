//! What an identity provider says of a logout, believed only if it signed it.

use std::time::SystemTime;

use roxmltree::Node;

use crate::assertion::NameId;
use crate::binding::{REQUEST, RESPONSE};
use crate::connection::Connection;
use crate::query::{Query, inflate};
use crate::refused::{Refused, Rule};
use crate::response::{SUCCESS, check_places, status_codes};
use crate::rules::{self, CLOCK_SKEW, MAX_AGE, Rules};
use crate::signature;
use crate::xml::{
    self, DS, Message, SAML, SAMLP, all, at, at_attribute, is, one, optional, required, value,
};

const UNSPECIFIED: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified";
const PARTIAL: &str = "urn:oasis:names:tc:SAML:2.0:status:PartialLogout";

/// A logout message as it came.
#[derive(Debug, Clone, Copy)]
pub enum Received<'a> {
    /// The query of the address, as it stands there: the signature is of its very octets.
    Redirect(&'a str),
    /// The XML of a posted form, that is the field after base64.
    Post(&'a [u8]),
}

/// What a logout message must fit.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedLogout<'a> {
    /// Our address for logout messages of this connection, where it must be sent to.
    pub slo_url: &'a str,
    /// The time.
    pub now: SystemTime,
}

/// A connection's identity provider wants a person's sessions ended.
///
/// Made by [`Connection::verify_logout_request`] alone. Repeating it ends nothing that the first
/// time did not; who wants to know has [`id`](Self::id) and [`usable_until`](Self::usable_until).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedLogoutRequest {
    id: String,
    name_id: NameId,
    session_indexes: Vec<String>,
    usable_until: SystemTime,
    /// For names that leave out by and for whom they are given.
    issuer: String,
    recipient: String,
}

/// A connection's identity provider answers our logout request.
///
/// Made by [`Connection::verify_logout_response`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedLogoutResponse {
    complete: bool,
    status: String,
}

impl VerifiedLogoutRequest {
    /// Its ID, which the answer repeats.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the session that began with this name and session index is meant.
    ///
    /// Saml-core 3.3.4: names match in all their parts. What one of them leaves out is what it means
    /// to leave it out (saml-core 2.2.2, 8.3.1 and 8.3.7): unspecified, by the issuer, for us.
    #[must_use]
    pub fn is_about(&self, name_id: &NameId, session_index: Option<&str>) -> bool {
        let parts = |name: &NameId| {
            let or = |part: &Option<String>, default: &str| {
                part.clone().unwrap_or_else(|| default.to_owned())
            };
            (
                name.value.clone(),
                or(&name.format, UNSPECIFIED),
                or(&name.name_qualifier, &self.issuer),
                or(&name.sp_name_qualifier, &self.recipient),
            )
        };
        let indexes = &self.session_indexes;
        let session = || session_index.is_some_and(|own| indexes.iter().any(|named| named == own));
        parts(name_id) == parts(&self.name_id) && (indexes.is_empty() || session())
    }

    /// The person. Whose sessions are meant, [`is_about`](Self::is_about) says.
    #[must_use]
    pub fn name_id(&self) -> &NameId {
        &self.name_id
    }

    /// The sessions that are meant; all of the person's on this connection if there are none.
    #[must_use]
    pub fn session_indexes(&self) -> &[String] {
        &self.session_indexes
    }

    /// From when on it would be refused.
    #[must_use]
    pub fn usable_until(&self) -> SystemTime {
        self.usable_until
    }
}

impl VerifiedLogoutResponse {
    /// Whether the person is signed out there, and everywhere else that session reached.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The identity provider's words for it, of its own choosing: to be escaped where it is shown.
    #[must_use]
    pub fn status(&self) -> &str {
        &self.status
    }
}

impl Connection {
    /// Believes a logout request, or says which rule it broke.
    ///
    /// # Errors
    /// [`Refused`], for the connection's administrator and nobody else.
    pub fn verify_logout_request(
        &self,
        received: &Received<'_>,
        expected: &ExpectedLogout<'_>,
    ) -> Result<VerifiedLogoutRequest, Refused> {
        self.authenticated(received, REQUEST, "LogoutRequest", |request| {
            let rules = Rules { settings: &self.settings, now: expected.now };
            logout_request(&rules, request, expected.slo_url)
        })
    }

    /// Believes the answer to the logout request with the ID `request_id`, or says which rule it
    /// broke.
    ///
    /// # Errors
    /// [`Refused`], for the connection's administrator and nobody else.
    pub fn verify_logout_response(
        &self,
        received: &Received<'_>,
        expected: &ExpectedLogout<'_>,
        request_id: &str,
    ) -> Result<VerifiedLogoutResponse, Refused> {
        self.authenticated(received, RESPONSE, "LogoutResponse", |response| {
            let rules = Rules { settings: &self.settings, now: expected.now };
            logout_response(&rules, response, expected.slo_url, request_id)
        })
    }

    /// Hands the root of the signed bytes to `read`.
    fn authenticated<T>(
        &self,
        received: &Received<'_>,
        parameter: &'static str,
        name: &str,
        read: impl FnOnce(Node<'_, '_>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let certificates = &self.settings.certificates;
        match received {
            // The signature comes first: nothing of a stranger's is inflated.
            Received::Redirect(query) => {
                let query = Query::read(query, parameter)?;
                signature::verify_detached(
                    certificates,
                    query.algorithm,
                    query.octets.as_bytes(),
                    &query.signature,
                )?;
                let text = inflate(&query.message)?;
                let message = Message::parse(&text)?;
                check_places(&message, SAMLP, name)?;
                // Saml-bindings 3.4.4.1: there is none in the message.
                if let Some(signature) = optional(message.root(), DS, "Signature")? {
                    return Err(at(signature, Rule::SignaturePlace));
                }
                read(message.root())
            }
            Received::Post(text) => {
                let message = Message::parse(text)?;
                check_places(&message, SAMLP, name)?;
                let root = message.root();
                let signature =
                    optional(root, DS, "Signature")?.ok_or_else(|| at(root, Rule::Unsigned))?;
                let signed = signature::verify(message.text(), root, signature, certificates)?;
                read(Message::parse(signed.bytes())?.root())
            }
        }
    }
}

/// Saml-core 3.7.1, saml-profiles 4.4.4.1.
fn logout_request(
    rules: &Rules<'_>,
    request: Node<'_, '_>,
    slo_url: &str,
) -> Result<VerifiedLogoutRequest, Refused> {
    only(
        request,
        &[(SAML, "Issuer"), (SAMLP, "Extensions"), (SAML, "NameID"), (SAMLP, "SessionIndex")],
    )?;
    common(rules, request, slo_url)?;
    let until = rules.until(request, "NotOnOrAfter")?;
    let too_old = rules::time(request, "IssueInstant")? + MAX_AGE;
    let session_indexes = all(request, SAMLP, "SessionIndex")
        .map(|element| match value(element)? {
            "" => Err(at(element, Rule::Missing)),
            index => Ok(index.to_owned()),
        })
        .collect::<Result<_, _>>()?;
    Ok(VerifiedLogoutRequest {
        id: required(request, "ID")?.to_owned(),
        name_id: rules.name_id(one(request, SAML, "NameID")?)?,
        session_indexes,
        issuer: rules.settings.idp_entity_id.clone(),
        recipient: rules.settings.sp_entity_id.clone(),
        usable_until: until.map_or(too_old, |until| until.min(too_old)) + CLOCK_SKEW,
    })
}

/// Saml-core 3.7.2, saml-profiles 4.4.4.2.
fn logout_response(
    rules: &Rules<'_>,
    response: Node<'_, '_>,
    slo_url: &str,
    request_id: &str,
) -> Result<VerifiedLogoutResponse, Refused> {
    only(response, &[(SAML, "Issuer"), (SAMLP, "Extensions"), (SAMLP, "Status")])?;
    common(rules, response, slo_url)?;
    let answered = required(response, "InResponseTo")?;
    if answered != request_id {
        let refused = at_attribute(response, "InResponseTo", Rule::InResponseTo);
        return Err(refused.found(answered));
    }
    let codes = status_codes(one(response, SAMLP, "Status")?)?;
    Ok(VerifiedLogoutResponse {
        complete: codes.first() == Some(&SUCCESS) && !codes.contains(&PARTIAL),
        status: codes.join(", ").chars().take(200).collect(),
    })
}

/// From the connection's identity provider, to us, now.
fn common(rules: &Rules<'_>, message: Node<'_, '_>, slo_url: &str) -> Result<(), Refused> {
    rules::version(message)?;
    required(message, "ID")?;
    rules.issuer(one(message, SAML, "Issuer")?)?;
    rules.destination(message, slo_url)?;
    rules.issue_instant(message)
}

/// Nothing else may stand there. The signature was taken out with what it signs.
fn only(message: Node<'_, '_>, known: &[(&str, &str)]) -> Result<(), Refused> {
    for child in xml::elements(message)? {
        if !known.iter().any(|(namespace, name)| is(child, namespace, name)) {
            return Err(at(child, Rule::Unexpected));
        }
    }
    Ok(())
}
