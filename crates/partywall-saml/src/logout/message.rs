//! What we say of a logout (saml-core 3.7).

use std::time::SystemTime;

use crate::assertion::NameId;
use crate::binding::{self, REQUEST, RESPONSE};
use crate::instant;
use crate::signer::{Signer, SignerError};
use crate::write::{Unsigned, Writer};
use crate::xml::{SAML, SAMLP};

/// To an identity provider: this person's session ended here.
#[derive(Debug, Clone, Copy)]
pub struct LogoutRequest<'a> {
    /// A fresh, unguessable XML name that the answer repeats.
    pub id: &'a str,
    /// The time.
    pub issue_instant: SystemTime,
    /// Where the identity provider takes logout requests.
    pub destination: &'a str,
    /// Our entity ID.
    pub issuer: &'a str,
    /// The person, as the assertion named it ([`Assertion::name_id`](crate::Assertion::name_id)).
    pub name_id: &'a NameId,
    /// The session, as the assertion named it; without it all of the person's sessions are meant.
    pub session_index: Option<&'a str>,
}

/// To an identity provider that asked for a logout.
#[derive(Debug, Clone, Copy)]
pub struct LogoutResponse<'a> {
    /// A fresh, unguessable XML name.
    pub id: &'a str,
    /// The time.
    pub issue_instant: SystemTime,
    /// Where the identity provider takes answers: the `response_location` of its
    /// [`Endpoint`](crate::Endpoint), if it has one.
    pub destination: &'a str,
    /// Our entity ID.
    pub issuer: &'a str,
    /// What is answered.
    pub in_response_to: &'a str,
    /// What became of it.
    pub status: LogoutStatus,
}

/// What became of a logout that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogoutStatus {
    /// The person has no session of that sign-in any more.
    Success,
    /// We could not do it.
    Failed,
}

impl LogoutRequest<'_> {
    /// The address to send the browser to, by HTTP-Redirect.
    ///
    /// # Errors
    /// [`SignerError::Signing`].
    pub fn redirect(
        &self,
        relay_state: Option<&str>,
        signer: &Signer,
    ) -> Result<String, SignerError> {
        let message = self.message();
        binding::redirect(self.destination, REQUEST, &message, relay_state, Some(signer))
    }

    /// The value of the field `SAMLRequest` in a form posted to `destination`, by HTTP-POST.
    ///
    /// # Errors
    /// [`SignerError::Signing`].
    pub fn post(&self, signer: &Signer) -> Result<String, SignerError> {
        binding::post(&self.message(), Some(signer))
    }

    fn message(&self) -> Unsigned {
        let issued = instant::format(self.issue_instant);
        let mut before = Writer::default();
        before
            .open(
                "samlp:LogoutRequest",
                &[
                    ("xmlns:samlp", SAMLP),
                    ("Destination", self.destination),
                    ("ID", self.id),
                    ("IssueInstant", &issued),
                    ("Version", "2.0"),
                ],
            )
            .leaf("saml:Issuer", &[("xmlns:saml", SAML)], self.issuer);

        let name_id = self.name_id;
        let attributes: Vec<_> = [
            ("xmlns:saml", Some(SAML)),
            ("Format", name_id.format.as_deref()),
            ("NameQualifier", name_id.name_qualifier.as_deref()),
            ("SPNameQualifier", name_id.sp_name_qualifier.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
        let mut after = Writer::default();
        after.leaf("saml:NameID", &attributes, &name_id.value);
        if let Some(session_index) = self.session_index {
            after.leaf("samlp:SessionIndex", &[], session_index);
        }
        after.close("samlp:LogoutRequest");
        Unsigned { id: self.id.to_owned(), before: before.finish(), after: after.finish() }
    }
}

impl LogoutResponse<'_> {
    /// The address to send the browser to, by HTTP-Redirect. `relay_state` is what came with the
    /// request (saml-bindings 3.4.3).
    ///
    /// # Errors
    /// [`SignerError::Signing`].
    pub fn redirect(
        &self,
        relay_state: Option<&str>,
        signer: &Signer,
    ) -> Result<String, SignerError> {
        let message = self.message();
        binding::redirect(self.destination, RESPONSE, &message, relay_state, Some(signer))
    }

    /// The value of the field `SAMLResponse` in a form posted to `destination`, by HTTP-POST.
    ///
    /// # Errors
    /// [`SignerError::Signing`].
    pub fn post(&self, signer: &Signer) -> Result<String, SignerError> {
        binding::post(&self.message(), Some(signer))
    }

    fn message(&self) -> Unsigned {
        let issued = instant::format(self.issue_instant);
        let mut before = Writer::default();
        before
            .open(
                "samlp:LogoutResponse",
                &[
                    ("xmlns:samlp", SAMLP),
                    ("Destination", self.destination),
                    ("ID", self.id),
                    ("InResponseTo", self.in_response_to),
                    ("IssueInstant", &issued),
                    ("Version", "2.0"),
                ],
            )
            .leaf("saml:Issuer", &[("xmlns:saml", SAML)], self.issuer);
        let code = match self.status {
            LogoutStatus::Success => "urn:oasis:names:tc:SAML:2.0:status:Success",
            LogoutStatus::Failed => "urn:oasis:names:tc:SAML:2.0:status:Responder",
        };
        let mut after = Writer::default();
        after
            .open("samlp:Status", &[])
            .empty("samlp:StatusCode", &[("Value", code)])
            .close("samlp:Status")
            .close("samlp:LogoutResponse");
        Unsigned { id: self.id.to_owned(), before: before.finish(), after: after.finish() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::tests::assert_canonical_and_signed;

    #[test]
    fn s14_what_we_sign_is_written_in_canonical_form() {
        let odd = "<a b=\"c\">&\r\n\tü";
        let mut name_id = NameId::new(odd);
        for _ in 0..2 {
            let request = LogoutRequest {
                id: "_a",
                issue_instant: SystemTime::UNIX_EPOCH,
                destination: odd,
                issuer: odd,
                name_id: &name_id,
                session_index: name_id.format.as_deref(),
            };
            assert_canonical_and_signed(&request.message());
            name_id.format = Some(odd.to_owned());
            name_id.name_qualifier = Some(odd.to_owned());
            name_id.sp_name_qualifier = Some(odd.to_owned());
        }
        let response = LogoutResponse {
            id: "_a",
            issue_instant: SystemTime::UNIX_EPOCH,
            destination: odd,
            issuer: odd,
            in_response_to: odd,
            status: LogoutStatus::Success,
        };
        assert_canonical_and_signed(&response.message());
    }
}
